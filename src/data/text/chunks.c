/* chunks.c: see chunks.h. */
#include "data/text/chunks.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "data/files/file.h"
#include "data/files/utf8.h"
#include "data/text/prompt_weights.h"
#include "data/text/tokenizer_parts.h"

enum { BACKTRACK = 20 };                                       /* ids between the last comma and the end of a chunk    */

/* An id with its weight. `together`: so many from here on that one chunk must hold; 0: BREAK. */
typedef struct piece { int32_t id; float weight; int together; } piece;

typedef struct pieces {
    im_ctx *c;
    const im_tokenizer *t;
    im_vector_words words;
    piece *v; size_t n, cap;
    size_t room;                                               /* plain: what the one chunk holds                      */
    const char *cut;                                           /* where the first id that does not fit begins          */
} pieces;

static bool add(pieces *p, piece one)
{
    if (p->n == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 128;
        piece *v = realloc(p->v, cap * sizeof *v);
        if (!v) return im_fail(p->c, "out of memory for the ids of a prompt");
        p->v = v;
        p->cap = cap;
    }
    p->v[p->n++] = one;
    return true;
}

/* ---------------------------------------------------------------- words that stand for vectors */

static bool is_there(const char *name, const char *text, size_t bytes, size_t at)
{
    size_t n = strlen(name), last = n;
    if (n > bytes - at || strncasecmp(name, text + at, n)) return false;
    while (last && ((uint8_t)name[--last] & 0xc0) == 0x80);
    return (!im_clip_word_char(name, n) || im_clip_stands_alone(text, bytes, at, bytes))
        && (!im_clip_word_char(name + last, n - last) || im_clip_stands_alone(text, bytes, 0, at + n));
}

const im_vector_word *im_vector_word_in(im_vector_words w, const char *text, size_t bytes, size_t *at)
{
    const im_vector_word *best = NULL;
    for (*at = 0; w.n && !best && *at < bytes; *at += !best)
        for (int i = 0; i < w.n; i++)
            if (is_there(w.v[i].name, text, bytes, *at) && (!best || strlen(w.v[i].name) > strlen(best->name)))
                best = &w.v[i];
    return best;
}

static bool add_vectors(pieces *p, const im_vector_word *w, double weight)
{
    bool ok = true;
    for (int i = 0; ok && i < w->n; i++) ok = add(p, (piece){ -1 - (w->first + i), (float)weight, w->n - i });
    return ok;
}

/* ---------------------------------------------------------------- text */

static bool add_words(pieces *p, const char *text, size_t bytes, double weight)
{
    im_ids ids = { 0 };
    const char *cut;
    bool ok = im_tokenize_ids(p->c, p->t, text, bytes, p->room > p->n ? p->room - p->n : 0, &ids, &cut);
    if (!p->cut) p->cut = cut;
    for (size_t i = 0; ok && i < ids.n; i++) ok = add(p, (piece){ ids.v[i], (float)weight, 1 });
    free(ids.v);
    return ok;
}

static bool add_text(pieces *p, const char *text, size_t bytes, double weight)
{
    size_t at;
    for (const im_vector_word *w; (w = im_vector_word_in(p->words, text, bytes, &at)); ) {
        if (!add_words(p, text, at, weight) || !add_vectors(p, w, weight)) return false;
        if (!p->cut && p->n > p->room) p->cut = text + at;
        text += at + strlen(w->name);
        bytes -= at + strlen(w->name);
    }
    return add_words(p, text, bytes, weight);
}

/* ---------------------------------------------------------------- laying out */

typedef struct layout {
    im_ctx *c;
    const im_tokenizer *t;
    im_chunks *out;
    piece *now;                                                /* the chunk that is being filled                       */
    int used, room, comma;                                     /* comma: place of the last one in it, -1: none         */
    int cap;
} layout;

static bool next_chunk(layout *l)
{
    im_chunks *o = l->out;
    if (o->n == l->cap) {
        int cap = l->cap ? 2 * l->cap : 1;
        size_t values = (size_t)cap * (size_t)o->length;
        int32_t *ids = realloc(o->ids, values * sizeof *ids);
        if (ids) o->ids = ids;
        float *weight = realloc(o->weight, values * sizeof *weight);
        if (weight) o->weight = weight;
        if (!ids || !weight) return im_fail(l->c, "out of memory for the %d parts of a prompt", cap);
        l->cap = cap;
    }
    int32_t *ids = o->ids + (size_t)o->n * (size_t)o->length;
    float *weight = o->weight + (size_t)o->n++ * (size_t)o->length;
    for (int i = 0; i < o->length; i++) {
        bool own = i > 0 && i <= l->used;
        ids[i] = own ? l->now[i - 1].id : l->t->role[!i ? IM_START : i == l->used + 1 ? IM_END : IM_PAD];
        weight[i] = own ? l->now[i - 1].weight : 1;
    }
    l->used = 0;
    l->comma = -1;
    return true;
}

