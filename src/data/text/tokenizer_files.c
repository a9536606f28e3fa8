/* tokenizer_files.c: a tokenizer from the files of a folder, as CLIPTokenizer.from_pretrained of transformers 5 reads them
 * (tokenization_utils_base.py, and add_tokens of the tokenizers library below it):
 *
 *     tokenizer.json             vocabulary and merges; without it vocab.json and merges.txt
 *     tokenizer_config.json      the roles (bos_token ...), additional tokens, and added_tokens_decoder: where there is
 *                                one, it alone counts, and the three files below are not asked
 *     special_tokens_map.json    roles and additional tokens again: they have the last word
 *     added_tokens.json          { token: id }, as older versions wrote it
 *     tokenizer.json             its list added_tokens
 *
 * Tokens are added in the order of their ids, then those of roles, then additional ones. One that the vocabulary has keeps
 * its id there, another gets the next free one; where a file says another id than that, versions of transformers differ,
 * and it is an error. "lstrip" and "rstrip" take the white space beside a token away: no ids come from white space, so
 * they change none. Used by tokenizer.c. */
#include "data/text/tokenizer_parts.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/files/json.h"
#include "data/text/clip_merges.h"

/* As transformers orders them; the first four have defaults. */
enum { BOS, EOS, UNK, SEP, PAD, CLS, MASK, NAMED };
static const char *const keys[NAMED] = { "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token",
                                         "mask_token" };
#define STOP "<|endoftext|>"
static const char *const defaults[NAMED] = { [BOS] = "<|startoftext|>", [EOS] = STOP, [UNK] = STOP, [PAD] = STOP };
static const int named_of[IM_ROLES] = { [IM_START] = BOS, [IM_END] = EOS, [IM_UNKNOWN] = UNK, [IM_PAD] = PAD };

typedef struct token {                                         /* one to be added                                     */
    const char *text, *file;                                   /* borrowed; file: who said so                         */
    int64_t id;                                                /* that the file gives it; -1: none                    */
    bool raw, single_word;
} token;

typedef struct token_list { token *v; int n, cap; } token_list;

#define EXTRA "extra_special_tokens"
#define ADDITIONAL "additional_special_tokens"                 /* its name before transformers 5                      */

enum { CONFIG, MAP, WHOLE, ADDED, FILES };
typedef struct reading {
    im_ctx *c;
    im_tokenizer *t;
    im_json file[FILES];
    token named[NAMED];                                        /* text NULL: not given                                */
    token_list list;                                           /* with ids                                            */
    token_list own, extra;                                     /* roles of other names; additional ones               */
} reading;

static bool push(im_ctx *c, token_list *l, token x)
{
    if (l->n == l->cap) {
        int cap = l->cap ? 2 * l->cap : 16;
        token *v = realloc(l->v, (size_t)cap * sizeof *v);
        if (!v) return im_fail(c, "out of memory in the tokenizer; close other programs");
        l->v = v;
        l->cap = cap;
    }
    l->v[l->n++] = x;
    return true;
}

static bool in_list(const token_list *l, const char *text)
{
    for (int i = 0; i < l->n; i++)
        if (!strcmp(l->v[i].text, text)) return true;
    return false;
}

/* A token is written as its text (then it is raw) or as { "content": text, "normalized": true, ... }. special: where
 * "normalized" is not said, special tokens are raw. */
static bool read_token(im_ctx *c, const char *file, const char *key, const json_t *v, bool special, token *out)
{
    const char *text = json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);
    const json_t *normalized = json_object_get(v, "normalized");
    if (!text) return im_fail(c, "%s: %s is not a token; wanted a text, or an object with \"content\"", file, key);
    *out = (token){ .text = text, .file = file, .id = -1, .raw = true };
    if (!json_is_object(v)) return true;
    special |= json_is_true(json_object_get(v, "special"));
    out->raw = normalized ? !json_is_true(normalized) : special;
    out->single_word = json_is_true(json_object_get(v, "single_word"));
    return true;
}

/* ---------------------------------------------------------------- what the files say */

static bool ends(const char *text, const char *tail)
{
    size_t n = strlen(text), m = strlen(tail);
    return n >= m && !strcmp(text + n - m, tail);
}

