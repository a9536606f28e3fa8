/* simd_portable.h: simd.h for any processor: a v16 is one vector of 16 floats of the compiler (gcc and clang), which it
 * cuts into what the baseline has. v_fma rounds twice: without hardware a fused multiply-add costs a function call.
 * (As a struct of 16 floats with loops the same code took minutes to compile under the sanitizers.) */
#ifndef IM_SIMD_PORTABLE_H
#define IM_SIMD_PORTABLE_H

#include <math.h>
#include <string.h>

#include "tensor/half.h"

enum { IM_MR = 2, IM_NV = 1 };           /* on SSE2: 8 xmm of sums, 4 of B, 1 of A */
#define IM_TILES(X, ...) \
    X(1, 1, __VA_ARGS__) X(2, 1, __VA_ARGS__)

typedef float v16 __attribute__((vector_size(64)));
typedef int32_t m16 __attribute__((vector_size(64)));          /* all bits of a lane set: true */

#define V_FOR for (int i = 0; i < 16; i++)

IM_INLINE v16 v_set1(float x) { return (v16){ x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x }; }
IM_INLINE v16 v_load(const float *p) { v16 v; memcpy(&v, p, sizeof v); return v; }
IM_INLINE void v_store(float *p, v16 v) { memcpy(p, &v, sizeof v); }
IM_INLINE void v_stream(float *p, v16 v) { v_store(p, v); }
IM_INLINE void v_stream_end(void) { }
IM_INLINE v16 v_load_n(const float *p, int n) { v16 v = { 0 }; memcpy(&v, p, (size_t)n * sizeof *p); return v; }
IM_INLINE void v_store_n(float *p, v16 v, int n) { memcpy(p, &v, (size_t)n * sizeof *p); }

IM_INLINE v16 v_add(v16 a, v16 b) { return a + b; }
IM_INLINE v16 v_sub(v16 a, v16 b) { return a - b; }
IM_INLINE v16 v_mul(v16 a, v16 b) { return a * b; }
IM_INLINE v16 v_div(v16 a, v16 b) { return a / b; }
IM_INLINE v16 v_neg(v16 v) { return -v; }
IM_INLINE v16 v_fma(v16 a, v16 b, v16 c) { return a * b + c; }
IM_INLINE v16 v_fnma(v16 a, v16 b, v16 c) { return c - a * b; }
IM_INLINE v16 v_sqrt(v16 v) { V_FOR v[i] = sqrtf(v[i]); return v; }
IM_INLINE v16 v_round(v16 v) { V_FOR v[i] = rintf(v[i]); return v; }
IM_INLINE v16 v_floor(v16 v) { V_FOR v[i] = floorf(v[i]); return v; }

IM_INLINE m16 v_lt(v16 a, v16 b) { return a < b; }
IM_INLINE m16 v_le(v16 a, v16 b) { return a <= b; }
IM_INLINE m16 v_gt(v16 a, v16 b) { return a > b; }
IM_INLINE m16 v_ge(v16 a, v16 b) { return a >= b; }
IM_INLINE m16 v_eq(v16 a, v16 b) { return a == b; }
IM_INLINE m16 m_not(m16 m) { return ~m; }
IM_INLINE bool m_any(m16 m) { int32_t any = 0; V_FOR any |= m[i]; return any != 0; }
IM_INLINE v16 v_select(m16 m, v16 yes, v16 no) { return (v16)((m & (m16)yes) | (~m & (m16)no)); }
IM_INLINE v16 v_max(v16 a, v16 b) { return v_select(a > b, a, b); }
IM_INLINE v16 v_min(v16 a, v16 b) { return v_select(a < b, a, b); }
IM_INLINE v16 v_abs(v16 v) { return (v16)((m16)v & 0x7fffffff); }

/* Half of n at a time: the first product is exact, the second rounds once. The clamp keeps the conversion defined when
 * a NaN in v brought a NaN into n. */
