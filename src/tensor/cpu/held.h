/* held.h: activations and their gradients as kernels load and store them, in f32 or in bf16 (device.h: held). Where these
 * are inlined `held` is a constant, so each caller is one loop in the source and two in the program. Places are counted
 * in elements; n of 16 exist. */
#ifndef IM_CPU_HELD_H
#define IM_CPU_HELD_H

#include <string.h>

#include "tensor/cpu/simd.h"
#include "tensor/device.h"

IM_INLINE v16 held_load(im_dtype held, const void *p, int64_t i, int n)
{
    if (held == IM_BF16)
        return n == 16 ? v_load_bf16((const uint16_t *)p + i) : v_load_bf16_n((const uint16_t *)p + i, n);
    return n == 16 ? v_load((const float *)p + i) : v_load_n((const float *)p + i, n);
}

IM_INLINE void held_store(im_dtype held, void *p, int64_t i, v16 v, int n)
{
    if (held == IM_BF16 && n == 16)
        v_store_dot((uint16_t *)p + i, v);
    else if (held == IM_BF16)
        v_store_dot_n((uint16_t *)p + i, v, n);
    else if (n == 16)
        v_store((float *)p + i, v);
    else
        v_store_n((float *)p + i, v, n);
}

/* Past the caches (columns.h: streams). */
IM_INLINE void held_stream(im_dtype held, void *p, int64_t i, v16 v)
{
    if (held == IM_BF16)
        v_stream_dot((uint16_t *)p + i, v);
    else
        v_stream((float *)p + i, v);
}

IM_INLINE void held_prefetch(im_dtype held, const void *p, int64_t i) { v_prefetch(im_at(p, held, i)); }
IM_INLINE void held_prefetch_l2(im_dtype held, const void *p, int64_t i) { v_prefetch_l2(im_at(p, held, i)); }

/* Elements of a cache line. */
IM_INLINE int held_line(im_dtype held) { return held == IM_BF16 ? 32 : 16; }

/* n elements as they are to place `at` of dst. */
IM_INLINE void held_copy(im_dtype held, void *dst, int64_t at, const void *src, int64_t i, int n)
{
    if (n == 16)
        memcpy(im_at(dst, held, at), im_at(src, held, i), held == IM_BF16 ? 32 : 64);
    else
        held_store(held, dst, at, held_load(held, src, i, n), n);
}

#endif
