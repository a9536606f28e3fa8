/* redraw.c: see redraw.h: the box around a mask, and pictures cut and fitted to it. The rules are those of that interface's
 * "only masked" (modules/masking.py, and resize modes 1 and 2 of modules/images.py, of stable-diffusion-webui):
 *
 *     box      of all that is not black, + padding on each side, within the picture
 *     widened  the short side becomes (long side) / (proportion), half of what is added before, half behind; pushed back
 *              into the picture, then cut by it
 *     within   sides W' = W or w H / h, the smaller one, rounded down; in the middle, from W/2 - W'/2 on */
#include "data/images/redraw.h"
#include "data/images/resize.h"

#include <string.h>

bool im_mask_box(const im_image *mask, int padding, im_box *out)
{
    im_box b = { mask->width, mask->height, 0, 0 };
    for (int y = 0; y < mask->height; y++)
        for (int x = 0; x < mask->width; x++) {
            if (!mask->pixels[(size_t)y * (size_t)mask->width + (size_t)x]) continue;
            if (x < b.x0) b.x0 = x;
            if (y < b.y0) b.y0 = y;
            if (x >= b.x1) b.x1 = x + 1;
            b.y1 = y + 1;
        }
    if (b.x1 == 0) return false;
    *out = (im_box){ b.x0 > padding ? b.x0 - padding : 0, b.y0 > padding ? b.y0 - padding : 0,
                     mask->width - b.x1 > padding ? b.x1 + padding : mask->width,
                     mask->height - b.y1 > padding ? b.y1 + padding : mask->height };
    return true;
}

/* From *a, *b to `more` pixels more, between 0 and size. */
static void grow(int *a, int *b, int more, int size)
{
    *a -= more / 2;
    *b += more - more / 2;
    if (*b >= size) {
        *a -= *b - size;
        *b = size;
    }
    if (*a < 0) {
        *b -= *a;
        *a = 0;
    }
    if (*b >= size) *b = size;
}

void im_box_widen(im_box *b, int width, int height, int size_x, int size_y)
{
    double w = b->x1 - b->x0, h = b->y1 - b->y0, wanted = (double)width / height;
    if (w / h > wanted) grow(&b->y0, &b->y1, (int)(w / wanted - h), size_y);
    else grow(&b->x0, &b->x1, (int)(h * wanted - w), size_x);
}

/* Pixels of `from`, from (x, y) on, that lie within both, to `to` at (to_x, to_y). */
static void copy_rows(const im_image *from, int x, int y, im_image *to, int to_x, int to_y)
{
    size_t each = (size_t)from->channels;
    int width = from->width - x < to->width - to_x ? from->width - x : to->width - to_x;
    int height = from->height - y < to->height - to_y ? from->height - y : to->height - to_y;
    for (int row = 0; row < height; row++)
        memcpy(to->pixels + ((size_t)(to_y + row) * (size_t)to->width + (size_t)to_x) * each,
               from->pixels + ((size_t)(y + row) * (size_t)from->width + (size_t)x) * each, (size_t)width * each);
}

im_image *im_cut(im_ctx *c, const im_image *i, im_box b)
{
    im_image *out = im_image_new(c, b.x1 - b.x0, b.y1 - b.y0, i->channels);
    if (out) copy_rows(i, b.x0, b.y0, out, 0, 0);
    return out;
}

/* The size of i at which its sides are at most (over: at least) width x height. */
static void fitting(const im_image *i, int width, int height, bool over, int *w, int *h)
{
    int64_t wanted = (int64_t)width * i->height, is = (int64_t)i->width * height;
    bool wide = over ? wanted > is : wanted < is;              /* its width decides                                    */
    bool high = over ? wanted <= is : wanted >= is;
    *w = wide ? width : (int)(is / i->height);
    *h = high ? height : (int)((int64_t)i->height * width / i->width);
    if (*w < 1) *w = 1;
    if (*h < 1) *h = 1;
}

/* The row (or column) that stands beyond an edge: what Pillow's bicubic filter makes of the edge and the row behind it. */
static uint8_t beyond(uint8_t edge, uint8_t inner)
{
    int v = (9 * edge - inner + 4) >> 3;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* Lines [from, to) of out, along y or x, become what stands beyond the line `edge`; inner: the one behind that. */
static void repeat_edge(im_image *out, bool rows, int from, int to, int edge, int inner)
{
    size_t each = (size_t)out->channels, row = (size_t)out->width * each, line = rows ? row : each;
    size_t n = rows ? row : (size_t)out->height * each;
    for (size_t k = 0; from < to && k < n; k++) {
        uint8_t *p = out->pixels + (rows ? k : k / each * row + k % each);
        uint8_t v = beyond(p[(size_t)edge * line], p[(size_t)inner * line]);
        for (int at = from; at < to; at++) p[(size_t)at * line] = v;
    }
}

im_image *im_fit_within(im_ctx *c, const im_image *i, int width, int height)
{
    int w, h;
    fitting(i, width, height, false, &w, &h);
    im_image *fit = im_resize(c, i, w, h, IM_FILTER_LANCZOS);
    im_image *out = fit ? im_image_new(c, width, height, i->channels) : NULL;
    if (out) {
        int x = width / 2 - w / 2, y = height / 2 - h / 2, last = y + h - 1;
        copy_rows(fit, 0, 0, out, x, y);
        repeat_edge(out, true, 0, y, y, h > 1 ? y + 1 : y);
        repeat_edge(out, true, y + h, height, last, h > 1 ? last - 1 : last);
        last = x + w - 1;
        repeat_edge(out, false, 0, x, x, w > 1 ? x + 1 : x);
        repeat_edge(out, false, x + w, width, last, w > 1 ? last - 1 : last);
    }
    im_image_free(fit);
    return out;
}

im_image *im_fit_over(im_ctx *c, const im_image *i, int width, int height)
{
    int w, h;
    fitting(i, width, height, true, &w, &h);
    im_image *fit = im_resize(c, i, w, h, IM_FILTER_LANCZOS);
    im_image *out = fit ? im_image_new(c, width, height, i->channels) : NULL;
    if (out) copy_rows(fit, w / 2 - width / 2, h / 2 - height / 2, out, 0, 0);
    im_image_free(fit);
    return out;
}
