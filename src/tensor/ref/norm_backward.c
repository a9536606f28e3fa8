/* ref/norm_backward.c: gradients of group norm (with SiLU) and layer norm (Wu & He 2018; Ba et al. 2016).
 *
 * Both are y = act(xhat gamma + beta), xhat = (x - mean) rstd, mean and variance taken over a set of n values: group norm's
 * pixels and channels of one group of one sample, layer norm's channels of one row. With g = dy act'(xhat gamma + beta),
 * and sums over that set (of all g with the same channel for gamma and beta):
 *
 *     dx = rstd (gamma g - mean(gamma g) - xhat mean(gamma g xhat))
 *     dgamma = sum g xhat    dbeta = sum g
 *
 * silu'(z) = s (1 + z (1 - s)), s = 1 / (1 + exp(-z)). Called by ops/norm.c. */
#include <math.h>

#include "tensor/ref/ref.h"

/* xhat, and g, of element `at` of channel c in group i = b * groups + group. */
static double group_g(const im_groupnorm_bwd_args *p, int64_t at, int c, int64_t i, double *xhat)
{
    *xhat = ((double)im_ref_at(p->x, at) - p->mean[i]) * p->rstd[i];
    double z = *xhat * p->gamma[c] + p->beta[c], s = 1 / (1 + exp(-z));
    return im_ref_at(p->dy, at) * (p->silu ? s * (1 + z * (1 - s)) : 1);
}

static void group_dx(const void *arg, int64_t i, int thread)
{
    const im_groupnorm_bwd_args *p = arg;
    int width = p->channels / p->groups, first = (int)(i % p->groups) * width;
    int64_t base = i / p->groups * p->pixels * p->channels;
    double n = (double)p->pixels * width, sum = 0, with_x = 0, xhat;
    (void)thread;
    for (int64_t s = 0; s < p->pixels; s++)
        for (int c = first; c < first + width; c++) {
            double g = group_g(p, base + s * p->channels + c, c, i, &xhat) * p->gamma[c];
            sum += g;
            with_x += g * xhat;
        }
    for (int64_t s = 0; s < p->pixels; s++)
        for (int c = first; c < first + width; c++) {
            int64_t at = base + s * p->channels + c;
            double g = group_g(p, at, c, i, &xhat) * p->gamma[c];
            im_ref_put(p->dx, at, p->rstd[i] * (g - sum / n - xhat * with_x / n), p->add_dx);
        }
}

static void group_affine(const void *arg, int64_t c, int thread)
{
    const im_groupnorm_bwd_args *p = arg;
    double dgamma = 0, dbeta = 0, xhat;
    (void)thread;
    for (int b = 0; b < p->batch; b++)
        for (int64_t s = 0; s < p->pixels; s++) {
            int64_t group = (int64_t)b * p->groups + c / (p->channels / p->groups);
            double g = group_g(p, (b * p->pixels + s) * p->channels + c, (int)c, group, &xhat);
            dgamma += g * xhat;
            dbeta += g;
        }
    if (p->dgamma)
        im_ref_sum(&p->dgamma[c], dgamma, p->add_dgamma);
    if (p->dbeta)
        im_ref_sum(&p->dbeta[c], dbeta, p->add_dbeta);
}

int im_ref_groupnorm_bwd(im_device *dev, const im_groupnorm_bwd_args *p)
{
    int status = p->dx.p ? im_ref_each(dev, (int64_t)p->batch * p->groups, group_dx, p) : IM_DONE;
    return status ? status : im_ref_each(dev, p->channels, group_affine, p);
}

static void row_dx(const void *arg, int64_t r, int thread)
{
    const im_layernorm_bwd_args *p = arg;
    im_cbuf x = im_cbuf_at(p->x, r * p->ldx), dy = im_cbuf_at(p->dy, r * p->channels);
    double sum = 0, with_x = 0, mean = p->mean[r], rstd = p->rstd[r];
    (void)thread;
    for (int c = 0; c < p->channels; c++) {
        double g = (double)im_ref_at(dy, c) * p->gamma[c];
        sum += g;
        with_x += g * (im_ref_at(x, c) - mean) * rstd;
    }
    for (int c = 0; c < p->channels; c++) {
        double g = (double)im_ref_at(dy, c) * p->gamma[c], xhat = (im_ref_at(x, c) - mean) * rstd;
        im_ref_put(p->dx, r * p->ldx + c, rstd * (g - sum / p->channels - xhat * with_x / p->channels), p->add_dx);
    }
}

static void column_affine(const void *arg, int64_t c, int thread)
{
    const im_layernorm_bwd_args *p = arg;
    double dgamma = 0, dbeta = 0;
    (void)thread;
    for (int64_t r = 0; r < p->rows; r++) {
        double dy = im_ref_at(p->dy, r * p->channels + c);
        dgamma += dy * ((double)im_ref_at(p->x, r * p->ldx + c) - p->mean[r]) * p->rstd[r];
        dbeta += dy;
    }
    if (p->dgamma)
        im_ref_sum(&p->dgamma[c], dgamma, p->add_dgamma);
    if (p->dbeta)
        im_ref_sum(&p->dbeta[c], dbeta, p->add_dbeta);
}

int im_ref_layernorm_bwd(im_device *dev, const im_layernorm_bwd_args *p)
{
    int status = p->dx.p ? im_ref_each(dev, p->rows, row_dx, p) : IM_DONE;
    return status ? status : im_ref_each(dev, p->channels, column_affine, p);
}
