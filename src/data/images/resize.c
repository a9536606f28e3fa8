/* resize.c: separable resampling as Pillow does it (libImaging, Resample.c):
 *   output pixel i looks at the inputs around centre (i + 1/2) s, s = in / out, out to r = support * max(s, 1);
 *   weight of input j: f((j + 1/2 - centre) / max(s, 1)), normalised to sum 1, rounded to 22 fractional bits;
 *   each pass rounds to 8 bits and clips. A pass that changes nothing is left out. The horizontal pass is first, unless
 *   the height shrinks by more than twice what the width does (since Pillow 13; up to 12 it was always first).
 * f is 1 (box), 1 - |x| (bilinear), Keys' cubic with a = -1/2 (Keys 1981), or sinc(x) sinc(x/3) (Lanczos 1956). */
#include "data/images/resize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FRACTION_BITS = IM_RESIZE_BITS };

static double box(double x) { return x > -0.5 && x <= 0.5 ? 1 : 0; }

static double bilinear(double x) { return fabs(x) < 1 ? 1 - fabs(x) : 0; }

static double bicubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static double sinc(double x) { return x == 0 ? 1 : sin(M_PI * x) / (M_PI * x); }

static double lanczos(double x) { return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0; }

static const struct { double (*f)(double); double support; } filters[] = {
    [IM_FILTER_BOX] = { box, 0.5 },
    [IM_FILTER_BILINEAR] = { bilinear, 1 },
    [IM_FILTER_BICUBIC] = { bicubic, 2 },
    [IM_FILTER_LANCZOS] = { lanczos, 3 },
};

void im_taps_free(im_taps *t)
{
    free(t->first);
    free(t->n);
    free(t->weight);
    *t = (im_taps){ 0 };
}

bool im_taps_make(im_ctx *c, im_taps *t, double in0, double in1, int limit, int out, int from, int count,
                  im_filter filter)
{
    double scale = (in1 - in0) / out, wide = scale < 1 ? 1 : scale, support = filters[filter].support * wide;
    int room = (int)ceil(support) * 2 + 1;
    *t = (im_taps){ .count = count, .room = room, .first = malloc((size_t)count * sizeof *t->first),
                    .n = malloc((size_t)count * sizeof *t->n),
                    .weight = calloc((size_t)count * (size_t)room, sizeof *t->weight) };
    double *w = malloc((size_t)room * sizeof *w);
    bool ok = t->first && t->n && t->weight && w;
    if (!ok) im_fail(c, "out of memory for resizing from %d to %d pixels; close other programs", limit, out);
    for (int i = 0; ok && i < count; i++) {
        double centre = in0 + (from + i + 0.5) * scale, sum = 0;
        int first = (int)(centre - support + 0.5), end = (int)(centre + support + 0.5);
        if (first < 0) first = 0;
        if (end > limit) end = limit;
        for (int j = first; j < end; j++) sum += w[j - first] = filters[filter].f((j - centre + 0.5) * (1 / wide));
        for (int j = 0; j < end - first; j++) {
            double x = (sum != 0 ? w[j] / sum : w[j]) * (1 << FRACTION_BITS);
            t->weight[(size_t)i * (size_t)room + (size_t)j] = (int32_t)(x < 0 ? x - 0.5 : x + 0.5);
        }
        t->first[i] = first;
        t->n[i] = end - first;
    }
    free(w);
    if (!ok) im_taps_free(t);
    return ok;
}

/* One output value: the weighted sum of n values, `step` bytes apart. */
static uint8_t weigh(const uint8_t *p, size_t step, const int32_t *w, int n)
{
    int sum = 1 << (FRACTION_BITS - 1);
    for (int j = 0; j < n; j++) sum += p[(size_t)j * step] * w[j];
    sum >>= FRACTION_BITS;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

/* in (h, w, channels) -> out: along rows (h, out->width, channels), else along columns (out->height, w, channels). */
static void pass(const im_image *in, im_image *out, const im_taps *t, bool along_rows)
{
    size_t ch = (size_t)in->channels, row = (size_t)in->width * ch;
    uint8_t *y = out->pixels;
    for (int r = 0; r < out->height; r++)
        for (int x = 0; x < out->width; x++) {
            int i = along_rows ? x : r;
            size_t at = along_rows ? (size_t)r * row + (size_t)t->first[i] * ch
                                   : (size_t)t->first[i] * row + (size_t)x * ch;
            const int32_t *w = t->weight + (size_t)i * (size_t)t->room;
            for (size_t k = 0; k < ch; k++) *y++ = weigh(in->pixels + at + k, along_rows ? ch : row, w, t->n[i]);
        }
}

/* One pass into a new picture. */
static im_image *resample(im_ctx *c, const im_image *in, int size, im_filter filter, bool along_rows)
{
    im_taps t;
    int from = along_rows ? in->width : in->height;
    if (!im_taps_make(c, &t, 0, from, from, size, 0, size, filter)) return NULL;
    im_image *out = im_image_new(c, along_rows ? size : in->width, along_rows ? in->height : size, in->channels);
    if (out) pass(in, out, &t, along_rows);
    im_taps_free(&t);
    return out;
}

im_image *im_resize(im_ctx *c, const im_image *in, int width, int height, im_filter filter)
{
    if (!im_ok(c) || !in) return NULL;
    if (width < 1 || height < 1) {
        im_fail(c, "cannot resize a picture to %dx%d; wanted at least 1x1", width, height);
        return NULL;
    }
    if (width == in->width && height == in->height) {
        im_image *copy = im_image_new(c, width, height, in->channels);
        if (copy) memcpy(copy->pixels, in->pixels, (size_t)width * (size_t)height * (size_t)in->channels);
        return copy;
    }
    bool rows_first = in->height > height && in->height - height > 2 * ((int64_t)in->width - width);
    im_image *half = NULL, *out = NULL;
    for (int k = 0; k < 2 && im_ok(c); k++) {
        bool along_rows = (k == 1) == rows_first;
        if (along_rows ? width == in->width : height == in->height) continue;
        out = resample(c, half ? half : in, along_rows ? width : height, filter, along_rows);
        im_image_free(half);
        half = out;
    }
    return out;
}
