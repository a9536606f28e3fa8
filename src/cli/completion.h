/* completion.h: what a shell offers behind `imago`. Used by main.c. */
#ifndef IM_CLI_COMPLETION_H
#define IM_CLI_COMPLETION_H

#include <stdbool.h>
#include <stdio.h>

bool completion_print(FILE *f, const char *shell);             /* false: no such shell                                 */

#endif