/* Roles, and roles that only this model has: "cat_token": "<cat>". */
static bool read_roles(reading *r, const im_json *j, bool special)
{
    const char *key;
    json_t *v;
    token x;
    for (int k = 0; k < NAMED; k++)
        if (im_json_has(j, keys[k]) && !read_token(r->c, j->file, keys[k], json_object_get(j->value, keys[k]), special,
                                                   &r->named[k]))
            return false;
    json_object_foreach(j->value, key, v) {
        bool named = !ends(key, "_token") || !json_is_string(v);
        for (int k = 0; k < NAMED; k++) named |= !strcmp(key, keys[k]);
        if (!named && (!read_token(r->c, j->file, key, v, true, &x) || !push(r->c, &r->own, x))) return false;
    }
    return true;
}

/* Additional tokens: a list, or an object with a role for each. */
static bool read_extra(reading *r, const im_json *j, const char *key)
{
    size_t i;
    json_t *one, *v = json_object_get(j->value, key);
    const char *name;
    token x;
    bool ok = true;
    json_array_foreach(v, i, one)
        ok = ok && read_token(r->c, j->file, key, one, true, &x) && push(r->c, &r->extra, x);
    json_object_foreach(v, name, one)
        ok = ok && read_token(r->c, j->file, name, one, true, &x) && push(r->c, &r->own, x);
    return ok;
}

/* Adds x, or puts it in the place of one with the same id. */
static bool set_id(reading *r, token x)
{
    for (int i = 0; i < r->list.n; i++)
        if (r->list.v[i].id == x.id) {
            r->list.v[i] = x;
            return true;
        }
    return push(r->c, &r->list, x);
}

/* added_tokens_decoder: { id: token }. */
static bool read_decoder(reading *r, const im_json *j)
{
    const char *number;
    json_t *v;
    token x;
    json_object_foreach(json_object_get(j->value, "added_tokens_decoder"), number, v) {
        char *end;
        long long id = strtoll(number, &end, 10);
        if (!*number || *end || id < 0 || id > INT32_MAX)
            return im_fail(r->c, "%s: added_tokens_decoder: \"%.60s\" is not an id", j->file, number);
        if (!read_token(r->c, j->file, "added_tokens_decoder", v, false, &x)) return false;
        x.id = id;
        if (!set_id(r, x)) return false;
    }
    return true;
}

/* Is it one of the roles that a file names, or an additional token? Those of added_tokens.json are raw then. */
static bool is_special(const reading *r, const char *text)
{
    for (int k = 0; k < NAMED; k++)
        if (r->named[k].text && !strcmp(r->named[k].text, text)) return true;
    return in_list(&r->extra, text);
}

static bool bad_id(im_ctx *c, const char *file, const char *text)
{
    return im_fail(c, "%s: \"%.60s\" has no id from 0 to %d; is it the right file?", file, text, INT32_MAX);
}

/* added_tokens.json: { token: id }, then the list of tokenizer.json. */
static bool read_added(reading *r)
{
    const char *text;
    json_t *v;
    size_t i;
    const im_json *added = &r->file[ADDED], *whole = &r->file[WHOLE];
    json_object_foreach(added->value, text, v) {
        json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;
        if (id < 0 || id > INT32_MAX) return bad_id(r->c, added->file, text);
        token x = { .text = text, .file = added->file, .id = id, .raw = is_special(r, text) };
        if (!set_id(r, x)) return false;
    }
    json_array_foreach(json_object_get(whole->value, "added_tokens"), i, v) {
        token x;
        const json_t *id = json_object_get(v, "id");
        if (!read_token(r->c, whole->file, "added_tokens", v, false, &x)) return false;
        x.id = json_is_integer(id) ? json_integer_value(id) : -1;
        if (x.id < 0 || x.id > INT32_MAX) return bad_id(r->c, whole->file, x.text);
        if (!set_id(r, x)) return false;
    }
    return true;
}

/* special_tokens_map.json and what comes with it. An additional token of the map is none for added_tokens.json. */
static bool read_map(reading *r, const im_json *map)
{
    return read_extra(r, map, EXTRA) && read_roles(r, map, true) && read_added(r) &&
           (r->extra.n || read_extra(r, map, ADDITIONAL));
}

static int by_id(const void *pa, const void *pb)
{
    const token *a = pa, *b = pb;
    return a->id < b->id ? -1 : a->id > b->id;
}

