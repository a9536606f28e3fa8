/* tokenizer.c: text to ids for CLIP (Radford et al. 2021), as transformers' CLIPTokenizer does it:
 * special tokens are cut out of the raw text and keep their ids; what lies between is normalised and split into words
 * (clip_text.h), each word into pieces (bpe.h). Used by the Stable Diffusion pipeline and `imago tokenize`. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "data/text/bpe.h"
#include "data/text/clip_merges.h"
#include "data/text/clip_text.h"
#include "data/files/file.h"
#include "data/files/json.h"
#include "data/files/utf8.h"
#include "imago.h"

enum { START, END, UNKNOWN, PAD, ROLES };
static const char *const role_keys[ROLES] = { "bos_token", "eos_token", "unk_token", "pad_token" };
#define STOP "<|endoftext|>"
static const char *const role_defaults[ROLES] = { "<|startoftext|>", STOP, STOP, STOP };

/* A token that is kept whole in the text. Raw ones are looked for in the text as it was given, the others after it was
 * normalised, and then `match` is the normalised token. */
typedef struct special { int32_t id; bool raw; char *match; } special;

struct im_tokenizer {
    im_bpe bpe;
    im_splitter *splitter;
    int32_t role[ROLES]; bool raw[ROLES];                      /* ids                                                 */
    special *special; int n_special;
};

/* ---------------------------------------------------------------- special tokens */

/* Adds a special token, or changes what is known of it. */
static bool add_special(im_ctx *c, im_tokenizer *t, int32_t id, bool raw)
{
    for (int i = 0; i < t->n_special; i++)
        if (t->special[i].id == id) {
            t->special[i].raw = raw;
            return true;
        }
    special *more = realloc(t->special, (size_t)(t->n_special + 1) * sizeof *more);
    if (!more) return im_fail(c, "out of memory in the tokenizer; close other programs");
    t->special = more;
    t->special[t->n_special++] = (special){ .id = id, .raw = raw };
    return true;
}

/* A token is written as its text (then it is raw) or as { "content": text, "normalized": true, ... }. */
static bool read_token(im_ctx *c, const im_tokenizer *t, const char *file, const char *key, const json_t *v,
                       int32_t *id, bool *raw)
{
    static const char *const flags[] = { "lstrip", "rstrip", "single_word" };
    const char *text = json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);
    if (!text) return im_fail(c, "%s: %s is no token; wanted a text, or an object with \"content\"", file, key);
    for (int i = 0; i < 3; i++)
        if (json_is_true(json_object_get(v, flags[i])))
            return im_fail(c, "%s: %s \"%.60s\" has \"%s\" set, which is not supported; set it to false", file, key,
                           text, flags[i]);
    *raw = !json_is_object(v) || json_is_false(json_object_get(v, "normalized"));
    *id = im_names_find(&t->bpe.ids, text, strlen(text));
    return *id >= 0 || im_fail(c, "%s: %s \"%.60s\" is not in the vocabulary; tokens added to it are not supported; "
                               "wanted one of its %d pieces", file, key, text, t->bpe.n);
}

static bool read_roles(im_ctx *c, im_tokenizer *t, const im_json *j)
{
    for (int r = 0; r < ROLES; r++)
        if (im_json_has(j, role_keys[r]) && !read_token(c, t, j->file, role_keys[r], json_object_get(j->value,
                                                        role_keys[r]), &t->role[r], &t->raw[r]))
            return false;
    return true;
}

/* added_tokens_decoder of tokenizer_config.json, an object by id, or added_tokens of tokenizer.json, a list. */
static bool read_added(im_ctx *c, im_tokenizer *t, const im_json *j)
{
    json_t *v;
    const char *number;
    size_t i;
    int32_t id;
    bool raw, ok = true;
    json_object_foreach(json_object_get(j->value, "added_tokens_decoder"), number, v)
        ok = ok && read_token(c, t, j->file, "added_tokens_decoder", v, &id, &raw) && add_special(c, t, id, raw);
    json_array_foreach(json_object_get(j->value, "added_tokens"), i, v)
        ok = ok && read_token(c, t, j->file, "added_tokens", v, &id, &raw) && add_special(c, t, id, raw);
    return ok;
}

