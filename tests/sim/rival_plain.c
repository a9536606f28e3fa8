/* rival_plain.c: bench/products/rival.h by plain loops in f64, so that bench/products can be tested without a device. With
 * RIVAL_WRONG in the environment one number is wrong: products.c has to notice. */
#include "bench/products/rival.h"
#include "tensor/half.h"

#include <stdio.h>
#include <stdlib.h>

const char *rival_name(void) { return "plain"; }

static double at(const rival_product *p, const uint16_t *v, int i)
{
    return (double)(p->bf16 ? im_bhalf_to_f32(v[i]) : im_half_to_f32(v[i]));
}

double rival_multiply(const rival_product *p, char *why, size_t size)
{
    (void)why;
    (void)size;
    for (int i = 0; i < p->m * p->n; i++) {
        double sum = 0;
        for (int k = 0; k < p->k; k++)
            sum += at(p, p->a, i / p->n * p->k + k) * at(p, p->b, i % p->n * p->k + k);
        sum += i == 5 && getenv("RIVAL_WRONG") ? 1 : 0;
        p->c[i] = p->bf16 ? im_bhalf_from_f32((float)sum) : im_half_from_f32((float)sum);
    }
    return 1;
}
