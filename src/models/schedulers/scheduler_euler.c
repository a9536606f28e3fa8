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

enum { LMS_ORDER = 4 };

/* x0 as the network's output has it at level sigma. */
typedef struct { im_prediction what; float sigma, out, in; } reading;

static reading reading_at(const im_scheduler *s, float sigma)
{
    float v = sigma * sigma + 1;
    return (reading){ s->cfg.prediction_type, sigma, -sigma / sqrtf(v), v };
}

static bool read_x0(im_scheduler *s, const reading *r, const im_tensor *e, const im_tensor *x, float limit, im_tensor *x0)
{
    im_tensor *part = s->work[2];
    switch (r->what) {
    case IM_PREDICT_V:
        return IM_MIX_BY(s, part, r->in, { x, 1 }) && im_mix(s, x0, 1, limit, IM_TERMS({ e, r->out }, { part, 1 }));
    case IM_PREDICT_SAMPLE: return im_mix(s, x0, 1, limit, IM_TERMS({ e, 1 }));
    default: return im_mix(s, x0, 1, limit, IM_TERMS({ x, 1 }, { e, -r->sigma }));
    }
}

/* d = (x - x0) / sigma; x0: of work */
static bool slope_at(im_scheduler *s, const reading *r, const im_tensor *e, const im_tensor *x, float limit, im_tensor *d)
{
    im_tensor *x0 = s->work[0];
    return read_x0(s, r, e, x, limit, x0) && IM_MIX_BY(s, d, r->sigma, { x, 1 }, { x0, -1 });
}

bool im_step_euler(im_scheduler *s, const im_tensor *e, im_tensor *x, im_noise noise)
{
    (void)noise;
    const float *sigma = s->sigmas + im_step_index(s);
    reading r = reading_at(s, sigma[0]);
    im_tensor *d = s->work[1];
    return slope_at(s, &r, e, x, INFINITY, d) && IM_MIX(s, x, { x, 1 }, { d, sigma[1] - sigma[0] });
}

bool im_step_euler_a(im_scheduler *s, const im_tensor *e, im_tensor *x, im_noise noise)
{
    const float *sigma = s->sigmas + im_step_index(s);
    reading r = reading_at(s, sigma[0]);
    float from2 = sigma[0] * sigma[0], to2 = sigma[1] * sigma[1];
    float up = sqrtf(to2 * (from2 - to2) / from2);
    float step = sqrtf(to2 - up * up) - sigma[0];
    im_tensor *d = s->work[1], *z = s->buf[0];
    return noise.fill(noise.arg, z) && slope_at(s, &r, e, x, INFINITY, d)
        && IM_MIX(s, x, { x, 1 }, { d, step }, { z, up });
}

bool im_step_heun(im_scheduler *s, const im_tensor *e, im_tensor *x, im_noise noise)
{
    (void)noise;
    bool second = s->done % 2;                                 /* the evaluation at the far end of the step           */
    const float *sigma = s->sigmas + im_step_index(s) - second;
    reading r = reading_at(s, sigma[second]);
    float step = sigma[1] - sigma[0];
    im_tensor *slope = s->buf[0], *start = s->buf[1], *d = second ? s->work[1] : slope;
    if (!slope_at(s, &r, e, x, im_limit(s), d)) return false;
    if (second) return IM_MIX_BY(s, d, 2, { slope, 1 }, { d, 1 }) && IM_MIX(s, x, { start, 1 }, { d, step });
    return im_assign(s->c, start, x) && IM_MIX(s, x, { x, 1 }, { d, step });
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

bool im_step_lms(im_scheduler *s, const im_tensor *e, im_tensor *x, im_noise noise)
{
    (void)noise;
    int index = im_step_index(s), order = index + 1 < LMS_ORDER ? index + 1 : LMS_ORDER;
    const float *sigma = s->sigmas + index;
    reading r = reading_at(s, sigma[0]);
    im_history_push(s, LMS_ORDER);
    /* A run that begins in the middle has fewer slopes than `order`; the weights stay those of `order`, as in
     * diffusers. */
    int n = s->kept < order ? s->kept : order;
    im_tensor *sum = s->work[1];
    bool ok = slope_at(s, &r, e, x, INFINITY, s->buf[0]) && im_fill(s->c, sum, 0);
    for (int k = 0; ok && k < n; k++)
        ok = IM_MIX(s, sum, { sum, 1 }, { s->buf[k], (float)lms_weight(sigma, order, k) });
    return ok && IM_MIX(s, x, { x, 1 }, { sum, 1 });
}
