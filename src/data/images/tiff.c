/* tiff.c: see tiff.h. */
#include "data/images/tiff.h"

#include <string.h>

bool im_tiff_open(im_tiff *t, const uint8_t *p, size_t n)
{
    for (int i = 0; i < 2 && n >= 6 && !memcmp(p, "Exif\0", 6); i++) {
        p += 6;
        n -= 6;
    }
    if (n < 8 || (memcmp(p, "II*", 4) && memcmp(p, "MM\0*", 4))) return false;
    *t = (im_tiff){ .p = p, .n = n, .little = p[0] == 'I' };
    t->first = im_tiff_number(t, p + 4, 4);
    return true;
}

uint32_t im_tiff_number(const im_tiff *t, const uint8_t *p, int bytes)
{
    uint32_t v = 0;
    for (int i = 0; i < bytes; i++) v = v << 8 | p[t->little ? bytes - 1 - i : i];
    return v;
}

const uint8_t *im_tiff_entry(const im_tiff *t, size_t at, uint32_t tag)
{
    const uint8_t *found = NULL;
    if (at > t->n || t->n - at < 2) return NULL;
    uint32_t entries = im_tiff_number(t, t->p + at, 2);
    for (at += 2; entries-- && t->n - at >= 12; at += 12)
        if (im_tiff_number(t, t->p + at, 2) == tag) found = t->p + at;
    return found;
}

const uint8_t *im_tiff_bytes(const im_tiff *t, const uint8_t *entry, size_t *bytes)
{
    enum { BYTE = 1, ASCII = 2, UNDEFINED = 7 };
    uint32_t type = im_tiff_number(t, entry + 2, 2), at = im_tiff_number(t, entry + 8, 4);
    *bytes = im_tiff_number(t, entry + 4, 4);
    if (type != BYTE && type != ASCII && type != UNDEFINED) return NULL;
    if (*bytes <= 4) return entry + 8;
    return at <= t->n && *bytes <= t->n - at ? t->p + at : NULL;
}
