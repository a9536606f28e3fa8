/* product_mma.cuh: the product of product.cuh on tensor cores: factors in f16 or, from sm_80 on, bf16, sums in f32. What
 * differs between generations: cores.cuh.
 *
 *     A: BM rows x 32 of k \  three of each in shared memory: while one is multiplied, the next two are on their way
 *     B: BN rows x 32 of k /  (16 bytes a copy; what is not held in 16 bits, or not aligned, comes by registers)
 *
 *     block: 64 x 64 sums            for each 32 of k
 *     +---------+---------+            wait for its copies; barrier: all threads' copies are there, and everybody is done
 *     | warp 0  | warp 1  |            with the tile before, whose place the copies for two tiles on now take
 *     | 32 x 32 |         |            for each 16 of them
 *     +---------+---------+              ldmatrix: 2 fragments of A (16 x 16), 2 pairs of B (2 x 8 x 16)
 *     | warp 2  | warp 3  |              8 mma of m16n8k16 (sm_75: 16 of m16n8k8) into 32 sums a thread
 *     +---------+---------+
 *
 * Rows of 64 bytes are 4 chunks of 16; chunk c of row r lies at c ^ (r / 2 % 4), so that the 8 rows that one ldmatrix reads
 * fall into different banks. Why 64 x 64: even small layers (16x16 pixels) make enough blocks, 24 KiB of shared memory let
 * four of them live on an SM; a larger tile is for a device to decide.
 *
 * Bits: an output is one chain of k16 steps (sm_75: of k8) in ascending k; nothing is split, so they depend neither on the
 * batch nor on the device's size. They are those of the device's tensor cores, which differ between generations
 * (tests/sim/tensor.cc).
 *
 * Beside what product.cuh asks of a job:
 *     bool bf16;                                  what factors are rounded to: else f16
 *     bool a_direct, b_direct;                    8 numbers lie side by side as they are needed, at multiples of 16 bytes
 *     const void *a8(row, int k)   const void *b8(int n, int k)      where; NULL: zeros (direct only, k a multiple of 8) */
#ifndef IM_CUDA_PRODUCT_MMA_H
#define IM_CUDA_PRODUCT_MMA_H

#include "cuda/cores.cuh"
#include "cuda/product.cuh"

enum { MMA_TILE = 64, MMA_K = 32, MMA_STAGES = 3, MMA_THREADS = 128, MMA_STAGE = MMA_TILE * MMA_K,
       MMA_BLOCKS = 4, SUM_PITCH = 72 };

/* Sums in shared memory that had 16-bit numbers; two at once, `to` at a multiple of 8 bytes. */
typedef float __attribute__((may_alias)) shared_float;
typedef uint64_t __attribute__((may_alias)) two;
DEV void store_two(shared_float *to, const float v[2]) { *(two *)to = bits_of(v[0]) | (uint64_t)bits_of(v[1]) << 32; }

/* Element of a stage where chunk `chunk` of row `row` begins. */
DEV int swizzled(int row, int chunk) { return row * MMA_K + ((chunk ^ (row / 2 % 4)) << 3); }

DEV uint32_t two_halves(bool bf16, float low, float high)
{
    return bf16 ? f32_to_bf16(low) | (uint32_t)f32_to_bf16(high) << 16 : f32_to_f16(low) | (uint32_t)f32_to_f16(high) << 16;
}

/* Numbers k .. k+7 of A's row or B's row n to `to`, zeros behind the end; a direct one is copy `nth` of the thread. */
template <class J, class C>
DEV void fetch_a(const J &j, C &copy, int nth, const typename J::row &row, bool in, int k, uint16_t *to)
{
    if (j.a_direct) {
        const void *from = in && k < j.k ? j.a8(row, k) : NULL;
        copy.ask(nth, to, from ? from : j.x.p, from != NULL);
        return;
    }
    ROLLED for (int i = 0; i < 8; i += 2)
        ((uint32_t *)to)[i / 2] = two_halves(j.bf16, in && k + i < j.k ? j.a(row, k + i) : 0.0f,
                                             in && k + i + 1 < j.k ? j.a(row, k + i + 1) : 0.0f);
}

template <class J, class C> DEV void fetch_b(const J &j, C &copy, int nth, int n, bool in, int k, uint16_t *to)
{
    if (j.b_direct) {
        const void *from = in && k < j.k ? j.b8(n, k) : NULL;
        copy.ask(nth, to, from ? from : j.w.p, from != NULL);
        return;
    }
    ROLLED for (int i = 0; i < 8; i += 2)
        ((uint32_t *)to)[i / 2] = two_halves(j.bf16, in && k + i < j.k ? j.b(n, k + i) : 0.0f,
                                             in && k + i + 1 < j.k ? j.b(n, k + i + 1) : 0.0f);
}

/* 32 of k: this warp's 32 x 32 sums; m, n: its place in the tile. */
template <im_cuda_cores CORES>
DEV void multiply(const uint16_t *a, const uint16_t *b, int m, int n, float sum[2][4][4])
{
    int lane = (int)threadIdx.x % 32, row = lane % 16, low = lane % 8 + lane / 16 * 8;
    for (int k = 0; k < MMA_K / 8; k += 2) {
        uint32_t fa[2][4], fb[2][4];
        for (int i = 0; i < 2; i++) {
            ldmatrix4(fa[i], a + swizzled(m + 16 * i + row, k + lane / 16));
            ldmatrix4(fb[i], b + swizzled(n + 16 * i + low, k + lane / 8 % 2));
        }
        for (int i = 0; i < 2; i++)
            for (int c = 0; c < 4; c++)
                mma_16<CORES>(sum[i][c], fa[i], fb[c / 2] + c % 2 * 2);
    }
}

