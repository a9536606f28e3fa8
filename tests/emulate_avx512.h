/* emulate_avx512.h: AVX-512 and vpdpbusd for a machine without them, as far as int8's innermost loop goes: micro.c is
 * compiled with this in front (Makefile) and run by test_int8_dots.c. The instructions that the loop uses are written
 * out in C, as Intel's manual has them, on the compiler's own vectors; all others that simd_avx512.h names are there to be
 * compiled, never called. */
#ifndef IM_TESTS_EMULATE_AVX512_H
#define IM_TESTS_EMULATE_AVX512_H

#define _IMMINTRIN_H_INCLUDED            /* simd_avx512.h finds these in the place of the compiler's own              */
#define __IMMINTRIN_H

#include <stdint.h>
#include <string.h>

typedef float __m512 __attribute__((vector_size(64))), __m256 __attribute__((vector_size(32))),
    __m128 __attribute__((vector_size(16)));
typedef long long __m512i __attribute__((vector_size(64))), __m256i __attribute__((vector_size(32))),
    __m128i __attribute__((vector_size(16)));
typedef uint16_t __mmask16;
typedef uint64_t __mmask64;
typedef int32_t lanes512 __attribute__((vector_size(64)));
typedef int16_t words512 __attribute__((vector_size(64)));
typedef int8_t bytes512 __attribute__((vector_size(64)));
enum { _MM_FROUND_TO_NEAREST_INT, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEG_INF, _CMP_LT_OQ, _CMP_LE_OQ, _CMP_GT_OQ, _CMP_GE_OQ,
       _CMP_EQ_OQ, _CMP_UNORD_Q };

/* ---------------------------------------------------------------- what the loop uses */

#define EMULATED static inline __attribute__((always_inline, unused))
EMULATED __m512 _mm512_loadu_ps(const void *p) { __m512 v; memcpy(&v, p, sizeof v); return v; }
EMULATED void _mm512_storeu_ps(void *p, __m512 v) { memcpy(p, &v, sizeof v); }
EMULATED __m512i _mm512_castps_si512(__m512 v) { return (__m512i)v; }
EMULATED __m512 _mm512_castsi512_ps(__m512i v) { return (__m512)v; }
EMULATED __m512 _mm512_set1_ps(float x)
{
    return (__m512){ x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x };
}
EMULATED __m512i _mm512_add_epi32(__m512i a, __m512i b) { return (__m512i)((lanes512)a + (lanes512)b); }
EMULATED __m512i _mm512_setzero_si512(void) { return (__m512i){ 0 }; }
EMULATED __m512i _mm512_set1_epi16(int16_t x) { return (__m512i)((words512){ 0 } + x); }
EMULATED __mmask64 _mm512_movepi8_mask(__m512i v)
{
    __mmask64 all = 0;
    for (int i = 0; i < 64; i++)
        all |= (__mmask64)(((bytes512)v)[i] < 0) << i;
    return all;
}
EMULATED __m512i _mm512_mask_sub_epi8(__m512i keep, __mmask64 mask, __m512i a, __m512i b)
{
    bytes512 r = (bytes512)keep, x = (bytes512)a, y = (bytes512)b;
    for (int i = 0; i < 64; i++)
        r[i] = mask >> i & 1 ? (int8_t)(x[i] - y[i]) : r[i];
    return (__m512i)r;
}
EMULATED __m512i _mm512_abs_epi8(__m512i v)
{
    bytes512 r = (bytes512)v;
    for (int i = 0; i < 64; i++)
        r[i] = (int8_t)(r[i] < 0 ? -r[i] : r[i]);
    return (__m512i)r;
}
/* a unsigned, b signed, pairs with saturation */
EMULATED __m512i _mm512_maddubs_epi16(__m512i a, __m512i b)
{
    words512 r;
    for (int i = 0; i < 32; i++) {
        int sum = (uint8_t)((bytes512)a)[2 * i] * ((bytes512)b)[2 * i] +
                  (uint8_t)((bytes512)a)[2 * i + 1] * ((bytes512)b)[2 * i + 1];
        r[i] = (int16_t)(sum > INT16_MAX ? INT16_MAX : sum < INT16_MIN ? INT16_MIN : sum);
    }
    return (__m512i)r;
}
EMULATED __m512i _mm512_madd_epi16(__m512i a, __m512i b)
{
    int16_t x[32], y[32];
    int32_t sum[16];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    for (int i = 0; i < 16; i++)
        sum[i] = x[2 * i] * y[2 * i] + x[2 * i + 1] * y[2 * i + 1];
    memcpy(&a, sum, sizeof sum);
    return a;
}
/* a unsigned, b signed, no saturation */
EMULATED __m512i _mm512_dpbusd_epi32(__m512i acc, __m512i a, __m512i b)
{
    int32_t sum[16];
    uint8_t x[64];
    int8_t y[64];
    memcpy(sum, &acc, sizeof sum);
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    for (int i = 0; i < 64; i++)
        sum[i / 4] += x[i] * y[i];
    memcpy(&acc, sum, sizeof sum);
    return acc;
}

