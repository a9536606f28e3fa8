/* redraw.h: a part of a picture cut out, drawn anew elsewhere and put back, and what stands in its place meanwhile, as the
 * AUTOMATIC1111 web interface does it with Pillow (redraw.c, redraw_fill.c). Masks are grey, white where a picture is drawn
 * anew. New pictures are the caller's; NULL with an error. Used by sd_mask.c. */
#ifndef IM_REDRAW_H
#define IM_REDRAW_H

#include "imago.h"

typedef struct im_box { int x0, y0, x1, y1; } im_box;          /* columns x0 .. x1 - 1, rows y0 .. y1 - 1             */

/* All that is not black, with so many pixels around it where there are as many. False: all is black. */
bool im_mask_box(const im_image *mask, int padding, im_box *out);
/* The box grown along one axis to the proportions of width x height, within a picture of size_x x size_y: moved where it
 * would leave the picture, and narrower where that is too small. */
void im_box_widen(im_box *b, int width, int height, int size_x, int size_y);
im_image *im_cut(im_ctx *c, const im_image *i, im_box b);
/* At width x height without being stretched, by Lanczos: all of it, its edges repeated at the two sides that are left over;
 * or as much of its middle as covers that size. */
im_image *im_fit_within(im_ctx *c, const im_image *i, int width, int height);
im_image *im_fit_over(im_ctx *c, const im_image *i, int width, int height);

/* i (H, W, 3) with the colours around it in the place of what the mask (H, W) has white (redraw_fill.c). */
im_image *im_fill_masked(im_ctx *c, const im_image *i, const im_image *mask);
/* drawn (height and width of the box, 3) in its box of i (H, W, 3), as far as the mask (H, W) is white. */
im_image *im_put_back(im_ctx *c, const im_image *i, const im_image *mask, const im_image *drawn, im_box b);

#endif
