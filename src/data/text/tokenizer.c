/* tokenizer.c: text to ids for CLIP (Radford et al. 2021), as transformers' CLIPTokenizer does it: added tokens
 * (tokenizer_files.c) are cut out of the raw text and keep their ids; what lies between is normalised, searched for the
 * others and split into words (clip_text.h), each word into pieces (bpe.h). Used by the Stable Diffusion pipeline and
 * `imago tokenize`. */
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/files/utf8.h"
#include "data/text/tokenizer_parts.h"
#include "imago.h"

/* ---------------------------------------------------------------- opening */

static bool has_vocabulary(im_ctx *c, const char *folder)
{
    char *vocab = im_join(c, folder, "vocab.json"), *whole = im_join(c, folder, "tokenizer.json");
    bool has = vocab && whole && (im_is_file(vocab) || im_is_file(whole));
    free(vocab);
    free(whole);
    return has;
}

/* The folder itself, or folder/tokenizer where only that holds a vocabulary; malloc'd. */
static char *find_folder(im_ctx *c, const char *folder)
{
    if (!im_is_folder(folder)) {
        im_fail(c, "%s: is not a folder; wanted one that holds vocab.json and merges.txt, or tokenizer.json", folder);
        return NULL;
    }
    char *below = im_join(c, folder, "tokenizer");
    if (!below || (!has_vocabulary(c, folder) && has_vocabulary(c, below))) return below;
    free(below);
    return im_copy_text(c, folder, strlen(folder));
}

im_tokenizer *im_tokenizer_open(im_ctx *c, const char *folder)
{
    if (!im_ok(c)) return NULL;
    im_tokenizer *t = calloc(1, sizeof *t);
    if (!t) im_fail(c, "out of memory in the tokenizer; close other programs");
    bool ok = t && (t->splitter = im_splitter_new(c));
    if (ok && folder) {
        char *found = find_folder(c, folder);
        ok = found && im_tokenizer_read(c, t, found);
        free(found);
    } else if (ok) ok = im_tokenizer_built_in(c, t);
    if (ok) return t;
    im_tokenizer_free(t);
    return NULL;
}

void im_tokenizer_free(im_tokenizer *t)
{
    if (!t) return;
    im_bpe_free(&t->bpe);
    im_splitter_free(t->splitter);
    for (int i = 0; i < t->n_special; i++) {
        free(t->special[i].content);
        free(t->special[i].match);
    }
    free(t->special);
    free(t);
}

int im_tokenizer_size(const im_tokenizer *t) { return t ? t->size : 0; }

const char *im_token_piece(const im_tokenizer *t, int32_t id)
{
    if (!t || id < 0) return NULL;
    if (id < t->bpe.n && t->bpe.pieces[id]) return t->bpe.pieces[id];
    for (int i = 0; i < t->n_special; i++)                     /* added ones lie behind the vocabulary, or in a gap   */
        if (t->special[i].id == id) return t->special[i].content;
    return NULL;
}

/* ---------------------------------------------------------------- text to ids */

/* cut: where the id behind the first `room` begins, in the text that is being looked at; NULL until there are so many. */
typedef struct encoding { im_ctx *c; const im_tokenizer *t; im_ids ids; size_t room; const char *cut; } encoding;

/* Bytes of text that ids [from, to) of a word stand for: one a character; one for a byte that has no piece. */
static size_t bytes_of(const encoding *e, size_t from, size_t to)
{
    size_t n = 0;
    for (size_t i = from; i < to; i++) {
        bool unknown = e->ids.v[i] == e->t->role[IM_UNKNOWN];
        const char *piece = unknown ? "" : im_token_piece(e->t, e->ids.v[i]), *end = strstr(piece, "</w>");
        n += unknown;
        for (const char *p = piece; *p && p != end; p++) n += ((uint8_t)*p & 0xc0) != 0x80;
    }
    return n;
}

static bool encode_word(void *arg, const char *word, size_t bytes)
{
    encoding *e = arg;
    size_t before = e->ids.n;
    if (!im_bpe_word(e->c, &e->t->bpe, word, bytes, e->t->role[IM_UNKNOWN], &e->ids)) return false;
    if (!e->cut && e->ids.n > e->room) {
        size_t kept = bytes_of(e, before, e->room);
        while (kept && (kept >= bytes || ((uint8_t)word[kept] & 0xc0) == 0x80)) kept--;        /* a whole character   */
        e->cut = word + kept;
    }
    return true;
}

