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
    im_cbuf x = im_cbuf_at(p->x, r * p->n);
    double sum = 0;
    (void)thread;
    for (int i = 0; i < p->n; i++)
        sum += (double)im_ref_at(x, i) * im_ref_at(x, i);
    double norm = sqrt(sum), divisor = norm < p->eps ? p->eps : norm;          /* a NaN stays                         */
    for (int i = 0; i < p->n; i++)
        im_ref_put(p->y, r * p->n + i, im_ref_at(x, i) / divisor, false);
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
    im_cbuf y = im_cbuf_at(p->y, r * p->n), dy = im_cbuf_at(p->dy, r * p->n);
    bool clamped = p->norm[r] < p->eps;
    double along = 0;
    (void)thread;
    for (int i = 0; i < p->n; i++)
        along += (double)im_ref_at(y, i) * im_ref_at(dy, i);
    for (int i = 0; i < p->n; i++) {
        double d = im_ref_at(dy, i);
        d = clamped ? d / (double)p->eps : (d - im_ref_at(y, i) * along) / p->norm[r];
        im_ref_put(p->dx, r * p->n + i, d, p->add);
    }
}

int im_ref_normalize_bwd(im_device *dev, const im_normalize_bwd_args *p)
{
    return im_ref_each(dev, p->rows, row_bwd, p);
}
