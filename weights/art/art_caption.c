/* art_caption.c: what a drawing shows, read from its file name.
 *
 * openclipart's names are "title_first_last_NN", cut to a length, so the end of a name is its artist's: of a name that
 * ends in a number or a stump of one letter, the two words before it go, if a word of the title is left. Words are then
 * looked up: words.tsv first (Italian and French names, spellings, categories), then WordNet's nouns (Fellbaum 1998).
 * What no list knows says nothing; a drawing without a known word is called by its category. */
#include "art.h"
#include "data/file.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { const char *f[3]; } row;                      /* fields of a line of a table, "" where missing       */
typedef struct { char *text; row *v; int n; } table;

struct art_words {
    table categories, words;
    char *nouns;                         /* index.noun; its lines are sorted as bytes                                 */
    const char **noun; int n_nouns;
};

static bool read_table(im_ctx *c, table *t, const char *folder, const char *name)
{
    char *path = im_join(c, folder, name), *save = NULL;
    size_t bytes;
    t->text = path ? im_read_file(c, path, 1 << 20, &bytes) : NULL;
    free(path);
    int cap = 0;
    for (char *line = t->text ? strtok_r(t->text, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
        if (*line == '#')
            continue;
        if (t->n == cap) {
            row *v = realloc(t->v, (size_t)(cap = cap ? 2 * cap : 128) * sizeof *v);
            if (!v)
                return im_fail(c, "%s: out of memory", name);
            t->v = v;
        }
        row r = { { "", "", "" } };
        for (int k = 0; k < 3 && line; k++) {
            r.f[k] = line;
            char *tab = strchr(line, '\t');
            if (tab)
                *tab++ = 0;
            line = tab;
        }
        t->v[t->n++] = r;
    }
    return t->text != NULL;
}

static bool read_nouns(im_ctx *c, art_words *w, const char *path)
{
    size_t bytes;
    char *save = NULL;
    int cap = 0;
    w->nouns = im_read_file(c, path, 64 << 20, &bytes);
    for (char *line = w->nouns ? strtok_r(w->nouns, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
        if (*line == ' ')                                      /* the licence                                         */
            continue;
        if (w->n_nouns == cap) {
            const char **v = realloc(w->noun, (size_t)(cap = cap ? 2 * cap : 1 << 17) * sizeof *v);
            if (!v)
                return im_fail(c, "%s: out of memory", path);
            w->noun = v;
        }
        char *space = strchr(line, ' ');
        if (space)
            *space = 0;
        w->noun[w->n_nouns++] = line;
    }
    return w->nouns != NULL;
}

void art_words_close(art_words *w)
{
    if (!w)
        return;
    free(w->categories.text);
    free(w->categories.v);
    free(w->words.text);
    free(w->words.v);
    free(w->nouns);
    free(w->noun);
    free(w);
}

art_words *art_words_open(im_ctx *c, const char *tables, const char *nouns)
{
    art_words *w = calloc(1, sizeof *w);
    if (!w)
        im_fail(c, "out of memory for the lists of words");
    else if (read_table(c, &w->categories, tables, "categories.tsv") && read_table(c, &w->words, tables, "words.tsv")
             && read_nouns(c, w, nouns))
        return w;
    art_words_close(w);
    return NULL;
}

const char *art_category(const art_words *w, char kind, const char *name)
{
    const char *best = NULL;
    size_t length = 0;
    for (int i = 0; i < w->categories.n; i++) {
        const row *r = &w->categories.v[i];
        size_t n = strlen(r->f[1]);
        bool whole = !strcmp(name, r->f[1]), inside = kind == 'o' && !strncmp(name, r->f[1], n) && name[n] == '/';
        if (r->f[0][0] == kind && (whole || inside) && n >= length) {
            best = r->f[2];
            length = n;
        }
    }
    if (!best || *best == '-')
        return NULL;
    for (int i = 0; i < w->categories.n; i++)                  /* one pointer for each category                       */
        if (!strcmp(w->categories.v[i].f[2], best))
            return w->categories.v[i].f[2];
    return NULL;
}

static int compare(const void *key, const void *at)
{
    return strcmp(key, *(const char *const *)at);
}

static bool is_noun(const art_words *w, const char *word)
{
    return bsearch(word, w->noun, (size_t)w->n_nouns, sizeof *w->noun, compare) != NULL;
}

static const row *translation(const art_words *w, const char *word)
{
    for (int i = 0; i < w->words.n; i++) {
        const char *key = w->words.v[i].f[0];
        size_t n = strlen(key);
        if (!strcmp(key, word) || (n && key[n - 1] == '*' && !strncmp(key, word, n - 1)))
            return &w->words.v[i];
    }
    return NULL;
}

enum { MAX_WORDS = 16, MAX_NOUNS = 3 };

/* Cuts the copy `s` of a file name into lower-case words; returns how many belong to the title. */
static int title_words(char *s, char *word[MAX_WORDS])
{
    int n = 0;
    bool numbered = false;
    char *save = NULL;
    for (char *t = s; *t; t++)
        *t = (char)tolower((unsigned char)*t);
    size_t length = strlen(s);
    bool cut = length && s[length - 1] == '_';
    for (char *t = strtok_r(s, "_ -", &save); t && n < MAX_WORDS; t = strtok_r(NULL, "_ -", &save)) {
        numbered = strspn(t, "0123456789r") == strlen(t) || strlen(t) == 1;
        word[n++] = t;
    }
    if (numbered)
        n--;
    if ((numbered || cut) && n >= 3)
        n -= 2;
    return n;
}

char *art_nouns(im_ctx *c, const art_words *w, const char *file, const char **category)
{
    char *copy = im_copy_text(c, file, strlen(file)), *word[MAX_WORDS], out[256] = "";
    if (!copy)
        return NULL;
    int n = title_words(copy, word), found = 0;
    for (int i = 0; i < n && found < MAX_NOUNS; i++) {
        const row *r = translation(w, word[i]);
        const char *noun = r ? r->f[1] : word[i];
        size_t len = strlen(noun);
        if (!strcmp(noun, "-") || len < 3 || (!r && (strpbrk(noun, "0123456789.'") || !is_noun(w, noun)))
            || strstr(out, noun))
            continue;
        if (r && *r->f[2])
            for (int k = 0; k < w->categories.n; k++)
                if (!strcmp(w->categories.v[k].f[2], r->f[2])) {
                    *category = w->categories.v[k].f[2];
                    break;
                }
        snprintf(out + strlen(out), sizeof out - strlen(out), "%s%s", found ? " " : "", noun);
        found++;
    }
    free(copy);
    const char *text = found ? out : *category;
    return im_copy_text(c, text, strlen(text));
}
