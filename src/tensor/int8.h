/* int8.h: products in int8: what they are, to the bit, on every device. The one place of the definition; pack.c, and
 * int8.c and attention_int8.c of ref and cpu follow it.
 *
 *     row a of A, row w of weights, k values each; where the weights have multipliers, one an input channel (1 over what
 *                       SmoothQuant's equation 3 divides by, Xiao et al. 2023), a_i is f32(a_i * its channel's), and
 *                       the weights were divided by them before they were rounded
 *     scale of a row    s = amax / 127, amax the largest |value|; 0 where amax < 2^-100; NaN where a value is not finite
 *     its integers      q_i = round(a_i * (127 / amax)), to nearest even: within -127 .. 127; 0 where s is 0 or NaN
 *     product           y = f32(sum_i qa_i qw_i) * (sa * sw): the sum is exact in i32, then one rounding for each of the
 *                       three; then + bias, + chan, act, + res as device.h has it
 *
 * Scales of weights are kept with them, one a row (output channel). Those of A are made for each call from the row alone: a
 * token of a linear layer, the window of one output pixel of a convolution (padding has no say in its amax). So nothing
 * of a batch or of a neighbour goes into a row, and integers have no order of sums: the same bits on every instruction set,
 * in any batch, on any number of threads. No convolution with such weights goes through Winograd, which is slower than
 * integers wherever there is an instruction for them (bench/LOG.md), nor has IMAGO_WINOGRAD a say.
 *
 * Attention beside such weights, of one head: q, k of d values, factor = f32(scale * log2 e):
 *     q_i, k_j          rows as above, of scales sq_i and sk_j
 *     v                 a row is one column of IM_INT8_KEYS keys (a block; the last may be shorter): scale sv_c
 *     score             s_ij = f32(sum_c q_ic k_jc) * ((sq_i * factor) * sk_j); causal: -Inf where j > i
 *     block of keys     e = max_j s_ij, at least -2^100;  p_j = im_int8_weight(s_ij - e): an integer, 0 .. 255
 *     so far            m = max(m', e), from -2^100;  a = im_int8_power(m' - m), h = im_int8_power(e - m)
 *                       l = l' * a + f32(sum_j p_j) * h;  o_c = o'_c * a + f32(sum_j p_j v_jc) * (h * sv_c)
 *     result            o_c / l; 0 where l is 0
 * Each operation on reals is rounded by itself: none is fused. l is NaN where sq_i, a key that is seen or a maximum is not
 * finite. The weights of a block are as fine as its own largest one: what is small in a row of thousands of keys is not
 * lost where no key of its block is large. */
#ifndef IM_INT8_H
#define IM_INT8_H

#include <math.h>

#include "tensor/weight.h"

enum { IM_INT8_MOST_K = 1 << 16 };               /* 255 * 127 * k stays below 2^31                                     */
enum { IM_INT8_KEYS = 128 };                     /* keys of a block of attention: sums stay below 2^24                 */
#define IM_INT8_LOWEST -0x1p100f                 /* less than any maximum                                              */
#define IM_INT8_LEAST -10.0f                     /* 255 * 2^-10 rounds to 0                                            */

/* 255 * 2^f = E0 + f (E1 + f E2) for |f| <= 1/2; relative error 1.7e-3, a half of what rounding to 1/255 does. */
#define IM_INT8_E0 0x1.fe39dcp+7f
#define IM_INT8_E1 0x1.66c23ap+7f
#define IM_INT8_E2 0x1.e6653cp+5f

/* 2^f for |f| <= 1/2, the highest power first: the polynomial of cpu/vmath.h, here in operations that are not fused. */
#define IM_INT8_POWER 0x1.417ab8p-13f, 0x1.5f094ap-10f, 0x1.3b2dd2p-7f, 0x1.c6af7ap-5f, 0x1.ebfbdcp-3f, 0x1.62e430p-1f, 1.0f

typedef struct im_int8_scale { float scale, inverse; } im_int8_scale;

/* amax: NaN where a value is not finite. */
static inline im_int8_scale im_int8_scale_of(float amax)
{
    if (!(amax <= 0x1.fffffep127f))                            /* NaN; infinities were made one                        */
        return (im_int8_scale){ NAN, 0 };
    return amax < 0x1p-100f ? (im_int8_scale){ 0, 0 } : (im_int8_scale){ amax / 127.0f, 127.0f / amax };
}

/* The larger one; what is not finite counts as NaN, and stays. */
static inline float im_int8_larger(float amax, float x)
{
    float a = fabsf(x);
    return a <= 0x1.fffffep127f ? (a > amax ? a : amax) : NAN;
}

/* To nearest even, |x| < 2^22; without a library call, so that loops become vectors. */
static inline int im_int8_round(float x)
{
    return (int)((x + 0x1.8p23f) - 0x1.8p23f);
}

/* 255 * 2^x as an integer, x <= 0; 0 for what is not a number. */
static inline int im_int8_weight(float x)
{
    float y = x > IM_INT8_LEAST ? x : IM_INT8_LEAST;
    int n = im_int8_round(y);
    float f = y - (float)n;
    return im_int8_round(ldexpf((IM_INT8_E2 * f + IM_INT8_E1) * f + IM_INT8_E0, n));
}

/* 2^x, x <= 0, to 1e-7; 0 below 2^-100, and for what is not a number. */
static inline float im_int8_power(float x)
{
    static const float by[] = { IM_INT8_POWER };
    if (!(x >= -100.0f))
        return 0.0f;
    int n = im_int8_round(x);
    float f = x - (float)n, p = by[0];
    for (int i = 1; i < 7; i++)
        p = p * f + by[i];
    return ldexpf(p, n);
}

/* Bytes of integers in a panel, and the whole panel: with its scales and sums. */
static inline size_t im_int8_values(int k) { return ((size_t)k + 3) / 4 * 4 * IM_PANEL; }
static inline size_t im_int8_panel(int k) { return im_int8_values(k) + 2 * 4 * IM_PANEL; }

/* Behind the panels, 16 floats: the first is 1 where there are multipliers, else 0; then those of the input channels. */
static inline size_t im_int8_tail(int channels) { return (IM_PANEL + (size_t)channels) * sizeof(float); }

/* The multipliers of packed weights; NULL: none. */
static inline const float *im_int8_multipliers(const im_weight *w)
{
    int panels = w->geglu ? 2 * ((w->n / 2 + IM_PANEL - 1) / IM_PANEL) : (w->n + IM_PANEL - 1) / IM_PANEL;
    const float *tail = (const float *)(const void *)((const char *)w->data + (size_t)panels * im_int8_panel(w->k));
    return *tail == 1.0f ? tail + IM_PANEL : (const float *)0;
}

#endif
