/* embeddings.h: textual inversion (Gal et al. 2022, arXiv 2208.01618): words that stand for vectors which were learned in
 * the place of token embeddings. A safetensors file in one of two layouts:
 *
 *     diffusers       { "<name>": (n, C) or (C) ... }         the names are those of the tensors
 *     AUTOMATIC1111   { "emb_params": (n, C) }                the name is that of the file
 * Used by sd_embed.c. */
#ifndef IM_EMBEDDINGS_H
#define IM_EMBEDDINGS_H

#include "imago.h"

typedef struct im_learned { char *name; char sha256[65]; int n; } im_learned;       /* n: its vectors                 */
typedef struct im_embeddings {
    im_learned *v; int n;
    float *vectors; int rows;                                  /* (rows, C): those of v[0], v[1] ...                  */
    int width;                                                 /* C                                                   */
} im_embeddings;

/* Adds what a file has; width: the text encoder's, most: vectors that a chunk can hold. False with an error for a name that
 * is there already, a wrong width, a pickle; e is as before. */
bool im_embeddings_add(im_ctx *c, im_embeddings *e, const char *path, int width, int most);
void im_embeddings_free(im_embeddings *e);

#endif