/* ---------------------------------------------------------------- ids */

static im_special *find_special(im_tokenizer *t, const char *content)
{
    for (int i = 0; i < t->n_special; i++)
        if (!strcmp(t->special[i].content, content)) return &t->special[i];
    return NULL;
}

/* The id that the tokenizers library gives to a token that is added now. */
static int32_t id_of(im_tokenizer *t, const char *content)
{
    const im_special *known = find_special(t, content);
    int32_t id = known ? known->id : im_names_find(&t->bpe.ids, content, strlen(content)), next = (int32_t)t->bpe.ids.n;
    for (int i = 0; id < 0 && i < t->n_special; i++)
        if (t->special[i].id >= next) next = t->special[i].id + 1;
    return id >= 0 ? id : next;
}

/* Adds a token, or changes what is known of it. */
static bool add(im_ctx *c, im_tokenizer *t, const token *x)
{
    int32_t id = id_of(t, x->text);
    if (!*x->text) return true;
    if (x->id >= 0 && x->id != id)
        return im_fail(c, "%s: the token \"%.60s\" has the id %lld there, but by its place it gets %d; versions of "
                       "transformers read such files differently: give added tokens the ids that follow the vocabulary, "
                       "without gaps", x->file, x->text, (long long)x->id, id);
    if (id < t->bpe.n && t->bpe.pieces[id] && strcmp(t->bpe.pieces[id], x->text))
        return im_fail(c, "%s: the token \"%.60s\" gets the id %d, which is that of \"%.60s\" in the vocabulary", x->file,
                       x->text, id, t->bpe.pieces[id]);
    im_special *s = find_special(t, x->text);
    if (!s) {
        im_special *more = realloc(t->special, (size_t)(t->n_special + 1) * sizeof *more);
        if (!more) return im_fail(c, "out of memory in the tokenizer; close other programs");
        t->special = more;
        s = &t->special[t->n_special];
        *s = (im_special){ .id = id, .content = im_copy_text(c, x->text, strlen(x->text)) };
        if (!s->content) return false;
        t->n_special++;
    }
    s->raw = x->raw;
    s->single_word = x->single_word;
    if (id >= t->size) t->size = id + 1;
    return true;
}

/* What is looked for in the text. Two tokens that are looked for as the same text cannot be told apart. */
static bool set_matches(im_ctx *c, im_tokenizer *t, const char *where)
{
    for (int i = 0; i < t->n_special; i++) {
        im_special *s = &t->special[i];
        size_t n = strlen(s->content);
        s->match = s->raw ? im_copy_text(c, s->content, n) : im_clip_normalise(c, s->content, n, &n);
        if (!s->match) return false;
        for (int k = 0; k < i; k++)
            if (t->special[k].raw == s->raw && !strcmp(t->special[k].match, s->match))
                return im_fail(c, "%s: the tokens \"%.60s\" and \"%.60s\" become the same text, \"%.60s\", before they are "
                               "looked for; keep one of them", where, t->special[k].content, s->content, s->match);
    }
    return true;
}

/* Adds everything that was read, and finds the ids of the roles. */
static bool add_all(reading *r, const char *where)
{
    im_tokenizer *t = r->t;
    im_ctx *c = r->c;
    t->size = t->bpe.n;
    for (int k = 0; k < NAMED; k++) {
        token *x = &r->named[k];
        if (x->text || !defaults[k]) continue;
        *x = (token){ .text = defaults[k], .file = where, .id = -1, .raw = true };
        if (im_names_find(&t->bpe.ids, x->text, strlen(x->text)) < 0 && !in_list(&r->list, x->text))
            return im_fail(c, "%s: the vocabulary has no \"%s\"; name the %s in tokenizer_config.json", where, defaults[k],
                           keys[k]);
    }
    if (r->list.n) qsort(r->list.v, (size_t)r->list.n, sizeof *r->list.v, by_id);
    for (int i = 0; i < r->list.n; i++)
        if (!add(c, t, &r->list.v[i])) return false;
    for (int k = 0; k < NAMED; k++)
        if (r->named[k].text && !in_list(&r->list, r->named[k].text) && !add(c, t, &r->named[k])) return false;
    for (int i = 0; i < r->own.n + r->extra.n; i++) {
        const token *x = i < r->own.n ? &r->own.v[i] : &r->extra.v[i - r->own.n];
        if (!find_special(t, x->text) && !add(c, t, x)) return false;
    }
    for (int role = 0; role < IM_ROLES; role++) {
        const im_special *s = find_special(t, r->named[named_of[role]].text);
        if (!s) return im_fail(c, "%s: the %s is empty", where, keys[named_of[role]]);
        t->role[role] = s->id;
    }
    return set_matches(c, t, where);
}

