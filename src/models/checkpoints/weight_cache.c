/* weight_cache.c: see weight_cache.h. A file a network,
 *
 *     MODEL/imago-cache/NAME-DTYPE-ISA.weights; of a single file: imago-cache beside it, with the file's name in front
 *     $XDG_CACHE_HOME/imago/weights/FINGERPRINT-NAME-DTYPE-ISA.weights, or below ~/.cache, where that cannot be written
 *
 *     text   what the file is of: program, instruction set, fingerprint of the model (checkpoint.h), its path, size and
 *            time; then a line a tensor: name, dtype, packed, geglu, bytes; then a hash over pieces of the tensors
 *     zeros  up to a multiple of 64, then each tensor at a multiple of 64, where vectors begin on a cache line
 *
 * The text is made anew from the model and compared whole: whatever is other (a newer file, another build) is stale. The
 * hash looks at the two ends of each tensor, so it finds what was cut or overwritten, not a bit that flipped in between:
 * the whole would take longer to look at than to pack. */
#include "models/checkpoints/weight_cache.h"
#include "data/files/sha256.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { LINE = 64, ENDS = 256, HEX = 64 };

/* ---------------------------------------------------------------- where */

static char *file_name(const im_weight_cache *w, const char *front)
{
    char text[400];
    snprintf(text, sizeof text, "%.200s%s%s-%s-%s.weights", front, *front ? "-" : "", w->name,
             im_dtype_name(w->dtype), im_device_isa(w->c));
    return im_copy_text(w->c, text, strlen(text));
}

static char *beside_model(const im_weight_cache *w)
{
    im_ctx *c = w->c;
    const char *path = im_checkpoint_path(w->k), *folder = im_checkpoint_folder(w->k), *slash = strrchr(path, '/');
    char *cache = folder ? im_join(c, folder, "imago-cache") : im_join_beside(c, path, "imago-cache");
    char *file = file_name(w, folder ? "" : slash ? slash + 1 : path);
    char *place = cache && file ? im_join(c, cache, file) : NULL;
    free(cache);
    free(file);
    return place;
}

/* NULL where the user has no cache. */
static char *in_users_cache(const im_weight_cache *w)
{
    im_ctx *c = w->c;
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME"), *print;
    bool own = cache && *cache == '/';
    if ((!own && (!home || *home != '/')) || !(print = im_checkpoint_fingerprint(w->k))) return NULL;
    char front[40];
    snprintf(front, sizeof front, "%.32s", print);
    char *folder = im_join(c, own ? cache : home, own ? "imago/weights" : ".cache/imago/weights");
    char *file = file_name(w, front), *place = folder && file ? im_join(c, folder, file) : NULL;
    free(folder);
    free(file);
    return place;
}

/* ---------------------------------------------------------------- what stands in it */

/* As im_params_store wants it. */
static size_t stored_bytes(im_ctx *c, const im_params *p, const im_param *q, im_dtype t, im_weight_layout *layout)
{
    *layout = im_params_layout(p, q, t);
    return im_param_stored_bytes(c, q->t, *layout);
}

static size_t rounded(size_t bytes)
{
    return (bytes + LINE - 1) / LINE * LINE;
}

