/* explain_draw.c: values as pictures for `imago explain`: planes of latents, maps of words, rows of pictures. */
#include <math.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>

#include "cli/explain.h"

/* Ends of the scale of signed values: blue and orange are told apart by the colour-blind too (Okabe & Ito). */
static const double below[3] = { 0, 114, 178 }, above[3] = { 213, 94, 0 };

/* Steps of a scale, so few that a PNG can list their colours: a byte a pixel. */
enum { STEPS = 120, COLOURS = 256 };

static void put_signed(uint8_t *to, double v)                  /* v in -1..1                                           */
{
    const double *end = v < 0 ? below : above;
    double share = round(STEPS * fmin(fabs(v), 1)) / STEPS;
    for (int k = 0; k < 3; k++)
        to[k] = (uint8_t)lround(250 + (end[k] - 250) * share);
}

im_image *draw_planes(im_ctx *c, const float *values, int frames, int planes, int w, int h, float limit, float *used)
{
    int columns = planes > 1 ? 2 : 1, rows = (planes + columns - 1) / columns;
    size_t n = (size_t)frames * (size_t)planes * (size_t)w * (size_t)h;
    float most = limit;
    for (size_t i = 0; limit <= 0 && i < n; i++)
        most = fmaxf(most, fabsf(values[i]));
    limit = most > 0 ? most : 1;
    if (used)
        *used = limit;
    im_image *out = im_image_new(c, frames * columns * w, rows * h, 3);
    if (!out)
        return NULL;
    memset(out->pixels, 250, (size_t)out->width * (size_t)out->height * 3);
    for (int f = 0; f < frames; f++)
        for (int p = 0; p < planes; p++) {
            const float *v = values + ((size_t)f * (size_t)planes + (size_t)p) * (size_t)w * (size_t)h;
            for (int i = 0; i < w * h; i++) {
                int x = (f * columns + p % columns) * w + i % w, y = p / columns * h + i / w;
                put_signed(out->pixels + 3 * ((size_t)y * (size_t)out->width + (size_t)x), (double)(v[i] / limit));
            }
        }
    return out;
}

/* Black, red, yellow, white: rising in lightness. */
static void put_heat(uint8_t *to, double v)
{
    v = round(2 * STEPS * v) / (2 * STEPS);
    for (int k = 0; k < 3; k++)
        to[k] = (uint8_t)lround(255 * fmin(fmax(3 * v - k, 0), 1));
}

im_image *draw_heat(im_ctx *c, const float *values, int frames, int w, int h)
{
    im_image *out = im_image_new(c, frames * w, h, 3);
    for (int f = 0; out && f < frames; f++) {
        const float *v = values + (size_t)f * (size_t)w * (size_t)h;
        float most = 0;
        for (int i = 0; i < w * h; i++)
            most = fmaxf(most, v[i]);
        for (int i = 0; i < w * h; i++)
            put_heat(out->pixels + 3 * ((size_t)(i / w) * (size_t)out->width + (size_t)(f * w + i % w)),
                     most > 0 ? (double)(v[i] / most) : 0);
    }
    return out;
}

im_image *draw_row(im_ctx *c, im_image *const pictures[], int n)
{
    im_image *out = im_image_new(c, n * pictures[0]->width, pictures[0]->height, 3);
    for (int i = 0; out && i < n; i++)
        for (int y = 0; y < out->height; y++)
            memcpy(out->pixels + 3 * ((size_t)y * (size_t)out->width + (size_t)(i * pictures[i]->width)),
                   pictures[i]->pixels + 3 * (size_t)y * (size_t)pictures[i]->width, 3 * (size_t)pictures[i]->width);
    return out;
}

/* The colours of a picture in the order of their first pixel, and each pixel's number among them; 0: more than COLOURS. */
static unsigned colours_of(const im_image *i, uint8_t (*colours)[3], uint8_t *numbers)
{
    unsigned n = 0, k = 0;
    for (size_t at = 0, pixels = (size_t)i->width * (size_t)i->height; at < pixels; at++) {
        const uint8_t *p = i->pixels + 3 * at;
        if (k >= n || memcmp(colours[k], p, 3))                /* mostly the one before                                */
            for (k = 0; k < n && memcmp(colours[k], p, 3); k++)
                ;
        if (k == COLOURS)
            return 0;
        if (k == n)
            memcpy(colours[n++], p, 3);
        numbers[at] = (uint8_t)k;
    }
    return n;
}

unsigned char *draw_png(im_ctx *c, const im_image *i, size_t *bytes)
{
    uint8_t colours[COLOURS][3], *numbers = malloc((size_t)i->width * (size_t)i->height);
    png_image out = { .version = PNG_IMAGE_VERSION, .width = (unsigned)i->width, .height = (unsigned)i->height };
    out.colormap_entries = numbers ? colours_of(i, colours, numbers) : 0;
    out.format = out.colormap_entries ? PNG_FORMAT_RGB_COLORMAP : PNG_FORMAT_RGB;
    const void *pixels = out.colormap_entries ? numbers : i->pixels;
    png_alloc_size_t most = PNG_IMAGE_PNG_SIZE_MAX(out);
    unsigned char *png = malloc(most);
    if (!png) {
        im_fail(c, "out of memory for a picture of %dx%d", i->width, i->height);
    } else if (!png_image_write_to_memory(&out, png, &most, 0, pixels, 0, colours)) {
        im_fail(c, "a picture of %dx%d cannot be drawn: %s", i->width, i->height, out.message);
        free(png);
        png = NULL;
    }
    *bytes = most;
    free(numbers);
    return png;
}
