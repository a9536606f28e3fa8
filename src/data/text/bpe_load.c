/* bpe_load.c: the tables of bpe.h: from vocab.json and merges.txt, from tokenizer.json, or from the merges alone. */
#include "data/text/bpe.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/files/json.h"

enum { MAX_ID = 1 << 24 };                                     /* CLIP has 49408                                      */

static bool no_memory(im_ctx *c) { return im_fail(c, "out of memory in the tokenizer; close other programs"); }

/* Printable bytes of Latin-1 stand for themselves, the other 68 are numbered from U+0100 upwards (GPT-2). `order`
 * receives the bytes in the order of the vocabulary: the printable ones first. */
static void make_alphabet(im_bpe *b, uint8_t order[256])
{
    int n = 0, next = 256;
    for (int pass = 0; pass < 2; pass++)
        for (int byte = 0; byte < 256; byte++) {
            bool printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
            if (printable != !pass) continue;
            int code = printable ? byte : next++;
            order[n++] = (uint8_t)byte;
            char *p = b->alphabet[byte];
            if (code < 0x80) *p++ = (char)code;
            else {
                *p++ = (char)(0xc0 | code >> 6);
                *p++ = (char)(0x80 | (code & 63));
            }
            *p = 0;
        }
}

/* ---------------------------------------------------------------- pieces */

/* Gives `piece` (bytes of it, copied) the number id, which is below b->n. */
static bool add_piece(im_ctx *c, im_bpe *b, int id, const char *piece, size_t bytes)
{
    char *copy = im_copy_text(c, piece, bytes);
    if (!copy) return false;
    b->pieces[id] = copy;
    return im_names_add(c, &b->ids, copy, bytes, id);
}

static bool make_room(im_ctx *c, im_bpe *b, size_t n)
{
    b->n = (int)n;
    b->pieces = calloc(n ? n : 1, sizeof *b->pieces);
    return b->pieces ? im_names_init(c, &b->ids, n) : no_memory(c);
}

/* { piece: id, ... } of a file. */
static bool read_vocab(im_ctx *c, im_bpe *b, const char *file, const json_t *vocab)
{
    const char *piece;
    json_t *v;
    json_int_t highest = -1;
    json_object_foreach((json_t *)(uintptr_t)vocab, piece, v) {
        json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;
        if (id < 0 || id > MAX_ID)
            return im_fail(c, "%s: \"%.60s\" has no id from 0 to %d; is it the right file?", file, piece, MAX_ID);
        if (id > highest) highest = id;
    }
    if (!make_room(c, b, (size_t)(highest + 1))) return false;
    json_object_foreach((json_t *)(uintptr_t)vocab, piece, v) {
        int id = (int)json_integer_value(v);
        if (b->pieces[id])
            return im_fail(c, "%s: \"%.60s\" and \"%.60s\" have the same id %d; wanted each id once", file,
                           b->pieces[id], piece, id);
        if (!add_piece(c, b, id, piece, strlen(piece))) return false;
    }
    return true;
}

/* ---------------------------------------------------------------- merges */

/* The next line of text from *at on, without its end; false after the last. */
static bool next_line(const char *text, size_t bytes, size_t *at, const char **line, size_t *length)
{
    if (*at >= bytes) return false;
    const char *end = memchr(text + *at, '\n', bytes - *at);
    *line = text + *at;
    *length = end ? (size_t)(end - *line) : bytes - *at;
    *at += *length + (end != NULL);
    if (*length && (*line)[*length - 1] == '\r') --*length;
    return true;
}

/* A line "left right" of merges.txt; false at a line of another form. Empty lines and "#version" have no pair. */
typedef struct pair_line { const char *left, *right; size_t n_left, n_right; } pair_line;
static bool split_pair(const char *line, size_t length, pair_line *p)
{
    const char *space = memchr(line, ' ', length);
    if (!space) return false;
    *p = (pair_line){ line, space + 1, (size_t)(space - line), length - (size_t)(space - line) - 1 };
    return p->n_left && p->n_right && !memchr(p->right, ' ', p->n_right);
}

typedef bool (*pair_fn)(im_ctx *c, im_bpe *b, const char *name, int line, const pair_line *p);

