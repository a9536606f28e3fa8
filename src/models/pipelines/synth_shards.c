/* synth_shards.c: shards of a synthetic set: tar files in WebDataset form, KEY.png (or .jpg) and KEY.json for each picture,
 * the latter its row of metadata.jsonl. Headers say nothing of time and owner: the bytes depend on the pictures alone. */
#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/files/file.h"
#include "data/files/sha256.h"
#include "models/pipelines/synth.h"

enum { PICTURE_BYTES = 1 << 30, ROW_BYTES = 1 << 20 };

char *im_synth_file_row(im_ctx *c, const im_synth *s, const im_synth_picture *p, const void *bytes, size_t n)
{
    char hash[65];
    if (!im_sha256_of(c, bytes, n, hash)) return NULL;
    json_t *rest = im_synth_row(c, s, p), *row = rest ? json_pack("{s:s}", "file_name", p->file) : NULL;
    if (row && (json_object_update(row, rest) || json_object_set_new(row, "model_hash", json_string(s->model_hash))
                || json_object_set_new(row, "file_hash", json_string(hash)))) {
        json_decref(row);
        row = NULL;
    }
    json_t *loras = row ? im_synth_loras_of(c, s->manifest, p->prompt) : NULL;
    if (loras) json_object_set_new(row, "loras", loras);
    json_decref(rest);
    return im_synth_dump(c, row);
}

/* ---------------------------------------------------------------- writing */

typedef struct tar { im_ctx *c; im_out out; struct archive *a; } tar;

static la_ssize_t give(struct archive *a, void *arg, const void *bytes, size_t n)
{
    tar *t = arg;
    (void)a;
    return im_out_write(t->c, &t->out, bytes, n) ? (la_ssize_t)n : -1;
}

static bool add_member(tar *t, const char *name, const void *bytes, size_t n)
{
    struct archive_entry *e = archive_entry_new();
    bool ok = e != NULL;
    if (ok) {
        archive_entry_set_pathname(e, name);
        archive_entry_set_size(e, (la_int64_t)n);
        archive_entry_set_filetype(e, AE_IFREG);
        archive_entry_set_perm(e, 0644);
        archive_entry_set_mtime(e, 0, 0);
        ok = archive_write_header(t->a, e) == ARCHIVE_OK && archive_write_data(t->a, bytes, n) == (la_ssize_t)n;
    }
    archive_entry_free(e);
    return ok || (im_ok(t->c) && im_fail(t->c, "%s: %s cannot be added: %s", t->out.path, name,
                                         t->a ? archive_error_string(t->a) : "out of memory")) || im_ok(t->c);
}

static bool add_picture(tar *t, const im_synth *s, int64_t n)
{
    im_synth_picture p;
    size_t bytes = 0;
    if (!im_synth_picture_at(t->c, s, n, &p)) return false;
    const char *name = strrchr(p.file, '/') + 1;
    char *path = im_synth_path(t->c, s, &p), json[40];
    char *data = path ? im_read_file(t->c, path, PICTURE_BYTES, &bytes) : NULL;
    char *row = data ? im_synth_file_row(t->c, s, &p, data, bytes) : NULL;
    snprintf(json, sizeof json, "%.*s.json", (int)strcspn(name, "."), name);
    bool ok = row && add_member(t, name, data, bytes) && add_member(t, json, row, strlen(row));
    free(row);
    free(data);
    free(path);
    im_synth_picture_free(&p);
    return ok;
}

static int64_t shard_end(const im_synth *s, int64_t shard)
{
    int64_t end = (shard + 1) * s->a.shard_size;
    return end < s->count ? end : s->count;
}

/* The first picture of the shard from *from on that is not there, or its end. */
static bool full(im_ctx *c, const im_synth *s, int64_t shard, int64_t *from)
{
    int64_t n = *from > shard * s->a.shard_size ? *from : shard * s->a.shard_size, end = shard_end(s, shard);
    for (bool there = true; n < end && there; n += there) {
        im_synth_picture p;
        im_synth_locate(s, n, &p);
        there = im_synth_drawn(c, s, &p);
    }
    *from = n;
    return n == end;
}

