/* emulate_amx.h: the tile registers of AMX for a machine without them: src/tensor/cpu/amx.c is compiled with this in
 * front (Makefile) and run by test_amx.c. The instructions are written out in C as Intel's manual has them: shapes are
 * checked, and what lies outside of them is neither read nor written. */
#ifndef IM_TESTS_EMULATE_AMX_H
#define IM_TESTS_EMULATE_AMX_H

#define _IMMINTRIN_H_INCLUDED            /* simd_amx.h finds these in the place of the compiler's own                  */
#define __IMMINTRIN_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct emulated_tile { int rows, bytes; uint8_t at[16][64]; } emulated_tile;
static _Thread_local emulated_tile emulated_tiles[8];

#define EMULATED static inline __attribute__((unused))
EMULATED void emulated_release(void) { memset(emulated_tiles, 0, sizeof emulated_tiles); }

EMULATED void emulated_config(const void *p)
{
    const uint8_t *s = p;
    emulated_release();
    if (s[0] != 1)
        abort();
    for (int t = 0; t < 8; t++) {
        emulated_tiles[t].bytes = s[16 + 2 * t] | s[17 + 2 * t] << 8;
        emulated_tiles[t].rows = s[48 + t];
        if (emulated_tiles[t].rows > 16 || emulated_tiles[t].bytes > 64 ||
            !emulated_tiles[t].rows != !emulated_tiles[t].bytes)
            abort();
    }
}

EMULATED void emulated_load(int t, const void *p, int64_t apart)
{
    for (int i = 0; i < emulated_tiles[t].rows; i++)
        memcpy(emulated_tiles[t].at[i], (const uint8_t *)p + i * apart, (size_t)emulated_tiles[t].bytes);
}

EMULATED void emulated_store(int t, void *p, int64_t apart)
{
    for (int i = 0; i < emulated_tiles[t].rows; i++)
        memcpy((uint8_t *)p + i * apart, emulated_tiles[t].at[i], (size_t)emulated_tiles[t].bytes);
}

EMULATED void emulated_zero(int t) { memset(emulated_tiles[t].at, 0, sizeof emulated_tiles[t].at); }

EMULATED void emulated_shapes(int c, int a, int b)
{
    const emulated_tile *t = emulated_tiles;
    if (t[c].rows != t[a].rows || t[c].bytes != t[b].bytes || t[a].bytes != 4 * t[b].rows || !t[c].rows)
        abort();
}

EMULATED float emulated_flush(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    u &= u & 0x7f800000 ? 0xffffffff : 0x80000000;
    memcpy(&x, &u, 4);
    return x;
}

EMULATED float emulated_bf16(const uint8_t *p)
{
    uint32_t u = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 24;
    float x;
    memcpy(&x, &u, 4);
    return emulated_flush(x);
}

/* Products of bf16 are exact in f32, so that a product and a sum round as their fused form does. */
EMULATED void emulated_dpbf16ps(int c, int a, int b)
{
    emulated_tile *t = emulated_tiles;
    emulated_shapes(c, a, b);
    for (int i = 0; i < t[c].rows; i++)
        for (int j = 0; j < t[c].bytes / 4; j++) {
            float sum[2] = { 0 }, old;
            for (int k = 0; k < t[b].rows; k++)
                for (int n = 0; n < 2; n++)
                    sum[n] = emulated_flush(sum[n] + emulated_bf16(&t[a].at[i][4 * k + 2 * n]) *
                                                     emulated_bf16(&t[b].at[k][4 * j + 2 * n]));
            memcpy(&old, &t[c].at[i][4 * j], 4);
            old = emulated_flush(emulated_flush(old) + emulated_flush(sum[0] + sum[1]));
            memcpy(&t[c].at[i][4 * j], &old, 4);
        }
}

EMULATED void emulated_dpbssd(int c, int a, int b)
{
    emulated_tile *t = emulated_tiles;
    emulated_shapes(c, a, b);
    for (int i = 0; i < t[c].rows; i++)
        for (int j = 0; j < t[c].bytes / 4; j++) {
            int32_t sum;
            memcpy(&sum, &t[c].at[i][4 * j], 4);
            for (int k = 0; k < 4 * t[b].rows; k++)
                sum += (int8_t)t[a].at[i][k] * (int8_t)t[b].at[k / 4][4 * j + k % 4];
            memcpy(&t[c].at[i][4 * j], &sum, 4);
        }
}

#define _mm_getcsr() 0u                  /* subnormals stay, and are slow                                          */
#define _mm_setcsr(x) ((void)(x))
#define _tile_loadconfig emulated_config
#define _tile_release emulated_release
#define _tile_loadd emulated_load
#define _tile_stored emulated_store
#define _tile_zero emulated_zero
#define _tile_dpbf16ps emulated_dpbf16ps
#define _tile_dpbssd emulated_dpbssd

#endif