static bool each_pair(im_ctx *c, im_bpe *b, const char *name, const char *text, size_t bytes, pair_fn fn)
{
    const char *line;
    size_t at = bytes >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0, length;         /* a byte order mark         */
    for (int number = 1; next_line(text, bytes, &at, &line, &length); number++) {
        pair_line p;
        if (!length || (number == 1 && length >= 8 && !memcmp(line, "#version", 8))) continue;
        if (memchr(line, 0, length) || !split_pair(line, length, &p))
            return im_fail(c, "%s:%d: is not a pair of pieces (\"%.*s\"); wanted two, with a space between", name, number,
                           length < 60 ? (int)length : 60, line);
        if (!fn(c, b, name, number, &p)) return false;
    }
    return true;
}

/* The piece that a merge makes, malloc'd. */
static char *joined(im_ctx *c, const pair_line *p)
{
    char *text = malloc(p->n_left + p->n_right + 1);
    if (!text) {
        no_memory(c);
        return NULL;
    }
    memcpy(text, p->left, p->n_left);
    memcpy(text + p->n_left, p->right, p->n_right);
    text[p->n_left + p->n_right] = 0;
    return text;
}

static bool add_merge(im_ctx *c, im_bpe *b, const char *name, int line, const pair_line *p)
{
    char *both = joined(c, p);
    if (!both) return false;
    int left = im_names_find(&b->ids, p->left, p->n_left), right = im_names_find(&b->ids, p->right, p->n_right);
    int result = im_names_find(&b->ids, both, p->n_left + p->n_right);
    bool ok = left >= 0 && right >= 0 && result >= 0;
    const char *piece = left < 0 ? p->left : right < 0 ? p->right : both;
    size_t n = left < 0 ? p->n_left : right < 0 ? p->n_right : p->n_left + p->n_right;
    if (!ok)
        im_fail(c, "%s:%d: the piece \"%.*s\" is not in the vocabulary; the two files do not belong together", name,
                line, n < 60 ? (int)n : 60, piece);
    free(both);
    if (!ok) return false;
    im_merge *m = im_bpe_merge(b, left, right);                  /* a pair given twice keeps its later rank           */
    *m = (im_merge){ (uint64_t)(uint32_t)left << 32 | (uint32_t)right, (int32_t)b->n_merges++, result };
    return true;
}

static bool make_merges(im_ctx *c, im_bpe *b, size_t n)
{
    for (b->cap = 16; b->cap < 2 * n; ) b->cap *= 2;
    b->merges = malloc(b->cap * sizeof *b->merges);
    if (!b->merges) return no_memory(c);
    for (size_t i = 0; i < b->cap; i++) b->merges[i] = (im_merge){ .rank = -1 };
    return true;
}

static size_t count_lines(const char *text, size_t bytes)
{
    size_t lines = 1;
    for (size_t i = 0; i < bytes; i++) lines += text[i] == '\n';
    return lines;
}

/* ---------------------------------------------------------------- three sources */

bool im_bpe_load(im_ctx *c, im_bpe *b, const char *vocab_path, const char *merges_path)
{
    uint8_t order[256];
    *b = (im_bpe){ 0 };
    make_alphabet(b, order);
    size_t bytes;
    im_json j = { 0 };
    char *text = im_read_text(c, merges_path, IM_TOKENIZER_BYTES, &bytes);
    bool ok = text && im_json_load(c, &j, vocab_path, IM_TOKENIZER_BYTES) && read_vocab(c, b, vocab_path, j.value) &&
              make_merges(c, b, count_lines(text, bytes)) && each_pair(c, b, merges_path, text, bytes, add_merge);
    im_json_close(&j);
    free(text);
    return ok;
}

/* A merge of tokenizer.json is [left, right], or "left right" in files of older versions. */
static bool read_merge(im_ctx *c, im_bpe *b, const char *file, int number, const json_t *v)
{
    const char *l = json_string_value(json_array_get(v, 0)), *r = json_string_value(json_array_get(v, 1));
    pair_line p = { l, r, l ? strlen(l) : 0, r ? strlen(r) : 0 };
    const char *line = json_string_value(v);
    bool ok = line ? split_pair(line, strlen(line), &p) : l && r && json_array_size(v) == 2;
    if (!ok) return im_fail(c, "%s: model: merges[%d] is not a pair of pieces; wanted [left, right]", file, number - 1);
    return add_merge(c, b, file, number, &p);
}