static void remove_pictures(im_ctx *c, const im_synth *s, int64_t shard)
{
    for (int64_t n = shard * s->a.shard_size; n < shard_end(s, shard); n++) {
        im_synth_picture p;
        im_synth_locate(s, n, &p);
        char *path = im_synth_path(c, s, &p);
        if (path) unlink(path);
        free(path);
    }
}

static bool write_shard(im_ctx *c, const im_synth *s, int64_t shard, const char *path, const uint8_t *dropped)
{
    tar t = { .c = c };
    if (!im_out_open(c, &t.out, path, true)) return false;
    t.a = archive_write_new();
    bool ok = t.a && archive_write_set_format_ustar(t.a) == ARCHIVE_OK
           && archive_write_open(t.a, &t, NULL, give, NULL) == ARCHIVE_OK;
    if (!ok) im_fail(c, "%s: cannot be begun: out of memory", path);
    for (int64_t n = shard * s->a.shard_size; ok && n < shard_end(s, shard); n++)
        ok = (dropped && dropped[n]) || add_picture(&t, s, n);
    if (ok && archive_write_close(t.a) != ARCHIVE_OK) im_fail(c, "%s: cannot be ended: %s", path,
                                                              archive_error_string(t.a));
    archive_write_free(t.a);
    return im_out_finish(c, &t.out);
}

bool im_synth_pack(im_ctx *c, const im_synth *s, int64_t shard, int64_t *from, const uint8_t *dropped)
{
    int64_t first = 0;
    char *path = im_synth_shard_path(c, s, shard);
    bool ok = path && im_ok(c);
    if (ok && !im_synth_packed(c, s, shard) && full(c, s, shard, from ? from : &first)) {
        ok = write_shard(c, s, shard, path, dropped);
        /* another worker was first, and took the pictures */
        if (!ok && im_synth_packed(c, s, shard) && !im_cancelled(c)) {
            im_clear_error(c);
            ok = true;
        }
    }
    if (ok && im_synth_packed(c, s, shard)) remove_pictures(c, s, shard);
    free(path);
    return ok;
}

/* ---------------------------------------------------------------- reading */

static bool is_row(const char *name)
{
    size_t n = strlen(name);
    return n > 5 && !strcmp(name + n - 5, ".json");
}

bool im_synth_shard_members(im_ctx *c, const char *path,
                            bool (*fn)(void *arg, const char *name, const char *bytes, size_t n), void *arg)
{
    struct archive *a = archive_read_new();
    struct archive_entry *e;
    int rc = ARCHIVE_FATAL;
    bool ok = a && archive_read_support_format_tar(a) == ARCHIVE_OK && archive_read_open_filename(a, path, 1 << 20) ==
              ARCHIVE_OK;
    while (ok && (rc = archive_read_next_header(a, &e)) == ARCHIVE_OK) {
        la_int64_t n = archive_entry_size(e);
        char *bytes = n >= 0 && n <= PICTURE_BYTES ? malloc((size_t)n + 1) : NULL;
        ok = bytes && archive_read_data(a, bytes, (size_t)n) == (la_ssize_t)n;
        if (ok) bytes[n] = '\0';
        if (ok && !fn(arg, archive_entry_pathname(e), bytes, (size_t)n)) {
            free(bytes);
            archive_read_free(a);
            return false;
        }
        free(bytes);
    }
    if (!ok || rc != ARCHIVE_EOF)
        im_fail(c, "%s: is not a whole shard: %s; remove it: the set's pictures are drawn again", path,
                a && archive_error_string(a) ? archive_error_string(a) : "out of memory");
    archive_read_free(a);
    return im_ok(c);
}

typedef struct rows { bool (*fn)(void *arg, const char *row); void *arg; } rows;

static bool row_of(void *arg, const char *name, const char *bytes, size_t n)
{
    const rows *r = arg;
    return !is_row(name) || n > ROW_BYTES || r->fn(r->arg, bytes);
}

bool im_synth_shard_rows(im_ctx *c, const im_synth *s, int64_t shard, bool (*fn)(void *arg, const char *row), void *arg)
{
    rows r = { .fn = fn, .arg = arg };
    char *path = im_synth_shard_path(c, s, shard);
    bool ok = path && im_synth_shard_members(c, path, row_of, &r);
    free(path);
    return ok;
}
