/* evaluate.c: top-1, top-5, mean cross entropy and the confusion matrix of a classifier (evaluate.h).
 *
 * The network is recorded as a plan for one size of batch; the last batch is filled up with pictures of zeros, whose
 * results are not read: a picture's logits do not depend on the others. A picture is right at k when fewer than k logits
 * are larger than that of its class, or as large and of a lower class: the order of torch.topk on sorted values.
 * Used by `imago eval` and, after every epoch, by train_resnet.c. */
#include "models/eval/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/sets/loader.h"
#include "models/checkpoints/classifier_file.h"

enum { TOP = 5 };

typedef struct judge {
    const im_dataset *data;
    int classes;
    double loss;
    int64_t right, right5;
    im_eval_result *out;
} judge;

static im_tensor *logits_fn(im_ctx *c, void *arg, im_tensor *const in[], int n_in)
{
    (void)n_in;
    return im_classifier_logits(c, arg, im_classifier_features(c, arg, in[0]));
}

/* False: the logits are no numbers. */
static bool judge_one(judge *j, const float *y, int label)
{
    int best = 0, ahead = 0;
    double largest = y[0], sum = 0;
    for (int k = 1; k < j->classes; k++)
        if (y[k] > y[best]) {
            best = k;
            largest = y[k];
        }
    for (int k = 0; k < j->classes; k++) {
        ahead += k < label ? y[k] >= y[label] : y[k] > y[label];
        sum += k == best ? 0 : exp((double)y[k] - largest);
    }
    if (!isfinite(sum) || !isfinite(largest) || !isfinite(y[label]))
        return false;                                          /* no logit is larger than NaN: it would count as right */
    j->loss += largest + log1p(sum) - (double)y[label];
    j->right += ahead == 0;
    j->right5 += ahead < TOP;
    j->out->confusion[(int64_t)label * j->classes + best]++;
    j->out->top5_hits[label] += ahead < TOP;
    j->out->pictures++;
    return true;
}

/* Places whose own picture is broken show another one, which is counted where it belongs. */
static bool judge_batch(im_ctx *c, judge *j, const im_batch *b, const float *logits)
{
    for (int i = 0; i < b->n; i++)
        if (b->indices[i] == b->meant[i] && !judge_one(j, logits + (int64_t)i * j->classes, b->labels[i]))
            return im_fail(c, "%s: picture %lld gives a logit that is not finite; the network's weights are damaged, or a "
                           "training has gone astray", j->data->path, (long long)b->indices[i]);
    return true;
}

static bool run_batches(im_ctx *c, im_loader *l, im_plan *plan, im_tensor *x, judge *j, const im_classify_args *a)
{
    size_t picture = 3 * (size_t)a->size * (size_t)a->size;
    int64_t done = 0;
    for (const im_batch *b; (b = im_loader_next(c, l)); ) {
        im_batch_fill(b, a->batch, picture, im_data(x));
        im_scope_push(c);
        im_tensor *y = im_plan_run(c, plan);                   /* (batch, classes)                                    */
        if (y)
            judge_batch(c, j, b, im_data(y));
        im_scope_pop(c);
        done += b->n;
        if (a->progress)
            a->progress(a->arg, done, j->data->count);
    }
    return im_ok(c);
}

static bool make_result(im_ctx *c, im_eval_result *out, int classes)
{
    out->classes = classes;
    out->confusion = calloc((size_t)classes * (size_t)classes, sizeof *out->confusion);
    out->top5_hits = calloc((size_t)classes, sizeof *out->top5_hits);
    return (out->confusion && out->top5_hits) || im_fail(c, "out of memory for a confusion matrix of %d classes", classes);
}

