/* resize.h: Pillow's Image.resize for 8-bit pictures, bit for bit. Used for init pictures: diffusers resizes them with
 * Pillow's LANCZOS before they are encoded. */
#ifndef IM_RESIZE_H
#define IM_RESIZE_H

#include "imago.h"

typedef enum { IM_FILTER_BOX, IM_FILTER_BILINEAR, IM_FILTER_BICUBIC, IM_FILTER_LANCZOS } im_filter;

/* A new picture of the size, owned by the caller. */
im_image *im_resize(im_ctx *c, const im_image *in, int width, int height, im_filter filter);

#endif
