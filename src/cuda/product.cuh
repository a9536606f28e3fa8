/* product.cuh: the product of two matrices by tiles, for whatever the factors are read from and the sums go to.
 *
 *                      B: 64 columns                    for each 16 steps of k
 *                    [ bs: 16 x 64 ]                      256 threads fetch 64 x 16 of A and 16 x 64 of B into shared
 *     A   [ as   ]   +-------------+                      memory, 4 numbers of each a thread: 16 threads read 16 numbers
 *     64  [ 16 x ]   | .   .   .   |                      of a row that lie side by side
 *    rows [ 64   ]   |   sums of   |                      barrier; each thread adds 16 products to each of its 4 x 4
 *                    | . a thread  |                      sums, which stay in registers; barrier
 *                    +-------------+
 *
 * A thread's sums lie 16 rows and 16 columns apart, so that the 16 threads of a row read 16 different banks of bs and write
 * 16 numbers of the result side by side. Why these sizes: 4 x 4 sums need 8 numbers of shared memory a step, half a load a
 * multiply-add; 64 x 64 by 256 threads fetches each number of A and B 64 times less often than it is used, and 8 KiB of
 * shared memory leave room for six blocks on an SM. bench/ladder has the steps that lead here, and counts them. The next
 * path (tensor cores, product_mma.cuh) is what is fast; this one is right on every device.
 *
 * A sum is one chain of fused multiply-adds over ascending k from 0 (tensor/device.h). A job says what is multiplied:
 *
 *     int64_t m; int n, k;                        sizes of the result, length of the sums
 *     bool geglu;                                 each column is a value (n) and a gate (n + this->n)
 *     row                                         what is known of a row of A before k is
 *     row row_of(int64_t m)    float a(row, k)    elements; k < this->k
 *     float b(int n, int k)                       n < this->n, or 2 n where geglu
 *     void finish(int64_t m, int n, float sum, float gate)
 *
 * each as seen by the block (blockIdx.z may choose among many products). */
#ifndef IM_CUDA_PRODUCT_H
#define IM_CUDA_PRODUCT_H

#include "cuda/kernel.cuh"

enum { TILE = 64, STEPS = 16, EACH = 4, PITCH = TILE + 2 };    /* a pitch of 66: 16 rows by 2 fall into 32 banks       */

template <class J> KERNEL(256) product_kernel(GRID J j)
{
    SHARED2(float, as, STEPS, PITCH);
    SHARED2(float, bs, STEPS, PITCH);
    int t = (int)threadIdx.x, ty = t / 16, tx = t % 16, n0 = (int)blockIdx.y * TILE;
    int64_t m0 = (int64_t)blockIdx.x * TILE;
    typename J::row row[EACH];
    int b_row[EACH];
    bool a_in[EACH], b_in[EACH];
    UNROLL for (int i = 0; i < EACH; i++) {                    /* of lines ty + 16 i of both                           */
        int line = ty + 16 * i, half = line / (TILE / 2), n = j.geglu ? n0 / 2 + line % (TILE / 2) : n0 + line;
        a_in[i] = m0 + line < j.m;
        b_in[i] = n < j.n;
        row[i] = j.row_of(a_in[i] ? m0 + line : 0);
        b_row[i] = j.geglu ? n + half * j.n : n;               /* 32 values, then their 32 gates                       */
    }
    float sum[EACH][EACH] = { { 0 } };
    for (int k0 = 0; k0 < j.k; k0 += STEPS) {
        int steps = j.k - k0 < STEPS ? j.k - k0 : STEPS;
        UNROLL for (int i = 0; i < EACH; i++) {
            as[tx][ty + 16 * i] = a_in[i] && tx < steps ? j.a(row[i], k0 + tx) : 0.0f;
            bs[tx][ty + 16 * i] = b_in[i] && tx < steps ? j.b(b_row[i], k0 + tx) : 0.0f;
        }
        sync_block();
        for (int k = 0; k < steps; k++) {
            float a[EACH], b[EACH];
            for (int i = 0; i < EACH; i++) {
                a[i] = as[k][ty + 16 * i];
                b[i] = bs[k][tx + 16 * i];
            }
            for (int i = 0; i < EACH; i++)
                for (int c = 0; c < EACH; c++)
                    sum[i][c] = fmaf(a[i], b[c], sum[i][c]);
        }
        sync_block();
    }
    UNROLL for (int i = 0; i < EACH; i++)
        UNROLL for (int c = 0; c < EACH; c++) {
            int n = j.geglu ? n0 / 2 + tx + 16 * c : n0 + tx + 16 * c;
            if (m0 + ty + 16 * i < j.m && n < j.n && !(j.geglu && c >= EACH / 2))
                j.finish(m0 + ty + 16 * i, n, sum[i][c], sum[i][(c + EACH / 2) % EACH]);
        }
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
    bool round;                                                /* to bf16: im_set_compute_dtype                        */
    MEMBER int64_t place(int n, int k) const
    {
        int tap = k / channels;
        return base + n * ld + tap / kw * lr + tap % kw * lc + k % channels * lk;
    }
    MEMBER float at(int n, int k) const { return factor(round, load(t, p, place(n, k))); }
};

/* f32 weights are rounded where im_set_compute_dtype asked for it (tensor/device.h). */
static inline bool rounds(const im_device *dev, im_dtype weight)
{
    return dev->compute_dtype == IM_BF16 && weight == IM_F32;
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
