/* wildcards.h: __name__ in a text stands for a line of name.txt in a folder (wildcards.c). Used by `imago generate`
 * and `imago serve`. */
#ifndef IM_WILDCARDS_H
#define IM_WILDCARDS_H

#include "imago.h"

typedef struct im_wildcards im_wildcards;
/* NULL with an error: there is no such folder. within: for texts of strangers: a link that leads out of the folder is no
 * file of it, and errors do not say where the folder is. */
im_wildcards *im_wildcards_open(im_ctx *c, const char *folder, bool within);
/* The text with a line for each wildcard, malloc'd; which line is a function of the seed, of stream (0: a prompt, 1: a
 * negative prompt) and of how many were chosen before. NULL with an error, which begins with place. */
char *im_wildcards_fill(im_ctx *c, im_wildcards *w, const char *place, const char *text, uint64_t seed, uint32_t stream);
bool im_wildcards_in(const char *text);                        /* does it name one?                                    */
void im_wildcards_free(im_wildcards *w);

#endif
