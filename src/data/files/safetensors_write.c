/* safetensors_write.c: writing safetensors files (format: safetensors.h). The tensors are laid out as the reference
 * implementation does, by type (widest first) and name, so the same tensors and one metadata text give the same bytes.
 * Entries may arrive in any order and from several threads; the header and the file's size are written at once. */
#include "data/files/safetensors.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/beside.h"
#include "data/files/file.h"

typedef struct slot { char *name; int type, i; uint64_t at, bytes; bool done; } slot;   /* i: the caller's number     */

struct im_st_writer {
    im_out out;
    slot *slots; int n;                                        /* by the caller's number                              */
    pthread_mutex_t lock;                                      /* around im_fail and `failed`                         */
    bool failed;
};

/* One entry's type and size. */
static bool plan_entry(im_ctx *c, const char *path, const im_st_entry *e, slot *s)
{
    if (!e->name || !strcmp(e->name, "__metadata__"))
        return im_fail(c, "%s: tensor %d has no name that a safetensors file can hold", path, s->i);
    s->type = e->dtype >= 0 ? im_st_type_of((im_dtype)e->dtype) : im_st_type_find(e->dtype_name);
    if (s->type < 0) return im_fail(c, "%s: tensor %s: cannot be written as dtype %d", path, e->name, e->dtype);
    if (e->ndim < 0 || e->ndim > (int)(sizeof e->shape / sizeof *e->shape))
        return im_fail(c, "%s: tensor %s: has %d axes; wanted 0 to 8", path, e->name, e->ndim);
    if (!im_st_bytes(s->type, e->ndim, e->shape, &s->bytes))
        return im_fail(c, "%s: tensor %s: has more elements than can be counted", path, e->name);
    s->name = im_copy_text(c, e->name, strlen(e->name));
    return s->name;
}

static int by_layout(const void *pa, const void *pb)
{
    const slot *a = *(slot *const *)pa, *b = *(slot *const *)pb;
    if (a->type != b->type) return a->type > b->type ? -1 : 1;
    return strcmp(a->name, b->name);
}

/* Places every tensor and lists it in `header`; returns the bytes of all, in *total. */
static bool lay_out(im_ctx *c, im_st_writer *w, const im_st_entry *entries, json_t *header, uint64_t *total)
{
    slot **order = malloc(((size_t)w->n + 1) * sizeof *order);
    bool ok = order || im_fail(c, "%s: out of memory; close other programs", w->out.path);
    for (int i = 0; ok && i < w->n; i++) order[i] = &w->slots[i];
    if (ok) qsort(order, (size_t)w->n, sizeof *order, by_layout);
    *total = 0;
    for (int k = 0; ok && k < w->n; k++) {
        slot *s = order[k];
        s->at = *total;
        if (__builtin_add_overflow(*total, s->bytes, total) || *total > INT64_MAX / 2)
            ok = im_fail(c, "%s: the tensors are larger than any file", w->out.path);
        json_t *shape = json_array();
        for (int d = 0; d < entries[s->i].ndim; d++) json_array_append_new(shape, json_integer(entries[s->i].shape[d]));
        json_t *v = json_pack("{s:s, s:o, s:[I,I]}", "dtype", im_st_types[s->type].name, "shape", shape, "data_offsets",
                              (json_int_t)s->at, (json_int_t)(s->at + s->bytes));
        bool twice = json_object_get(header, s->name);
        if ((json_object_set_new(header, s->name, v) || twice) && ok)
            ok = im_fail(c, "%s: tensor \"%s\": is given twice, or its name is not UTF-8", w->out.path, s->name);
    }
    free(order);
    return ok;
}

static bool add_metadata(im_ctx *c, const char *path, json_t *header, const char *const metadata[], int n)
{
    json_t *meta = json_object();
    for (int i = 0; i < n; i++)
        if (json_object_set_new(meta, metadata[2 * i], json_string(metadata[2 * i + 1]))) {
            json_decref(meta);
            return im_fail(c, "%s: metadata \"%s\": is not UTF-8 text", path, metadata[2 * i]);
        }
    if (!n) json_decref(meta);
    else json_object_set_new(header, "__metadata__", meta);
    return true;
}

