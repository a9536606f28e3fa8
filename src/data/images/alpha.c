/* alpha.c: see alpha.h. libpng's simplified interface turns every kind of transparency (a channel, a colour, a palette's)
 * into a channel of 8 bits. */
#include "data/images/alpha.h"

#include <png.h>
#include <stdlib.h>
#include <string.h>

#include "data/images/exif.h"
#include "data/images/png.h"
#include "data/images/png_chunks.h"

static im_image *read_alpha(im_ctx *c, png_image *png, const char *name)
{
    size_t pixels = (size_t)png->width * png->height;
    uint8_t *rgba = malloc(4 * pixels);
    im_image *out = rgba ? im_image_new(c, (int)png->width, (int)png->height, 3) : NULL;
    png->format = PNG_FORMAT_RGBA;
    if (!rgba) im_fail(c, "%s: out of memory; close other programs", name);
    else if (out && !png_image_finish_read(png, NULL, rgba, 0, NULL))
        im_fail(c, "%s: is a damaged PNG: %s; fetch or export it again", name, png->message);
    for (size_t p = 0; out && im_ok(c) && p < pixels; p++) memset(out->pixels + 3 * p, rgba[4 * p + 3], 3);
    free(rgba);
    if (im_ok(c)) return out;
    im_image_free(out);
    return NULL;
}

im_image *im_picture_alpha(im_ctx *c, const void *bytes, size_t n, const char *name, const im_decode_args *args)
{
    int width, height, orientation;
    const char *kind = im_ok(c) ? im_picture_kind(bytes, n) : NULL;
    int64_t limit = args && args->max_pixels > 0 ? args->max_pixels : IM_PICTURE_MAX_PIXELS;
    if (!kind || kind[0] != 'P' || !im_png_header(c, bytes, n, name, limit, &width, &height, &orientation)) return NULL;
    png_image png = { .version = PNG_IMAGE_VERSION };
    im_image *out = NULL;
    if (!png_image_begin_read_from_memory(&png, bytes, n))
        im_fail(c, "%s: is a damaged PNG: %s; fetch or export it again", name, png.message);
    else if (png.format & PNG_FORMAT_FLAG_ALPHA) out = read_alpha(c, &png, name);
    png_image_free(&png);
    return im_turn(c, out, orientation);
}
