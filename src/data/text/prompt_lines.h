/* prompt_lines.h: the lines of a file with one prompt a line, as editors of all systems write it. Used by lists of pictures
 * (models/pipelines/request_list.c) and by the samples of a training. */
#ifndef IM_PROMPT_LINES_H
#define IM_PROMPT_LINES_H

#include "imago.h"

/* place: "FILE, line 3", for errors. False: the context has one. */
typedef bool (*im_prompt_line_taker)(void *arg, const char *place, int number, const char *line);

/* Every line that is not blank, in order, without blanks in front: UTF-8, with or without a byte order mark; LF, CR LF or
 * CR ends it. path "-": standard input. Zero bytes are an error, and so are lines and files that are too long. */
bool im_prompt_lines(im_ctx *c, const char *path, im_prompt_line_taker take, void *arg);

#endif
