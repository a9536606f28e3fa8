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

/* *cut (may be NULL): malloc'd text that was left out, NULL: none. False with an error; out holds nothing then. */
bool im_chunks_of(im_ctx *c, const im_tokenizer *t, const char *prompt, im_prompt_syntax syntax, int length,
                  im_chunks *out, char **cut);
bool im_chunk_weighted(const im_chunks *k, int i);             /* has an id of chunk i another weight than 1?          */
void im_chunks_free(im_chunks *k);

#endif
