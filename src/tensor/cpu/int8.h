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

/* NaN where one of n values is not finite: 0 times that is NaN, and stays in the sum. */
IM_INLINE float amax_as(im_dtype t, const void *p, int n)
{
    v16 most = v_zero(), bad = v_zero(), zero = v_zero();
    for (int i = 0; i < n; i += 16) {
        v16 x = load_as(t, p, i, n - i < 16 ? n - i : 16);
        most = v_max(v_abs(x), most);
        bad = v_add(bad, v_mul(x, zero));
    }
    return m_any(v_isnan(bad)) ? NAN : v_hmax(most);
}

static inline float im_amax_of(im_dtype t, const void *p, int n)
{
    switch (t) {
    case IM_F16:  return amax_as(IM_F16, p, n);
    case IM_BF16: return amax_as(IM_BF16, p, n);
    default:      return amax_as(IM_F32, p, n);
    }
}

/* n integers, each xored with flip, and zeros up to a multiple of 16. */
IM_INLINE void integers_as(im_dtype t, const void *p, int n, float inverse, uint8_t flip, uint8_t *q)
{
    v16 s = v_set1(inverse);
    for (int i = 0; i < n; i += 16)
        v_store_int8(q + i, v_mul(load_as(t, p, i, n - i < 16 ? n - i : 16), s), flip);
}

static inline void im_integers_of(im_dtype t, const void *p, int n, float inverse, uint8_t flip, uint8_t *q)
{
    if (inverse == 0) {
        memset(q, flip, (size_t)n);
        return;
    }
    switch (t) {
    case IM_F16:  integers_as(IM_F16, p, n, inverse, flip, q); break;
    case IM_BF16: integers_as(IM_BF16, p, n, inverse, flip, q); break;
    default:      integers_as(IM_F32, p, n, inverse, flip, q);
    }
}

#endif
