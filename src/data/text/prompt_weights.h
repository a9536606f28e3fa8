/* prompt_weights.h: a prompt as the AUTOMATIC1111 web interface reads it: parts of text, each with a weight.
 *
 *     (a)  1.1        [a]  1 / 1.1       (a:1.3)  1.3       brackets multiply: ((a)) is 1.1 * 1.1
 *     \( \) \[ \] \\  the character itself; any other \ is left out
 *     BREAK           a word of its own: what follows begins a new chunk (chunks.h)
 * A bracket that is not closed lasts to the end of the prompt; one that was not opened is text. docs/prompts.md has the
 * whole rule. Used by chunks.c. */
#ifndef IM_PROMPT_WEIGHTS_H
#define IM_PROMPT_WEIGHTS_H

#include "imago.h"

typedef struct im_span { char *text; double weight; } im_span;                      /* text malloc'd; NULL: BREAK     */
typedef struct im_spans { im_span *v; int n, room; } im_spans;

bool im_spans_read(im_ctx *c, const char *prompt, im_spans *out);                   /* neighbours of one weight joined */
void im_spans_free(im_spans *s);

#endif
