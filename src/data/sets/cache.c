/* cache.c: see cache.h. The file: a head of 4096 bytes, a table of one entry a picture, then rows of RGB.
 *     head    "imago pictures 1\n", HASH (64 hex digits), '\n', then count and size of the file as two u64
 *     entry   offset u64, width u32, height u32; width 0: the picture is broken, it is decoded again for its error
 * Numbers as this machine has them: a cache is made where it is used. */
#include "data/sets/cache.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/images/picture.h"
#include "data/files/sha256.h"
#include "data/sets/warnings.h"

enum { HEAD = 4096 };
static const char magic[] = "imago pictures 1\n";

typedef struct entry { uint64_t offset; uint32_t width, height; } entry;
typedef struct head { char magic[sizeof magic - 1], hash[64], line; uint64_t count, bytes; } head;

struct im_cache {
    im_cache_kind kind;
    int64_t count;
    uint64_t limit;
    _Atomic(im_image *) *pictures;                             /* ram: by index, NULL: not kept                       */
    atomic_uint_least64_t bytes;
    atomic_int_least64_t kept;
    atomic_bool full;
    im_map map;                                                /* disk                                                */
    const entry *table;
};

/* ---------------------------------------------------------------- memory */

static uint64_t half_of_memory(void)
{
    int64_t available = im_memory_available();
    return available < 0 ? UINT64_MAX : (uint64_t)available / 2;
}

static uint64_t bytes_of(const im_image *i)
{
    return (uint64_t)i->width * (uint64_t)i->height * 3 + sizeof *i;
}

bool im_cache_put(im_cache *k, int64_t index, im_image *picture)
{
    if (!k || k->kind != IM_CACHE_RAM) return false;
    uint64_t n = bytes_of(picture);
    if (atomic_fetch_add(&k->bytes, n) + n > k->limit) {
        atomic_fetch_sub(&k->bytes, n);
        atomic_store(&k->full, true);
        return false;
    }
    im_image *none = NULL;
    if (atomic_compare_exchange_strong(&k->pictures[index], &none, picture)) {
        atomic_fetch_add(&k->kept, 1);
        return true;
    }
    atomic_fetch_sub(&k->bytes, n);                            /* another thread was first                            */
    return false;
}

/* ---------------------------------------------------------------- the file */

typedef struct builder {
    const im_dataset *d;
    const im_cache_args *a;
    im_out out;
    im_ctx **workers;                                          /* one a thread                                        */
    entry *table;
    atomic_uint_least64_t end;
    atomic_int err;                                            /* errno of the first write that failed                */
    im_warnings warnings;
    im_ctx *c;
} builder;

/* Decodes one picture to the end of the file. Broken ones keep width 0: they are met again, and named, by the loader. */
static void store_one(void *arg, int task, int thread)
{
    builder *b = arg;
    im_ctx *c = b->workers[thread];
    size_t n;
    if (atomic_load(&b->err) || im_cancelled(b->c)) return;
    uint8_t *bytes = im_dataset_read(c, b->d, task, &n);
    im_image *i = bytes ? im_picture_decode(c, bytes, n, b->d->samples[task].name,
                                            &(im_decode_args){ .max_pixels = b->a->max_pixels }) : NULL;
    if (i) {
        size_t size = (size_t)i->width * (size_t)i->height * 3;
        uint64_t at = atomic_fetch_add(&b->end, size);
        int err = im_out_write_at(&b->out, i->pixels, size, at), none = 0;
        if (err) atomic_compare_exchange_strong(&b->err, &none, err);
        b->table[task] = (entry){ at, (uint32_t)i->width, (uint32_t)i->height };
    }
    im_clear_error(c);
    im_image_free(i);
    free(bytes);
}

static bool build_file(im_ctx *c, builder *b, const char hash[65], const char *path)
{
    int64_t n = b->d->count;
    int threads = im_threads(c);
    size_t table = (size_t)n * sizeof(entry);
    if (!im_out_open(c, &b->out, path, true)) return false;
    b->table = calloc((size_t)n, sizeof *b->table);
    b->workers = calloc((size_t)threads, sizeof *b->workers);
    bool ok = b->table && b->workers;
    im_warnings_init(&b->warnings);
    for (int i = 0; i < threads && ok; i++) {
        ok = (b->workers[i] = im_ctx_new("ref", 1)) != NULL;
        if (ok) im_warnings_from(&b->warnings, b->workers[i]);
    }
    if (!ok) im_fail(c, "%s: out of memory; close other programs", path);
    atomic_store(&b->end, HEAD + table);
    if (ok) im_parallel(c, (int)n, store_one, b);
    if (ok && im_cancelled(c)) ok = im_fail(c, "stopped");
    char first[HEAD] = "";
    head h = { .line = '\n', .count = (uint64_t)n, .bytes = atomic_load(&b->end) };
    memcpy(h.magic, magic, sizeof h.magic);
    memcpy(h.hash, hash, sizeof h.hash);
    memcpy(first, &h, sizeof h);
    int err = atomic_load(&b->err);
    if (ok && !err) err = im_out_write_at(&b->out, first, HEAD, 0);
    if (ok && !err) err = im_out_write_at(&b->out, b->table, table, HEAD);
    if (ok && err) ok = im_out_fail(c, &b->out, err);
    for (int i = 0; b->workers && i < threads; i++) im_ctx_free(b->workers[i]);
    im_warnings_tell(&b->warnings, c, b->d->path);
    im_warnings_free(&b->warnings);
    free(b->workers);
    free(b->table);
    return im_out_finish(c, &b->out) && ok;
}

