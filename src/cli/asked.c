/* asked.c: see asked.h. Used by cmd_generate.c and by serve/. */
#include "cli/asked.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "data/files/utf8.h"

bool model_name_of(im_ctx *c, const char *path, char *out, size_t size)
{
    if (!path)
        path = "imago-small";
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    size_t from = n;
    while (from > 0 && path[from - 1] != '/')
        from--;
    char *name = strndup(path + from, n - from), *clean = name ? im_utf8_clean(c, name) : NULL;
    if (clean) {
        n = strlen(clean) < size ? strlen(clean) : size - 1;
        while (n && (clean[n] & 0xc0) == 0x80)                 /* never within a character                            */
            n--;
        snprintf(out, size, "%.*s", (int)n, clean);
    }
    free(clean);
    free(name);
    return clean || (name ? false : im_fail(c, "out of memory for the name of the model"));
}

uint64_t random_seed(void)
{
    uint32_t seed;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        seed = (uint32_t)time(NULL);
    return seed;
}
