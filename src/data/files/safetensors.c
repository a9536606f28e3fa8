/* safetensors.c: reading safetensors files, one or a set of shards with an index (format: safetensors.h).
 * Files are mapped; nothing in a header is believed before it was checked against the size of the file. */
#include "data/files/safetensors.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "data/files/file.h"
#include "data/files/json.h"
#include "data/files/names.h"

typedef struct shard {                                         /* one mapped file                                     */
    char *path, *label;                                        /* label: its name in the index, NULL without one      */
    im_map map;
    json_t *header;                                            /* owns the tensors' names                             */
    void *aligned;                                             /* copies of tensors that are not where they may lie  */
} shard;

typedef struct span { uint64_t begin, end; int type; } span;   /* offsets from the end of the header                  */

struct im_safetensors {
    shard *shards;   int n_shards;
    im_st_entry *entries; int *shard_of; int n, cap;
    im_names names;
    json_t *index;                                             /* of FILE.safetensors.index.json, or NULL             */
};

/* ---------------------------------------------------------------- one tensor of a header */

static bool read_shape(im_ctx *c, const char *path, const char *name, const json_t *shape, im_st_entry *e)
{
    if (!json_is_array(shape))
        return im_fail(c, "%s: tensor %s: has no list \"shape\"; the header is damaged, fetch it again", path, name);
    size_t n = json_array_size(shape);
    if (n > sizeof e->shape / sizeof *e->shape)
        return im_fail(c, "%s: tensor %s: has %zu axes; wanted at most %zu", path, name, n,
                       sizeof e->shape / sizeof *e->shape);
    e->ndim = (int)n;
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(shape, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0)
            return im_fail(c, "%s: tensor %s: shape[%zu] is not a whole number >= 0; the header is damaged, fetch it "
                           "again", path, name, i);
        e->shape[i] = json_integer_value(v);
    }
    return true;
}

static bool read_offsets(im_ctx *c, const char *path, const char *name, const json_t *pair, span *s)
{
    const json_t *a = json_array_get(pair, 0), *b = json_array_get(pair, 1);
    if (json_array_size(pair) != 2 || !json_is_integer(a) || !json_is_integer(b) || json_integer_value(a) < 0 ||
        json_integer_value(b) < json_integer_value(a))
        return im_fail(c, "%s: tensor %s: \"data_offsets\" is not [begin, end] with 0 <= begin <= end; the header is "
                       "damaged, fetch it again", path, name);
    s->begin = (uint64_t)json_integer_value(a);
    s->end = (uint64_t)json_integer_value(b);
    return true;
}

/* Fills e and s from one member of the header; the bytes that shape and type need must be the bytes it has. */
static bool read_entry(im_ctx *c, const char *path, const char *name, const json_t *v, im_st_entry *e, span *s)
{
    *e = (im_st_entry){ .name = name };
    const char *dtype = json_string_value(json_object_get(v, "dtype"));
    if (!json_is_object(v) || !dtype)
        return im_fail(c, "%s: tensor %s: has no text \"dtype\"; the header is damaged, fetch it again", path, name);
    if ((s->type = im_st_type_find(dtype)) < 0)
        return im_fail(c, "%s: tensor %s: has the unknown dtype \"%.60s\"; convert it to F32, F16 or BF16", path, name,
                       dtype);
    snprintf(e->dtype_name, sizeof e->dtype_name, "%s", dtype);
    e->dtype = im_st_types[s->type].dtype;
    if (!read_shape(c, path, name, json_object_get(v, "shape"), e)) return false;
    if (!read_offsets(c, path, name, json_object_get(v, "data_offsets"), s)) return false;
    uint64_t bytes;
    if (!im_st_bytes(s->type, e->ndim, e->shape, &bytes))
        return im_fail(c, "%s: tensor %s: its shape has more elements than can be counted; the header is damaged, "
                       "fetch it again", path, name);
    if (bytes != s->end - s->begin)
        return im_fail(c, "%s: tensor %s: has %llu bytes, but its shape and dtype %s need %llu; the header is damaged, "
                       "fetch it again", path, name, (unsigned long long)(s->end - s->begin), dtype,
                       (unsigned long long)bytes);
    e->bytes = (size_t)bytes;
    return true;
}

/* ---------------------------------------------------------------- one file */

