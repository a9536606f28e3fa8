/* picture.c: any picture that is read, told by its first bytes (see picture.h). The decoders are in jpeg.c and png.c, the
 * turn in exif.c. */
#include "data/images/picture.h"

#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/images/exif.h"
#include "data/images/exif_comment.h"
#include "data/images/jpeg.h"
#include "data/images/png.h"

const char *im_picture_kind(const void *bytes, size_t n)
{
    if (n >= 3 && !memcmp(bytes, "\xff\xd8\xff", 3)) return "JPEG";
    return n >= 8 && !memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) ? "PNG" : NULL;
}

const char *im_picture_other(const void *bytes, size_t n)
{
    static const struct { const char *start; size_t n, at; const char *name; } others[] = {
        { "GIF8", 4, 0, "a GIF" }, { "WEBP", 4, 8, "a WebP" }, { "BM", 2, 0, "a BMP" }, { "II*\0", 4, 0, "a TIFF" },
        { "MM\0*", 4, 0, "a TIFF" }, { "II+\0", 4, 0, "a TIFF" }, { "MM\0+", 4, 0, "a TIFF" },
        { "ftypavif", 8, 4, "an AVIF" }, { "ftypavis", 8, 4, "an AVIF" }, { "ftyphei", 7, 4, "a HEIC" },
        { "ftyphev", 7, 4, "a HEIC" }, { "ftypmif1", 8, 4, "a HEIC or AVIF" }, { "ftypmsf1", 8, 4, "a HEIC or AVIF" },
        { "ftyp", 4, 4, "a video" }, { "\xff\x0a", 2, 0, "a JPEG XL" }, { "\0\0\0\x0cJXL ", 8, 0, "a JPEG XL" },
        { "\0\0\0\x0cjP  ", 8, 0, "a JPEG 2000" }, { "8BPS", 4, 0, "a Photoshop file" }, { "qoif", 4, 0, "a QOI" },
        { "v/1\x01", 4, 0, "an OpenEXR" }, { "\0\0\1\0", 4, 0, "an icon (.ico)" }, { "%PDF", 4, 0, "a PDF" },
        { "P5", 2, 0, "a PGM" }, { "P6", 2, 0, "a PPM" }, { "<svg", 4, 0, "an SVG" }, { "<", 1, 0, "a text" },
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (n >= others[i].at + others[i].n &&
            !memcmp((const char *)bytes + others[i].at, others[i].start, others[i].n))
            return others[i].name;
    return NULL;
}

/* Says what it is instead. */
static bool no_picture(im_ctx *c, const uint8_t *p, size_t n, const char *name)
{
    const char *other = im_picture_other(p, n);
    if (!n) return im_fail(c, "%s: is empty; wanted a JPEG or PNG", name);
    if (other) return im_fail(c, "%s: is %s; convert it to JPEG or PNG first", name, other);
    return im_fail(c, "%s: is not a picture; wanted a JPEG or PNG", name);
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
        image = im_png_decode(c, bytes, n, name, limit_of(args), &orientation);
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
    if (!(kind[0] == 'J' ? im_jpeg_header : im_png_header)(c, bytes, n, name, limit_of(args), width, height, &orientation))
        return false;
    if (im_swaps_sides(orientation)) {
        int swap = *width;
        *width = *height;
        *height = swap;
    }
    return true;
}

/* ---------------------------------------------------------------- files */

im_image *im_picture_read(im_ctx *c, const char *path)
{
    size_t n;
    char *bytes = im_read_file(c, path, IM_PNG_MAX_BYTES, &n);
    im_image *image = bytes ? im_picture_decode(c, bytes, n, path, &(im_decode_args){ .max_pixels = IM_PNG_MAX_PIXELS })
                            : NULL;
    free(bytes);
    return image;
}

static char *text_of_jpeg(im_ctx *c, const void *bytes, size_t n, const char *path, const char *key)
{
    char *comment = im_jpeg_comment(c, bytes, n, path), *text = comment ? im_comment_text(c, comment, key) : NULL;
    free(comment);
    return text;
}

char *im_picture_text_in(im_ctx *c, const void *bytes, size_t n, const char *name, const char *key)
{
    const char *kind = im_ok(c) ? im_picture_kind(bytes, n) : NULL;
    if (kind) return (kind[0] == 'J' ? text_of_jpeg : im_png_text_in)(c, bytes, n, name, key);
    if (im_ok(c)) no_picture(c, bytes, n, name);
    return NULL;
}

char *im_picture_text(im_ctx *c, const char *path, const char *key)
{
    size_t n;
    char *bytes = im_read_file(c, path, IM_PNG_MAX_BYTES, &n), *text = NULL;
    if (bytes) text = im_picture_text_in(c, bytes, n, path, key);
    free(bytes);
    return text;
}
