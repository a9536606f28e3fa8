/* augment_draw.c: what is drawn for a crop, as a function of (seed, epoch, index, crop) alone.
 *
 * A crop takes its numbers from a stream of its own (stream.h), always all of them and always in this order, so that one
 * probability changed leaves the other draws as they were: 40 for the box, flip, jitter or not, 3 for the order of the
 * jitter, its 4 factors, grayscale, blur or not, sigma, solarize.
 * The box is torchvision's RandomResizedCrop.get_params, the order a random permutation as its ColorJitter has it. */
#include <math.h>
#include <string.h>

#include "data/images/augment.h"
#include "data/files/stream.h"

/* Python's round(): halves go to the even number. */
static int to_int(double x) { return (int)nearbyint(x); }

static double between(double u, double lo, double hi) { return lo + u * (hi - lo); }

/* 0 .. n - 1 */
static int pick(double u, int n)
{
    int i = (int)(u * n);
    return i < n ? i : n - 1;
}

void im_random_box(const im_crop_recipe *k, int width, int height, const double u[IM_BOX_DRAWS], int box[4])
{
    double area = (double)width * height, log_lo = log(k->ratio_lo), log_hi = log(k->ratio_hi);
    for (int t = 0; t < IM_BOX_TRIES; t++, u += 4) {
        double target = area * between(u[0], k->scale_lo, k->scale_hi), ratio = exp(between(u[1], log_lo, log_hi));
        double w = nearbyint(sqrt(target * ratio)), h = nearbyint(sqrt(target / ratio));
        if (w < 1 || w > width || h < 1 || h > height) continue;
        box[0] = pick(u[3], width - (int)w + 1);               /* the row is drawn first                              */
        box[1] = pick(u[2], height - (int)h + 1);
        box[2] = (int)w;
        box[3] = (int)h;
        return;
    }
    double ratio = (double)width / height;                     /* no box fits: the middle, of the nearest ratio       */
    int w = ratio > k->ratio_hi ? to_int(height * (double)k->ratio_hi) : width;
    int h = ratio < k->ratio_lo ? to_int(width / (double)k->ratio_lo) : height;
    box[0] = (width - w) / 2;
    box[1] = (height - h) / 2;
    box[2] = w;
    box[3] = h;
}

/* Sizes and box; the rest is zero, bytes between the fields as well: equal draws have equal bytes. */
static void begin(im_draw *out, int width, int height, const int box[4], int resize_w, int resize_h)
{
    memset(out, 0, sizeof *out);
    out->width = width;
    out->height = height;
    out->x = box[0];
    out->y = box[1];
    out->w = box[2];
    out->h = box[3];
    out->resize_w = resize_w;
    out->resize_h = resize_h;
}

/* Resize(r->resize): the shorter side becomes that, the longer one is rounded down; CenterCrop(size): the corner is at
 * half the rest, rounded as Python rounds. A picture too narrow for integers (1 x 100000) is still a picture. */
static void draw_centre(const im_recipe *r, int width, int height, im_draw *out)
{
    int shorter = width < height ? width : height, longer = width < height ? height : width, size = r->crop[0].size;
    int64_t other = (int64_t)r->resize * longer / shorter;
    int far = other > INT32_MAX ? INT32_MAX : (int)other;
    begin(out, width, height, (const int[4]){ 0, 0, width, height }, width <= height ? r->resize : far,
          width <= height ? far : r->resize);
    for (int i = 0; i < 3; i++) out->factor[i] = 1;
    out->cut_x = to_int((out->resize_w - size) / 2.0);
    out->cut_y = to_int((out->resize_h - size) / 2.0);
}

/* order[]: the operations that have a strength, permuted (Fisher & Yates). */
static void draw_jitter(const im_crop_recipe *k, im_stream *s, bool jitter, im_draw *out)
{
    const float strength[4] = { k->brightness, k->contrast, k->saturation, k->hue };
    uint8_t order[4] = { 0, 1, 2, 3 };
    for (int i = 3; i > 0; i--) {
        int j = pick(im_stream_uniform(s), i + 1);
        uint8_t swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
    for (int i = 0; i < 4; i++) {
        double x = strength[i], u = im_stream_uniform(s);
        float drawn = (float)(i == IM_JITTER_HUE ? between(u, -x, x) : between(u, x > 1 ? 0 : 1 - x, 1 + x));
        out->factor[i] = jitter && strength[i] > 0 ? drawn : i == IM_JITTER_HUE ? 0 : 1;
    }
    for (int i = 0; jitter && i < 4; i++)
        if (strength[order[i]] > 0) out->order[out->jitters++] = order[i];
}

void im_augment_draw(const im_recipe *r, int crop, int width, int height, uint64_t seed, uint64_t epoch, uint64_t index,
                     im_draw *out)
{
    if (!r->random) {
        draw_centre(r, width, height, out);
        return;
    }
    const im_crop_recipe *k = im_recipe_crop(r, crop);
    im_stream s;
    im_stream_open(&s, seed, IM_STREAM_CROP + (uint32_t)crop, index, epoch);
    double u[IM_BOX_DRAWS];
    int box[4];
    for (int i = 0; i < IM_BOX_DRAWS; i++) u[i] = im_stream_uniform(&s);
    im_random_box(k, width, height, u, box);
    begin(out, width, height, box, k->size, k->size);
    out->solarize_threshold = k->solarize_threshold;
    out->flip = im_stream_uniform(&s) < k->p_flip;
    draw_jitter(k, &s, im_stream_uniform(&s) < k->p_jitter, out);
    out->grey = im_stream_uniform(&s) < k->p_grey;
    bool blur = im_stream_uniform(&s) < k->p_blur;
    double sigma = between(im_stream_uniform(&s), k->sigma_lo, k->sigma_hi);
    out->sigma = blur ? (float)sigma : 0;
    out->solarize = im_stream_uniform(&s) < k->p_solarize;
}

int im_augment_shrink(const im_draw draws[], int n)
{
    for (int shrink = 8; shrink > 1; shrink /= 2) {
        bool enough = n > 0;
        for (int i = 0; i < n; i++)
            enough = enough && draws[i].w >= (int64_t)2 * shrink * draws[i].resize_w &&
                     draws[i].h >= (int64_t)2 * shrink * draws[i].resize_h;
        if (enough) return shrink;
    }
    return 1;
}
