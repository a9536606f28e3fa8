/* scheduler_pndm.c: pseudo numerical methods (Liu et al. 2022, "Pseudo Numerical Methods for Diffusion Models on
 * Manifolds", formula 9, 12 and 13): a multistep method whose transfer part follows the curve of the diffusion.
 *
 *     x' = sqrt(a'/a) x - (a' - a) e / (a sqrt(1 - a') + sqrt(a (1 - a) a'))
 *
 * PLMS, the default of Stable Diffusion: e is the noise (3 e1 - e2)/2, (23 e1 - 16 e2 + 5 e3)/12 or
 * (55 e1 - 59 e2 + 37 e3 - 9 e4)/24, newest first. The first step is taken twice: the second call sees the point that
 * the first one reached and repeats the step from the start with the mean of both, so N steps are N + 1 evaluations.
 * PRK (skip_prk_steps false): three Runge-Kutta steps of four evaluations each come first. */
#include "models/schedulers/scheduler_parts.h"

#include <math.h>
#include <stdlib.h>

enum { HISTORY = 4, START = 4, SUM = 5, USED = 6, PRK_TIMES = 12 };                /* buf[0..3]: past e, newest first */

/* Falling times; PLMS repeats the second; PRK gives each of the first three intervals four evaluations. */
bool im_times_pndm(im_scheduler *s, int steps)
{
    const im_scheduler_config *f = &s->cfg;
    if (!im_times_grid(s, steps, steps, f->num_train_timesteps, true)) return false;
    int n = s->count;
    float *grid = s->times;
    s->times = NULL;
    int count = !f->skip_prk_steps ? PRK_TIMES + n - 3 : n > 1 ? n + 1 : n;
    if (!f->skip_prk_steps && n < HISTORY) {
        free(grid);
        return im_fail(s->c, "scheduler pndm: %d steps, wanted at least 4 when skip_prk_steps is false", steps);
    }
    s->times = malloc((size_t)count * sizeof *s->times);
    if (!s->times) {
        free(grid);
        return im_fail(s->c, "scheduler pndm: out of memory for %d times", count);
    }
    s->count = count;
    if (f->skip_prk_steps) {
        for (int i = 0; i < count; i++) s->times[i] = grid[i < 2 ? i : i - 1];
    } else {
        /* t0, then each half way and end of an interval twice, so that four times make a Runge-Kutta step */
        float half = (float)(f->num_train_timesteps / steps / 2);
        float points[2 * HISTORY - 1];                         /* t0, t1 + half, t1, t2 + half, t2, t3 + half, t3     */
        for (int i = 0; i < 2 * HISTORY - 1; i++) points[i] = grid[(i + 1) / 2] + (i % 2 ? half : 0);
        for (int i = 0; i < PRK_TIMES; i++) s->times[i] = points[(i + 1) / 2];
        for (int i = PRK_TIMES; i < count; i++) s->times[i] = grid[i - PRK_TIMES + 3];
    }
    free(grid);
    return true;
}

/* From x at time t to time `to` with noise e. */
static bool transfer(const im_scheduler *s, int t, int to, const im_tensor *x, const im_tensor *e, im_tensor *out)
{
    float a = im_alpha_at(s, t), a2 = im_alpha_at(s, to), b = 1 - a, b2 = 1 - a2;
    float keep = sqrtf(a2 / a), move = a2 - a, by = a * sqrtf(b2) + sqrtf(a * b * a2);
    im_tensor *noise = s->work[0];
    bool velocity = s->cfg.prediction_type == IM_PREDICT_V;
    if (velocity && !IM_MIX(s, noise, { e, sqrtf(a) }, { x, sqrtf(b) })) return false;
    return IM_MIX_BY(s, noise, by, { velocity ? noise : e, move }) && IM_MIX(s, out, { x, keep }, { noise, -1 });
}

static bool runge_kutta(im_scheduler *s, const im_tensor *e, im_tensor *x)
{
    int call = s->done, stage = call % 4;
    int to = im_step_time(s) - (call % 2 ? 0 : s->cfg.num_train_timesteps / s->steps / 2);
    int from = (int)s->times[call / 4 * 4];
    im_tensor *sum = s->buf[SUM];
    const float sixth = (float)(1.0 / 6), third = (float)(1.0 / 3);
    bool ok = true;
    if (stage == 0) {
        im_history_push(s, HISTORY);
        ok = im_assign(s->c, s->buf[0], e) && im_assign(s->c, s->buf[START], x) && im_fill(s->c, sum, 0);
    }
    float weight = stage == 0 || stage == 3 ? sixth : third;
    return ok && IM_MIX(s, sum, { sum, 1 }, { e, weight }) && transfer(s, from, to, s->buf[START], stage == 3 ? sum : e, x);
}

/* The noise of one step: of what was found here and before, newest first. */
static bool multistep_noise(im_scheduler *s, im_tensor *used)
{
    const im_tensor *e1 = s->buf[0], *e2 = s->buf[1], *e3 = s->buf[2], *e4 = s->buf[3];
    switch (s->kept) {
    case 1: return im_assign(s->c, used, e1);
    case 2: return IM_MIX_BY(s, used, 2, { e1, 3 }, { e2, -1 });
    case 3: return IM_MIX_BY(s, used, 12, { e1, 23 }, { e2, -16 }, { e3, 5 });
    default:
        return IM_MIX(s, used, { e1, 55 }, { e2, -59 }, { e3, 37 }, { e4, -9 })
            && IM_MIX(s, used, { used, (float)(1.0 / 24) });
    }
}

static bool linear_multistep(im_scheduler *s, const im_tensor *e, im_tensor *x)
{
    int ratio = s->cfg.num_train_timesteps / s->steps, t = im_step_time(s), to = t - ratio;
    im_tensor *used = s->buf[USED];
    if (s->done == 1)                                          /* the first step again, with the mean of both ends    */
        return IM_MIX_BY(s, used, 2, { e, 1 }, { s->buf[0], 1 }) && transfer(s, t + ratio, t, s->buf[START], used, x);
    im_history_push(s, HISTORY);
    return im_assign(s->c, s->buf[0], e) && (s->done || im_assign(s->c, s->buf[START], x)) && multistep_noise(s, used)
        && transfer(s, t, to, x, used, x);
}

bool im_step_pndm(im_scheduler *s, const im_tensor *e, im_tensor *x, im_noise noise)
{
    (void)noise;
    if (!s->cfg.skip_prk_steps && s->done < PRK_TIMES) return runge_kutta(s, e, x);
    if (!s->cfg.skip_prk_steps && s->kept < 3)
        return im_fail(s->c, "scheduler pndm: a run without its Runge-Kutta steps cannot go on; set skip_prk_steps");
    return linear_multistep(s, e, x);
}
