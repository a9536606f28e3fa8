/* asked.h: what `generate` and `serve` both make of what they are asked (asked.c). */
#ifndef IM_CLI_ASKED_H
#define IM_CLI_ASKED_H

#include "imago.h"

enum { MODEL_NAME_BYTES = 256 };
/* The last part of the model's path, without slashes at its end, cut to size; "imago-small" for NULL. Metadata holds no
 * paths of one machine, and only UTF-8. */
bool model_name_of(im_ctx *c, const char *path, char *out, size_t size);
uint64_t random_seed(void);                                    /* of 32 bits                                           */

#endif
