/* simd.h: the vector operations that every kernel of tensor/cpu is written with.
 *
 * A v16 holds 16 f32 lanes on every ISA: one zmm register on avx512, two ymm on avx2, four q registers on neon, 16
 * floats on portable. So the "16 virtual lanes" of device.h need no thought: the same source gives the same bits on
 * avx2, avx512 and neon. portable has no hardware fma (v_fma rounds twice there) and is held to tolerance only.
 *
 * Each kernel file is compiled once per ISA with -DIM_ISA=<isa>; IM_FN(name) is name_<isa>. Everything here is static
 * inline: a shared inline function compiled with AVX-512 could be linked into the portable path.
 *
 *   v_load(p) v_store(p, v)             16 floats, any alignment
 *   v_load_n(p, n) v_store_n(p, v, n)   the first n of 16 (0..16); no byte behind them is touched; missing lanes are 0
 *   v_stream(p, v)                      v_store past the caches, p on 64 bytes; v_stream_end() before others read it
 *   v_set1(x) v_zero()
 *   v_add v_sub v_mul v_div             a op b
 *   v_fma(a, b, c) = a*b + c            v_fnma(a, b, c) = c - a*b          one rounding (portable: two)
 *   v_max(a, b) = a > b ? a : b         v_min(a, b) = a < b ? a : b        so with a NaN in either, b comes back
 *   v_abs v_neg v_sqrt v_floor          v_round: to nearest, ties to even
 *   v_sum(v) v_hmax(v)                  tree 8+8, 4+4, 2+2, 1+1: lane j takes lane j + half (v_hmax: v_max(low, high))
 *   v_lt v_le v_gt v_ge v_eq            -> m16, false where a NaN takes part; v_isnan(v)
 *   v_select(m, yes, no)  m_any(m)
 *   v_ldexp(v, n) = v * 2^n             n integer-valued in [-252, 254]; rounded once when 2^-50 < |v| < 2^50
 *                                       (subnormal results too); overflow gives Inf; a NaN in v stays
 *   v_load_f16(p) v_load_bf16(p)        16 halves -> v16, exact
 *   v_store_f16(p, v) v_store_bf16(p, v)  round to nearest even; NaN stays NaN
 *   v_store_f16_n(p, v, n)              its first n lanes; v_stream_f16(p, v) past the caches, p on 32 bytes
 *   v_bf16_even(v) v_bf16_odd(v)        v holds the bits of 16 pairs of bf16 (load with v_load): their firsts, seconds
 *   v_dot_bf16(acc, a, b)               acc + pairwise products of such pairs: vdpbf16ps where the ISA has it
 *   v_bf16_pairs(a, b)                  16 such pairs, lane by lane: a the firsts, b the seconds
 *   v_store_dot(p, v)                   v_store_bf16 for operands of v_dot_bf16, which may lose subnormals
 *   v_store_dot_n(p, v, n)              its first n lanes; v_stream_dot(p, v) past the caches, p on 32 bytes
 *   v_load_f16_n(p, n) v_load_bf16_n    the first n of 16, no byte behind them is touched; missing lanes are 0
 *   v_zip_bf16(p, q)                    v_bf16_pairs of 16 bf16 at p and at q, as they are
 *   v_dot_int8(acc, a, b)               lanes are i32: acc + the sum of 4 products of bytes, those of a xored with
 * IM_INT8_FLIP
 *   v_store_int8(p, v, flip)            to nearest even (ties), 16 bytes, each xored with flip; |v| < 128
 *   v_real_of_i32(v) v_i32_of_real(v)   lanes are i32; to nearest even (ties), |v| < 2^22
 *   v_sub_i32(a, b) v_add_i32(a, b)     lanes are i32
 *   v_quad_bytes(a, b, c, d, flip)      lanes are i32 of 0..255: a byte of each, a lowest, all xored with flip
 *   v_turn(x)                           16 vectors: lane j of x[i] and lane i of x[j] change places
 *   v_prefetch(p) v_prefetch_l2(p)      the cache line at p, into L1 or only as far as L2
 *
 * Loads and stores of vectors are intrinsics or memcpy, which may read and write memory of any type: bf16 that is stored
 * by v_store_dot is read as pairs by v_load, or by one scalar f32 of micro.c. Scalar code keeps to one type, or to memcpy,
 * so nothing here needs -fno-strict-aliasing; -Wstrict-aliasing=2 (Makefile) finds what it can.
 *
 * IM_MR x (16 IM_NV) is the ISA's largest tile of a product: rows by columns, so chosen that the sums, one row of B
 * and one value of A just fill the registers (as in BLIS); IM_TILES lists all its tiles (micro.c). */
