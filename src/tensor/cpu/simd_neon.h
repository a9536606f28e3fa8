/* simd_neon.h: simd.h on AArch64 NEON: a v16 is four q registers of four lanes. */
#ifndef IM_SIMD_NEON_H
#define IM_SIMD_NEON_H

#include <arm_neon.h>
#include <string.h>

enum { IM_MR = 6, IM_NV = 1 };           /* 24 q registers of sums, 4 of B, 1 of A */
#define IM_TILES(X, ...) \
    X(1, 1, __VA_ARGS__) X(2, 1, __VA_ARGS__) X(3, 1, __VA_ARGS__) X(4, 1, __VA_ARGS__) X(5, 1, __VA_ARGS__) \
    X(6, 1, __VA_ARGS__)

typedef struct { float32x4_t q[4]; } v16;
typedef struct { uint32x4_t q[4]; } m16;

IM_INLINE v16 v_set1(float x)
{
    float32x4_t v = vdupq_n_f32(x);
    return (v16){ { v, v, v, v } };
}
IM_INLINE v16 v_load(const float *p)
{
    return (v16){ { vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12) } };
}
IM_INLINE void v_store(float *p, v16 v)
{
    for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, v.q[i]);
}
IM_INLINE void v_stream(float *p, v16 v) { v_store(p, v); }
IM_INLINE void v_stream_end(void) { }
IM_INLINE v16 v_load_n(const float *p, int n)
{
    float t[16] = { 0 };
    memcpy(t, p, (size_t)n * sizeof *t);
    return v_load(t);
}
IM_INLINE void v_store_n(float *p, v16 v, int n)
{
    float t[16];
    v_store(t, v);
    memcpy(p, t, (size_t)n * sizeof *t);
}

#define V_OP2(name, f) \
    IM_INLINE v16 name(v16 a, v16 b) \
    { \
        return (v16){ { f(a.q[0], b.q[0]), f(a.q[1], b.q[1]), f(a.q[2], b.q[2]), f(a.q[3], b.q[3]) } }; \
    }
#define V_OP1(name, f) \
    IM_INLINE v16 name(v16 v) { return (v16){ { f(v.q[0]), f(v.q[1]), f(v.q[2]), f(v.q[3]) } }; }
#define V_CMP(name, f) \
    IM_INLINE m16 name(v16 a, v16 b) \
    { \
        return (m16){ { f(a.q[0], b.q[0]), f(a.q[1], b.q[1]), f(a.q[2], b.q[2]), f(a.q[3], b.q[3]) } }; \
    }
