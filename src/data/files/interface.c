/* interface.c: what a caller asks that was not compiled with the headers, such as the binding for Python: which version the
 * library is, and how large it takes the public structs for. Two that disagree in a size must not exchange the struct.
 * The list of them, structs.h, is made of the headers by the Makefile. */
#include "imago.h"

#include <string.h>

#define S(type) { #type, sizeof(type) },
static const struct { const char *name; size_t size; } types[] = {
#include "structs.h"
    { "", 0 }
};

const char *im_version(void)
{
    return IM_VERSION;
}

size_t im_struct_size(const char *name)
{
    for (size_t i = 0; name && i < sizeof types / sizeof *types; i++)
        if (!strcmp(types[i].name, name))
            return types[i].size;
    return 0;
}
