/* scheduler_dpm.c: multistep DPM-Solver++ (Lu et al. 2022b, arXiv 2211.01095) and DPM-Solver (Lu et al. 2022a, arXiv
 * 2206.00927), with their stochastic variants, of order 1 to 3.
 *
 * With lambda = ln(alpha / sigma), h the step in lambda and m the guesses of x0 (++) or of the noise, newest first:
 *     ++ 1   x' = sigma'/sigma x - alpha' (e^-h - 1) m0
 *     ++ 2   ... - alpha' (e^-h - 1)/2 D1,   D1 = (m0 - m1) / r0,  r0 = h0 / h        (midpoint; "2M")
 *     ++ 3   ... + alpha' ((e^-h - 1)/h + 1) D1 - alpha' ((e^-h - 1 + h)/h^2 - 1/2) D2
 * Coefficients are rounded where diffusers rounds them: a step makes its weights first, then one loop applies them. */
#include "models/schedulers/scheduler_parts.h"

#include <math.h>

enum { NOISE = 3 };                                            /* buf[0..2]: guesses, newest first                    */

static float log_f(float x) { return (float)log((double)x); }
static float exp_f(float x) { return (float)exp((double)x); }

im_vp im_vp_at(float sigma)
{
    im_vp v = { .alpha = 1 / sqrtf(sigma * sigma + 1) };
    v.sigma = sigma * v.alpha;
    v.lambda = log_f(v.alpha) - log_f(v.sigma);
    return v;
}

/* What the solver integrates: x0 for the ++ family, the noise for the other. */
static bool convert(const im_scheduler *s, const im_tensor *e, const im_tensor *x, im_tensor *m)
{
    im_dpm_algorithm a = s->cfg.algorithm_type;
    return im_vp_convert(s, e, x, a == IM_ALGO_DPMPP || a == IM_ALGO_SDE_DPMPP, m);
}

bool im_vp_convert(const im_scheduler *s, const im_tensor *e, const im_tensor *x, bool x0, im_tensor *m)
{
    im_vp v = im_vp_at(s->sigmas[im_step_index(s)]);
    switch (s->cfg.prediction_type) {
    case IM_PREDICT_V:
        return x0 ? IM_MIX(s, m, { x, v.alpha }, { e, -v.sigma }) : IM_MIX(s, m, { e, v.alpha }, { x, v.sigma });
    case IM_PREDICT_SAMPLE: return x0 ? IM_MIX(s, m, { e, 1 }) : IM_MIX_BY(s, m, v.sigma, { x, 1 }, { e, -v.alpha });
    default: return x0 ? IM_MIX_BY(s, m, v.alpha, { x, 1 }, { e, -v.sigma }) : IM_MIX(s, m, { e, 1 });
    }
}

/* x' = x_by x + d0 D0 + noise_by noise + what the higher orders add */
typedef struct { float x_by, d0, noise_by; } weights;

/* The parts that all orders share. `to`, `from`: the ends of the step. */
static weights first_order(im_dpm_algorithm a, im_vp to, im_vp from, float h)
{
    switch (a) {
    case IM_ALGO_DPM:
        return (weights){ .x_by = to.alpha / from.alpha, .d0 = -(to.sigma * (exp_f(h) - 1)) };
    case IM_ALGO_SDE_DPM:
        return (weights){ .x_by = to.alpha / from.alpha, .d0 = -(2 * (to.sigma * (exp_f(h) - 1))),
                          .noise_by = to.sigma * sqrtf(exp_f(2 * h) - 1) };
    case IM_ALGO_SDE_DPMPP:
        return (weights){ .x_by = to.sigma / from.sigma * exp_f(-h), .d0 = to.alpha * (1 - exp_f(-2 * h)),
                          .noise_by = to.sigma * sqrtf(1 - exp_f(-2 * h)) };
    default:
        return (weights){ .x_by = to.sigma / from.sigma, .d0 = -(to.alpha * (exp_f(-h) - 1)) };
    }
}

