/* augment_recipe.c: the recipes by name, and what may be in one. Figures of dino: Caron et al. 2021 (arXiv 2104.14294)
 * and the training of Sariyildiz et al. (arXiv 2212.08420): jitter .4 .4 .2 .1 with p .8, grayscale p .2; the global crop
 * blurs with p .2 and solarizes with p .2, a local one blurs with p .5 and never solarizes. */
#include <math.h>
#include <string.h>

#include "data/images/augment.h"

enum { DEFAULT_SIZE = 224, MAX_SIZE = 16384 };

static im_crop_recipe crop_of(int size, float scale_lo, float scale_hi)
{
    return (im_crop_recipe){ .size = size, .count = 1, .filter = IM_FILTER_BILINEAR, .scale_lo = scale_lo,
                             .scale_hi = scale_hi, .ratio_lo = 3.0f / 4, .ratio_hi = 4.0f / 3, .p_flip = 0.5f };
}

/* What every crop of dino has. */
static im_crop_recipe dino_crop(int size, float scale_lo, float scale_hi)
{
    im_crop_recipe k = crop_of(size, scale_lo, scale_hi);
    k.filter = IM_FILTER_BICUBIC;
    k.p_jitter = 0.8f;
    k.brightness = 0.4f;
    k.contrast = 0.4f;
    k.saturation = 0.2f;
    k.hue = 0.1f;
    k.p_grey = 0.2f;
    k.sigma_lo = 0.1f;
    k.sigma_hi = 2;
    return k;
}

static void set_none(im_recipe *r, int size)
{
    r->random = false;
    r->resize = size * 8 / 7;
    r->crop[0] = crop_of(size, 1, 1);
}

static void set_plain(im_recipe *r, int size) { r->crop[0] = crop_of(size, 0.08f, 1); }

/* Evaluation cuts .77 of the area from the middle; crops have .76 on average. */
static void set_drawing(im_recipe *r, int size)
{
    im_crop_recipe *k = &r->crop[0];
    *k = crop_of(size, 0.6f, 1);
    k->ratio_lo = 4.0f / 5;
    k->ratio_hi = 5.0f / 4;
    k->p_jitter = 0.5f;
    k->brightness = 0.3f;
    k->contrast = 0.3f;
    k->saturation = 0.5f;
    k->p_grey = 0.05f;
}

static void set_dino(im_recipe *r, int size)
{
    r->kinds = 2;
    r->crop[0] = dino_crop(size, 0.4f, 1);
    r->crop[0].p_blur = 0.2f;
    r->crop[0].p_solarize = 0.2f;
    r->crop[0].solarize_threshold = 128;
    r->crop[1] = dino_crop(size * 3 / 7 > 0 ? size * 3 / 7 : 1, 0.05f, 0.4f);
    r->crop[1].p_blur = 0.5f;
    r->crop[1].count = 8;
}

static const struct { const char *name; void (*set)(im_recipe *r, int size); } recipes[] = {
    { "none", set_none }, { "plain", set_plain }, { "drawing", set_drawing }, { "dino", set_dino },
};

bool im_recipe_named(im_ctx *c, const char *name, int size, im_recipe *out)
{
    if (!im_ok(c)) return false;
    if (size == 0) size = DEFAULT_SIZE;
    if (size < 1 || size > MAX_SIZE)
        return im_fail(c, "pictures of size %d cannot be cut; wanted 1 to %d", size, MAX_SIZE);
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++)
        if (!strcmp(recipes[i].name, name)) {
            *out = (im_recipe){ .name = recipes[i].name, .random = true, .kinds = 1 };
            recipes[i].set(out, size);
            return true;
        }
    return im_fail(c, "there is no augmentation \"%s\"; wanted none, plain, drawing or dino", name);
}

static bool in_range(im_ctx *c, const char *what, double lo, double hi, double least, double most)
{
    if (lo >= least && hi <= most && lo <= hi) return true;
    return im_fail(c, "augmentation: %s is %g to %g; wanted a range within %g to %g", what, lo, hi, least, most);
}

bool im_recipe_check(im_ctx *c, const im_recipe *r)
{
    if (!im_ok(c)) return false;
    int n = im_recipe_crops(r);
    if (r->kinds < 1 || r->kinds > IM_RECIPE_KINDS || n < 1 || n > IM_RECIPE_MAX_CROPS)
        return im_fail(c, "augmentation: %d crops of %d kinds; wanted 1 to %d crops of 1 to %d kinds", n, r->kinds,
                       IM_RECIPE_MAX_CROPS, IM_RECIPE_KINDS);
    if (!r->random) {
        int size = r->crop[0].size;
        if (!in_range(c, "the size of a crop", size, size, 1, MAX_SIZE)) return false;
        return r->resize >= size || im_fail(c, "augmentation: pictures resized to %d hold no crop of %d; make the crop "
                                               "smaller", r->resize, size);
    }
    for (int i = 0; i < r->kinds; i++) {
        const im_crop_recipe *k = &r->crop[i];
        const float p[] = { k->p_flip, k->p_jitter, k->p_grey, k->p_blur, k->p_solarize };
        bool ok = in_range(c, "the size of a crop", k->size, k->size, 1, MAX_SIZE);
        ok = ok && in_range(c, "the number of crops of a kind", k->count, k->count, 0, IM_RECIPE_MAX_CROPS);
        ok = ok && in_range(c, "the scale of crops", k->scale_lo, k->scale_hi, 1e-6, 1);
        ok = ok && in_range(c, "width / height of crops", k->ratio_lo, k->ratio_hi, 1e-3, 1e3);
        for (size_t j = 0; ok && j < sizeof p / sizeof *p; j++) ok = in_range(c, "a probability", p[j], p[j], 0, 1);
        ok = ok && in_range(c, "the strength of brightness", k->brightness, k->brightness, 0, 100);
        ok = ok && in_range(c, "the strength of contrast", k->contrast, k->contrast, 0, 100);
        ok = ok && in_range(c, "the strength of saturation", k->saturation, k->saturation, 0, 100);
        ok = ok && in_range(c, "the shift of hue", k->hue, k->hue, 0, 0.5);
        ok = ok && (k->p_blur == 0 || in_range(c, "sigma of the blur", k->sigma_lo, k->sigma_hi, 0, 1000));
        ok = ok && in_range(c, "the threshold of solarize", k->solarize_threshold, k->solarize_threshold, 0, 256);
        if (ok && k->filter != IM_FILTER_BILINEAR && k->filter != IM_FILTER_BICUBIC)
            ok = im_fail(c, "augmentation: crops are resized bilinearly or bicubically; found another filter");
        if (!ok) return false;
    }
    return true;
}

int im_recipe_crops(const im_recipe *r)
{
    int n = 0;
    for (int i = 0; i < r->kinds && i < IM_RECIPE_KINDS; i++) n += r->crop[i].count;
    return n;
}

const im_crop_recipe *im_recipe_crop(const im_recipe *r, int crop)
{
    int i = 0;
    while (i + 1 < r->kinds && crop >= r->crop[i].count) crop -= r->crop[i++].count;
    return &r->crop[i];
}
