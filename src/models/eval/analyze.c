/* analyze.c: what the features of an encoder are like on a set: how sparse, how near to each other within a class, how
 * redundant, how much they say (imago_train.h has the formulas).
 *
 * Intra-class distance, sparsity and redundancy as Sariyildiz et al. 2023 (arXiv 2206.15369) and Wang et al. 2022 (arXiv
 * 2112.00496) have them, over pairs of different columns; coding length as Yu et al. 2020 (arXiv 2006.08558): the rate of
 * a code with mean squared error eps2.
 * Used by `imago analyze`. */
#include "models/eval/analysis.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/eval/measured.h"
#include "models/eval/measures.h"

im_analyze_args im_analyze_defaults(void)
{
    return (im_analyze_args){ .measure = im_measure_defaults(), .set = "folder", .threshold = 1e-5f, .eps2 = 0.5f };
}

static double sparsity_of(const float *x, int64_t n, int d, float threshold)
{
    int64_t below = 0;
    for (int64_t i = 0; i < n * d; i++) below += fabsf(x[i]) < threshold;
    return (double)below / (double)(n * d);
}

/* gram: (d, d) to work in */
static bool redundancy(im_ctx *c, const float *x, int64_t n, int d, double *gram, im_analysis *out)
{
    double *mean = malloc((size_t)d * sizeof *mean), sum = 0, pairs = 0;
    if (!mean) return im_fail(c, "out of memory for the mean of %d features", d);
    im_mean_row(x, n, d, mean);
    bool ok = im_gram(c, x, n, d, mean, false, gram);
    for (int i = 0; ok && i < d; i++) {
        double own = gram[(int64_t)i * d + i];
        out->flat += !(own > 0);
        for (int j = 0; j < i && own > 0; j++) {
            double other = gram[(int64_t)j * d + j];
            if (!(other > 0)) continue;
            sum += fabs(gram[(int64_t)i * d + j]) / (sqrt(own) * sqrt(other));
            pairs++;
        }
    }
    out->feature_redundancy = pairs > 0 ? sum / pairs : NAN;
    free(mean);
    return ok;
}

static bool coding_length(im_ctx *c, const float *x, int64_t n, int d, double eps2, im_analysis *out)
{
    int side;
    double *values = im_unit_spectrum(c, x, n, d, &side), sum = 0;
    for (int i = 0; values && i < side; i++)
        if (values[i] > 0) sum += log1p((double)d / ((double)n * eps2) * values[i]);
    out->coding_length = 0.5 * sum;
    free(values);
    return im_ok(c);
}

/* ---------------------------------------------------------------- by class */

typedef struct by_class {
    const float *x;
    int d;
    const int64_t *first, *order;                              /* pictures of class k: order[first[k]] up to [k + 1]   */
    double *distance;                                          /* (classes)                                           */
    bool *failed;                                              /* (classes): out of memory                            */
} by_class;

static void class_distance(void *arg, int k, int thread)
{
    const by_class *b = arg;
    (void)thread;
    int64_t n = b->first[k + 1] - b->first[k];
    size_t row = (size_t)b->d;
    float *z = malloc(((size_t)n + 1) * row * sizeof *z);
    int64_t *index = malloc(((size_t)n + 1) * sizeof *index);
    b->failed[k] = !z || !index;
    for (int64_t i = 0; !b->failed[k] && i < n; i++) {
        memcpy(z + i * b->d, b->x + b->order[b->first[k] + i] * b->d, row * sizeof *z);
        index[i] = i;
    }
    if (!b->failed[k]) {
        im_unit_rows(z, n, b->d);
        b->distance[k] = im_mean_distance(z, b->d, index, n);
    }
    free(z);
    free(index);
}

/* first (classes + 1), order (n): the pictures of each class, in their own order. */
static void sort_by_class(const int32_t *labels, int64_t n, int classes, int64_t *first, int64_t *order)
{
    memset(first, 0, ((size_t)classes + 2) * sizeof *first);
    for (int64_t i = 0; i < n; i++) first[labels[i] + 2]++;
    for (int k = 0; k < classes; k++) first[k + 2] += first[k + 1];
    for (int64_t i = 0; i < n; i++) order[first[labels[i] + 1]++] = i;
}

static bool distances(im_ctx *c, const float *x, const int32_t *labels, int64_t n, int d, int classes, im_analysis *out)
{
    int64_t *first = malloc(((size_t)classes + 2) * sizeof *first), *order = malloc(((size_t)n + 1) * sizeof *order);
    bool *failed = calloc((size_t)classes + 1, sizeof *failed);
    bool ok = (first && order && failed) || im_fail(c, "out of memory for %d classes", classes);
    double sum = 0;
    int counted = 0;
    if (ok) {
        sort_by_class(labels, n, classes, first, order);
        im_parallel(c, classes, class_distance, &(by_class){ x, d, first, order, out->class_distance, failed });
    }
    for (int k = 0; ok && k < classes; k++) {
        out->count[k] = first[k + 1] - first[k];
        ok = !failed[k] || im_fail(c, "out of memory for the features of class %d", k);
        if (isnan(out->class_distance[k])) continue;
        sum += out->class_distance[k];
        counted++;
    }
    out->intra_class_distance = counted ? sum / counted : NAN;
    free(first);
    free(order);
    free(failed);
    return ok;
}

