/* loss.cu: losses and their gradients (ref/loss.c has the formulas, cpu/loss.c the order of the sums). Called by
 * ops/loss.c.
 *
 * cross entropy: 16 threads a row, the lanes of its sums; rows of up to 1,024 classes stay in registers and are read
 * once
 *                (row.cuh); the rows' losses in f64, ascending, by one thread.
 * mse, l1: 16 threads a chunk of IM_MAP_CHUNK elements of a sample, in f64; chunks and samples, ascending, by one
 * thread. */
#include "cuda/row.cuh"

/* ---------------------------------------------------------------- cross entropy */

template <int HELD> KERNEL(THREADS) entropy_rows(GRID im_cross_entropy_args p, double *losses)
{
    int64_t row = thread_of_grid() / 16, at = row * p.classes;
    int lane = (int)threadIdx.x % 16, n = row < p.rows ? p.classes : 0;
    row_numbers<HELD> x = { p.x, at + lane, (n - lane + 15) / 16, { 0 } };
    float top = float_of(0xff800000u), sum = 0.0f;
    x.begin();
    UNROLL for (int k = 0; k < x.end(); k++)
        top = k < x.n ? max_of(top, x.number(k)) : top;
    for (int half = 8; half; half /= 2)
        top = max_of(top, shuffle_down(top, half, 16));
    top = from_first(top);
    UNROLL for (int k = 0; k < x.end(); k++)
        sum = k < x.n ? sum + exp_of(x.number(k) - top) : sum;
    sum = tree_sum(sum);
    if (lane || !n)
        return;
    losses[row] = (double)(log_of(sum) + (top - load(p.x, at + p.labels[row])));
    if (p.stats) {
        p.stats[2 * row] = top;
        p.stats[2 * row + 1] = sum;
    }
}

KERNEL(1) entropy_sum(GRID im_cross_entropy_args p, const double *losses)
{
    double sum = 0.0;
    for (int64_t r = 0; r < p.rows; r++)
        sum = sum + losses[r];
    p.loss[0] = (float)(sum / (double)p.rows);
}

int im_cuda_cross_entropy(im_device *dev, const im_cross_entropy_args *p)
{
    double *losses = (double *)im_cuda_workspace(dev, (size_t)p->rows * sizeof(double));
    if (!losses)
        return IM_NO_MEMORY;
    unsigned blocks = im_cuda_blocks(p->rows * 16, THREADS);
    int failed = p->classes <= 16 * 8 ? RUN(dev, blocks, THREADS, entropy_rows<8>, *p, losses)
               : p->classes <= 16 * 64 ? RUN(dev, blocks, THREADS, entropy_rows<64>, *p, losses)
                                       : RUN(dev, blocks, THREADS, entropy_rows<0>, *p, losses);
    return im_cuda_done(dev, failed || RUN(dev, 1, 1, entropy_sum, *p, losses));
}

/* dx_k = e_k (s / sum), less s at the label, e_k = exp(x_k - top), s = dloss / R. blockIdx: row, columns; a thread's
 * four lie THREADS apart, so that what belongs to the row is read once for all of them. */
enum { ENTROPY_EACH = 4 };
KERNEL(THREADS) entropy_bwd_kernel(GRID im_cross_entropy_bwd_args p)
{
    int64_t row = blockIdx.x;
    int first = (int)(blockIdx.y * ENTROPY_EACH * THREADS + threadIdx.x), label = p.labels[row];
    float s = (float)((double)p.dloss[0] / (double)p.rows), top = p.stats[2 * row], by = s / p.stats[2 * row + 1];
    for (int k = 0; k < ENTROPY_EACH; k++) {
        int i = first + k * THREADS;
        if (i >= p.classes)
            return;
        float e = exp_of(load(p.x, row * p.classes + i) - top) * by;
        put(p.dx, row * p.classes + i, i == label ? e - s : e, p.add);
    }
}

int im_cuda_cross_entropy_bwd(im_device *dev, const im_cross_entropy_bwd_args *p)
{
    dim3 grid((unsigned)p->rows, im_cuda_blocks(p->classes, ENTROPY_EACH * THREADS));
    return p->rows ? im_cuda_done(dev, RUN(dev, grid, THREADS, entropy_bwd_kernel, *p)) : IM_DONE;
}

/* ---------------------------------------------------------------- mse, l1 */

KERNEL(THREADS) loss_chunks(GRID im_loss_args p, int64_t chunks, double *sums)
{
    int64_t i = thread_of_grid() / 16, b = i / chunks, from = i % chunks * IM_MAP_CHUNK;
    int lane = (int)threadIdx.x % 16;
    int64_t last = b < p.batch ? min_of(from + IM_MAP_CHUNK, p.n) : 0;
    double sum = 0.0;
    for (int64_t k = from + lane; k < last; k += 16) {
        float d = load(p.x, b * p.n + k) - load(p.t, b * p.n + k);
        sum = sum + (p.kind == IM_LOSS_MSE ? (double)d * (double)d : (double)fabsf(d));
    }
    sum = tree_sum(sum);
    if (lane == 0 && b < p.batch)
        sums[i] = sum;
}

KERNEL(1) loss_sum(GRID im_loss_args p, int64_t chunks, const double *sums)
{
    double loss = 0.0;
    for (int b = 0; b < p.batch; b++) {
        double sum = 0.0;
        for (int64_t i = 0; i < chunks; i++)
            sum = sum + sums[b * chunks + i];
        loss = loss + (p.weight ? (double)p.weight[b] : 1.0) * (sum / (double)p.n);
    }
    p.loss[0] = (float)(loss / p.batch);
}

int im_cuda_loss(im_device *dev, const im_loss_args *p)
{
    int64_t chunks = (p->n + IM_MAP_CHUNK - 1) / IM_MAP_CHUNK, all = p->batch * chunks;
    double *sums = (double *)im_cuda_workspace(dev, (size_t)all * sizeof(double));
    if (!sums)
        return IM_NO_MEMORY;
    int failed = RUN(dev, im_cuda_blocks(all * 16, THREADS), THREADS, loss_chunks, *p, chunks, sums);
    return im_cuda_done(dev, failed || RUN(dev, 1, 1, loss_sum, *p, chunks, sums));
}

KERNEL(THREADS) loss_bwd_kernel(GRID im_loss_bwd_args p)
{
    int64_t i = thread_of_grid(), b = i / p.n;
    if (b >= p.batch)
        return;
    double s = (double)p.dloss[0] * (p.weight ? (double)p.weight[b] : 1.0) / ((double)p.batch * (double)p.n);
    float d = load(p.x, i) - load(p.t, i), by = p.kind == IM_LOSS_MSE ? (float)(2 * s) : (float)s;
    if (p.kind == IM_LOSS_L1)                                  /* the sign: a NaN and a zero stay                      */
        d = d > 0.0f ? 1.0f : d < 0.0f ? -1.0f : d;
    float g = by * d;
    if (p.dx.p)
        put(p.dx, i, g, p.add_dx);
    if (p.dt.p)
        put(p.dt, i, -g, p.add_dt);
}

int im_cuda_loss_bwd(im_device *dev, const im_loss_bwd_args *p)
{
    return im_cuda_done(dev, RUN(dev, im_cuda_blocks(p->batch * p->n, THREADS), THREADS, loss_bwd_kernel, *p));
}
