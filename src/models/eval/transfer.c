/* transfer.c: linear classifiers on frozen features (linear_fit.h), by the protocol of Sariyildiz et al. 2021 ("Concept
 * generalization", arXiv 2012.05649) and 2023 (arXiv 2206.15369):
 *
 *     logreg   features as they are; C log-uniform in 1e-5 .. 1e6
 *     sgd      features of length 1; batch 1024, 100 epochs, lr log-uniform in .1 .. 100, decay in 1e-12 .. 1e-4
 * Of each class of the training set a fifth (one picture at least) is held out; settings are drawn, the one of the best
 * top-1 on what is held out (of equals the smaller C, or rate) is trained on everything and tested once.
 * Few-shot: so many pictures a class are drawn from what is not held out; settings are chosen as before, and only these
 * pictures are trained on. Used by `imago transfer`. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/stream.h"
#include "data/sets/order.h"
#include "models/eval/evaluate.h"
#include "models/eval/linear_fit.h"
#include "models/eval/measured.h"

enum { SGD_BATCH = 1024, HELD_OUT = 5 };                       /* a fifth                                             */
static const double COST_FROM = -5, COST_TO = 6, LR_FROM = -1, LR_TO = 2, DECAY_FROM = -12, DECAY_TO = -4;   /* 10^ */

im_transfer_args im_transfer_defaults(void)
{
    return (im_transfer_args){ .measure = im_measure_defaults(), .protocol = "logreg", .trials = 30, .decay = -1,
                               .epochs = 100, .seeds = 5 };
}

typedef struct setting { double cost, lr, decay; } setting;

typedef struct transfer {
    im_ctx *c;
    const im_transfer_args *a;
    bool sgd;
    im_feature_rows train, test;                               /* all of both                                         */
    int32_t *labels[2];                                        /* of train, test                                      */
    int64_t *index[2];                                         /* 0, 1, 2 ...                                         */
    int64_t *order, *first, *held;                             /* of train by class, in a drawn order: order[first[k]] */
                                                               /* up to [k + 1], of which the first held[k] are held out */
    int64_t *rows, n_rows, *val, n_val;                        /* to train on now; held out                           */
    int32_t *named;                                            /* (larger one of train and test)                      */
    double *w;                                                 /* (d + 1, classes)                                    */
    im_transfer_result *out;
} transfer;

static bool by_trials(const transfer *t)
{
    return t->sgd ? !(t->a->lr > 0 && t->a->decay >= 0) : !(t->a->cost > 0);
}

/* ---------------------------------------------------------------- who is held out, who is drawn */

/* order, first, held; t->val */
static bool split(transfer *t, const im_dataset *d)
{
    int64_t n = t->train.n;
    int classes = t->train.classes;
    for (int64_t i = 0; i < n; i++) t->first[t->labels[0][i] + 2]++;
    for (int k = 0; k < classes; k++) t->first[k + 2] += t->first[k + 1];
    for (int64_t i = 0; i < n; i++) t->order[t->first[t->labels[0][i] + 1]++] = i;
    uint32_t *shuffled = malloc(((size_t)n + 1) * sizeof *shuffled);
    int64_t *copy = malloc(((size_t)n + 1) * sizeof *copy);
    bool ok = (shuffled && copy) || im_fail(t->c, "out of memory for the order of %lld pictures", (long long)n);
    for (int k = 0; ok && k < classes; k++) {
        int64_t size = t->first[k + 1] - t->first[k], *own = t->order + t->first[k];
        im_order_fill(shuffled, size, true, t->a->seed, (uint64_t)k);
        for (int64_t i = 0; i < size; i++) copy[i] = own[shuffled[i]];
        memcpy(own, copy, (size_t)size * sizeof *own);
        t->held[k] = !by_trials(t) ? 0 : size < HELD_OUT ? 1 : size / HELD_OUT;
        for (int64_t i = 0; i < t->held[k]; i++) t->val[t->n_val++] = own[i];
        if (size - t->held[k] < 1)
            ok = im_fail(t->c, "%s: class \"%s\" has %lld picture%s: one is held out to choose settings by, and one is "
                         "needed to train on; give more, or settings (--cost, or --lr and --decay)", d->path,
                         d->classes[k], (long long)size, size == 1 ? "" : "s");
        for (int i = 0; ok && i < t->a->n_shots; i++)
            if (t->a->shots[i] > size - t->held[k])
                ok = im_fail(t->c, "%s: class \"%s\" has %lld pictures, of which %lld are held out to choose settings by: "
                             "too few for --few-shot %d", d->path, d->classes[k], (long long)size, (long long)t->held[k],
                             t->a->shots[i]);
    }
    free(shuffled);
    free(copy);
    return ok;
}

