/* ref/loss.c: losses and their gradients.
 *
 *     cross entropy   loss = 1/R sum_r (log sum_k exp(x_rk) - x_r,label)      dx_rk = dloss/R (p_rk - [k = label])
 *                     p_rk = exp(x_rk) / sum_k exp(x_rk)                      (Bridle 1990; Goodfellow et al. 2016, 6.2)
 *
 * The largest x of a row is taken out of the exponentials, which changes nothing but keeps them finite. Called by
 * ops/loss.c. */
#include <math.h>

#include "tensor/ref/ref.h"

typedef struct { const im_cross_entropy_args *p; double *row; } entropy_job;           /* row (rows): losses           */

static void entropy_row(const void *arg, int64_t r, int thread)
{
    const entropy_job *j = arg;
    const im_cross_entropy_args *p = j->p;
    const float *x = p->x + r * p->classes;
    double top = -INFINITY, sum = 0;
    (void)thread;
    for (int k = 0; k < p->classes; k++)
        top = fmax(top, x[k]);
    for (int k = 0; k < p->classes; k++)
        sum += exp(x[k] - top);
    j->row[r] = log(sum) + (top - x[p->labels[r]]);
    if (p->stats) {
        p->stats[2 * r] = (float)top;
        p->stats[2 * r + 1] = (float)sum;
    }
}

int im_ref_cross_entropy(im_device *dev, const im_cross_entropy_args *p)
{
    entropy_job j = { p, im_scratch(dev, dev->threads, (size_t)p->rows * sizeof(double)) };
    if (!j.row)
        return IM_NO_MEMORY;
    int status = im_ref_each(dev, p->rows, entropy_row, &j);
    double sum = 0;
    for (int64_t r = 0; !status && r < p->rows; r++)
        sum += j.row[r];
    p->loss[0] = (float)(sum / (double)p->rows);
    return status;
}

static void entropy_bwd_row(const void *arg, int64_t r, int thread)
{
    const im_cross_entropy_bwd_args *p = arg;
    const float *x = p->x + r * p->classes;
    float *dx = p->dx + r * p->classes;
    double scale = (double)p->dloss[0] / (double)p->rows, top = p->stats[2 * r], sum = p->stats[2 * r + 1];
    (void)thread;
    for (int k = 0; k < p->classes; k++) {
        double d = scale * (exp(x[k] - top) / sum - (k == p->labels[r]));
        dx[k] = (float)(p->add ? dx[k] + d : d);
    }
}

int im_ref_cross_entropy_bwd(im_device *dev, const im_cross_entropy_bwd_args *p)
{
    return im_ref_each(dev, p->rows, entropy_bwd_row, p);
}
