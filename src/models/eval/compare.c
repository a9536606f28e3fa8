/* compare.c: two sets of pictures beside each other: Frechet distance (frechet.c), precision, recall, density, coverage and
 * Vendi scores (neighbours.c) of the features of one net, and how well a classifier recognises what they show. Used by
 * `imago compare`. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/eval/measured.h"
#include "models/eval/measures.h"
#include "models/eval/neighbours.h"
#include "models/eval/zero_shot.h"

im_compare_args im_compare_defaults(void)
{
    return (im_compare_args){ .measure = im_measure_defaults(), .k = 5 };
}

/* Top-1 on the pictures whose classes the classifier has, by name; NAN: there are none. */
static double recognizability(im_ctx *c, const im_lens *l, const im_measured *m)
{
    int *map = malloc(((size_t)m->d->n_classes + 1) * sizeof *map);
    int64_t all = 0, right = 0;
    if (!map) {
        im_fail(c, "out of memory for %d classes", m->d->n_classes);
        return NAN;
    }
    im_map_classes(&l->info, m->d, map);
    for (int64_t i = 0; i < m->f.n; i++) {
        int label = m->d->samples[i].label, is = label < 0 ? -1 : map[label];
        all += is >= 0;
        right += is >= 0 && im_best_class(m->f.logits + i * m->f.classes, m->f.classes, NULL) == is;
    }
    free(map);
    return all ? (double)right / (double)all : NAN;
}

static bool recognize(im_ctx *c, const im_compare_args *a, im_comparison *out)
{
    im_lens l = { .m = NULL };
    im_measure_args with = a->measure;
    with.model = a->recognizer;
    bool ok = im_lens_open(c, &with, &l);
    for (int i = 0; ok && i < 2; i++) {
        im_measured m = { .d = NULL };
        ok = im_measure(c, &l, &(im_measured_args){ .data = a->sets[i] }, &m);
        if (ok) out->recognizability[i] = recognizability(c, &l, &m);
        im_measured_free(&m);
    }
    if (ok) ok = (out->recognizer = strdup(l.info.path)) || im_fail(c, "out of memory for a path");
    im_lens_free(&l);
    return ok;
}

static bool compare(im_ctx *c, const im_compare_args *a, const im_lens *l, const im_measured m[2], im_comparison *out)
{
    const im_feature_file *x = &m[0].f, *y = &m[1].f;
    if (!im_prdc(c, x->features, x->n, y->features, y->n, x->width, a->k, out)) return false;
    out->frechet = im_frechet(c, x->features, x->n, y->features, y->n, x->width);
    for (int i = 0; i < 2 && im_ok(c); i++) {
        out->pictures[i] = m[i].f.n;
        out->vendi[i] = im_vendi(c, m[i].f.features, m[i].f.n, x->width);
        if (!a->recognizer) out->recognizability[i] = recognizability(c, l, &m[i]);
    }
    out->width = x->width;
    out->size = m[0].size;
    return im_ok(c) && ((out->weights = strdup(l->info.path)) || im_fail(c, "out of memory for a path"));
}

/* CMMD (Jayasumana et al. 2024, arXiv 2401.09603) of CLIP's features of both sets. */
static bool compare_clip(im_ctx *c, const im_compare_args *a, const im_measured m[2], im_comparison *out)
{
    im_zero_shot z;
    im_classifier_info info;
    float *x[2] = { NULL, NULL };
    im_run_args run = { .batch = a->measure.batch, .progress = a->measure.progress, .arg = a->measure.arg };
    bool ok = im_zero_shot_open(c, a->clip, NULL, NULL, &z, &info);
    for (int i = 0; ok && i < 2; i++) ok = (x[i] = im_zero_shot_features(c, &z, m[i].d, &run)) != NULL;
    if (ok) out->cmmd = im_cmmd(c, x[0], m[0].d->count, x[1], m[1].d->count, im_clip_pair_width(z.pair));
    free(x[0]);
    free(x[1]);
    im_zero_shot_free(&z);
    im_classifier_info_free(&info);
    return ok && im_ok(c);
}

bool im_compare(im_ctx *c, const im_compare_args *a, im_comparison *out)
{
    static const char *const which[] = { "1", "2" };
    im_lens l = { .m = NULL };
    im_measured m[2] = { { .d = NULL }, { .d = NULL } };
    *out = (im_comparison){ .recognizability = { NAN, NAN }, .cmmd = NAN };
    bool ok = im_lens_open(c, &a->measure, &l);
    for (int i = 0; ok && i < 2; i++) {
        char *save = a->save_features ? im_features_name(c, a->save_features, which[i]) : NULL;
        ok = im_ok(c) && im_measure(c, &l, &(im_measured_args){ .data = a->sets[i], .save_features = save }, &m[i]);
        free(save);
    }
    ok = ok && compare(c, a, &l, m, out) && (!a->recognizer || recognize(c, a, out))
      && (!a->clip || compare_clip(c, a, m, out));
    for (int i = 0; i < 2; i++) im_measured_free(&m[i]);
    im_lens_free(&l);
    if (!ok) im_comparison_free(out);
    return ok;
}

void im_comparison_free(im_comparison *r)
{
    free(r->weights);
    free(r->recognizer);
    *r = (im_comparison){ .weights = NULL };
}
