/* image.c: pictures in memory: rows from top to bottom, 8 bits a channel. */
#include <stdlib.h>

#include "imago.h"

im_image *im_image_new(im_ctx *c, int width, int height, int channels)
{
    if (!im_ok(c)) return NULL;
    if (width < 1 || height < 1 || (channels != 1 && channels != 3)) {
        im_fail(c, "cannot make a picture of %dx%d with %d channels; wanted at least 1x1 and 1 or 3 channels", width,
                height, channels);
        return NULL;
    }
    im_image *i = malloc(sizeof *i);
    uint8_t *pixels = calloc((size_t)width * (size_t)height, (size_t)channels);
    if (!i || !pixels) {
        im_fail(c, "out of memory for a picture of %dx%d; close other programs", width, height);
        free(pixels);
        free(i);
        return NULL;
    }
    *i = (im_image){ width, height, channels, pixels };
    return i;
}

void im_image_free(im_image *i)
{
    if (!i) return;
    free(i->pixels);
    free(i);
}