bool im_bpe_read_json(im_ctx *c, im_bpe *b, const im_json *j)
{
    uint8_t order[256];
    *b = (im_bpe){ 0 };
    make_alphabet(b, order);
    im_json model = { 0 }, vocab = { 0 };
    const char *type = "BPE", *suffix = "";
    if (!im_json_object(c, j, "model", IM_MUST, &model) || !im_json_object(c, &model, "vocab", IM_MUST, &vocab) ||
        !im_json_string(c, &model, "type", IM_MAY, &type) ||
        !im_json_string(c, &model, "end_of_word_suffix", IM_MAY, &suffix))
        return false;
    if (strcmp(type, "BPE") || strcmp(suffix, "</w>"))
        return im_fail(c, "%s: is a tokenizer of type \"%.40s\" with words ending in \"%.40s\"; wanted CLIP's: "
                       "BPE with \"</w>\"", j->file, type, suffix);
    int n = im_json_length(c, &model, "merges", IM_MUST, 0, MAX_ID);
    if (n < 0 || !read_vocab(c, b, j->file, vocab.value) || !make_merges(c, b, (size_t)n)) return false;
    for (int i = 0; i < n; i++)
        if (!read_merge(c, b, j->file, i + 1, json_array_get(json_object_get(model.value, "merges"), (size_t)i)))
            return false;
    return true;
}

/* A character of the alphabet, at the end of a word or not; or <name>, [name], which no text is merged into. */
static bool stands_alone(const im_bpe *b, const char *piece)
{
    size_t n = strlen(piece);
    if (n > 2 && ((piece[0] == '<' && piece[n - 1] == '>') || (piece[0] == '[' && piece[n - 1] == ']'))) return true;
    for (int byte = 0; byte < 256; byte++) {
        size_t m = strlen(b->alphabet[byte]);
        if (!strncmp(piece, b->alphabet[byte], m) && (!piece[m] || !strcmp(piece + m, "</w>"))) return true;
    }
    return false;
}

bool im_bpe_check_made(im_ctx *c, const im_bpe *b, const char *file, const bool *special)
{
    bool *made = calloc((size_t)b->n + 1, sizeof *made);
    if (!made) return no_memory(c);
    for (size_t i = 0; i < b->cap; i++)
        if (b->merges[i].rank >= 0) made[b->merges[i].result] = true;
    int missing = 0;
    const char *first = NULL;
    for (int i = 0; i < b->n; i++) {
        if (!b->pieces[i] || made[i] || special[i] || stands_alone(b, b->pieces[i])) continue;
        if (!missing++) first = b->pieces[i];
    }
    free(made);
    return !missing || im_fail(c, "%s: %d pieces of the vocabulary, \"%.60s\" the first, come from none of its %zu merges; "
                               "the file is cut off or belongs to another vocabulary", file, missing, first, b->n_merges);
}

/* While deriving, b->n counts the pieces so far; there is room for all. */
static bool derive_piece(im_ctx *c, im_bpe *b, const char *name, int line, const pair_line *p)
{
    char *both = joined(c, p);
    bool ok = both && add_piece(c, b, b->n, both, p->n_left + p->n_right);
    (void)name, (void)line;
    b->n++;
    free(both);
    return ok;
}

bool im_bpe_derive(im_ctx *c, im_bpe *b, const char *name, const char *merges, size_t bytes, const char *const last[],
                   int n_last)
{
    uint8_t order[256];
    size_t lines = count_lines(merges, bytes);
    *b = (im_bpe){ 0 };
    make_alphabet(b, order);
    if (!make_room(c, b, 512 + lines + (size_t)n_last)) return false;
    for (b->n = 0; b->n < 512; b->n++) {
        char piece[8];
        snprintf(piece, sizeof piece, "%s%s", b->alphabet[order[b->n & 255]], b->n < 256 ? "" : "</w>");
        if (!add_piece(c, b, b->n, piece, strlen(piece))) return false;
    }
    if (!each_pair(c, b, name, merges, bytes, derive_piece)) return false;
    for (int i = 0; i < n_last; i++, b->n++)
        if (!add_piece(c, b, b->n, last[i], strlen(last[i]))) return false;
    return make_merges(c, b, lines) && each_pair(c, b, name, merges, bytes, add_merge);
}
