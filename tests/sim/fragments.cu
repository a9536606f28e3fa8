/* fragments.cu: d = a b^T by one mma of a warp, its fragments filled and read by CuTe's layouts (mma_traits_sm75.hpp and
 * mma_traits_sm80.hpp of cute/atom: (thread, value) -> place, columns first), while tensor.cc follows the tables of the PTX
 * ISA. test_sim wants the product of the matrices. */
#include "cuda/kernel.cuh"

/* A (16, k): ((4,8),(2,2)):((32,1),(16,8)), for k = 16 (2,2,2):(16,8,128); B (8, k): ((4,8),2):((16,1),8), (2,2):(8,64);
 * C (16, 8): ((4,8),(2,2)):((32,1),(16,8)). */
DEV int of_a(int t, int v) { return t % 4 * 32 + t / 4 + v % 2 * 16 + v / 2 % 2 * 8 + v / 4 * 128; }
DEV int of_b(int t, int v) { return t % 4 * 16 + t / 4 + v % 2 * 8 + v / 2 * 64; }
DEV int of_c(int t, int v) { return t % 4 * 32 + t / 4 + v % 2 * 16 + v / 2 * 8; }

/* a (k, 16), b (k, 8), d (8, 16): columns first */
KERNEL(32) one_mma(const uint16_t *a, const uint16_t *b, float *d, int k)
{
    int t = (int)threadIdx.x;
    uint32_t fa[4], fb[2];
    float sum[4] = { 1.0f, 1.0f, 1.0f, 1.0f };
    for (int i = 0; i < k / 4; i++)
        fa[i] = a[of_a(t, 2 * i)] | (uint32_t)a[of_a(t, 2 * i + 1)] << 16;
    for (int i = 0; i < k / 8; i++)
        fb[i] = b[of_b(t, 2 * i)] | (uint32_t)b[of_b(t, 2 * i + 1)] << 16;
    if (k == 8)
        mma1688(sum, fa, fb[0]);
    else
        mma16816<false>(sum, fa, fb);
    for (int i = 0; i < 4; i++)
        d[of_c(t, i)] = sum[i];
}

extern "C" void sim_one_mma(im_cu *cu, const uint16_t *a, const uint16_t *b, float *d, int k)
{
    LAUNCH(cu, 1, 32, one_mma, a, b, d, k);
}
