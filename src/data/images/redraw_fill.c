/* redraw_fill.c: see redraw.h: pictures with transparency, 8 bits each, in Pillow's integers: what a mask hides is filled
 * from around it, and a part that was drawn anew goes back under a mask.
 *
 * (1) hidden    p = (v, 255) (255 - m) / 255                           the picture, less by its mask, alpha with it
 * (2) blurred   by a Gaussian of 256, 64, 16, 4, 2 and 0 pixels; colours divided by their alpha again
 * (3) laid over one another in this order, those of 16 and 2 pixels twice, of 4 four times: near the edge of what is
 *               hidden the sharper ones decide, far from it only the widest has any colour
 *
 * (2) and (3) are `fill` of modules/masking.py in stable-diffusion-webui; laying one picture over another is "over" of
 * Porter and Duff (1984). */
#include "data/images/blur.h"
#include "data/images/redraw.h"

#include <stdlib.h>
#include <string.h>

enum { PLANES = 4 };                                           /* red, green, blue, alpha                              */

/* a / 255, rounded, for a to 255^2 */
static uint8_t by255(uint32_t a)
{
    a += 128;
    return (uint8_t)(((a >> 8) + a) >> 8);
}

/* Colours of an alpha that they were multiplied with. */
static void divide(const uint8_t p[PLANES], uint8_t out[PLANES])
{
    for (int k = 0; k < 3; k++) {
        uint32_t v = p[3] == 0 || p[3] == 255 ? p[k] : 255u * p[k] / p[3];
        out[k] = (uint8_t)(v > 255 ? 255 : v);
    }
    out[3] = p[3];
}

/* below becomes above over below; weights have 7 more bits. */
static void lay(const uint8_t above[PLANES], uint8_t below[PLANES])
{
    enum { BITS = 7 };
    if (!above[3]) return;
    uint32_t whole = above[3] * 255u + below[3] * (255u - above[3]);
    uint32_t a = above[3] * (255u * 255u << BITS) / whole, b = (255u << BITS) - a;
    for (int k = 0; k < 3; k++) {
        uint32_t v = above[k] * a + below[k] * b + (128u << BITS);
        below[k] = (uint8_t)((((v >> 8) + v) >> 8) >> BITS);
    }
    below[3] = by255(whole);
}

/* (1) of one pixel */
static void hide(const uint8_t *rgb, uint8_t mask, uint8_t out[PLANES])
{
    for (int k = 0; k < 3; k++) out[k] = by255(rgb[k] * (255u - mask));
    out[3] = by255(255u * (255u - mask));
}

/* (2) of one radius, times over all: planes (4, n) -> all (n, 4). work: 4 planes. */
static void lay_blurred(const uint8_t *planes, int width, int height, float radius, int times, uint8_t *work,
                        uint8_t *scratch, uint8_t *all)
{
    size_t n = (size_t)width * (size_t)height;
    memcpy(work, planes, PLANES * n);
    for (size_t k = 0; radius > 0 && k < PLANES; k++) im_blur(work + k * n, width, height, radius, scratch);
    for (size_t p = 0; p < n; p++) {
        uint8_t above[PLANES];
        divide((uint8_t[PLANES]){ work[p], work[n + p], work[2 * n + p], work[3 * n + p] }, above);
        for (int i = 0; i < times; i++) lay(above, all + PLANES * p);
    }
}

im_image *im_fill_masked(im_ctx *c, const im_image *i, const im_image *mask)
{
    static const struct { float radius; int times; } layers[] = {
        { 256, 1 }, { 64, 1 }, { 16, 2 }, { 4, 4 }, { 2, 2 }, { 0, 1 }
    };
    size_t n = (size_t)i->width * (size_t)i->height, blur = (im_blur_bytes(i->width, i->height, 256) + 3) / 4 * 4;
    uint8_t *scratch = malloc(blur + 3 * PLANES * n), *planes = scratch + blur, *work = planes + PLANES * n;
    uint8_t *all = work + PLANES * n;
    im_image *out = scratch ? im_image_new(c, i->width, i->height, 3) : NULL;
    if (!scratch) im_fail(c, "out of memory for a picture of %dx%d", i->width, i->height);
    for (size_t p = 0; out && p < n; p++) {
        uint8_t v[PLANES];
        hide(i->pixels + 3 * p, mask->pixels[p], v);
        for (size_t k = 0; k < PLANES; k++) planes[k * n + p] = v[k];
    }
    if (out) memset(all, 0, PLANES * n);
    for (size_t k = 0; out && k < sizeof layers / sizeof *layers; k++)
        lay_blurred(planes, i->width, i->height, layers[k].radius, layers[k].times, work, scratch, all);
    for (size_t p = 0; out && p < n; p++) memcpy(out->pixels + 3 * p, all + PLANES * p, 3);
    free(scratch);
    return out;
}

im_image *im_put_back(im_ctx *c, const im_image *i, const im_image *mask, const im_image *drawn, im_box b)
{
    im_image *out = im_image_new(c, i->width, i->height, 3);
    for (int y = 0; out && y < i->height; y++)
        for (int x = 0; x < i->width; x++) {
            size_t p = (size_t)y * (size_t)i->width + (size_t)x;
            uint8_t below[PLANES] = { 0 }, hidden[PLANES], above[PLANES];
            if (x >= b.x0 && x < b.x1 && y >= b.y0 && y < b.y1) {
                size_t q = (size_t)(y - b.y0) * (size_t)drawn->width + (size_t)(x - b.x0);
                memcpy(below, drawn->pixels + 3 * q, 3);
                below[3] = 255;
            }
            hide(i->pixels + 3 * p, mask->pixels[p], hidden);
            divide(hidden, above);
            lay(above, below);
            memcpy(out->pixels + 3 * p, below, 3);
        }
    return out;
}