/* ---------------------------------------------------------------- what is only compiled */

#define _mm256_add_ps(...) ((__m256){ 0 })
#define _mm256_castps256_ps128(...) ((__m128){ 0 })
#define _mm256_extractf128_ps(...) ((__m128){ 0 })
#define _mm256_loadu_si256(...) ((__m256i){ 0 })
#define _mm256_mask_storeu_epi16(...) ((void)0)
#define _mm256_maskz_loadu_epi16(...) ((__m256i){ 0 })
#define _mm256_max_ps(...) ((__m256){ 0 })
#define _mm256_storeu_si256(...) ((void)0)
#define _mm256_stream_si256(...) ((void)0)
#define _mm512_add_ps(...) ((__m512){ 0 })
#define _mm512_and_ps(...) ((__m512){ 0 })
#define _mm512_and_si512(...) ((__m512i){ 0 })
#define _mm512_andnot_ps(...) ((__m512){ 0 })
#define _mm512_castpd_ps(...) ((__m512){ 0 })
#define _mm512_castps_pd(...) ((__m512){ 0 })
#define _mm512_castps512_ps256(...) ((__m256){ 0 })
#define _mm512_castsi256_si512(...) ((__m512i){ 0 })
#define _mm512_cmp_ps_mask(...) ((__mmask16)0)
#define _mm512_cvtepi32_epi16(...) ((__m256i){ 0 })
#define _mm512_cvtepi32_ps(...) ((__m512){ 0 })
#define _mm512_cvtepu16_epi32(...) ((__m512i){ 0 })
#define _mm512_cvtph_ps(...) ((__m512){ 0 })
#define _mm512_cvtps_epi32(...) ((__m512i){ 0 })
#define _mm512_cvtps_ph(...) ((__m256i){ 0 })
#define _mm512_cvtsepi32_epi8(...) ((__m128i){ 0 })
#define _mm512_div_ps(...) ((__m512){ 0 })
#define _mm512_extractf32x8_ps(...) ((__m256){ 0 })
#define _mm512_fmadd_ps(...) ((__m512){ 0 })
#define _mm512_fnmadd_ps(...) ((__m512){ 0 })
#define _mm512_getexp_ps(...) ((__m512){ 0 })
#define _mm512_inserti64x4(...) ((__m512i){ 0 })
#define _mm512_mask_blend_ps(...) ((__m512){ 0 })
#define _mm512_mask_or_epi32(...) ((__m512i){ 0 })
#define _mm512_mask_storeu_ps(...) ((void)0)
#define _mm512_maskz_loadu_ps(...) ((__m512){ 0 })
#define _mm512_max_ps(...) ((__m512){ 0 })
#define _mm512_min_ps(...) ((__m512){ 0 })
#define _mm512_mul_ps(...) ((__m512){ 0 })
#define _mm512_permutexvar_epi16(...) ((__m512i){ 0 })
#define _mm512_reduce_ps(...) ((__m512){ 0 })
#define _mm512_roundscale_ps(...) ((__m512){ 0 })
#define _mm512_scalef_ps(...) ((__m512){ 0 })
#define _mm512_set1_epi8(...) ((__m512i){ 0 })
#define _mm512_set1_epi32(...) ((__m512i){ 0 })
#define _mm512_set_epi16(...) ((__m512i){ 0 })
#define _mm512_shuffle_f32x4(...) ((__m512){ 0 })
#define _mm512_slli_epi32(...) ((__m512i){ 0 })
#define _mm512_sqrt_ps(...) ((__m512){ 0 })
#define _mm512_srli_epi32(...) ((__m512i){ 0 })
#define _mm512_stream_ps(...) ((void)0)
#define _mm512_sub_epi32(...) ((__m512i){ 0 })
#define _mm512_sub_ps(...) ((__m512){ 0 })
#define _mm512_ternarylogic_epi32(...) ((__m512i){ 0 })
#define _mm512_unpackhi_pd(...) ((__m512){ 0 })
#define _mm512_unpackhi_ps(...) ((__m512){ 0 })
#define _mm512_unpacklo_pd(...) ((__m512){ 0 })
#define _mm512_unpacklo_ps(...) ((__m512){ 0 })
#define _mm512_xor_ps(...) ((__m512){ 0 })
#define _mm_add_ps(...) ((__m128){ 0 })
#define _mm_add_ss(...) ((__m128){ 0 })
#define _mm_cvtss_f32(...) 0.0f
#define _mm_max_ps(...) ((__m128){ 0 })
#define _mm_max_ss(...) ((__m128){ 0 })
#define _mm_movehdup_ps(...) ((__m128){ 0 })
#define _mm_movehl_ps(...) ((__m128){ 0 })
#define _mm_set1_epi8(...) ((__m128i){ 0 })
#define _mm_sfence(...) ((void)0)
#define _mm_storeu_si128(...) ((void)0)
#define _mm_xor_si128(...) ((__m128i){ 0 })

#endif
