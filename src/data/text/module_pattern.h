/* module_pattern.h: names of a network's modules, matched as PEFT matches the keys of its alpha_pattern: each is a regular
 * expression of Python's re, looked for as (.*\.)?(KEY)$ from the name's beginning on. Read as an extended one of POSIX.
 * Used by models/checkpoints/lora_config.c. */
#ifndef IM_MODULE_PATTERN_H
#define IM_MODULE_PATTERN_H

#include <regex.h>

#include "imago.h"

/* False: c has an error that begins with `where` and names the key: it is none, or has what POSIX has not (look-ahead,
 * flags, \b). To be freed by regfree. */
bool im_module_pattern_read(im_ctx *c, const char *where, const char *key, regex_t *out);
bool im_module_pattern_matches(const regex_t *p, const char *name);

#endif
