/* product.cuh: the product of two matrices by tiles, for whatever the factors are read from and the sums go to.
 *
 *                      B: 64 columns                    for each 16 steps of k
 *                    [ bs: 16 x 64 ]                      256 threads fetch 64 x 16 of A and 16 x 64 of B into shared
 *     A   [ as   ]   +-------------+                      memory, 4 numbers of each a thread: 16 numbers of a row lie
 *     64  [ 16 x ]   | 4x4 |   |   |                      side by side in memory, 4 threads take them
 *    rows [ 64   ]   |-----+   |   |                      barrier; each thread adds 16 products to each of its 4 x 4
 *                    |     tile    |                      sums, which stay in registers; barrier
 *                    +-------------+
 *
 * Why these sizes: 4 x 4 sums need 8 numbers of shared memory a step, half a load a multiply-add; 64 x 64 by 256 threads
 * fetches each number of A and B 64 times less often than it is used, and 8 KiB of shared memory leave room for six blocks
 * on an SM. The next paths (tensor cores) are what is fast; this one is right on every device.
 *
 * A sum is one chain of fused multiply-adds over ascending k from 0 (tensor/device.h). A job says what is multiplied:
 *
 *     int64_t m; int n, k;                        sizes of the result, length of the sums
 *     bool geglu;                                 columns come in pairs, value and gate, n counts the pairs
 *     row                                         what is known of a row of A before k is
 *     row row_of(int64_t m)    float a(row, k)    elements; k < this->k
 *     float b(int n, int k)                       n < this->n, or 2 n where geglu
 *     void finish(int64_t m, int n, float sum, float gate)
 *
 * each as seen by the block (blockIdx.z may choose among many products). */
#ifndef IM_CUDA_PRODUCT_H
#define IM_CUDA_PRODUCT_H

#include "cuda/kernel.cuh"

enum { TILE = 64, STEPS = 16, EACH = 4, PITCH = TILE + 4 };    /* a pitch of 68: rows begin in different banks         */

template <class J> KERNEL(256) product_kernel(GRID J j)
{
    SHARED2(float, as, STEPS, PITCH);
    SHARED2(float, bs, STEPS, PITCH);
    int t = (int)threadIdx.x, line = t / EACH, k4 = t % EACH * EACH, ty = t / 16 * EACH, tx = t % 16 * EACH;
    int64_t m0 = (int64_t)blockIdx.x * TILE;
    int n0 = (int)blockIdx.y * TILE, columns = j.geglu ? 2 * j.n : j.n;
    int n = n0 + line, b_row = j.geglu ? n / 2 + n % 2 * j.n : n;
    bool a_in = m0 + line < j.m, b_in = n < columns;
    typename J::row row = j.row_of(a_in ? m0 + line : 0);
    float sum[EACH][EACH] = { { 0 } };
    for (int k0 = 0; k0 < j.k; k0 += STEPS) {
        int steps = j.k - k0 < STEPS ? j.k - k0 : STEPS;
        for (int i = 0; i < EACH; i++) {
            int k = k4 + i;
            as[k][line] = a_in && k < steps ? j.a(row, k0 + k) : 0.0f;
            bs[k][line] = b_in && k < steps ? j.b(b_row, k0 + k) : 0.0f;
        }
        sync_block();
        for (int k = 0; k < steps; k++) {
            float a[EACH], b[EACH];
            for (int i = 0; i < EACH; i++) {
                a[i] = as[k][ty + i];
                b[i] = bs[k][tx + i];
            }
            for (int i = 0; i < EACH; i++)
                for (int c = 0; c < EACH; c++)
                    sum[i][c] = fmaf(a[i], b[c], sum[i][c]);
        }
        sync_block();
    }
    UNROLL for (int i = 0; i < EACH; i++)
        UNROLL for (int c = 0; c < EACH; c++)
            if (m0 + ty + i < j.m && n0 + tx + c < columns && !(j.geglu && c % 2))
                j.finish(m0 + ty + i, j.geglu ? (n0 + tx + c) / 2 : n0 + tx + c, sum[i][c], sum[i][c | 1]);
}

template <class J> static int run_product(im_device *dev, const J &j, int products)
{
    int columns = j.geglu ? 2 * j.n : j.n;
    dim3 grid(im_cuda_blocks(j.m, TILE), im_cuda_blocks(columns, TILE), (unsigned)products);
    return j.m && columns ? RUN(dev, grid, 256, product_kernel<J>, j) : 0;
}

/* Rows of a weight, plain: element (n, k), k = (tap, channel), taps (r, s) of rows of kw; any of them may run backwards. */
struct weight_view {
    const void *p; im_dtype t;
    int64_t base, ld, lr, lc, lk;                              /* of row n, of r, of s, of the channel                 */
    int kw, channels;
    bool round;                                                /* to bf16: im_set_products                             */
    MEMBER int64_t place(int n, int k) const
    {
        int tap = k / channels;
        return base + n * ld + tap / kw * lr + tap % kw * lc + k % channels * lk;
    }
    MEMBER float at(int n, int k) const { return factor(round, load(t, p, place(n, k))); }
};

/* f32 weights are rounded where im_set_products asked for it (tensor/device.h). */
static inline bool rounds(const im_device *dev, im_dtype weight)
{
    return dev->products == IM_BF16 && weight == IM_F32;
}

static inline weight_view view_of(const im_device *dev, const im_weight *w, int kw, int channels)
{
    int64_t lk = w->lk ? w->lk : 1, lt = w->lt ? w->lt : channels * lk;
    return weight_view{ w->data, w->dtype, 0, w->ld, kw * lt, lt, lk, kw, channels, rounds(dev, w->dtype) };
}

/* Where a product's sums go on their way to memory, as tensor/device.h orders it. */
struct epilogue {
    const float *bias;
    im_cbuf chan, res;
    im_act act;
    MEMBER float value(float sum, int n, int64_t chan_at, int64_t res_at) const
    {
        float y = bias ? sum + bias[n] : sum;
        y = activate(act, chan.p ? y + load(chan, chan_at) : y);
        return res.p ? y + load(res, res_at) : y;
    }
};

#endif
