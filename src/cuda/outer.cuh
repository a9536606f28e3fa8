/* outer.cuh: c[i][j] (+)= sum over rows m of a[m][i] b[m][j], a gradient of weights, by tiles of 64 x 64: as product.cuh,
 * but that both factors are read along their rows, and that the sum goes by chunks: one chain from 0 in each, the chunks
 * added in f32 in ascending order (train_args.h). A job says:
 *
 *     int64_t m; int ni, nj, chunk;               chunk: a multiple of 16
 *     column                                      what is known of a column of b before m is
 *     column column_of(int j)    float a(int64_t m, int i)    float b(int64_t m, column)
 *     void finish(int i, int j, float sum) */
#ifndef IM_CUDA_OUTER_H
#define IM_CUDA_OUTER_H

#include "cuda/product.cuh"

template <class J> KERNEL(256) outer_kernel(GRID J j)
{
    SHARED2(float, as, STEPS, PITCH);
    SHARED2(float, bs, STEPS, PITCH);
    int t = (int)threadIdx.x, line = t % TILE, m4 = t / TILE * EACH, ty = t / 16, tx = t % 16;
    int i0 = (int)blockIdx.x * TILE, j0 = (int)blockIdx.y * TILE;
    bool a_in = i0 + line < j.ni, b_in = j0 + line < j.nj;
    typename J::column col = j.column_of(b_in ? j0 + line : 0);
    float sum[EACH][EACH] = { { 0 } }, total[EACH][EACH] = { { 0 } };
    for (int64_t m0 = 0; m0 < j.m; m0 += STEPS) {
        int steps = j.m - m0 < STEPS ? (int)(j.m - m0) : (int)STEPS;
        for (int i = 0; i < EACH; i++) {
            int m = m4 + i;
            as[m][line] = a_in && m < steps ? j.a(m0 + m, i0 + line) : 0.0f;
            bs[m][line] = b_in && m < steps ? j.b(m0 + m, col) : 0.0f;
        }
        sync_block();
        for (int m = 0; m < steps; m++) {
            float a[EACH], b[EACH];
            for (int i = 0; i < EACH; i++) {
                a[i] = as[m][ty + 16 * i];
                b[i] = bs[m][tx + 16 * i];
            }
            for (int i = 0; i < EACH; i++)
                for (int c = 0; c < EACH; c++)
                    sum[i][c] = fmaf(a[i], b[c], sum[i][c]);
        }
        sync_block();
        bool first = m0 < j.chunk, last = (m0 + STEPS) % j.chunk == 0 || m0 + STEPS >= j.m;
        for (int i = 0; last && i < EACH; i++)
            for (int c = 0; c < EACH; c++) {
                total[i][c] = first ? sum[i][c] : total[i][c] + sum[i][c];
                sum[i][c] = 0.0f;
            }
    }
    for (int i = 0; i < EACH; i++)
        for (int c = 0; c < EACH; c++)
            if (i0 + ty + 16 * i < j.ni && j0 + tx + 16 * c < j.nj)
                j.finish(i0 + ty + 16 * i, j0 + tx + 16 * c, total[i][c]);
}

template <class J> static int run_outer(im_device *dev, const J &j, int products)
{
    dim3 grid(im_cuda_blocks(j.ni, TILE), im_cuda_blocks(j.nj, TILE), (unsigned)products);
    return RUN(dev, grid, 256, outer_kernel<J>, j);
}

#endif