/* The file's first bytes: length, JSON, spaces up to a multiple of 8. Slots then count from the start of the file. */
static bool write_header(im_ctx *c, im_st_writer *w, json_t *header, uint64_t total)
{
    size_t n = json_dumpb(header, NULL, 0, JSON_COMPACT), padded = (n + 7) / 8 * 8;
    char *text = malloc(8 + padded);
    if (!n || !text) {
        free(text);
        return im_fail(c, "%s: out of memory for the header; close other programs", w->out.path);
    }
    for (int i = 0; i < 8; i++) text[i] = (char)(padded >> (8 * i) & 255);
    memset(text + 8, ' ', padded);
    json_dumpb(header, text + 8, n, JSON_COMPACT);
    bool ok = padded <= IM_ST_HEADER_MAX || im_fail(c, "%s: the header has %zu bytes; wanted at most %d: write fewer "
                                                    "tensors", w->out.path, padded, IM_ST_HEADER_MAX);
    ok = ok && im_out_reserve(c, &w->out, 8 + padded + total);
    int err = ok ? im_out_write_at(&w->out, text, 8 + padded, 0) : 0;
    if (err) ok = im_out_fail(c, &w->out, err);
    free(text);
    for (int i = 0; i < w->n; i++) w->slots[i].at += 8 + padded;
    return ok;
}

im_st_writer *im_st_create(im_ctx *c, const char *path, const im_st_entry *entries, int n, const char *const metadata[],
                           int n_metadata)
{
    if (!im_ok(c)) return NULL;
    im_clean_beside(c, path);                                  /* gigabytes, perhaps                                  */
    im_st_writer *w = calloc(1, sizeof *w);
    slot *slots = calloc((size_t)n + 1, sizeof *slots);
    if (!w || !slots || !im_out_open(c, &w->out, path, true)) {
        im_fail(c, "%s: out of memory; close other programs", path);
        free(slots);
        free(w);
        return NULL;
    }
    pthread_mutex_init(&w->lock, NULL);
    w->slots = slots;
    w->n = n;
    json_t *header = json_object();
    uint64_t total;
    bool ok = header || im_fail(c, "%s: out of memory; close other programs", path);
    for (int i = 0; ok && i < n; i++) {
        slots[i].i = i;
        ok = plan_entry(c, path, &entries[i], &slots[i]);
    }
    ok = ok && add_metadata(c, path, header, metadata, n_metadata) && lay_out(c, w, entries, header, &total) &&
         write_header(c, w, header, total);
    json_decref(header);
    if (ok) return w;
    im_st_abandon(w);
    return NULL;
}

/* Of entry i, bytes from `at` on; all: they must be the whole of it. */
static bool put(im_ctx *c, im_st_writer *w, int i, const void *data, size_t bytes, uint64_t at, bool all)
{
    if (!w) return false;
    pthread_mutex_lock(&w->lock);
    bool ok = !w->failed;
    pthread_mutex_unlock(&w->lock);
    if (!ok) return false;
    slot *s = i >= 0 && i < w->n ? &w->slots[i] : NULL;
    bool fits = s && bytes <= s->bytes && at <= s->bytes - bytes && (!all || bytes == s->bytes);
    int err = fits ? im_out_write_at(&w->out, data, bytes, s->at + at) : EINVAL;
    if (!err) return s->done = true;
    pthread_mutex_lock(&w->lock);
    w->failed = true;
    if (!s) im_fail(c, "%s: there is no tensor %d; wanted 0 to %d", w->out.path, i, w->n - 1);
    else if (!fits) im_fail(c, "%s: tensor %s: was given %zu bytes; wanted %llu", w->out.path, s->name,
                                        bytes, (unsigned long long)s->bytes);
    else im_out_fail(c, &w->out, err);
    pthread_mutex_unlock(&w->lock);
    return false;
}

bool im_st_put(im_ctx *c, im_st_writer *w, int i, const void *data, size_t bytes)
{
    return put(c, w, i, data, bytes, 0, true);
}

bool im_st_put_part(im_ctx *c, im_st_writer *w, int i, const void *data, size_t bytes, uint64_t at)
{
    return put(c, w, i, data, bytes, at, false);
}

static void free_writer(im_st_writer *w)
{
    for (int i = 0; i < w->n; i++) free(w->slots[i].name);
    pthread_mutex_destroy(&w->lock);
    free(w->slots);
    free(w);
}

bool im_st_finish(im_ctx *c, im_st_writer *w)
{
    if (!w) return false;
    if (w->failed) im_fail(c, "%s: not every tensor could be written (nothing was left behind)", w->out.path);
    for (int i = 0; i < w->n && im_ok(c); i++)
        if (!w->slots[i].done && w->slots[i].bytes)
            im_fail(c, "%s: tensor %s was never written", w->out.path, w->slots[i].name);
    bool ok = im_out_finish(c, &w->out);
    free_writer(w);
    return ok;
}

void im_st_abandon(im_st_writer *w)
{
    if (!w) return;
    im_out_abandon(&w->out);
    free_writer(w);
}
