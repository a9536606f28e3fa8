/* eigen.c: eigenvalues and eigenvectors of a symmetric matrix, by LAPACK's dsyevd (divide and conquer). Used by frechet.c,
 * analyze.c and compare.c. */
#include <lapacke.h>

#include "models/eval/measures.h"

bool im_symmetric_eigen(im_ctx *c, double *m, int d, double *values, double *vectors)
{
    if (!im_ok(c)) return false;
    int failed = LAPACKE_dsyevd(LAPACK_COL_MAJOR, vectors ? 'V' : 'N', 'U', d, m, d, values);
    if (failed)
        return im_fail(c, "the eigenvalues of a matrix of %d dimensions cannot be computed (LAPACK's dsyevd: %d)%s", d,
                       failed, failed < -1000 ? ": out of memory" : "; are all features finite?");
    for (int k = 0; vectors && k < d; k++)                     /* vector k lies in a row of m                         */
        for (int i = 0; i < d; i++) vectors[(int64_t)i * d + k] = m[(int64_t)k * d + i];
    return true;
}
