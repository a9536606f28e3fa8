/* shown.h: printing what files and users name: names of tensors, classes and files may hold what moves the cursor, clears
 * the screen or gives a terminal commands (ECMA-48), and a line break makes two lines of one. Such characters are printed
 * as JSON and C write them: \n, \u001b, \x9b. Used for warnings, errors, notes and tables. */
#ifndef IM_CLI_SHOWN_H
#define IM_CLI_SHOWN_H

#include <stdio.h>

/* The text, with spaces behind it up to `width` characters. */
void shown_text(FILE *f, const char *text, int width);
int shown_width(const char *text);                             /* characters that shown_text prints of it              */
/* A line, and its end. */
void shown_line(FILE *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
