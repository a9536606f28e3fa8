/* state_dict.c: reading and writing the parameters of a network (state_dict.h).
 *
 * The hash of a checkpoint: SHA-256 over every tensor sorted by name (name, shape, bytes as they stand in the file), then
 * over the metadata (key, value) but for the hash itself. A file cut short fails as safetensors already; one with a changed
 * bit fails here. */
#include "models/checkpoints/state_dict.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/safetensors.h"
#include "data/files/sha256.h"
#include "models/checkpoints/param_file.h"

/* ---------------------------------------------------------------- layouts */

void im_param_to_file(const im_param *q, const float *data, float *out)
{
    const int64_t *s = q->t->shape;
    if (q->kind != IM_PARAM_CONV) {
        memcpy(out, data, (size_t)im_numel(q->t) * sizeof *out);
        return;
    }
    int64_t taps = s[1] * s[2], cin = s[3];
    for (int64_t n = 0; n < s[0]; n++)
        for (int64_t ci = 0; ci < cin; ci++)
            for (int64_t tap = 0; tap < taps; tap++)
                *out++ = data[(n * taps + tap) * cin + ci];
}

/* ---------------------------------------------------------------- reading */

static bool begins(const char *name, const char *with)
{
    return with && !strncmp(name, with, strlen(with));
}

static bool ends(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && !strcmp(name + n - m, end);
}

static const im_st_entry *entry_of(const im_safetensors *s, const im_state_rules *r, const char *name)
{
    char full[512], other[512];
    snprintf(full, sizeof full, "%s%s", r->from ? r->from : "", name);
    const im_st_entry *e = im_st_find(s, full);
    for (int i = 0; !e && r->spelling && r->spelling(r->arg, full, i, other, sizeof other); i++)
        e = im_st_find(s, other);
    return e;
}

/* "NORM.num_batches_tracked" of a batch norm of the network? */
static bool is_tracked(const im_params *p, const char *name)
{
    char var[512];
    size_t n = strlen(name), m = strlen("num_batches_tracked");
    if (!ends(name, ".num_batches_tracked") || n >= sizeof var)
        return false;
    snprintf(var, sizeof var, "%.*srunning_var", (int)(n - m), name);
    return im_params_find(p, var) != NULL;
}

/* Tensors that belong to no parameter and are none of those that a file may carry beside. */
static bool find_extra(const im_params *p, const im_safetensors *s, const im_state_rules *r, im_name_list *l)
{
    bool *claimed = calloc((size_t)im_st_count(s) + 1, sizeof *claimed);
    if (!claimed)
        return im_fail(p->c, "out of memory for the list of %d tensors", im_st_count(s));
    for (int i = 0; i < p->n; i++) {
        const char *name = p->v[i].t->name;
        const im_st_entry *e = entry_of(s, r, name), *own = im_st_find(s, name);
        if (e)
            claimed[e - im_st_at(s, 0)] = true;
        if (own)                                               /* read from "ema.NAME", it stands there as NAME, too  */
            claimed[own - im_st_at(s, 0)] = true;
    }
    for (int i = 0; i < im_st_count(s); i++) {
        const char *name = im_st_at(s, i)->name, *plain = begins(name, r->from) ? name + strlen(r->from) : name;
        if (!claimed[i] && !is_tracked(p, plain) && !begins(name, r->keep) &&
            !(r->ours && (begins(name, "optimizer.") || begins(name, "ema."))))
            im_name_list_add(l, name, "");
    }
    free(claimed);
    return true;
}

bool im_state_knows(const im_params *p, const char *name)
{
    return im_params_find(p, name) || is_tracked(p, name);
}

bool im_state_check(const im_params *p, const im_safetensors *s, const char *path, const im_state_rules *r)
{
    im_misfits *m = calloc(1, sizeof *m);
    char text[3600];
    if (!m)
        return im_fail(p->c, "%s: out of memory", path);
    for (int i = 0; i < p->n; i++)
        if (!begins(p->v[i].t->name, r->keep))
            im_misfits_add(m, &p->v[i], entry_of(s, r, p->v[i].t->name), false, p->v[i].t->name);
    bool ok = r->shared || find_extra(p, s, r, &m->unexpected);
    if (ok && im_misfits_any(m)) {
        im_misfits_text(m, text, sizeof text);
        ok = im_fail(p->c, "%s: its tensors are not those of the network: %s", path, text);
    }
    ok = ok && im_extra_report(p->c, path, &m->unexpected, r->exact);
    free(m);
    return ok;
}

