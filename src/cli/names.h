/* names.h: other names for options: those that neighbours use work or are answered, and those that are nearly right are
 * guessed. Used by options.c, values.c and main.c. */
#ifndef IM_CLI_NAMES_H
#define IM_CLI_NAMES_H

#include "cli/options.h"

/* This verb's name for an option that another program calls `name` ("cfg-scale": "guidance"); NULL: none. */
const char *name_alias(const verb *v, const char *name);
const char *name_of_letter(const verb *v, char letter);        /* -j: "workers"                                        */
/* Says that there is no option `arg`, and which one may be meant. Returns CLI_USAGE. */
int name_unknown(const verb *v, const char *arg);
/* The word of "a|b" that may be meant by `typed`, in out; false: none. */
bool name_near_choice(const char *choices, const char *typed, char *out, size_t size);
/* What another program calls a verb ("txt2img": "generate"); NULL: none. */
const char *name_of_verb(const char *typed);

/* The word of `words` nearest to `typed`, NULL when none is near: for "did you mean". */
const char *nearest_word(const char *typed, const char *const words[], int n);

/* The table of aliases for tests and completions: number i, or false past its end. */
bool name_alias_at(int i, const char **typed, const char **option, const char **verbs);

#endif