/* True when the mapped file is whole and belongs to this set. */
static bool is_valid(im_cache *k, const char hash[65])
{
    head h;
    if (k->map.bytes < HEAD + (uint64_t)k->count * sizeof(entry)) return false;
    memcpy(&h, k->map.data, sizeof h);
    if (memcmp(h.magic, magic, sizeof h.magic) || memcmp(h.hash, hash, sizeof h.hash) ||
        h.count != (uint64_t)k->count || h.bytes != k->map.bytes)
        return false;
    k->table = (const entry *)(const void *)(k->map.data + HEAD);
    for (int64_t i = 0; i < k->count; i++) {
        const entry *e = &k->table[i];
        uint64_t size = (uint64_t)e->width * e->height * 3;
        if (e->width &&
            (e->width > 1 << 20 || e->height > 1 << 20 || e->offset > h.bytes || size > h.bytes - e->offset))
            return false;
    }
    return true;
}

static bool open_file(im_ctx *c, im_cache *k, const im_dataset *d, const im_cache_args *a)
{
    char set[65], hash[65], text[120], name[60];
    if (!im_make_folder(c, a->folder) || !im_dataset_hash(c, d, true, set)) return false;
    snprintf(text, sizeof text, "%s %lld", set, (long long)(a->max_pixels ? a->max_pixels : IM_PICTURE_MAX_PIXELS));
    if (!im_sha256_of(c, text, strlen(text), hash)) return false;
    snprintf(name, sizeof name, "imago-%.16s.pictures", hash);
    char *path = im_join(c, a->folder, name);
    bool ok = path != NULL, there = ok && im_is_file(path);
    if (there) {
        ok = im_map_open(c, &k->map, path);
        if (ok && !is_valid(k, hash)) {
            im_warn(c, "%s: is damaged or of another version; it is made again", path);
            im_map_close(&k->map);
            there = false;
        }
    }
    if (ok && !there) {
        builder b = { .d = d, .a = a, .c = c };
        ok = build_file(c, &b, hash, path) && im_map_open(c, &k->map, path) &&
             (is_valid(k, hash) || im_fail(c, "%s: changed while it was opened; start again", path));
    }
    free(path);
    return ok;
}

/* ---------------------------------------------------------------- both */

im_cache *im_cache_open(im_ctx *c, const im_dataset *d, const im_cache_args *a)
{
    if (!im_ok(c)) return NULL;
    im_cache *k = calloc(1, sizeof *k);
    if (!k) {
        im_fail(c, "%s: out of memory for a cache; close other programs", d->path);
        return NULL;
    }
    k->kind = a->kind;
    k->count = d->count;
    if (a->kind == IM_CACHE_DISK) {
        if (open_file(c, k, d, a)) return k;
    } else {
        k->limit = a->bytes ? a->bytes : half_of_memory();
        k->pictures = calloc((size_t)d->count, sizeof *k->pictures);
        if (k->pictures) return k;
        im_fail(c, "%s: out of memory for a cache of %lld pictures; close other programs", d->path,
                (long long)d->count);
    }
    im_cache_free(k);
    return NULL;
}

void im_cache_free(im_cache *k)
{
    if (!k) return;
    for (int64_t i = 0; k->pictures && i < k->count; i++) im_image_free(atomic_load(&k->pictures[i]));
    free(k->pictures);
    im_map_close(&k->map);
    free(k);
}

bool im_cache_get(const im_cache *k, int64_t index, im_image *out)
{
    if (!k) return false;
    if (k->kind == IM_CACHE_RAM) {
        const im_image *i = atomic_load(&k->pictures[index]);
        if (i) *out = *i;
        return i != NULL;
    }
    const entry *e = &k->table[index];
    if (!e->width) return false;
    /* The pixels of an im_image may be written; nobody writes to those of a cache. */
    *out = (im_image){ (int)e->width, (int)e->height, 3, (uint8_t *)(uintptr_t)(k->map.data + e->offset) };
    return true;
}

im_cache_state im_cache_report(const im_cache *k)
{
    if (!k) return (im_cache_state){ 0 };
    if (k->kind == IM_CACHE_DISK) return (im_cache_state){ k->count, k->map.bytes, 0, false };
    return (im_cache_state){ atomic_load(&k->kept), atomic_load(&k->bytes), k->limit, atomic_load(&k->full) };
}
