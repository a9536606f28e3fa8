/* jpeg.h: JPEG in memory (jpeg.c). Used by picture.c. */
#ifndef IM_JPEG_H
#define IM_JPEG_H

#include "imago.h"

/* RGB as stored, not turned, or NULL with an error. shrink: 1, 2, 4, 8; sides are ceil(side / shrink). Where that would
 * leave a partial pixel on a side that a turn moves to the front, the picture is shrunk less. */
im_image *im_jpeg_decode(im_ctx *c, const void *bytes, size_t n, const char *name, int64_t max_pixels, int shrink,
                         int *orientation);
/* From the header: sides as stored, and the orientation (exif.h). */
bool im_jpeg_header(im_ctx *c, const void *bytes, size_t n, const char *name, int64_t max_pixels, int *width, int *height,
                    int *orientation);

#endif
