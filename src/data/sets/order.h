/* order.h: in which order an epoch goes through a set. Used by loader.c. */
#ifndef IM_ORDER_H
#define IM_ORDER_H

#include "imago.h"

/* out[place] = index, 0 <= index < n: a function of (seed, epoch, n) alone, so that a position in an epoch is two numbers.
 * shuffled false: as they are listed. Shuffled: Durstenfeld's shuffle (1964) over the listed order, from the top place
 * down; place i changes with floor((i + 1) * u), u the (i % 4096)-th uniform number of stream (seed, order, epoch,
 * i / 4096) of data/files/stream.h: every order is as likely as any other.  */
void im_order_fill(uint32_t *out, int64_t n, bool shuffled, uint64_t seed, uint64_t epoch);

/* The same where indices have weights; sums[i]: of 0 .. i, growing. Place k of the list that is shuffled holds the first
 * index whose sum is above (k + u) / n of the whole, u the uniform number of stream (seed, balance, epoch): systematic
 * resampling (Madow 1949). So an index stands there n times its share, rounded up or down. sums NULL: as im_order_fill. */
void im_order_draw(uint32_t *out, int64_t n, const double *sums, bool shuffled, uint64_t seed, uint64_t epoch);

#endif
