/* evaluate.c: top-1, top-5, mean cross entropy and the confusion matrix of a classifier; anomalies (evaluate.h).
 *
 * A picture is right at k when fewer than k logits are larger than that of its class, or as large and of a lower class: the
 * order of torch.topk on sorted values. Where only some classes count, the others' logits are not looked at.
 * Used by `imago eval` and, after every epoch, by train_resnet.c. */
#include "models/eval/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/text/carried_lists.h"
#include "models/checkpoints/classifier_file.h"
#include "models/eval/features.h"
#include "models/eval/measures.h"
#include "models/eval/sets.h"
#include "models/eval/zero_shot.h"

enum { TOP = 5 };

typedef struct judge {
    im_ctx *c;
    const im_dataset *data;
    const im_judged *which;
    double loss;
    int64_t right, right5;
    im_eval_result *out;
    im_seen_fn also; void *also_arg;
} judge;

static bool counts(const im_judged *w, int k)
{
    return !w->allowed || w->allowed[k];
}

/* The class of the largest logit, and log sum exp of all less that. */
static int best_of(const im_judged *w, const float *y, double *rest)
{
    int best = -1;
    double sum = 0;
    for (int k = 0; k < w->classes; k++)
        if (counts(w, k) && (best < 0 || y[k] > y[best])) best = k;
    for (int k = 0; k < w->classes; k++)
        if (counts(w, k) && k != best) sum += exp((double)y[k] - (double)y[best]);
    *rest = log1p(sum);
    return best;
}

static bool judge_one(void *arg, const im_seen *s)
{
    judge *j = arg;
    const float *y = s->logits;
    int ahead = 0, label = s->label;
    double rest;
    int best = best_of(j->which, y, &rest);
    for (int k = 0; k < j->which->classes; k++)
        if (counts(j->which, k)) ahead += k < label ? y[k] >= y[label] : y[k] > y[label];
    if (!isfinite(rest) || !isfinite(y[best]) || !isfinite(y[label]))            /* no logit is larger than NaN */
        return im_fail(j->c, "%s: picture %lld gives a logit that is not finite; the network's weights are damaged, or a "
                             "training has gone astray", j->data->path, (long long)s->index);
    j->loss += (double)y[best] + rest - (double)y[label];
    j->right += ahead == 0;
    j->right5 += ahead < TOP;
    j->out->confusion[(int64_t)label * j->which->classes + best]++;
    j->out->top5_hits[label] += ahead < TOP;
    j->out->pictures++;
    return !j->also || j->also(j->also_arg, s);
}

static bool make_result(im_ctx *c, im_eval_result *out, int classes)
{
    out->classes = classes;
    out->confusion = calloc((size_t)classes * (size_t)classes, sizeof *out->confusion);
    out->top5_hits = calloc((size_t)classes, sizeof *out->top5_hits);
    return (out->confusion && out->top5_hits) || im_fail(c, "out of memory for a confusion matrix of %d classes", classes);
}

typedef struct viewer { im_classifier *m; im_zero_shot z; } viewer;            /* one of both: m, or z.pair           */

static bool view(im_ctx *c, const viewer *v, int classes, const im_dataset *d, const im_run_args *a, im_seen_fn fn,
                 void *arg, int64_t *broken)
{
    return v->m ? im_run_set(c, v->m, classes, d, a, fn, arg, broken) : im_zero_shot_run(c, &v->z, d, a, fn, arg, broken);
}

static bool classify(im_ctx *c, const viewer *v, const im_judged *w, const im_dataset *d, const im_run_args *a,
                     im_seen_fn also, void *also_arg, im_eval_result *out)
{
    if (!im_ok(c) || !make_result(c, out, w->classes)) return false;
    judge j = { .c = c, .data = d, .which = w, .out = out, .also = also, .also_arg = also_arg };
    if (!view(c, v, w->classes, d, a, judge_one, &j, &out->broken)) return false;
    if (!out->pictures)
        return im_fail(c, "%s: not one of its %lld pictures could be read", d->path, (long long)d->count);
    out->top1 = (double)j.right / (double)out->pictures;
    out->top5 = (double)j.right5 / (double)out->pictures;
    out->loss = j.loss / (double)out->pictures;
    return true;
}

bool im_classify_set(im_ctx *c, im_classifier *m, const im_judged *w, const im_dataset *d, const im_run_args *a,
                     im_seen_fn also, void *also_arg, im_eval_result *out)
{
    return classify(c, &(viewer){ .m = m }, w, d, a, also, also_arg, out);
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
    if (!n_names && d->by_number)
        im_warn(c, "%s: %s does not name its classes, and the folders are numbers: they count as numbers, 2 before 10; "
                   "torchvision's ImageFolder sorts them as texts, 10 before 2: where it was trained so, name that order "
                   "with --classes FILE", d->path, model);
    return true;
}

/* ---------------------------------------------------------------- anomalies: ImageNet-O
 * Hendrycks et al. 2021, "Natural adversarial examples": a picture is the more of an anomaly the smaller its largest
 * softmax among the classes of the set. */

typedef struct anomalies {
    const im_judged *which;
    double *score; uint8_t *is;                                /* (room): -max softmax; of imagenet-o                 */
    int64_t n;
    bool now;
    im_features_out *keep;                                     /* of imagenet-o's pictures; NULL: not kept            */
} anomalies;

static bool score_one(void *arg, const im_seen *s)
{
    anomalies *x = arg;
    double rest;
    best_of(x->which, s->logits, &rest);
    x->score[x->n] = -exp(-rest);
    x->is[x->n++] = x->now;
    return !x->now || !x->keep || im_features_add(x->keep, s);
}

