/* resize.h: Pillow's Image.resize for 8-bit pictures, bit for bit. Used for init pictures (diffusers resizes them with
 * Pillow's LANCZOS before they are encoded), and for crops in training (resize_rgb.c). */
#ifndef IM_RESIZE_H
#define IM_RESIZE_H

#include "imago.h"

typedef enum { IM_FILTER_BOX, IM_FILTER_BILINEAR, IM_FILTER_BICUBIC, IM_FILTER_LANCZOS } im_filter;

/* A new picture of the size, owned by the caller. */
im_image *im_resize(im_ctx *c, const im_image *in, int width, int height, im_filter filter);

enum { IM_RESIZE_BITS = 22 };                                  /* of a weight: 32 - 8 of a pixel - 2 for overshoot    */

/* Along one axis: the inputs that each output looks at, and their weights. */
typedef struct im_taps {
    int count, room;                                           /* outputs; places for weights of each                 */
    int *first, *n;                                            /* first[count]: first input; n[count]: how many       */
    int32_t *weight;                                           /* (count, room), 22 fractional bits, 0 after n        */
} im_taps;

/* Outputs from .. from + count - 1 of `out` that span the interval [in0, in1) of inputs 0 .. limit - 1. */
bool im_taps_make(im_ctx *c, im_taps *t, double in0, double in1, int limit, int out, int from, int count,
                  im_filter filter);
void im_taps_free(im_taps *t);

/* The same sums for rows of RGB, quickly: a window of a resized picture.
 * Resizing the box [x0, x1) x [y0, y1) of in (height, width, 3), rows stride bytes apart, to full_width x full_height gives
 * a picture; its window of width x height at (x, y) is written to out (height, width, 3). flip: mirrored left to right. */
typedef struct im_resize_args {
    const uint8_t *in; size_t stride;
    int in_width, in_height;
    double x0, x1, y0, y1;
    int full_width, full_height, x, y, width, height;
    bool flip;
    im_filter filter;
} im_resize_args;

/* Bytes of scratch memory for it, and the work. */
size_t im_resize_rgb_bytes(const im_resize_args *a);
bool im_resize_rgb(im_ctx *c, const im_resize_args *a, uint8_t *scratch, uint8_t *out);

#endif
