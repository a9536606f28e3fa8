/* values.h: the value of one option: text to number and back, and what is said of a text that is none. Used by
 * options.c. */
#ifndef IM_CLI_VALUES_H
#define IM_CLI_VALUES_H

#include "cli/options.h"

/* Writes the value into its field of the verb's struct; false when the text is not of the option's kind. */
bool value_set(const option *o, const char *text, void *values);
/* The field's value as it would be typed; "" for a flag, for no text, and for a number that could not be typed. */
void value_text(const option *o, const void *values, char *out, size_t size);
/* Says what is wrong with a text that value_set refused. Returns CLI_USAGE. */
int value_refused(const verb *v, const option *o, const char *text);

#endif