bool im_st_pickle_name(const char *path)
{
    static const char *const tails[] = { ".ckpt", ".bin", ".pt", ".pth", ".pkl" };
    size_t n = strlen(path);
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        size_t k = strlen(tails[i]);
        if (n > k && !strcmp(path + n - k, tails[i])) return true;
    }
    return false;
}

bool im_st_refuse_pickle(im_ctx *c, const char *path)
{
    bool there = im_is_file(path);
    return im_fail(c, "%s: %s, which can run any program when it is read%s; convert it with: python3 -c \"import torch, "
                   "safetensors.torch as s; d = torch.load('%s', map_location='cpu', weights_only=True); s.save_file({k: "
                   "v.clone().contiguous() for k, v in d.get('state_dict', d).items() if torch.is_tensor(v)}, "
                   "'model.safetensors')\"", path,
                   there ? "is a PyTorch pickle" : "there is no such file, and its name is that of a PyTorch pickle",
                   there ? "" : " and is refused", path);
}

/* One line for files that are something else. True when it may be a safetensors file. */
static bool check_kind(im_ctx *c, const shard *s)
{
    const uint8_t *p = s->map.data;
    size_t n = s->map.bytes;
    bool pickle = n >= 4 && (!memcmp(p, "PK\3\4", 4) || (p[0] == 0x80 && p[1] >= 2 && p[1] <= 5 && p[2] > ' '));
    pickle |= (n < 9 || p[8] != '{') && im_st_pickle_name(s->path);
    if (pickle) return im_st_refuse_pickle(c, s->path);
    if (n >= 40 && !memcmp(p, "version https://git-lfs.github.com/spec/", 40))
        return im_fail(c, "%s: is a Git LFS pointer, not the file itself; fetch it with: git lfs pull", s->path);
    if (n < 8)
        return im_fail(c, "%s: has %zu bytes, which is too short for a safetensors file; fetch it again", s->path, n);
    return true;
}

/* Checks the length field and parses the JSON; *data is where the tensors begin. */
static bool read_header(im_ctx *c, shard *s, size_t *data)
{
    if (!check_kind(c, s)) return false;
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--) n = n << 8 | s->map.data[i];
    size_t room = s->map.bytes - 8;
    if (n > IM_ST_HEADER_MAX || (n && n <= room && s->map.data[8] != '{'))
        return im_fail(c, "%s: does not begin like a safetensors file (header of %llu bytes; wanted at most %d, "
                       "starting with '{'): is it the right file?", s->path, (unsigned long long)n, IM_ST_HEADER_MAX);
    if (n > room || !n)
        return im_fail(c, "%s: has a header of %llu bytes, but %zu bytes follow; the file is truncated or damaged, "
                       "fetch it again", s->path, (unsigned long long)n, room);
    im_json j = { 0 };
    size_t size = strlen(s->path) + sizeof " (header)";
    char *label = malloc(size);
    if (!label) return im_fail(c, "%s: out of memory; close other programs", s->path);
    snprintf(label, size, "%s (header)", s->path);
    im_json_parse(c, &j, label, (const char *)s->map.data + 8, (size_t)n);
    free(label);
    s->header = json_incref(j.value);
    im_json_close(&j);
    *data = 8 + (size_t)n;
    return s->header;
}

static bool check_metadata(im_ctx *c, const shard *s)
{
    json_t *meta = json_object_get(s->header, "__metadata__"), *v;
    const char *key;
    if (meta && !json_is_object(meta) && !json_is_null(meta))
        return im_fail(c, "%s: \"__metadata__\" is not an object of texts", s->path);
    json_object_foreach(meta, key, v)
        if (!json_is_string(v)) return im_fail(c, "%s: __metadata__: \"%.60s\" is not a text", s->path, key);
    return true;
}

/* Indices 0..n-1 in the order of the data. */
typedef struct place { uint64_t begin, end; int i; } place;
static int by_place(const void *pa, const void *pb)
{
    const place *a = pa, *b = pb;
    if (a->begin != b->begin) return a->begin < b->begin ? -1 : 1;
    if (a->end != b->end) return a->end < b->end ? -1 : 1;
    return a->i < b->i ? -1 : 1;
}

