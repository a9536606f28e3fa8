/* spectrum.c: the eigenvalues of z^T z, where the rows of z have length 1: of the smaller one of z^T z (d, d) and z z^T
 * (n, n), whose other eigenvalues are 0. Used by analyze.c (coding length) and compare.c (Vendi score). */
#include <stdlib.h>
#include <string.h>

#include "models/eval/measures.h"

typedef struct few { const float *z; int64_t n; int d; double *out; } few;

/* Line i of z z^T, up to its diagonal. */
static void line_of_products(void *arg, int i, int thread)
{
    const few *f = arg;
    const float *own = f->z + (int64_t)i * f->d;
    (void)thread;
    for (int64_t j = 0; j <= i; j++) {
        const float *other = f->z + j * f->d;
        double sum = 0;
        for (int k = 0; k < f->d; k++) sum += (double)own[k] * other[k];
        f->out[i * f->n + j] = sum;
    }
}

/* out (n, n) = z z^T of few rows */
static bool products_of_rows(im_ctx *c, const float *x, int64_t n, int d, double *out)
{
    size_t size = (size_t)n * (size_t)d;
    float *z = malloc((size + 1) * sizeof *z);
    if (!z) return im_fail(c, "out of memory for %lld rows of %d features", (long long)n, d);
    memcpy(z, x, size * sizeof *z);
    im_unit_rows(z, n, d);
    im_parallel(c, (int)n, line_of_products, &(few){ z, n, d, out });
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i; j++) out[j * n + i] = out[i * n + j];
    free(z);
    return true;
}

double *im_unit_spectrum(im_ctx *c, const float *x, int64_t n, int d, int *side)
{
    if (!im_ok(c)) return NULL;
    *side = n < d ? (int)n : d;
    double *room = malloc(((size_t)*side * (size_t)*side + 1) * sizeof *room);
    double *values = malloc(((size_t)*side + 1) * sizeof *values);
    bool ok = (room && values) || im_fail(c, "out of memory for %d eigenvalues", *side);
    ok = ok && (n < d ? products_of_rows(c, x, n, d, room) : im_gram(c, x, n, d, NULL, true, room))
       && im_symmetric_eigen(c, room, *side, values, NULL);
    free(room);
    if (ok) return values;
    free(values);
    return NULL;
}
