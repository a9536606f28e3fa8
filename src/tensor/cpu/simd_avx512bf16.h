/* simd_avx512bf16.h: simd_avx512.h with the bf16 instructions. */
#ifndef IM_SIMD_AVX512BF16_H
#define IM_SIMD_AVX512BF16_H

#include "tensor/cpu/simd_avx512.h"

#define V_HAS_DOT
/* acc[i] + a[2i] b[2i] + a[2i+1] b[2i+1]; subnormals count as zero, rounding to nearest even after each sum */
IM_INLINE v16 v_dot_bf16(v16 acc, v16 a, v16 b)
{
    return _mm512_dpbf16_ps(acc, (__m512bh)_mm512_castps_si512(a), (__m512bh)_mm512_castps_si512(b));
}
/* v_store_bf16 in one instruction; subnormals become zero, which v_dot_bf16 would make of them anyway */
IM_INLINE void v_store_dot(uint16_t *p, v16 v)
{
    _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh(v));
}
IM_INLINE void v_store_dot_n(uint16_t *p, v16 v, int n)
{
    _mm256_mask_storeu_epi16(p, v_first(n), (__m256i)_mm512_cvtneps_pbh(v));
}
IM_INLINE void v_stream_dot(uint16_t *p, v16 v) { _mm256_stream_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh(v)); }
IM_INLINE v16 v_bf16_pairs(v16 a, v16 b)
{
    return v_zip_halves((__m512i)_mm512_cvtne2ps_pbh(b, a));   /* 16 of a, then 16 of b */
}

#endif
