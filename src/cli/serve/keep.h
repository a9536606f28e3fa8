/* keep.h: --keep: finished pictures in a folder (keep.c). Used by the worker. */
#ifndef IM_CLI_SERVE_KEEP_H
#define IM_CLI_SERVE_KEEP_H

#include "cli/serve/serve.h"

/* Writes it beside its name and renames it, so that a kill leaves all of a picture or nothing. Where that fails, the error
 * is printed, and the client has its picture all the same. */
void keep_picture(server *s, const job *j, int index, const uint8_t *file, size_t bytes);
bool keep_check(server *s);                                    /* can anything be written there?                       */

#endif