bool im_state_read(im_params *p, const im_safetensors *s, const char *path, im_dtype dtype, const im_state_rules *rules)
{
    static const im_state_rules none = { 0 };
    const im_state_rules *r = rules ? rules : &none;
    bool ok = s && im_ok(p->c) && im_state_check(p, s, path, r);
    for (int i = 0; ok && i < p->n; i++) {
        const im_param *q = &p->v[i];
        if (begins(q->t->name, r->keep))
            continue;
        ok = (q->t->storage || im_params_store(p, q, dtype)) &&
             im_param_read(p->c, q, s, entry_of(s, r, q->t->name), (im_int8_parts){ NULL, NULL });
    }
    return ok;
}

/* ---------------------------------------------------------------- writing */

static bool add(im_state *s, const char *prefix, const char *name, size_t length, const char *suffix, const im_param *q,
                const im_tensor *t)
{
    if (s->n == s->cap) {
        int cap = s->cap ? 2 * s->cap : 256;
        im_state_entry *v = realloc(s->v, (size_t)cap * sizeof *v);
        if (!v)
            return im_fail(s->c, "out of memory for the list of a checkpoint");
        s->v = v;
        s->cap = cap;
    }
    size_t size = strlen(prefix) + length + strlen(suffix) + 1;
    char *full = malloc(size);
    if (!full)
        return im_fail(s->c, "out of memory for the list of a checkpoint");
    snprintf(full, size, "%s%.*s%s", prefix, (int)length, name, suffix);
    s->v[s->n++] = (im_state_entry){ .name = full, .param = q, .t = t };
    return true;
}

bool im_state_add_one(im_state *s, const char *prefix, const im_param *q, const im_tensor *t)
{
    return add(s, prefix, q->t->name, strlen(q->t->name), "", q, t);
}

bool im_state_add(im_state *s, const char *prefix, const im_params *p)
{
    for (int i = 0; i < p->n; i++) {
        const im_param *q = &p->v[i];
        if (!im_state_add_one(s, prefix, q, q->t))
            return false;
        if (ends(q->t->name, ".running_var") &&
            !add(s, prefix, q->t->name, strlen(q->t->name) - strlen("running_var"), "num_batches_tracked", NULL, NULL))
            return false;
    }
    return true;
}

void im_state_free(im_state *s)
{
    for (int i = 0; i < s->n; i++)
        free(s->v[i].name);
    free(s->v);
    *s = (im_state){ .c = s->c };
}

static size_t value_bytes(const im_state_entry *e)
{
    return e->param ? (size_t)im_numel(e->param->t) * sizeof(float) : sizeof(int64_t);
}

size_t im_state_bytes(const im_state *s)
{
    size_t bytes = 0;
    for (int i = 0; i < s->n; i++)
        bytes += value_bytes(&s->v[i]);
    return bytes;
}

static void describe(const im_state *s, const im_state_entry *e, im_st_entry *out)
{
    *out = (im_st_entry){ .name = e->name, .dtype = s->as };
    if (e->param) {
        int64_t shape[IM_MAX_DIMS];
        out->ndim = im_param_file_shape(e->param, shape);
        memcpy(out->shape, shape, (size_t)out->ndim * sizeof *shape);
    } else {
        out->dtype = -1;
        snprintf(out->dtype_name, sizeof out->dtype_name, "I64");
    }
}

/* The bytes of an entry as they stand in the file; NULL with an error. buffer: twice the largest of them in f32: as they
 * stand in the engine, and where axes or types change, as they stand in the file. */
static const void *value(const im_state *s, const im_state_entry *e, float *buffer)
{
    if (!e->param)
        return &s->tracked;
    if (!im_download(s->c, e->t, buffer))
        return NULL;
    float *here = buffer, *free_half = buffer + im_numel(e->t);
    if (e->param->kind == IM_PARAM_CONV) {
        im_param_to_file(e->param, buffer, free_half);
        here = free_half;
        free_half = buffer;
    }
    if (s->as == IM_F32)
        return here;
    im_st_from_f32(here, im_numel(e->t), s->as, free_half);
    return free_half;
}

/* How many those are. */
static size_t file_bytes(const im_state *s, const im_state_entry *e)
{
    return e->param ? (size_t)im_numel(e->t) * im_dtype_size(s->as) : sizeof s->tracked;
}

/* ---------------------------------------------------------------- the hash */

static bool hash_tensor(im_ctx *c, im_sha256 *h, const im_st_entry *e, const void *data, size_t bytes)
{
    char shape[96];
    im_file_shape_text(e->shape, e->ndim, shape, sizeof shape);
    return im_sha256_add(c, h, e->name, strlen(e->name) + 1) && im_sha256_add(c, h, shape, strlen(shape) + 1) &&
           im_sha256_add(c, h, data, bytes);
}

