/* buffer.h: activations and their gradients as a kernel meets them. Part of the contract of device.h.
 *
 * Each may be held in f32, f16 or bf16, in any mix: a kernel computes in f32 and rounds to nearest even when it stores
 * (bf16: where the ISA has bf16 dots, subnormals become zeros then). Sums, statistics and parameters are f32. */
#ifndef IM_BUFFER_H
#define IM_BUFFER_H

#include "imago_engine.h"

typedef struct im_cbuf { const void *p; im_dtype t; } im_cbuf; /* first element, and what it is held in; p NULL: none  */
typedef struct im_buf { void *p; im_dtype t; } im_buf;

/* What an activation may be held in. */
static inline bool im_is_real(im_dtype t) { return t == IM_F32 || t == IM_F16 || t == IM_BF16; }

/* Element i of an array in dtype t. */
static inline void *im_at(const void *p, im_dtype t, int64_t i)
{
    return (char *)(uintptr_t)p + i * (t == IM_INT8 ? 1 : t == IM_F32 || t == IM_I32 ? 4 : 2);
}

/* The same array from element i on. */
static inline im_cbuf im_cbuf_at(im_cbuf b, int64_t i) { return (im_cbuf){ im_at(b.p, b.t, i), b.t }; }
static inline im_buf im_buf_at(im_buf b, int64_t i) { return (im_buf){ im_at(b.p, b.t, i), b.t }; }
/* To be read. */
static inline im_cbuf im_as_read(im_buf b) { return (im_cbuf){ b.p, b.t }; }

#endif