/* Tensors in data order must begin at 0, touch each other, and end where the file does. */
static bool check_cover(im_ctx *c, const shard *s, const im_st_entry *e, const place *p, int n, uint64_t room)
{
    uint64_t at = 0;
    for (int i = 0; i < n; i++) {                              /* a short file is the usual damage: say it first      */
        if (p[i].end > at) at = p[i].end;
    }
    if (at > room)
        return im_fail(c, "%s: is truncated: its tensors need %llu bytes, %llu are there; fetch it again", s->path,
                       (unsigned long long)at, (unsigned long long)room);
    at = 0;
    for (int i = 0; i < n; at = p[i++].end) {
        if (p[i].begin < at)
            return im_fail(c, "%s: tensors %s and %s overlap (at byte %llu); the header is damaged, fetch it again",
                           s->path, e[p[i - 1].i].name, e[p[i].i].name, (unsigned long long)p[i].begin);
        if (p[i].begin > at)
            return im_fail(c, "%s: bytes %llu to %llu, before tensor %s, belong to no tensor; the header is damaged, "
                           "fetch it again", s->path, (unsigned long long)at, (unsigned long long)p[i].begin,
                           e[p[i].i].name);
    }
    return at == room || im_fail(c, "%s: has %llu bytes after its last tensor; wanted none: the file is damaged, "
                                 "fetch it again", s->path, (unsigned long long)(room - at));
}

/* Files of old writers have headers of odd length. Their tensors are copied to where a float may lie. */
static bool set_data(im_ctx *c, shard *s, im_st_entry *e, const span *spans, int n, size_t data)
{
    for (int pass = 0; pass < 2; pass++) {                     /* measure, then copy                                  */
        size_t used = 0;
        for (int i = 0; i < n; i++) {
            const uint8_t *p = s->map.data + data + spans[i].begin;
            size_t align = (size_t)im_st_types[spans[i].type].bits / 8;
            e[i].data = p;
            if (!align || (uintptr_t)p % align == 0) continue;
            if (pass) memcpy((uint8_t *)s->aligned + used, p, e[i].bytes);
            if (pass) e[i].data = (uint8_t *)s->aligned + used;
            used += (e[i].bytes + 15) & ~(size_t)15;
        }
        if (!used) break;
        if (!pass && !(s->aligned = malloc(used)))
            return im_fail(c, "%s: out of memory for %zu bytes of tensors that are not aligned; close other programs",
                           s->path, used);
    }
    return true;
}

static bool grow(im_ctx *c, im_safetensors *f, int more)
{
    if (f->n + more <= f->cap) return true;
    int cap = f->n + more;
    im_st_entry *e = realloc(f->entries, (size_t)cap * sizeof *e);
    if (e) f->entries = e;
    int *w = realloc(f->shard_of, (size_t)cap * sizeof *w);
    if (w) f->shard_of = w;
    if (e && w) f->cap = cap;
    return (e && w) || im_fail(c, "out of memory for the names of %d tensors; close other programs", cap);
}

/* Reads the tensors of a parsed header into e, s and p (n of each), then adds them to f in the order of the data. */
static bool read_entries(im_ctx *c, im_safetensors *f, shard *s, size_t data, im_st_entry *e, span *spans, place *p)
{
    const char *name;
    json_t *v;
    int n = 0;
    json_object_foreach(s->header, name, v) {
        if (!strcmp(name, "__metadata__")) continue;
        if (!read_entry(c, s->path, name, v, &e[n], &spans[n])) return false;
        p[n] = (place){ spans[n].begin, spans[n].end, n };
        n++;
    }
    qsort(p, (size_t)n, sizeof *p, by_place);
    if (!check_cover(c, s, e, p, n, s->map.bytes - data) || !set_data(c, s, e, spans, n, data)) return false;
    for (int i = 0; i < n; i++) {
        const im_st_entry *x = &e[p[i].i];
        int before = im_names_find(&f->names, x->name, strlen(x->name));
        if (before >= 0)
            return im_fail(c, "%s: tensor %s is also in %s; wanted each tensor once: the shards do not belong together",
                           s->path, x->name, f->shards[f->shard_of[before]].path);
        f->entries[f->n] = *x;
        f->shard_of[f->n] = (int)(s - f->shards);
        if (!im_names_add(c, &f->names, x->name, strlen(x->name), f->n)) return false;
        f->n++;
    }
    return true;
}

