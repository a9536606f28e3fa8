/* ref/pool.c: largest value of windows, mean over pixels, and their gradients.
 *
 *     maxpool  y[oy][ox] = max over ky, kx of x[oy stride + ky - pad][ox stride + kx - pad], padding left out
 *              dx[iy][ix] = the sum of dy over the windows that [iy][ix] won
 *     avgpool  y = mean of x over pixels, dx = dy / pixels
 *
 * Which of equal values wins, and what a NaN does, is torch's: see train_args.h. Called by ops/pool.c. */
#include <math.h>

#include "tensor/ref/ref.h"

/* Output pixel i = (b, oy, ox) of y (batch, oh, ow, channels). */
static void window(const void *arg, int64_t i, int thread)
{
    const im_maxpool_args *p = arg;
    int ox = (int)(i % p->ow), oy = (int)(i / p->ow % p->oh);
    int64_t b = i / p->ow / p->oh;
    (void)thread;
    for (int c = 0; c < p->channels; c++) {
        float best = 0;
        int place = -1;
        for (int k = 0; k < p->kernel * p->kernel; k++) {
            int iy = oy * p->stride + k / p->kernel - p->pad, ix = ox * p->stride + k % p->kernel - p->pad;
            if (iy < 0 || iy >= p->h || ix < 0 || ix >= p->w)
                continue;
            float x = im_ref_at(p->x, ((b * p->h + iy) * p->w + ix) * p->channels + c);
            if (place < 0 || x > best || isnan(x)) {
                best = x;
                place = k;
            }
        }
        im_ref_put(p->y, i * p->channels + c, best, false);
        if (p->won)
            p->won[i * p->channels + c] = im_f16_from_f32((float)place);
    }
}

int im_ref_maxpool(im_device *dev, const im_maxpool_args *p)
{
    return im_ref_each(dev, (int64_t)p->batch * p->oh * p->ow, window, p);
}

/* Input pixel i = (b, iy, ix) of dx (batch, h, w, channels): asks every window that holds it. */
static void asked_pixel(const void *arg, int64_t i, int thread)
{
    const im_maxpool_bwd_args *p = arg;
    int ix = (int)(i % p->w), iy = (int)(i / p->w % p->h);
    int64_t b = i / p->w / p->h;
    (void)thread;
    for (int c = 0; c < p->channels; c++) {
        double sum = 0;
        for (int oy = 0; oy < p->oh; oy++) {
            int ky = iy + p->pad - oy * p->stride;
            for (int ox = 0; ox < p->ow && ky >= 0 && ky < p->kernel; ox++) {
                int kx = ix + p->pad - ox * p->stride;
                int64_t at = ((b * p->oh + oy) * p->ow + ox) * p->channels + c;
                if (kx >= 0 && kx < p->kernel && im_f32_from_f16(p->won[at]) == (float)(ky * p->kernel + kx))
                    sum += im_ref_at(p->dy, at);
            }
        }
        im_ref_put(p->dx, i * p->channels + c, sum, p->add);
    }
}

int im_ref_maxpool_bwd(im_device *dev, const im_maxpool_bwd_args *p)
{
    return im_ref_each(dev, (int64_t)p->batch * p->h * p->w, asked_pixel, p);
}

/* Output i = (b, c). */
static void mean(const void *arg, int64_t i, int thread)
{
    const im_avgpool_args *p = arg;
    int64_t first = i / p->channels * p->pixels * p->channels + i % p->channels;
    double sum = 0;
    (void)thread;
    for (int64_t s = 0; s < p->pixels; s++)
        sum += im_ref_at(p->x, first + s * p->channels);
    im_ref_put(p->y, i, sum / (double)p->pixels, false);
}

int im_ref_avgpool(im_device *dev, const im_avgpool_args *p)
{
    return im_ref_each(dev, (int64_t)p->batch * p->channels, mean, p);
}

static void spread(const void *arg, int64_t i, int thread)
{
    const im_avgpool_bwd_args *p = arg;
    int64_t first = i / p->channels * p->pixels * p->channels + i % p->channels;
    double share = im_ref_at(p->dy, i) / (double)p->pixels;
    (void)thread;
    for (int64_t s = 0; s < p->pixels; s++)
        im_ref_put(p->dx, first + s * p->channels, share, p->add);
}

int im_ref_avgpool_bwd(im_device *dev, const im_avgpool_bwd_args *p)
{
    return im_ref_each(dev, (int64_t)p->batch * p->channels, spread, p);
}