bool im_classify_set(im_ctx *c, im_classifier *m, int classes, const im_dataset *d, const im_classify_args *a,
                     im_eval_result *out)
{
    im_recipe r;
    if (!im_recipe_named(c, "none", a->size, &r) || !make_result(c, out, classes))
        return false;
    im_loader *l = im_loader_open(c, &(im_loader_args){ .data = d, .recipe = &r, .batch = a->batch, .strict = a->strict,
                                                        .exact = true, .threads = a->workers, .epochs = 1 });
    im_params *p = im_classifier_params(m);
    bool was = p->batch_statistics;
    judge j = { .data = d, .classes = classes, .out = out };
    p->batch_statistics = false;
    im_scope_push(c);
    im_tensor *x = im_new(c, IM_F32, 4, (int64_t[]){ a->batch, a->size, a->size, 3 });
    im_plan *plan = l && x ? im_plan_record(c, logits_fn, m, &x, 1) : NULL;
    bool ok = plan && run_batches(c, l, plan, x, &j, a);
    im_plan_free(c, plan);
    im_scope_pop(c);
    p->batch_statistics = was;
    int64_t n_broken = 0;
    if (ok)
        im_loader_broken(c, l, &n_broken);
    im_loader_close(l);
    if (ok && !out->pictures)
        ok = im_fail(c, "%s: not one of its %lld pictures could be read", d->path, (long long)d->count);
    if (!ok)
        return false;
    out->broken = n_broken;
    out->top1 = (double)j.right / (double)out->pictures;
    out->top5 = (double)j.right5 / (double)out->pictures;
    out->loss = j.loss / (double)out->pictures;
    return true;
}

bool im_same_classes(im_ctx *c, const char *model, int classes, char *const names[], int n_names, const im_dataset *d)
{
    if (d->n_classes != classes)
        return im_fail(c, "%s has %d classes, and %s was trained on %d; give a set of the same classes, or name them with "
                       "--classes", d->path, d->n_classes, model, classes);
    for (int i = 0; i < n_names; i++)
        if (strcmp(names[i], d->classes[i]))
            return im_fail(c, "%s: its class %d is \"%s\", and that of %s is \"%s\"; give a set of the same classes, "
                           "or name them with --classes", d->path, i, d->classes[i], model, names[i]);
    return true;
}

static bool copy_names(im_ctx *c, const im_dataset *d, im_eval_result *out)
{
    out->names = calloc((size_t)d->n_classes + 1, sizeof *out->names);
    out->classes = out->names ? d->n_classes : 0;
    bool ok = out->names || im_fail(c, "out of memory for the names of classes");
    for (int i = 0; ok && i < d->n_classes; i++)
        ok = (out->names[i] = strdup(d->classes[i])) || im_fail(c, "out of memory for the names of classes");
    return ok;
}

im_eval_args im_eval_defaults(void)
{
    return (im_eval_args){ .batch = 32 };
}

bool im_eval_classifier(im_ctx *c, const im_eval_args *a, im_eval_result *out,
                        void (*progress)(void *arg, int64_t done, int64_t total), void *arg)
{
    im_classifier_info info;
    *out = (im_eval_result){ .pictures = 0 };
    im_classifier *m = im_classifier_open(c, a->model, &info);
    im_dataset *d = m ? im_dataset_open(c, &(im_dataset_args){ .path = a->data, .classes = a->classes, .min_classes = 2,
                                                               .strict = a->strict }) : NULL;
    bool ok = d && im_same_classes(c, info.path, info.config.classes, info.names, info.n_names, d) && copy_names(c, d, out);
    if (ok) {
        im_classify_args args = { .batch = a->batch > 0 ? a->batch : im_eval_defaults().batch, .strict = a->strict,
                                  .progress = progress, .arg = arg,
                                  .size = a->size > 0 ? a->size : info.size > 0 ? info.size : 224 };
        ok = im_classify_set(c, m, info.config.classes, d, &args, out);
        out->weights = info.path;
        info.path = NULL;
    }
    im_dataset_free(d);
    im_classifier_free(m);
    im_classifier_info_free(&info);
    if (!ok)
        im_eval_result_free(out);
    return ok;
}

void im_eval_result_free(im_eval_result *r)
{
    for (int i = 0; r->names && i < r->classes; i++)
        free(r->names[i]);
    free(r->names);
    free(r->confusion);
    free(r->top5_hits);
    free(r->weights);
    *r = (im_eval_result){ .pictures = 0 };
}
