/* art_caption.c: what a drawing shows, in tags: "emperor penguin, bird, clip art".
 *
 * The first tag is read from the name of the file. openclipart's are "title_first_last_NN" in two dozen characters: the
 * title ends before the first word that authors.tsv lists. Of the words before it those stay that words.tsv translates or
 * WordNet knows as nouns, in the plural too, or as adjectives before a noun. Where this says nothing true, phrases.tsv
 * has the words for the whole name. The second tag is the category, unless the first one holds the word. */
#include "art_words.h"
#include "data/files/file.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 256 };

/* A noun, or its regular plural. */
static bool is_noun(const art_words *w, const char *word)
{
    char stem[LONGEST];
    size_t n = strlen(word);
    if (art_listed(&w->nouns, word))
        return true;
    if (n < 4 || n >= sizeof stem || word[n - 1] != 's')
        return false;
    memcpy(stem, word, n + 1);
    stem[n - 1] = 0;                                           /* apples                                              */
    if (art_listed(&w->nouns, stem))
        return true;
    if (word[n - 2] != 'e')
        return false;
    stem[n - 2] = 0;                                           /* boxes                                               */
    if (art_listed(&w->nouns, stem))
        return true;
    if (word[n - 3] != 'i')
        return false;
    stem[n - 3] = 'y';                                         /* cherries                                            */
    return art_listed(&w->nouns, stem);
}

/* Whether the words stand in the text, perhaps in the plural. */
static bool holds(const char *text, const char *words)
{
    size_t n = strlen(words);
    for (const char *at = text; (at = strstr(at, words)); at++)
        if ((at == text || !isalpha((unsigned char)at[-1])) && !isalpha((unsigned char)at[n + (at[n] == 's')]))
            return true;
    return false;
}

static void append(char out[LONGEST], const char *word)
{
    size_t n = strlen(out);
    snprintf(out + n, LONGEST - n, "%s%s", n ? " " : "", word);
}

/* The title of the file's name, "" where no list knows a word of it. every: the words need not be in any list. */
static void read_title(const art_words *w, char *name, bool every, char out[LONGEST])
{
    char *save = NULL, waiting[LONGEST] = "";                  /* adjectives that no noun has followed yet            */
    *out = 0;
    bool first = true;
    for (char *t = strtok_r(name, "_ -", &save); t; t = strtok_r(NULL, "_ -", &save), first = false) {
        if (!first && art_lookup(&w->authors, t))
            break;
        t[strcspn(t, "0123456789")] = 0;
        const art_row *r = art_lookup(&w->words, t);
        const char *word = r && !every ? r->f[1] : t;
        if (strlen(word) < (every ? 2u : 3u) || !strcmp(word, "-") || holds(out, word))
            continue;
        if (every || r || is_noun(w, word)) {
            if (*waiting)
                append(out, waiting);
            *waiting = 0;
            append(out, word);
        } else if (art_listed(&w->adjectives, word)) {
            append(waiting, word);
        }
    }
}

/* Title, category unless it is in the title or "-", style. */
static char *tags(im_ctx *c, const char *of, const char *title, const char *category, const char *style)
{
    char out[3 * LONGEST];
    bool whole = holds(title, category) || !strcmp(category, "-");
    int n = snprintf(out, sizeof out, "%s%s%s%s, %s", of, title, whole ? "" : ", ", whole ? "" : category, style);
    return im_copy_text(c, out, (size_t)n);
}

char *art_caption(im_ctx *c, const art_words *w, const char *file, const char *category, const char *style)
{
    char *copy = im_copy_text(c, file, strlen(file)), title[LONGEST];
    if (!copy)
        return NULL;
    for (char *s = copy; *s; s++)
        *s = (char)tolower((unsigned char)*s);
    const art_row *name = art_lookup(&w->names, category), *said = art_lookup(&w->phrases, copy);
    const char *second = said && *said->f[2] ? said->f[2] : name ? name->f[1] : category;
    bool flag = !said && !strcmp(category, "flag");
    if (said)
        snprintf(title, sizeof title, "%s", said->f[1]);
    else
        read_title(w, copy, flag, title);
    free(copy);
    if (!strcmp(title, "-") || !*title)
        snprintf(title, sizeof title, "%s", second);
    return tags(c, flag ? "flag of " : "", title, flag ? "-" : second, style);
}

char *art_emoji_caption(im_ctx *c, const art_words *w, const char *name, const char *category)
{
    /* "o'clock", "person: beard"; other signs that are not ASCII do not occur in names of the chosen groups */
    static const char *const plain[][2] = { { "\xe2\x80\x99", "'" }, { ":", " with" } };
    const art_row *row = art_lookup(&w->names, category);
    char title[LONGEST] = "";
    for (size_t n = 0; *name && n + 8 < LONGEST; n = strlen(title)) {
        int k = 0;
        while (k < 2 && strncmp(name, plain[k][0], strlen(plain[k][0])))
            k++;
        if (k < 2)
            strcat(title, plain[k][1]);
        else
            title[n] = (char)tolower((unsigned char)*name);
        name += k < 2 ? strlen(plain[k][0]) : 1;
    }
    return tags(c, "", title, row ? row->f[1] : category, "emoji");
}
