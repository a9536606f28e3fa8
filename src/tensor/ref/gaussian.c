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

static void sample_row(const void *arg, int64_t r, int thread)
{
    const im_gaussian_args *p = arg;
    int64_t mean = 2 * r * p->n, logvar = mean + p->n;         /* where the row's means and log variances begin        */
    (void)thread;
    for (int i = 0; i < p->n; i++) {
        double deviation = exp(clamped(im_ref_at(p->moments, logvar + i)) / 2);
        im_ref_put(p->z, r * p->n + i, im_ref_at(p->moments, mean + i) + deviation * im_ref_at(p->noise, r * p->n + i),
                   false);
    }
}

int im_ref_gaussian(im_device *dev, const im_gaussian_args *p)
{
    return im_ref_each(dev, p->rows, sample_row, p);
}

static void sample_bwd_row(const void *arg, int64_t r, int thread)
{
    const im_gaussian_bwd_args *p = arg;
    int64_t mean = 2 * r * p->n, logvar = mean + p->n;
    (void)thread;
    for (int i = 0; i < p->n; i++) {
        double dz = im_ref_at(p->dz, r * p->n + i), e = im_ref_at(p->noise, r * p->n + i);
        double l = im_ref_at(p->moments, logvar + i), deviation = exp(clamped(l) / 2);
        im_ref_put(p->dmoments, mean + i, dz, p->add);
        im_ref_put(p->dmoments, logvar + i, inside(l) ? dz * e * deviation / 2 : 0, p->add);
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
            double mean = im_ref_at(p->moments, 2 * r * p->n + i);
            double l = clamped(im_ref_at(p->moments, 2 * r * p->n + p->n + i));
            sum += (mean * mean + exp(l) - 1 - l) / 2;
        }
    p->kl[0] = (float)(sum / p->batch);
    return IM_DONE;
}

static void kl_bwd_row(const void *arg, int64_t r, int thread)
{
    const im_kl_bwd_args *p = arg;
    int64_t mean = 2 * r * p->n, logvar = mean + p->n;
    double scale = (double)p->dkl[0] / p->batch;
    (void)thread;
    for (int i = 0; i < p->n; i++) {
        double l = im_ref_at(p->moments, logvar + i);
        im_ref_put(p->dmoments, mean + i, scale * im_ref_at(p->moments, mean + i), p->add);
        im_ref_put(p->dmoments, logvar + i, inside(l) ? scale * (exp(clamped(l)) - 1) / 2 : 0, p->add);
    }
}

int im_ref_kl_bwd(im_device *dev, const im_kl_bwd_args *p)
{
    return im_ref_each(dev, p->rows, kl_bwd_row, p);
}
