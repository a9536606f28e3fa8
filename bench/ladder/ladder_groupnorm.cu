/* ladder_groupnorm.cu: group norm with SiLU, channels last, in five steps to the kernels that are shipped
 * (cuda/norm.cu):
 *
 *     y = silu((x - mean) / sqrt(var + eps) gamma + beta)       mean, var: of all pixels and the 8 channels of a group
 *
 *     1 naive       a thread a group; SiLU by a kernel of its own, as an operation of its own would have it. Six passes
 *                   over the picture: mean, variance, y; SiLU; and a warp's lanes are 8 threads, 8 channels apart
 *     2 a block     256 threads a group; the 8 channels of 4 pixels are a request, whole sectors; two trees in shared
 *                   memory. Only as many blocks as groups are at work, and still six passes
 *     3 fused       SiLU where y is made: four passes
 *     4 chunks      32 pixels x 64 channels of all groups come to shared memory once; mean and squares of a channel are
 *                   summed up there, and joined in f64 (Chan et al. 1979), so that one pass, not two, makes the
 *                   statistics: three. Blocks are as many as the picture has chunks. Shipped in f32
 *     5 eight       x and y in f16, eight numbers an access of 16 bytes (cuda/vector.cuh): half of the sectors, a
 *                   quarter of the requests. Shipped in 16 bits
 *
 * The predictions: a pass is P C / 8 sectors in f32; in step 1 P C, as 8 lanes of a request are 8 sectors. Beside them:
 *     2, 3    nothing that counts
 *     4       JOIN: mean and squares of P / 32 chunks are written, C / 8 sectors each, and read, by groups of 8
 *             channels; a group's channels in f64, written (4 sectors) and read by one thread (2 a channel); gamma,
 *             beta, scale, shift. Apply: scale and shift once for 8 pixels: 2/8 of a pass. A barrier a chunk, two a
 *             group
 *     5       three passes of half; scale and shift by half-filled accesses of 16 bytes, of which 4 rows of lanes are
 *             the same: 1/8 of a pass. Requests: an access for 256 numbers three times; scale and shift, 4 for 8 of
 *             them; statistics written (4 a chunk) and read, 2 a chunk and group; 22 more a group */
#include "ladder.cuh"
#include "plain.h"

#include "cuda/kernel.cuh"

struct norm_naive_call { const float *x, *gamma, *beta; float *y; };

enum { NORM_COUNT = NORM_PIXELS * NORM_SIZE };                 /* numbers of a group                                   */

/* Number i of group g, pixels first. */
DEV int norm_at(int g, int i) { return i / NORM_SIZE * NORM_CHANNELS + g * NORM_SIZE + i % NORM_SIZE; }

KERNEL(NORM_GROUPS) norm_naive(GRID norm_naive_call p)
{
    int g = (int)threadIdx.x;
    float mean = 0.0f, squares = 0.0f;
    for (int i = 0; i < NORM_COUNT; i++)
        mean = mean + p.x[norm_at(g, i)];
    mean = mean / (float)NORM_COUNT;
    for (int i = 0; i < NORM_COUNT; i++) {
        float d = p.x[norm_at(g, i)] - mean;
        squares = fmaf(d, d, squares);
    }
    float rstd = 1.0f / sqrtf(squares / (float)NORM_COUNT + 1e-5f);
    for (int i = 0; i < NORM_COUNT; i++) {
        int c = g * NORM_SIZE + i % NORM_SIZE;
        p.y[norm_at(g, i)] = fmaf((p.x[norm_at(g, i)] - mean) * rstd, p.gamma[c], p.beta[c]);
    }
}

KERNEL(256) norm_silu(float *y)
{
    int i = (int)(blockIdx.x * 256 + threadIdx.x);
    y[i] = silu(y[i]);
}

