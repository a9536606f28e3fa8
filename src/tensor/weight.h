/* weight.h: the second factor of a product, as every kernel sees it. Part of the contract of device.h. */
#ifndef IM_WEIGHT_H
#define IM_WEIGHT_H

#include "tensor/buffer.h"

/* Packed weights: rows n in panels of IM_PANEL, each panel k-major, missing rows zero; the same on every ISA.
 *   f32, f16:  data[panel][k][16]
 *   bf16:      data[panel][k/2][16][2]   (k odd: padded with a zero), the operand order of vdpbf16ps
 *   int8:      data[panel][k/4][16][4]   (padded with zeros), the order of vpdpbusd; behind each panel 16 scales in f32 and
 *              16 times 128 sum_k q, in i32; behind all panels multipliers of the input (int8.h)
 * geglu: the rows of values, 0 .. n/2-1, and those of gates, n/2 .. n-1, are packed one after the other, each padded to
 * whole panels. */
enum { IM_PANEL = 16 };

typedef struct im_copies im_copies;

typedef struct im_weight {       /* the second factor of a product: (n, k) rows                                    */
    const void *data;
    im_dtype dtype;              /* f32, f16, bf16; packed: int8                                                    */
    bool packed;
    bool geglu;                  /* values and gates (im_linear_geglu)                                              */
    bool widened;                /* f16: multiplied as f32 on every set, whose bits it then has                     */
    int n, k;
    int64_t ld;                  /* plain only: elements from row to row                                            */
    int64_t lk;                  /* plain only: from k to k + 1; 0 means 1. Backward reads w as its transpose       */
    int64_t lt;                  /* plain 3x3 weights: from tap to tap, channels lk apart; 0 means k / 9 * lk       */
    im_copies *copies;           /* plain, in training: where forms of it in 16 bits are kept (copies.h); or NULL   */
} im_weight;

#endif
