/* synth_check.c: is a finished set as it was made? And a single picture of it, drawn again. */
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/files/file.h"
#include "data/files/names.h"
#include "data/files/sha256.h"
#include "models/pipelines/synth.h"

enum { LIST_BYTES = 1 << 30, PICTURE_BYTES = 1 << 30 };

void im_synth_note(const im_synth_hooks *h, const char *fmt, ...)
{
    char text[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (h->note) h->note(h->arg, text);
}

/* ---------------------------------------------------------------- --verify */

typedef struct row { char *file, *hash; bool seen; } row;

typedef struct verifier {
    im_ctx *c;
    const char *set;
    const im_synth_hooks *h;
    row *rows; int64_t n, cap;
    im_names index;                                            /* of files, to rows                                   */
    int64_t missing, changed, extra;
    const char *shard;                                         /* whose members are looked at                         */
} verifier;

static bool add_row(verifier *v, const char *path, int64_t line, const char *text)
{
    json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    const char *file = json_string_value(json_object_get(j, "file_name"));
    const char *hash = json_string_value(json_object_get(j, "file_hash"));
    bool ok = (file && hash) || im_fail(v->c, "%s: line %lld has no file_name and file_hash; the file was changed", path,
                                        (long long)line);
    if (ok && v->n == v->cap) {
        int64_t cap = v->cap ? 2 * v->cap : 1024;
        row *rows = realloc(v->rows, (size_t)cap * sizeof *rows);
        if (rows) v->rows = rows;
        if (rows) v->cap = cap;
        ok = rows || im_fail(v->c, "%s: out of memory for its rows", path);
    }
    if (ok) {
        row r = { .file = im_copy_text(v->c, file, strlen(file)), .hash = im_copy_text(v->c, hash, strlen(hash)) };
        v->rows[v->n] = r;
        ok = r.file && r.hash && im_names_add(v->c, &v->index, r.file, strlen(r.file), (int)v->n);
        v->n++;
    }
    json_decref(j);
    return ok;
}

static bool read_metadata(verifier *v, const json_t *manifest)
{
    size_t bytes;
    char hash[65], *path = im_join(v->c, v->set, "metadata.jsonl"), *save = NULL;
    char *text = path ? im_read_file(v->c, path, LIST_BYTES, &bytes) : NULL;
    const char *want = json_string_value(json_object_get(manifest, "metadata_hash"));
    bool ok = text && im_sha256_of(v->c, text, bytes, hash);
    if (ok && (!want || strcmp(want, hash)))
        ok = im_fail(v->c, "%s: is not the file that manifest.json tells of (SHA-256 %.16s..., there %.16s...)", path, hash,
                     want ? want : "none");
    int64_t line = 0;
    for (char *p = ok ? strtok_r(text, "\n", &save) : NULL; ok && p; p = strtok_r(NULL, "\n", &save))
        ok = add_row(v, path, ++line, p);
    free(text);
    free(path);
    return ok;
}

/* The bytes of `file` against its row. */
static void check_bytes(verifier *v, const char *file, const void *bytes, size_t n)
{
    char hash[65];
    int at = im_names_find(&v->index, file, strlen(file));
    if (at < 0) {
        v->extra++;
        im_synth_note(v->h, "%s is not of the set", file);
    } else if (im_sha256_of(v->c, bytes, n, hash)) {
        v->rows[at].seen = true;
        if (!strcmp(hash, v->rows[at].hash)) return;
        v->changed++;
        im_synth_note(v->h, "%s was changed", file);
    }
}

static bool check_member(void *arg, const char *name, const char *bytes, size_t n)
{
    verifier *v = arg;
    char file[400];
    size_t length = strlen(name);
    if (length > 5 && !strcmp(name + length - 5, ".json")) return true;
    snprintf(file, sizeof file, "%s/%s", v->shard, name);
    check_bytes(v, file, bytes, n);
    return im_ok(v->c);
}

static bool check_file(verifier *v, const char *path, const char *name)
{
    size_t n, length = strlen(name);
    v->shard = name;
    if (length > 4 && !strcmp(name + length - 4, ".tar")) {
        if (im_synth_shard_members(v->c, path, check_member, v) || im_cancelled(v->c)) return im_ok(v->c);
        im_synth_note(v->h, "%s", im_error(v->c));
        im_clear_error(v->c);
        return true;
    }
    char *bytes = im_read_file(v->c, path, PICTURE_BYTES, &n);
    if (bytes) check_bytes(v, name, bytes, n);
    free(bytes);
    return im_ok(v->c);
}

static bool own_name(const char *name)
{
    static const char *const own[] = { ".", "..", ".parts", "manifest.json", "metadata.jsonl", "dropped.jsonl", NULL };
    for (int i = 0; own[i]; i++)
        if (!strcmp(name, own[i])) return true;
    return false;
}

/* Every file of SET/below ("" or a class), one level deep. */
static bool walk(verifier *v, const char *below)
{
    char *folder = im_join(v->c, v->set, below);
    DIR *d = folder ? opendir(folder) : NULL;
    for (struct dirent *e; d && im_ok(v->c) && (e = readdir(d)); ) {
        if (own_name(e->d_name) && (!*below || e->d_name[0] == '.')) continue;
        char *path = im_join(v->c, folder, e->d_name), name[600];
        snprintf(name, sizeof name, "%s%s%s", below, *below ? "/" : "", e->d_name);
        if (path && im_is_folder(path) && !*below) walk(v, e->d_name);
        else if (path) check_file(v, path, name);
        if (im_cancelled(v->c)) im_fail(v->c, "stopped");
        free(path);
    }
    if (d) closedir(d);
    free(folder);
    return im_ok(v->c);
}

static bool judge(verifier *v)
{
    for (int64_t i = 0; i < v->n; i++)
        if (!v->rows[i].seen) {
            v->missing++;
            im_synth_note(v->h, "%s is missing", v->rows[i].file);
        }
    if (v->missing || v->changed || v->extra)
        return im_fail(v->c, "%s: of its %lld pictures %lld are missing and %lld were changed; %lld files are not of the "
                             "set; `imago synth -o SET` draws what is missing, with --one CLASS:INDEX --force one again",
                       v->set, (long long)v->n, (long long)v->missing, (long long)v->changed, (long long)v->extra);
    im_synth_note(v->h, "%s: all %lld pictures are as they were drawn", v->set, (long long)v->n);
    return true;
}

bool im_synth_verify(im_ctx *c, const char *set, const im_synth_hooks *h)
{
    json_t *manifest = im_synth_read_manifest(c, set);
    verifier v = { .c = c, .set = set, .h = h };
    bool ok = im_ok(c) && (manifest || im_fail(c, "%s: holds no manifest.json; wanted a set of `imago synth`", set));
    if (ok && !im_synth_finished(manifest))
        ok = im_fail(c, "%s: is not finished; the command that began it goes on with it", set);
    ok = ok && im_names_init(c, &v.index, 1024) && read_metadata(&v, manifest) && walk(&v, "") && judge(&v);
    for (int64_t i = 0; i < v.n; i++) {
        free(v.rows[i].file);
        free(v.rows[i].hash);
    }
    free(v.rows);
    im_names_free(&v.index);
    json_decref(manifest);
    return ok;
}

/* ---------------------------------------------------------------- --one */

/* "CLASS:INDEX"; a class may have colons in its name. */
static bool read_one(im_ctx *c, const im_synth *s, const char *text, int64_t *number)
{
    const char *colon = strrchr(text, ':');
    char *end = NULL, *key = colon ? im_copy_text(c, text, (size_t)(colon - text)) : NULL;
    long long index = colon ? strtoll(colon + 1, &end, 10) : -1;
    int k = key ? im_class_find(&s->classes, key) : -1;
    bool ok = true;
    if (!colon || end == colon + 1 || *end)
        ok = im_fail(c, "--one %s: wanted CLASS:INDEX, such as %s:0", text, s->classes.v[0].key);
    else if (k < 0) ok = im_fail(c, "--one %s: there is no class \"%s\" in the set", text, key);
    else if (index < 0 || index >= s->a.per_class)
        ok = im_fail(c, "--one %s: the set has pictures 0 to %lld of each class", text, (long long)s->a.per_class - 1);
    *number = index * s->classes.n + k;
    free(key);
    return ok;
}

typedef struct lookup { const char *name; char *bytes; size_t n; } lookup;

static bool find_member(void *arg, const char *name, const char *bytes, size_t n)
{
    lookup *l = arg;
    if (strcmp(name, l->name)) return true;
    l->bytes = malloc(n + 1);
    if (l->bytes) memcpy(l->bytes, bytes, n);
    l->n = n;
    return true;
}

/* What the set has of the picture, malloc'd; NULL: nothing. *packed: it is in a shard. */
static char *bytes_there(im_ctx *c, const im_synth *s, const im_synth_picture *p, const char *path, bool *packed, size_t *n)
{
    *packed = false;
    if (im_is_file(path)) return im_read_file(c, path, PICTURE_BYTES, n);
    char *shard = im_synth_sharded(s) ? im_synth_shard_path(c, s, p->number / s->a.shard_size) : NULL;
    lookup l = { .name = strrchr(p->file, '/') + 1 };
    *packed = shard && im_is_file(shard);
    if (*packed) im_synth_shard_members(c, shard, find_member, &l);
    *n = l.n;
    free(shard);
    return l.bytes;
}

static bool put(im_ctx *c, const im_synth *s, const im_synth_picture *p, const char *again, const char *path, bool force,
                const im_synth_hooks *h)
{
    size_t n = 0, m = 0;
    bool packed;
    char *there = bytes_there(c, s, p, path, &packed, &n), *made = im_read_file(c, again, PICTURE_BYTES, &m);
    bool same = there && made && n == m && !memcmp(there, made, n), ok = made && im_ok(c);
    if (ok && same) {
        im_synth_note(h, "%s: the same bytes again", p->file);
    } else if (ok && packed) {
        ok = im_fail(c, "%s: other bytes than in the shard, which was changed, or made by another build; remove the shard "
                        "and draw the set again: only what is missing is drawn", p->file);
    } else if (ok && there && !force) {
        ok = im_fail(c, "%s: other bytes than the file has, which was changed, or made by another build; --force puts "
                        "these in its place", p->file);
    } else if (ok) {
        ok = im_synth_make_folders(c, s) && im_write_file(c, path, made, m, true);
        if (ok) im_synth_note(h, "%s: written", path);
    }
    free(there);
    free(made);
    return ok;
}

static bool was_dropped(im_ctx *c, const im_synth *s, const char *which, int64_t number, const im_synth_hooks *h)
{
    uint8_t *dropped = s->finished ? calloc((size_t)s->count + 1, 1) : NULL;
    if (dropped && im_synth_choose_dropped(c, s, h, dropped) && dropped[number])
        im_fail(c, "--one %s: was dropped from the set, as dropped.jsonl says", which);
    free(dropped);
    return !im_ok(c);
}

bool im_synth_one(im_ctx *c, im_synth *s, const char *which, bool force, const im_synth_hooks *h)
{
    int64_t number;
    im_synth_picture p = { 0 };
    if (!im_synth_begin(c, s) || !read_one(c, s, which, &number) || !im_synth_open_set(c, s)) return false;
    bool ok = !was_dropped(c, s, which, number, h) && im_ok(c) && im_synth_picture_at(c, s, number, &p);
    float *latents = ok ? malloc((size_t)s->latent * sizeof *latents) : NULL;
    char *path = ok ? im_synth_path(c, s, &p) : NULL, again[64];
    snprintf(again, sizeof again, ".again.%ld", (long)getpid());
    char *beside = path ? im_join(c, s->a.out, again) : NULL;
    if (ok && !latents) im_fail(c, "%s: out of memory for its latents", p.file);
    ok = ok && latents && beside && im_synth_latents(c, s, &p, 1, latents)
      && im_synth_write(c, s, s->sd, &p, latents, beside) && put(c, s, &p, beside, path, force, h);
    if (beside) unlink(beside);
    free(beside);
    free(path);
    free(latents);
    im_synth_picture_free(&p);
    im_synth_unclaim(s);
    if (s->finished) im_synth_leave(c, s);
    return ok;
}
