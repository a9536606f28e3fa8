/* scheduler_euler.c: solvers of the probability flow dx/dsigma = (x - x0(x, sigma)) / sigma (Karras et al. 2022,
 * eq. 4), on samples x = x0 + sigma noise.
 *
 *     euler    x' = x + d (sigma' - sigma),  d = (x - x0) / sigma
 *     euler_a  Euler down to sigma_down, then noise of sigma_up, with sigma_down^2 + sigma_up^2 = sigma'^2
 *     heun     Euler to sigma', then the same step again with the mean of the slopes at both ends (algorithm 1)
 *     lms      linear multistep (Adams-Bashforth of up to order 4 on uneven steps): the polynomial through the slopes
 *              is integrated from sigma to sigma' */
#include "models/schedulers/scheduler_parts.h"

#include <math.h>
#include <string.h>

enum { LMS_ORDER = 4 };

/* x0 as the network's output has it at level sigma. */
typedef struct { im_prediction what; float sigma, out, in; } reading;

static reading reading_at(const im_scheduler *s, float sigma)
{
    float v = sigma * sigma + 1;
    return (reading){ s->cfg.prediction_type, sigma, -sigma / sqrtf(v), v };
}

static float read_x0(const reading *r, float e, float x)
{
    switch (r->what) {
    case IM_PREDICT_V: return e * r->out + x / r->in;
    case IM_PREDICT_SAMPLE: return e;
    default: return x - r->sigma * e;
    }
}

bool im_step_euler(im_scheduler *s, const float *e, float *x, im_noise noise)
{
    (void)noise;
    const float *sigma = s->sigmas + im_step_index(s);
    reading r = reading_at(s, sigma[0]);
    float step = sigma[1] - sigma[0];
    for (size_t i = 0; i < s->n; i++) x[i] += (x[i] - read_x0(&r, e[i], x[i])) / sigma[0] * step;
    return true;
}

bool im_step_euler_a(im_scheduler *s, const float *e, float *x, im_noise noise)
{
    const float *sigma = s->sigmas + im_step_index(s);
    reading r = reading_at(s, sigma[0]);
    float from2 = sigma[0] * sigma[0], to2 = sigma[1] * sigma[1];
    float up = sqrtf(to2 * (from2 - to2) / from2);
    float step = sqrtf(to2 - up * up) - sigma[0];
    noise.fill(noise.arg, s->buf[0], s->n);
    for (size_t i = 0; i < s->n; i++) {
        x[i] += (x[i] - read_x0(&r, e[i], x[i])) / sigma[0] * step;
        x[i] += s->buf[0][i] * up;
    }
    return true;
}

bool im_step_heun(im_scheduler *s, const float *e, float *x, im_noise noise)
{
    (void)noise;
    bool second = s->done % 2;                                 /* the evaluation at the far end of the step           */
    const float *sigma = s->sigmas + im_step_index(s) - second;
    reading r = reading_at(s, sigma[second]);
    float step = sigma[1] - sigma[0], *slope = s->buf[0], *start = s->buf[1];
    for (size_t i = 0; i < s->n; i++) {
        float d = (x[i] - im_clip(s, read_x0(&r, e[i], x[i]))) / sigma[second];
        if (second) {
            x[i] = start[i] + (slope[i] + d) / 2 * step;
        } else {
            slope[i] = d;
            start[i] = x[i];
            x[i] += d * step;
        }
    }
    return true;
}

/* Integral from sigma[0] to sigma[1] of the Lagrange polynomial that is 1 at sigma[-which] and 0 at the other points
 * sigma[0], sigma[-1] ... sigma[-(order - 1)]. Simpson's rule is exact, the degree being 3 at most. */
static double lms_weight(const float *sigma, int order, int which)
{
    double from = sigma[0], to = sigma[1], sum = 0;
    for (int p = 0; p < 3; p++) {
        double x = from + (to - from) * p / 2, product = 1;
        for (int k = 0; k < order; k++)
            if (k != which) product *= (x - sigma[-k]) / ((double)sigma[-which] - sigma[-k]);
        sum += p == 1 ? 4 * product : product;
    }
    return sum * (to - from) / 6;
}

bool im_step_lms(im_scheduler *s, const float *e, float *x, im_noise noise)
{
    (void)noise;
    int index = im_step_index(s), order = index + 1 < LMS_ORDER ? index + 1 : LMS_ORDER;
    const float *sigma = s->sigmas + index;
    reading r = reading_at(s, sigma[0]);
    im_history_push(s, LMS_ORDER);
    /* A run that begins in the middle has fewer slopes than `order`; the weights stay those of `order`, as in
     * diffusers. */
    int n = s->kept < order ? s->kept : order;
    float weight[LMS_ORDER];
    for (int k = 0; k < n; k++) weight[k] = (float)lms_weight(sigma, order, k);
    for (size_t i = 0; i < s->n; i++) {
        s->buf[0][i] = (x[i] - read_x0(&r, e[i], x[i])) / sigma[0];
        float sum = 0;
        for (int k = 0; k < n; k++) sum += weight[k] * s->buf[k][i];
        x[i] += sum;
    }
    return true;
}
