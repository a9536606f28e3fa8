/* simd_avx2.h: simd.h on AVX2 with FMA and F16C: a v16 is two ymm registers, lanes 0-7 in lo, 8-15 in hi. */
#ifndef IM_SIMD_AVX2_H
#define IM_SIMD_AVX2_H

#include <immintrin.h>

enum { IM_MR = 6, IM_NV = 1 };           /* 12 ymm of sums, 2 of B, 1 of A */
#define IM_TILES(X, ...) \
    X(1, 1, __VA_ARGS__) X(2, 1, __VA_ARGS__) X(3, 1, __VA_ARGS__) X(4, 1, __VA_ARGS__) X(5, 1, __VA_ARGS__) \
    X(6, 1, __VA_ARGS__)

typedef struct { __m256 lo, hi; } v16;
typedef struct { __m256 lo, hi; } m16;   /* all bits of a lane set: true */

#define V_BOTH(type, lo_expr, hi_expr) ((type){ (lo_expr), (hi_expr) })
IM_INLINE v16 v_set1(float x) { __m256 v = _mm256_set1_ps(x); return V_BOTH(v16, v, v); }
IM_INLINE v16 v_load(const float *p) { return V_BOTH(v16, _mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)); }
IM_INLINE void v_store(float *p, v16 v) { _mm256_storeu_ps(p, v.lo); _mm256_storeu_ps(p + 8, v.hi); }
IM_INLINE void v_stream(float *p, v16 v) { _mm256_stream_ps(p, v.lo); _mm256_stream_ps(p + 8, v.hi); }
IM_INLINE void v_stream_end(void) { _mm_sfence(); }

