/* request_line.h: a line of a list of prompts that says more than a prompt (request_line.c). Used by request_list.c. */
#ifndef IM_REQUEST_LINE_H
#define IM_REQUEST_LINE_H

#include <jansson.h>

#include "models/pipelines/sd.h"

typedef struct im_prompt_line {
    const char *prompt, *negative;                             /* borrowed, of the object                              */
    bool has_seed;
    im_prompt said;                                            /* seed and what stands behind `number` there           */
} im_prompt_line;

/* The line as an object, from JSON or from options; NULL with an error, which begins with place. */
json_t *im_prompt_line_json(im_ctx *c, const char *place, const char *line);
json_t *im_prompt_line_options(im_ctx *c, const char *place, const char *line);
/* What an object says; the rest of out stays as it is. */
bool im_prompt_line_read(im_ctx *c, const char *place, json_t *object, im_prompt_line *out);

#endif
