/* ref/norm.c: group norm (Wu & He 2018, "Group Normalization") and layer norm (Ba et al. 2016, "Layer Normalization").
 *
 *     y = (x - mean) / sqrt(var + eps) * gamma + beta,   var the mean of (x - mean)^2
 *
 * Group norm takes mean and variance over all pixels and the channels / groups channels of one group of one sample;
 * layer norm over the channels of one row. gamma and beta belong to channels in both. Two passes, so that a large mean
 * does not eat the variance. Called by ops/norm.c. */
#include <math.h>

#include "tensor/ref/ref.h"

/* Group g of sample b: x (batch, pixels, channels), channels g*width .. g*width + width-1. */
static void group(const void *arg, int64_t i, int thread)
{
    const im_groupnorm_args *p = arg;
    int width = p->channels / p->groups, first = (int)(i % p->groups) * width;
    int64_t base = i / p->groups * p->pixels * p->channels;
    double count = (double)p->pixels * width, sum = 0, squares = 0;
    (void)thread;
    for (int64_t s = 0; s < p->pixels; s++)
        for (int c = first; c < first + width; c++)
            sum += im_ref_at(p->x, base + s * p->channels + c);
    double mean = sum / count;
    for (int64_t s = 0; s < p->pixels; s++)
        for (int c = first; c < first + width; c++) {
            double d = im_ref_at(p->x, base + s * p->channels + c) - mean;
            squares += d * d;
        }
    double rstd = 1 / sqrt(squares / count + p->eps);
    if (p->mean) {
        p->mean[i] = (float)mean;
        p->rstd[i] = (float)rstd;
    }
    for (int64_t s = 0; s < p->pixels; s++)
        for (int c = first; c < first + width; c++) {
            int64_t at = base + s * p->channels + c;
            double y = (im_ref_at(p->x, at) - mean) * rstd * p->gamma[c] + p->beta[c];
            im_ref_put(p->y, at, im_ref_activate(p->silu ? IM_ACT_SILU : IM_ACT_NONE, y), false);
        }
}

int im_ref_groupnorm(im_device *dev, const im_groupnorm_args *p)
{
    return im_ref_each(dev, (int64_t)p->batch * p->groups, group, p);
}

static void row(const void *arg, int64_t i, int thread)
{
    const im_layernorm_args *p = arg;
    im_cbuf x = im_cbuf_at(p->x, i * p->ldx);
    double sum = 0, squares = 0;
    (void)thread;
    for (int c = 0; c < p->channels; c++)
        sum += im_ref_at(x, c);
    double mean = sum / p->channels;
    for (int c = 0; c < p->channels; c++)
        squares += (im_ref_at(x, c) - mean) * (im_ref_at(x, c) - mean);
    double rstd = 1 / sqrt(squares / p->channels + p->eps);
    if (p->mean) {
        p->mean[i] = (float)mean;
        p->rstd[i] = (float)rstd;
    }
    for (int c = 0; c < p->channels; c++)
        im_ref_put(p->y, i * p->ldy + c, (im_ref_at(x, c) - mean) * rstd * p->gamma[c] + p->beta[c], false);
}

int im_ref_layernorm(im_device *dev, const im_layernorm_args *p)
{
    return im_ref_each(dev, p->rows, row, p);
}