bool im_analyze_features(im_ctx *c, const float *x, const int32_t *labels, int64_t n, int d, int classes,
                         const im_analyze_args *a, im_analysis *out)
{
    if (!im_ok(c)) return false;
    size_t k = (size_t)classes + 1, square = (size_t)d * (size_t)d;
    out->pictures = n;
    out->width = d;
    out->classes = classes;
    out->top1 = NAN;
    out->count = calloc(k, sizeof *out->count);
    out->class_distance = calloc(k, sizeof *out->class_distance);
    out->class_top1 = calloc(k, sizeof *out->class_top1);
    double *room = malloc((square + 1) * sizeof *room);
    bool ok = (out->count && out->class_distance && out->class_top1 && room) ||
              im_fail(c, "out of memory for products of %d features", d);
    for (int i = 0; ok && i < classes; i++) out->class_top1[i] = NAN;
    if (ok) out->sparsity = sparsity_of(x, n, d, a->threshold);
    ok = ok && distances(c, x, labels, n, d, classes, out) && redundancy(c, x, n, d, room, out)
       && coding_length(c, x, n, d, (double)a->eps2, out);
    free(room);
    return ok;
}

/* ---------------------------------------------------------------- a classifier and a set */

/* Of classes that the classifier has: map[k] is its number of class k. */
static void count_right(const im_measured *m, const int *map, im_analysis *out)
{
    int64_t all = 0, right = 0, *hits = calloc((size_t)out->classes + 1, sizeof *hits);
    for (int64_t i = 0; hits && i < m->f.n; i++) {
        int label = m->d->samples[i].label;
        if (map[label] < 0) continue;
        bool hit = im_best_class(m->f.logits + i * m->f.classes, m->f.classes, m->fit.allowed) == map[label];
        hits[label] += hit;
        right += hit;
        all++;
    }
    for (int k = 0; hits && k < out->classes; k++)
        if (map[k] >= 0 && out->count[k]) out->class_top1[k] = (double)hits[k] / (double)out->count[k];
    if (all) out->top1 = (double)right / (double)all;
    free(hits);
}

/* Names of the classes that labels count: the classifier's where a set of ImageNet was named. */
static bool copy_names(im_ctx *c, const im_lens *l, const im_measured *m, int classes, bool theirs, im_analysis *out)
{
    out->names = calloc((size_t)classes + 1, sizeof *out->names);
    bool ok = out->names != NULL;
    for (int k = 0; ok && k < classes; k++) {
        char number[24];
        snprintf(number, sizeof number, "%d", k);
        ok = (out->names[k] = strdup(theirs ? l->info.n_names ? l->info.names[k] : number : m->d->classes[k])) != NULL;
    }
    return ok || im_fail(c, "out of memory for the names of %d classes", classes);
}

static bool analyze(im_ctx *c, const im_analyze_args *a, const im_lens *l, const im_measured *m, im_analysis *out)
{
    bool theirs = a->set && strcmp(a->set, "folder");
    int classes = theirs ? l->info.config.classes : m->d->n_classes;
    int32_t *labels = malloc(((size_t)m->f.n + 1) * sizeof *labels);
    int *map = malloc(((size_t)classes + 1) * sizeof *map);
    bool ok = (labels && map) || im_fail(c, "out of memory for %lld labels", (long long)m->f.n);
    for (int64_t i = 0; ok && i < m->f.n; i++) labels[i] = m->d->samples[i].label;
    ok = ok && im_analyze_features(c, m->f.features, labels, m->f.n, m->f.width, classes, a, out)
       && copy_names(c, l, m, classes, theirs, out);
    if (ok) {
        for (int k = 0; k < classes; k++) map[k] = k;
        if (!theirs) im_map_classes(&l->info, m->d, map);
        count_right(m, map, out);
        out->left_out = m->fit.left_out;
        out->size = m->size;
        ok = (out->weights = strdup(l->info.path)) || im_fail(c, "out of memory for a path");
    }
    free(labels);
    free(map);
    return ok;
}

bool im_analyze(im_ctx *c, const im_analyze_args *a, im_analysis *out)
{
    im_lens l;
    im_measured m = { .d = NULL };
    *out = (im_analysis){ .pictures = 0 };
    bool ok = im_lens_open(c, &a->measure, &l)
           && im_measure(c, &l, &(im_measured_args){ .data = a->data, .set = a->set, .save_features = a->save_features,
                                                     .min_classes = 1 }, &m)
           && analyze(c, a, &l, &m, out);
    im_measured_free(&m);
    im_lens_free(&l);
    if (!ok) im_analysis_free(out);
    return ok;
}

void im_analysis_free(im_analysis *a)
{
    for (int k = 0; a->names && k < a->classes; k++) free(a->names[k]);
    free(a->names);
    free(a->count);
    free(a->class_distance);
    free(a->class_top1);
    free(a->weights);
    *a = (im_analysis){ .pictures = 0 };
}
