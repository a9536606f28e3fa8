/* art_words.c: lists of words, and in which category a drawing belongs by the words of its file name.
 *
 * Words are looked up in words.tsv first (Italian and French names, spellings, categories), then among WordNet's nouns and
 * adjectives (Fellbaum 1998). A drawing belongs to its folder's category, or to a nearer one that words.tsv names for the
 * first three known words of the title. The split into training and test goes by category: art_caption.c says things
 * better than this does, but what changes here would move pictures from one side to the other. */
#include "art_words.h"
#include "data/files/file.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool read_table(im_ctx *c, art_table *t, const char *folder, const char *name)
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
            art_row *v = realloc(t->v, (size_t)(cap = cap ? 2 * cap : 128) * sizeof *v);
            if (!v)
                return im_fail(c, "%s: out of memory", name);
            t->v = v;
        }
        art_row r = { { "", "", "" } };
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

/* index.noun, index.adj: the first word of a line; lines are sorted as bytes. */
static bool read_list(im_ctx *c, art_list_of *l, const char *folder, const char *name)
{
    size_t bytes;
    char *save = NULL, *path = im_join(c, folder, name);
    int cap = 0;
    l->text = path ? im_read_file(c, path, 64 << 20, &bytes) : NULL;
    for (char *line = l->text ? strtok_r(l->text, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
        if (*line == ' ')                                      /* the licence                                         */
            continue;
        if (l->n == cap) {
            const char **v = realloc(l->v, (size_t)(cap = cap ? 2 * cap : 1 << 17) * sizeof *v);
            if (!v) {
                free(path);
                return im_fail(c, "%s: out of memory", name);
            }
            l->v = v;
        }
        char *space = strchr(line, ' ');
        if (space)
            *space = 0;
        l->v[l->n++] = line;
    }
    free(path);
    return l->text != NULL;
}

void art_words_close(art_words *w)
{
    if (!w)
        return;
    art_table *const tables[] = { &w->categories, &w->words, &w->phrases, &w->authors, &w->names };
    for (int i = 0; i < (int)(sizeof tables / sizeof *tables); i++) {
        free(tables[i]->text);
        free(tables[i]->v);
    }
    free(w->nouns.text);
    free(w->nouns.v);
    free(w->adjectives.text);
    free(w->adjectives.v);
    free(w);
}

art_words *art_words_open(im_ctx *c, const char *tables, const char *wordnet)
{
    art_words *w = calloc(1, sizeof *w);
    if (!w)
        im_fail(c, "out of memory for the lists of words");
    else if (read_table(c, &w->categories, tables, "categories.tsv") && read_table(c, &w->words, tables, "words.tsv") &&
             read_table(c, &w->phrases, tables, "phrases.tsv") && read_table(c, &w->authors, tables, "authors.tsv") &&
             read_table(c, &w->names, tables, "names.tsv") && read_list(c, &w->nouns, wordnet, "index.noun") &&
             read_list(c, &w->adjectives, wordnet, "index.adj"))
        return w;
    art_words_close(w);
    return NULL;
}

const char *art_category(const art_words *w, char kind, const char *name)
{
    const char *best = NULL;
    size_t length = 0;
    for (int i = 0; i < w->categories.n; i++) {
        const art_row *r = &w->categories.v[i];
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

bool art_listed(const art_list_of *l, const char *word)
{
    return bsearch(word, l->v, (size_t)l->n, sizeof *l->v, compare) != NULL;
}

const art_row *art_lookup(const art_table *t, const char *word)
{
    for (int i = 0; i < t->n; i++) {
        const char *key = t->v[i].f[0];
        size_t n = strlen(key);
        if (!strcmp(key, word) || (n && key[n - 1] == '*' && !strncmp(key, word, n - 1)))
            return &t->v[i];
    }
    return NULL;
}

enum { MAX_WORDS = 16, MAX_NOUNS = 3 };

/* Cuts the copy `s` of a file name into lower-case words; returns how many are taken to belong to the title: of a name
 * that ends in a number or a stump of one letter, the two words before it go, if a word is left. */
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

const char *art_near_category(im_ctx *c, const art_words *w, const char *file, const char *category)
{
    char *copy = im_copy_text(c, file, strlen(file)), *word[MAX_WORDS], out[256] = "";
    if (!copy)
        return category;
    int n = title_words(copy, word), found = 0;
    for (int i = 0; i < n && found < MAX_NOUNS; i++) {
        const art_row *r = art_lookup(&w->words, word[i]);
        const char *noun = r ? r->f[1] : word[i];
        if (!strcmp(noun, "-") || strlen(noun) < 3 || strstr(out, noun) ||
            (!r && (strpbrk(noun, "0123456789.'") || !art_listed(&w->nouns, noun))))
            continue;
        if (r && *r->f[2])
            for (int k = 0; k < w->categories.n; k++)
                if (!strcmp(w->categories.v[k].f[2], r->f[2])) {
                    category = w->categories.v[k].f[2];
                    break;
                }
        snprintf(out + strlen(out), sizeof out - strlen(out), "%s%s", found ? " " : "", noun);
        found++;
    }
    free(copy);
    return category;
}