/* Every role has a piece; roles and added tokens are special; what is not raw is normalised for the search. */
static bool set_specials(im_ctx *c, im_tokenizer *t, const char *folder, const im_json files[], int n_files)
{
    for (int r = 0; r < ROLES; r++) {
        if (t->role[r] < 0)
            return im_fail(c, "%s: the vocabulary has no \"%s\"; name the %s in tokenizer_config.json", folder,
                           role_defaults[r], role_keys[r]);
        if (!add_special(c, t, t->role[r], t->raw[r])) return false;
    }
    for (int i = 0; i < n_files; i++)
        if (!read_added(c, t, &files[i])) return false;
    for (int i = 0; i < t->n_special; i++) {
        special *s = &t->special[i];
        const char *piece = t->bpe.pieces[s->id];
        size_t n = strlen(piece);
        s->match = s->raw ? im_copy_text(c, piece, n) : im_clip_normalise(c, piece, n, &n);
        if (!s->match) return false;
    }
    return true;
}

static void default_roles(im_tokenizer *t)
{
    for (int r = 0; r < ROLES; r++) {
        t->role[r] = im_names_find(&t->bpe.ids, role_defaults[r], strlen(role_defaults[r]));
        t->raw[r] = true;
    }
}

/* ---------------------------------------------------------------- opening */

static bool check_made(im_ctx *c, const im_tokenizer *t, const char *file)
{
    bool *flags = calloc((size_t)t->bpe.n + 1, sizeof *flags);
    if (!flags) return im_fail(c, "out of memory in the tokenizer; close other programs");
    for (int i = 0; i < t->n_special; i++) flags[t->special[i].id] = true;
    bool ok = im_bpe_check_made(c, &t->bpe, file, flags);
    free(flags);
    return ok;
}

/* The files of a folder: any may be missing but the vocabulary (vocab.json and merges.txt, else tokenizer.json). Where
 * two name a role, the later file counts, as in transformers; then what tokenizer.json says of added tokens. */
enum { CONFIG, MAP, WHOLE, FILES };
static bool open_folder(im_ctx *c, im_tokenizer *t, const char *folder)
{
    static const char *const names[] = { "tokenizer_config.json", "special_tokens_map.json", "tokenizer.json" };
    im_json j[FILES] = { 0 };
    char *vocab = im_join(c, folder, "vocab.json"), *merges = im_join(c, folder, "merges.txt");
    bool ok = vocab && merges;
    for (int i = 0; ok && i < FILES; i++) {
        char *path = im_join(c, folder, names[i]);
        ok = path && (!im_is_file(path) || im_json_load(c, &j[i], path, IM_TOKENIZER_BYTES));
        free(path);
    }
    bool whole = ok && j[WHOLE].value && !im_is_file(vocab);
    ok = ok && (whole ? im_bpe_read_json(c, &t->bpe, &j[WHOLE]) : im_bpe_load(c, &t->bpe, vocab, merges));
    if (ok) default_roles(t);
    for (int i = 0; ok && i < WHOLE; i++) ok = !j[i].value || read_roles(c, t, &j[i]);
    ok = ok && set_specials(c, t, folder, j, FILES) && check_made(c, t, whole ? j[WHOLE].file : merges);
    for (int i = 0; i < FILES; i++) im_json_close(&j[i]);
    free(vocab);
    free(merges);
    return ok;
}

/* The built-in vocabulary is CLIP's own, in whose files the start token is no raw one. */
static bool open_built_in(im_ctx *c, im_tokenizer *t)
{
    size_t bytes = (size_t)(im_clip_merges_end - im_clip_merges);
    if (!im_bpe_derive(c, &t->bpe, "the built-in vocabulary", im_clip_merges, bytes, role_defaults, 2)) return false;
    default_roles(t);
    t->raw[START] = false;
    return set_specials(c, t, "the built-in vocabulary", NULL, 0);
}

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
        im_fail(c, "%s: is no folder; wanted one that holds vocab.json and merges.txt, or tokenizer.json", folder);
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
        ok = found && open_folder(c, t, found);
        free(found);
    } else if (ok) ok = open_built_in(c, t);
    if (ok) return t;
    im_tokenizer_free(t);
    return NULL;
}

