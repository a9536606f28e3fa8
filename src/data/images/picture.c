/* picture.c: any picture that training takes, told by its first bytes (see picture.h). The decoders are in jpeg.c and
 * png.c, the turn in exif.c. */
#include "data/images/picture.h"

#include <string.h>

#include "data/images/exif.h"
#include "data/images/jpeg.h"
#include "data/images/png.h"

const char *im_picture_kind(const void *bytes, size_t n)
{
    if (n >= 3 && !memcmp(bytes, "\xff\xd8\xff", 3)) return "JPEG";
    return n >= 8 && !memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) ? "PNG" : NULL;
}

/* Says what it is instead. */
static bool no_picture(im_ctx *c, const uint8_t *p, size_t n, const char *name)
{
    static const struct { const char *start; size_t n, at; const char *name; } others[] = {
        { "GIF8", 4, 0, "a GIF" }, { "WEBP", 4, 8, "a WebP" }, { "BM", 2, 0, "a BMP" }, { "II*\0", 4, 0, "a TIFF" },
        { "MM\0*", 4, 0, "a TIFF" }, { "ftypavif", 8, 4, "an AVIF" }, { "ftypheic", 8, 4, "a HEIC" },
        { "<svg", 4, 0, "an SVG" }, { "<", 1, 0, "a text" },
    };
    if (!n) return im_fail(c, "%s: is empty; wanted a JPEG or PNG", name);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (n >= others[i].at + others[i].n && !memcmp(p + others[i].at, others[i].start, others[i].n))
            return im_fail(c, "%s: is %s; convert it to JPEG or PNG first", name, others[i].name);
    return im_fail(c, "%s: is no picture; wanted a JPEG or PNG", name);
}

static int64_t limit_of(const im_decode_args *args)
{
    return args && args->max_pixels > 0 ? args->max_pixels : IM_PICTURE_MAX_PIXELS;
}

/* The largest of 1, 2, 4, 8 that is not above what was asked for. */
static int shrink_of(const im_decode_args *args)
{
    int s = 1;
    while (args && s < IM_PICTURE_MAX_SHRINK && 2 * s <= args->shrink) s *= 2;
    return s;
}

im_image *im_picture_decode(im_ctx *c, const void *bytes, size_t n, const char *name, const im_decode_args *args)
{
    if (!im_ok(c)) return NULL;
    const char *kind = im_picture_kind(bytes, n);
    int orientation = IM_UPRIGHT;
    im_image *image = NULL;
    if (!kind) {
        no_picture(c, bytes, n, name);
    } else if (kind[0] == 'J') {
        image = im_jpeg_decode(c, bytes, n, name, limit_of(args), shrink_of(args), &orientation);
    } else {
        image = im_png_decode(c, bytes, n, name, limit_of(args));
        if (image) orientation = im_png_orientation(bytes, n);
    }
    return im_turn(c, image, orientation);
}

bool im_picture_size(im_ctx *c, const void *bytes, size_t n, const char *name, const im_decode_args *args, int *width,
                     int *height)
{
    if (!im_ok(c)) return false;
    const char *kind = im_picture_kind(bytes, n);
    int orientation = IM_UPRIGHT;
    if (!kind) return no_picture(c, bytes, n, name);
    if (kind[0] == 'J') {
        if (!im_jpeg_header(c, bytes, n, name, limit_of(args), width, height, &orientation)) return false;
    } else {
        if (!im_png_header(c, bytes, n, name, limit_of(args), width, height)) return false;
        orientation = im_png_orientation(bytes, n);
    }
    if (im_swaps_sides(orientation)) {
        int swap = *width;
        *width = *height;
        *height = swap;
    }
    return true;
}
