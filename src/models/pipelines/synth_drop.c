/* synth_drop.c: pictures that a set leaves out again, when all are drawn: first near copies within a class, then, of what
 * is left of each class, those with the lowest scores of a filter. Which and why is written to SET/dropped.jsonl before
 * anything is removed, so that a run that was killed goes on with the same choice. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/images/phash.h"
#include "data/images/picture.h"
#include "models/pipelines/synth.h"

static const char DROPPED[] = "dropped.jsonl";
enum { LIST_BYTES = 1 << 30, PICTURE_BYTES = 1 << 30 };

/* ---------------------------------------------------------------- hashes of pictures */

typedef struct hasher {
    const im_synth *s;
    im_ctx **c;                                                /* (threads)                                           */
    uint64_t *hash;                                            /* (count)                                             */
} hasher;

static void hash_one(void *arg, int task, int thread)
{
    const hasher *h = arg;
    im_ctx *c = h->c[thread];
    im_synth_picture p;
    size_t bytes;
    im_synth_locate(h->s, task, &p);
    char *path = im_synth_path(c, h->s, &p);
    char *data = path ? im_read_file(c, path, PICTURE_BYTES, &bytes) : NULL;
    im_image *picture = data ? im_picture_decode(c, data, bytes, p.file, NULL) : NULL;
    if (picture) im_phash(c, picture, &h->hash[task]);
    im_image_free(picture);
    free(data);
    free(path);
}

/* (count), malloc'd */
static uint64_t *hash_all(im_ctx *c, const im_synth *s)
{
    int threads = im_threads(c);
    hasher h = { .s = s, .c = calloc((size_t)threads, sizeof *h.c), .hash = calloc((size_t)s->count + 1, sizeof *h.hash) };
    bool ok = h.c && h.hash && s->count <= INT32_MAX;
    for (int i = 0; ok && i < threads; i++) ok = (h.c[i] = im_ctx_new("ref", 1)) != NULL;
    if (!ok) im_fail(c, "%s: out of memory for the hashes of %lld pictures", s->a.out, (long long)s->count);
    else im_parallel(c, (int)s->count, hash_one, &h);
    for (int i = 0; h.c && i < threads && h.c[i]; i++) {
        if (!im_ok(h.c[i])) im_fail(c, "%s", im_error(h.c[i]));
        im_ctx_free(h.c[i]);
    }
    free(h.c);
    if (im_ok(c)) return h.hash;
    free(h.hash);
    return NULL;
}

/* ---------------------------------------------------------------- the choice */

typedef struct choice {
    im_ctx *c;
    const im_synth *s;
    uint8_t *dropped;
    FILE *rows;                                                /* of dropped.jsonl                                    */
} choice;

static int64_t number_of(const im_synth *s, int class, int64_t index)
{
    return index * s->classes.n + class;
}

static void drop(choice *x, int class, int64_t index, json_t *why)
{
    json_t *row = json_pack("{s:s, s:I}", "class", x->s->classes.v[class].key, "index", (json_int_t)index);
    if (row) json_object_update(row, why);
    json_decref(why);
    char *text = im_synth_dump(x->c, row);
    if (text) fprintf(x->rows, "%s\n", text);
    free(text);
    x->dropped[number_of(x->s, class, index)] = 1;
}

/* A picture goes when one before it, of its class, that stays is within so many bits. */
static int64_t drop_copies(choice *x, const uint64_t *hash, int class)
{
    int64_t n = 0, per_class = x->s->a.per_class;
    for (int64_t i = 1; i < per_class; i++)
        for (int64_t j = 0; j < i; j++) {
            int64_t a = number_of(x->s, class, i), b = number_of(x->s, class, j);
            if (x->dropped[b] || im_hash_distance(hash[a], hash[b]) > x->s->a.dedup) continue;
            drop(x, class, i, json_pack("{s:s, s:I, s:i}", "why", "near copy", "of", (json_int_t)j, "bits",
                                        im_hash_distance(hash[a], hash[b])));
            n++;
            break;
        }
    return n;
}

typedef struct scored { int64_t index; double score; } scored;

static int best_first(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return (x->index > y->index) - (x->index < y->index);
}

