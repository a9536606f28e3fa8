/* png.h: PNG in memory, and limits of png.c, which reads and writes PNG through libpng. Files: imago.h. */
#ifndef IM_PNG_H
#define IM_PNG_H

#include "imago.h"

enum {
    IM_PNG_MAX_PIXELS = 178956970,                             /* where Pillow warns of a decompression bomb          */
    IM_PNG_MAX_CHUNK = 16 << 20,                               /* memory for a text or profile; libpng's default: any */
    IM_PNG_MAX_BYTES = 2000000000                              /* more than any file of so many pixels needs          */
};

/* All take bytes that begin with PNG's signature. RGB as stored, not turned, and which way up it is (exif.h); NULL with an
 * error. More than max_pixels (at most IM_PNG_MAX_PIXELS) are one. */
im_image *im_png_decode(im_ctx *c, const void *bytes, size_t n, const char *name, int64_t max_pixels, int *orientation);
/* From the header chunk. */
bool im_png_header(im_ctx *c, const void *bytes, size_t n, const char *name, int64_t max_pixels, int *width, int *height,
                   int *orientation);
/* The text of a key, malloc'd; NULL when absent, or with an error. */
char *im_png_text_in(im_ctx *c, const void *bytes, size_t n, const char *name, const char *key);

/* A PNG file, malloc'd: the bytes that im_png_write writes. NULL with an error. */
uint8_t *im_png_encode(im_ctx *c, const im_image *i, const char *name, const im_text *texts, int n_texts, size_t *bytes);

#endif
