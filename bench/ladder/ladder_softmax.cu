/* ladder_softmax.cu: the softmax of rows with the loss and the gradient that a classifier asks of it (cross entropy),
 * in five steps to the kernels that are shipped (cuda/loss.cu):
 *
 *     top = max x    sum = sum of exp(x - top)    loss = mean of log sum + top - x[label]
 *     dx  = s / rows (exp(x - top) / sum - onehot(label))
 *
 * Nearly nothing is computed, so passes over memory are all that counts; of them:
 *
 *     1 naive       a thread a row: read (top), read, write e (sum), read e, write dx. Its neighbours' rows lie C
 *                   apart: 32 sectors a request
 *     2 a block     256 threads a row, side by side: 4 sectors a request. What threads have found is joined by a tree
 *                   in shared memory: 8 halvings with a barrier each, twice a row
 *     3 exp again   e is computed again instead of written and read: four passes, not five
 *     4 lanes       16 threads a row, joined by shuffles: neither shared memory nor barriers. (16 and no more, as the
 *                   order of sums is defined so, tensor/device.h: bits are those of the CPU)
 *     5 registers   the row stays in registers for both sums (cuda/row.cuh); dx by a kernel of its own, with threads
 *                   enough for any device: three passes
 *
 * The predictions: a pass is R C / 8 sectors, in step 1 R C. What belongs to a row (the label, its statistics, the
 * loss), is a few sectors beside 125: step 5 reads them once a warp of 128 numbers, 8 warps a row, 4 numbers. */
#include "ladder.cuh"
#include "plain.h"

#include "cuda/kernel.cuh"

struct soft_call { const float *x, *scale; const int32_t *labels; float *dx; double *losses; float *loss; };

KERNEL(64) soft_naive(GRID soft_call p)
{
    int row = (int)threadIdx.x;
    const float *x = p.x + row * SOFT_CLASSES;
    float *dx = p.dx + row * SOFT_CLASSES, top = x[0], sum = 0.0f;
    for (int i = 0; i < SOFT_CLASSES; i++)
        top = max_of(top, x[i]);
    for (int i = 0; i < SOFT_CLASSES; i++) {
        float e = exp_of(x[i] - top);
        dx[i] = e;
        sum = sum + e;
    }
    float s = p.scale[0] / (float)SOFT_ROWS;
    int label = p.labels[row];
    for (int i = 0; i < SOFT_CLASSES; i++)
        dx[i] = dx[i] / sum * s - (i == label ? s : 0.0f);
    p.losses[row] = (double)(log_of(sum) + (top - x[label]));
}

/* The largest, or the sum, of 256 numbers; every thread gets it. */
DEV float soft_joined(float *tree, float v, bool largest)
{
    int t = (int)threadIdx.x;
    tree[t] = v;
    sync_block();
    for (int half = 128; half; half /= 2) {
        if (t < half)
            tree[t] = largest ? max_of(tree[t], tree[t + half]) : tree[t] + tree[t + half];
        sync_block();
    }
    float all = tree[0];
    sync_block();                                              /* before the next one overwrites it                    */
    return all;
}

/* keep: e is written and read again */
KERNEL(256) soft_block(GRID soft_call p, bool keep)
{
    SHARED(float, tree, 256);
    int row = (int)blockIdx.x, t = (int)threadIdx.x, label = p.labels[row];
    const float *x = p.x + row * SOFT_CLASSES;
    float *dx = p.dx + row * SOFT_CLASSES, top = x[t], sum = 0.0f, s = p.scale[0] / (float)SOFT_ROWS;
    for (int i = t + 256; i < SOFT_CLASSES; i += 256)
        top = max_of(top, x[i]);
    top = soft_joined(tree, top, true);
    for (int i = t; i < SOFT_CLASSES; i += 256) {
        float e = exp_of(x[i] - top);
        if (keep)
            dx[i] = e;
        sum = sum + e;
    }
    sum = soft_joined(tree, sum, false);
    for (int i = t; i < SOFT_CLASSES; i += 256)
        dx[i] = (keep ? dx[i] : exp_of(x[i] - top)) / sum * s - (i == label ? s : 0.0f);
    if (t == 0)
        p.losses[row] = (double)(log_of(sum) + (top - x[label]));
}

