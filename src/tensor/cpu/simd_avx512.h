/* simd_avx512.h: simd.h on AVX-512 (F, BW, VL, DQ): a v16 is one zmm register, a mask one k register. */
#ifndef IM_SIMD_AVX512_H
#define IM_SIMD_AVX512_H

#include <immintrin.h>

enum { IM_MR = 14, IM_NV = 2 };          /* 28 zmm of sums, 2 of B, 2 of A */
#define IM_TILES(X, ...) \
    X(1, 1, __VA_ARGS__) X(2, 1, __VA_ARGS__) X(3, 1, __VA_ARGS__) X(4, 1, __VA_ARGS__) X(5, 1, __VA_ARGS__) \
    X(6, 1, __VA_ARGS__) X(7, 1, __VA_ARGS__) X(8, 1, __VA_ARGS__) X(9, 1, __VA_ARGS__) X(10, 1, __VA_ARGS__) \
    X(11, 1, __VA_ARGS__) X(12, 1, __VA_ARGS__) X(13, 1, __VA_ARGS__) X(14, 1, __VA_ARGS__) X(1, 2, __VA_ARGS__) \
    X(2, 2, __VA_ARGS__) X(3, 2, __VA_ARGS__) X(4, 2, __VA_ARGS__) X(5, 2, __VA_ARGS__) X(6, 2, __VA_ARGS__) \
    X(7, 2, __VA_ARGS__) X(8, 2, __VA_ARGS__) X(9, 2, __VA_ARGS__) X(10, 2, __VA_ARGS__) X(11, 2, __VA_ARGS__) \
    X(12, 2, __VA_ARGS__) X(13, 2, __VA_ARGS__) X(14, 2, __VA_ARGS__)

typedef __m512 v16;
typedef __mmask16 m16;

IM_INLINE v16 v_set1(float x) { return _mm512_set1_ps(x); }
IM_INLINE v16 v_load(const float *p) { return _mm512_loadu_ps(p); }
IM_INLINE void v_store(float *p, v16 v) { _mm512_storeu_ps(p, v); }
IM_INLINE void v_stream(float *p, v16 v) { _mm512_stream_ps(p, v); }
IM_INLINE void v_stream_end(void) { _mm_sfence(); }
IM_INLINE __mmask16 v_first(int n) { return (__mmask16)((1u << n) - 1u); }
IM_INLINE v16 v_load_n(const float *p, int n) { return _mm512_maskz_loadu_ps(v_first(n), p); }
IM_INLINE void v_store_n(float *p, v16 v, int n) { _mm512_mask_storeu_ps(p, v_first(n), v); }

