/* frechet.c: the Frechet distance of two sets of features (Heusel et al. 2017, arXiv 1706.08500; Dowson & Landau 1982):
 *
 *     |mu_a - mu_b|^2 + tr(C_a) + tr(C_b) - 2 tr((C_a C_b)^(1/2)),       C: covariances with n - 1
 *
 * C_a C_b has the eigenvalues of the symmetric R C_b R with R = C_a^(1/2), which are not negative: the trace of the root is
 * the sum of their roots. Covariances of fewer rows than dimensions have zeros among their eigenvalues, which come out as
 * +-1e-16 of the largest; negative ones count as 0.
 * Eigenvalues by Jacobi's rotations, row by row (Golub & Van Loan, Matrix Computations, 8.5): a few hundred dimensions
 * take a second. */
#include "models/eval/measures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SWEEPS = 60 };                                          /* of all pairs; ten do, as a rule                     */

/* Turns rows and columns p, q of m so that m[p][q] becomes 0, and columns p, q of v along. */
static void rotate(double *m, double *v, int d, int p, int q)
{
    double theta = (m[q * d + q] - m[p * d + p]) / (2 * m[p * d + q]);
    double t = (theta >= 0 ? 1 : -1) / (fabs(theta) + sqrt(theta * theta + 1)), cs = 1 / sqrt(t * t + 1), sn = t * cs;
    for (int k = 0; k < d; k++) {
        double a = m[k * d + p], b = m[k * d + q];
        m[k * d + p] = cs * a - sn * b;
        m[k * d + q] = sn * a + cs * b;
    }
    for (int k = 0; k < d; k++) {
        double a = m[p * d + k], b = m[q * d + k];
        m[p * d + k] = cs * a - sn * b;
        m[q * d + k] = sn * a + cs * b;
    }
    m[p * d + q] = m[q * d + p] = 0;
    for (int k = 0; v && k < d; k++) {
        double a = v[k * d + p], b = v[k * d + q];
        v[k * d + p] = cs * a - sn * b;
        v[k * d + q] = sn * a + cs * b;
    }
}

void im_symmetric_eigen(double *m, int d, double *values, double *vectors)
{
    for (int i = 0; vectors && i < d * d; i++)
        vectors[i] = i / d == i % d;
    double all = 0;
    for (int i = 0; i < d * d; i++)
        all += m[i] * m[i];
    double small = sqrt(all) * 1e-17;                          /* beside the matrix, nothing                          */
    bool turned = true;
    for (int sweep = 0; sweep < SWEEPS && turned; sweep++) {
        turned = false;
        for (int p = 0; p < d; p++)
            for (int q = p + 1; q < d; q++)
                if (fabs(m[p * d + q]) > small) {
                    rotate(m, vectors, d, p, q);
                    turned = true;
                }
    }
    for (int i = 0; i < d; i++)
        values[i] = m[i * d + i];
}

/* x (n, d) -> mean (d), covariance (d, d) */
static void statistics(const float *x, int64_t n, int d, double *mean, double *cov, double *row)
{
    memset(mean, 0, (size_t)d * sizeof *mean);
    memset(cov, 0, (size_t)d * (size_t)d * sizeof *cov);
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < d; k++)
            mean[k] += x[i * d + k] / (double)n;
    for (int64_t i = 0; i < n; i++) {
        for (int k = 0; k < d; k++)
            row[k] = x[i * d + k] - mean[k];
        for (int k = 0; k < d; k++)
            for (int j = 0; j <= k; j++)
                cov[k * d + j] += row[k] * row[j] / (double)(n - 1);
    }
    for (int k = 0; k < d; k++)
        for (int j = 0; j < k; j++)
            cov[j * d + k] = cov[k * d + j];
}

/* out = a b, (d, d); out is neither */
static void product(const double *a, const double *b, double *out, int d)
{
    memset(out, 0, (size_t)d * (size_t)d * sizeof *out);
    for (int i = 0; i < d; i++)
        for (int k = 0; k < d; k++)
            for (int j = 0; j < d; j++)
                out[i * d + j] += a[i * d + k] * b[k * d + j];
}

static double root(double x) { return x > 0 ? sqrt(x) : 0; }

/* m becomes its root V diag(sqrt(values)) V^T; v, w: (d, d) to work in */
static void square_root(double *m, int d, double *values, double *v, double *w)
{
    im_symmetric_eigen(m, d, values, v);
    for (int i = 0; i < d; i++)
        for (int j = 0; j < d; j++) {
            w[i * d + j] = v[i * d + j] * root(values[j]);
            m[i * d + j] = v[j * d + i];
        }
    product(w, m, v, d);
    memcpy(m, v, (size_t)d * (size_t)d * sizeof *m);
}

double im_frechet(im_ctx *c, const float *a, int64_t na, const float *b, int64_t nb, int d)
{
    if (!im_ok(c))
        return NAN;
    size_t n = (size_t)d, square = n * n;
    double *room = na > 1 && nb > 1 ? malloc((4 * square + 4 * n) * sizeof *room) : NULL;
    if (!room) {
        im_fail(c, na > 1 && nb > 1 ? "out of memory for covariances of %d dimensions"
                                    : "a covariance of %d dimensions needs two rows at least", d);
        return NAN;
    }
    double *ca = room, *cb = ca + square, *v = cb + square, *w = v + square;
    double *ma = w + square, *mb = ma + n, *values = mb + n, *row = values + n;
    statistics(a, na, d, ma, ca, row);
    statistics(b, nb, d, mb, cb, row);
    double far = 0, traces = 0, roots = 0;
    for (int i = 0; i < d; i++) {
        far += (ma[i] - mb[i]) * (ma[i] - mb[i]);
        traces += ca[i * d + i] + cb[i * d + i];
    }
    square_root(ca, d, values, v, w);
    product(ca, cb, v, d);
    product(v, ca, w, d);                                      /* symmetric but for its rounding                      */
    for (int i = 0; i < d; i++)
        for (int j = 0; j < i; j++)
            w[i * d + j] = w[j * d + i] = 0.5 * (w[i * d + j] + w[j * d + i]);
    im_symmetric_eigen(w, d, values, NULL);
    for (int i = 0; i < d; i++)
        roots += root(values[i]);
    free(room);
    return far + traces - 2 * roots;
}
