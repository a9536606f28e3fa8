/* run_set.c: see run_set.h. Encoder and head are recorded as one plan for one size of batch; the last batch is filled up
 * with pictures of zeros, whose results are not read: what a picture gives does not depend on the others. */
#include "models/eval/run_set.h"

#include <stdlib.h>

#include "data/sets/loader.h"

/* (B, width + classes) */
static im_tensor *seen_fn(im_ctx *c, void *arg, im_tensor *const in[], int n_in)
{
    (void)n_in;
    im_tensor *f = im_classifier_features(c, arg, in[0]);                                  /* (B, width)              */
    return im_concat(c, f, im_classifier_logits(c, arg, f));
}

/* Places whose own picture is broken show another one, which is counted where it belongs. */
static bool give(const im_batch *b, const float *rows, int width, int classes, im_seen_fn fn, void *arg)
{
    for (int i = 0; i < b->n; i++) {
        const float *row = rows + (int64_t)i * (width + classes);
        im_seen s = { .index = b->indices[i], .label = b->labels[i], .features = row, .logits = row + width };
        if (b->indices[i] == b->meant[i] && !fn(arg, &s)) return false;
    }
    return true;
}

/* Values that im_normalise made for ImageNet's colours, for others. */
static void renormalise(const im_run_net *net, float *x, size_t n)
{
    static const double mean[3] = { 0.485, 0.456, 0.406 }, deviation[3] = { 0.229, 0.224, 0.225 };
    for (size_t i = 0; net->mean && i < n; i++) {
        double v = x[i] * deviation[i % 3] + mean[i % 3];
        x[i] = (float)((v - (double)net->mean[i % 3]) / (double)net->deviation[i % 3]);
    }
}

static bool run_batches(im_ctx *c, const im_run_net *net, im_loader *l, const im_run_args *a, int64_t total, im_seen_fn fn,
                        void *arg)
{
    size_t picture = 3 * (size_t)a->size * (size_t)a->size;
    int64_t done = 0;
    bool ok = true;
    im_tensor *x = im_new(c, IM_F32, 4, (int64_t[]){ a->batch, a->size, a->size, 3 });
    im_tensor *in[3] = { x, net->more[0], net->more[1] };
    im_plan *plan = x ? im_plan_record(c, net->fn, net->arg, in, 1 + net->n_more) : NULL;
    float *values = malloc((size_t)a->batch * picture * sizeof *values);
    if (!values) ok = im_fail(c, "out of memory for a batch of %d pictures", a->batch);
    for (const im_batch *b; plan && ok && (b = im_loader_next(c, l)); ) {
        im_batch_fill(b, a->batch, picture, values);
        renormalise(net, values, (size_t)b->n * picture);
        float *y = im_upload(c, x, values) ? im_values(c, im_plan_run(c, plan)) : NULL;
        ok = y && give(b, y, net->width, net->classes, fn, arg);
        free(y);
        done += b->n;
        if (a->progress) a->progress(a->arg, done, total);
    }
    im_plan_free(c, plan);
    free(values);
    return ok && im_ok(c);
}

bool im_run_pictures(im_ctx *c, const im_run_net *net, const im_dataset *d, const im_run_args *a, im_seen_fn fn, void *arg,
                     int64_t *broken)
{
    im_recipe r;
    if (!im_recipe_named(c, "none", a->size, &r)) return false;
    if (a->whole) {
        r.resize = a->size;
        r.crop[0].filter = IM_FILTER_BICUBIC;
    }
    im_loader *l = im_loader_open(c, &(im_loader_args){ .data = d, .recipe = &r, .batch = a->batch, .strict = a->strict,
                                                        .exact = true, .threads = a->workers, .epochs = 1 });
    im_scope_push(c);
    bool ok = l && run_batches(c, net, l, a, d->count, fn, arg);
    im_scope_pop(c);
    int64_t n_broken = 0;
    if (ok) im_loader_broken(c, l, &n_broken);
    if (broken) *broken = n_broken;
    im_loader_close(l);
    return ok;
}

bool im_run_set(im_ctx *c, im_classifier *m, int classes, const im_dataset *d, const im_run_args *a, im_seen_fn fn,
                void *arg, int64_t *broken)
{
    im_params *p = im_classifier_params(m);
    bool was = p->batch_statistics;
    im_run_net net = { .fn = seen_fn, .arg = m, .width = im_classifier_width(m), .classes = classes };
    p->batch_statistics = false;
    bool ok = im_run_pictures(c, &net, d, a, fn, arg, broken);
    p->batch_statistics = was;
    return ok;
}
