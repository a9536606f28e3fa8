/* synth_finish.c: the end of a set: when every picture is there and no other worker is left, pictures are dropped (where
 * that was asked for), shards are packed, and metadata.jsonl is written: a row a picture, in the order of the set, whoever
 * drew what. The manifest comes last; with it the set is finished. Each step can be done again after a kill. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/files/file.h"
#include "data/files/sha256.h"
#include "models/pipelines/synth.h"

enum { PIECE = 1 << 20, PICTURE_BYTES = 1 << 30 };

typedef struct output {                                        /* metadata.jsonl being written                        */
    im_ctx *c;
    im_out out;
    im_sha256 *hash;
    char *piece; size_t n;                                     /* (PIECE)                                             */
    int64_t rows;
} output;

static bool flush(output *o)
{
    bool ok = im_sha256_add(o->c, o->hash, o->piece, o->n) && im_out_write(o->c, &o->out, o->piece, o->n);
    o->n = 0;
    return ok;
}

static bool add_row(void *arg, const char *row)
{
    output *o = arg;
    size_t n = strlen(row);
    if (n + 1 > PIECE) return im_fail(o->c, "%s: a row has %zu bytes", o->out.path, n);
    if (o->n + n + 1 > PIECE && !flush(o)) return false;
    memcpy(o->piece + o->n, row, n);
    o->piece[o->n + n] = '\n';
    o->n += n + 1;
    o->rows++;
    return true;
}

static bool add_file(output *o, const im_synth *s, int64_t n)
{
    im_synth_picture p;
    size_t bytes;
    if (!im_synth_picture_at(o->c, s, n, &p)) return false;
    char *path = im_synth_path(o->c, s, &p);
    char *data = path ? im_read_file(o->c, path, PICTURE_BYTES, &bytes) : NULL;
    char *row = data ? im_synth_file_row(o->c, s, &p, data, bytes) : NULL;
    bool ok = row && add_row(o, row);
    free(row);
    free(data);
    free(path);
    im_synth_picture_free(&p);
    return ok;
}

/* A finished set whose rows come out as others has pictures that were changed: its own rows stay, and tell which. */
static bool as_before(im_ctx *c, const im_synth *s, const char *before, const char *hash)
{
    return !before || !strcmp(before, hash) ||
           im_fail(c, "%s: what it lacked is there again, but other pictures are not what they were when it was finished; "
                   "`imago synth --verify -o %s` names them", s->a.out, s->a.out);
}

/* *rows: of the file, hash: its own. before: what that was when the set was finished first, or NULL. */
static bool write_metadata(im_ctx *c, const im_synth *s, const uint8_t *dropped, const char *before, int64_t *rows,
                           char hash[65])
{
    char *path = im_join(c, s->a.out, "metadata.jsonl");
    output o = { .c = c, .piece = malloc(PIECE), .hash = im_sha256_new(c) };
    bool ok = path && o.hash && (o.piece || im_fail(c, "%s: out of memory", path)) && im_out_open(c, &o.out, path, true);
    bool open = ok;
    if (ok && im_synth_sharded(s))
        for (int64_t k = 0; ok && k < im_synth_shards(s); k++) ok = im_synth_shard_rows(c, s, k, add_row, &o);
    else
        for (int64_t n = 0; ok && n < s->count; n++)
            ok = (dropped[n] || add_file(&o, s, n)) && im_synth_goes_on(c);
    ok = ok && flush(&o);
    if (ok) ok = im_sha256_finish(c, o.hash, hash) && as_before(c, s, before, hash);
    else im_sha256_free(o.hash);
    if (open) ok = im_out_finish(c, &o.out) && ok;
    *rows = o.rows;
    free(o.piece);
    free(path);
    return ok;
}

/* Pictures that are missing, wherever they belong. */
static int64_t count_missing(im_ctx *c, const im_synth *s)
{
    int64_t missing = 0;
    for (int64_t n = 0; n < s->count && im_synth_goes_on(c); n++) {
        im_synth_picture p;
        im_synth_locate(s, n, &p);
        missing += !im_synth_there(c, s, &p);
    }
    return missing;
}

static void remove_dropped(im_ctx *c, const im_synth *s, const uint8_t *dropped)
{
    for (int64_t n = 0; n < s->count && im_synth_goes_on(c); n++) {
        im_synth_picture p;
        if (!dropped[n]) continue;
        im_synth_locate(s, n, &p);
        char *path = im_synth_path(c, s, &p);
        if (path) unlink(path);
        free(path);
    }
}

/* Of a finished set: those whose removal a kill prevented. */
static bool drop_again(im_ctx *c, const im_synth *s, const im_synth_hooks *h)
{
    uint8_t *dropped = im_synth_sharded(s) ? NULL : calloc((size_t)s->count + 1, 1);
    bool ok = !dropped || im_synth_choose_dropped(c, s, h, dropped);
    if (ok && dropped) remove_dropped(c, s, dropped);
    free(dropped);
    return ok;
}

static bool finish_all(im_ctx *c, im_synth *s, const char *before, const im_synth_hooks *h)
{
    char hash[65];
    int64_t rows;
    uint8_t *dropped = calloc((size_t)s->count + 1, 1);
    bool ok = dropped || im_fail(c, "%s: out of memory", s->a.out);
    ok = ok && im_synth_choose_dropped(c, s, h, dropped);
    for (int64_t k = 0; ok && im_synth_sharded(s) && k < im_synth_shards(s); k++)
        ok = im_synth_pack(c, s, k, NULL, dropped);
    ok = ok && write_metadata(c, s, dropped, before, &rows, hash) && im_synth_commit(c, s, rows, hash);
    if (ok) {
        if (!im_synth_sharded(s)) remove_dropped(c, s, dropped);
        im_synth_note(h, "%s: %lld pictures of %d classes, metadata.jsonl, manifest.json", s->a.out, (long long)rows,
                      s->classes.n);
    }
    free(dropped);
    return ok;
}

bool im_synth_finish(im_ctx *c, im_synth *s, const im_synth_hooks *h)
{
    if (!im_synth_lock(c, s)) return false;
    json_t *there = im_synth_read_manifest(c, s->a.out);
    bool was = there && im_synth_finished(there) && !s->again, ok = im_ok(c);
    int others = ok && !was ? im_synth_others(c, s) : 0;
    int64_t missing = ok && !was ? count_missing(c, s) : 0;
    if (was) {
        if (ok) ok = drop_again(c, s, h);
        im_synth_note(h, "%s: all pictures are there", s->a.out);
    } else if (ok && missing) {
        im_synth_note(h, "%s: %lld of %lld pictures are there; the other parts are still to be drawn", s->a.out,
             (long long)(s->count - missing), (long long)s->count);
    } else if (ok && others) {
        im_synth_note(h, "%s: all pictures are there; %d other worker%s at it, and the last one finishes the set", s->a.out,
                      others, others > 1 ? "s are" : " is");
    } else if (ok) {
        ok = finish_all(c, s, s->again ? json_string_value(json_object_get(there, "metadata_hash")) : NULL, h);
    }
    if (ok && !missing && !others) {
        im_synth_sweep(c, s);
        im_synth_leave(c, s);
    }
    json_decref(there);
    im_synth_unlock(s);
    return ok;
}
