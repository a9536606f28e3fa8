/* report_judge.c: the figures. Every mean over categories counts each category once, however many pictures it has: there
 * are equally many generated ones of each, and the real ones are compared in the same way.
 *
 * Frechet distances are of the same number of pictures a category in all three sets (the smallest of the three), chosen at
 * even steps through the files, so that both distances have equal bias and the same mix of categories.
 * A near copy lies nearer to one training picture, in features and in pixels, than all but one percent of the held-out
 * pictures lie to theirs: one percent of real drawings passes for a copy in each of the two at most. */
#include "report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double LIMIT = 0.01;                              /* quantile of the held-out pictures' distances        */

/* ---------------------------------------------------------------- names, spread */

static double share_right(const side *s, int label)
{
    int64_t right = 0, n = side_count(s, label);
    for (int64_t i = s->first[label]; i < s->first[label + 1]; i++)
        right += s->seen.named[s->order[i]] == label;
    return n ? (double)right / (double)n : NAN;
}

static double spread(const side *s, int label)
{
    return im_mean_distance(s->unit, s->seen.width, s->order + s->first[label], side_count(s, label));
}

/* The mean of one figure over the categories that have it. */
static double mean_of(const findings *f, size_t at)
{
    double sum = 0;
    int n = 0;
    for (int i = 0; i < f->n; i++) {
        double v = *(const double *)((const char *)&f->v[i] + at);
        if (!isnan(v)) {
            sum += v;
            n++;
        }
    }
    return n ? sum / n : NAN;
}
#define MEAN(f, field) mean_of(f, offsetof(category, field))

static bool judge_categories(im_ctx *c, const report_options *o, const side *train, const side *held, const side *made,
                             findings *f)
{
    int classes = train->data->n_classes, *labels = calloc((size_t)classes, sizeof *labels);
    int n = labels ? report_categories(c, train->data, o->least, labels) : -1;
    f->v = n > 0 ? calloc((size_t)n, sizeof *f->v) : NULL;
    for (int i = 0; f->v && i < n; i++) {
        int k = labels[i];
        f->v[f->n++] = (category){ .label = k, .name = train->data->classes[k], .real = share_right(held, k),
                                   .made = share_right(made, k), .spread_real = spread(train, k),
                                   .spread_made = spread(made, k), .trained = side_count(train, k),
                                   .held = side_count(held, k) };
    }
    free(labels);
    int64_t right = 0;
    for (int64_t i = 0; i < held->seen.n; i++)
        right += held->seen.named[i] == held->data->samples[i].label;
    f->all_held = (double)right / (double)held->seen.n;
    f->real = MEAN(f, real);
    f->made = MEAN(f, made);
    f->spread_real = MEAN(f, spread_real);
    f->spread_made = MEAN(f, spread_made);
    return f->v || (im_ok(c) && im_fail(c, "out of memory for %d categories", n));
}

/* ---------------------------------------------------------------- Frechet distances */

static int64_t sample_of(const category *v, const side *made)
{
    int64_t n = side_count(made, v->label);
    n = n < v->held ? n : v->held;
    return n < v->trained ? n : v->trained;
}

/* The chosen rows of one set, one after the other. */
static void take_sample(const findings *f, const side *s, const side *made, float *out)
{
    int d = s->seen.width;
    for (int i = 0; i < f->n; i++) {
        int64_t n = sample_of(&f->v[i], made), have = side_count(s, f->v[i].label), from = s->first[f->v[i].label];
        for (int64_t k = 0; k < n; k++, out += d)
            memcpy(out, s->seen.features + s->order[from + k * have / n] * d, (size_t)d * sizeof *out);
    }
}

static bool judge_frechet(im_ctx *c, const side *train, const side *held, const side *made, findings *f)
{
    int d = train->seen.width;
    for (int i = 0; i < f->n; i++)
        f->sample += sample_of(&f->v[i], made);
    size_t rows = (size_t)f->sample * (size_t)d;
    float *room = malloc((3 * rows + 1) * sizeof *room);
    if (!room)
        return im_fail(c, "out of memory for a sample of %lld pictures", (long long)f->sample);
    take_sample(f, train, made, room);
    take_sample(f, held, made, room + rows);
    take_sample(f, made, made, room + 2 * rows);
    f->frechet_train = im_frechet(c, room, f->sample, room + rows, f->sample, d);
    f->frechet_made = im_frechet(c, room + 2 * rows, f->sample, room + rows, f->sample, d);
    free(room);
    return im_ok(c);
}

/* ---------------------------------------------------------------- near copies */

static im_looks looks_of(const side *s)
{
    return (im_looks){ .n = s->seen.n, .d = s->seen.width, .features = s->unit, .size = s->size, .rgb = s->rgb };
}

/* A quantile of the distances to the nearest training picture. */
static double quantile(const copies *v, int64_t n, bool pixels, double q, double *room)
{
    for (int64_t i = 0; i < n; i++)
        room[i] = pixels ? v->near[i].by_pixels.pixels : v->near[i].by_features.features;
    return im_quantile(room, n, q);
}

static bool find_copies(im_ctx *c, const side *of, const side *among, copies *out, double *room)
{
    im_looks a = looks_of(of), b = looks_of(among);
    out->near = malloc(((size_t)a.n + 1) * sizeof *out->near);
    if (!out->near)
        return im_fail(c, "out of memory for the nearest of %lld pictures", (long long)a.n);
    if (!im_find_nearest(c, &a, &b, out->near))
        return false;
    out->features = quantile(out, a.n, false, 0.5, room);
    out->pixels = quantile(out, a.n, true, 0.5, room);
    return true;
}

static double share_of_copies(const copies *v, int64_t n, const findings *f)
{
    int64_t found = 0;
    for (int64_t i = 0; i < n; i++)
        found += im_near_copy(&v->near[i], f->limit_features, f->limit_pixels);
    return (double)found / (double)n;
}

static bool judge_copies(im_ctx *c, const side *train, const side *held, const side *made, findings *f)
{
    int64_t n = held->seen.n, m = made->seen.n;
    double *room = malloc(((size_t)(n > m ? n : m) + 1) * sizeof *room);
    if (!room)
        return im_fail(c, "out of memory for distances of %lld pictures", (long long)m);
    bool ok = find_copies(c, held, train, &f->held, room) && find_copies(c, made, train, &f->drawn, room);
    if (ok) {
        f->limit_features = quantile(&f->held, n, false, LIMIT, room);
        f->limit_pixels = quantile(&f->held, n, true, LIMIT, room);
        f->held.share = share_of_copies(&f->held, n, f);
        f->drawn.share = share_of_copies(&f->drawn, m, f);
    }
    free(room);
    return ok;
}

bool report_judge(im_ctx *c, const report_options *o, const side *train, const side *held, const side *made, findings *f)
{
    report_say(o, "comparing");
    return judge_categories(c, o, train, held, made, f) && judge_frechet(c, train, held, made, f) &&
           judge_copies(c, train, held, made, f);
}

void report_findings_free(findings *f)
{
    free(f->v);
    free(f->held.near);
    free(f->drawn.near);
    *f = (findings){ .n = 0 };
}