/* The longest special token of the kind (raw or not) that text begins with, or NULL. */
static const im_special *special_at(const im_tokenizer *t, bool raw, const char *text, size_t bytes)
{
    const im_special *best = NULL;
    size_t length = 0;
    for (int i = 0; i < t->n_special; i++) {
        const im_special *s = &t->special[i];
        size_t n = s->raw == raw ? strlen(s->match) : 0;
        if (n <= length || n > bytes || memcmp(text, s->match, n)) continue;
        best = s;
        length = n;
    }
    return best;
}

/* The place in raw text whose character became the one at `at` of the normalised text: behind the longest beginning that
 * normalises to no more than `at` bytes. Looked for by halves, as normalising has no table of places. */
static const char *raw_place(im_ctx *c, const char *text, size_t bytes, size_t at)
{
    size_t low = 0, high = bytes;
    while (low < high) {
        size_t half = low + (high - low + 1) / 2, from = half, n;
        while (half < high && ((uint8_t)text[half] & 0xc0) == 0x80) half++;
        char *normal = im_clip_normalise(c, text, half, &n);
        free(normal);
        if (!normal) return text;
        if (n <= at) low = half;
        else {
            high = from - 1;
            while (high > low && ((uint8_t)text[high] & 0xc0) == 0x80) high--;
        }
    }
    return text + low;
}

static bool encode(encoding *e, bool raw, const char *text, size_t bytes);

/* What lies between special tokens: raw text is normalised and searched again, normalised text is split into words. */
static bool encode_between(encoding *e, bool raw, const char *text, size_t bytes)
{
    if (!bytes) return true;
    if (!raw) return im_clip_split(e->c, e->t->splitter, text, bytes, encode_word, e);
    size_t n;
    bool was_cut = e->cut;
    char *normal = im_clip_normalise(e->c, text, bytes, &n);
    bool ok = normal && encode(e, false, normal, n);
    if (ok && !was_cut && e->cut) e->cut = raw_place(e->c, text, bytes, (size_t)(e->cut - normal));
    free(normal);
    return ok && im_ok(e->c);
}

static bool encode(encoding *e, bool raw, const char *text, size_t bytes)
{
    size_t from = 0;
    for (size_t at = 0; at < bytes; ) {
        const im_special *s = special_at(e->t, raw, text + at, bytes - at);
        size_t length = s ? strlen(s->match) : 1;
        if (!s || (s->single_word && !im_clip_stands_alone(text, bytes, at, at + length))) {
            at += length;                                      /* one that is not alone hides what begins inside it   */
            continue;
        }
        if (!encode_between(e, raw, text + from, at - from) || !im_ids_add(e->c, &e->ids, s->id)) return false;
        if (!e->cut && e->ids.n > e->room) e->cut = text + at;
        from = at += length;
    }
    return encode_between(e, raw, text + from, bytes - from);
}

/* ---------------------------------------------------------------- public */

bool im_tokenize_ids(im_ctx *c, const im_tokenizer *t, const char *text, size_t bytes, size_t room, im_ids *out,
                     const char **cut)
{
    encoding e = { .c = c, .t = t, .room = room };
    bool ok = encode(&e, true, text, bytes);
    *cut = ok ? e.cut : NULL;
    for (size_t i = 0; ok && i < e.ids.n; i++) ok = im_ids_add(c, out, e.ids.v[i]);
    free(e.ids.v);
    return ok;
}

char *im_cut_text(im_ctx *c, const char *rest)
{
    size_t bytes = strlen(rest);
    while (bytes && strchr(" \t\r\n", rest[bytes - 1])) bytes--;
    return im_copy_text(c, rest, bytes);
}

bool im_tokenize(im_ctx *c, const im_tokenizer *t, const char *utf8, int length, int32_t *ids, char **cut)
{
    if (cut) *cut = NULL;
    if (!im_ok(c) || !t) return false;
    if (length < 2) return im_fail(c, "tokenize: asked for %d ids per text; wanted at least 2 (start and end)", length);
    if (!im_utf8_check(c, "prompt", utf8, strlen(utf8))) return false;
    size_t room = (size_t)length - 2;
    const char *rest;
    im_ids own = { 0 };
    bool ok = im_tokenize_ids(c, t, utf8, strlen(utf8), room, &own, &rest);
    size_t n = own.n < room ? own.n : room;
    if (ok && cut && rest) ok = (*cut = im_cut_text(c, rest));
    if (ok) {
        ids[0] = t->role[IM_START];
        if (n) memcpy(ids + 1, own.v, n * sizeof *ids);
        ids[n + 1] = t->role[IM_END];
        for (size_t i = n + 2; i < (size_t)length; i++) ids[i] = t->role[IM_PAD];
    }
    free(own.v);
    return ok;
}