/* Fills t->rows: all that are not held out, or `shots` a class of them, drawn. */
static bool draw_rows(transfer *t, int shots, int seed)
{
    uint32_t *shuffled = malloc(((size_t)t->train.n + 1) * sizeof *shuffled);
    if (!shuffled) return im_fail(t->c, "out of memory for the order of %lld pictures", (long long)t->train.n);
    t->n_rows = 0;
    for (int k = 0; k < t->train.classes; k++) {
        int64_t from = t->first[k] + t->held[k], size = t->first[k + 1] - from;
        im_order_fill(shuffled, size, shots > 0, t->a->seed + 1 + (uint64_t)seed, (uint64_t)k);
        for (int64_t i = 0; i < (shots ? shots : size); i++) t->rows[t->n_rows++] = t->order[from + shuffled[i]];
    }
    free(shuffled);
    return true;
}

/* ---------------------------------------------------------------- settings */

static int by_size(const void *a, const void *b)
{
    const setting *x = a, *y = b;
    if (x->cost != y->cost) return x->cost < y->cost ? -1 : 1;
    return (x->lr > y->lr) - (x->lr < y->lr);
}

static double log_uniform(im_stream *s, double from, double to)
{
    return pow(10, from + (to - from) * im_stream_uniform(s));
}

/* v (trials): drawn, in ascending order */
static void draw_settings(const transfer *t, setting *v)
{
    for (int i = 0; i < t->a->trials; i++) {
        im_stream s;
        im_stream_open(&s, t->a->seed, IM_STREAM_TRIAL, (uint64_t)i, 0);
        if (t->sgd) {
            v[i] = (setting){ .lr = log_uniform(&s, LR_FROM, LR_TO), .decay = log_uniform(&s, DECAY_FROM, DECAY_TO) };
            if (t->a->lr > 0) v[i].lr = (double)t->a->lr;
            if (t->a->decay >= 0) v[i].decay = (double)t->a->decay;
        } else {
            v[i] = (setting){ .cost = log_uniform(&s, COST_FROM, COST_TO) };
        }
    }
    qsort(v, (size_t)t->a->trials, sizeof *v, by_size);
}

/* Trains t->w on rows; logreg goes on from what t->w is, SGD begins anew. */
static bool fit(transfer *t, const int64_t *rows, int64_t n, const setting *s, bool roughly, im_transfer_score *out)
{
    im_feature_rows r = t->train;
    r.index = rows;
    r.n = n;
    if (!t->sgd) return im_logreg_fit(t->c, &r, s->cost, roughly, t->w, &out->iterations, &out->converged);
    memset(t->w, 0, (size_t)(r.d + 1) * (size_t)r.classes * sizeof *t->w);
    im_sgd_settings how = { .lr = s->lr, .decay = s->decay, .epochs = t->a->epochs, .batch = SGD_BATCH,
                            .seed = t->a->seed };
    return im_sgd_fit(t->c, &r, &how, t->w);
}

