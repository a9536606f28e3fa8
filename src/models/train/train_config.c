/* train_config.c: config.json of a run (train_config.h). Keys are the names of options, so that a reader of the file knows
 * what to type. Used by train_loop.c, train_state.c and by the trainings. */
#include "models/train/train_config.h"

#include <jansson.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/files/utf8.h"

struct im_train_config { im_json json; };

#define AT(field) offsetof(im_train_common, field)
const im_field im_train_common_fields[] = {
    IM_TEXT_FIELD("data", AT(data), IM_PATH | IM_MUST_BE),     /* compared by its hash                                */
    IM_TEXT_FIELD("init", AT(init), IM_PATH),                  /* the first checkpoint has what came of it            */
    IM_INT_FIELD("epochs", AT(epochs), IM_DECIDES, { 1, 1000000 }),
    IM_INT_FIELD("steps", AT(steps), IM_DECIDES, { 0, INT_MAX }),
    IM_INT_FIELD("batch", AT(batch), IM_DECIDES, { 1, 65536 }),
    IM_INT_FIELD("accumulate", AT(accumulate), IM_DECIDES, { 1, 65536 }),
    IM_REAL_FIELD("lr", AT(lr), IM_DECIDES, { 1e-12, 1e30, .has_unset = true, .unset = 0 }),
    IM_REAL_FIELD("warmup", AT(warmup), IM_DECIDES, { 0, 1e6, .has_unset = true, .unset = -1 }),
    IM_WORD_FIELD("schedule", AT(schedule), IM_DECIDES, "cosine|step|constant"),
    IM_WORD_FIELD("optimizer", AT(optimizer), IM_DECIDES, "sgd|adamw|lars"),
    IM_REAL_FIELD("momentum", AT(momentum), IM_DECIDES, { 0, 1 }),
    IM_FLAG_FIELD("nesterov", AT(nesterov), IM_DECIDES),
    IM_REAL_FIELD("decay", AT(decay), IM_DECIDES, { 0, 1000, .has_unset = true, .unset = -1 }),
    IM_REAL_FIELD("clip", AT(clip), IM_DECIDES, { 0, 1e9 }),
    IM_REAL_FIELD("ema", AT(ema), IM_DECIDES, { 0, 1, .below = true }),     /* 1 would keep the first weights for ever */
    IM_SEED_FIELD("seed", AT(seed), IM_DECIDES),
    IM_WORD_FIELD("dtype", AT(dtype), IM_DECIDES, "f32|bf16"),
    IM_WORD_FIELD("order", AT(order), IM_DECIDES, "shuffled|listed"),
    IM_WORD_FIELD("cache", AT(cache), IM_DECIDES, "none|ram|disk"),         /* its pictures are not shrunk on decoding */
    IM_INT_FIELD("workers", AT(workers), 0, { 0, 256 }),
    IM_INT_FIELD("keep", AT(keep), 0, { 1, 1000000 }),
    IM_INT_FIELD("checkpoint-every", AT(checkpoint_every), 0, { 0, INT_MAX }),
    IM_FLAG_FIELD("recompute", AT(recompute), 0),
    IM_FLAG_FIELD("strict", AT(strict), 0),
    IM_NO_FIELD
};

/* ---------------------------------------------------------------- writing */

/* The keys of what the options do not say. Those of files and pictures decide as options do. */
static const char *const extra_keys[] = { "task", "data-sha256", "vae-sha256", "config-sha256", "favour-sha256",
                                          "base-sha256", "pictures", "class-names" };

static json_t *names_json(im_ctx *c, const char *const names[], int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        char what[200];
        snprintf(what, sizeof what, "the name of class %d, \"%.120s\"", i, names[i]);
        if (!im_utf8_check(c, what, names[i], strlen(names[i])))
            break;
        json_array_append_new(list, json_string(names[i]));
    }
    return list;
}

static void add_extra(im_ctx *c, json_t *root, const im_config_extra *e)
{
    const char *const texts[][2] = { { "imago", IM_VERSION }, { "task", e->task }, { "device", im_device_name(c) },
                                     { "isa", im_device_isa(c) }, { "data-sha256", e->data_sha256 },
                                     { "vae-sha256", e->vae_sha256 }, { "config-sha256", e->config_sha256 },
                                     { "favour-sha256", e->favour_sha256 }, { "base-sha256", e->base_sha256 } };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (texts[i][1])
            json_object_set_new(root, texts[i][0], json_string(texts[i][1]));
    json_object_set_new(root, "pictures", json_integer(e->pictures));
    if (e->n_classes)
        json_object_set_new(root, "class-names", names_json(c, e->classes, e->n_classes));
}

