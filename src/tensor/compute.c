/* compute.c: the names of compute.h: in words, and in the environment. Used by device.c, cpu/cpu.c and bench/peak.c. */
#include "tensor/compute.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define X(id, name, factors, per_step, words, with) \
    _Static_assert(per_step * (factors == IM_INT8 ? 1 : factors == IM_F32 ? 4 : 2) == 4, "a step is 4 bytes");
IM_COMPUTES(X, )
#undef X

const char *im_compute_words(im_compute how)
{
    static const char *const of[] = {
#define X(id, name, factors, per_step, words, with) words,
        IM_COMPUTES(X, )
#undef X
    };
    return of[how];
}

bool im_compute_asked(im_ctx *c, bool *given, im_compute *how)
{
    static const char *const names[] = {
#define X(id, name, factors, per_step, words, with) #name,
        IM_COMPUTES_REAL(X, )
#undef X
    };
    enum { NAMES = sizeof names / sizeof *names };
    const char *text = getenv("IMAGO_COMPUTE");
    char wanted[200] = "";
    *how = IM_COMPUTE_F32;
    *given = text && *text;
    for (int i = 0; *given && i < NAMES; i++) {
        size_t at = strlen(wanted);
        if (!strcmp(text, names[i])) {
            *how = (im_compute)i;
            return true;
        }
        snprintf(wanted + at, sizeof wanted - at, "%s%s (%s)", i ? ", " : "", names[i], im_compute_words((im_compute)i));
    }
    return !*given || im_fail(c, "IMAGO_COMPUTE is \"%s\"; wanted how products of such weights are computed: %s", text,
                              wanted);
}
