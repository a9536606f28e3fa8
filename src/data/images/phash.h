/* phash.h: a perceptual hash: 64 bits that are alike for pictures that look alike. Used to drop near copies from a set. */
#ifndef IM_PHASH_H
#define IM_PHASH_H

#include "imago.h"

/* The pHash of the Python package ImageHash: grey (Pillow's L), 32x32 by Lanczos, a two-dimensional DCT-II; bit 8 y + x,
 * counted from the highest: is coefficient (y, x) of the lowest 8x8 above their median? False without memory. */
bool im_phash(im_ctx *c, const im_image *picture, uint64_t *out);
int im_hash_distance(uint64_t a, uint64_t b);                  /* bits that differ                                    */

#endif
