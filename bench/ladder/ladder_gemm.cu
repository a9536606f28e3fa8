/* ladder_gemm.cu: the product c = a b^T of two matrices with rows along k, in five steps from the obvious kernel to the
 * two that are shipped. Each step says what it changes and what that should win; ladder.cc runs them in the simulator
 * and prints what each asks of memory. All give the same sums but the last, whose factors are in f16.
 *
 *     1 naive       a thread a number of c; neighbouring threads take neighbouring rows: a warp's loads lie K numbers
 *                   apart
 *     2 coalesced   neighbouring threads take neighbouring columns: 16 of them write side by side, and read one row of
 *                   a together. Reads of b still lie K apart
 *     3 shared      16 x 16 of a and b come to shared memory once, side by side, and are used 16 times: 1/16 of the
 *                   requests
 *     4 registers   64 x 64 a block, 4 x 4 sums a thread (cuda/product.cuh): 8 numbers from shared memory make 16
 *                   products, not 2 one; a and b are fetched M/64 times, not M/16
 *     5 mma         tensor cores (cuda/product_mma.cuh): 16 x 8 x 16 products an instruction, half the bytes; 16-byte
 *                   copies past registers
 *
 * The predictions, in sectors of 32 bytes. W = M N / 32 warps.
 *     1, 2    W K (16 + 2) for the loads of 16 lines and 2 numbers; the stores of a warp touch 16 sectors, then 4
 *     3       each block of 16 x 16: 2 K / 16 tiles of 16 rows of 2 sectors; stores as before
 *     4       each block of 64 x 64: 128 rows of K / 8; stores as before
 *     5       the same rows of K / 16; stores as before, as the sums pass through shared memory
 * Turns of shared memory in step 4: a warp has 2 rows of threads. Per 16 steps of k, 16 numbers stored a request, whose
 * pitch of 66 spreads them: 8 stores; 16 x 8 loads without a conflict. In step 5, 16 bytes a lane, 4 turns a request: 2
 * x 2 copies of each of 4 warps and 32 steps, and 8 ldmatrix; a warp's 1,024 sums are stored two a lane, by 2 turns, and
 * read one a lane. */
#include "ladder.cuh"
#include "plain.h"

#include "cuda/product_mma.cuh"

struct matrices { int m, n, k; const float *a, *b; float *c; };        /* (m, k), (n, k), (m, n)                        */

KERNEL(256) gemm_naive(GRID matrices p)
{
    int row = (int)(blockIdx.x * 16 + threadIdx.x % 16), col = (int)(blockIdx.y * 16 + threadIdx.x / 16);
    float sum = 0.0f;
    if (row >= p.m || col >= p.n)
        return;
    for (int k = 0; k < p.k; k++)
        sum = fmaf(p.a[row * p.k + k], p.b[col * p.k + k], sum);
    p.c[row * p.n + col] = sum;
}

KERNEL(256) gemm_coalesced(GRID matrices p)
{
    int row = (int)(blockIdx.x * 16 + threadIdx.x / 16), col = (int)(blockIdx.y * 16 + threadIdx.x % 16);
    float sum = 0.0f;
    if (row >= p.m || col >= p.n)
        return;
    for (int k = 0; k < p.k; k++)
        sum = fmaf(p.a[row * p.k + k], p.b[col * p.k + k], sum);
    p.c[row * p.n + col] = sum;
}