/* The sum of 256 numbers; every thread gets it. */
DEV float norm_joined(float *tree, float v)
{
    int t = (int)threadIdx.x;
    tree[t] = v;
    sync_block();
    for (int half = 128; half; half /= 2) {
        if (t < half)
            tree[t] = tree[t] + tree[t + half];
        sync_block();
    }
    float all = tree[0];
    sync_block();
    return all;
}

KERNEL(256) norm_block(GRID norm_naive_call p, bool fused)
{
    SHARED(float, tree, 256);
    int g = (int)blockIdx.x, t = (int)threadIdx.x, c = g * NORM_SIZE + t % NORM_SIZE;
    float mean = 0.0f, squares = 0.0f;
    for (int i = t; i < NORM_COUNT; i += 256)
        mean = mean + p.x[norm_at(g, i)];
    mean = norm_joined(tree, mean) / (float)NORM_COUNT;
    for (int i = t; i < NORM_COUNT; i += 256) {
        float d = p.x[norm_at(g, i)] - mean;
        squares = fmaf(d, d, squares);
    }
    float rstd = 1.0f / sqrtf(norm_joined(tree, squares) / (float)NORM_COUNT + 1e-5f), gamma = p.gamma[c], beta = p.beta[c];
    for (int i = t; i < NORM_COUNT; i += 256) {
        float v = fmaf((p.x[norm_at(g, i)] - mean) * rstd, gamma, beta);
        p.y[norm_at(g, i)] = fused ? silu(v) : v;
    }
}

static int run(im_device *dev, int step, const void *const *in, const int32_t *, void *out)
{
    im_cu *cu = im_cuda_stream(dev);
    norm_naive_call p = { (const float *)in[0], (const float *)in[1], (const float *)in[2], (float *)out };
    im_dtype t = step == 5 ? IM_F16 : IM_F32;
    if (step > 3) {
        im_groupnorm_args shipped = { 1, NORM_PIXELS, NORM_CHANNELS, NORM_GROUPS, 1e-5f, true, { in[0], t }, { out, t },
                                      p.gamma, p.beta, NULL, NULL };
        return im_cuda_groupnorm(dev, &shipped);
    }
    int failed = step == 1 ? LAUNCH(cu, 1, NORM_GROUPS, norm_naive, p)
                           : LAUNCH(cu, NORM_GROUPS, 256, norm_block, p, step == 3);
    return failed || step == 3 ? failed : LAUNCH(cu, NORM_PIXELS * NORM_CHANNELS / 256, 256, norm_silu, p.y);
}

static const double C = NORM_CHANNELS, PASS = NORM_PIXELS * C / 8, CHUNKS = NORM_PIXELS / 32.0, G = NORM_GROUPS;
static const double JOIN = CHUNKS * (2 * C / 8 + 2 * G) + G * (4 + 2 * NORM_SIZE + 4), LOADS = NORM_PIXELS * C / 256;

extern const ladder ladder_groupnorm = {
    "group norm", "y (512, 64) = silu(norm(x)), 8 groups", 12.0 * NORM_PIXELS * NORM_CHANNELS,
    { NORM_PIXELS * NORM_CHANNELS, NORM_CHANNELS, NORM_CHANNELS }, 0, 0, NORM_PIXELS * NORM_CHANNELS,
    { { "naive", 0, false, {} },
      { "a block a group", 0, false, { { LADDER_SECTORS, 6 * PASS } } },
      { "fused", 0, false, { { LADDER_SECTORS, 4 * PASS } } },
      { "chunks", 0, false, { { LADDER_SECTORS, 3 * PASS + PASS / 4 + JOIN }, { LADDER_BARRIERS, CHUNKS + 2 * G } } },
      { "eight (f16)", 1, true, { { LADDER_SECTORS, 3 * PASS / 2 + PASS / 8 + JOIN },
                                  { LADDER_REQUESTS, 3 * LOADS + LOADS / 8 * 4 + CHUNKS * (4 + 2 * G) + 22 * G } } } },
    run, plain_groupnorm };
