/* features.c: see features.h. The pictures are those of evaluation (evaluate.h): resized, cut in the middle, normalised;
 * encoder and head run as one plan for one size of batch, whose last one is filled up with zeros.
 * Used by weights/report. */
#include "models/eval/features.h"

#include <stdlib.h>
#include <string.h>

#include "data/sets/loader.h"

static im_tensor *seen_fn(im_ctx *c, void *arg, im_tensor *const in[], int n_in)
{
    (void)n_in;
    im_tensor *f = im_classifier_features(c, arg, in[0]);                                  /* (B, width)              */
    return im_concat(c, f, im_classifier_logits(c, arg, f));                               /* (B, width + classes)    */
}

static void take(im_features *out, int64_t at, const float *row)
{
    memcpy(out->features + at * out->width, row, (size_t)out->width * sizeof *row);
    row += out->width;
    memcpy(out->logits + at * out->classes, row, (size_t)out->classes * sizeof *row);
    int best = 0;
    for (int k = 1; k < out->classes; k++)
        if (row[k] > row[best])
            best = k;
    out->named[at] = best;
}

static bool run_batches(im_ctx *c, im_loader *l, im_plan *plan, im_tensor *x, const im_features_args *a, im_features *out)
{
    size_t picture = 3 * (size_t)a->size * (size_t)a->size;
    int64_t done = 0;
    for (const im_batch *b; (b = im_loader_next(c, l)); ) {
        im_batch_fill(b, a->batch, picture, im_data(x));
        im_scope_push(c);
        im_tensor *y = im_plan_run(c, plan);
        for (int i = 0; y && i < b->n; i++)
            take(out, b->indices[i], (const float *)im_data(y) + (int64_t)i * (out->width + out->classes));
        im_scope_pop(c);
        done += b->n;
        if (a->progress)
            a->progress(a->arg, done, out->n);
    }
    return im_ok(c);
}

bool im_features_of(im_ctx *c, im_classifier *m, int classes, const im_dataset *d, const im_features_args *a,
                    im_features *out)
{
    im_recipe r;
    *out = (im_features){ .n = d->count, .width = im_classifier_width(m), .classes = classes };
    if (!im_recipe_named(c, "none", a->size, &r))
        return false;
    size_t n = (size_t)d->count + 1;
    out->features = malloc(n * (size_t)out->width * sizeof *out->features);
    out->logits = malloc(n * (size_t)classes * sizeof *out->logits);
    out->named = malloc(n * sizeof *out->named);
    if (!out->features || !out->logits || !out->named)
        return im_fail(c, "out of memory for the features of %lld pictures", (long long)d->count);
    im_loader *l = im_loader_open(c, &(im_loader_args){ .data = d, .recipe = &r, .batch = a->batch, .strict = true,
                                                        .exact = true, .epochs = 1 });
    im_scope_push(c);
    im_tensor *x = im_new(c, IM_F32, 4, (int64_t[]){ a->batch, a->size, a->size, 3 });
    im_plan *plan = l && x ? im_plan_record(c, seen_fn, m, &x, 1) : NULL;
    bool ok = plan && run_batches(c, l, plan, x, a, out);
    im_plan_free(c, plan);
    im_scope_pop(c);
    im_loader_close(l);
    return ok;
}

void im_features_free(im_features *f)
{
    free(f->features);
    free(f->logits);
    free(f->named);
    *f = (im_features){ .n = 0 };
}
