/* tiff.h: tables of TIFF (TIFF 6.0, section 2), the structure of EXIF blocks: "II" or "MM" for the order of bytes, 42, the
 * offset of a table; a table is a count and entries of 12 bytes { tag, type, count, value or its offset }. Damaged ones end
 * where they leave the block. Used by exif.c and exif_comment.c. */
#ifndef IM_TIFF_H
#define IM_TIFF_H

#include "imago.h"

typedef struct im_tiff {
    const uint8_t *p; size_t n;
    bool little;                                               /* the low byte of a number comes first                */
    uint32_t first;                                            /* where its first table is                            */
} im_tiff;

/* "Exif\0\0" may stand in front, once or twice. False: it is none. */
bool im_tiff_open(im_tiff *t, const uint8_t *p, size_t n);
uint32_t im_tiff_number(const im_tiff *t, const uint8_t *p, int bytes);
/* The first entry of a tag with a value that can be read, in the table at `at`: its 12 bytes; or NULL. */
const uint8_t *im_tiff_entry(const im_tiff *t, size_t at, uint32_t tag);
/* The values of an entry, of which there is one at least, or NULL. */
const uint8_t *im_tiff_value(const im_tiff *t, const uint8_t *entry, size_t *bytes);
/* The same of an entry of single bytes. */
const uint8_t *im_tiff_bytes(const im_tiff *t, const uint8_t *entry, size_t *bytes);

#endif
