/* amx.c: the innermost loop of products in the tile registers of AMX (Intel's Sapphire Rapids and later): 32 x 32 sums in
 * four registers, two of A and two of B.
 *
 *                        b[0]: 6                 b[1]: 7           a register: 16 rows of 64 bytes
 *                      16 steps x 16 columns
 *   a: rows  0..15   4    0 += 4 6                1 += 4 7         one group of 16 steps: four loads, four products of
 *      rows 16..31   5    2 += 5 6                3 += 5 7         16 x 16 x 16 steps
 *
 * With f16 weights (split.h) each group has halves: low and high of a with high of b, then high of a with low of b; eight
 * loads for twelve products.
 *
 * Panels of 16 bit and of int8 weights (weight.h) are B as the instructions want it, rows of A as well. Fewer rows are a
 * smaller shape of the registers, which is set when it changes: that takes as long as 10 products. Compiled once, with
 * these instructions; cpu.c hands it to the kernels where the processor has them and the system gives them. Registers of
 * a thread are its own. */
#include "tensor/cpu/simd_amx.h"
#include "tensor/cpu/tile.h"
#include "tensor/host.h"

#include <stdbool.h>

#define AMX_INLINE static inline __attribute__((always_inline))
enum { HALF = 16, STRIP = 2 * IM_PANEL };        /* rows of a register, columns                                        */
enum { ROW = STRIP * 4, LINE = 64, GROUP = IM_AMX_STEPS * LINE };         /* bytes                                     */

enum { SPLIT = IM_COMPUTE_COUNT };               /* beside the ways of tensor/compute.h: bf16 of split factors        */

static _Thread_local int shaped;                 /* rows that this thread's registers are set for; 0: not set        */

static void shape(int rows)
{
    int low = rows > HALF ? rows - HALF : 0, of[8];
    t_shapes s = { .palette = 1 };
    for (int i = 0; i < 8; i++)
        of[i] = i >= 6 ? HALF : i == 2 || i == 3 || i == 5 ? low : rows - low;
    for (int i = 0; i < 8; i++) {
        s.rows[i] = (uint8_t)of[i];
        s.bytes[i] = of[i] ? LINE : 0;
    }
    t_shape(&s);
    shaped = rows;
}

static void end(void)
{
    if (shaped)
        t_end();
    shaped = 0;
}

static void flush(bool on) { t_flush(on); }

/* One group's share of what comes next. */
AMX_INLINE void fetch(const char *next, int64_t apart, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i += LINE) {
        __builtin_prefetch(next + i, 0, 2);
        __builtin_prefetch(next + apart + i, 0, 2);
    }
}

/* The numbers of registers are part of the instruction. */
#define PRODUCT(C, A, B) do { if (how == IM_COMPUTE_INT8) t_int8(C, A, B); else t_bf16(C, A, B); } while (0)

/* low: there are more than 16 rows; right: two panels. */
AMX_INLINE void load_sums(const float *in, bool low, bool right)
{
    if (in) {
        t_load(0, in, ROW);
        if (right)
            t_load(1, in + IM_PANEL, ROW);
        if (low)
            t_load(2, in + HALF * STRIP, ROW);
        if (low && right)
            t_load(3, in + HALF * STRIP + IM_PANEL, ROW);
    } else {
        t_zero(0);
        t_zero(1);
        if (low) {
            t_zero(2);
            t_zero(3);
        }
    }
}

AMX_INLINE void store_sums(float *out, bool low, bool right)
{
    t_store(0, out, ROW);
    if (right)
        t_store(1, out + IM_PANEL, ROW);
    if (low)
        t_store(2, out + HALF * STRIP, ROW);
    if (low && right)
        t_store(3, out + HALF * STRIP + IM_PANEL, ROW);
}

AMX_INLINE void add_groups(int how, bool low, bool right, const im_tile *t)
{
    const char *a = (const char *)t->a, *b0 = (const char *)t->b[0], *b1 = (const char *)t->b[1], *next = t->next;
    int64_t lda = 4 * t->lda, pace = IM_AMX_STEPS * t->next_pace;
    for (int k = 0; k < t->steps; k += IM_AMX_STEPS, a += LINE, b0 += GROUP, b1 += GROUP, next += pace) {
        t_load(6, b0, LINE);
        t_load(4, a, lda);
        PRODUCT(0, 4, 6);
        if (right) {
            t_load(7, b1, LINE);
            PRODUCT(1, 4, 7);
        }
        if (low) {
            t_load(5, a + HALF * lda, lda);
            PRODUCT(2, 5, 6);
        }
        if (low && right)
            PRODUCT(3, 5, 7);
        fetch(next, t->next_apart, pace);
    }
}

/* Registers 4 and 5 have a half of A, 6 and 7 one of B. */
AMX_INLINE void load_a(const char *a, int64_t lda, bool low)
{
    t_load(4, a, lda);
    if (low)
        t_load(5, a + HALF * lda, lda);
}

AMX_INLINE void load_b(const char *b0, const char *b1, bool right)
{
    t_load(6, b0, LINE);
    if (right)
        t_load(7, b1, LINE);
}