static bool hash_text(im_ctx *c, im_sha256 *h, const char *key, const char *text)
{
    return im_sha256_add(c, h, key, strlen(key) + 1) && im_sha256_add(c, h, text, strlen(text) + 1);
}

static int by_state_name(const void *a, const void *b)
{
    return strcmp((*(const im_state_entry *const *)a)->name, (*(const im_state_entry *const *)b)->name);
}

static bool hash_state(const im_state *s, float *buffer, const char *const metadata[], int n, char hex[65])
{
    im_ctx *c = s->c;
    const im_state_entry **order = malloc(((size_t)s->n + 1) * sizeof *order);
    im_sha256 *h = order ? im_sha256_new(c) : NULL;
    bool ok = h || im_fail(c, "out of memory for the hash of a checkpoint");
    for (int i = 0; ok && i < s->n; i++)
        order[i] = &s->v[i];
    if (ok)
        qsort(order, (size_t)s->n, sizeof *order, by_state_name);
    for (int i = 0; ok && i < s->n; i++) {
        im_st_entry e;
        describe(s, order[i], &e);
        const void *v = value(s, order[i], buffer);
        ok = v && hash_tensor(c, h, &e, v, file_bytes(s, order[i]));
    }
    for (int i = 0; ok && i < n; i++)
        ok = hash_text(c, h, metadata[2 * i], metadata[2 * i + 1]);
    free(order);
    if (ok)
        return im_sha256_finish(c, h, hex);
    if (h)
        im_sha256_free(h);
    return false;
}

static int by_entry_name(const void *a, const void *b)
{
    return strcmp((*(const im_st_entry *const *)a)->name, (*(const im_st_entry *const *)b)->name);
}

bool im_state_verify(im_ctx *c, const im_safetensors *file, const char *const keys[], int n_keys)
{
    const char *want = im_st_metadata(file, "sha256");
    int n = im_st_count(file);
    const im_st_entry **order = want ? malloc(((size_t)n + 1) * sizeof *order) : NULL;
    im_sha256 *h = order ? im_sha256_new(c) : NULL;
    bool ok = h != NULL;
    char hex[65] = "";
    for (int i = 0; ok && i < n; i++)
        order[i] = im_st_at(file, i);
    if (ok)
        qsort(order, (size_t)n, sizeof *order, by_entry_name);
    for (int i = 0; ok && i < n; i++)
        ok = hash_tensor(c, h, order[i], order[i]->data, order[i]->bytes);
    for (int i = 0; ok && i < n_keys; i++) {
        const char *text = im_st_metadata(file, keys[i]);
        ok = text && hash_text(c, h, keys[i], text);
    }
    free(order);
    if (!ok && h)
        im_sha256_free(h);
    return ok && im_sha256_finish(c, h, hex) && !strcmp(hex, want);
}

bool im_state_write(const im_state *s, const char *path, const char *const metadata[], int n_metadata, bool hash)
{
    im_ctx *c = s->c;
    size_t largest = sizeof(int64_t);
    im_st_entry *entries = calloc((size_t)s->n + 1, sizeof *entries);
    for (int i = 0; entries && i < s->n; i++) {
        describe(s, &s->v[i], &entries[i]);
        if (value_bytes(&s->v[i]) > largest)
            largest = value_bytes(&s->v[i]);
    }
    float *buffer = malloc(2 * largest);
    const char **pairs = calloc(2 * (size_t)n_metadata + 2, sizeof *pairs);
    char hex[65] = "";
    bool ok = (entries && buffer && pairs) || im_fail(c, "%s: out of memory", path);
    ok = ok && im_ok(c) && (!hash || hash_state(s, buffer, metadata, n_metadata, hex));
    for (int i = 0; ok && i < 2 * n_metadata; i++)
        pairs[i] = metadata[i];
    if (ok && hash) {
        pairs[2 * n_metadata] = "sha256";
        pairs[2 * n_metadata + 1] = hex;
    }
    im_st_writer *w = ok ? im_st_create(c, path, entries, s->n, pairs, n_metadata + hash) : NULL;
    for (int i = 0; w && im_ok(c) && i < s->n; i++) {
        const void *v = value(s, &s->v[i], buffer);
        if (v)
            im_st_put(c, w, i, v, file_bytes(s, &s->v[i]));
    }
    if (w && !im_ok(c)) {
        im_st_abandon(w);
        w = NULL;
    }
    ok = w && im_st_finish(c, w);
    free(pairs);
    free(buffer);
    free(entries);
    return ok;
}