void im_tokenizer_free(im_tokenizer *t)
{
    if (!t) return;
    im_bpe_free(&t->bpe);
    im_splitter_free(t->splitter);
    for (int i = 0; i < t->n_special; i++) free(t->special[i].match);
    free(t->special);
    free(t);
}

int im_tokenizer_size(const im_tokenizer *t) { return t ? t->bpe.n : 0; }

const char *im_token_piece(const im_tokenizer *t, int32_t id)
{
    return t && id >= 0 && id < t->bpe.n ? t->bpe.pieces[id] : NULL;
}

/* ---------------------------------------------------------------- text to ids */

/* cut: where the id behind the first `room` begins, in the text that is being looked at; NULL until there are so many. */
typedef struct encoding { im_ctx *c; const im_tokenizer *t; im_ids ids; size_t room; const char *cut; } encoding;

/* Bytes of text that ids [from, to) of a word stand for: one a character; one for a byte that has no piece. */
static size_t bytes_of(const encoding *e, size_t from, size_t to)
{
    size_t n = 0;
    for (size_t i = from; i < to; i++) {
        const char *piece = e->t->bpe.pieces[e->ids.v[i]], *end = strstr(piece, "</w>");
        if (e->ids.v[i] == e->t->role[UNKNOWN]) n++;
        else for (const char *p = piece; *p && p != end; p++) n += ((uint8_t)*p & 0xc0) != 0x80;
    }
    return n;
}

static bool encode_word(void *arg, const char *word, size_t bytes)
{
    encoding *e = arg;
    size_t before = e->ids.n;
    if (!im_bpe_word(e->c, &e->t->bpe, word, bytes, e->t->role[UNKNOWN], &e->ids)) return false;
    if (!e->cut && e->ids.n > e->room) {
        size_t kept = bytes_of(e, before, e->room);
        while (kept && (kept >= bytes || ((uint8_t)word[kept] & 0xc0) == 0x80)) kept--;        /* a whole character   */
        e->cut = word + kept;
    }
    return true;
}

/* The longest special token of the kind (raw or not) that text begins with, or -1. */
static int32_t special_at(const im_tokenizer *t, bool raw, const char *text, size_t bytes, size_t *length)
{
    int32_t best = -1;
    *length = 0;
    for (int i = 0; i < t->n_special; i++) {
        const special *s = &t->special[i];
        size_t n = s->raw == raw ? strlen(s->match) : 0;
        if (n <= *length || n > bytes || memcmp(text, s->match, n)) continue;
        best = s->id;
        *length = n;
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
    size_t from = 0, length;
    for (size_t at = 0; at < bytes; ) {
        int32_t id = special_at(e->t, raw, text + at, bytes - at, &length);
        if (id < 0) {
            at++;
            continue;
        }
        if (!encode_between(e, raw, text + from, at - from) || !im_ids_add(e->c, &e->ids, id)) return false;
        if (!e->cut && e->ids.n > e->room) e->cut = text + at;
        from = at += length;
    }
    return encode_between(e, raw, text + from, bytes - from);
}

/* ---------------------------------------------------------------- public */

bool im_tokenize(im_ctx *c, const im_tokenizer *t, const char *utf8, int length, int32_t *ids, char **cut)
{
    if (cut) *cut = NULL;
    if (!im_ok(c) || !t) return false;
    if (length < 2) return im_fail(c, "tokenize: asked for %d ids a text; wanted at least 2 (start and end)", length);
    if (!im_utf8_check(c, "prompt", utf8, strlen(utf8))) return false;
    encoding e = { .c = c, .t = t, .room = (size_t)length - 2 };
    bool ok = encode(&e, true, utf8, strlen(utf8));
    size_t n = e.ids.n < e.room ? e.ids.n : e.room;
    if (ok && cut && e.cut) {
        size_t bytes = strlen(e.cut);
        while (bytes && strchr(" \t\r\n", e.cut[bytes - 1])) bytes--;
        ok = (*cut = im_copy_text(c, e.cut, bytes));
    }
    if (ok) {
        ids[0] = t->role[START];
        if (n) memcpy(ids + 1, e.ids.v, n * sizeof *ids);
        ids[n + 1] = t->role[END];
        for (size_t i = n + 2; i < (size_t)length; i++) ids[i] = t->role[PAD];
    }
    free(e.ids.v);
    return ok;
}