AMX_INLINE void multiply_halves(bool low, bool right)
{
    t_bf16(0, 4, 6);
    if (right)
        t_bf16(1, 4, 7);
    if (low)
        t_bf16(2, 5, 6);
    if (low && right)
        t_bf16(3, 5, 7);
}

AMX_INLINE void add_split(bool low, bool right, const im_tile *t)
{
    const char *a = (const char *)t->a, *b0 = (const char *)t->b[0], *b1 = (const char *)t->b[1], *next = t->next;
    int64_t lda = 4 * t->lda, pace = IM_SPLIT_STEPS * t->next_pace;
    for (int k = 0; k < t->steps; k += IM_SPLIT_STEPS, a += 2 * LINE, b0 += 2 * GROUP, b1 += 2 * GROUP, next += pace) {
        load_b(b0, b1, right);
        load_a(a + LINE, lda, low);
        multiply_halves(low, right);
        load_a(a, lda, low);
        multiply_halves(low, right);
        load_b(b0 + GROUP, b1 + GROUP, right);
        multiply_halves(low, right);
        fetch(next, t->next_apart, pace);
    }
}

AMX_INLINE void multiply(int how, bool low, bool right, const im_tile *t)
{
    t_begin();
    load_sums(t->in, low, right);
    if (how == SPLIT)
        add_split(low, right, t);
    else
        add_groups(how, low, right, t);
    store_sums(t->out, low, right);
}

/* The upper registers of the largest shape are those of 16 rows. */
static void shape_for(int rows)
{
    if (rows != shaped && !(rows == HALF && shaped == IM_AMX_ROWS))
        shape(rows);
}

/* how: an im_compute, or SPLIT. */
AMX_INLINE void multiply_any(int how, const im_tile *t, int rows, int panels)
{
    shape_for(rows);
    if (rows > HALF && panels > 1)
        multiply(how, true, true, t);
    else if (rows > HALF)
        multiply(how, true, false, t);
    else if (panels > 1)
        multiply(how, false, true, t);
    else
        multiply(how, false, false, t);
}

static void multiply_split(const im_tile *t, int rows, int panels)
{
    multiply_any(SPLIT, t, rows, panels);
}

static void multiply_bf16(const im_tile *t, int rows, int panels)
{
    multiply_any(IM_COMPUTE_BF16, t, rows, panels);
}

static void multiply_int8(const im_tile *t, int rows, int panels)
{
    multiply_any(IM_COMPUTE_INT8, t, rows, panels);
}

/* ---------------------------------------------------------------- two panels that stay */

/* Registers 4 and 5: the first group of two panels of B, 6 and 7: the second. */
static void hold_bf16(const float *const b[2], int groups)
{
    shape_for(IM_AMX_ROWS);
    t_begin();
    t_load(4, b[0], LINE);
    t_load(5, b[1], LINE);
    if (groups > 1) {
        t_load(6, b[0] + GROUP / sizeof(float), LINE);
        t_load(7, b[1] + GROUP / sizeof(float), LINE);
    }
}

static void times_held_bf16(const float *a, int64_t lda, int groups, float *out)
{
    t_begin();
    t_zero(0);
    t_zero(1);
    t_load(2, a, 4 * lda);
    t_bf16(0, 2, 4);
    t_bf16(1, 2, 5);
    if (groups > 1) {
        t_load(3, a + IM_AMX_STEPS, 4 * lda);
        t_bf16(0, 3, 6);
        t_bf16(1, 3, 7);
    }
    t_store(0, out, ROW);
    t_store(1, out + IM_PANEL, ROW);
}

/* ---------------------------------------------------------------- the most there is */

/* 1.0 and -0.5 in bf16, small integers in int8: no sum of a bench overflows. */
AMX_INLINE float peak(im_compute how, int64_t rounds)
{
    static const uint16_t one[2 * HALF * HALF] = { 0x3f80, 0xbf00 };
    float out[HALF * HALF];
    shape(IM_AMX_ROWS);
    t_load(4, one, LINE);
    t_load(5, one, LINE);
    t_load(6, one, LINE);
    t_load(7, one, LINE);
    for (int64_t i = 0; i < rounds; i++) {
        PRODUCT(0, 4, 6);
        PRODUCT(1, 4, 7);
        PRODUCT(2, 5, 6);
        PRODUCT(3, 5, 7);
    }
    t_store(0, out, LINE);
    end();
    return out[0];
}

static float peak_bf16(int64_t rounds) { return peak(IM_COMPUTE_BF16, rounds); }
static float peak_int8(int64_t rounds) { return peak(IM_COMPUTE_INT8, rounds); }

#ifndef IM_AMX_NAME
#define IM_AMX_NAME im_tiles_amx
#endif
const im_amx *IM_AMX_NAME(void);
const im_amx *IM_AMX_NAME(void)
{
    static const im_amx all = {
        .multiply = { [IM_COMPUTE_BF16] = multiply_bf16, [IM_COMPUTE_INT8] = multiply_int8 }, .end = end,
        .multiply_split = multiply_split, .hold = hold_bf16, .times_held = times_held_bf16, .flush = flush,
        .peak = { [IM_COMPUTE_BF16] = peak_bf16, [IM_COMPUTE_INT8] = peak_int8 },
    };
    return &all;
}