/* Two warps, side by side, end their 32 x 64 sums by way of shared memory, where they lie as in the result: 32 threads end
 * 32 numbers of a row, and what ends one is compiled once. 72 numbers a row: a warp's stores fall into different banks. */
template <class J>
DEV void finish_sums(const J &j, const float sum[2][4][4], shared_float *rows, int64_t m0, int n0, int wn)
{
    int t = (int)threadIdx.x % 64, lane = t % 32, pairs = j.geglu, columns = j.geglu ? 2 * j.n : j.n;
    UNROLL for (int i = 0; i < 2; i++)
        UNROLL for (int c = 0; c < 4; c++)
            UNROLL for (int h = 0; h < 2; h++)                 /* rows g and g + 8, columns 2t and 2t + 1              */
                store_two(rows + (16 * i + lane / 4 + 8 * h) * SUM_PITCH + wn + 8 * c + lane % 4 * 2, sum[i][c] + 2 * h);
    sync_block();
    ROLLED for (int e = t; e < (32 * MMA_TILE) >> pairs; e += 64) {
        int row = e * (1 + pairs) / MMA_TILE, col = e * (1 + pairs) % MMA_TILE;
        const shared_float *at = rows + row * SUM_PITCH + col;
        if (m0 + row < j.m && n0 + col < columns)
            j.finish(m0 + row, (n0 + col) >> pairs, at[0], at[pairs]);
    }
}

template <class J, im_cuda_cores CORES> KERNEL(MMA_THREADS, MMA_BLOCKS) product_mma_kernel(GRID J j)
{
    CODE_FOR(CORES == IM_CUDA_F16_75);
    SHARED16(uint16_t, as, MMA_STAGES * MMA_STAGE);
    SHARED16(uint16_t, bs, MMA_STAGES * MMA_STAGE);
    int t = (int)threadIdx.x, chunk = t % 4, wm = t / 64 * 32, wn = t / 32 % 2 * 32;
    int64_t m0 = (int64_t)blockIdx.x * MMA_TILE;
    int n0 = (int)blockIdx.y * MMA_TILE, columns = j.geglu ? 2 * j.n : j.n, tiles = (j.k + MMA_K - 1) / MMA_K;
    typename J::row row[2];
    int b_row[2];
    bool a_in[2], b_in[2];
    UNROLL for (int i = 0; i < 2; i++) {                       /* each thread: chunk t % 4 of rows t / 4 and t / 4 + 32 */
        int line = t / 4 + 32 * i, n = n0 + line;
        a_in[i] = m0 + line < j.m;
        b_in[i] = n < columns;
        row[i] = j.row_of(a_in[i] ? m0 + line : 0);
        b_row[i] = j.geglu ? n / 2 + n % 2 * j.n : n;
    }
    float sum[2][4][4] = { { { 0 } } };
    copies<CORES, 4, MMA_STAGES - 2> copy = {};
    for (int tile = 1 - MMA_STAGES; tile < tiles; tile++) {
        int next = tile + MMA_STAGES - 1, place = next % MMA_STAGES * MMA_STAGE;
        copy.wait();
        if (tile >= 0)
            sync_block();
        if (next < tiles)
            UNROLL for (int i = 0; i < 2; i++) {
                int at = place + swizzled(t / 4 + 32 * i, chunk), k = next * MMA_K + 8 * chunk;
                fetch_a(j, copy, 2 * i, row[i], a_in[i], k, as + at);
                fetch_b(j, copy, 2 * i + 1, b_row[i], b_in[i], k, bs + at);
            }
        copy.commit();
        if (tile >= 0) {
            int now = tile % MMA_STAGES * MMA_STAGE;
            multiply<CORES>(as + now, bs + now, wm, wn, sum);
        }
    }
    sync_block();                                              /* everybody is done with the last tile                 */
    finish_sums(j, sum, (shared_float *)(wm ? bs : as), m0 + wm, n0, wn);
}

template <class J> static int run_product_mma(im_device *dev, const J &j, im_cuda_cores cores)
{
    int columns = j.geglu ? 2 * j.n : j.n;
    dim3 grid(im_cuda_blocks(j.m, MMA_TILE), im_cuda_blocks(columns, MMA_TILE));
    if (!j.m || !columns)
        return 0;
    return RUN_CORES(dev, cores, grid, product_mma_kernel, (J), j);
}

/* What factors are rounded to on tensor cores: a weight in f32 may be there where it is to be rounded to bf16. */
static inline im_dtype half_of(im_dtype weight) { return weight == IM_F16 ? IM_F16 : IM_BF16; }

/* On which tensor cores this weight may be multiplied. */
static inline im_cuda_cores mma_takes(const im_device *dev, int slot, im_dtype weight)
{
    bool sixteen_bits = weight != IM_F32 || rounds(dev, weight);
    return sixteen_bits ? im_cuda_mma(dev, slot, half_of(weight)) : IM_CUDA_NO_CORES;
}

static inline bool aligned16(const void *p) { return (uintptr_t)p % 16 == 0; }

/* Do 8 numbers of k lie side by side in 16 bits of this type? */
static inline bool weight_direct(const weight_view &w, im_dtype half)
{
    return w.t == half && w.lk == 1 && aligned16(w.p) && (w.base | w.ld | w.lr | w.lc | w.channels) % 8 == 0;
}

#endif
