/* captions.h: the captions of a set, tokenised ahead of a training, whole and with tags left out.
 *
 * The tags of a caption are what its commas part: "emperor penguin, bird, clip art". A draw leaves out each with a
 * probability, so that the network also learns what a shorter prompt means; a caption of which nothing would be left
 * stays whole. Used by train_diffusion.c. */
#ifndef IM_CAPTIONS_H
#define IM_CAPTIONS_H

#include "data/sets/dataset.h"
#include "data/files/stream.h"
#include "imago.h"

enum { IM_TAGS_MAX = 4 };                                      /* what follows the third comma is one tag             */

typedef struct im_tags { const char *at[IM_TAGS_MAX]; int length[IM_TAGS_MAX]; int n; } im_tags;

/* Cuts a caption into tags without spaces around them; empty ones do not count. They point into it. */
im_tags im_tags_of(const char *caption);

typedef struct im_captions {
    im_ctx *c;
    int tokens;                                                /* T: of a row                                         */
    int64_t pictures, rows;
    int64_t *first;                                            /* (pictures): row of a picture's caption without all   */
                                                               /* tags but the first; row first + m - 1 has the tags   */
                                                               /* of the bits of m, the last one the whole caption    */
    uint8_t *n;                                                /* (pictures): tags; 1 where none is ever left out     */
    int32_t *ids;                                              /* (rows, T)                                           */
    int32_t *empty;                                            /* (T) of ""                                           */
} im_captions;

/* subsets false: only whole captions. The zeroed s is to be freed in any case. */
bool im_captions_read(im_ctx *c, im_captions *s, const im_dataset *d, const im_tokenizer *k, int tokens, bool subsets);
void im_captions_free(im_captions *s);
/* The ids (T) of a picture's caption without the tags that r says: one uniform number each, in their order; the first is
 * left out with probability `first`, the others with `others`. Both 0: the whole caption, without a draw. */
const int32_t *im_captions_draw(const im_captions *s, int64_t picture, float first, float others, im_stream *r);

#endif
