/* int8.h: products in int8: what they are, to the bit, on every device. The one place of the definition; pack.c, ref/int8.c
 * and cpu/int8.c follow it.
 *
 *     row a of A, row w of weights, k values each
 *     scale of a row    s = amax / 127, amax the largest |value|; 0 where amax < 2^-100; NaN where a value is not finite
 *     its integers      q_i = round(a_i * (127 / amax)), to nearest even: within -127 .. 127; 0 where s is 0 or NaN
 *     product           y = f32(sum_i qa_i qw_i) * (sa * sw): the sum is exact in i32, then one rounding for each of the
 *                       three; then + bias, + chan, act, + res as device.h has it
 *
 * Scales of weights are kept with them, one a row (output channel). Those of A are made for each call from the row alone: a
 * token of a linear layer, the window of one output pixel of a convolution (padding has no say in its amax). So nothing
 * of a batch or of a neighbour goes into a row, and integers have no order of sums: the same bits on every instruction set,
 * in any batch, on any number of threads.
 *
 * 3x3 convolutions of stride 1 go through Winograd in f32, their weights as qw * sw, where pictures are large enough
 * (im_int8_conv_winograd): a quarter of the multiplications in f32 takes as long as all of them in int8 with vpdpbusd, less
 * without, and activations are not rounded. Tile registers (cpu/tile.h) multiply int8 24 times as fast as f32 is
 * multiplied: with them every convolution is in int8, as it is anywhere with IMAGO_WINOGRAD=0, unless IMAGO_WINOGRAD says
 * otherwise. */
#ifndef IM_INT8_H
#define IM_INT8_H

#include <math.h>

#include "tensor/weight.h"

enum { IM_INT8_MOST_K = 1 << 16 };               /* 255 * 127 * k stays below 2^31                                     */
enum { IM_INT8_PIXELS = 128 };                   /* outputs of a picture from which Winograd pays (bench/LOG.md)       */

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

/* Bytes of integers in a panel, and the whole panel: with its scales and sums. */
static inline size_t im_int8_values(int k) { return ((size_t)k + 3) / 4 * 4 * IM_PANEL; }
static inline size_t im_int8_panel(int k) { return im_int8_values(k) + 2 * 4 * IM_PANEL; }

/* Of a convolution with such weights: pixels are those of one picture of outputs. */
static inline bool im_int8_conv_winograd(int kh, int kw, int stride, int cin, int64_t pixels)
{
    return kh == 3 && kw == 3 && stride == 1 && cin >= 64 && pixels >= IM_INT8_PIXELS;
}

#endif