IM_INLINE v16 v_add(v16 a, v16 b) { return _mm512_add_ps(a, b); }
IM_INLINE v16 v_sub(v16 a, v16 b) { return _mm512_sub_ps(a, b); }
IM_INLINE v16 v_mul(v16 a, v16 b) { return _mm512_mul_ps(a, b); }
IM_INLINE v16 v_div(v16 a, v16 b) { return _mm512_div_ps(a, b); }
IM_INLINE v16 v_fma(v16 a, v16 b, v16 c) { return _mm512_fmadd_ps(a, b, c); }
IM_INLINE v16 v_fnma(v16 a, v16 b, v16 c) { return _mm512_fnmadd_ps(a, b, c); }
IM_INLINE v16 v_max(v16 a, v16 b) { return _mm512_max_ps(a, b); }
IM_INLINE v16 v_min(v16 a, v16 b) { return _mm512_min_ps(a, b); }
IM_INLINE v16 v_abs(v16 v) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), v); }
IM_INLINE v16 v_neg(v16 v) { return _mm512_xor_ps(_mm512_set1_ps(-0.0f), v); }
IM_INLINE v16 v_sqrt(v16 v) { return _mm512_sqrt_ps(v); }
IM_INLINE v16 v_round(v16 v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
IM_INLINE v16 v_floor(v16 v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
#define V_HAS_FRACTION                           /* v - floor(v), rounded down; v_ldexp takes the floor of any n */
IM_INLINE v16 v_fraction(v16 v) { return _mm512_reduce_ps(v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
IM_INLINE v16 v_ldexp(v16 v, v16 n) { return _mm512_scalef_ps(v, n); }
IM_INLINE v16 v_exponent(v16 v) { return _mm512_getexp_ps(v); }

IM_INLINE float v_sum(v16 v)
{
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

IM_INLINE float v_hmax(v16 v)
{
    __m256 a = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

IM_INLINE m16 v_lt(v16 a, v16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
IM_INLINE m16 v_le(v16 a, v16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
IM_INLINE m16 v_gt(v16 a, v16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
IM_INLINE m16 v_ge(v16 a, v16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
IM_INLINE m16 v_eq(v16 a, v16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
IM_INLINE m16 m_not(m16 m) { return (m16)~m; }
IM_INLINE bool m_any(m16 m) { return m != 0; }
IM_INLINE v16 v_select(m16 m, v16 yes, v16 no) { return _mm512_mask_blend_ps(m, no, yes); }

IM_INLINE v16 v_load_f16(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }

IM_INLINE v16 v_load_bf16(const uint16_t *p)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

#define V_HAS_WORDS
IM_INLINE v16 v_load_f16_n(const uint16_t *p, int n)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(v_first(n), p));
}
IM_INLINE __m256i v_f16_bits(v16 v) { return _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
IM_INLINE void v_store_f16_n(uint16_t *p, v16 v, int n) { _mm256_mask_storeu_epi16(p, v_first(n), v_f16_bits(v)); }
IM_INLINE void v_stream_f16(uint16_t *p, v16 v) { _mm256_stream_si256((__m256i *)p, v_f16_bits(v)); }
IM_INLINE v16 v_load_bf16_n(const uint16_t *p, int n)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(v_first(n), p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
/* 16 words of the lower half and 16 of the upper one, in turn. */
IM_INLINE v16 v_zip_halves(__m512i both)
{
    const __m512i zip = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,
                                         23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(zip, both));
}
IM_INLINE v16 v_zip_bf16(const uint16_t *p, const uint16_t *q)
{
    __m512i low = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)p));
    return v_zip_halves(_mm512_inserti64x4(low, _mm256_loadu_si256((const __m256i *)q), 1));
}

IM_INLINE v16 v_bf16_even(v16 v) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(v), 16)); }
IM_INLINE v16 v_bf16_odd(v16 v) { return _mm512_and_ps(_mm512_castsi512_ps(_mm512_set1_epi32(-65536)), v); }

IM_INLINE void v_store_f16(uint16_t *p, v16 v)
{
    _mm256_storeu_si256((__m256i *)p, v_f16_bits(v));
}

IM_INLINE void v_store_bf16(uint16_t *p, v16 v)
{
    __m512i x = _mm512_castps_si512(v), odd = _mm512_and_si512(_mm512_srli_epi32(x, 16), _mm512_set1_epi32(1));
    __m512i r = _mm512_add_epi32(x, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    r = _mm512_mask_or_epi32(r, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), x, _mm512_set1_epi32(0x400000));
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(r, 16)));
}

#define V_HAS_TURN
IM_INLINE __m512 v_pairs_low(__m512 a, __m512 b)
{
    return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}
IM_INLINE __m512 v_pairs_high(__m512 a, __m512 b)
{
    return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}
/* Within quarters of a register first: u[4 i + c], quarter q, has column 4 q + c of rows 4 i .. 4 i + 3. */
IM_INLINE void v_turn(v16 x[16])
{
    v16 t[16], u[16];
    IM_UNROLL for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
    }
    IM_UNROLL for (int i = 0; i < 16; i += 4) {
        u[i] = v_pairs_low(t[i], t[i + 2]);
        u[i + 1] = v_pairs_high(t[i], t[i + 2]);
        u[i + 2] = v_pairs_low(t[i + 1], t[i + 3]);
        u[i + 3] = v_pairs_high(t[i + 1], t[i + 3]);
    }
    IM_UNROLL for (int c = 0; c < 4; c++) {
        v16 a = _mm512_shuffle_f32x4(u[c], u[4 + c], 0x88), b = _mm512_shuffle_f32x4(u[8 + c], u[12 + c], 0x88);
        v16 d = _mm512_shuffle_f32x4(u[c], u[4 + c], 0xdd), e = _mm512_shuffle_f32x4(u[8 + c], u[12 + c], 0xdd);
        x[c] = _mm512_shuffle_f32x4(a, b, 0x88);
        x[8 + c] = _mm512_shuffle_f32x4(a, b, 0xdd);
        x[4 + c] = _mm512_shuffle_f32x4(d, e, 0x88);
        x[12 + c] = _mm512_shuffle_f32x4(d, e, 0xdd);
    }
}

/* ---- int8 */

#ifndef V_HAS_INT8_DOT
enum { IM_INT8_FLIP = 0 };
/* |b| times a with b's sign, so that pairs stay below 2 * 127 * 128 and vpmaddubsw, u8 by i8 into i16, saturates
 * nowhere. */
IM_INLINE v16 v_dot_int8(v16 acc, v16 a, v16 b)
{
    __m512i x = _mm512_castps_si512(a), y = _mm512_castps_si512(b);
    x = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(y), _mm512_setzero_si512(), x);
    x = _mm512_madd_epi16(_mm512_maddubs_epi16(_mm512_abs_epi8(y), x), _mm512_set1_epi16(1));
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(acc), x));
}
#endif
IM_INLINE v16 v_sub_i32(v16 a, v16 b)
{
    return _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)));
}
IM_INLINE v16 v_add_i32(v16 a, v16 b)
{
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)));
}
IM_INLINE v16 v_i32_of_real(v16 v) { return _mm512_castsi512_ps(_mm512_cvtps_epi32(v)); }
IM_INLINE v16 v_quad_bytes(v16 a, v16 b, v16 c, v16 d, uint8_t flip)
{
    __m512i second = _mm512_slli_epi32(_mm512_castps_si512(b), 8), third = _mm512_slli_epi32(_mm512_castps_si512(c), 16);
    __m512i fourth = _mm512_slli_epi32(_mm512_castps_si512(d), 24), most = _mm512_set1_epi8((char)flip);
    most = _mm512_ternarylogic_epi32(most, second, third, 0x96);                         /* a ^ b ^ c                  */
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(most, fourth, _mm512_castps_si512(a), 0x96));
}
IM_INLINE v16 v_real_of_i32(v16 v) { return _mm512_cvtepi32_ps(_mm512_castps_si512(v)); }
IM_INLINE void v_store_int8(uint8_t *p, v16 v, uint8_t flip)
{
    __m128i bytes = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(v));
    _mm_storeu_si128((__m128i *)p, _mm_xor_si128(bytes, _mm_set1_epi8((char)flip)));
}

#endif
