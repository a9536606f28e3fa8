/* ladder_gemm.cu: the product c = a b^T of two matrices with rows along k, in five steps from the obvious kernel to the
 * two that are shipped. Each step says what it changes and what that should win; ladder.cc runs them in the simulator and
 * prints what each asks of memory. All give the same sums but the last, whose factors are in f16.
 *
 *     1 naive       a thread a number of c; neighbouring threads take neighbouring rows: a warp's loads lie K numbers apart
 *     2 coalesced   neighbouring threads take neighbouring columns: the 32 of them write side by side, and read one row
 *     of a
 *                   together. Reads of b still lie K apart
 *     3 shared      16 x 16 of a and b come to shared memory once, side by side, and are used 16 times: 1/16 of the traffic
 *     4 registers   64 x 64 a block, 4 x 4 sums a thread (cuda/product.cuh): 8 numbers from shared memory make 16
 *     products, not 2
 *                   one; 1/64 of the traffic of step 2
 *     5 mma         tensor cores (cuda/product_mma.cuh): 16 x 8 x 16 products an instruction; 16-byte copies past
 *     registers */
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

/* Step 1 to 5; a and b in f32, in step 5 in f16. */
extern "C" void ladder_gemm(im_cu *cu, int step, int m, int n, int k, const void *a, const void *b, float *c)
{
    matrices p = { m, n, k, (const float *)a, (const float *)b, c };
    im_dtype t = step == 5 ? IM_F16 : IM_F32;
    ladder_job j = { m, n, k, false, { a, t }, { b, t }, c, false, true, true, { b } };
    dim3 small((unsigned)(m + 15) / 16, (unsigned)(n + 15) / 16), large((unsigned)(m + 63) / 64, (unsigned)(n + 63) / 64);
    switch (step) {
    case 1: LAUNCH(cu, small, 256, gemm_naive, p); break;
    case 2: LAUNCH(cu, small, 256, gemm_coalesced, p); break;
    case 3: LAUNCH(cu, small, 256, gemm_shared, p); break;
    case 4: LAUNCH(cu, large, 256, product_kernel<ladder_job>, j); break;
    case 5: LAUNCH(cu, large, MMA_THREADS, (product_mma_kernel<ladder_job, false>), j); break;
    }
}