char *im_config_text(im_ctx *c, const im_field *const tables[], const void *args, const im_config_extra *extra)
{
    json_t *root = json_object();
    add_extra(c, root, extra);
    for (; *tables && im_ok(c); tables++)
        for (const im_field *f = *tables; f->name && im_ok(c); f++)
            json_object_set_new(root, f->name, im_field_json(c, f, args));
    char *text = im_ok(c) ? json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(12)) : NULL;
    json_decref(root);
    size_t size = text ? strlen(text) + 2 : 0;
    char *out = text ? malloc(size) : NULL;
    if (out)
        snprintf(out, size, "%s\n", text);
    else if (im_ok(c))
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

typedef struct list { char text[2000]; size_t used; } list;     /* "a, b, c", cut where it is too long                 */

static void list_add(list *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void list_add(list *l, const char *fmt, ...)
{
    va_list ap;
    if (l->used + 2 >= sizeof l->text)
        return;
    if (l->used)
        l->used += (size_t)snprintf(l->text + l->used, sizeof l->text - l->used, ", ");
    va_start(ap, fmt);
    int n = vsnprintf(l->text + l->used, sizeof l->text - l->used, fmt, ap);
    va_end(ap);
    l->used = l->used + (size_t)n < sizeof l->text ? l->used + (size_t)n : sizeof l->text - 1;
}

/* option: "--" before the name of one. */
static void add_difference(list *l, const char *option, const char *name, const json_t *theirs, const json_t *ours)
{
    char a[200], b[200];
    words(theirs, a, sizeof a);
    words(ours, b, sizeof b);
    list_add(l, "%s%s is %s there and %s here", option, name, a, b);
}

/* Numbers as the floats that they become. */
static bool same_value(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return (float)json_number_value(a) == (float)json_number_value(b);
    return json_equal(a, b);
}

static const char *const length_keys[] = { "steps", "epochs" };

static bool is_length(const char *name)
{
    return !strcmp(name, length_keys[0]) || !strcmp(name, length_keys[1]);
}

typedef struct merge {
    const im_json *file;
    void *args, *theirs;                                       /* of the caller; of the run                           */
    bool steps_may, epochs_may;                                /* be another number                                   */
    list other, missing;                                       /* what was given and is other; what the file lacks     */
} merge;

/* An option that was given is compared, one that was not is taken over. */
static bool merge_field(im_ctx *c, merge *m, const im_field *f, bool is_given)
{
    static const size_t sizes[] = { [IM_FIELD_TEXT] = sizeof(char *), [IM_FIELD_INT] = sizeof(int),
                                    [IM_FIELD_REAL] = sizeof(float), [IM_FIELD_FLAG] = sizeof(bool),
                                    [IM_FIELD_SEED] = sizeof(uint64_t) };
    if (!is_given) {
        memcpy((char *)m->args + f->at, (char *)m->theirs + f->at, sizes[f->kind]);
        if (f->flags & IM_DECIDES && !json_object_get(m->file->value, f->name))
            list_add(&m->missing, "--%s", f->name);
        return true;
    }
    bool may = (m->steps_may && !strcmp(f->name, "steps")) || (m->epochs_may && !strcmp(f->name, "epochs"));
    json_t *a = im_field_json(c, f, m->theirs), *b = im_field_json(c, f, m->args);
    if (a && b && f->flags & IM_DECIDES && !same_value(a, b) && !may)
        add_difference(&m->other, "--", f->name, a, b);
    json_decref(a);
    json_decref(b);
    return im_ok(c);
}

static bool read_fields(im_ctx *c, const im_json *j, const im_field *const tables[], void *args)
{
    for (; *tables; tables++)
        for (const im_field *f = *tables; f->name; f++)
            if (!im_field_read(c, j, f, args))
                return false;
    return true;
}

static bool refuse(im_ctx *c, const char *run, const merge *m)
{
    const im_train_common *theirs = m->theirs;
    bool length = strstr(m->other.text, "--steps is") || strstr(m->other.text, "--epochs is");
    const char *why = " (its learning rate falls along a cosine to the last step, so that every rate depends on the number "
                      "of steps: to train the result further, begin a new run with --init)";
    return im_fail(c, "%s: this is another run: %s; leave these options out to go on with it, or choose another folder%s",
                   run, m->other.text, length && !im_config_may_grow(theirs) ? why : "");
}

bool im_config_may_grow(const im_train_common *a)
{
    return strcmp(a->schedule, "cosine") != 0;
}

im_train_config *im_config_merge(im_ctx *c, const char *run, const char *task, const im_field *const tables[], void *args,
                                 void *theirs, bool (*given)(void *arg, const char *option), void *arg)
{
    char *path = *run ? im_join(c, run, "config.json") : NULL;
    if (!path || !im_is_file(path)) {
        free(path);
        return NULL;
    }
    im_train_config *f = calloc(1, sizeof *f);
    const char *their_task = "";
    bool ok = f || im_fail(c, "%s: out of memory", path);
    ok = ok && im_json_load(c, &f->json, path, IM_JSON_CONFIG_BYTES) &&
         im_json_string(c, &f->json, "task", IM_MUST, &their_task);
    if (ok && strcmp(their_task, task))
        ok = im_fail(c, "%s: is a run of `imago train %s`, not of `imago train %s`", path, their_task, task);
    ok = ok && read_fields(c, &f->json, tables, theirs);
    merge m = { .file = f ? &f->json : NULL, .args = args, .theirs = theirs };
    const im_train_common *mine = args, *run_has = theirs;
    m.steps_may = ok && im_config_may_grow(run_has);
    m.epochs_may = m.steps_may && !(given(arg, "steps") ? mine : run_has)->steps;   /* with steps, epochs do not count */
    for (; ok && *tables; tables++)
        for (const im_field *q = *tables; ok && q->name; q++)
            ok = merge_field(c, &m, q, given(arg, q->name));
    if (ok && m.other.used)
        ok = refuse(c, run, &m);
    if (ok && m.missing.used)
        im_warn(c, "%s: does not say %s: the run is older than that, or the file was changed; what is missing is taken as "
                "it is today when nothing is said", path, m.missing.text);
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

/* ---------------------------------------------------------------- is it the same run? */

/* must: a run without the hash is another run too; else it may be older than the hash. */
static bool same_hash(im_ctx *c, const im_json *j, const char *key, const char *ours, bool must, const char *run,
                      const char *what)
{
    const char *theirs = NULL;
    if (!im_json_string(c, j, key, IM_IF_THERE, &theirs))
        return false;
    if (!ours || (theirs ? !strcmp(theirs, ours) : !must))
        return true;
    return im_fail(c, "%s: this is another run: %s; give what was given then, or choose another folder", run, what);
}

static bool same_classes(im_ctx *c, const im_json *j, const char *run, const im_config_extra *extra)
{
    int n = im_json_length(c, j, "class-names", extra->n_classes ? IM_MUST : IM_MAY, 0, INT_MAX);
    if (n < 0)
        return false;
    if (n != extra->n_classes)
        return im_fail(c, "%s: this is another run: it has %d classes, the pictures given have %d", run, n,
                       extra->n_classes);
    const char **theirs = calloc((size_t)n + 1, sizeof *theirs);
    bool ok = theirs || im_fail(c, "%s: out of memory for %d classes", run, n);
    ok = ok && (!n || im_json_strings(c, j, "class-names", IM_MUST, theirs, n));
    for (int i = 0; ok && i < n; i++)
        if (strcmp(theirs[i], extra->classes[i]))
            ok = im_fail(c, "%s: this is another run: its class %d is \"%s\", that of the pictures given is \"%s\"", run, i,
                         theirs[i], extra->classes[i]);
    free(theirs);
    return ok;
}

bool im_config_same_data(im_ctx *c, const char *run, const im_config_extra *extra)
{
    char *path = im_join(c, run, "config.json");
    im_json j = { 0 };
    const char *hash = NULL;
    int64_t pictures = 0;
    bool ok = path && im_json_load(c, &j, path, IM_JSON_CONFIG_BYTES) && same_classes(c, &j, run, extra) &&
              im_json_string(c, &j, "data-sha256", IM_MUST, &hash) &&
              im_json_long(c, &j, "pictures", IM_MUST, 0, INT64_MAX, &pictures);
    if (ok && extra->data_sha256 && strcmp(hash, extra->data_sha256))
        ok = im_fail(c, "%s: this is another run: it saw %lld pictures, and those given now (%lld) have other names, sizes "
                     "or labels; give the set of then, or choose another folder", run, (long long)pictures,
                     (long long)extra->pictures);
    ok = ok && same_hash(c, &j, "vae-sha256", extra->vae_sha256, false, run,
                         "its autoencoder had other weights than the one given now") &&
         same_hash(c, &j, "config-sha256", extra->config_sha256, false, run,
                   "the configurations, tokenizer or scheduler of --config were others than now") &&
         same_hash(c, &j, "favour-sha256", extra->favour_sha256, true, run,
                   "the things that it shows more often are others than those of --favour now") &&
         same_hash(c, &j, "base-sha256", extra->base_sha256, true, run,
                   "its LoRA stands beside a model with other weights than that of --init now");
    im_json_close(&j);
    free(path);
    return ok;
}

static void compare_key(const im_json *ours, const im_json *theirs, const char *option, const char *key, list *l)
{
    const json_t *a = json_object_get(theirs->value, key), *b = json_object_get(ours->value, key);
    if (a && b && !same_value(a, b))
        add_difference(l, option, key, a, b);
}

/* A run that was given more steps keeps the warm-up that it had: a number then stands where -1 was. */
static bool may_differ(const im_json *ours, const im_json *theirs, const char *key)
{
    bool longer = false;
    if (!strcmp(key, "warmup") && json_number_value(json_object_get(theirs->value, key)) < 0)
        for (int i = 0; i < 2; i++)
            longer |= !same_value(json_object_get(ours->value, length_keys[i]),
                                  json_object_get(theirs->value, length_keys[i]));
    return longer || is_length(key);
}

/* grown: theirs may be a shorter run of the same, where it may grow. */
static bool compare(im_ctx *c, const im_field *const tables[], const char *ours, const char *theirs, const char *path,
                    bool grown, list *l)
{
    static const char *const machine[] = { "imago", "isa" };
    im_json a = { 0 }, b = { 0 };
    const char *schedule = "";
    bool ok = im_json_parse(c, &a, "config.json", ours, strlen(ours)) &&
              im_json_parse(c, &b, path, theirs, strlen(theirs)) && im_json_string(c, &a, "schedule", IM_MUST, &schedule);
    bool may_grow = ok && grown && im_config_may_grow(&(im_train_common){ .schedule = schedule });
    for (; ok && *tables; tables++)
        for (const im_field *f = *tables; f->name; f++)
            if (f->flags & IM_DECIDES && !(may_grow && may_differ(&a, &b, f->name)))
                compare_key(&a, &b, "--", f->name, l);
    for (size_t i = 0; ok && i < sizeof extra_keys / sizeof *extra_keys; i++)
        compare_key(&a, &b, "", extra_keys[i], l);
    for (size_t i = 0; ok && !grown && i < sizeof machine / sizeof *machine; i++)
        compare_key(&a, &b, "", machine[i], l);
    im_json_close(&a);
    im_json_close(&b);
    return ok;
}

bool im_config_differences(im_ctx *c, const im_field *const tables[], const char *ours, const char *theirs,
                           const char *path, char *out, size_t size)
{
    list l = { .used = 0 };
    bool ok = compare(c, tables, ours, theirs, path, false, &l);
    snprintf(out, size, "%s", l.text);
    return ok;
}

bool im_config_same_run(im_ctx *c, const im_field *const tables[], const char *ours, const char *theirs, const char *path)
{
    list l = { .used = 0 };
    bool ok = compare(c, tables, ours, theirs, path, true, &l);
    if (ok && l.used)
        ok = im_fail(c, "%s: was not trained as this run is told to go on: %s; was config.json changed? Put back what was "
                     "there, or choose another folder for a new run", path, l.text);
    return ok;
}

bool im_config_length(im_ctx *c, const char *run, im_train_common *out)
{
    char *path = im_join(c, run, "config.json");
    im_json j = { 0 };
    bool ok = path && im_json_load(c, &j, path, IM_JSON_CONFIG_BYTES);
    for (const im_field *f = im_train_common_fields; ok && f->name; f++)
        if (is_length(f->name) || !strcmp(f->name, "warmup"))
            ok = im_field_read(c, &j, f, out);
    im_json_close(&j);
    free(path);
    return ok;
}