/* Lane mask of the first n of 8; n below 0 or above 8 means none or all. */
IM_INLINE __m256i v_first8(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
IM_INLINE v16 v_load_n(const float *p, int n)
{
    return V_BOTH(v16, _mm256_maskload_ps(p, v_first8(n)), _mm256_maskload_ps(p + 8, v_first8(n - 8)));
}
IM_INLINE void v_store_n(float *p, v16 v, int n)
{
    _mm256_maskstore_ps(p, v_first8(n), v.lo);
    _mm256_maskstore_ps(p + 8, v_first8(n - 8), v.hi);
}

IM_INLINE v16 v_add(v16 a, v16 b) { return V_BOTH(v16, _mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)); }
IM_INLINE v16 v_sub(v16 a, v16 b) { return V_BOTH(v16, _mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)); }
IM_INLINE v16 v_mul(v16 a, v16 b) { return V_BOTH(v16, _mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)); }
IM_INLINE v16 v_div(v16 a, v16 b) { return V_BOTH(v16, _mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)); }
IM_INLINE v16 v_fma(v16 a, v16 b, v16 c)
{
    return V_BOTH(v16, _mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi));
}
IM_INLINE v16 v_fnma(v16 a, v16 b, v16 c)
{
    return V_BOTH(v16, _mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi));
}
IM_INLINE v16 v_max(v16 a, v16 b) { return V_BOTH(v16, _mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)); }
IM_INLINE v16 v_min(v16 a, v16 b) { return V_BOTH(v16, _mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)); }
IM_INLINE v16 v_abs(v16 v)
{
    __m256 s = _mm256_set1_ps(-0.0f);
    return V_BOTH(v16, _mm256_andnot_ps(s, v.lo), _mm256_andnot_ps(s, v.hi));
}
IM_INLINE v16 v_neg(v16 v)
{
    __m256 s = _mm256_set1_ps(-0.0f);
    return V_BOTH(v16, _mm256_xor_ps(s, v.lo), _mm256_xor_ps(s, v.hi));
}
IM_INLINE v16 v_sqrt(v16 v) { return V_BOTH(v16, _mm256_sqrt_ps(v.lo), _mm256_sqrt_ps(v.hi)); }
IM_INLINE v16 v_round(v16 v)
{
    return V_BOTH(v16, _mm256_round_ps(v.lo, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                  _mm256_round_ps(v.hi, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
IM_INLINE v16 v_floor(v16 v)
{
    return V_BOTH(v16, _mm256_round_ps(v.lo, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC),
                  _mm256_round_ps(v.hi, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC));
}

/* Half of n at a time: the first product is exact, the second rounds once, as scalef does. */
IM_INLINE __m256 v_ldexp8(__m256 v, __m256 n)
{
    __m256i i = _mm256_cvtps_epi32(n), h = _mm256_srai_epi32(i, 1), bias = _mm256_set1_epi32(127);
    __m256i p = _mm256_slli_epi32(_mm256_add_epi32(h, bias), 23);
    __m256i q = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(i, h), bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(v, _mm256_castsi256_ps(p)), _mm256_castsi256_ps(q));
}
IM_INLINE v16 v_ldexp(v16 v, v16 n) { return V_BOTH(v16, v_ldexp8(v.lo, n.lo), v_ldexp8(v.hi, n.hi)); }

IM_INLINE __m256 v_exponent8(__m256 v)
{
    __m256i biased = _mm256_srli_epi32(_mm256_castps_si256(v), 23);
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(biased, _mm256_set1_epi32(127)));
}
IM_INLINE v16 v_exponent(v16 v) { return V_BOTH(v16, v_exponent8(v.lo), v_exponent8(v.hi)); }

IM_INLINE float v_sum(v16 v)
{
    __m256 a = _mm256_add_ps(v.lo, v.hi);
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

IM_INLINE float v_hmax(v16 v)
{
    __m256 a = _mm256_max_ps(v.lo, v.hi);
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

IM_INLINE m16 v_lt(v16 a, v16 b)
{
    return V_BOTH(m16, _mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ));
}
IM_INLINE m16 v_le(v16 a, v16 b)
{
    return V_BOTH(m16, _mm256_cmp_ps(a.lo, b.lo, _CMP_LE_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_LE_OQ));
}
IM_INLINE m16 v_gt(v16 a, v16 b) { return v_lt(b, a); }
IM_INLINE m16 v_ge(v16 a, v16 b) { return v_le(b, a); }
IM_INLINE m16 v_eq(v16 a, v16 b)
{
    return V_BOTH(m16, _mm256_cmp_ps(a.lo, b.lo, _CMP_EQ_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_EQ_OQ));
}
IM_INLINE m16 m_not(m16 m)
{
    __m256 ones = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
    return V_BOTH(m16, _mm256_xor_ps(ones, m.lo), _mm256_xor_ps(ones, m.hi));
}
IM_INLINE bool m_any(m16 m) { return (_mm256_movemask_ps(m.lo) | _mm256_movemask_ps(m.hi)) != 0; }
IM_INLINE v16 v_select(m16 m, v16 yes, v16 no)
{
    return V_BOTH(v16, _mm256_blendv_ps(no.lo, yes.lo, m.lo), _mm256_blendv_ps(no.hi, yes.hi, m.hi));
}

IM_INLINE v16 v_load_f16(const uint16_t *p)
{
    return V_BOTH(v16, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
                  _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8))));
}
IM_INLINE __m256 v_load_bf16x8(const uint16_t *p)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
IM_INLINE v16 v_load_bf16(const uint16_t *p) { return V_BOTH(v16, v_load_bf16x8(p), v_load_bf16x8(p + 8)); }

IM_INLINE __m256 v_even8(__m256 v) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(v), 16)); }
IM_INLINE v16 v_bf16_even(v16 v) { return V_BOTH(v16, v_even8(v.lo), v_even8(v.hi)); }
IM_INLINE v16 v_bf16_odd(v16 v)
{
    __m256 m = _mm256_castsi256_ps(_mm256_set1_epi32(-65536));
    return V_BOTH(v16, _mm256_and_ps(m, v.lo), _mm256_and_ps(m, v.hi));
}

