/* micro.c: the innermost loop of every product and convolution: a tile of sums held in registers.
 *
 * Per step of k: one row of B (one or two vectors), and for each row of the tile one value of A broadcast to all lanes
 * and one or two fused multiply-adds. Each sum is one chain in ascending k; enough rows run side by side to hide the
 * latency. On avx512 14 x 32 needs 16 loads for 28 multiply-adds, of which the processor does two a cycle: it is bound
 * by those. One source gives all sizes: the body is inlined with constant sizes and unrolled, so that the sums live in
 * registers (`objdump -d micro.o` must show no stack access; gcc 12 and clang 14 do it right). */
#include "tensor/cpu/product.h"

IM_INLINE void tile(int rows, int panels, bool pairs, int steps, const float *a, const float *b0, const float *b1,
                    const float *in, float *out)
{
    v16 s0[IM_MR], s1[IM_MR];
    IM_UNROLL
    for (int i = 0; i < rows; i++) {
        s0[i] = in ? v_load(in + i * IM_STRIP) : v_zero();
        s1[i] = in && panels > 1 ? v_load(in + i * IM_STRIP + IM_PANEL) : v_zero();
    }
    for (int64_t k = 0; k < steps; k++) {
        v16 x0 = v_load(b0 + IM_PANEL * k), x1 = panels > 1 ? v_load(b1 + IM_PANEL * k) : x0;
        IM_UNROLL
        for (int i = 0; i < rows; i++) {
            v16 x = v_set1(a[i * IM_PITCH + k]);
            s0[i] = pairs ? v_dot_bf16(s0[i], x, x0) : v_fma(x, x0, s0[i]);
            if (panels > 1)
                s1[i] = pairs ? v_dot_bf16(s1[i], x, x1) : v_fma(x, x1, s1[i]);
        }
    }
    IM_UNROLL
    for (int i = 0; i < rows; i++) {
        v_store(out + i * IM_STRIP, s0[i]);
        if (panels > 1)
            v_store(out + i * IM_STRIP + IM_PANEL, s1[i]);
    }
}

#define X(rows, panels) \
    static void f32_##rows##x##panels(int steps, const float *a, const float *b0, const float *b1, const float *in, \
                                      float *out) \
    { \
        tile(rows, panels, false, steps, a, b0, b1, in, out); \
    } \
    static void pairs_##rows##x##panels(int steps, const float *a, const float *b0, const float *b1, const float *in, \
                                        float *out) \
    { \
        tile(rows, panels, true, steps, a, b0, b1, in, out); \
    }
IM_TILES(X)
#undef X

const im_micros *IM_FN(im_micro_tiles)(bool pairs)
{
    static const im_micros f32 = { {
#define X(rows, panels) [panels - 1][rows - 1] = f32_##rows##x##panels,
        IM_TILES(X)
#undef X
    } }, dots = { {
#define X(rows, panels) [panels - 1][rows - 1] = pairs_##rows##x##panels,
        IM_TILES(X)
#undef X
    } };
    return pairs ? &dots : &f32;
}
