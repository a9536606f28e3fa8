/* prompt_marks.h: what other programs read in a prompt and this one does not. */
#ifndef IM_PROMPT_MARKS_H
#define IM_PROMPT_MARKS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum { IM_MARK_NONE, IM_MARK_FILE, IM_MARK_WEIGHT, IM_MARK_CHANGE } im_mark;

/* The first mark of the text at or after *at: <lora:NAME:1>, a file to be loaded (so <lyco:, <hypernet:); (words:1.3) or
 * ((words)), a weight; [from:to:0.5] or [a|b], words that change on the way.
 * mark[0..size) receives it, cut at its end; *at moves behind it. */
im_mark im_prompt_mark(const char *text, size_t *at, char *mark, size_t size);

#endif