/* The best of those that are left stay: keep of them, rounded up. score (count) */
static int64_t drop_worst(choice *x, const double *score, int class, scored *order)
{
    int64_t n = 0;
    for (int64_t i = 0; i < x->s->a.per_class; i++) {
        int64_t at = number_of(x->s, class, i);
        if (!x->dropped[at]) order[n++] = (scored){ i, isfinite(score[at]) ? score[at] : -HUGE_VAL };
    }
    qsort(order, (size_t)n, sizeof *order, best_first);
    int64_t kept = (int64_t)ceil(x->s->a.keep * (double)n - 1e-9);
    for (int64_t i = kept; i < n; i++)
        drop(x, class, order[i].index, json_pack("{s:s, s:f}", "why", "filter", "score", order[i].score));
    return n - kept;
}

static bool choose(choice *x, const im_synth_hooks *h)
{
    const im_synth *s = x->s;
    uint64_t *hash = s->a.dedup ? hash_all(x->c, s) : NULL;
    double *score = s->a.filter ? calloc((size_t)s->count + 1, sizeof *score) : NULL;
    scored *order = s->a.filter ? calloc((size_t)s->a.per_class + 1, sizeof *order) : NULL;
    bool ok = (hash || !s->a.dedup) && im_ok(x->c);
    if (ok && s->a.filter && (!score || !order)) ok = im_fail(x->c, "%s: out of memory for scores", s->a.out);
    ok = ok && (!s->a.filter || h->scores(h->arg, x->c, s, score));
    for (int k = 0; ok && k < s->classes.n; k++) {
        int64_t copies = s->a.dedup ? drop_copies(x, hash, k) : 0;
        int64_t worst = s->a.filter ? drop_worst(x, score, k, order) : 0;
        if (copies || worst)
            im_synth_note(h, "%s: dropped %lld near cop%s, %lld by the filter; %lld stay", s->classes.v[k].key,
                          (long long)copies, copies == 1 ? "y" : "ies", (long long)worst,
                          (long long)(s->a.per_class - copies - worst));
        ok = im_ok(x->c);
    }
    free(hash);
    free(score);
    free(order);
    return ok;
}

/* ---------------------------------------------------------------- the list */

static bool read_list(im_ctx *c, const im_synth *s, const char *path, uint8_t *dropped)
{
    size_t bytes;
    char *text = im_read_file(c, path, LIST_BYTES, &bytes), *save = NULL;
    bool ok = text != NULL;
    for (char *line = ok ? strtok_r(text, "\n", &save) : NULL; ok && line; line = strtok_r(NULL, "\n", &save)) {
        json_t *row = json_loads(line, 0, NULL);
        const char *key = json_string_value(json_object_get(row, "class"));
        int k = key ? im_class_find(&s->classes, key) : -1;
        json_int_t i = json_integer_value(json_object_get(row, "index"));
        ok = (k >= 0 && i >= 0 && i < s->a.per_class) || im_fail(c, "%s: a row is none of this set: %.100s", path, line);
        if (ok) dropped[number_of(s, k, i)] = 1;
        json_decref(row);
    }
    free(text);
    return ok;
}

bool im_synth_choose_dropped(im_ctx *c, const im_synth *s, const im_synth_hooks *h, uint8_t *dropped)
{
    char *path, *text = NULL;
    size_t n = 0;
    if (!s->a.dedup && !s->a.filter) return true;
    if (!(path = im_join(c, s->a.out, DROPPED))) return false;
    bool ok;
    if (im_is_file(path)) {
        ok = read_list(c, s, path, dropped);
    } else if (s->finished) {                                  /* what was dropped is not there to be chosen again     */
        ok = im_fail(c, "%s: is missing, which says what the finished set left out; bring it back, or draw the set anew in "
                     "another folder", path);
    } else {
        choice x = { .c = c, .s = s, .dropped = dropped, .rows = open_memstream(&text, &n) };
        ok = x.rows ? choose(&x, h) : im_fail(c, "%s: out of memory", path);
        if (x.rows && fclose(x.rows)) ok = im_fail(c, "%s: out of memory", path);
        ok = ok && im_write_file(c, path, text, n, true);
    }
    free(text);
    free(path);
    return ok;
}