/* The weight of D1: "midpoint" has half of D0's, "heun" (and the third order) the next phi function. */
static float slope_weight(im_dpm_algorithm a, bool heun, im_vp to, float h)
{
    switch (a) {
    case IM_ALGO_DPM:
        return heun ? -(to.sigma * ((exp_f(h) - 1) / h - 1)) : -(0.5f * (to.sigma * (exp_f(h) - 1)));
    case IM_ALGO_SDE_DPM:
        return heun ? -(2 * (to.sigma * ((exp_f(h) - 1) / h - 1))) : -(to.sigma * (exp_f(h) - 1));
    case IM_ALGO_SDE_DPMPP:
        return heun ? to.alpha * ((1 - exp_f(-2 * h)) / (-2 * h) + 1) : 0.5f * (to.alpha * (1 - exp_f(-2 * h)));
    default:
        return heun ? to.alpha * ((exp_f(-h) - 1) / h + 1) : -(0.5f * (to.alpha * (exp_f(-h) - 1)));
    }
}

static float curve_weight(im_dpm_algorithm a, im_vp to, float h)
{
    float h2 = h * h;
    switch (a) {
    case IM_ALGO_DPM:
        return -(to.sigma * ((exp_f(h) - 1 - h) / h2 - 0.5f));
    case IM_ALGO_SDE_DPMPP:
        return to.alpha * ((1 - exp_f(-2 * h) - 2 * h) / ((2 * h) * (2 * h)) - 0.5f);
    default:
        return -(to.alpha * ((exp_f(-h) - 1 + h) / h2 - 0.5f));
    }
}

/* Order of this step: it rises with the history and falls at the end where that keeps the last steps stable. */
static int order_now(const im_scheduler *s)
{
    const im_scheduler_config *f = &s->cfg;
    int left = s->count - im_step_index(s);
    bool few = f->lower_order_final && s->count < 15;
    int order = f->solver_order < s->kept ? f->solver_order : s->kept;
    if (left == 1 && (f->euler_at_final || few || !f->final_sigma_min)) return 1;
    if (left == 2 && few && order > 2) return 2;
    return order;
}

bool im_step_dpm(im_scheduler *s, const im_tensor *e, im_tensor *x, im_noise noise)
{
    im_dpm_algorithm a = s->cfg.algorithm_type;
    int index = im_step_index(s);
    im_history_push(s, 3);
    if (!convert(s, e, x, s->buf[0])) return false;
    int order = order_now(s);
    im_vp to = im_vp_at(s->sigmas[index + 1]), from = im_vp_at(s->sigmas[index]);
    float h = to.lambda - from.lambda;
    weights w = first_order(a, to, from, h);
    const im_tensor *m0 = s->buf[0], *m1 = s->buf[1], *m2 = s->buf[2];
    im_tensor *near = s->work[0], *far = s->work[1], *z = s->buf[NOISE];
    im_term terms[5] = { { x, w.x_by }, { m0, w.d0 } };
    int n = 2;
    bool ok = true;
    if (order > 1) {                                           /* near = (m0 - m1) / r0                               */
        im_vp before = im_vp_at(s->sigmas[index - 1]);
        float r0 = (from.lambda - before.lambda) / h, by0 = 1 / r0;
        ok = IM_MIX(s, near, { m0, 1 }, { m1, -1 }) && IM_MIX(s, near, { near, by0 });
        terms[n++] = (im_term){ near, slope_weight(a, s->cfg.solver_heun || order == 3, to, h) };
        if (order == 3) {                                      /* far = (m1 - m2) / r1, then the curve of the two     */
            float r1 = (before.lambda - im_vp_at(s->sigmas[index - 2]).lambda) / h, by1 = 1 / r1;
            float part = r0 / (r0 + r1), by2 = 1 / (r0 + r1);
            ok = ok && IM_MIX(s, far, { m1, 1 }, { m2, -1 }) && IM_MIX(s, far, { far, by1 })
                && IM_MIX(s, far, { near, 1 }, { far, -1 }) && IM_MIX(s, near, { near, 1 }, { far, part })
                && IM_MIX(s, far, { far, by2 });
            terms[n++] = (im_term){ far, curve_weight(a, to, h) };
        }
    }
    if (a == IM_ALGO_SDE_DPM || a == IM_ALGO_SDE_DPMPP) ok = ok && noise.fill(noise.arg, z);
    if (w.noise_by != 0) terms[n++] = (im_term){ z, w.noise_by };
    return ok && im_mix(s, x, 1, INFINITY, terms, n);
}
