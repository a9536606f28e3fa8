/* buffer.h: activations and their gradients (tensor/buffer.h) as kernels load and store them: in f32, f16 or bf16.
 *
 * A loop over vectors is written once, inlined, with the dtypes among its parameters. Where all dtypes of a call are the
 * same one it is inlined with that constant and has no branch; else it looks at them at every vector, which costs a few
 * percent of what memory takes:
 *
 *     switch (same2(x.t, y.t)) {
 *     case IM_F32:  loop(IM_F32, IM_F32, ...); break;
 *     case IM_F16:  loop(IM_F16, IM_F16, ...); break;
 *     case IM_BF16: loop(IM_BF16, IM_BF16, ...); break;
 *     default:      loop(x.t, y.t, ...); break;
 *     }
 *
 * Places are counted in elements; n of 16 exist. */
#ifndef IM_CPU_BUFFER_H
#define IM_CPU_BUFFER_H

#include <string.h>

#include "tensor/cpu/simd.h"
#include "tensor/host.h"

enum { IM_MIXED = -1 };

/* The one dtype of all, or IM_MIXED. */
IM_INLINE int same2(im_dtype a, im_dtype b) { return a == b ? (int)a : IM_MIXED; }
IM_INLINE int same3(im_dtype a, im_dtype b, im_dtype c) { return a == b && b == c ? (int)a : IM_MIXED; }

IM_INLINE v16 load_as(im_dtype t, const void *p, int64_t i, int n)
{
    if (t == IM_BF16)
        return n == 16 ? v_load_bf16((const uint16_t *)p + i) : v_load_bf16_n((const uint16_t *)p + i, n);
    if (t == IM_F16)
        return n == 16 ? v_load_f16((const uint16_t *)p + i) : v_load_f16_n((const uint16_t *)p + i, n);
    return n == 16 ? v_load((const float *)p + i) : v_load_n((const float *)p + i, n);
}

IM_INLINE void store_as(im_dtype t, void *p, int64_t i, v16 v, int n)
{
    if (t == IM_BF16 && n == 16)
        v_store_dot((uint16_t *)p + i, v);
    else if (t == IM_BF16)
        v_store_dot_n((uint16_t *)p + i, v, n);
    else if (t == IM_F16 && n == 16)
        v_store_f16((uint16_t *)p + i, v);
    else if (t == IM_F16)
        v_store_f16_n((uint16_t *)p + i, v, n);
    else if (n == 16)
        v_store((float *)p + i, v);
    else
        v_store_n((float *)p + i, v, n);
}

/* p[i ..] = v, or += v. */
IM_INLINE void put_as(im_dtype t, void *p, int64_t i, v16 v, int n, bool add)
{
    store_as(t, p, i, add ? v_add(load_as(t, p, i, n), v) : v, n);
}

/* Past the caches (columns.h: streams). */
IM_INLINE void stream_as(im_dtype t, void *p, int64_t i, v16 v)
{
    if (t == IM_BF16)
        v_stream_dot((uint16_t *)p + i, v);
    else if (t == IM_F16)
        v_stream_f16((uint16_t *)p + i, v);
    else
        v_stream((float *)p + i, v);
}

IM_INLINE void prefetch_as(im_dtype t, const void *p, int64_t i) { v_prefetch(im_at(p, t, i)); }
IM_INLINE void prefetch_l2_as(im_dtype t, const void *p, int64_t i) { v_prefetch_l2(im_at(p, t, i)); }

/* Elements of a cache line. */
IM_INLINE int line_of(im_dtype t) { return t == IM_F32 ? 16 : 32; }

/* n elements as they are to place `at` of dst. */
IM_INLINE void copy_as(im_dtype t, void *dst, int64_t at, const void *src, int64_t i, int n)
{
    if (n == 16)
        memcpy(im_at(dst, t, at), im_at(src, t, i), t == IM_F32 ? 64 : 32);
    else
        store_as(t, dst, at, load_as(t, src, i, n), n);
}

#endif
