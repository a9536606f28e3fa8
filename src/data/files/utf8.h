/* utf8.h: checking and converting UTF-8 (RFC 3629). Used by the tokenizer and for the texts of pictures. */
#ifndef IM_UTF8_H
#define IM_UTF8_H

#include "imago.h"

bool im_is_utf8(const char *text, size_t bytes);
/* False with an error that begins with `what` and names the first byte that is not UTF-8. */
bool im_utf8_check(im_ctx *c, const char *what, const char *text, size_t bytes);

/* Both malloc'd, ended by a zero byte. im_utf8_to_latin1 takes valid UTF-8 and gives NULL without an error when Latin-1
 * lacks a character. */
char *im_utf8_from_latin1(im_ctx *c, const char *text, size_t bytes);
char *im_utf8_to_latin1(im_ctx *c, const char *text, size_t bytes);

/* The text with U+FFFD for every byte that is not UTF-8: for names of files in JSON, which holds nothing else. Malloc'd;
 * NULL with an error. */
char *im_utf8_clean(im_ctx *c, const char *text);

#endif
