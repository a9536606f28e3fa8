/* simd_avx2vnni.h: simd_avx2.h with vpdpbusd as processors have it that have no AVX-512. micro.c alone is compiled with it;
 * cpu.c takes its tiles where the processor has the instruction. */
#ifndef IM_SIMD_AVX2VNNI_H
#define IM_SIMD_AVX2VNNI_H

#define V_HAS_INT8_DOT
#include "tensor/cpu/simd_avx2.h"

enum { IM_INT8_FLIP = 0x80 };            /* vpdpbusd wants one factor without a sign: 128 is added to A               */
IM_INLINE __m256 v_dot8(__m256 acc, __m256 a, __m256 b)
{
    return _mm256_castsi256_ps(_mm256_dpbusd_avx_epi32(v_bits8(acc), v_bits8(a), v_bits8(b)));
}
IM_INLINE v16 v_dot_int8(v16 acc, v16 a, v16 b)
{
    return (v16){ v_dot8(acc.lo, a.lo, b.lo), v_dot8(acc.hi, a.hi, b.hi) };
}

#endif
