/* jpeg.h: JPEG in memory (jpeg.c, jpeg_write.c). Used by picture.c and picture_write.c. */
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
/* The comment of its EXIF block (exif_comment.h), malloc'd; NULL when it has none, or with an error. */
char *im_jpeg_comment(im_ctx *c, const void *bytes, size_t n, const char *name);

typedef struct im_jpeg_block { const uint8_t *p; size_t bytes; } im_jpeg_block;     /* of an APP1 segment; p NULL: none */
/* A JPEG file, malloc'd, or NULL with an error. quality 1 .. 100 as libjpeg counts it; n blocks for it: EXIF, XMP. The same
 * picture gives the same bytes. */
uint8_t *im_jpeg_encode(im_ctx *c, const im_image *i, const char *name, int quality, const im_jpeg_block *blocks, int n,
                        size_t *bytes);

#endif
