/* ref/loss.c: losses and their gradients.
 *
 *     cross entropy   loss = 1/R sum_r (log sum_k exp(x_rk) - x_r,label)      dx_rk = dloss/R (p_rk - [k = label])
 *                     p_rk = exp(x_rk) / sum_k exp(x_rk)                      (Bridle 1990; Goodfellow et al. 2016, 6.2)
 *     mse             loss = 1/B sum_b w_b 1/n sum_i (x_bi - t_bi)^2          dx_bi = dloss/B w_b 2/n (x_bi - t_bi)
 *     l1              loss = 1/B sum_b w_b 1/n sum_i |x_bi - t_bi|            dx_bi = dloss/B w_b 1/n sign(x_bi - t_bi)
 *                     dt = -dx;  sign(0) = 0
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
    im_cbuf x = im_cbuf_at(p->x, r * p->classes);
    double top = im_ref_at(x, 0);
    (void)thread;
    for (int k = 1; k < p->classes; k++)
        top = fmax(top, im_ref_at(x, k));
    double sum = exp(im_ref_at(x, 0) - top);
    for (int k = 1; k < p->classes; k++)
        sum += exp(im_ref_at(x, k) - top);
    j->row[r] = log(sum) + (top - im_ref_at(x, p->labels[r]));
    if (p->stats) {
        p->stats[2 * r] = (float)top;
        p->stats[2 * r + 1] = (float)sum;
    }
}

int im_ref_cross_entropy(im_device *dev, const im_cross_entropy_args *p)
{
    entropy_job j = { p, im_scratch(dev, im_threads_of(dev), (size_t)p->rows * sizeof(double)) };
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
    im_cbuf x = im_cbuf_at(p->x, r * p->classes);
    im_buf dx = im_buf_at(p->dx, r * p->classes);
    double scale = (double)p->dloss[0] / (double)p->rows, top = p->stats[2 * r], sum = p->stats[2 * r + 1];
    (void)thread;
    for (int k = 0; k < p->classes; k++)
        im_ref_put(dx, k, scale * (exp(im_ref_at(x, k) - top) / sum - (k == p->labels[r])), p->add);
}

int im_ref_cross_entropy_bwd(im_device *dev, const im_cross_entropy_bwd_args *p)
{
    return im_ref_each(dev, p->rows, entropy_bwd_row, p);
}

/* ---------------------------------------------------------------- mse, l1 */

int im_ref_loss(im_device *dev, const im_loss_args *p)
{
    double loss = 0;
    (void)dev;
    for (int b = 0; b < p->batch; b++) {
        double sum = 0;
        for (int64_t i = 0; i < p->n; i++) {
            double d = (double)im_ref_at(p->x, b * p->n + i) - im_ref_at(p->t, b * p->n + i);
            sum += p->kind == IM_LOSS_MSE ? d * d : fabs(d);
        }
        loss += (p->weight ? p->weight[b] : 1) * sum / (double)p->n;
    }
    p->loss[0] = (float)(loss / p->batch);
    return IM_DONE;
}

static void loss_element(const void *arg, int64_t i, int thread)
{
    const im_loss_bwd_args *p = arg;
    double scale = p->dloss[0] * (p->weight ? p->weight[i / p->n] : 1.0) / ((double)p->batch * (double)p->n);
    double d = (double)im_ref_at(p->x, i) - im_ref_at(p->t, i);
    double g = scale * (p->kind == IM_LOSS_MSE ? 2 * d : d > 0 ? 1 : d < 0 ? -1 : d);
    (void)thread;
    if (p->dx.p)
        im_ref_put(p->dx, i, g, p->add_dx);
    if (p->dt.p)
        im_ref_put(p->dt, i, -g, p->add_dt);
}

int im_ref_loss_bwd(im_device *dev, const im_loss_bwd_args *p)
{
    return im_ref_each(dev, p->batch * p->n, loss_element, p);
}
