/* outer_mma.cuh: the sums of outer.cuh on tensor cores (cores.cuh): c[i][j] (+)= sum over m of a[m][i] b[m][j], factors in
 * f16 or, from sm_80 on, bf16, sums in f32.
 *
 *     a: 32 of m x 64 of i \  as product_mma.cuh: three of each in shared memory, two on their way, a block 64 x 64 sums of
 *     b: 32 of m x 64 of j /  4 warps. Rows run along i and j here, so ldmatrix turns each 8 x 8 around (.trans)
 *
 * Rows of 128 bytes are 8 chunks of 16; chunk c of row m lies at c ^ (m % 8): the 8 rows that one ldmatrix reads fall into
 * different banks.
 *
 * Bits: m is cut into parts; an output of a part is one chain of k16 steps (sm_75: k8) in ascending m; parts are added in
 * f32 in ascending order, then + what is there. How many parts: `parts` below, a function of the sizes of the layer alone,
 * so that small layers fill a device and no layer needs more than 16 MiB of workspace.
 *
 * Beside what outer.cuh asks of a job:
 *     bool bf16;  bool a_direct, b_direct;        as product_mma.cuh
 *     im_cbuf x, y;                               where a and b lie: anything that can be read
 *     const void *a8(int64_t m, int i)   const void *b8(int64_t m, column)     8 numbers; NULL: zeros */
#ifndef IM_CUDA_OUTER_MMA_H
#define IM_CUDA_OUTER_MMA_H

#include "cuda/outer.cuh"
#include "cuda/product_mma.cuh"

enum { OUTER_MOST = 1024, OUTER_TILES = 64 };                  /* tiles of sums, of all parts; steps of 32 of a part    */

struct outer_parts { int64_t rows; int n; float *sums; };      /* of a part; parts; (n, ni, nj), NULL for one          */

/* Element of a stage where chunk `chunk` of row `m` begins. */
DEV int swizzled_row(int m, int chunk) { return m * MMA_TILE + ((chunk ^ (m % 8)) << 3); }

template <class J, class C>
DEV void fetch_columns_a(const J &j, C &copy, int nth, int64_t m, bool in, int i0, uint16_t *to)
{
    if (j.a_direct) {
        const void *from = in && i0 < j.ni ? j.a8(m, i0) : NULL;
        copy.ask(nth, to, from ? from : j.x.p, from != NULL);
        return;
    }
    ROLLED for (int i = 0; i < 8; i += 2)
        ((uint32_t *)to)[i / 2] = two_halves(j.bf16, in && i0 + i < j.ni ? j.a(m, i0 + i) : 0.0f,
                                             in && i0 + i + 1 < j.ni ? j.a(m, i0 + i + 1) : 0.0f);
}

/* col: of j0 */
template <class J, class C> DEV void fetch_columns_b(const J &j, C &copy, int nth, int64_t m, bool in, int j0,
                                                     const typename J::column &col, uint16_t *to)
{
    if (j.b_direct) {
        const void *from = in && j0 < j.nj ? j.b8(m, col) : NULL;
        copy.ask(nth, to, from ? from : j.y.p, from != NULL);
        return;
    }
    ROLLED for (int i = 0; i < 8; i += 2)
        ((uint32_t *)to)[i / 2] = two_halves(j.bf16, in && j0 + i < j.nj ? j.b(m, j.column_of(j0 + i)) : 0.0f,
                                             in && j0 + i + 1 < j.nj ? j.b(m, j.column_of(j0 + i + 1)) : 0.0f);
}

/* 32 of m: this warp's 32 x 32 sums; i, j: its place in the tile. */
template <im_cuda_cores CORES>
DEV void multiply_rows(const uint16_t *a, const uint16_t *b, int i0, int j0, float sum[2][4][4])
{
    int lane = (int)threadIdx.x % 32, low = lane % 8, one = lane / 8 % 2, two = lane / 16;
    for (int m = 0; m < MMA_K; m += 16) {
        uint32_t fa[2][4], fb[2][4];
        for (int i = 0; i < 2; i++) {
            ldmatrix4_turned(fa[i], a + swizzled_row(m + 8 * two + low, i0 / 8 + 2 * i + one));
            ldmatrix4_turned(fb[i], b + swizzled_row(m + 8 * one + low, j0 / 8 + 2 * i + two));
        }
        for (int i = 0; i < 2; i++)
            for (int c = 0; c < 4; c++)
                mma_16<CORES>(sum[i][c], fa[i], fb[c / 2] + c % 2 * 2);
    }
}

