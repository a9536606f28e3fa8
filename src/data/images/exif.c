/* exif.c: the orientation that cameras write, read as Pillow's Image.getexif does, and applied.
 *
 * An EXIF block is a TIFF file (TIFF 6.0, section 2): "II" or "MM" for the order of bytes, 42, the offset of a table; the
 * table is a count and entries of 12 bytes { tag, type, count, value or offset }. Where EXIF has no orientation, an XMP
 * packet may (a text with tiff:Orientation="6" or tiff:Orientation>6). A damaged block turns nothing. */
#include "data/images/exif.h"

#include <string.h>

enum { TAG_ORIENTATION = 0x0112 };

static uint32_t number(const uint8_t *p, int bytes, bool little)
{
    uint32_t v = 0;
    for (int i = 0; i < bytes; i++) v = v << 8 | p[little ? bytes - 1 - i : i];
    return v;
}

/* The value of an entry with count 1 in a type of whole numbers; another kind of value turns nothing: 0. */
static int entry_value(const uint8_t *entry, bool little)
{
    enum { SHORT = 3, LONG = 4, SIGNED_SHORT = 8, SIGNED_LONG = 9 };
    uint32_t type = number(entry + 2, 2, little);
    if (number(entry + 4, 4, little) != 1) return 0;
    if (type == SHORT || type == SIGNED_SHORT) return (int)number(entry + 8, 2, little);
    uint32_t v = type == LONG || type == SIGNED_LONG ? number(entry + 8, 4, little) : 0;
    return v <= 8 ? (int)v : 0;
}

int im_exif_orientation(const uint8_t *p, size_t n)
{
    for (int i = 0; i < 2 && n >= 6 && !memcmp(p, "Exif\0", 6); i++) {
        p += 6;
        n -= 6;
    }
    if (n < 8 || (memcmp(p, "II*", 4) && memcmp(p, "MM\0*", 4))) return -1;
    bool little = p[0] == 'I';
    size_t at = number(p + 4, 4, little);
    if (at > n || n - at < 2) return -1;
    uint32_t entries = number(p + at, 2, little);
    int found = -1;
    for (at += 2; entries-- && n - at >= 12; at += 12)
        if (number(p + at, 2, little) == TAG_ORIENTATION) found = entry_value(p + at, little);
    return found;
}

int im_xmp_orientation(const uint8_t *p, size_t n)
{
    static const char key[] = "tiff:Orientation";
    size_t k = sizeof key - 1;
    for (size_t i = 0; n >= k && i <= n - k; i++) {
        if (p[i] != 't' || memcmp(p + i, key, k)) continue;
        const uint8_t *v = p + i + k;
        size_t left = n - i - k;
        if (left >= 3 && v[0] == '=' && v[1] == '"' && v[2] >= '0' && v[2] <= '9') return v[2] - '0';
        if (left >= 2 && v[0] == '>' && v[1] >= '0' && v[1] <= '9') return v[1] - '0';
    }
    return -1;
}

/* ---------------------------------------------------------------- turning */

bool im_swaps_sides(int orientation) { return orientation >= 5 && orientation <= 8; }

im_image *im_turn(im_ctx *c, im_image *image, int orientation)
{
    if (!image || orientation <= IM_UPRIGHT || orientation > 8) return image;
    int w = image->width, h = image->height, ch = image->channels;
    bool swap = im_swaps_sides(orientation);
    im_image *out = im_image_new(c, swap ? h : w, swap ? w : h, ch);
    /* in the turned picture, x runs along the stored columns (or rows when swapped), backwards or not; so does y */
    bool x_back = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
    bool y_back = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
    for (int y = 0; out && y < out->height; y++) {
        int b = y_back ? out->height - 1 - y : y;
        uint8_t *to = out->pixels + (size_t)y * (size_t)out->width * (size_t)ch;
        for (int x = 0; x < out->width; x++, to += ch) {
            int a = x_back ? out->width - 1 - x : x;
            size_t at = swap ? (size_t)a * (size_t)w + (size_t)b : (size_t)b * (size_t)w + (size_t)a;
            for (int k = 0; k < ch; k++) to[k] = image->pixels[at * (size_t)ch + (size_t)k];
        }
    }
    im_image_free(image);
    return out;
}
