/* tokenizer.c: text to ids for CLIP (Radford et al. 2021), as transformers' CLIPTokenizer does it:
 * special tokens are cut out of the raw text and keep their ids; what lies between is normalised and split into words
 * (clip_text.h), each word into pieces (bpe.h). Used by the Stable Diffusion pipeline and `imago tokenize`. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "data/bpe.h"
#include "data/clip_merges.h"
#include "data/clip_text.h"
#include "data/file.h"
#include "data/json.h"
#include "data/utf8.h"
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
    ok = ok && set_specials(c, t, folder, j, FILES);
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

typedef struct encoding { im_ctx *c; const im_tokenizer *t; im_ids ids; } encoding;

static bool encode_word(void *arg, const char *word, size_t bytes)
{
    encoding *e = arg;
    return im_bpe_word(e->c, &e->t->bpe, word, bytes, e->t->role[UNKNOWN], &e->ids);
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

static bool encode(encoding *e, bool raw, const char *text, size_t bytes);

/* What lies between special tokens: raw text is normalised and searched again, normalised text is split into words. */
static bool encode_between(encoding *e, bool raw, const char *text, size_t bytes)
{
    if (!bytes) return true;
    if (!raw) return im_clip_split(e->c, e->t->splitter, text, bytes, encode_word, e);
    size_t n;
    char *normal = im_clip_normalise(e->c, text, bytes, &n);
    bool ok = normal && encode(e, false, normal, n);
    free(normal);
    return ok;
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
        from = at += length;
    }
    return encode_between(e, raw, text + from, bytes - from);
}

/* ---------------------------------------------------------------- ids to text */

/* The byte that the character at p of a piece stands for, -1 for none; *n: its length. */
static int piece_byte(const im_bpe *b, const char *p, size_t *n)
{
    *n = ((uint8_t)*p & 0xc0) == 0xc0 && p[1] ? 2 : 1;
    for (int byte = 0; byte < 256; byte++)
        if (strlen(b->alphabet[byte]) == *n && !memcmp(b->alphabet[byte], p, *n)) return byte;
    return -1;
}

/* The text of ids, malloc'd: bytes of the pieces, "</w>" as a space. It starts at a whole character: when the cut goes
 * through one, its rest is left out. */
static char *decode(im_ctx *c, const im_tokenizer *t, const int32_t *ids, size_t n)
{
    size_t room = 1, used = 0;
    for (size_t i = 0; i < n; i++) room += strlen(t->bpe.pieces[ids[i]]) + 1;
    char *out = malloc(room);
    if (!out) {
        im_fail(c, "out of memory in the tokenizer; shorten the prompt");
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        size_t length;
        for (const char *p = t->bpe.pieces[ids[i]]; *p; p += length) {
            int byte = piece_byte(&t->bpe, p, &length);
            if (!strcmp(p, "</w>")) {
                byte = ' ';
                length = 4;
            }
            if (byte >= 0 && (used || (byte & 0xc0) != 0x80)) out[used++] = (char)byte;
        }
    }
    while (used && out[used - 1] == ' ') used--;
    out[used] = 0;
    return out;
}

/* ---------------------------------------------------------------- public */

bool im_tokenize(im_ctx *c, const im_tokenizer *t, const char *utf8, int length, int32_t *ids, char **cut)
{
    if (cut) *cut = NULL;
    if (!im_ok(c) || !t) return false;
    if (length < 2) return im_fail(c, "tokenize: asked for %d ids a text; wanted at least 2 (start and end)", length);
    if (!im_utf8_check(c, "prompt", utf8, strlen(utf8))) return false;
    encoding e = { .c = c, .t = t };
    bool ok = encode(&e, true, utf8, strlen(utf8));
    size_t room = (size_t)length - 2, n = e.ids.n < room ? e.ids.n : room;
    if (ok && cut && e.ids.n > room) ok = (*cut = decode(c, t, e.ids.v + room, e.ids.n - room));
    if (ok) {
        ids[0] = t->role[START];
        if (n) memcpy(ids + 1, e.ids.v, n * sizeof *ids);
        ids[n + 1] = t->role[END];
        for (size_t i = n + 2; i < (size_t)length; i++) ids[i] = t->role[PAD];
    }
    free(e.ids.v);
    return ok;
}
