/* train_config.c: config.json of a run (train_config.h). Keys are the names of options, so that a reader of the file knows
 * what to type. Used by train_loop.c, train_resnet.c. */
#include "models/train/train_config.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/files/json.h"

struct im_train_config { im_json json; };

#define AT(field) offsetof(im_train_common, field)
const im_field im_train_common_fields[] = {
    { "data", IM_FIELD_TEXT, AT(data), false },                /* compared by its hash                                */
    { "init", IM_FIELD_TEXT, AT(init), false },                /* the first checkpoint has what came of it            */
    { "epochs", IM_FIELD_INT, AT(epochs), true },
    { "steps", IM_FIELD_INT, AT(steps), true },
    { "batch", IM_FIELD_INT, AT(batch), true },
    { "accumulate", IM_FIELD_INT, AT(accumulate), true },
    { "lr", IM_FIELD_REAL, AT(lr), true },
    { "warmup", IM_FIELD_REAL, AT(warmup), true },
    { "schedule", IM_FIELD_TEXT, AT(schedule), true },
    { "optimizer", IM_FIELD_TEXT, AT(optimizer), true },
    { "momentum", IM_FIELD_REAL, AT(momentum), true },
    { "nesterov", IM_FIELD_FLAG, AT(nesterov), true },
    { "decay", IM_FIELD_REAL, AT(decay), true },
    { "clip", IM_FIELD_REAL, AT(clip), true },
    { "ema", IM_FIELD_REAL, AT(ema), true },
    { "seed", IM_FIELD_SEED, AT(seed), true },
    { "dtype", IM_FIELD_TEXT, AT(dtype), true },
    { "order", IM_FIELD_TEXT, AT(order), true },
    { "cache", IM_FIELD_TEXT, AT(cache), true },               /* pictures of a cache are not shrunk while decoding   */
    { "workers", IM_FIELD_INT, AT(workers), false },
    { "keep", IM_FIELD_INT, AT(keep), false },
    { "checkpoint-every", IM_FIELD_INT, AT(checkpoint_every), false },
    { "strict", IM_FIELD_FLAG, AT(strict), false },
    { NULL, IM_FIELD_TEXT, 0, false }
};

double im_decimal(float x)
{
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)x);
        if (strtof(text, NULL) == x)
            break;
    }
    return strtod(text, NULL);
}

/* ---------------------------------------------------------------- writing */

static bool is_path(const char *name)
{
    static const char *const paths[] = { "data", "init", "val", "classes", "config", "vae", "favour" };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (!strcmp(name, paths[i]))
            return true;
    return false;
}

static json_t *text_value(const char *name, const char *text)
{
    char *whole = text && is_path(name) ? realpath(text, NULL) : NULL;   /* patterns of shards are no path: as given  */
    json_t *v = text ? json_string(whole ? whole : text) : json_null();
    free(whole);
    return v;
}

static json_t *value_of(const im_field *f, const void *args)
{
    const void *at = (const char *)args + f->at;
    switch (f->kind) {
    case IM_FIELD_INT:  return json_integer(*(const int *)at);
    case IM_FIELD_REAL: return json_real(im_decimal(*(const float *)at));
    case IM_FIELD_FLAG: return json_boolean(*(const bool *)at);
    case IM_FIELD_SEED: return json_sprintf("%llu", (unsigned long long)*(const uint64_t *)at);  /* 64 bits: no number */
    default:            return text_value(f->name, *(const char *const *)at);
    }
}

static void add_extra(im_ctx *c, json_t *root, const im_config_extra *e)
{
    json_object_set_new(root, "imago", json_string(IM_VERSION));
    json_object_set_new(root, "task", json_string(e->task));
    json_object_set_new(root, "device", json_string(im_device_name(c)));
    json_object_set_new(root, "isa", json_string(im_device_isa(c)));
    if (e->data_sha256)
        json_object_set_new(root, "data-sha256", json_string(e->data_sha256));
    if (e->vae_sha256)
        json_object_set_new(root, "vae-sha256", json_string(e->vae_sha256));
    if (e->config_sha256)
        json_object_set_new(root, "config-sha256", json_string(e->config_sha256));
    if (e->favour_sha256)
        json_object_set_new(root, "favour-sha256", json_string(e->favour_sha256));
    json_object_set_new(root, "pictures", json_integer(e->pictures));
    if (!e->n_classes)
        return;
    json_t *list = json_array();
    for (int i = 0; i < e->n_classes; i++)
        json_array_append_new(list, json_string(e->classes[i]));
    json_object_set_new(root, "class-names", list);
}

