/* namer.c: what is on a picture: the class that a classifier finds most likely, and how likely it says that is.
 *
 *     y = logits(picture)           k = argmax y, the first of equals          p_k = exp(y_k) / sum_j exp(y_j)
 *
 * The picture goes the way of `imago eval` (evaluate.h): shorter side to size * 8 / 7, bilinear as Pillow, the centre cut
 * out, normalised. So a picture that is written to a file and evaluated there gets the same logits.
 * Used by `imago generate --classify`. */
#include <math.h>
#include <stdlib.h>

#include "data/images/augment.h"
#include "models/checkpoints/classifier_file.h"

struct im_namer {
    im_ctx *c;
    im_classifier *m;
    im_classifier_info info;
    im_recipe recipe;
    im_crop_scratch *scratch;
    uint8_t *rgb;                                              /* (size, size, 3): the cut of a picture               */
    float *values;                                             /* the same, normalised                                */
};

im_namer *im_namer_open(im_ctx *c, const char *path, int size)
{
    if (!im_ok(c))
        return NULL;
    im_namer *n = calloc(1, sizeof *n);
    if (!n) {
        im_fail(c, "%s: out of memory", path);
        return NULL;
    }
    n->c = c;
    n->m = im_classifier_open(c, path, &n->info);
    if (n->m && !n->info.n_names)
        im_fail(c, "%s: does not tell the names of its %d classes; wanted the folder or the model.safetensors of a run of "
                "`imago train resnet`, which holds them", n->info.path, n->info.config.classes);
    im_recipe_named(c, "none", n->info.size > 0 ? n->info.size : size, &n->recipe);
    size_t side = (size_t)n->recipe.crop[0].size;
    if (im_ok(c) && (!(n->scratch = im_crop_scratch_new()) || !(n->rgb = malloc(3 * side * side)) ||
                     !(n->values = malloc(3 * side * side * sizeof *n->values))))
        im_fail(c, "%s: out of memory for a picture of %zux%zu", path, side, side);
    if (im_ok(c))
        return n;
    im_namer_free(n);
    return NULL;
}

void im_namer_free(im_namer *n)
{
    if (!n)
        return;
    im_classifier_free(n->m);
    im_classifier_info_free(&n->info);
    im_crop_scratch_free(n->scratch);
    free(n->rgb);
    free(n->values);
    free(n);
}

/* y (classes) */
static bool choose(im_namer *n, const float *y, im_guess *out)
{
    int best = 0, classes = n->info.config.classes;
    double sum = 0;
    for (int k = 1; k < classes; k++)
        best = y[k] > y[best] ? k : best;
    for (int k = 0; k < classes; k++)
        sum += exp((double)y[k] - (double)y[best]);
    if (!isfinite(sum))
        return im_fail(n->c, "%s: found a logit that is not finite; its weights are damaged", n->info.path);
    *out = (im_guess){ .label = best, .name = n->info.names[best], .probability = 1 / sum };
    return true;
}

bool im_namer_guess(im_namer *n, const im_image *picture, im_guess *out)
{
    im_ctx *c = n->c;
    int side = n->recipe.crop[0].size;
    im_draw d;
    *out = (im_guess){ .label = -1 };
    im_augment_draw(&n->recipe, 0, picture->width, picture->height, 0, 0, 0, &d);
    if (!im_ok(c) || !im_augment_apply(c, n->scratch, picture, &n->recipe, 0, &d, n->rgb))
        return false;
    im_scope_push(c);
    im_normalise(n->rgb, (int64_t)side * side, n->values);
    im_tensor *x = im_from(c, IM_F32, 4, (int64_t[]){ 1, side, side, 3 }, n->values);
    float *y = im_values(c, im_classifier_logits(c, n->m, im_classifier_features(c, n->m, x)));       /* (1, classes) */
    bool ok = y && choose(n, y, out);
    free(y);
    im_scope_pop(c);
    return ok;
}
