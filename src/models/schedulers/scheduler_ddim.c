/* scheduler_ddim.c: the schedulers that go from time to time through a guess of the finished latent x0.
 *
 *     x0 = (x - sqrt(1 - a) e) / sqrt(a)
 *     ddim (Song et al. 2021, formula 12 and 16):   x' = sqrt(a') x0 + sqrt(1 - a' - d^2) e + d noise,
 *                                                   d = eta sqrt((1 - a')/(1 - a) (1 - a/a'))
 *     ddpm (Ho et al. 2020, formula 7):             x' = sqrt(a') b/(1 - a) x0 + sqrt(1 - b) (1 - a')/(1 - a) x + noise
 *     lcm  (Luo et al. 2023, arXiv 2310.04378):     x' = sqrt(a') f + sqrt(1 - a') noise,  f = c_out x0 + c_skip x
 *     tcd  (Zheng et al. 2024, arXiv 2402.19159):   x' = sqrt(a'/a_s) y + sqrt(1 - a'/a_s) noise,
 *                                                   y = sqrt(a_s) x0 + sqrt(1 - a_s) e
 * with a, a' the products at this time and the next, b = 1 - a/a', and a_s that at the next time times 1 - eta. At eta 0
 * ddim and tcd put no noise back. The last step of lcm and tcd adds none. */
#include "models/schedulers/scheduler_parts.h"

#include <math.h>

/* x0 as the network's output has it, clipped where the configuration says so; the noise too where asked. */
typedef struct { im_prediction what; float root_a, root_b; } reading;

static bool read_x0(im_scheduler *s, const reading *r, const im_tensor *e, const im_tensor *x, im_tensor *x0)
{
    float limit = im_limit(s);
    switch (r->what) {
    case IM_PREDICT_V: return im_mix(s, x0, 1, limit, IM_TERMS({ x, r->root_a }, { e, -r->root_b }));
    case IM_PREDICT_SAMPLE: return im_mix(s, x0, 1, limit, IM_TERMS({ e, 1 }));
    default: return im_mix(s, x0, r->root_a, limit, IM_TERMS({ x, 1 }, { e, -r->root_b }));
    }
}

static bool read_noise(im_scheduler *s, const reading *r, const im_tensor *e, const im_tensor *x, im_tensor *out)
{
    switch (r->what) {
    case IM_PREDICT_V: return IM_MIX(s, out, { e, r->root_a }, { x, r->root_b });
    case IM_PREDICT_SAMPLE: return IM_MIX_BY(s, out, r->root_b, { x, 1 }, { e, -r->root_a });
    default: return IM_MIX(s, out, { e, 1 });
    }
}

bool im_step_ddim(im_scheduler *s, const im_tensor *e, im_tensor *x, im_noise noise)
{
    int t = im_step_time(s);
    float a = im_alpha_at(s, t), a2 = im_alpha_at(s, t - s->cfg.num_train_timesteps / s->steps);
    float variance = (1 - a2) / (1 - a) * (1 - a / a2), deviation = s->eta > 0 ? (float)s->eta * sqrtf(variance) : 0;
    reading r = { s->cfg.prediction_type, sqrtf(a), sqrtf(1 - a) };
    im_tensor *x0 = s->work[0], *back = s->work[1], *z = s->work[2];
    float root = sqrtf(1 - a2 - deviation * deviation);
    if (!read_x0(s, &r, e, x, x0) || !read_noise(s, &r, e, x, back)) return false;
    if (!(s->eta > 0)) return IM_MIX(s, x, { x0, sqrtf(a2) }, { back, root });
    return noise.fill(noise.arg, z) && IM_MIX(s, x, { x0, sqrtf(a2) }, { back, root }, { z, deviation });
}

/* Standard deviation of the noise put back: of the posterior ("fixed_small"), or of the forward step. */
static float ddpm_deviation(im_variance type, float a, float a2, float b)
{
    float v = (1 - a2) / (1 - a) * b;
    if (v < 1e-20f) v = 1e-20f;
    switch (type) {
    case IM_VAR_SMALL_LOG: return (float)exp((double)(0.5f * (float)log((double)v)));
    case IM_VAR_LARGE: return sqrtf(b);
    default: return sqrtf(v);
    }
}

bool im_step_ddpm(im_scheduler *s, const im_tensor *e, im_tensor *x, im_noise noise)
{
    int index = im_step_index(s), t = im_step_time(s);
    float a = s->alphas[t], a2 = index + 1 < s->count ? s->alphas[(int)s->times[index + 1]] : 1;
    float kept = a / a2, b = 1 - kept, b_t = 1 - a, b_next = 1 - a2;
    reading r = { s->cfg.prediction_type, sqrtf(a), sqrtf(b_t) };
    float to_x0 = sqrtf(a2) * b / b_t, to_x = sqrtf(kept) * b_next / b_t;
    float deviation = ddpm_deviation(s->cfg.variance_type, a, a2, b);
    im_tensor *x0 = s->work[0], *z = s->buf[0];
    if (!read_x0(s, &r, e, x, x0) || (t > 0 && !noise.fill(noise.arg, z))) return false;
    return t > 0 ? IM_MIX(s, x, { x0, to_x0 }, { x, to_x }, { z, deviation }) : IM_MIX(s, x, { x0, to_x0 }, { x, to_x });
}

bool im_step_lcm(im_scheduler *s, const im_tensor *e, im_tensor *x, im_noise noise)
{
    int index = im_step_index(s), t = im_step_time(s);
    bool last = index + 1 == s->count;
    float a = s->alphas[t], scaled = (float)t * (float)s->cfg.timestep_scaling, sum = scaled * scaled + 0.25f;
    reading r = { s->cfg.prediction_type, sqrtf(a), sqrtf(1 - a) };
    im_tensor *x0 = s->work[0], *z = s->buf[0];
    if (!read_x0(s, &r, e, x, x0) || !IM_MIX(s, x, { x0, scaled / sqrtf(sum) }, { x, 0.25f / sum })) return false;
    if (last) return true;
    float next = s->alphas[(int)s->times[index + 1]];
    return noise.fill(noise.arg, z) && IM_MIX(s, x, { x, sqrtf(next) }, { z, sqrtf(1 - next) });
}

bool im_step_tcd(im_scheduler *s, const im_tensor *e, im_tensor *x, im_noise noise)
{
    int index = im_step_index(s), t = im_step_time(s);
    bool last = index + 1 == s->count;
    int next = last ? 0 : (int)s->times[index + 1];
    float a = s->alphas[t], a2 = s->alphas[next], a_s = s->alphas[(int)floorf((float)(1 - s->eta) * (float)next)];
    reading r = { s->cfg.prediction_type, sqrtf(a), sqrtf(1 - a) };
    im_tensor *x0 = s->work[0], *back = s->work[1], *z = s->buf[0];
    if (!read_x0(s, &r, e, x, x0) || !read_noise(s, &r, e, x, back)
        || !IM_MIX(s, x, { x0, sqrtf(a_s) }, { back, sqrtf(1 - a_s) }))
        return false;
    return last || s->eta == 0
        || (noise.fill(noise.arg, z) && IM_MIX(s, x, { x, sqrtf(a2 / a_s) }, { z, sqrtf(1 - a2 / a_s) }));
}
