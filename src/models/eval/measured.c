/* measured.c: see measured.h. */
#include "models/eval/measured.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { USUAL_SIZE = 224 };

im_measure_args im_measure_defaults(void)
{
    return (im_measure_args){ .batch = 32 };
}

bool im_lens_open(im_ctx *c, const im_measure_args *a, im_lens *out)
{
    *out = (im_lens){ .a = *a };
    if (out->a.batch < 1) out->a.batch = im_measure_defaults().batch;
    out->m = im_classifier_open(c, a->model, &out->info);
    return out->m != NULL;
}

void im_lens_free(im_lens *l)
{
    im_classifier_free(l->m);
    im_classifier_info_free(&l->info);
    *l = (im_lens){ .m = NULL };
}

/* A number that is not finite would be one in every result. */
static bool all_finite(im_ctx *c, const im_lens *l, const im_measured *m)
{
    for (int64_t i = 0; i < m->f.n; i++) {
        const float *x = m->f.features + i * m->f.width, *y = m->f.logits + i * m->f.classes;
        bool ok = true;
        for (int k = 0; k < m->f.width; k++) ok &= isfinite(x[k]) != 0;
        for (int k = 0; k < m->f.classes; k++) ok &= isfinite(y[k]) != 0;
        if (!ok)
            return im_fail(c, "%s: of %s gives a feature or logit that is not finite with %s; the network's weights are "
                           "damaged, or a training has gone astray", m->d->samples[i].name, m->d->path, l->info.path);
    }
    return true;
}

static bool save(im_ctx *c, const char *path, const im_measured *m)
{
    im_features_out *o = im_features_create(c, path, m->d, m->f.width, 0, m->d->classes, m->d->n_classes);
    bool ok = o != NULL;
    for (int64_t i = 0; ok && i < m->f.n; i++)
        ok = im_features_add(o, &(im_seen){ .index = i, .label = m->d->samples[i].label,
                                            .features = m->f.features + i * m->f.width, .logits = NULL });
    if (ok) return im_features_finish(c, o);
    im_features_abandon(o);
    return false;
}

bool im_measure(im_ctx *c, im_lens *l, const im_measured_args *a, im_measured *out)
{
    *out = (im_measured){ .size = l->a.size > 0 ? l->a.size : l->info.size > 0 ? l->info.size : USUAL_SIZE };
    out->d = im_dataset_open(c, &(im_dataset_args){ .path = a->data, .classes = l->a.classes, .strict = l->a.strict,
                                                    .min_classes = a->min_classes });
    if (!out->d || (a->set && strcmp(a->set, "folder") && !im_fit_set(c, a->set, out->d, &l->info, &out->fit)))
        return false;
    if (out->d->n_broken)
        im_warn(c, "%s: left out %lld of its files, which no picture can be read from, the first %s: %s", a->data,
                (long long)out->d->n_broken, out->d->broken[0].name, out->d->broken[0].reason);
    im_run_args run = { .batch = l->a.batch, .size = out->size, .whole = a->whole, .strict = l->a.strict,
                        .progress = l->a.progress, .arg = l->a.arg };
    if (!im_features_cached(c, l->m, &l->info, l->a.model, out->d, &run, &out->f)) return false;
    if (out->f.n != out->d->count || out->f.classes != l->info.config.classes)
        return im_fail(c, "%s: its features are of other pictures: the set changes while it is read", a->data);
    if (!all_finite(c, l, out)) return false;
    return !a->save_features || save(c, a->save_features, out);
}

void im_measured_free(im_measured *m)
{
    im_features_close(&m->f);
    im_fit_free(&m->fit);
    im_dataset_free(m->d);
    *m = (im_measured){ .d = NULL };
}

int im_best_class(const float *logits, int classes, const uint8_t *allowed)
{
    int best = -1;
    for (int k = 0; k < classes; k++)
        if ((!allowed || allowed[k]) && (best < 0 || logits[k] > logits[best])) best = k;
    return best;
}

int im_map_classes(const im_classifier_info *info, const im_dataset *d, int *map)
{
    int found = 0;
    for (int k = 0; k < d->n_classes; k++) {
        map[k] = !info->n_names && d->n_classes == info->config.classes ? k : -1;
        for (int i = 0; i < info->n_names; i++)
            if (!strcmp(info->names[i], d->classes[k])) map[k] = i;
        found += map[k] >= 0;
    }
    return found;
}