IM_INLINE v16 v_ldexp(v16 v, v16 n)
{
    V_FOR {
        float m = n[i] > -252.0f ? n[i] : -252.0f;
        int32_t e = (int32_t)(m < 254.0f ? m : 254.0f), h = e >> 1;
        v[i] = v[i] * im_from_bits((uint32_t)(h + 127) << 23) * im_from_bits((uint32_t)(e - h + 127) << 23);
    }
    return v;
}

IM_INLINE v16 v_exponent(v16 v) { V_FOR v[i] = (float)((int)(im_bits(v[i]) >> 23) - 127); return v; }

IM_INLINE float v_sum(v16 v)
{
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++) v[i] += v[i + half];
    return v[0];
}
IM_INLINE float v_hmax(v16 v)
{
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++) v[i] = v[i] > v[i + half] ? v[i] : v[i + half];
    return v[0];
}

IM_INLINE v16 v_load_f16(const uint16_t *p)
{
    uint16_t h[16];
    v16 v;
    memcpy(h, p, sizeof h);
    V_FOR v[i] = im_half_to_f32(h[i]);
    return v;
}
IM_INLINE v16 v_load_bf16(const uint16_t *p)
{
    uint16_t h[16];
    v16 v;
    memcpy(h, p, sizeof h);
    V_FOR v[i] = im_bhalf_to_f32(h[i]);
    return v;
}
IM_INLINE v16 v_bf16_even(v16 v) { return (v16)((m16)v << 16); }
IM_INLINE v16 v_bf16_odd(v16 v) { return (v16)((m16)v & (int32_t)0xffff0000u); }
IM_INLINE void v_store_f16(uint16_t *p, v16 v)
{
    uint16_t h[16];
    V_FOR h[i] = im_half_from_f32(v[i]);
    memcpy(p, h, sizeof h);
}
IM_INLINE void v_store_bf16(uint16_t *p, v16 v)
{
    uint16_t h[16];
    V_FOR h[i] = im_bhalf_from_f32(v[i]);
    memcpy(p, h, sizeof h);
}

/* ---- int8 */

enum { IM_INT8_FLIP = 0 };
IM_INLINE m16 v_byte(v16 v, int i) { return (m16)v << (24 - 8 * i) >> 24; }
IM_INLINE v16 v_dot_int8(v16 acc, v16 a, v16 b)
{
    m16 sum = (m16)acc;
    for (int i = 0; i < 4; i++) sum += v_byte(a, i) * v_byte(b, i);
    return (v16)sum;
}
/* Unsigned, as sums of what was no number go past the ends. */
typedef uint32_t v16_u32 __attribute__((vector_size(64)));
IM_INLINE v16 v_sub_i32(v16 a, v16 b) { return (v16)((v16_u32)a - (v16_u32)b); }
IM_INLINE v16 v_add_i32(v16 a, v16 b) { return (v16)((v16_u32)a + (v16_u32)b); }
IM_INLINE v16 v_i32_of_real(v16 v) { return (v16)__builtin_convertvector((v + 0x1.8p23f) - 0x1.8p23f, m16); }
IM_INLINE v16 v_quad_bytes(v16 a, v16 b, v16 c, v16 d, uint8_t flip)
{
    m16 all = (m16)a | (m16)b << 8 | (m16)c << 16 | (m16)d << 24;
    return (v16)(all ^ (int32_t)(flip * 0x01010101u));
}
IM_INLINE v16 v_real_of_i32(v16 v) { return __builtin_convertvector((m16)v, v16); }
IM_INLINE void v_store_int8(uint8_t *p, v16 v, uint8_t flip)
{
    v16 n = (v + 0x1.8p23f) - 0x1.8p23f;                       /* to nearest even                                      */
    V_FOR p[i] = (uint8_t)((n[i] >= -128.0f && n[i] < 128.0f ? (int)n[i] : 0) ^ flip);
}
#undef V_FOR

#endif
