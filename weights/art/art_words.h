/* art_words.h: the tables of this folder and WordNet's lists, as art_words.c and art_caption.c share them. */
#ifndef ART_WORDS_H
#define ART_WORDS_H

#include "art.h"

typedef struct { const char *f[3]; } art_row;                  /* fields of a line of a table, "" where missing       */
typedef struct { char *text; art_row *v; int n; } art_table;
typedef struct { char *text; const char **v; int n; } art_list_of;                   /* words, sorted as bytes        */

struct art_words {
    art_table categories, words;         /* see their files                                                           */
    art_table phrases, authors, names;
    art_list_of nouns, adjectives;       /* WordNet's                                                                 */
};

bool art_listed(const art_list_of *l, const char *word);
/* The first line whose key is the word, or its beginning where the key ends in *; NULL: none. */
const art_row *art_lookup(const art_table *t, const char *word);

#endif