/* Share of right answers; out (NULL: not wanted): the mean over classes as well. */
static double judge(transfer *t, const im_feature_rows *r, im_transfer_score *out)
{
    int64_t right = 0, *all = calloc(2 * (size_t)r->classes, sizeof *all), *hits = all ? all + r->classes : NULL;
    if (!all) im_fail(t->c, "out of memory for %d classes", r->classes);
    if (!all || !im_linear_name(t->c, r, t->w, t->named)) {
        free(all);
        return NAN;
    }
    for (int64_t i = 0; i < r->n; i++) {
        int label = r->labels[r->index[i]];
        all[label]++;
        hits[label] += t->named[i] == label;
        right += t->named[i] == label;
    }
    double sum = 0;
    int seen = 0;
    for (int k = 0; k < r->classes; k++)
        if (all[k]) {
            sum += (double)hits[k] / (double)all[k];
            seen++;
        }
    free(all);
    if (out) {
        out->top1 = (double)right / (double)r->n;
        out->mean_per_class = sum / seen;
        out->log_odds = log(((double)right + 0.5) / ((double)(r->n - right) + 0.5));
    }
    return (double)right / (double)r->n;
}

/* The setting of the best top-1 on what is held out. */
static bool choose(transfer *t, setting *best, im_transfer_score *out)
{
    setting *v = calloc((size_t)t->a->trials + 1, sizeof *v);
    im_feature_rows val = t->train;
    val.index = t->val;
    val.n = t->n_val;
    bool ok = v || im_fail(t->c, "out of memory for %d trials", t->a->trials);
    if (ok) draw_settings(t, v);
    out->val_top1 = -1;
    for (int i = 0; ok && i < t->a->trials; i++) {
        ok = fit(t, t->rows, t->n_rows, &v[i], true, out);
        double top1 = ok ? judge(t, &val, NULL) : NAN;
        if (top1 > out->val_top1) {
            out->val_top1 = top1;
            *best = v[i];
        }
        if (ok && im_cancelled(t->c)) ok = im_fail(t->c, "stopped");
    }
    free(v);
    return ok && im_ok(t->c);
}

static bool run_one(transfer *t, int shots, int seed)
{
    im_transfer_score *out = &t->out->scores[t->out->n];
    setting s = { (double)t->a->cost, (double)t->a->lr, (double)t->a->decay };
    *out = (im_transfer_score){ .shots = shots, .seed = seed, .val_top1 = NAN, .converged = true };
    memset(t->w, 0, (size_t)(t->train.d + 1) * (size_t)t->train.classes * sizeof *t->w);
    bool ok = draw_rows(t, shots, seed) && (!by_trials(t) || choose(t, &s, out));
    out->cost = s.cost;
    out->lr = s.lr;
    out->decay = s.decay;
    memset(t->w, 0, (size_t)(t->train.d + 1) * (size_t)t->train.classes * sizeof *t->w);
    ok = ok && (shots ? fit(t, t->rows, t->n_rows, &s, false, out) : fit(t, t->index[0], t->train.n, &s, false, out));
    if (ok) judge(t, &t->test, out);
    t->out->n++;
    return ok && im_ok(t->c);
}

/* ---------------------------------------------------------------- two sets */

/* Rows of a set, its labels and the index of all in t->labels[i], t->index[i]. */
static bool rows_of(transfer *t, const im_measured *m, int i, im_feature_rows *out)
{
    size_t n = (size_t)m->f.n + 1;
    t->labels[i] = malloc(n * sizeof *t->labels[i]);
    t->index[i] = malloc(n * sizeof *t->index[i]);
    if (!t->labels[i] || !t->index[i]) return im_fail(t->c, "out of memory for %zu labels", n);
    for (int64_t k = 0; k < m->f.n; k++) {
        t->labels[i][k] = m->d->samples[k].label;
        t->index[i][k] = k;
    }
    *out = (im_feature_rows){ .x = m->f.features, .d = m->f.width, .labels = t->labels[i], .index = t->index[i],
                              .n = m->f.n, .classes = m->d->n_classes, .unit = t->sgd };
    return true;
}

