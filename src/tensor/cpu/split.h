/* split.h: f16 weights in tile registers, which multiply bf16: each factor is the sum of two (Henry, Tang, Heinecke 2019,
 * "Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations", arXiv 1904.06376).
 *
 *     x = high + low       high = bf16(x), low = bf16(x - high): 8 bits each; the 11 of an f16 are exact, of an f32 16 stay
 *     a b = low(a) high(b) + high(a) high(b) + high(a) low(b)         low low, 2^-16 of it at most, is left out
 *
 * Three products in place of one, with sums in f32: at a third of bf16's rate a term loses 2^-15 at most, where bf16 alone
 * loses 2^-8 of each factor. An infinity becomes no number: its low half is Inf - Inf.
 *
 * Groups of IM_SPLIT_STEPS values of k. In a row of A each has the place of as many f32, so that f32 is packed as always
 * and then split where it lies; in a panel of B likewise.
 *
 *     row of A     | x0 .. x31 in f32, 128 bytes |   ->   | high of x0 .. x31 | low of x0 .. x31 |     64 bytes each
 *     panel of B   k0 .. k31, 16 columns in f16      ->   high: 16 rows of (k, k+1) x 16 columns, then low: as many
 *
 * Used by product.c, windows.c and attention_tiles.c. */
#ifndef IM_SPLIT_H
#define IM_SPLIT_H

#include "tensor/cpu/buffer.h"
#include "tensor/cpu/tile.h"

/* Whether products with w, or with what it is packed into, are split. */
static inline bool im_splits(const im_device *dev, const im_weight *w)
{
    return w->dtype == IM_F16 && !w->widened && im_host_of(dev)->split;
}

/* Whole groups that hold n values. */
static inline int im_split_whole(int n) { return (n + IM_SPLIT_STEPS - 1) / IM_SPLIT_STEPS * IM_SPLIT_STEPS; }

/* n values in f32, whole groups, to halves in their place. */
IM_INLINE void im_split_row(float *row, int n)
{
    for (int k = 0; k < n; k += IM_SPLIT_STEPS, row += IM_SPLIT_STEPS) {
        v16 x[2] = { v_load(row), v_load(row + 16) };
        for (int i = 0; i < 2; i++) {
            store_as(IM_BF16, row, 16 * i, x[i], 16);
            x[i] = v_sub(x[i], load_as(IM_BF16, row, 16 * i, 16));
            store_as(IM_BF16, row, 32 + 16 * i, x[i], 16);
        }
    }
}

/* Two values of k in 16 columns: high at dst, low behind the 16 highs of a group. */
IM_INLINE void im_split_pairs(v16 even, v16 odd, float *dst)
{
    v16 high = v_bf16_pairs(even, odd);
    v_store(dst, high);
    v_store(dst + IM_AMX_STEPS * 16, v_bf16_pairs(v_sub(even, v_bf16_even(high)), v_sub(odd, v_bf16_odd(high))));
}

/* n values of k of a panel in f16, zeros behind them up to whole groups, to dst: (groups, 2, 16, 16) pairs. */
IM_INLINE const float *im_split_panel(const uint16_t *panel, int n, float *dst)
{
    for (int k = 0; k < im_split_whole(n); k += 2) {
        v16 even = k < n ? v_load_f16(panel + k * 16) : v_zero();
        v16 odd = k + 1 < n ? v_load_f16(panel + (k + 1) * 16) : v_zero();
        im_split_pairs(even, odd, dst + (k / IM_SPLIT_STEPS * IM_SPLIT_STEPS + k % IM_SPLIT_STEPS / 2) * 16);
    }
    return dst;
}

#endif
