/* int8.h: products whose weights are int8 (int8.c), called by gemm.c and conv.c; and how a row becomes integers, there and
 * in attention (attention_int8.c). */
#ifndef IM_CPU_INT8_H
#define IM_CPU_INT8_H

#include "tensor/cpu/buffer.h"
#include "tensor/host.h"
#include "tensor/int8.h"

#include <math.h>
#include <string.h>

int IM_FN(im_int8_gemm)(im_device *dev, const im_gemm_args *g);
/* rows: the picture is the matrix (1x1, stride 1, no padding). */
int IM_FN(im_int8_conv)(im_device *dev, const im_conv_args *c, bool rows);

/* 16 values, or n < 16 and zeros, times their multipliers, if there are any. */
IM_INLINE v16 multiplied(im_dtype t, const void *p, const float *by, int i, int n)
{
    v16 x = load_as(t, p, i, n);
    return by ? v_mul(x, load_as(IM_F32, by, i, n)) : x;
}

/* NaN where one of n values is not finite: 0 times that is NaN, and stays in the sum. */
IM_INLINE float amax_as(im_dtype t, const void *p, const float *by, int n)
{
    v16 most = v_zero(), bad = v_zero(), zero = v_zero();
    for (int i = 0; i < n; i += 16) {
        v16 x = multiplied(t, p, by, i, n - i < 16 ? n - i : 16);
        most = v_max(v_abs(x), most);
        bad = v_add(bad, v_mul(x, zero));
    }
    return m_any(v_isnan(bad)) ? NAN : v_hmax(most);
}

/* The largest |value| of n at p; by: multipliers of them, or NULL. */
static inline float im_amax_of(im_dtype t, const void *p, const float *by, int n)
{
    switch (t) {
    case IM_F16:  return by ? amax_as(IM_F16, p, by, n) : amax_as(IM_F16, p, NULL, n);
    case IM_BF16: return by ? amax_as(IM_BF16, p, by, n) : amax_as(IM_BF16, p, NULL, n);
    default:      return by ? amax_as(IM_F32, p, by, n) : amax_as(IM_F32, p, NULL, n);
    }
}

/* n integers, each xored with flip, and zeros up to a multiple of 16. */
IM_INLINE void integers_as(im_dtype t, const void *p, const float *by, int n, float inverse, uint8_t flip, uint8_t *q)
{
    v16 s = v_set1(inverse);
    for (int i = 0; i < n; i += 16)
        v_store_int8(q + i, v_mul(multiplied(t, p, by, i, n - i < 16 ? n - i : 16), s), flip);
}

static inline void im_integers_of(im_dtype t, const void *p, const float *by, int n, float inverse, uint8_t flip,
                                  uint8_t *q)
{
    if (inverse == 0) {
        memset(q, flip, (size_t)n);
        return;
    }
#define WITH(type) \
    if (by) integers_as(type, p, by, n, inverse, flip, q); \
    else integers_as(type, p, NULL, n, inverse, flip, q); \
    break
    switch (t) {
    case IM_F16:  WITH(IM_F16);
    case IM_BF16: WITH(IM_BF16);
    default:      WITH(IM_F32);
    }
#undef WITH
}

#endif
