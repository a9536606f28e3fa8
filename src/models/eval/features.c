/* features.c: see features.h. Used by weights/report, `imago eval --save-features`, transfer.c, analyze.c, compare.c. */
#define _GNU_SOURCE
#include "models/eval/features.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/files/file.h"
#include "data/files/safetensors.h"
#include "data/files/sha256.h"

/* ---------------------------------------------------------------- in memory */

static bool take(void *arg, const im_seen *s)
{
    im_features *out = arg;
    memcpy(out->features + s->index * out->width, s->features, (size_t)out->width * sizeof(float));
    memcpy(out->logits + s->index * out->classes, s->logits, (size_t)out->classes * sizeof(float));
    int best = 0;
    for (int k = 1; k < out->classes; k++)
        if (s->logits[k] > s->logits[best]) best = k;
    out->named[s->index] = best;
    return true;
}

bool im_features_of(im_ctx *c, im_classifier *m, int classes, const im_dataset *d, const im_run_args *a, im_features *out)
{
    *out = (im_features){ .n = d->count, .width = im_classifier_width(m), .classes = classes };
    size_t n = (size_t)d->count + 1;
    out->features = malloc(n * (size_t)out->width * sizeof *out->features);
    out->logits = malloc(n * (size_t)classes * sizeof *out->logits);
    out->named = malloc(n * sizeof *out->named);
    if (!out->features || !out->logits || !out->named)
        return im_fail(c, "out of memory for the features of %lld pictures", (long long)d->count);
    im_run_args strict = *a;
    strict.strict = true;
    return im_run_set(c, m, classes, d, &strict, take, out, NULL);
}

void im_features_free(im_features *f)
{
    free(f->features);
    free(f->logits);
    free(f->named);
    *f = (im_features){ .n = 0 };
}

/* ---------------------------------------------------------------- writing a file */

enum { FEATURES, LABELS, LOGITS, TENSORS };

struct im_features_out {
    im_ctx *c;
    const im_dataset *d;
    im_st_writer *w;
    int width, classes;
    int64_t *labels;                                           /* (d->count)                                          */
    int64_t n;
    char *path;
};

static char *list_text(im_ctx *c, const char *(*name)(const void *of, int64_t i), const void *of, int64_t n)
{
    json_t *list = json_array();
    for (int64_t i = 0; list && i < n; i++) {
        json_t *text = json_string(name(of, i));
        json_array_append_new(list, text ? text : json_string("?"));                        /* a name that is not UTF-8 */
    }
    char *text = json_dumps(list, JSON_COMPACT);
    json_decref(list);
    if (!text) im_fail(c, "out of memory for the names of %lld pictures", (long long)n);
    return text;
}

static const char *sample_name(const void *of, int64_t i) { return ((const im_dataset *)of)->samples[i].name; }
static const char *class_name(const void *of, int64_t i) { return ((const char *const *)of)[i]; }

/* Features that are there are written anew; any other file is not ours to replace. */
static bool may_replace(im_ctx *c, const char *path)
{
    if (!im_is_file(path)) return im_ok(c);
    im_safetensors *s = im_st_open(c, path);
    bool ours = im_st_find(s, "features") && im_st_find(s, "labels");
    im_st_close(s);
    im_clear_error(c);
    return ours || im_fail(c, "%s: is there already and holds no features; name another file, or remove it", path);
}

im_features_out *im_features_create(im_ctx *c, const char *path, const im_dataset *d, int width, int classes,
                                    const char *const names[], int n_names)
{
    if (!im_ok(c) || !may_replace(c, path)) return NULL;
    im_features_out *o = calloc(1, sizeof *o);
    char *pictures = list_text(c, sample_name, d, d->count), *kinds = list_text(c, class_name, names, n_names);
    if (!o) im_fail(c, "%s: out of memory", path);
    if (o) {
        *o = (im_features_out){ .c = c, .d = d, .width = width, .classes = classes };
        o->labels = malloc(((size_t)d->count + 1) * sizeof *o->labels);
        o->path = im_copy_text(c, path, strlen(path));
        if (!o->labels) im_fail(c, "%s: out of memory for %lld labels", path, (long long)d->count);
        const char *const metadata[] = { "names", pictures ? pictures : "", "classes", kinds ? kinds : "" };
        const im_st_entry entries[TENSORS] = {
            [FEATURES] = { .name = "features", .dtype = IM_F32, .ndim = 2, .shape = { d->count, width } },
            [LABELS] = { .name = "labels", .dtype = -1, .dtype_name = "I64", .ndim = 1, .shape = { d->count } },
            [LOGITS] = { .name = "logits", .dtype = IM_F32, .ndim = 2, .shape = { d->count, classes } }
        };
        o->w = im_st_create(c, path, entries, classes ? TENSORS : LOGITS, metadata, 2);
    }
    free(pictures);
    free(kinds);
    if (im_ok(c)) return o;
    im_features_abandon(o);
    return NULL;
}

bool im_features_add(void *out, const im_seen *s)
{
    im_features_out *o = out;
    size_t row = (size_t)o->width * sizeof(float), logits = (size_t)o->classes * sizeof(float);
    o->labels[s->index] = s->label;
    o->n++;
    return im_st_put_part(o->c, o->w, FEATURES, s->features, row, (uint64_t)s->index * row)
        && (!o->classes || im_st_put_part(o->c, o->w, LOGITS, s->logits, logits, (uint64_t)s->index * logits));
}

void im_features_abandon(im_features_out *o)
{
    if (!o) return;
    im_st_abandon(o->w);
    free(o->labels);
    free(o->path);
    free(o);
}

