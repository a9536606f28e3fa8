/* alpha.h: the transparency of a picture, which reading it leaves out (alpha.c). Used by `imago serve`, whose clients draw
 * masks in it. */
#ifndef IM_ALPHA_H
#define IM_ALPHA_H

#include "data/images/picture.h"

/* RGB, all three the alpha of the pixel: 0 transparent, 255 opaque; turned upright as im_picture_decode turns it. NULL
 * without an error where the file has no such thing, as every JPEG; NULL with one where it cannot be read. */
im_image *im_picture_alpha(im_ctx *c, const void *bytes, size_t n, const char *name, const im_decode_args *args);

#endif
