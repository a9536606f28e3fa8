/* half.h: f16 (IEEE 754 binary16) and bf16 (bfloat16, the upper half of an f32) without branches, so that loops over them
 * become vectors. Rounding is to nearest, ties to even, as the hardware does; a NaN stays one and becomes quiet. The one
 * place where a host converts them: pack.c, host_load.c, ref/ and cpu/simd_portable.h use it, and the public functions
 * (dtype.c). */
#ifndef IM_HALF_H
#define IM_HALF_H

#include <string.h>

#include "imago_engine.h"

static inline uint32_t im_bits(float x) { uint32_t u; memcpy(&u, &x, sizeof u); return u; }
static inline float im_from_bits(uint32_t u) { float x; memcpy(&x, &u, sizeof x); return x; }

/* Exponent and mantissa move into place, then times 2^112 puts the exponent right, subnormals included. */
static inline float im_half_to_f32(uint16_t half)
{
    uint32_t h = half, sign = (h & 0x8000u) << 16, rest = (h & 0x7fffu) << 13;
    uint32_t finite = im_bits(im_from_bits(rest) * 0x1p112f);
    uint32_t special = rest | 0x7f800000u | (rest > 0x0f800000u ? 0x400000u : 0u);
    return im_from_bits(sign | (rest >= 0x0f800000u ? special : finite));
}

/* Normal: add half a unit (ties to even) and drop 13 bits. Subnormal: adding 0.5 lets the float unit round at 2^-24. */
static inline uint16_t im_half_from_f32(float x)
{
    uint32_t u = im_bits(x), sign = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;
    uint32_t normal = (a + 0xc8000fffu + ((a >> 13) & 1u)) >> 13;
    uint32_t tiny = im_bits(im_from_bits(a) + 0.5f) - 0x3f000000u;
    uint32_t large = a > 0x7f800000u ? 0x7e00u | ((a >> 13) & 0x3ffu) : 0x7c00u;
    return (uint16_t)(sign | (a >= 0x477ff000u ? large : a < 0x38800000u ? tiny : normal));
}

static inline float im_bhalf_to_f32(uint16_t h)
{
    return im_from_bits((uint32_t)h << 16);
}

static inline uint16_t im_bhalf_from_f32(float x)
{
    uint32_t u = im_bits(x), r = u + 0x7fffu + ((u >> 16) & 1u);
    return (uint16_t)(((u & 0x7fffffffu) > 0x7f800000u ? u | 0x400000u : r) >> 16);
}

/* Element i of an array of t: f32, f16 or bf16. Always inlined, so that a constant t leaves no branch. */
static inline __attribute__((always_inline)) float im_get_as(im_dtype t, const void *p, int64_t i)
{
    switch (t) {
    case IM_F16:  return im_half_to_f32(((const uint16_t *)p)[i]);
    case IM_BF16: return im_bhalf_to_f32(((const uint16_t *)p)[i]);
    default:      return ((const float *)p)[i];
    }
}

static inline __attribute__((always_inline)) void im_set_as(im_dtype t, void *p, int64_t i, float x)
{
    switch (t) {
    case IM_F16:  ((uint16_t *)p)[i] = im_half_from_f32(x); break;
    case IM_BF16: ((uint16_t *)p)[i] = im_bhalf_from_f32(x); break;
    default:      ((float *)p)[i] = x;
    }
}

#endif