KERNEL(THREADS) soft_lanes(GRID soft_call p)
{
    int row = (int)thread_of_grid() / 16, lane = (int)threadIdx.x % 16, label = p.labels[row];
    const float *x = p.x + row * SOFT_CLASSES;
    float *dx = p.dx + row * SOFT_CLASSES, top = x[lane], sum = 0.0f, s = p.scale[0] / (float)SOFT_ROWS;
    for (int i = lane + 16; i < SOFT_CLASSES; i += 16)
        top = max_of(top, x[i]);
    for (int by = 8; by; by /= 2)
        top = max_of(top, shuffle_xor(top, by));
    for (int i = lane; i < SOFT_CLASSES; i += 16)
        sum = sum + exp_of(x[i] - top);
    sum = from_first(tree_sum(sum));
    for (int i = lane; i < SOFT_CLASSES; i += 16)
        dx[i] = exp_of(x[i] - top) / sum * s - (i == label ? s : 0.0f);
    if (lane == 0)
        p.losses[row] = (double)(log_of(sum) + (top - x[label]));
}

KERNEL(1) soft_loss(GRID soft_call p)
{
    double sum = 0.0;
    for (int r = 0; r < SOFT_ROWS; r++)
        sum = sum + p.losses[r];
    p.loss[0] = (float)(sum / SOFT_ROWS);
}

static int shipped(im_device *dev, const soft_call &p)
{
    float *stats = (float *)im_cu_alloc(im_cuda_stream(dev), sizeof(float) * 2 * SOFT_ROWS);
    im_cross_entropy_args f = { SOFT_ROWS, SOFT_CLASSES, { p.x, IM_F32 }, p.labels, p.loss, stats };
    im_cross_entropy_bwd_args b = { SOFT_ROWS, SOFT_CLASSES, f.x, p.labels, stats, p.scale, { p.dx, IM_F32 }, false };
    int status = im_cuda_cross_entropy(dev, &f);
    status = status ? status : im_cuda_cross_entropy_bwd(dev, &b);
    im_cu_free(im_cuda_stream(dev), stats);
    return status;
}

static int run(im_device *dev, int step, const void *const *in, const int32_t *ids, void *out)
{
    im_cu *cu = im_cuda_stream(dev);
    soft_call p = { (const float *)in[0], (const float *)in[1], ids, (float *)out,
                    (double *)im_cuda_workspace(dev, sizeof(double) * SOFT_ROWS),
                    (float *)out + SOFT_ROWS * SOFT_CLASSES };
    int failed = step == 1 ? LAUNCH(cu, 1, 64, soft_naive, p)
               : step == 2 || step == 3 ? LAUNCH(cu, SOFT_ROWS, 256, soft_block, p, step == 2)
               : step == 4 ? LAUNCH(cu, SOFT_ROWS * 16 / THREADS, THREADS, soft_lanes, p) : shipped(dev, p);
    return failed || step == 5 ? failed : LAUNCH(cu, 1, 1, soft_loss, p);
}

static const double R = SOFT_ROWS, PASS = R * SOFT_CLASSES / 8;

extern const ladder ladder_softmax = {
    "softmax", "dx (64, 1000) and the loss of cross entropy", 8.0 * SOFT_ROWS * SOFT_CLASSES,
    { SOFT_ROWS * SOFT_CLASSES, 1, 0 }, SOFT_ROWS, SOFT_CLASSES, SOFT_ROWS * SOFT_CLASSES + 1,
    { { "naive", 0, false, {} },
      { "a block a row", 0, false, { { LADDER_SECTORS, 5 * PASS + R * (8 * 2 + 4) } } },
      { "exp again", 0, false, { { LADDER_SECTORS, 4 * PASS + R * (8 * 2 + 4) } } },
      { "lanes", 0, false, { { LADDER_TURNS, 0 }, { LADDER_BARRIERS, 0 } } },
      { "registers", 0, false, { { LADDER_SECTORS, 3 * PASS + R * 8 * 4 } } } },
    run, plain_softmax };
