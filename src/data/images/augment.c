/* augment.c: does what augment_draw.c drew: cuts and resizes, flips, changes colours, blurs (see augment.h).
 *
 * Only the pixels of the crop are computed; the flip is part of the resizing. Colour operations follow one another pixel
 * by pixel, so they are done piece by piece, all on one piece while it is in the first cache. Two things need the whole
 * picture before they can begin: contrast (its mean L) and the blur. A pass that ends before a contrast sums L. */
#include "data/images/augment.h"

#include <stdlib.h>
#include <string.h>

#include "data/images/blur.h"
#include "data/images/colour.h"

struct im_crop_scratch { uint8_t *bytes; size_t room; };

im_crop_scratch *im_crop_scratch_new(void) { return calloc(1, sizeof(im_crop_scratch)); }

void im_crop_scratch_free(im_crop_scratch *s)
{
    if (!s) return;
    free(s->bytes);
    free(s);
}

static uint8_t *room_for(im_ctx *c, im_crop_scratch *s, size_t bytes)
{
    if (bytes <= s->room) return s->bytes;
    free(s->bytes);
    s->bytes = malloc(bytes);
    s->room = s->bytes ? bytes : 0;
    if (!s->bytes) im_fail(c, "out of memory for %zu bytes of a crop; close other programs", bytes);
    return s->bytes;
}

/* ---------------------------------------------------------------- colours */

enum { OP_GREY = 4, OP_SOLARIZE, MAX_OPS = 6 };                /* after im_jitter                                     */

/* The operations before the blur, or those after it. */
static int list_ops(const im_draw *d, bool after_blur, int ops[MAX_OPS])
{
    int n = 0;
    if (!after_blur)
        for (int i = 0; i < d->jitters; i++) ops[n++] = d->order[i];
    if (!after_blur && d->grey) ops[n++] = OP_GREY;
    if (after_blur && d->solarize) ops[n++] = OP_SOLARIZE;
    return n;
}

static void run_op(im_planes x, int op, const im_draw *d, int mean)
{
    switch (op) {
    case IM_JITTER_BRIGHTNESS: im_blend_constant(x, 0, d->factor[op]); break;
    case IM_JITTER_CONTRAST: im_blend_constant(x, mean, d->factor[op]); break;
    case IM_JITTER_SATURATION: im_blend_luma(x, d->factor[op]); break;
    case IM_JITTER_HUE: im_shift_hue(x, (uint8_t)(int)((double)d->factor[op] * 255)); break;
    case OP_GREY: im_grey(x); break;
    default: im_solarize(x, d->solarize_threshold); break;
    }
}

/* Operations from .. to - 1 on all pixels; gives the sum of L afterwards when asked for. */
static uint64_t run_pieces(im_planes x, const int *ops, int from, int to, const im_draw *d, int mean, bool sum)
{
    uint64_t total = 0;
    for (size_t at = 0; at < x.n; at += IM_COLOUR_PIECE) {
        size_t n = x.n - at < IM_COLOUR_PIECE ? x.n - at : IM_COLOUR_PIECE;
        im_planes piece = { .p = { x.p[0] + at, x.p[1] + at, x.p[2] + at }, .n = n };
        for (int i = from; i < to; i++) run_op(piece, ops[i], d, mean);
        if (sum) total += im_luma_sum(piece);
    }
    return total;
}

static void run_ops(im_planes x, const im_draw *d, bool after_blur)
{
    int ops[MAX_OPS], n = list_ops(d, after_blur, ops), mean = 0;
    for (int from = 0, to = 0; from < n; from = to) {
        if (to == 0 && ops[0] == IM_JITTER_CONTRAST) {
            mean = (int)((double)run_pieces(x, ops, 0, 0, d, 0, true) / (double)x.n + 0.5);
        }
        for (to = from + 1; to < n && ops[to] != IM_JITTER_CONTRAST; ) to++;
        uint64_t sum = run_pieces(x, ops, from, to, d, mean, to < n);
        mean = (int)((double)sum / (double)x.n + 0.5);
    }
}

/* ---------------------------------------------------------------- one crop */

/* By how much src was shrunk for the picture that d was drawn for; 0: it is another picture. */
static int shrink_between(const im_image *src, const im_draw *d)
{
    for (int s = 1; s <= 8; s *= 2)
        if ((d->width + s - 1) / s == src->width && (d->height + s - 1) / s == src->height) return s;
    return 0;
}

/* What to resize: the box, as a picture of its own (pixels beyond it are not looked at), in pixels of the shrunk one. */
static im_resize_args resize_of(const im_image *src, const im_crop_recipe *k, const im_draw *d, int shrink)
{
    int left = d->x / shrink, top = d->y / shrink;
    int right = (d->x + d->w + shrink - 1) / shrink, bottom = (d->y + d->h + shrink - 1) / shrink;
    size_t stride = 3 * (size_t)src->width;
    return (im_resize_args){
        .in = src->pixels + (size_t)top * stride + 3 * (size_t)left, .stride = stride,
        .in_width = right - left, .in_height = bottom - top,
        .x0 = (double)d->x / shrink - left, .x1 = (double)(d->x + d->w) / shrink - left,
        .y0 = (double)d->y / shrink - top, .y1 = (double)(d->y + d->h) / shrink - top,
        .full_width = d->resize_w, .full_height = d->resize_h, .x = d->cut_x, .y = d->cut_y,
        .width = k->size, .height = k->size, .flip = d->flip, .filter = k->filter,
    };
}

static bool fits(const im_image *src, const im_crop_recipe *k, const im_draw *d)
{
    return src->channels == 3 && d->x >= 0 && d->y >= 0 && d->w >= 1 && d->h >= 1 && d->w <= d->width - d->x &&
           d->h <= d->height - d->y && d->cut_x >= 0 && d->cut_y >= 0 && k->size <= d->resize_w - d->cut_x &&
           k->size <= d->resize_h - d->cut_y;
}

bool im_augment_apply(im_ctx *c, im_crop_scratch *s, const im_image *src, const im_recipe *r, int crop,
                      const im_draw *d, uint8_t *rgb)
{
    if (!im_ok(c)) return false;
    if (!s || !src) return im_fail(c, "a crop wants a picture and scratch memory; out of memory?");
    const im_crop_recipe *k = im_recipe_crop(r, crop);
    int shrink = shrink_between(src, d);
    if (!shrink || !fits(src, k, d))
        return im_fail(c, "a crop of %dx%d at (%d, %d) was drawn for a picture of %dx%d and not for this one of %dx%d with "
                       "%d channels", d->w, d->h, d->x, d->y, d->width, d->height, src->width, src->height, src->channels);
    im_resize_args a = resize_of(src, k, d, shrink);
    size_t n = (size_t)k->size * (size_t)k->size;
    size_t need = im_resize_rgb_bytes(&a), blur = 3 * n + im_blur_bytes(k->size, k->size, d->sigma);
    uint8_t *room = room_for(c, s, need > blur ? need : blur);
    if (!room || !im_resize_rgb(c, &a, room, rgb)) return false;
    if (!d->jitters && !d->grey && !(d->sigma > 0) && !d->solarize) return true;
    size_t lead = im_blur_bytes(k->size, k->size, d->sigma);
    im_planes x = { .p = { room + lead, room + lead + n, room + lead + 2 * n }, .n = n };
    im_split_rgb(rgb, x);
    run_ops(x, d, false);
    for (int i = 0; i < 3 && d->sigma > 0; i++) im_blur(x.p[i], k->size, k->size, d->sigma, room);
    run_ops(x, d, true);
    im_join_rgb(x, rgb);
    return true;
}
