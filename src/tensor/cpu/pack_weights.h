/* pack_weights.h: plain weights into panels, see pack_weights.c. Called by product.c and conv_dx.c. */
#ifndef IM_PACK_WEIGHTS_H
#define IM_PACK_WEIGHTS_H

#include "tensor/copies.h"
#include "tensor/cpu/multiply.h"

/* What plain w is multiplied in: its own type, or bf16 (device.h: compute_dtype). */
im_dtype IM_FN(im_packed_dtype)(const im_device *dev, const im_weight *w);

/* Room for w in panels of dtype `to`: with the weight where such copies of it are kept (then *made may say that it is there
 * already), else in the scratch that all threads share. NULL: out of memory. */
void *IM_FN(im_panels_of)(im_device *dev, const im_weight *w, const im_copy_key *key, size_t bytes, bool *made);

/* Puts plain w (rows, w->k) into such panels and makes w say so; false: out of memory. */
bool IM_FN(im_pack_weight)(im_device *dev, im_weight *w, int rows, bool geglu);

/* A weight whose rows lie side by side: element (n, tap, channel) at n + tap_at[tap] + channel * lk, k = (tap, channel). */
typedef struct im_columns {
    const void *w; im_dtype dtype;
    int n, channels, taps;
    int64_t lk;
    const int64_t *tap_at;                       /* (taps)                                                             */
} im_columns;
void IM_FN(im_pack_columns)(im_device *dev, const im_columns *c, im_dtype to, void *dst);

#endif