/* A full chunk gives what stands behind its last comma to the next one. */
static bool move_on(layout *l)
{
    int keep = l->comma + 1, moved = l->used - keep;
    l->used = keep;
    if (!next_chunk(l)) return false;
    memmove(l->now, l->now + keep, (size_t)moved * sizeof *l->now);
    l->used = moved;
    return true;
}

static bool lay_out(layout *l, const piece *v, size_t n, int32_t comma)
{
    for (size_t i = 0; i < n; i += v[i].together ? (size_t)v[i].together : 1) {
        if (!v[i].together) {
            if (!next_chunk(l)) return false;
            continue;
        }
        if (v[i].id == comma) l->comma = l->used;
        else if (l->used == l->room && l->comma >= 0 && l->used - l->comma <= BACKTRACK && !move_on(l)) return false;
        if (l->used + v[i].together > l->room && !next_chunk(l)) return false;
        for (int k = 0; k < v[i].together; k++) l->now[l->used++] = v[i + (size_t)k];
    }
    return (!l->used && l->out->n) || next_chunk(l);
}

/* The id of a comma; -1: the vocabulary has none of its own. */
static bool comma_id(im_ctx *c, const im_tokenizer *t, int32_t *out)
{
    im_ids ids = { 0 };
    const char *cut;
    bool ok = im_tokenize_ids(c, t, ",", 1, 1, &ids, &cut);
    *out = ok && ids.n == 1 ? ids.v[0] : -1;
    free(ids.v);
    return ok;
}

/* ---------------------------------------------------------------- both syntaxes */

static bool read_weighted(pieces *p, const char *prompt)
{
    im_spans spans;
    if (!im_spans_read(p->c, prompt, &spans)) return false;
    bool ok = true;
    p->room = SIZE_MAX;
    for (int i = 0; ok && i < spans.n; i++) {
        const im_span *s = &spans.v[i];
        ok = s->text ? add_text(p, s->text, strlen(s->text), s->weight) : add(p, (piece){ .together = 0 });
    }
    im_spans_free(&spans);
    return ok;
}

static bool read_plain(pieces *p, const char *prompt, char **cut)
{
    if (!add_text(p, prompt, strlen(prompt), 1)) return false;
    if (p->n > p->room) p->n = p->room;
    for (size_t i = 0; i < p->n; i++) p->v[i].together = 1;    /* there is one chunk, and a word may be cut           */
    return !cut || !p->cut || (*cut = im_cut_text(p->c, p->cut)) != NULL;
}

bool im_chunks_of(im_ctx *c, const im_tokenizer *t, im_vector_words words, const char *prompt, im_prompt_syntax syntax,
                  int length, im_chunks *out, char **cut)
{
    *out = (im_chunks){ .length = length };
    if (cut) *cut = NULL;
    if (!im_ok(c) || !t || !im_utf8_check(c, "prompt", prompt, strlen(prompt))) return false;
    if (length < 3) return im_fail(c, "the text encoder has %d positions, wanted 3 or more", length);
    pieces p = { .c = c, .t = t, .words = words, .room = (size_t)length - 2 };
    layout l = { .c = c, .t = t, .out = out, .room = length - 2, .comma = -1 };
    int32_t comma = -1;
    l.now = malloc((size_t)l.room * sizeof *l.now);
    bool ok = l.now || im_fail(c, "out of memory for the ids of a prompt");
    ok = ok && (syntax == IM_PROMPT_PLAIN ? read_plain(&p, prompt, cut)
                                          : read_weighted(&p, prompt) && comma_id(c, t, &comma));
    ok = ok && lay_out(&l, p.v, p.n, comma);
    free(p.v);
    free(l.now);
    if (!ok) im_chunks_free(out);
    return ok;
}

bool im_chunk_weighted(const im_chunks *k, int i)
{
    const float *w = k->weight + (size_t)i * (size_t)k->length;
    for (int j = 0; j < k->length; j++)
        if (w[j] != 1) return true;
    return false;
}

void im_chunks_free(im_chunks *k)
{
    free(k->ids);
    free(k->weight);
    *k = (im_chunks){ 0 };
}
