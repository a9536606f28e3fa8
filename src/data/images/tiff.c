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

/* Bytes of one value of a type; 0: there is no such type. */
static uint64_t unit(uint32_t type)
{
    static const uint8_t bytes[] = { 0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8 };
    return type < sizeof bytes ? bytes[type] : 0;
}

static uint64_t value_bytes(const im_tiff *t, const uint8_t *entry)
{
    return unit(im_tiff_number(t, entry + 2, 2)) * im_tiff_number(t, entry + 4, 4);
}

const uint8_t *im_tiff_value(const im_tiff *t, const uint8_t *entry, size_t *bytes)
{
    uint64_t size = value_bytes(t, entry), at = im_tiff_number(t, entry + 8, 4);
    *bytes = (size_t)size;
    if (size <= 4) return size ? entry + 8 : NULL;
    return at <= t->n && size <= t->n - at ? t->p + at : NULL;
}

/* What Pillow's ImageFileDirectory_v2.load keeps of a table: values of no bytes and those larger than all of the block are
 * passed over, and one that leaves the block ends the table. */
const uint8_t *im_tiff_entry(const im_tiff *t, size_t at, uint32_t tag)
{
    uint64_t outside = 0;                                      /* bytes of the values that lie elsewhere              */
    if (at > t->n || t->n - at < 2) return NULL;
    uint32_t entries = im_tiff_number(t, t->p + at, 2);
    for (at += 2; entries-- && t->n - at >= 12; at += 12) {
        const uint8_t *entry = t->p + at;
        uint64_t size = value_bytes(t, entry);
        size_t bytes;
        if (!size) continue;
        if (size > 4 && (outside += size) > t->n) continue;
        if (!im_tiff_value(t, entry, &bytes)) return NULL;
        if (im_tiff_number(t, entry, 2) == tag) return entry;
    }
    return NULL;
}

const uint8_t *im_tiff_bytes(const im_tiff *t, const uint8_t *entry, size_t *bytes)
{
    enum { BYTE = 1, ASCII = 2, UNDEFINED = 7 };
    uint32_t type = im_tiff_number(t, entry + 2, 2);
    return type == BYTE || type == ASCII || type == UNDEFINED ? im_tiff_value(t, entry, bytes) : NULL;
}
