/* frechet.c: the Frechet distance of two sets of features (Heusel et al. 2017, arXiv 1706.08500; Dowson & Landau 1982):
 *
 *     |mu_a - mu_b|^2 + tr(C_a) + tr(C_b) - 2 tr((C_a C_b)^(1/2)),       C: covariances with n - 1
 *
 * C_a C_b has the eigenvalues of the symmetric R C_b R with R = C_a^(1/2), which are not negative: the trace of the root is
 * the sum of their roots. Covariances of fewer rows than dimensions have zeros among their eigenvalues, which come out as
 * +-1e-16 of the largest; negative ones count as 0. */
#include "models/eval/measures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* x (n, d) -> mean (d), covariance (d, d) */
static bool statistics(im_ctx *c, const float *x, int64_t n, int d, double *mean, double *cov)
{
    im_mean_row(x, n, d, mean);
    if (!im_gram(c, x, n, d, mean, false, cov))
        return false;
    for (int64_t i = 0; i < (int64_t)d * d; i++)
        cov[i] /= (double)(n - 1);
    return true;
}

typedef struct factors { const double *a, *b; double *out; int d; } factors;

static void product_row(void *arg, int i, int thread)
{
    const factors *f = arg;
    int d = f->d;
    double *out = f->out + (int64_t)i * d;
    (void)thread;
    memset(out, 0, (size_t)d * sizeof *out);
    for (int k = 0; k < d; k++)
        for (int j = 0; j < d; j++)
            out[j] += f->a[(int64_t)i * d + k] * f->b[(int64_t)k * d + j];
}

/* out = a b, (d, d); out is neither */
static void product(im_ctx *c, const double *a, const double *b, double *out, int d)
{
    im_parallel(c, d, product_row, &(factors){ a, b, out, d });
}

static double root(double x) { return x > 0 ? sqrt(x) : 0; }

/* m becomes its root V diag(sqrt(values)) V^T; v, w: (d, d) to work in */
static bool square_root(im_ctx *c, double *m, int d, double *values, double *v, double *w)
{
    if (!im_symmetric_eigen(c, m, d, values, v))
        return false;
    for (int i = 0; i < d; i++)
        for (int j = 0; j < d; j++) {
            w[i * d + j] = v[i * d + j] * root(values[j]);
            m[i * d + j] = v[j * d + i];
        }
    product(c, w, m, v, d);
    memcpy(m, v, (size_t)d * (size_t)d * sizeof *m);
    return true;
}

/* The sum of the roots of the eigenvalues of ca cb; ca is overwritten, v, w: (d, d) to work in; NAN with an error. */
static double trace_of_root(im_ctx *c, double *ca, const double *cb, int d, double *values, double *v, double *w)
{
    double roots = 0;
    if (!square_root(c, ca, d, values, v, w))
        return NAN;
    product(c, ca, cb, v, d);
    product(c, v, ca, w, d);                                   /* symmetric but for its rounding                      */
    for (int i = 0; i < d; i++)
        for (int j = 0; j < i; j++)
            w[i * d + j] = w[j * d + i] = 0.5 * (w[i * d + j] + w[j * d + i]);
    if (!im_symmetric_eigen(c, w, d, values, NULL))
        return NAN;
    for (int i = 0; i < d; i++)
        roots += root(values[i]);
    return roots;
}

double im_frechet(im_ctx *c, const float *a, int64_t na, const float *b, int64_t nb, int d)
{
    if (!im_ok(c))
        return NAN;
    size_t n = (size_t)d, square = n * n;
    double *room = na > 1 && nb > 1 ? malloc((4 * square + 3 * n) * sizeof *room) : NULL;
    if (!room) {
        im_fail(c, na > 1 && nb > 1 ? "out of memory for covariances of %d dimensions"
                                    : "a covariance of %d dimensions needs two rows at least", d);
        return NAN;
    }
    double *ca = room, *cb = ca + square, *v = cb + square, *w = v + square;
    double *ma = w + square, *mb = ma + n, *values = mb + n;
    double far = 0, traces = 0, roots = NAN;
    if (statistics(c, a, na, d, ma, ca) && statistics(c, b, nb, d, mb, cb)) {
        for (int i = 0; i < d; i++) {
            far += (ma[i] - mb[i]) * (ma[i] - mb[i]);
            traces += ca[i * d + i] + cb[i * d + i];
        }
        roots = trace_of_root(c, ca, cb, d, values, v, w);
    }
    free(room);
    double distance = far + traces - 2 * roots;
    return distance < 0 ? 0 : distance;                        /* by rounding, of sets that are alike                 */
}
