/* art_vocabulary.c: a small vocabulary of the ordinary CLIP kind, for captions of a few hundred different words.
 *
 * Byte-pair encoding (Sennrich et al. 2016) joins, again and again, the neighbouring pair that stands first in the list of
 * merges. The merges that CLIP's list uses on the words of the captions are kept, in their order; so these words get the
 * same pieces as with the whole list, and every other word falls apart into smaller ones, at worst into bytes. */
#define _GNU_SOURCE
#include "art.h"
#include "data/files/file.h"
#include "data/text/clip_merges.h"

#include <ctype.h>
#include <jansson.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MERGES = 48894, PIECE = 64 };

typedef struct { char *text; char **line; bool *used; int n; struct hsearch_data rank; } merges;

static bool read_merges(im_ctx *c, merges *m)
{
    char *save = NULL;
    m->text = strndup(im_clip_merges, (size_t)(im_clip_merges_end - im_clip_merges));
    m->line = calloc(MERGES, sizeof *m->line);
    m->used = calloc(MERGES, sizeof *m->used);
    if (!m->text || !m->line || !m->used || !hcreate_r(2 * MERGES, &m->rank))
        return im_fail(c, "out of memory for the merges");
    for (char *l = strtok_r(m->text, "\n", &save); l && m->n < MERGES; l = strtok_r(NULL, "\n", &save)) {
        if (*l == '#')
            continue;
        ENTRY e = { l, (void *)(intptr_t)m->n }, *at;
        hsearch_r(e, ENTER, &at, &m->rank);
        m->line[m->n++] = l;
    }
    return true;
}

static int rank_of(merges *m, const char *a, const char *b)
{
    char pair[2 * PIECE + 2];
    ENTRY e = { pair, NULL }, *at;
    snprintf(pair, sizeof pair, "%s %s", a, b);
    return hsearch_r(e, FIND, &at, &m->rank) ? (int)(intptr_t)at->data : MERGES;
}

/* Marks every merge that encoding `word` applies. Words here are plain letters and digits of ASCII. */
static void mark(merges *m, const char *word, size_t length)
{
    char piece[PIECE][PIECE];
    int n = 0;
    for (; n < (int)length && n < PIECE - 1; n++)
        snprintf(piece[n], PIECE, "%c%s", word[n], n + 1 == (int)length ? "</w>" : "");
    while (n > 1) {
        int best = MERGES, at = -1;
        for (int i = 0; i + 1 < n; i++) {
            int rank = rank_of(m, piece[i], piece[i + 1]);
            if (rank < best) {
                best = rank;
                at = i;
            }
        }
        if (at < 0)
            return;
        m->used[best] = true;
        size_t have = strlen(piece[at]), more = strlen(piece[at + 1]);
        if (have + more >= PIECE)
            return;
        memcpy(piece[at] + have, piece[at + 1], more + 1);
        memmove(piece[at + 1], piece[at + 2], (size_t)(n - at - 2) * PIECE);
        n--;
    }
}

static void mark_caption(merges *m, const char *s)
{
    char word[PIECE];
    while (*s) {
        size_t n = 0;
        while (isalpha((unsigned char)*s) && n + 1 < sizeof word)
            word[n++] = (char)tolower((unsigned char)*s++);
        if (n)
            mark(m, word, n);
        else
            s++;
    }
}

/* "th" of "t h" */
static void joined(const char *line, char out[2 * PIECE])
{
    size_t n = 0;
    for (; *line; line++)
        if (*line != ' ')
            out[n++] = *line;
    out[n] = 0;
}

static bool write_files(im_ctx *c, const merges *m, const char *folder)
{
    char *text = NULL, name[2 * PIECE];
    size_t bytes = 0;
    json_t *vocabulary = json_object();
    im_tokenizer *whole = im_tokenizer_open(c, NULL);
    FILE *f = open_memstream(&text, &bytes);
    int id = 0;
    if (!vocabulary || !whole || !f)
        return im_fail(c, "out of memory for the vocabulary");
    for (; id < 512; id++)                                     /* the bytes, and the bytes at the end of a word       */
        json_object_set_new(vocabulary, im_token_piece(whole, id), json_integer(id));
    fprintf(f, "#version: 0.2\n");
    for (int i = 0; i < m->n; i++)
        if (m->used[i]) {
            joined(m->line[i], name);
            if (!json_object_get(vocabulary, name))
                json_object_set_new(vocabulary, name, json_integer(id++));
            fprintf(f, "%s\n", m->line[i]);
        }
    json_object_set_new(vocabulary, "<|startoftext|>", json_integer(id++));
    json_object_set_new(vocabulary, "<|endoftext|>", json_integer(id++));
    fclose(f);
    char *json = json_dumps(vocabulary, JSON_PRESERVE_ORDER | JSON_ENSURE_ASCII);
    char *a = im_join(c, folder, "merges.txt"), *b = im_join(c, folder, "vocab.json");
    bool ok = json && a && b && im_make_folder(c, folder) && im_write_file(c, a, text, bytes, true)
           && im_write_file(c, b, json, strlen(json), true);
    printf("vocabulary: %d pieces\n", id);
    free(a);
    free(b);
    free(json);
    free(text);
    json_decref(vocabulary);
    im_tokenizer_free(whole);
    return ok;
}

bool art_vocabulary(im_ctx *c, const art_list *l, const char *folder)
{
    merges m = { 0 };
    bool ok = read_merges(c, &m);
    for (int i = 0; ok && i < l->n; i++)
        mark_caption(&m, l->v[i].caption);
    if (ok)
        mark_caption(&m, "a an the of and with on in picture photo drawing");
    ok = ok && write_files(c, &m, folder);
    hdestroy_r(&m.rank);
    free(m.text);
    free(m.line);
    free(m.used);
    return ok;
}
