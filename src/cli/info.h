/* info.h: the parts of `imago info`. */
#ifndef IM_CLI_INFO_H
#define IM_CLI_INFO_H

#include <jansson.h>

#include "imago.h"

/* Prints the tensors of a file, or appends them to the JSON list `files` when that is not NULL. */
bool info_tensors(im_ctx *c, const char *path, json_t *files);

#endif