/* ---------------------------------------------------------------- opening */

static bool check_made(im_ctx *c, const im_tokenizer *t, const char *file)
{
    bool *flags = calloc((size_t)t->bpe.n + 1, sizeof *flags);
    if (!flags) return im_fail(c, "out of memory in the tokenizer; close other programs");
    for (int i = 0; i < t->n_special; i++)
        if (t->special[i].id < t->bpe.n) flags[t->special[i].id] = true;
    bool ok = im_bpe_check_made(c, &t->bpe, file, flags);
    free(flags);
    return ok;
}

/* Texts are cut and filled up at their end. tokenizer.json has such a side, too, which counts where the configuration has
 * none. */
static bool check_side(im_ctx *c, const im_json *config, const im_json *whole, const char *key, const char *of)
{
    const char *side = NULL, *file = config->file;
    if (!im_json_string(c, config, key, IM_MAY, &side)) return false;
    if (!side) {
        side = json_string_value(json_object_get(json_object_get(whole->value, of), "direction"));
        file = whole->file;
    }
    return !side || !strcmp(side, "right") || !strcmp(side, "Right") ||
           im_fail(c, "%s: the side of %s is \"%.60s\", but imago knows only \"right\", as Stable Diffusion v1.x has it; "
                   "put \"%s\": \"right\" into tokenizer_config.json", file, of, side, key);
}

static void reading_free(reading *r)
{
    for (int i = 0; i < FILES; i++) im_json_close(&r->file[i]);
    free(r->list.v);
    free(r->own.v);
    free(r->extra.v);
}

bool im_tokenizer_read(im_ctx *c, im_tokenizer *t, const char *folder)
{
    static const char *const names[FILES] = { "tokenizer_config.json", "special_tokens_map.json", "tokenizer.json",
                                              "added_tokens.json" };
    reading r = { .c = c, .t = t };
    char *vocab = im_join(c, folder, "vocab.json"), *merges = im_join(c, folder, "merges.txt");
    bool ok = vocab && merges;
    for (int i = 0; ok && i < FILES; i++) {
        char *path = im_join(c, folder, names[i]);
        ok = path && (!im_is_file(path) || im_json_load(c, &r.file[i], path, IM_TOKENIZER_BYTES));
        free(path);
    }
    const im_json *config = &r.file[CONFIG], *map = &r.file[MAP], *whole = &r.file[WHOLE];
    ok = ok && (whole->value ? im_bpe_read_json(c, &t->bpe, whole) : im_bpe_load(c, &t->bpe, vocab, merges));
    ok = ok && check_side(c, config, whole, "padding_side", "padding") &&
         check_side(c, config, whole, "truncation_side", "truncation");
    const json_t *extra = json_object_get(config->value, EXTRA);
    bool any = json_array_size(extra) || json_object_size(extra);
    ok = ok && read_roles(&r, config, false) && read_extra(&r, config, any ? EXTRA : ADDITIONAL);
    if (ok && im_json_has(config, "added_tokens_decoder")) ok = read_decoder(&r, config);
    else ok = ok && read_map(&r, map);
    ok = ok && add_all(&r, folder) && check_made(c, t, whole->value ? whole->file : merges);
    reading_free(&r);
    free(vocab);
    free(merges);
    return ok;
}

/* The built-in vocabulary is CLIP's own, in whose files the start token is no raw one. */
bool im_tokenizer_built_in(im_ctx *c, im_tokenizer *t)
{
    static const char name[] = "the built-in vocabulary";
    size_t bytes = (size_t)(im_clip_merges_end - im_clip_merges);
    reading r = { .c = c, .t = t, .named[BOS] = { .text = defaults[BOS], .file = name, .id = -1 } };
    bool ok = im_bpe_derive(c, &t->bpe, name, im_clip_merges, bytes, defaults, 2) && add_all(&r, name);
    reading_free(&r);
    return ok;
}