KERNEL(256) gemm_shared(GRID matrices p)
{
    SHARED2(float, as, 16, 17);                                /* 17: a column falls into 16 different banks           */
    SHARED2(float, bs, 16, 17);
    int ty = (int)threadIdx.x / 16, tx = (int)threadIdx.x % 16;
    int row = (int)blockIdx.x * 16 + ty, col = (int)blockIdx.y * 16 + tx, b_row = (int)blockIdx.y * 16 + ty;
    float sum = 0.0f;
    for (int k0 = 0; k0 < p.k; k0 += 16) {
        bool in = k0 + tx < p.k;
        as[ty][tx] = in && row < p.m ? p.a[row * p.k + k0 + tx] : 0.0f;
        bs[ty][tx] = in && b_row < p.n ? p.b[b_row * p.k + k0 + tx] : 0.0f;
        sync_block();
        for (int k = 0; k < 16 && k0 + k < p.k; k++)
            sum = fmaf(as[ty][k], bs[tx][k], sum);
        sync_block();
    }
    if (row < p.m && col < p.n)
        p.c[row * p.n + col] = sum;
}

/* Steps 4 and 5: the shipped kernels, for these matrices. */
struct ladder_job {
    int64_t m; int n, k;
    bool geglu;
    im_cbuf x, w_of;
    float *c;
    bool bf16, a_direct, b_direct;
    struct { const void *p; } w;
    typedef int64_t row;
    MEMBER row row_of(int64_t i) const { return i * k; }
    MEMBER float a(row at, int i) const { return load(x, at + i); }
    MEMBER float b(int i, int step) const { return load(w_of, (int64_t)i * k + step); }
    MEMBER const void *a8(row at, int i) const { return (const uint16_t *)x.p + at + i; }
    MEMBER const void *b8(int i, int step) const { return (const uint16_t *)w.p + (int64_t)i * k + step; }
    MEMBER void finish(int64_t i, int col, float sum, float) const { c[i * n + col] = sum; }
};

static int run(im_device *dev, int step, const void *const *in, const int32_t *, void *out)
{
    const int m = GEMM_M, n = GEMM_N, k = GEMM_K;
    im_cu *cu = im_cuda_stream(dev);
    matrices p = { m, n, k, (const float *)in[0], (const float *)in[1], (float *)out };
    im_dtype t = step == 5 ? IM_F16 : IM_F32;
    ladder_job j = { m, n, k, false, { in[0], t }, { in[1], t }, (float *)out, false, true, true, { in[1] } };
    dim3 small(im_cuda_blocks(m, 16), im_cuda_blocks(n, 16));
    switch (step) {
    case 1:  return LAUNCH(cu, small, 256, gemm_naive, p);
    case 2:  return LAUNCH(cu, small, 256, gemm_coalesced, p);
    case 3:  return LAUNCH(cu, small, 256, gemm_shared, p);
    case 4:  return run_product(dev, j, 1);
    default: return run_product_mma(dev, j, IM_CUDA_F16);
    }
}

static const double W = GEMM_M * GEMM_N / 32.0, BLOCKS = GEMM_M * GEMM_N / 64.0 / 64.0, STEPS_16 = GEMM_K / 16.0;

extern const ladder ladder_gemm = {
    "product of matrices", "c (128, 128) = a (128, 128) b^T", 2.0 * GEMM_M * GEMM_N * GEMM_K,
    { GEMM_M * GEMM_K, GEMM_N * GEMM_K, 0 }, 0, 0, GEMM_M * GEMM_N,
    { { "naive", 0, false, {} },
      { "coalesced", 0, false, { { LADDER_SECTORS, W * GEMM_K * 18 + W * 4 } } },
      { "shared", 0, false, { { LADDER_SECTORS, W / 8 * STEPS_16 * 64 + W * 4 },
                              { LADDER_REQUESTS, W * (2 * STEPS_16 + 1) } } },
      { "registers", 0, false, { { LADDER_SECTORS, BLOCKS * 128 * GEMM_K / 8 + W * 4 },
                                 { LADDER_TURNS, BLOCKS * 8 * STEPS_16 * (8 + 16 * 8) } } },
      { "mma (f16)", 2, false, { { LADDER_SECTORS, BLOCKS * 128 * GEMM_K / 16 + W * 4 },
                                 { LADDER_TURNS, BLOCKS * 4 * ((STEPS_16 / 2) * 4 * (4 + 8) + 64) } } } },
    run, plain_gemm };
