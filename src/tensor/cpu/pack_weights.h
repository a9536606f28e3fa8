/* pack_weights.h: plain weights into panels, see pack_weights.c. Called by product.c and conv_dx.c. */
#ifndef IM_PACK_WEIGHTS_H
#define IM_PACK_WEIGHTS_H

#include "tensor/cpu/simd.h"
#include "tensor/host.h"

/* What plain w is multiplied in: its own type, or bf16 (device.h: compute_dtype). */
im_dtype IM_FN(im_packed_dtype)(const im_device *dev, const im_weight *w);

/* Packs plain w (rows, w->k) into the scratch that all threads share and makes w say so; false: out of memory. */
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
