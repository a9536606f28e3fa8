/* words.h: a line taken apart into words as a shell does it (words.c). Used by lists of prompts. */
#ifndef IM_WORDS_H
#define IM_WORDS_H

#include "imago.h"

typedef struct im_word_list { char **v; int n; } im_word_list; /* each malloc'd                                        */
/* POSIX quoting, as Python's shlex.split(line): '...', "..." with \" and \\ in it, \ before any character. place: for the
 * error of a quote that is not closed. False: an error, and nothing in out. */
bool im_words_split(im_ctx *c, const char *place, const char *line, im_word_list *out);
void im_words_free(im_word_list *l);

#endif
