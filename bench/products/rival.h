/* rival.h: whose products stand beside ours in products.c: cuBLASLt (cublaslt.c, with CUBLASLT=1), nobody (none.c), or, in
 * the tests, plain loops (tests/sim/rival_plain.c). */
#ifndef IM_RIVAL_H
#define IM_RIVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rival_product {   /* c = a b^T, sums in f32, of the host's memory                                       */
    int m, n, k;
    bool bf16;                   /* else f16                                                                           */
    const uint16_t *a, *b;       /* (m, k), (n, k)                                                                     */
    uint16_t *c;                 /* (m, n)                                                                             */
    int rounds;
} rival_product;

const char *rival_name(void);    /* NULL: there is none                                                                */
/* Makes c; milliseconds of a product, without copies, over `rounds` of them. Below 0: failed, `why` says how. */
double rival_multiply(const rival_product *p, char *why, size_t size);

#endif
