/* art_fit.c: makes a square picture of a drawing: over white (Porter & Duff 1984), margins cut, centred, resampled. A flag
 * keeps its white fields, and gets a grey line around it, without which they could not be told from the paper. */
#include "art.h"
#include "data/images/resize.h"

#include <stdlib.h>
#include <string.h>

enum { WHITE_FROM = 250,                 /* a pixel whose three values are all at least this is margin                */
       LINE_GREY = 128, LINES = 48 };    /* a flag's line: its value; so many of its widths are the picture's         */

typedef struct { int x0, y0, x1, y1; } box;

static im_image *over_white(im_ctx *c, const uint8_t *rgba, int width, int height)
{
    im_image *out = im_image_new(c, width, height, 3);
    for (int64_t i = 0; out && i < (int64_t)width * height; i++)
        for (int k = 0; k < 3; k++) {
            int a = rgba[4 * i + 3];
            out->pixels[3 * i + k] = (uint8_t)((rgba[4 * i + k] * a + 255 * (255 - a) + 127) / 255);
        }
    return out;
}

static box ink(const im_image *p)
{
    box b = { p->width, p->height, 0, 0 };
    for (int y = 0; y < p->height; y++)
        for (int x = 0; x < p->width; x++) {
            const uint8_t *q = p->pixels + 3 * ((int64_t)y * p->width + x);
            if (q[0] >= WHITE_FROM && q[1] >= WHITE_FROM && q[2] >= WHITE_FROM)
                continue;
            b.x0 = x < b.x0 ? x : b.x0;
            b.x1 = x >= b.x1 ? x + 1 : b.x1;
            b.y0 = y < b.y0 ? y : b.y0;
            b.y1 = y + 1;
        }
    return b;
}

/* What is not transparent, white or not. */
static box cloth(const uint8_t *rgba, int width, int height)
{
    box b = { width, height, 0, 0 };
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            if (rgba[4 * ((int64_t)y * width + x) + 3] > 127)
                b = (box){ x < b.x0 ? x : b.x0, y < b.y0 ? y : b.y0, x >= b.x1 ? x + 1 : b.x1, y + 1 };
    return b;
}

/* Draws the line along the inner edges of (w, h) at (x0, y0). */
static void outline(im_image *p, int x0, int y0, int w, int h)
{
    int line = p->width / LINES + 1;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            if (x < line || y < line || x >= w - line || y >= h - line)
                memset(p->pixels + 3 * ((int64_t)(y0 + y) * p->width + x0 + x), LINE_GREY, 3);
}

im_image *art_fit(im_ctx *c, const uint8_t *rgba, int width, int height, int size, bool flag)
{
    im_image *flat = over_white(c, rgba, width, height);
    if (!flat)
        return NULL;
    box b = flag ? cloth(rgba, width, height) : ink(flat);
    int w = b.x1 - b.x0, h = b.y1 - b.y0, side = w > h ? w : h;
    if (w < 8 || h < 8 || side > 16 * (w < h ? w : h)) {       /* nothing, a speck, or a line                         */
        im_image_free(flat);
        return NULL;
    }
    side += side / 8 + 1;
    im_image *square = im_image_new(c, side, side, 3);
    if (square)
        memset(square->pixels, 255, (size_t)side * (size_t)side * 3);
    for (int y = 0; square && y < h; y++)
        memcpy(square->pixels + 3 * ((int64_t)(y + (side - h) / 2) * side + (side - w) / 2),
               flat->pixels + 3 * ((int64_t)(y + b.y0) * width + b.x0), (size_t)w * 3);
    im_image_free(flat);
    if (square && flag)
        outline(square, (side - w) / 2, (side - h) / 2, w, h);
    im_image *out = square ? im_resize(c, square, size, size, IM_FILTER_LANCZOS) : NULL;
    im_image_free(square);
    return out;
}

bool art_is_grey(const im_image *i)
{
    int64_t coloured = 0, n = (int64_t)i->width * i->height;
    for (int64_t k = 0; k < n; k++) {
        const uint8_t *p = i->pixels + 3 * k;
        int low = p[0] < p[1] ? p[0] : p[1], high = p[0] > p[1] ? p[0] : p[1];
        low = p[2] < low ? p[2] : low;
        high = p[2] > high ? p[2] : high;
        coloured += high - low > 24;
    }
    return coloured * 100 < n;
}