/* The text but for the hash, malloc'd; *size: with the hash, its newline, and zeros up to the first tensor. */
static char *head_of(const im_weight_cache *w, const im_params *p, size_t *size)
{
    im_ctx *c = w->c;
    const char *print = im_checkpoint_fingerprint(w->k);
    struct stat st = { 0 };
    char *text = NULL;
    size_t bytes = 0;
    FILE *f = print ? open_memstream(&text, &bytes) : NULL;
    if (!f) {
        if (im_ok(c)) im_fail(c, "out of memory for the list of cached weights");
        return NULL;
    }
    const char *file = im_checkpoint_weights(w->k, w->part);
    if (stat(file, &st)) st.st_size = -1;
    fprintf(f, "imago weights 1\nprogram %s\nisa %s\nmodel %s\nfile %s %lld %lld.%09ld\n", IM_VERSION, im_device_isa(c),
            print, file, (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    for (int i = 0; i < p->n; i++) {
        im_weight_layout layout;
        size_t n = stored_bytes(c, p, &p->v[i], w->dtype, &layout);
        fprintf(f, "%s %s %d %d %zu\n", p->v[i].t->name, im_dtype_name(layout.dtype), layout.packed, layout.geglu, n);
    }
    if (fclose(f)) im_fail(c, "out of memory for the list of cached weights");
    *size = rounded(bytes + HEX + 1);
    return text;
}

static bool hash_ends(im_ctx *c, im_sha256 *s, const void *data, size_t bytes)
{
    size_t n = bytes < ENDS ? bytes : ENDS;
    return im_sha256_add(c, s, data, n) && im_sha256_add(c, s, (const char *)data + bytes - n, n);
}

/* ---------------------------------------------------------------- reading */

/* Are these `bytes` a whole file that begins with head and has the tensors of p? */
static bool is_good(im_ctx *c, const im_map *m, const char *head, size_t size, const im_params *p, im_dtype t)
{
    size_t length = strlen(head), at = size;
    char hex[65] = "";
    im_weight_layout layout;
    if (m->bytes < size || memcmp(m->data, head, length)) return false;
    for (int i = 0; i < p->n; i++) at += rounded(stored_bytes(c, p, &p->v[i], t, &layout));
    im_sha256 *s = m->bytes == at ? im_sha256_new(c) : NULL;
    bool ok = s != NULL;
    at = size;
    for (int i = 0; ok && i < p->n; i++) {
        size_t n = stored_bytes(c, p, &p->v[i], t, &layout);
        ok = hash_ends(c, s, m->data + at, n);
        at += rounded(n);
    }
    if (!ok) {
        if (s) im_sha256_free(s);
        return false;
    }
    return im_sha256_finish(c, s, hex) && !memcmp(m->data + length, hex, HEX);
}

static bool take(im_ctx *c, const im_map *m, size_t size, im_params *p, im_dtype t)
{
    size_t at = size;
    bool ok = true;
    for (int i = 0; ok && i < p->n; i++) {
        im_weight_layout layout;
        size_t n = stored_bytes(c, p, &p->v[i], t, &layout);
        ok = im_param_map(c, p->v[i].t, layout, m->data + at);
        at += rounded(n);
    }
    return ok;
}

/* place: freed here */
static bool map_one(const im_weight_cache *w, char *place, const char *head, size_t size, im_params *p, im_map *m)
{
    im_ctx *c = w->c;
    bool ok = place && im_is_file(place) && im_map_open(c, m, place);
    if (ok && !(is_good(c, m, head, size, p, w->dtype) && take(c, m, size, p, w->dtype))) {
        im_map_close(m);
        ok = false;
    }
    if (!ok) *m = (im_map){ 0 };
    im_clear_error(c);                                         /* what cannot be read is as if it were not there      */
    free(place);
    return ok;
}

bool im_weight_cache_map(const im_weight_cache *w, im_params *p, im_map *map)
{
    size_t size = 0;
    *map = (im_map){ 0 };
    if (!im_ok(w->c) || p->train) return false;
    char *head = head_of(w, p, &size);
    bool ok = head && (map_one(w, beside_model(w), head, size, p, map)
                       || map_one(w, in_users_cache(w), head, size, p, map));
    free(head);
    return ok;
}

/* ---------------------------------------------------------------- writing */

/* After the head's place: every tensor; *hex: of their ends. */
static bool write_tensors(im_ctx *c, im_out *o, const im_params *p, char hex[65])
{
    static const char zeros[LINE] = "";
    im_sha256 *s = im_sha256_new(c);
    bool ok = s != NULL;
    for (int i = 0; ok && i < p->n; i++) {
        const im_tensor *t = p->v[i].t;
        im_weight_layout layout = { .dtype = (im_dtype)t->dtype, .packed = t->packed, .geglu = t->geglu };
        size_t n = im_param_stored_bytes(c, t, layout);
        void *data = im_param_stored(c, t);
        ok = data && hash_ends(c, s, data, n) && im_out_write(c, o, data, n) && im_out_write(c, o, zeros, rounded(n) - n);
        free(data);
    }
    if (ok) return im_sha256_finish(c, s, hex);
    if (s) im_sha256_free(s);
    return false;
}

static bool write_file(im_ctx *c, const char *place, const char *head, size_t size, const im_params *p)
{
    im_out o;
    char hex[65] = "";
    if (!place || !im_out_open(c, &o, place, true)) return false;
    char *front = calloc(1, size);
    bool ok = (front || im_fail(c, "%s: out of memory", place)) && im_out_write(c, &o, front, size)
        && write_tensors(c, &o, p, hex);
    if (ok) {
        size_t length = strlen(head);
        memcpy(front, head, length);
        memcpy(front + length, hex, HEX);
        front[length + HEX] = '\n';
        int err = im_out_write_at(&o, front, size, 0);
        ok = !err || im_out_fail(c, &o, err);
    }
    free(front);
    return im_out_finish(c, &o) && ok;                         /* abandons where c has failed                          */
}

void im_weight_cache_keep(const im_weight_cache *w, const im_params *p)
{
    im_ctx *c = w->c;
    size_t size;
    if (!im_ok(c)) return;
    char *head = head_of(w, p, &size), *place = beside_model(w);
    bool ok = head && write_file(c, place, head, size, p);
    if (!ok && head && !im_cancelled(c)) {
        char why[1000];
        snprintf(why, sizeof why, "%s", im_error(c));
        im_clear_error(c);
        free(place);
        place = in_users_cache(w);
        if (!write_file(c, place, head, size, p)) im_warn(c, "packed weights could not be kept: %s", why);
    }
    if (!im_cancelled(c)) im_clear_error(c);
    free(head);
    free(place);
}
