/* ref/normalize.c: rows of length one.
 *
 *     y = x / max(|x|, eps)        dx = (dy - y (y . dy)) / |x|; dy / eps where |x| < eps: a constant divisor
 *
 * as torch.nn.functional.normalize (p = 2). Called by ops/normalize.c. */
#include <math.h>

#include "tensor/ref/ref.h"

static void row(const void *arg, int64_t r, int thread)
{
    const im_normalize_args *p = arg;
    const float *x = p->x + r * p->n;
    double sum = 0;
    (void)thread;
    for (int i = 0; i < p->n; i++)
        sum += (double)x[i] * x[i];
    double norm = sqrt(sum), divisor = norm < p->eps ? p->eps : norm;          /* a NaN stays                         */
    for (int i = 0; i < p->n; i++)
        p->y[r * p->n + i] = (float)(x[i] / divisor);
    if (p->norm)
        p->norm[r] = (float)norm;
}

int im_ref_normalize(im_device *dev, const im_normalize_args *p)
{
    return im_ref_each(dev, p->rows, row, p);
}

static void row_bwd(const void *arg, int64_t r, int thread)
{
    const im_normalize_bwd_args *p = arg;
    const float *y = p->y + r * p->n, *dy = p->dy + r * p->n;
    float *dx = p->dx + r * p->n;
    bool clamped = p->norm[r] < p->eps;
    double along = 0;
    (void)thread;
    for (int i = 0; i < p->n; i++)
        along += (double)y[i] * dy[i];
    for (int i = 0; i < p->n; i++) {
        double d = clamped ? dy[i] / (double)p->eps : (dy[i] - y[i] * along) / p->norm[r];
        dx[i] = (float)(p->add ? dx[i] + d : d);
    }
}

int im_ref_normalize_bwd(im_device *dev, const im_normalize_bwd_args *p)
{
    return im_ref_each(dev, p->rows, row_bwd, p);
}
