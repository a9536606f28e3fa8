/* clip_text.h: a prompt as CLIP's tokenizer sees it: normalised, then split into words. Used by tokenizer.c and
 * prompt_weights.c. */
#ifndef IM_CLIP_TEXT_H
#define IM_CLIP_TEXT_H

#include "imago.h"

typedef struct im_splitter im_splitter;                        /* the compiled patterns                               */
im_splitter *im_splitter_new(im_ctx *c);
void im_splitter_free(im_splitter *s);

/* NFC, runs of white space as one space, lower case; malloc'd. text is valid UTF-8. */
char *im_clip_normalise(im_ctx *c, const char *text, size_t bytes, size_t *out_bytes);
/* Is the first character of text one of a word, \w of Unicode (UTS 18): letters, marks, digits, joiners, _? */
bool im_clip_word_char(const char *text, size_t bytes);
/* Does text[from, to) stand by itself, without a character of a word before or behind it? */
bool im_clip_stands_alone(const char *text, size_t bytes, size_t from, size_t to);
/* Calls fn for every word of normalised text, in order, until it returns false. */
typedef bool (*im_word_fn)(void *arg, const char *word, size_t bytes);
bool im_clip_split(im_ctx *c, const im_splitter *s, const char *text, size_t bytes, im_word_fn fn, void *arg);

#endif
