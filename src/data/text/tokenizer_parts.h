/* tokenizer_parts.h: what tokenizer.c, tokenizer_files.c and chunks.c share; nobody else includes it. */
#ifndef IM_TOKENIZER_PARTS_H
#define IM_TOKENIZER_PARTS_H

#include "data/text/bpe.h"
#include "data/text/clip_text.h"

enum { IM_START, IM_END, IM_UNKNOWN, IM_PAD, IM_ROLES };

/* A token that is kept whole in the text. Raw ones are looked for in the text as it was given, the others after it was
 * normalised, and then `match` is the normalised token. */
typedef struct im_special {
    int32_t id;
    bool raw, single_word;                                     /* single_word: not beside letters, digits, _          */
    char *content, *match;
} im_special;

struct im_tokenizer {
    im_bpe bpe;
    im_splitter *splitter;
    int32_t role[IM_ROLES];                                    /* ids                                                 */
    im_special *special; int n_special;
    int size;                                                  /* highest id + 1: the vocabulary, then added tokens   */
};

/* tokenizer.c: adds the ids of a text, valid UTF-8, to out: all of them, without start, end and padding. *cut: where the id
 * behind the first `room` of them begins in text; NULL: there is none. */
bool im_tokenize_ids(im_ctx *c, const im_tokenizer *t, const char *text, size_t bytes, size_t room, im_ids *out,
                     const char **cut);
char *im_cut_text(im_ctx *c, const char *rest);                /* what is told of it: without white space at its end  */

/* tokenizer_files.c: fills t from the files of a folder, or with CLIP's own vocabulary. */
bool im_tokenizer_read(im_ctx *c, im_tokenizer *t, const char *folder);
bool im_tokenizer_built_in(im_ctx *c, im_tokenizer *t);

#endif
