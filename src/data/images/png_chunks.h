/* png_chunks.h: the chunks of a PNG file, before libpng sees it (png_chunks.c). Used by png.c. */
#ifndef IM_PNG_CHUNKS_H
#define IM_PNG_CHUNKS_H

#include "imago.h"

/* A PNG file with every chunk whole and an end: the bytes given, or a mended copy of them. */
typedef struct im_png_file {
    const uint8_t *p; size_t n;
    uint8_t *copy;                                             /* the caller's to free; NULL: p is what was given      */
} im_png_file;

/* p: n bytes that begin with PNG's signature. A file that is cut before its pixels, or in a chunk behind them, is an error.
 * One that is cut among its pixels or behind them gets an end of its own: whether all pixels are there, libpng will say. */
bool im_png_mend(im_ctx *c, const char *name, const uint8_t *p, size_t n, im_png_file *out);

/* eXIf, else ImageMagick's "Raw profile type exif", else XMP; 1 when there is none (exif.h). */
int im_png_orientation(const uint8_t *p, size_t n);

#endif