/* vmaxq would return a NaN from either side; simd.h wants the second operand, as x86 has it */
IM_INLINE float32x4_t v_max4(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
IM_INLINE float32x4_t v_min4(float32x4_t a, float32x4_t b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
V_OP2(v_add, vaddq_f32)
V_OP2(v_sub, vsubq_f32)
V_OP2(v_mul, vmulq_f32)
V_OP2(v_div, vdivq_f32)
V_OP2(v_max, v_max4)
V_OP2(v_min, v_min4)
V_OP1(v_abs, vabsq_f32)
V_OP1(v_neg, vnegq_f32)
V_OP1(v_sqrt, vsqrtq_f32)
V_OP1(v_round, vrndnq_f32)
V_OP1(v_floor, vrndmq_f32)
V_CMP(v_lt, vcltq_f32)
V_CMP(v_le, vcleq_f32)
V_CMP(v_gt, vcgtq_f32)
V_CMP(v_ge, vcgeq_f32)
V_CMP(v_eq, vceqq_f32)
#undef V_OP1
#undef V_OP2
#undef V_CMP

IM_INLINE v16 v_fma(v16 a, v16 b, v16 c)
{
    for (int i = 0; i < 4; i++) c.q[i] = vfmaq_f32(c.q[i], a.q[i], b.q[i]);
    return c;
}
IM_INLINE v16 v_fnma(v16 a, v16 b, v16 c)
{
    for (int i = 0; i < 4; i++) c.q[i] = vfmsq_f32(c.q[i], a.q[i], b.q[i]);
    return c;
}

IM_INLINE m16 m_not(m16 m)
{
    for (int i = 0; i < 4; i++) m.q[i] = vmvnq_u32(m.q[i]);
    return m;
}
IM_INLINE bool m_any(m16 m)
{
    return vmaxvq_u32(vorrq_u32(vorrq_u32(m.q[0], m.q[1]), vorrq_u32(m.q[2], m.q[3]))) != 0;
}
IM_INLINE v16 v_select(m16 m, v16 yes, v16 no)
{
    for (int i = 0; i < 4; i++) no.q[i] = vbslq_f32(m.q[i], yes.q[i], no.q[i]);
    return no;
}

/* Half of n at a time: the first product is exact, the second rounds once. */
IM_INLINE v16 v_ldexp(v16 v, v16 n)
{
    for (int i = 0; i < 4; i++) {
        int32x4_t e = vcvtnq_s32_f32(n.q[i]), h = vshrq_n_s32(e, 1), bias = vdupq_n_s32(127);
        int32x4_t p = vshlq_n_s32(vaddq_s32(h, bias), 23), r = vshlq_n_s32(vaddq_s32(vsubq_s32(e, h), bias), 23);
        v.q[i] = vmulq_f32(vmulq_f32(v.q[i], vreinterpretq_f32_s32(p)), vreinterpretq_f32_s32(r));
    }
    return v;
}

IM_INLINE v16 v_exponent(v16 v)
{
    for (int i = 0; i < 4; i++) {
        uint32x4_t biased = vshrq_n_u32(vreinterpretq_u32_f32(v.q[i]), 23);
        v.q[i] = vcvtq_f32_s32(vsubq_s32(vreinterpretq_s32_u32(biased), vdupq_n_s32(127)));
    }
    return v;
}

IM_INLINE float v_sum(v16 v)
{
    float32x4_t a = vaddq_f32(vaddq_f32(v.q[0], v.q[2]), vaddq_f32(v.q[1], v.q[3]));
    float32x2_t b = vadd_f32(vget_low_f32(a), vget_high_f32(a));
    return vget_lane_f32(b, 0) + vget_lane_f32(b, 1);
}
IM_INLINE float v_hmax(v16 v)
{
    float32x4_t a = v_max4(v_max4(v.q[0], v.q[2]), v_max4(v.q[1], v.q[3]));
    float32x4_t b = v_max4(a, vextq_f32(a, a, 2));
    float x = vgetq_lane_f32(b, 0), y = vgetq_lane_f32(b, 1);
    return x > y ? x : y;
}

IM_INLINE v16 v_load_f16(const uint16_t *p)
{
    v16 v;
    for (int i = 0; i < 4; i++) v.q[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i)));
    return v;
}
IM_INLINE v16 v_load_bf16(const uint16_t *p)
{
    v16 v;
    for (int i = 0; i < 4; i++) v.q[i] = vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16));
    return v;
}
IM_INLINE v16 v_bf16_even(v16 v)
{
    for (int i = 0; i < 4; i++) v.q[i] = vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(v.q[i]), 16));
    return v;
}
IM_INLINE v16 v_bf16_odd(v16 v)
{
    uint32x4_t m = vdupq_n_u32(0xffff0000u);
    for (int i = 0; i < 4; i++) v.q[i] = vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v.q[i]), m));
    return v;
}
IM_INLINE void v_store_f16(uint16_t *p, v16 v)
{
    for (int i = 0; i < 4; i++) vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(v.q[i])));
}
IM_INLINE void v_store_bf16(uint16_t *p, v16 v)
{
    for (int i = 0; i < 4; i++) {
        uint32x4_t x = vreinterpretq_u32_f32(v.q[i]), odd = vandq_u32(vshrq_n_u32(x, 16), vdupq_n_u32(1));
        uint32x4_t r = vaddq_u32(x, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
        r = vbslq_u32(vceqq_f32(v.q[i], v.q[i]), r, vorrq_u32(x, vdupq_n_u32(0x400000)));
        vst1_u16(p + 4 * i, vshrn_n_u32(r, 16));
    }
}

/* ---- int8 */

#ifndef V_HAS_INT8_DOT
enum { IM_INT8_FLIP = 0 };
/* Of 4 lanes of 4 bytes: products in words, added in twos and in twos again. */
IM_INLINE v16 v_dot_int8(v16 acc, v16 a, v16 b)
{
    for (int i = 0; i < 4; i++) {
        int8x16_t x = vreinterpretq_s8_f32(a.q[i]), y = vreinterpretq_s8_f32(b.q[i]);
        int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(x), vget_low_s8(y))), high = vpaddlq_s16(vmull_high_s8(x, y));
        acc.q[i] = vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(acc.q[i]), vpaddq_s32(low, high)));
    }
    return acc;
}
#endif
IM_INLINE v16 v_sub_i32(v16 a, v16 b)
{
    for (int i = 0; i < 4; i++)
        a.q[i] = vreinterpretq_f32_s32(vsubq_s32(vreinterpretq_s32_f32(a.q[i]), vreinterpretq_s32_f32(b.q[i])));
    return a;
}
IM_INLINE v16 v_add_i32(v16 a, v16 b)
{
    for (int i = 0; i < 4; i++)
        a.q[i] = vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(a.q[i]), vreinterpretq_s32_f32(b.q[i])));
    return a;
}
IM_INLINE v16 v_i32_of_real(v16 v)
{
    for (int i = 0; i < 4; i++) v.q[i] = vreinterpretq_f32_s32(vcvtnq_s32_f32(v.q[i]));
    return v;
}
IM_INLINE v16 v_quad_bytes(v16 a, v16 b, v16 c, v16 d, uint8_t flip)
{
    for (int i = 0; i < 4; i++) {
        uint32x4_t all = vsliq_n_u32(vreinterpretq_u32_f32(a.q[i]), vreinterpretq_u32_f32(b.q[i]), 8);
        all = vsliq_n_u32(vsliq_n_u32(all, vreinterpretq_u32_f32(c.q[i]), 16), vreinterpretq_u32_f32(d.q[i]), 24);
        a.q[i] = vreinterpretq_f32_u32(veorq_u32(all, vreinterpretq_u32_u8(vdupq_n_u8(flip))));
    }
    return a;
}
IM_INLINE v16 v_real_of_i32(v16 v)
{
    for (int i = 0; i < 4; i++) v.q[i] = vcvtq_f32_s32(vreinterpretq_s32_f32(v.q[i]));
    return v;
}
IM_INLINE void v_store_int8(uint8_t *p, v16 v, uint8_t flip)
{
    int32x4_t n[4];
    for (int i = 0; i < 4; i++) n[i] = vcvtnq_s32_f32(v.q[i]);
    int16x8_t low = vcombine_s16(vqmovn_s32(n[0]), vqmovn_s32(n[1]));
    int16x8_t high = vcombine_s16(vqmovn_s32(n[2]), vqmovn_s32(n[3]));
    int8x16_t bytes = vcombine_s8(vqmovn_s16(low), vqmovn_s16(high));
    vst1q_u8(p, veorq_u8(vreinterpretq_u8_s8(bytes), vdupq_n_u8(flip)));
}

#endif