/* Opens one file as the next shard of f, which has room for it. */
static bool add_shard(im_ctx *c, im_safetensors *f, const char *path, const char *label)
{
    shard *s = &f->shards[f->n_shards++];
    *s = (shard){ .path = im_copy_text(c, path, strlen(path)) };
    if (label) s->label = im_copy_text(c, label, strlen(label));
    size_t data = 0;
    if (im_ok(c) && im_st_pickle_name(path) && !im_is_file(path)) return im_st_refuse_pickle(c, path);
    if (!im_ok(c) || !im_map_open(c, &s->map, path) || !read_header(c, s, &data) || !check_metadata(c, s)) return false;
    size_t n = json_object_size(s->header) + 1;
    if (n > INT32_MAX / 2 - (size_t)f->n) return im_fail(c, "%s: has %zu tensors, which is too many", path, n);
    im_st_entry *e = malloc(n * sizeof *e);
    span *spans = malloc(n * sizeof *spans);
    place *p = malloc(n * sizeof *p);
    bool ok = e && spans && p;
    if (!ok) im_fail(c, "%s: out of memory for the names of %zu tensors; close other programs", path, n);
    ok = ok && grow(c, f, (int)n) && read_entries(c, f, s, data, e, spans, p);
    free(e);
    free(spans);
    free(p);
    return ok;
}

/* ---------------------------------------------------------------- shards with an index */

/* A shard's name must stay in the folder of the index: no absolute path, no "..". */
static bool inside_folder(const char *name)
{
    if (!*name || *name == '/') return false;
    for (const char *p = name; p; p = strchr(p, '/')) {
        p += *p == '/';
        if (!strncmp(p, "..", 2) && (!p[2] || p[2] == '/')) return false;
    }
    return true;
}

static int shard_index(const im_safetensors *f, const char *label)
{
    for (int i = 0; i < f->n_shards; i++)
        if (!strcmp(f->shards[i].label, label)) return i;
    return -1;
}

static bool open_shard(im_ctx *c, im_safetensors *f, const char *index, const char *tensor, const char *label)
{
    if (!inside_folder(label))
        return im_fail(c, "%s: weight_map: tensor %s is said to be in \"%.100s\"; wanted a file in the index's own "
                       "folder", index, tensor, label);
    shard *more = realloc(f->shards, (size_t)(f->n_shards + 1) * sizeof *more);
    if (!more) return im_fail(c, "%s: out of memory; close other programs", index);
    f->shards = more;
    char *path = im_join_beside(c, index, label);
    if (path && !im_is_file(path))
        im_fail(c, "%s: is missing, though %s names it (for tensor %s); fetch it", path, index, tensor);
    bool ok = im_ok(c) && add_shard(c, f, path, label);
    free(path);
    return ok;
}

/* The shards are believed: what they hold is there, whatever the index says. */
static void warn_of_index(im_ctx *c, const im_safetensors *f, const char *path, json_t *map)
{
    const char *name, *first = NULL;
    json_t *v;
    int wrong = 0;
    json_object_foreach(map, name, v) {
        int e = im_names_find(&f->names, name, strlen(name));
        if ((e < 0 || f->shard_of[e] != shard_index(f, json_string_value(v))) && !wrong++) first = name;
    }
    for (int i = 0; i < f->n; i++)
        if (!json_object_get(map, f->entries[i].name) && !wrong++) first = f->entries[i].name;
    if (wrong)
        im_warn(c, "%s: of %d tensors it does not say which shard holds them, the first is %s; what the shards hold is "
                "read", path, wrong, first);
}

/* Other JSON: most likely a part of a diffusers folder, M/model_index.json or M/unet/config.json, and M was meant. */
static bool refuse_index(im_ctx *c, const char *path)
{
    char *folder = im_copy_text(c, path, strlen(path)), *slash;
    for (int up = 0; folder && up < 2; up++) {
        slash = strrchr(folder, '/');
        if (!slash) break;
        *slash = '\0';
        char *model = im_join(c, folder, "model_index.json");
        if (model && im_is_file(model))
            im_fail(c, "%s: is a part of the model in %s; give that folder", path, folder);
        free(model);
    }
    free(folder);
    return im_ok(c) && im_fail(c, "%s: has no object \"weight_map\", so it is no index of shards; wanted one, a "
                                  ".safetensors file, or the folder of a model", path);
}

/* All shards that it names. */
static bool open_index(im_ctx *c, im_safetensors *f, const char *path)
{
    im_json j;
    if (!im_json_load(c, &j, path, IM_ST_HEADER_MAX)) return false;
    f->index = json_incref(j.value);
    im_json_close(&j);
    json_t *map = json_object_get(f->index, "weight_map"), *v;
    const char *name;
    if (!json_is_object(map)) return refuse_index(c, path);
    json_object_foreach(map, name, v) {
        const char *label = json_string_value(v);
        if (!label) return im_fail(c, "%s: weight_map: \"%s\" is not a text; wanted the name of a shard", path, name);
        if (shard_index(f, label) < 0 && !open_shard(c, f, path, name, label)) return false;
    }
    warn_of_index(c, f, path, map);
    return true;
}

