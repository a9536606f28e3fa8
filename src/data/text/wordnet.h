/* wordnet.h: synsets of WordNet 3.0 by their number: what a class of ImageNet is called, what it is a kind of, what it is.
 * A wnid is 'n' and the byte at which the synset's line begins in data.noun (Debian: wordnet-base; manual page wndb(5)).
 * Used by class_list.c. */
#ifndef IM_WORDNET_H
#define IM_WORDNET_H

#include "imago.h"

typedef struct im_wordnet im_wordnet;                          /* data.noun, open                                     */
/* $IMAGO_WORDNET, or /usr/share/wordnet/data.noun. NULL with an error that names the package. */
im_wordnet *im_wordnet_open(im_ctx *c);
void im_wordnet_close(im_wordnet *w);

typedef struct im_synset {                                     /* texts are malloc'd                                  */
    char *lemmas;                                              /* all, blanks for underscores, joined by ", "         */
    char *first;                                               /* the first of them                                   */
    char *hypernym;                                            /* all lemmas of the first hypernym; NULL: it has none */
    char *definition;                                          /* the gloss without its examples                      */
} im_synset;

bool im_is_wnid(const char *text);                             /* 'n' and eight digits, nothing else                  */
/* False without an error where no synset begins there; with one when memory is out or the file is not WordNet's. */
bool im_wordnet_find(im_ctx *c, const im_wordnet *w, const char *wnid, im_synset *out);
void im_synset_free(im_synset *s);

#endif