template <class J, im_cuda_cores CORES> KERNEL(MMA_THREADS) outer_mma_kernel(GRID J j, GRID outer_parts parts)
{
    CODE_FOR(CORES == IM_CUDA_F16_75);
    SHARED16(uint16_t, as, MMA_STAGES * MMA_STAGE);
    SHARED16(uint16_t, bs, MMA_STAGES * MMA_STAGE);
    int t = (int)threadIdx.x, lane = t % 32, chunk = t % 8, wi = t / 64 * 32, wj = t / 32 % 2 * 32;
    int i0 = (int)blockIdx.x * MMA_TILE, j0 = (int)blockIdx.y * MMA_TILE, mine = j0 + 8 * chunk;
    int64_t from = blockIdx.z * parts.rows, to = min_of(from + parts.rows, j.m);
    int tiles = (int)((to - from + MMA_K - 1) / MMA_K);
    typename J::column col = j.column_of(mine);               /* of no column behind the last is anything read        */
    float sum[2][4][4] = { { { 0 } } };
    copies<CORES, 4, MMA_STAGES - 2> copy = {};
    for (int tile = 1 - MMA_STAGES; tile < tiles; tile++) {
        int next = tile + MMA_STAGES - 1, place = next % MMA_STAGES * MMA_STAGE;
        copy.wait();
        if (tile >= 0)
            sync_block();
        if (next < tiles)
            UNROLL for (int r = 0; r < 2; r++) {               /* each thread: chunk t % 8 of rows t / 8 and t / 8 + 16 */
                int row = t / 8 + 16 * r, at = place + swizzled_row(row, chunk);
                int64_t m = from + (int64_t)next * MMA_K + row;
                fetch_columns_a(j, copy, 2 * r, m, m < to, i0 + 8 * chunk, as + at);
                fetch_columns_b(j, copy, 2 * r + 1, m, m < to, mine, col, bs + at);
            }
        copy.commit();
        if (tile >= 0) {
            int now = tile % MMA_STAGES * MMA_STAGE;
            multiply_rows<CORES>(as + now, bs + now, wi, wj, sum);
        }
    }
    UNROLL for (int i = 0; i < 2; i++)
        UNROLL for (int c = 0; c < 4; c++)
            UNROLL for (int h = 0; h < 4; h++) {
                int row = i0 + wi + 16 * i + lane / 4 + h / 2 * 8, n = j0 + wj + 8 * c + lane % 4 * 2 + h % 2;
                if (row < j.ni && n < j.nj && parts.sums)
                    parts.sums[((int64_t)blockIdx.z * j.ni + row) * j.nj + n] = sum[i][c][h];
                else if (row < j.ni && n < j.nj)
                    j.finish(row, n, sum[i][c][h]);
            }
}

/* The parts of one output, in ascending order. */
template <class J> KERNEL(THREADS) outer_parts_kernel(GRID J j, GRID outer_parts parts)
{
    int64_t i = thread_of_grid(), all = (int64_t)j.ni * j.nj;
    if (i >= all)
        return;
    float sum = parts.sums[i];
    for (int p = 1; p < parts.n; p++)
        sum = sum + parts.sums[p * all + i];
    j.finish((int)(i / j.nj), (int)(i % j.nj), sum);
}

/* enum im_status */
template <class J> static int run_outer_mma(im_device *dev, const J &j, im_cuda_cores cores)
{
    dim3 grid(im_cuda_blocks(j.ni, MMA_TILE), im_cuda_blocks(j.nj, MMA_TILE));
    int64_t longest = (j.m + MMA_K * OUTER_TILES - 1) / (MMA_K * OUTER_TILES), most = OUTER_MOST / (grid.x * grid.y);
    int64_t n = longest < most ? longest : most > 1 ? most : 1, rows = (j.m + n - 1) / n;
    outer_parts parts = { (rows + MMA_K - 1) / MMA_K * MMA_K, 0, NULL };
    parts.n = (int)((j.m + parts.rows - 1) / parts.rows);
    size_t bytes = sizeof(float) * parts.n * j.ni * j.nj;
    if (parts.n > 1 && !(parts.sums = (float *)im_cuda_workspace(dev, bytes)))
        return IM_NO_MEMORY;
    grid.z = (unsigned)parts.n;
    int failed = RUN_CORES(dev, cores, grid, outer_mma_kernel, (J), j, parts);
    if (parts.sums)
        failed = failed || RUN(dev, im_cuda_blocks((int64_t)j.ni * j.nj, THREADS), THREADS, outer_parts_kernel<J>, j,
                               parts);
    return im_cuda_done(dev, failed);
}

/* Both factors are held in 16 bits of one kind, or rounded to bf16 by im_set_compute_dtype: what kind; else IM_F32. */
static inline im_dtype outer_half(const im_device *dev, im_cbuf a, im_cbuf b)
{
    return dev->compute_dtype == IM_BF16 ? IM_BF16 : a.t == b.t ? a.t : IM_F32;
}
static inline im_cuda_cores outer_cores(const im_device *dev, int slot, im_dtype half)
{
    return half == IM_F32 ? IM_CUDA_NO_CORES : im_cuda_mma(dev, slot, half);
}

#endif
