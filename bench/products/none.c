/* none.c: no rival (rival.h): a build without CUBLASLT=1. */
#include "bench/products/rival.h"

#include <stdio.h>

const char *rival_name(void) { return NULL; }

double rival_multiply(const rival_product *p, char *why, size_t size)
{
    (void)p;
    snprintf(why, size, "this build has no rival");
    return -1;
}
