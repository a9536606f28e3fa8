/* ref/gaussian.c: the VAE's diagonal Gaussian (Kingma & Welling 2014; diffusers' DiagonalGaussianDistribution).
 *
 *     l = clamp(logvar, -30, 20)
 *     z = mean + exp(l/2) noise                         dmean = dz              dlogvar = dz noise exp(l/2) / 2
 *     kl = sum (mean^2 + exp(l) - 1 - l) / 2 / batch    dmean = dkl mean/batch  dlogvar = dkl (exp(l) - 1) / 2 / batch
 *
 * dlogvar is 0 where the clamp holds. A row holds n means, then n logvars. Called by ops/gaussian.c. */
#include <math.h>

#include "tensor/ref/ref.h"

static double clamped(double logvar)
{
    return logvar < -30 ? -30 : logvar > 20 ? 20 : logvar;     /* a NaN stays                                         */
}

static bool inside(double logvar)
{
    return !(logvar < -30) && !(logvar > 20);
}

static void put(float *at, bool add, double d)
{
    *at = (float)(add ? *at + d : d);
}

static void sample_row(const void *arg, int64_t r, int thread)
{
    const im_gaussian_args *p = arg;
    const float *mean = p->moments + 2 * r * p->n, *logvar = mean + p->n;
    (void)thread;
    for (int i = 0; i < p->n; i++)
        p->z[r * p->n + i] = (float)(mean[i] + exp(clamped(logvar[i]) / 2) * p->noise[r * p->n + i]);
}

int im_ref_gaussian(im_device *dev, const im_gaussian_args *p)
{
    return im_ref_each(dev, p->rows, sample_row, p);
}

static void sample_bwd_row(const void *arg, int64_t r, int thread)
{
    const im_gaussian_bwd_args *p = arg;
    const float *logvar = p->moments + 2 * r * p->n + p->n;
    float *dmean = p->dmoments + 2 * r * p->n, *dlogvar = dmean + p->n;
    (void)thread;
    for (int i = 0; i < p->n; i++) {
        double dz = p->dz[r * p->n + i], deviation = exp(clamped(logvar[i]) / 2);
        put(dmean + i, p->add, dz);
        put(dlogvar + i, p->add, inside(logvar[i]) ? dz * p->noise[r * p->n + i] * deviation / 2 : 0);
    }
}

int im_ref_gaussian_bwd(im_device *dev, const im_gaussian_bwd_args *p)
{
    return im_ref_each(dev, p->rows, sample_bwd_row, p);
}

int im_ref_kl(im_device *dev, const im_kl_args *p)
{
    double sum = 0;
    (void)dev;
    for (int64_t r = 0; r < p->rows; r++)
        for (int i = 0; i < p->n; i++) {
            double mean = p->moments[2 * r * p->n + i], l = clamped(p->moments[2 * r * p->n + p->n + i]);
            sum += (mean * mean + exp(l) - 1 - l) / 2;
        }
    p->kl[0] = (float)(sum / p->batch);
    return IM_DONE;
}

static void kl_bwd_row(const void *arg, int64_t r, int thread)
{
    const im_kl_bwd_args *p = arg;
    const float *mean = p->moments + 2 * r * p->n, *logvar = mean + p->n;
    float *dmean = p->dmoments + 2 * r * p->n, *dlogvar = dmean + p->n;
    double scale = (double)p->dkl[0] / p->batch;
    (void)thread;
    for (int i = 0; i < p->n; i++) {
        put(dmean + i, p->add, scale * mean[i]);
        put(dlogvar + i, p->add, inside(logvar[i]) ? scale * (exp(clamped(logvar[i])) - 1) / 2 : 0);
    }
}

int im_ref_kl_bwd(im_device *dev, const im_kl_bwd_args *p)
{
    return im_ref_each(dev, p->rows, kl_bwd_row, p);
}
