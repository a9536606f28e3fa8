/* chunks.h: a prompt as the text encoder takes it: chunks of so many ids as it has positions, each between start and end,
 * and a weight for every id.
 *
 * Plain text is one chunk, cut where it is full. In the syntax of the AUTOMATIC1111 web interface (prompt_weights.h) there
 * are as many as the text needs: a new one begins at BREAK and where one is full; if it has a comma among its last 20 ids,
 * what stands behind the last comma moves to the new one. Used by models/pipelines/sd_text.c. */
#ifndef IM_CHUNKS_H
#define IM_CHUNKS_H

#include "imago.h"

typedef struct im_chunks {
    int n, length;                                             /* chunks; ids of one                                   */
    int32_t *ids;                                              /* (n, length)                                          */
    float *weight;                                             /* (n, length); of start, end and padding 1             */
} im_chunks;

/* Words that stand for vectors and not for text (textual inversion, Gal et al. 2022, arXiv 2208.01618): wherever the text
 * has the name, in capitals or not, beside no letter or digit if it begins or ends with one, and never within a longer
 * such name. Its ids are -1 - first, -1 - (first + 1) ...; one chunk holds all of them. */
typedef struct im_vector_word { const char *name; int first, n; } im_vector_word;
typedef struct im_vector_words { const im_vector_word *v; int n; } im_vector_words;
/* The first of them in text[0, bytes), NULL: none; *at: where. */
const im_vector_word *im_vector_word_in(im_vector_words w, const char *text, size_t bytes, size_t *at);

/* *cut (may be NULL): malloc'd text that was left out, NULL: none. False with an error; out holds nothing then. */
bool im_chunks_of(im_ctx *c, const im_tokenizer *t, im_vector_words words, const char *prompt, im_prompt_syntax syntax,
                  int length, im_chunks *out, char **cut);
bool im_chunk_weighted(const im_chunks *k, int i);             /* has an id of chunk i another weight than 1?          */
void im_chunks_free(im_chunks *k);

#endif