bool im_features_finish(im_ctx *c, im_features_out *o)
{
    if (!o) return false;
    bool ok = im_ok(c) && (o->n == o->d->count ||
                           im_fail(c, "%s: %lld of %lld pictures of %s could not be read; features need every one: remove "
                                      "the broken ones (imago data names them)", o->path, (long long)(o->d->count - o->n),
                                   (long long)o->d->count, o->d->path));
    ok = ok && im_st_put(c, o->w, LABELS, o->labels, (size_t)o->d->count * sizeof *o->labels);
    if (ok) {
        ok = im_st_finish(c, o->w);
        o->w = NULL;
    }
    im_features_abandon(o);
    return ok;
}

char *im_features_name(im_ctx *c, const char *path, const char *of)
{
    static const char end[] = ".safetensors";
    size_t n = strlen(path), last = sizeof end - 1;
    bool has = n > last && !strcmp(path + n - last, end);
    char *name = NULL;
    if (asprintf(&name, "%.*s.%s%s", (int)(has ? n - last : n), path, of, end) >= 0) return name;
    im_fail(c, "%s: out of memory", path);
    return NULL;
}

/* ---------------------------------------------------------------- reading one */

static const im_st_entry *entry(im_ctx *c, const im_safetensors *s, const char *path, const char *name, int ndim,
                                const char *type)
{
    const im_st_entry *e = im_st_find(s, name);
    if (e && e->ndim == ndim && !strcmp(e->dtype_name, type)) return e;
    im_fail(c, "%s: has no tensor \"%s\" of %d axes in %s; wanted a file of features", path, name, ndim, type);
    return NULL;
}

bool im_features_open(im_ctx *c, const char *path, im_feature_file *out)
{
    *out = (im_feature_file){ .file = im_st_open(c, path) };
    if (!out->file) return false;
    const im_st_entry *f = entry(c, out->file, path, "features", 2, "F32");
    const im_st_entry *l = f ? entry(c, out->file, path, "labels", 1, "I64") : NULL, *y = im_st_find(out->file, "logits");
    if (l && (l->shape[0] != f->shape[0] || f->shape[1] < 1 || f->shape[1] > INT32_MAX
              || (y && (y->ndim != 2 || y->shape[0] != f->shape[0] || strcmp(y->dtype_name, "F32")))))
        im_fail(c, "%s: its tensors are not of the same pictures; wanted a file of features", path);
    if (im_ok(c) && y && (y->shape[1] < 1 || y->shape[1] > INT32_MAX))
        im_fail(c, "%s: its tensor \"logits\" is of %lld classes; wanted 1 to %d", path, (long long)y->shape[1], INT32_MAX);
    if (!im_ok(c)) {
        im_features_close(out);
        return false;
    }
    out->n = f->shape[0];
    out->width = (int)f->shape[1];
    out->features = f->data;
    out->labels = l->data;
    out->logits = y ? y->data : NULL;
    out->classes = y ? (int)y->shape[1] : 0;
    return true;
}

void im_features_close(im_feature_file *f)
{
    im_st_close(f->file);
    *f = (im_feature_file){ 0 };
}

/* ---------------------------------------------------------------- beside the weights */

/* A name for what features depend on: 32 hex digits. */
static bool key_of(im_ctx *c, const im_classifier_info *info, const im_dataset *d, const im_run_args *a, char key[40])
{
    char weights[65], set[65], text[300], hex[65];
    if (!im_sha256_file(c, info->path, weights) || !im_dataset_hash(c, d, true, set)) return false;
    snprintf(text, sizeof text, "1 %s %s %d %d %s %s", weights, set, a->size, a->whole, im_device_name(c),
             im_device_isa(c));
    if (!im_sha256_of(c, text, strlen(text), hex)) return false;
    snprintf(key, 40, "%.32s", hex);
    return true;
}

/* Where the file lies, malloc'd; *temporary: nothing can be written beside the weights. */
static char *place_of(im_ctx *c, const char *model, const char *key, bool *temporary)
{
    char name[300], *folder = NULL;
    const char *tmp = getenv("TMPDIR");
    if (im_is_folder(model)) folder = im_join(c, model, "features");
    else if (asprintf(&folder, "%s.features", model) < 0) folder = NULL;
    *temporary = !folder || !im_make_folder(c, folder) || access(folder, W_OK);
    if (*temporary) im_clear_error(c);
    snprintf(name, sizeof name, *temporary ? "imago-features-%s-%ld.safetensors" : "%s.safetensors", key, (long)getpid());
    char *path = im_join(c, *temporary ? tmp && *tmp ? tmp : "/tmp" : folder, name);
    free(folder);
    return path;
}

static bool extract(im_ctx *c, im_classifier *m, const im_classifier_info *info, const im_dataset *d, const im_run_args *a,
                    const char *path)
{
    im_features_out *o = im_features_create(c, path, d, im_classifier_width(m), info->config.classes, d->classes,
                                            d->n_classes);
    bool ok = o && im_run_set(c, m, info->config.classes, d, a, im_features_add, o, NULL);
    if (ok) return im_features_finish(c, o);
    im_features_abandon(o);
    return false;
}

bool im_features_cached(im_ctx *c, im_classifier *m, const im_classifier_info *info, const char *model,
                        const im_dataset *d, const im_run_args *a, im_feature_file *out)
{
    char key[40];
    bool temporary = false;
    *out = (im_feature_file){ 0 };
    char *path = im_ok(c) && key_of(c, info, d, a, key) ? place_of(c, model, key, &temporary) : NULL;
    bool ok = path && !temporary && im_is_file(path) && im_features_open(c, path, out);
    if (path && !ok) {
        im_clear_error(c);                                     /* a damaged file is made anew                         */
        ok = extract(c, m, info, d, a, path) && im_features_open(c, path, out);
        if (temporary) unlink(path);                           /* what is mapped stays                                */
    }
    free(path);
    return ok;
}
