/* scheduler_ddim.c: the two schedulers that go from time to time through a guess of the finished latent x0.
 *
 *     x0 = (x - sqrt(1 - a) e) / sqrt(a)
 *     ddim (Song et al. 2021, formula 12, eta 0):   x' = sqrt(a') x0 + sqrt(1 - a') e
 *     ddpm (Ho et al. 2020, formula 7):             x' = sqrt(a') b/(1 - a) x0 + sqrt(1 - b) (1 - a')/(1 - a) x + noise
 * with a, a' the products at this time and the next, and b = 1 - a/a'. */
#include "models/schedulers/scheduler_parts.h"

#include <math.h>

/* x0 as the network's output has it, clipped where the configuration says so; the noise too where asked. */
typedef struct { im_prediction what; float root_a, root_b; } reading;

static float read_x0(const reading *r, float e, float x)
{
    switch (r->what) {
    case IM_PREDICT_V: return r->root_a * x - r->root_b * e;
    case IM_PREDICT_SAMPLE: return e;
    default: return (x - r->root_b * e) / r->root_a;
    }
}

static float read_noise(const reading *r, float e, float x)
{
    switch (r->what) {
    case IM_PREDICT_V: return r->root_a * e + r->root_b * x;
    case IM_PREDICT_SAMPLE: return (x - r->root_a * e) / r->root_b;
    default: return e;
    }
}

bool im_step_ddim(im_scheduler *s, const float *e, float *x, im_noise noise)
{
    (void)noise;
    int t = im_step_time(s);
    float a = im_alpha_at(s, t), a2 = im_alpha_at(s, t - s->cfg.num_train_timesteps / s->steps);
    reading r = { s->cfg.prediction_type, sqrtf(a), sqrtf(1 - a) };
    float to_x0 = sqrtf(a2), to_noise = sqrtf(1 - a2);
    for (size_t i = 0; i < s->n; i++) {
        float x0 = im_clip(s, read_x0(&r, e[i], x[i]));
        x[i] = to_x0 * x0 + to_noise * read_noise(&r, e[i], x[i]);
    }
    return true;
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

bool im_step_ddpm(im_scheduler *s, const float *e, float *x, im_noise noise)
{
    int index = im_step_index(s), t = im_step_time(s);
    float a = s->alphas[t], a2 = index + 1 < s->count ? s->alphas[(int)s->times[index + 1]] : 1;
    float kept = a / a2, b = 1 - kept, b_t = 1 - a, b_next = 1 - a2;
    reading r = { s->cfg.prediction_type, sqrtf(a), sqrtf(b_t) };
    float to_x0 = sqrtf(a2) * b / b_t, to_x = sqrtf(kept) * b_next / b_t;
    float deviation = ddpm_deviation(s->cfg.variance_type, a, a2, b);
    if (t > 0) noise.fill(noise.arg, s->buf[0], s->n);
    for (size_t i = 0; i < s->n; i++) {
        float x0 = im_clip(s, read_x0(&r, e[i], x[i]));
        x[i] = to_x0 * x0 + to_x * x[i];
        if (t > 0) x[i] += deviation * s->buf[0][i];
    }
    return true;
}
