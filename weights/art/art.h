/* art.h: the public art that the embedded model is trained on, from Debian packages to a folder of pictures.
 *
 * A piece is one drawing: where it comes from, what it shows, its pixels. art_clipart.c and art_emoji.c find them,
 * art_words.c and art_caption.c say in words what they show, art_fit.c makes them square, art_family.c tells copies from
 * different drawings and splits training from test, model_data.c is the program. */
#ifndef ART_H
#define ART_H

#include "imago.h"

typedef enum { ART_CLIPART, ART_EMOJI } art_source;

typedef struct art_piece {
    art_source source;
    char *file;                          /* its name in the output, unique: "oca_animals_birds_eagle_01"              */
    char *stem;                          /* what variants of one drawing have in common: "birds eagle"                */
    char *caption;                       /* "eagle, bird, clip art"                                                   */
    const char *category;                /* owned by the list of categories                                           */
    im_image *picture;                   /* (size, size, 3)                                                           */
    const im_image *likeness;            /* what art_add hashes; NULL: the picture                                    */
    uint64_t hash[2];                    /* perceptual: rows, columns                                                 */
    int family;                          /* index of its first piece                                                  */
    bool held_out;
} art_piece;

typedef struct art_list {
    art_piece *v;
    int n, cap;
    int seen, unfit, dropped;            /* files looked at; unreadable or too large; of no category or nearly empty  */
} art_list;

typedef struct art_words art_words;      /* categories, translations, WordNet's nouns                                 */

/* tables: the folder of categories.tsv and the others; wordnet: that of index.noun and index.adj. */
art_words *art_words_open(im_ctx *c, const char *tables, const char *wordnet);
void art_words_close(art_words *w);
/* The category of a folder of openclipart ('o') or a subgroup of emoji ('e'); NULL: not wanted. */
const char *art_category(const art_words *w, char kind, const char *name);
/* The category of "two_dead_frogs_lumen_desig_01" in a folder of `category`. */
const char *art_near_category(im_ctx *c, const art_words *w, const char *file, const char *category);
/* What the file shows, as tags, malloc'd: "dead frog, reptile, clip art". */
char *art_caption(im_ctx *c, const art_words *w, const char *file, const char *category, const char *style);
char *art_emoji_caption(im_ctx *c, const art_words *w, const char *name, const char *category);

bool art_add(im_ctx *c, art_list *l, const art_piece *piece);  /* takes its texts and picture over                    */
bool art_clipart(im_ctx *c, art_list *l, const art_words *w, const char *root, int size);
bool art_emoji(im_ctx *c, art_list *l, const art_words *w, const char *font, const char *list, int size);

/* rgba (width, height, 4), straight alpha -> a square picture of the drawing on white: margins cut, in the middle with
 * a margin of 1/16, resampled with Lanczos; of a flag nothing but what is transparent is margin, and a grey line goes
 * around it. NULL without a failure: nothing to see. */
im_image *art_fit(im_ctx *c, const uint8_t *rgba, int width, int height, int size, bool flag);
bool art_is_grey(const im_image *i);

void art_families(art_list *l);          /* near copies get one family                                                */
void art_split(art_list *l, int percent);                      /* holds out so many of the families of each category  */

/* Writes merges.txt and vocab.json of the captions' words, out of CLIP's whole list, into folder. */
bool art_vocabulary(im_ctx *c, const art_list *l, const char *folder);

#endif
