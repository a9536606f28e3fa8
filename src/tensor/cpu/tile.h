/* tile.h: what the innermost loops of products are given: a tile of sums. micro.c computes it in vectors, amx.c in the tile
 * registers of AMX; product.c chooses. Nothing here depends on the instruction set. */
#ifndef IM_TILE_H
#define IM_TILE_H

#include "tensor/compute.h"

#include <stdbool.h>

/* out[i][0..15] = in[i][0..15] + sum_s a[i * lda + s] b[0][16 s ..], columns 16 to 31 likewise from b[1] where the tile
 * is two panels wide. Rows of in and out are IM_STRIP apart. Each step also fetches into L2 what is needed later: the
 * bytes at next and at next + next_apart, which goes on by next_pace; a burst of prefetches between tiles would hold up
 * the loads behind it. */
typedef struct im_tile {
    int steps;
    const float *a; int64_t lda;
    const float *b[2];
    const float *in;                             /* NULL: zero                                                       */
    float *out;
    const void *next; int64_t next_apart, next_pace;                     /* never NULL: b[0] where there is nothing  */
} im_tile;

/* amx.c. A step is 4 bytes of each factor (tensor/compute.h); 16 of them fill a row of a tile register, so steps come in
 * groups of 16: t->steps is a multiple of that, and what is behind the end of k is zero in A and in B.
 *
 *   bf16   per group of 16 steps two chains of fused multiply-adds from zero, over the first and over the second values of
 *          the pairs, in ascending order; their sum is added to the tile's. Subnormals count as zero, and become it
 *   int8   both factors have signs; exact
 *   split  f16 weights (split.h): groups of 32 steps of one value each, whose halves lie behind one another; to the tile's
 *          sums are added, as in bf16, low(a) high(b), high(a) high(b), high(a) low(b) of each group, in this order */
enum {
    IM_AMX_ROWS = 32, IM_AMX_STEPS = 16,         /* of the largest tile; of a group                                  */
    IM_AMX_PASS = 240,                           /* steps in one go                                               */
    IM_SPLIT_STEPS = 2 * IM_AMX_STEPS,
    IM_AMX_HELD = 2,                             /* groups that `hold` keeps at most                                   */
    IM_AMX_PEAK = 4 * 16 * 16 * IM_AMX_STEPS     /* multiply-adds of a round of `peak`, times im_per_step            */
};
typedef struct im_amx {
    void (*multiply[IM_COMPUTE_COUNT])(const im_tile *t, int rows, int panels);                /* NULL: has none     */
    void (*multiply_split)(const im_tile *t, int rows, int panels);
    /* bf16: up to IM_AMX_HELD groups of two panels stay in registers until `multiply`; out (16, IM_STRIP) is then 16
     * rows of a, lda apart, times them, from zero, in the order of sums above. */
    void (*hold)(const float *const b[2], int groups);
    void (*times_held)(const float *a, int64_t lda, int groups, float *out);
    void (*flush)(bool on);                      /* whether subnormal results of vectors become zero, too            */
    void (*end)(void);                           /* a thread calls it when it has done with tiles for now            */
    float (*peak[IM_COMPUTE_COUNT])(int64_t rounds);                                           /* bench/peak.c       */
} im_amx;

#endif
