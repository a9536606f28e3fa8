/* simd_avx512vnni.h: simd_avx512.h with vpdpbusd. micro.c alone is compiled with it; cpu.c takes its tiles where the
 * processor has the instruction. */
#ifndef IM_SIMD_AVX512VNNI_H
#define IM_SIMD_AVX512VNNI_H

#define V_HAS_INT8_DOT
#include "tensor/cpu/simd_avx512.h"

enum { IM_INT8_FLIP = 0x80 };            /* vpdpbusd wants one factor without a sign: 128 is added to A               */
IM_INLINE v16 v_dot_int8(v16 acc, v16 a, v16 b)
{
    __m512i sum = _mm512_castps_si512(acc), x = _mm512_castps_si512(a), y = _mm512_castps_si512(b);
    return _mm512_castsi512_ps(_mm512_dpbusd_epi32(sum, x, y));
}

#endif