#ifndef IM_SIMD_H
#define IM_SIMD_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifndef IM_ISA
#error "IM_ISA is set by the Makefile for each file of src/tensor/cpu but cpu.c"
#endif
#define IM_CAT2(a, b) a##_##b
#define IM_CAT(a, b) IM_CAT2(a, b)
#define IM_FN(name) IM_CAT(name, IM_ISA)
#define IM_TEXT2(x) #x
#define IM_TEXT(x) IM_TEXT2(x)
#define IM_ISA_NAME IM_TEXT(IM_ISA)
#define IM_INLINE static inline __attribute__((always_inline, unused))
/* Before a loop whose count is a constant of at most 32: sums in an array reach registers only if it is unrolled. */
#ifdef __clang__
#define IM_UNROLL _Pragma("clang loop unroll(full)")
#else
#define IM_UNROLL _Pragma("GCC unroll 32")
#endif

#if defined(IM_ISA_avx512vnni)
#include "tensor/cpu/simd_avx512vnni.h"
#elif defined(IM_ISA_avx2vnni)
#include "tensor/cpu/simd_avx2vnni.h"
#elif defined(IM_ISA_neondot)
#include "tensor/cpu/simd_neondot.h"
#elif defined(IM_ISA_avx512bf16)
#include "tensor/cpu/simd_avx512bf16.h"
#elif defined(IM_ISA_avx512)
#include "tensor/cpu/simd_avx512.h"
#elif defined(IM_ISA_avx2)
#include "tensor/cpu/simd_avx2.h"
#elif defined(IM_ISA_neon)
#include "tensor/cpu/simd_neon.h"
#else
#include "tensor/cpu/simd_portable.h"
#endif

IM_INLINE v16 v_zero(void) { return v_set1(0.0f); }
IM_INLINE void v_prefetch(const void *p) { __builtin_prefetch(p, 0, 3); }
IM_INLINE void v_prefetch_l2(const void *p) { __builtin_prefetch(p, 0, 2); }
IM_INLINE m16 v_isnan(v16 v) { return m_not(v_eq(v, v)); }
/* As v_load_n and v_store_n; faster where n is nearly always 16. */
IM_INLINE v16 v_load_part(const float *p, int n) { return n == 16 ? v_load(p) : v_load_n(p, n); }
IM_INLINE void v_store_part(float *p, v16 v, int n)
{
    if (n == 16)
        v_store(p, v);
    else
        v_store_n(p, v, n);
}

#ifndef V_HAS_WORDS
IM_INLINE v16 v_load_f16_n(const uint16_t *p, int n)
{
    uint16_t whole[16] = { 0 };
    memcpy(whole, p, (size_t)n * sizeof *p);
    return v_load_f16(whole);
}
IM_INLINE void v_store_f16_n(uint16_t *p, v16 v, int n)
{
    uint16_t whole[16];
    v_store_f16(whole, v);
    memcpy(p, whole, (size_t)n * sizeof *p);
}
IM_INLINE void v_stream_f16(uint16_t *p, v16 v) { v_store_f16(p, v); }
IM_INLINE v16 v_load_bf16_n(const uint16_t *p, int n)
{
    uint16_t whole[16] = { 0 };
    memcpy(whole, p, (size_t)n * sizeof *p);
    return v_load_bf16(whole);
}
IM_INLINE v16 v_zip_bf16(const uint16_t *p, const uint16_t *q)
{
    uint16_t first[16], second[16];
    float pairs[16];
    memcpy(first, p, sizeof first);
    memcpy(second, q, sizeof second);
    for (int i = 0; i < 16; i++) {
        memcpy((char *)&pairs[i], &first[i], 2);
        memcpy((char *)&pairs[i] + 2, &second[i], 2);
    }
    return v_load(pairs);
}
#endif

#ifndef V_HAS_TURN
IM_INLINE void v_turn(v16 x[16])
{
    float rows[16][16], column[16];
    for (int i = 0; i < 16; i++)
        v_store(rows[i], x[i]);
    for (int c = 0; c < 16; c++) {
        IM_UNROLL for (int i = 0; i < 16; i++) column[i] = rows[i][c];
        x[c] = v_load(column);
    }
}
#endif

#ifndef V_HAS_DOT
/* Stands in for vdpbf16ps on ISAs without it, so that the kernels are the same everywhere; not its bits, nor its
 * speed. */
IM_INLINE v16 v_dot_bf16(v16 acc, v16 a, v16 b)
{
    return v_fma(v_bf16_odd(a), v_bf16_odd(b), v_fma(v_bf16_even(a), v_bf16_even(b), acc));
}
IM_INLINE void v_store_dot(uint16_t *p, v16 v) { v_store_bf16(p, v); }
IM_INLINE void v_stream_dot(uint16_t *p, v16 v) { v_store_bf16(p, v); }
IM_INLINE void v_store_dot_n(uint16_t *p, v16 v, int n)
{
    uint16_t whole[16];
    v_store_bf16(whole, v);
    memcpy(p, whole, (size_t)n * sizeof *p);
}
IM_INLINE v16 v_bf16_pairs(v16 a, v16 b)
{
    uint16_t x[16], y[16];
    v_store_bf16(x, a);
    v_store_bf16(y, b);
    return v_zip_bf16(x, y);
}
#endif

#endif
