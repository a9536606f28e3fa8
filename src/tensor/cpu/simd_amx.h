/* simd_amx.h: the instructions of AMX for amx.c: eight registers of 16 rows x 64 bytes. T and its like are their numbers,
 * written out, as the compilers want them.
 *
 *   t_load(T, p, bytes)  rows `bytes` apart      t_store(T, p, bytes)    t_zero(T)
 *   t_bf16(C, A, B)      C += A B, pairs of bf16 in rows of A and of B (16 columns x 2)
 *   t_int8(C, A, B)      C += A B in i32, quads of bytes with signs
 *   t_shape(s)           rows and bytes a row of each register, from now on; all are zero then
 *   t_begin()            before the loads of a function
 *   t_end()              the registers are not in use any more; saving a thread's state takes less
 *   t_flush(on)          results of vectors that are subnormal become zero; else they take this processor 100 ns each */
#ifndef IM_SIMD_AMX_H
#define IM_SIMD_AMX_H

#include <immintrin.h>
#include <stdint.h>

typedef struct t_shapes {                        /* as ldtilecfg reads it: 64 bytes                                  */
    uint8_t palette, start, none[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} t_shapes;

#define t_load(T, p, bytes) _tile_loadd(T, p, bytes)
#define t_store(T, p, bytes) _tile_stored(T, p, bytes)
#define t_zero(T) _tile_zero(T)
#define t_bf16(C, A, B) _tile_dpbf16ps(C, A, B)
#define t_int8(C, A, B) _tile_dpbssd(C, A, B)
/* gcc 12 does not tell itself what these two read: what is written before is written. */
#define t_shape(s) do { __asm__ volatile("" ::: "memory"); _tile_loadconfig(s); } while (0)
#define t_begin() __asm__ volatile("" ::: "memory")
#define t_end() _tile_release()
#define t_flush(on) _mm_setcsr((_mm_getcsr() & ~0x8000u) | ((on) ? 0x8000u : 0))

#endif
