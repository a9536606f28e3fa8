/* prompt_marks.h: what other programs read in a prompt and this one does not. */
#ifndef IM_PROMPT_MARKS_H
#define IM_PROMPT_MARKS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum { IM_MARK_NONE, IM_MARK_FILE, IM_MARK_WEIGHT } im_mark;

/* The first mark of the text at or after *at: <lora:NAME:1>, a file to be loaded (so <lyco:, <hypernet:), or (words:1.3), a
 * weight. mark[0..size) receives it, cut at its end; *at moves behind it. */
im_mark im_prompt_mark(const char *text, size_t *at, char *mark, size_t size);

#endif