/* ---------------------------------------------------------------- names */

/* Where a name goes on behind "_orig_mod." or "module.", or NULL. */
static const char *unwrapped(const char *name)
{
    static const char *const words[] = { "_orig_mod.", "module." };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strncmp(name, words[i], strlen(words[i]))) return name + strlen(words[i]);
    return NULL;
}

static bool all_wrapped(const im_safetensors *s)
{
    for (int i = 0; i < s->n; i++)
        if (!unwrapped(s->entries[i].name)) return false;
    return s->n > 0;
}

bool im_st_unwrap(im_ctx *c, im_safetensors *s, bool whole)
{
    bool changed = false;
    if (!s || !im_ok(c)) return false;
    if (whole) {
        for (; all_wrapped(s); changed = true)
            for (int i = 0; i < s->n; i++) s->entries[i].name = unwrapped(s->entries[i].name);
    } else {
        for (int i = 0; i < s->n; i++)
            for (const char *p; (p = unwrapped(s->entries[i].name)); changed = true) s->entries[i].name = p;
    }
    if (!changed) return true;
    im_names_free(&s->names);
    if (!im_names_init(c, &s->names, (size_t)s->n)) return false;
    for (int i = 0; i < s->n; i++) {
        const char *name = s->entries[i].name;
        if (im_names_find(&s->names, name, strlen(name)) >= 0)
            return im_fail(c, "%s: tensor %s is there twice, with and without \"_orig_mod.\" or \"module.\" before its "
                           "name; wanted it once", s->shards[s->shard_of[i]].path, name);
        if (!im_names_add(c, &s->names, name, strlen(name), i)) return false;
    }
    return true;
}

/* ---------------------------------------------------------------- public */

im_safetensors *im_st_open(im_ctx *c, const char *path)
{
    if (!im_ok(c)) return NULL;
    size_t n = strlen(path);
    bool index = n > 5 && !strcmp(path + n - 5, ".json"), ok = false;
    im_safetensors *f = calloc(1, sizeof *f);
    if (f) f->shards = malloc(sizeof *f->shards);
    if (!f || !f->shards) im_fail(c, "%s: out of memory; close other programs", path);
    else ok = im_names_init(c, &f->names, 1024) && (index ? open_index(c, f, path) : add_shard(c, f, path, NULL));
    if (ok) return f;
    im_st_close(f);
    return NULL;
}

int im_st_count(const im_safetensors *s) { return s ? s->n : 0; }

const im_st_entry *im_st_at(const im_safetensors *s, int i)
{
    return s && i >= 0 && i < s->n ? &s->entries[i] : NULL;
}

const im_st_entry *im_st_find(const im_safetensors *s, const char *name)
{
    return s ? im_st_at(s, im_names_find(&s->names, name, strlen(name))) : NULL;
}

const char *im_st_metadata(const im_safetensors *s, const char *key)
{
    if (!s) return NULL;
    const json_t *meta = s->index ? json_object_get(s->index, "metadata")
                                  : json_object_get(s->shards[0].header, "__metadata__");
    return json_string_value(json_object_get(meta, key));
}

void im_st_release_pages(const im_safetensors *s, const im_st_entry *e)
{
    if (!s || !e) return;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)e->data;
    for (int i = 0; i < s->n_shards; i++) {                    /* copies of unaligned tensors stay: they are no file  */
        const im_map *m = &s->shards[i].map;
        if (at - (uintptr_t)m->data >= m->bytes) continue;
        uintptr_t from = (at + page - 1) / page * page, to = (at + e->bytes) / page * page;
        if (to > from) madvise((void *)from, to - from, MADV_DONTNEED);
    }
}

void im_st_close(im_safetensors *s)
{
    if (!s) return;
    for (int i = 0; i < s->n_shards; i++) {
        im_map_close(&s->shards[i].map);
        json_decref(s->shards[i].header);
        free(s->shards[i].aligned);
        free(s->shards[i].label);
        free(s->shards[i].path);
    }
    im_names_free(&s->names);
    json_decref(s->index);
    free(s->shards);
    free(s->shard_of);
    free(s->entries);
    free(s);
}
