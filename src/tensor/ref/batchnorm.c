/* ref/batchnorm.c: batch norm and its gradients (Ioffe & Szegedy 2015, "Batch Normalization", sections 3 and 3.1).
 *
 *     y = act(xhat gamma + beta + res),  xhat = (x - mean) rstd,  rstd = 1 / sqrt(var + eps)
 *
 * mean and var over the rows of one channel, var the mean of (x - mean)^2; the running variance takes the unbiased one,
 * var rows / (rows - 1). With dy' = dy where the ReLU let through, else 0, and n rows:
 *
 *     dbeta = sum dy'    dgamma = sum dy' xhat    dres = dy'
 *     dx = gamma rstd (dy' - dbeta / n - xhat dgamma / n)      where mean and var came from x
 *     dx = gamma rstd dy'                                      where they were given
 *
 * Called by ops/batchnorm.c. */
#include <math.h>

#include "tensor/ref/ref.h"

static void move(float *running, double now, double momentum)
{
    *running = (float)((1 - momentum) * *running + momentum * now);
}

/* Channel c of x (rows, channels). */
static void channel(const void *arg, int64_t c, int thread)
{
    const im_batchnorm_args *p = arg;
    double sum = 0, squares = 0, n = (double)p->rows, mean, var;
    (void)thread;
    if (p->training) {
        for (int64_t r = 0; r < p->rows; r++)
            sum += im_ref_at(p->x, r * p->channels + c);
        mean = sum / n;
        for (int64_t r = 0; r < p->rows; r++) {
            double d = im_ref_at(p->x, r * p->channels + c) - mean;
            squares += d * d;
        }
        var = squares / n;
        if (p->seen) {
            p->seen[c] = mean;
            p->seen[p->channels + c] = squares / (n - 1);
        } else if (p->running_mean) {
            move(&p->running_mean[c], mean, p->momentum);
            move(&p->running_var[c], squares / (n - 1), p->momentum);
        }
    } else {
        mean = p->running_mean[c];
        var = p->running_var[c];
    }
    float mean32 = (float)mean, rstd = (float)(1 / sqrt(var + p->eps));
    if (p->mean) {
        p->mean[c] = mean32;
        p->rstd[c] = rstd;
    }
    for (int64_t r = 0; r < p->rows; r++) {
        int64_t at = r * p->channels + c;
        double y = ((double)im_ref_at(p->x, at) - mean32) * rstd * p->gamma[c] + p->beta[c];
        y += p->res.p ? im_ref_at(p->res, at) : 0;
        im_ref_put(p->y, at, im_ref_activate(p->relu ? IM_ACT_RELU : IM_ACT_NONE, y), false);
    }
}

int im_ref_batchnorm(im_device *dev, const im_batchnorm_args *p)
{
    return im_ref_each(dev, p->channels, channel, p);
}

/* dy where the ReLU let through. */
static double through(const im_batchnorm_bwd_args *p, int64_t at, int64_t c)
{
    double y = p->y.p ? im_ref_at(p->y, at)
                      : ((double)im_ref_at(p->x, at) - p->mean[c]) * p->rstd[c] * p->gamma[c] + p->beta[c];
    return p->relu && y <= 0 ? 0 : im_ref_at(p->dy, at);
}

static void channel_backward(const void *arg, int64_t c, int thread)
{
    const im_batchnorm_bwd_args *p = arg;
    double dbeta = 0, dgamma = 0, n = (double)p->rows;
    (void)thread;
    for (int64_t r = 0; r < p->rows; r++) {
        int64_t at = r * p->channels + c;
        double dy = through(p, at, c);
        dbeta += dy;
        dgamma += dy * ((double)im_ref_at(p->x, at) - p->mean[c]) * p->rstd[c];
    }
    if (p->dgamma)
        im_ref_sum(&p->dgamma[c], dgamma, p->add_dgamma);
    if (p->dbeta)
        im_ref_sum(&p->dbeta[c], dbeta, p->add_dbeta);
    for (int64_t r = 0; r < p->rows; r++) {
        int64_t at = r * p->channels + c;
        double dy = through(p, at, c), xhat = ((double)im_ref_at(p->x, at) - p->mean[c]) * p->rstd[c];
        double centred = p->training ? dy - dbeta / n - xhat * dgamma / n : dy;
        if (p->dx.p)
            im_ref_put(p->dx, at, (double)p->gamma[c] * p->rstd[c] * centred, p->add_dx);
        if (p->dres.p)
            im_ref_put(p->dres, at, dy, p->add_dres);
    }
}

int im_ref_batchnorm_bwd(im_device *dev, const im_batchnorm_bwd_args *p)
{
    return im_ref_each(dev, p->channels, channel_backward, p);
}
