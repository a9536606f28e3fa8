/* order.h: in which order an epoch goes through a set. Used by loader.c. */
#ifndef IM_ORDER_H
#define IM_ORDER_H

#include "imago.h"

/* out[place] = index, 0 <= index < n: a function of (seed, epoch, n) alone, so that a position in an epoch is two numbers.
 * shuffled false: as they are listed. Shuffled: Durstenfeld's shuffle (1964) over the listed order, from the top place
 * down; place i changes with floor((i + 1) * u), u the (i % 4096)-th uniform number of stream (seed, order, epoch,
 * i / 4096) of data/stream.h: every order is as likely as any other.  */
void im_order_fill(uint32_t *out, int64_t n, bool shuffled, uint64_t seed, uint64_t epoch);

#endif
