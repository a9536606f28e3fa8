/* colour.h: operations on the colours of 8-bit pictures, with the values that Pillow gives (colour.c).
 *
 * A picture is held as three planes, R, G, B; p[k] points to n values each. Pixels do not depend on each other, so a
 * caller may go through a picture in pieces, all operations on one piece before the next. Used by augment.c. */
#ifndef IM_COLOUR_H
#define IM_COLOUR_H

#include "imago.h"

enum { IM_COLOUR_PIECE = 1024 };                               /* im_shift_hue takes at most this many pixels         */

typedef struct im_planes { uint8_t *p[3]; size_t n; } im_planes;

void im_split_rgb(const uint8_t *rgb, im_planes to);           /* (n, 3) -> planes                                    */
void im_join_rgb(im_planes from, uint8_t *rgb);

/* L = (19595 R + 38470 G + 7471 B + 2^15) / 2^16 rounded down: ITU-R BT.601 luma in 16 bits. */
uint64_t im_luma_sum(im_planes x);
void im_grey(im_planes x);                                     /* R = G = B = L                                       */

/* base + factor (v - base) in f32, clipped, rounded down (ImageEnhance; Image.blend). Brightness: base 0. Contrast: base
 * the mean L of the picture. */
void im_blend_constant(im_planes x, int base, float factor);
void im_blend_luma(im_planes x, float factor);                 /* saturation: base is L of the pixel                  */

/* To 8-bit HSV, H + shift (mod 256), and back. n <= IM_COLOUR_PIECE. */
void im_shift_hue(im_planes x, uint8_t shift);
void im_solarize(im_planes x, int threshold);                  /* v >= threshold: 255 - v                             */

#endif