static bool make_room(transfer *t)
{
    size_t n = (size_t)(t->train.n > t->test.n ? t->train.n : t->test.n) + 1, classes = (size_t)t->train.classes + 2;
    t->order = calloc(n, sizeof *t->order);
    t->first = calloc(classes, sizeof *t->first);
    t->held = calloc(classes, sizeof *t->held);
    t->rows = calloc(n, sizeof *t->rows);
    t->val = calloc(n, sizeof *t->val);
    t->named = calloc(n, sizeof *t->named);
    t->w = calloc((size_t)(t->train.d + 1) * classes, sizeof *t->w);
    t->out->scores = calloc(1 + (size_t)t->a->n_shots * (size_t)t->a->seeds, sizeof *t->out->scores);
    return (t->order && t->first && t->held && t->rows && t->val && t->named && t->w && t->out->scores) ||
           im_fail(t->c, "out of memory for %zu pictures of %d classes", n, t->train.classes);
}

static void free_room(transfer *t)
{
    for (int i = 0; i < 2; i++) {
        free(t->labels[i]);
        free(t->index[i]);
    }
    free(t->order);
    free(t->first);
    free(t->held);
    free(t->rows);
    free(t->val);
    free(t->named);
    free(t->w);
}

static bool transfer_sets(transfer *t, const im_lens *l, const im_measured *train, const im_measured *test)
{
    im_transfer_result *out = t->out;
    bool ok = im_same_classes(t->c, train->d->path, train->d->n_classes, (char **)train->d->classes, train->d->n_classes,
                              test->d)
           && rows_of(t, train, 0, &t->train) && rows_of(t, test, 1, &t->test) && make_room(t) && split(t, train->d);
    ok = ok && run_one(t, 0, 0);
    for (int i = 0; ok && i < t->a->n_shots; i++)
        for (int s = 0; ok && s < t->a->seeds; s++) ok = run_one(t, t->a->shots[i], s);
    if (ok) {
        out->train = t->train.n;
        out->test = t->test.n;
        out->validation = t->n_val;
        out->classes = t->train.classes;
        out->width = t->train.d;
        out->size = train->size;
        ok = (out->weights = strdup(l->info.path)) || im_fail(t->c, "out of memory for a path");
    }
    free_room(t);
    return ok;
}

bool im_transfer(im_ctx *c, const im_transfer_args *a, im_transfer_result *out)
{
    im_lens l = { .m = NULL };
    im_measured train = { .d = NULL }, test = { .d = NULL };
    *out = (im_transfer_result){ .n = 0 };
    transfer t = { .c = c, .a = a, .sgd = !strcmp(a->protocol, "sgd"), .out = out };
    char *save[2] = { NULL, NULL };
    bool ok = im_lens_open(c, &a->measure, &l)
           && (!a->save_features || ((save[0] = im_features_name(c, a->save_features, "train"))
                                     && (save[1] = im_features_name(c, a->save_features, "test"))))
           && im_measure(c, &l, &(im_measured_args){ .data = a->train, .save_features = save[0], .min_classes = 2,
                                                     .whole = true }, &train)
           && im_measure(c, &l, &(im_measured_args){ .data = a->test, .save_features = save[1], .min_classes = 2,
                                                     .whole = true }, &test)
           && transfer_sets(&t, &l, &train, &test);
    for (int i = 0; i < 2; i++) free(save[i]);
    im_measured_free(&train);
    im_measured_free(&test);
    im_lens_free(&l);
    if (!ok) im_transfer_result_free(out);
    return ok;
}

void im_transfer_result_free(im_transfer_result *r)
{
    free(r->scores);
    free(r->weights);
    *r = (im_transfer_result){ .n = 0 };
}