/* Pictures of classes that do not count leave the set. */
static void keep_allowed(im_dataset *d, const uint8_t *allowed)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < d->count; i++)
        if (allowed[d->samples[i].label]) d->samples[kept++] = d->samples[i];
    d->count = kept;
}

static bool judge_anomalies(im_ctx *c, const im_eval_args *a, const viewer *v, const im_classifier_info *info,
                            const im_dataset *odd, const im_judged *w, const im_run_args *run, im_features_out *keep,
                            im_eval_result *out)
{
    im_fit fit = { 0 };
    if (!a->val)
        return im_fail(c, "%s: ImageNet-O is judged beside ordinary pictures; name ImageNet's val with --val DIR",
                       odd->path);
    im_dataset *val = im_dataset_open(c, &(im_dataset_args){ .path = a->val, .min_classes = 1, .strict = a->strict });
    bool ok = val && im_fit_set(c, "imagenet", val, info, &fit);
    if (ok) keep_allowed(val, w->allowed);
    if (ok && !val->count)
        ok = im_fail(c, "%s: holds no picture of the classes of ImageNet-O that %s has", a->val, info->path);
    size_t room = ok ? (size_t)(val->count + odd->count) : 0;
    anomalies x = { .which = w, .score = calloc(room + 1, sizeof *x.score), .is = calloc(room + 1, 1), .now = true,
                    .keep = keep };
    if (ok && (!x.score || !x.is)) ok = im_fail(c, "out of memory for the scores of %zu pictures", room);
    ok = ok && view(c, v, w->classes, odd, run, score_one, &x, &out->broken);
    int64_t n = x.n, broken = out->broken;
    x.now = false;
    ok = ok && classify(c, v, w, val, run, score_one, &x, out);
    if (ok) {
        out->aupr = im_average_precision(x.score, x.is, x.n);
        out->pictures += n;
        out->broken += broken;
    }
    free(x.score);
    free(x.is);
    im_fit_free(&fit);
    im_dataset_free(val);
    return ok;
}

/* ---------------------------------------------------------------- a file, a set */

/* Of the classifier's classes: its own names, those of ImageNet, or those of the set. */
static bool copy_names(im_ctx *c, const im_classifier_info *info, const im_dataset *d, bool imagenet, im_eval_result *out)
{
    int n = info->config.classes;
    char (*wnid)[IM_WNID_BYTES] = calloc(IM_IMAGENET_CLASSES, sizeof *wnid);
    out->names = calloc((size_t)n + 1, sizeof *out->names);
    out->classes = out->names ? n : 0;
    bool ok = (out->names && wnid) || im_fail(c, "out of memory for the names of classes");
    if (ok) im_imagenet_wnids(IM_IMAGENET_1K, wnid, NULL);
    for (int i = 0; ok && i < n; i++)
        ok = (out->names[i] = strdup(info->n_names ? info->names[i] : imagenet ? wnid[i] : d->classes[i])) ||
             im_fail(c, "out of memory for the names of classes");
    free(wnid);
    return ok;
}

im_eval_args im_eval_defaults(void)
{
    return (im_eval_args){ .set = "folder", .batch = 32, .form = "a photo of a %s." };
}

bool im_eval_classifier(im_ctx *c, const im_eval_args *a, im_eval_result *out,
                        void (*progress)(void *arg, int64_t done, int64_t total), void *arg)
{
    im_classifier_info info;
    viewer v = { .m = NULL };
    im_fit fit = { 0 };
    bool imagenet = a->set && strcmp(a->set, "folder"), odd = a->set && !strcmp(a->set, "imagenet-o");
    *out = (im_eval_result){ .aupr = NAN };
    if (a->zero_shot) im_zero_shot_open(c, a->model, a->zero_shot, a->form, &v.z, &info);
    else v.m = im_classifier_open(c, a->model, &info);
    im_dataset *d = im_ok(c) ? im_dataset_open(c, &(im_dataset_args){ .path = a->data, .classes = a->classes,
                                                               .min_classes = imagenet ? 1 : 2, .strict = a->strict })
                      : NULL;
    bool ok = d && im_fit_set(c, a->set, d, &info, &fit) && copy_names(c, &info, d, imagenet, out);
    if (ok) {
        im_run_args run = { .batch = a->batch > 0 ? a->batch : im_eval_defaults().batch, .strict = a->strict,
                            .progress = progress, .arg = arg,
                            .size = a->size > 0 ? a->size : info.size > 0 ? info.size : 224 };
        int width = v.m ? im_classifier_width(v.m) : im_clip_pair_width(v.z.pair);
        im_judged which = { .classes = info.config.classes, .allowed = fit.allowed };
        im_features_out *keep = a->save_features ? im_features_create(c, a->save_features, d, width, 0,
                                                                      (const char *const *)out->names, out->classes)
                                                 : NULL;
        ok = im_ok(c) && (odd ? judge_anomalies(c, a, &v, &info, d, &which, &run, keep, out)
                              : classify(c, &v, &which, d, &run, keep ? im_features_add : NULL, keep, out));
        if (keep && ok) ok = im_features_finish(c, keep);
        else im_features_abandon(keep);
        out->size = v.m ? run.size : info.size;
        out->in_common = fit.in_common;
        out->left_out = fit.left_out;
        out->weights = info.path;
        info.path = NULL;
    }
    im_fit_free(&fit);
    im_dataset_free(d);
    im_classifier_free(v.m);
    im_zero_shot_free(&v.z);
    im_classifier_info_free(&info);
    if (!ok) im_eval_result_free(out);
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
