/* exif.h: which way up a picture is (exif.c). An orientation is 1 .. 8 as EXIF numbers them:
 *   1 as stored   2 mirrored left to right   3 turned by 180 degrees   4 mirrored top to bottom
 *   5 transposed   6 to be turned 90 degrees clockwise   7 transposed about the other diagonal   8 90 anticlockwise
 * Anything else, and nothing at all, count as 1. */
#ifndef IM_EXIF_H
#define IM_EXIF_H

#include "imago.h"

enum { IM_UPRIGHT = 1 };

/* From an EXIF block (TIFF structure, "Exif\0\0" before it or not): its tag 0x0112, or -1 when it has none. */
int im_exif_orientation(const uint8_t *p, size_t n);
/* From an XMP packet: tiff:Orientation, or -1. */
int im_xmp_orientation(const uint8_t *p, size_t n);

bool im_swaps_sides(int orientation);                          /* 5 .. 8: width and height change places              */
/* The picture turned upright; frees the one given. */
im_image *im_turn(im_ctx *c, im_image *image, int orientation);

#endif
