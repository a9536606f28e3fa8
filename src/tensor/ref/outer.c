/* ref/outer.c: sums over rows: the gradient of a weight matrix and that of a bias.
 *
 *     outer    c[i][j]  (+)= sum_m a[m][i] b[m][j]         y = x W^T gives dW = dy^T x
 *     colsum   y[b][j]  (+)= sum_r x[b][r][j]              y = x + bias gives dbias = sum of the rows of dy
 *
 * Both are the chain rule with the sum written out (Goodfellow, Bengio & Courville 2016, chapter 6.5). Called by
 * ops/linear.c and ops/conv.c. */
#include "tensor/ref/ref.h"

typedef struct { const im_outer_args *p; const im_device *dev; double *sums; } outer_job;  /* sums (threads, nj)       */

/* Row i of c. */
static void outer_row(const void *arg, int64_t i, int thread)
{
    const outer_job *j = arg;
    const im_outer_args *p = j->p;
    double *sum = j->sums + (int64_t)thread * p->nj;
    for (int col = 0; col < p->nj; col++)
        sum[col] = 0;
    for (int64_t m = 0; m < p->m; m++) {
        double a = im_ref_factor(j->dev, im_ref_at(p->a, m * p->lda + i));
        for (int col = 0; col < p->nj; col++)
            sum[col] += a * im_ref_factor(j->dev, im_ref_at(p->b, m * p->ldb + col));
    }
    for (int col = 0; col < p->nj; col++)
        im_ref_sum(&p->c[i * p->ldc + col], sum[col], p->add);
}

int im_ref_outer(im_device *dev, const im_outer_args *p)
{
    size_t threads = (size_t)im_threads_of(dev);
    outer_job j = { p, dev, im_scratch(dev, (int)threads, threads * (size_t)p->nj * sizeof(double)) };
    return j.sums ? im_ref_each(dev, p->ni, outer_row, &j) : IM_NO_MEMORY;
}

static void column(const void *arg, int64_t index, int thread)
{
    const im_colsum_args *p = arg;
    int64_t b = index / p->n, col = index % p->n;
    double sum = 0;
    (void)thread;
    for (int64_t r = 0; r < p->rows; r++)
        sum += im_ref_at(p->x, (b * p->rows + r) * p->n + col);
    im_ref_put(p->y, b * p->ldy + col, sum, p->add);
}

int im_ref_colsum(im_device *dev, const im_colsum_args *p)
{
    return im_ref_each(dev, (int64_t)p->batch * p->n, column, p);
}
