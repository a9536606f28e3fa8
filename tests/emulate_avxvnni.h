/* emulate_avxvnni.h: vpdpbusd for a machine that has AVX2 and not this: micro.c is compiled with it in front (Makefile)
 * and run by test_int8_dots.c. As Intel's manual has it: four products of an unsigned and a signed byte, and their sum,
 * in i32. */
#ifndef IM_TESTS_EMULATE_AVXVNNI_H
#define IM_TESTS_EMULATE_AVXVNNI_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

static inline __attribute__((always_inline, unused)) __m256i emulated_dpbusd(__m256i acc, __m256i a, __m256i b)
{
    int32_t sum[8];
    uint8_t x[32];
    int8_t y[32];
    memcpy(sum, &acc, sizeof sum);
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    for (int i = 0; i < 32; i++)
        sum[i / 4] += x[i] * y[i];
    memcpy(&acc, sum, sizeof sum);
    return acc;
}
#define _mm256_dpbusd_avx_epi32 emulated_dpbusd

#endif