IM_INLINE void v_store_f16(uint16_t *p, v16 v)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(v.lo, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    _mm_storeu_si128((__m128i *)(p + 8), _mm256_cvtps_ph(v.hi, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

IM_INLINE __m256i v_bf16_bits8(__m256 v)
{
    __m256i x = _mm256_castps_si256(v), odd = _mm256_and_si256(_mm256_srli_epi32(x, 16), _mm256_set1_epi32(1));
    __m256i r = _mm256_add_epi32(x, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256i nan = _mm256_or_si256(x, _mm256_set1_epi32(0x400000));
    r = _mm256_blendv_epi8(r, nan, _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
    return _mm256_srli_epi32(r, 16);
}
IM_INLINE void v_store_bf16(uint16_t *p, v16 v)
{
    __m256i both = _mm256_packus_epi32(v_bf16_bits8(v.lo), v_bf16_bits8(v.hi));          /* 0-3 8-11 4-7 12-15 */
    _mm256_storeu_si256((__m256i *)p, _mm256_permute4x64_epi64(both, 0xd8));
}

/* ---- int8 */

IM_INLINE __m256i v_bits8(__m256 v) { return _mm256_castps_si256(v); }
#ifndef V_HAS_INT8_DOT
enum { IM_INT8_FLIP = 0 };
/* |b| times a with b's sign, so that pairs stay below 2 * 127 * 128 and vpmaddubsw, u8 by i8 into i16, saturates
 * nowhere. */
IM_INLINE __m256 v_dot8(__m256 acc, __m256 a, __m256 b)
{
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(v_bits8(b)), _mm256_sign_epi8(v_bits8(a), v_bits8(b)));
    return _mm256_castsi256_ps(_mm256_add_epi32(v_bits8(acc), _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))));
}
IM_INLINE v16 v_dot_int8(v16 acc, v16 a, v16 b)
{
    return V_BOTH(v16, v_dot8(acc.lo, a.lo, b.lo), v_dot8(acc.hi, a.hi, b.hi));
}
#endif
IM_INLINE v16 v_sub_i32(v16 a, v16 b)
{
    return V_BOTH(v16, _mm256_castsi256_ps(_mm256_sub_epi32(v_bits8(a.lo), v_bits8(b.lo))),
                  _mm256_castsi256_ps(_mm256_sub_epi32(v_bits8(a.hi), v_bits8(b.hi))));
}
IM_INLINE v16 v_add_i32(v16 a, v16 b)
{
    return V_BOTH(v16, _mm256_castsi256_ps(_mm256_add_epi32(v_bits8(a.lo), v_bits8(b.lo))),
                  _mm256_castsi256_ps(_mm256_add_epi32(v_bits8(a.hi), v_bits8(b.hi))));
}
IM_INLINE v16 v_i32_of_real(v16 v)
{
    return V_BOTH(v16, _mm256_castsi256_ps(_mm256_cvtps_epi32(v.lo)), _mm256_castsi256_ps(_mm256_cvtps_epi32(v.hi)));
}
IM_INLINE __m256 v_quad8(__m256 a, __m256 b, __m256 c, __m256 d, uint8_t flip)
{
    __m256i low = _mm256_xor_si256(v_bits8(a), _mm256_slli_epi32(v_bits8(b), 8));
    __m256i high = _mm256_xor_si256(_mm256_slli_epi32(v_bits8(c), 16), _mm256_slli_epi32(v_bits8(d), 24));
    return _mm256_castsi256_ps(_mm256_xor_si256(_mm256_xor_si256(low, high), _mm256_set1_epi8((char)flip)));
}
IM_INLINE v16 v_quad_bytes(v16 a, v16 b, v16 c, v16 d, uint8_t flip)
{
    return V_BOTH(v16, v_quad8(a.lo, b.lo, c.lo, d.lo, flip), v_quad8(a.hi, b.hi, c.hi, d.hi, flip));
}
IM_INLINE v16 v_real_of_i32(v16 v)
{
    return V_BOTH(v16, _mm256_cvtepi32_ps(v_bits8(v.lo)), _mm256_cvtepi32_ps(v_bits8(v.hi)));
}
IM_INLINE void v_store_int8(uint8_t *p, v16 v, uint8_t flip)
{
    __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(v.lo), _mm256_cvtps_epi32(v.hi));      /* 0-3 8-11 4-7 12-15 */
    words = _mm256_permute4x64_epi64(words, 0xd8);
    __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128((__m128i *)p, _mm_xor_si128(bytes, _mm_set1_epi8((char)flip)));
}
#undef V_BOTH

#endif