char *im_config_text(im_ctx *c, const im_field *const tables[], int n, const void *args, const im_config_extra *extra)
{
    json_t *root = json_object();
    add_extra(c, root, extra);
    for (int t = 0; t < n; t++)
        for (const im_field *f = tables[t]; f->name; f++)
            json_object_set_new(root, f->name, value_of(f, args));
    char *text = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(12));
    json_decref(root);
    size_t size = text ? strlen(text) + 2 : 0;
    char *out = text ? malloc(size) : NULL;
    if (out)
        snprintf(out, size, "%s\n", text);
    else
        im_fail(c, "out of memory for config.json");
    free(text);
    return out;
}

/* ---------------------------------------------------------------- reading */

/* The value in words, as it would be typed. */
static void words(const json_t *v, char *out, size_t size)
{
    if (json_is_string(v))
        snprintf(out, size, "%s", json_string_value(v));
    else if (json_is_integer(v))
        snprintf(out, size, "%lld", (long long)json_integer_value(v));
    else if (json_is_real(v))
        snprintf(out, size, "%.9g", json_real_value(v));
    else
        snprintf(out, size, "%s", json_is_true(v) ? "yes" : json_is_false(v) ? "no" : "none");
}

/* Puts the value of the file into its field; false where its type is another. */
static bool take(const im_field *f, const json_t *v, void *args)
{
    void *at = (char *)args + f->at;
    bool ok = true;
    if (!v)
        return true;                                           /* a file of an older version: the default stays       */
    switch (f->kind) {
    case IM_FIELD_INT:  if ((ok = json_is_integer(v))) *(int *)at = (int)json_integer_value(v); break;
    case IM_FIELD_REAL: if ((ok = json_is_number(v))) *(float *)at = (float)json_number_value(v); break;
    case IM_FIELD_FLAG: if ((ok = json_is_boolean(v))) *(bool *)at = json_is_true(v); break;
    case IM_FIELD_SEED: if ((ok = json_is_string(v))) *(uint64_t *)at = strtoull(json_string_value(v), NULL, 10); break;
    default:
        ok = json_is_string(v) || json_is_null(v);
        *(const char **)at = json_string_value(v);
    }
    return ok;
}

typedef struct differences { char text[2000]; size_t used; } differences;

static void note(differences *d, const char *name, const json_t *theirs, const json_t *ours)
{
    char a[200], b[200];
    words(theirs, a, sizeof a);
    words(ours, b, sizeof b);
    if (d->used >= sizeof d->text)
        return;
    int n = snprintf(d->text + d->used, sizeof d->text - d->used, "%s--%s is %s there and %s here", d->used ? ", " : "",
                     name, a, b);
    d->used += (size_t)n;
}

/* A file of an older version, without the field, meant what is meant today where nothing is said. */
static bool merge_field(im_ctx *c, const im_field *f, const im_train_config *file, void *args, const void *defaults,
                        bool is_given, differences *d)
{
    json_t *theirs = json_object_get(file->json.value, f->name);
    if (!is_given)
        return take(f, theirs, args) || im_fail(c, "%s: \"%s\" is of another type than the option", file->json.file,
                                                f->name);
    json_t *ours = value_of(f, args);
    theirs = theirs ? json_incref(theirs) : value_of(f, defaults);
    bool same = f->kind == IM_FIELD_REAL && json_is_number(theirs)
                ? (float)json_number_value(theirs) == (float)json_number_value(ours) : json_equal(theirs, ours);
    if (f->decides && !same)
        note(d, f->name, theirs, ours);
    json_decref(theirs);
    json_decref(ours);
    return true;
}

