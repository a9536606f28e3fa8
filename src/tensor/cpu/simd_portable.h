/* simd_portable.h: simd.h in plain C: a v16 is 16 floats and every operation a loop, which compilers turn into whatever
 * vectors the baseline has. v_fma rounds twice: without hardware a fused multiply-add costs a function call. */
#ifndef IM_SIMD_PORTABLE_H
#define IM_SIMD_PORTABLE_H

#include <math.h>
#include <string.h>

#include "tensor/half.h"

enum { IM_MR = 2, IM_NV = 1 };           /* on SSE2: 8 xmm of sums, 4 of B, 1 of A */
#define IM_TILES(X) \
    X(1, 1) X(2, 1)

typedef struct { float f[16]; } v16;
typedef struct { uint32_t u[16]; } m16;  /* all bits of a lane set: true */

#define V_FOR for (int i = 0; i < 16; i++)
#define V_OP1(name, expr) IM_INLINE v16 name(v16 v) { V_FOR { float x = v.f[i]; v.f[i] = (expr); } return v; }
#define V_OP2(name, expr) \
    IM_INLINE v16 name(v16 a, v16 b) { V_FOR { float x = a.f[i], y = b.f[i]; a.f[i] = (expr); } return a; }
#define V_CMP(name, op) \
    IM_INLINE m16 name(v16 a, v16 b) { m16 m; V_FOR m.u[i] = a.f[i] op b.f[i] ? ~0u : 0u; return m; }

IM_INLINE v16 v_set1(float x) { v16 v; V_FOR v.f[i] = x; return v; }
IM_INLINE v16 v_load(const float *p) { v16 v; memcpy(v.f, p, sizeof v.f); return v; }
IM_INLINE void v_store(float *p, v16 v) { memcpy(p, v.f, sizeof v.f); }
IM_INLINE v16 v_load_n(const float *p, int n) { v16 v = { { 0 } }; memcpy(v.f, p, (size_t)n * sizeof *p); return v; }
IM_INLINE void v_store_n(float *p, v16 v, int n) { memcpy(p, v.f, (size_t)n * sizeof *p); }

V_OP2(v_add, x + y)
V_OP2(v_sub, x - y)
V_OP2(v_mul, x * y)
V_OP2(v_div, x / y)
V_OP2(v_max, x > y ? x : y)
V_OP2(v_min, x < y ? x : y)
V_OP1(v_abs, fabsf(x))
V_OP1(v_neg, -x)
V_OP1(v_sqrt, sqrtf(x))
V_OP1(v_round, rintf(x))
V_OP1(v_floor, floorf(x))
V_CMP(v_lt, <)
V_CMP(v_le, <=)
V_CMP(v_gt, >)
V_CMP(v_ge, >=)
V_CMP(v_eq, ==)

IM_INLINE v16 v_fma(v16 a, v16 b, v16 c) { V_FOR c.f[i] = a.f[i] * b.f[i] + c.f[i]; return c; }
IM_INLINE v16 v_fnma(v16 a, v16 b, v16 c) { V_FOR c.f[i] = c.f[i] - a.f[i] * b.f[i]; return c; }
IM_INLINE m16 m_not(m16 m) { V_FOR m.u[i] = ~m.u[i]; return m; }
IM_INLINE bool m_any(m16 m) { uint32_t any = 0; V_FOR any |= m.u[i]; return any != 0; }
IM_INLINE v16 v_select(m16 m, v16 yes, v16 no) { V_FOR no.f[i] = m.u[i] ? yes.f[i] : no.f[i]; return no; }

/* Half of n at a time: the first product is exact, the second rounds once. The clamp keeps the conversion defined when a
 * NaN in v brought a NaN into n. */
IM_INLINE v16 v_ldexp(v16 v, v16 n)
{
    V_FOR {
        float m = n.f[i] > -252.0f ? n.f[i] : -252.0f;
        int32_t e = (int32_t)(m < 254.0f ? m : 254.0f), h = e >> 1;
        v.f[i] = v.f[i] * im_from_bits((uint32_t)(h + 127) << 23) * im_from_bits((uint32_t)(e - h + 127) << 23);
    }
    return v;
}

IM_INLINE v16 v_exponent(v16 v) { V_FOR v.f[i] = (float)((int)(im_bits(v.f[i]) >> 23) - 127); return v; }

IM_INLINE float v_sum(v16 v)
{
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++) v.f[i] += v.f[i + half];
    return v.f[0];
}
IM_INLINE float v_hmax(v16 v)
{
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++) v.f[i] = v.f[i] > v.f[i + half] ? v.f[i] : v.f[i + half];
    return v.f[0];
}

IM_INLINE v16 v_load_f16(const uint16_t *p) { v16 v; V_FOR v.f[i] = im_half_to_f32(p[i]); return v; }
IM_INLINE v16 v_load_bf16(const uint16_t *p) { v16 v; V_FOR v.f[i] = im_bhalf_to_f32(p[i]); return v; }
IM_INLINE v16 v_bf16_even(v16 v) { V_FOR v.f[i] = im_from_bits(im_bits(v.f[i]) << 16); return v; }
IM_INLINE v16 v_bf16_odd(v16 v) { V_FOR v.f[i] = im_from_bits(im_bits(v.f[i]) & 0xffff0000u); return v; }
IM_INLINE void v_store_f16(uint16_t *p, v16 v) { V_FOR p[i] = im_half_from_f32(v.f[i]); }
IM_INLINE void v_store_bf16(uint16_t *p, v16 v) { V_FOR p[i] = im_bhalf_from_f32(v.f[i]); }
#undef V_OP1
#undef V_OP2
#undef V_CMP
#undef V_FOR

#endif
