/* exif.c: the orientation that cameras write, read as Pillow's Image.getexif does, and applied. Where EXIF has none, an
 * XMP packet may (a text with tiff:Orientation="6" or tiff:Orientation>6). A damaged block turns nothing. */
#include "data/images/exif.h"

#include <math.h>
#include <string.h>

#include "data/images/tiff.h"

enum { TAG_ORIENTATION = 0x0112 };

/* The first value of an entry as a number, of whatever type; 0: a text, bytes, or a number that says nothing. */
static double entry_value(const im_tiff *t, const uint8_t *entry)
{
    enum { SHORT = 3, LONG = 4, RATIONAL = 5, SIGNED_BYTE = 6, SIGNED_SHORT = 8, SIGNED_LONG = 9, SIGNED_RATIONAL = 10,
           FLOAT = 11, DOUBLE = 12, TABLE = 13, LONG_8 = 16 };
    size_t bytes;
    const uint8_t *v = im_tiff_value(t, entry, &bytes);
    if (!v) return 0;
    uint32_t type = im_tiff_number(t, entry + 2, 2), one = im_tiff_number(t, v, bytes < 4 ? (int)bytes : 4);
    uint64_t two = bytes < 8 ? 0 : (uint64_t)im_tiff_number(t, v + 4, 4) << (t->little ? 32 : 0)
                                 | (uint64_t)one << (t->little ? 0 : 32);
    float f;
    double d;
    memcpy(&f, &one, sizeof f);
    memcpy(&d, &two, sizeof d);
    switch (type) {
    case SIGNED_BYTE: return v[0];
    case SHORT: case SIGNED_SHORT: return im_tiff_number(t, v, 2);
    case LONG: case SIGNED_LONG: case TABLE: return one;
    case LONG_8: return (double)two;
    case FLOAT: return (double)f;
    case DOUBLE: return d;
    case RATIONAL: case SIGNED_RATIONAL: return (double)(int32_t)one / (double)(int32_t)im_tiff_number(t, v + 4, 4);
    default: return 0;
    }
}

int im_exif_orientation(const uint8_t *p, size_t n)
{
    im_tiff t;
    const uint8_t *entry = im_tiff_open(&t, p, n) ? im_tiff_entry(&t, t.first, TAG_ORIENTATION) : NULL;
    double v = entry ? entry_value(&t, entry) : -1;
    return !entry ? -1 : v >= 1 && v <= 8 && v == floor(v) ? (int)v : 0;
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