im_train_config *im_config_merge(im_ctx *c, const char *run, const char *task, const im_field *const tables[], int n,
                                 void *args, const void *defaults, bool (*given)(void *arg, const char *option),
                                 void *arg)
{
    char *path = *run ? im_join(c, run, "config.json") : NULL;
    if (!path || !im_is_file(path)) {
        free(path);
        return NULL;
    }
    im_train_config *f = calloc(1, sizeof *f);
    differences d = { .used = 0 };
    const char *theirs = "";
    bool ok = f || im_fail(c, "%s: out of memory", path);
    ok = ok && im_json_load(c, &f->json, path, IM_JSON_CONFIG_BYTES) &&
         im_json_string(c, &f->json, "task", IM_MUST, &theirs);
    if (ok && strcmp(theirs, task))
        ok = im_fail(c, "%s: is a run of `imago train %s`, not of `imago train %s`", path, theirs, task);
    for (int t = 0; ok && t < n; t++)
        for (const im_field *q = tables[t]; ok && q->name; q++)
            ok = merge_field(c, q, f, args, defaults, given(arg, q->name), &d);
    if (ok && d.used)
        ok = im_fail(c, "%s: this is another run: %s; leave these options out to go on with it, or choose another folder",
                     run, d.text);
    free(path);
    if (ok)
        return f;
    im_train_config_free(f);
    return NULL;
}

void im_train_config_free(im_train_config *f)
{
    if (f)
        im_json_close(&f->json);
    free(f);
}

/* must: a run without the hash is another run too; else it may be older than the hash. */
static bool same_hash(im_ctx *c, const im_json *j, const char *key, const char *ours, bool must, const char *run,
                      const char *what)
{
    const char *theirs = NULL;
    if (!im_json_string(c, j, key, IM_MAY, &theirs))
        return false;
    if (!ours || (theirs ? !strcmp(theirs, ours) : !must))
        return true;
    return im_fail(c, "%s: this is another run: %s; give what was given then, or choose another folder", run, what);
}

bool im_config_same_data(im_ctx *c, const char *run, const im_config_extra *extra)
{
    char *path = im_join(c, run, "config.json");
    im_json j = { 0 };
    const char *hash = NULL;
    bool ok = path && im_json_load(c, &j, path, IM_JSON_CONFIG_BYTES);
    json_t *list = ok ? json_object_get(j.value, "class-names") : NULL;
    if (ok && (int)json_array_size(list) != extra->n_classes)
        ok = im_fail(c, "%s: this is another run: it has %d classes, the pictures given have %d", run,
                     (int)json_array_size(list), extra->n_classes);
    for (int i = 0; ok && i < extra->n_classes; i++) {
        const char *theirs = json_string_value(json_array_get(list, (size_t)i));
        if (!theirs || strcmp(theirs, extra->classes[i]))
            ok = im_fail(c, "%s: this is another run: its class %d is \"%s\", that of the pictures given is \"%s\"", run, i,
                         theirs ? theirs : "", extra->classes[i]);
    }
    if (ok && im_json_string(c, &j, "data-sha256", IM_MAY, &hash) && hash && extra->data_sha256 &&
        strcmp(hash, extra->data_sha256))
        ok = im_fail(c, "%s: this is another run: it saw %lld pictures, and those given now (%lld) have other names, sizes "
                     "or labels; give the set of then, or choose another folder", run,
                     (long long)json_integer_value(json_object_get(j.value, "pictures")), (long long)extra->pictures);
    ok = ok && same_hash(c, &j, "vae-sha256", extra->vae_sha256, false, run,
                         "its autoencoder had other weights than the one given now") &&
         same_hash(c, &j, "config-sha256", extra->config_sha256, false, run,
                   "the configurations, tokenizer or scheduler of --config were others than now") &&
         same_hash(c, &j, "favour-sha256", extra->favour_sha256, true, run,
                   "the things that it shows more often are others than those of --favour now");
    im_json_close(&j);
    free(path);
    return ok;
}
