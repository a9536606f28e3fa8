/* warnings.h: what a context warned of, a line a warning: im_on_warning(c, on_warning, NULL). */
#ifndef TEST_WARNINGS_H
#define TEST_WARNINGS_H

#include <stdio.h>
#include <string.h>

static char warnings[8192];

static inline void on_warning(void *arg, const char *text)
{
    (void)arg;
    size_t n = strlen(warnings);
    snprintf(warnings + n, sizeof warnings - n, "%s\n", text);
}

#endif
