/* scheduler_times.c: at which times, and at which noise levels sigma = sqrt((1 - a) / a), a run asks the network.
 *
 * Times (Lin et al. 2024, table 2): "leading", "linspace" or "trailing" over the training steps, falling.
 * Levels: those of the times, interpolated linearly; or spaced by Karras et al. 2022 (eq. 5, rho 7), or evenly in
 * ln sigma (Lu et al. 2022), with the times found back by interpolating ln sigma. f64 inside, as NumPy does. */
#include "models/schedulers/scheduler_parts.h"

#include <math.h>
#include <stdlib.h>

float im_train_sigma(const im_scheduler *s, int t)
{
    float a = s->alphas[t];
    return sqrtf((1 - a) / a);
}

static bool set_count(im_scheduler *s, int count, bool sigmas)
{
    free(s->times);
    free(s->sigmas);
    s->count = count;
    s->times = malloc((size_t)count * sizeof *s->times);
    s->sigmas = sigmas ? malloc(((size_t)count + 1) * sizeof *s->sigmas) : NULL;
    return (s->times && (!sigmas || s->sigmas))
        || im_fail(s->c, "scheduler %s: out of memory for %d times", s->kind->name, count);
}

/* Value i of numpy.linspace(0, top, n). */
static double linspace_at(int i, double top, int n)
{
    if (n == 1) return 0;
    return i == n - 1 ? top : i * (top / (n - 1));
}

/* Falling times below `last`: `points` of them, of which the smallest is left out where points > steps. False without an
 * error: there are too few times for so many steps. */
bool im_times_grid(im_scheduler *s, int steps, int points, int last, bool whole)
{
    const im_scheduler_config *f = &s->cfg;
    if (f->timestep_spacing == IM_SPACE_TRAILING) {
        double from = last, by = -((double)f->num_train_timesteps / steps), delta = (from + by) - from;
        int count = (int)ceil((0 - from) / by);
        if (!set_count(s, count, s->kind->times != im_times_whole && s->kind->times != im_times_pndm)) return false;
        for (int i = 0; i < count; i++) s->times[i] = (float)(nearbyint(from + i * delta) - 1);
        return true;
    }
    int ratio = last / points;
    if (f->timestep_spacing == IM_SPACE_LEADING && ratio < 1) return false;
    if (!set_count(s, steps, s->kind->times != im_times_whole && s->kind->times != im_times_pndm)) return false;
    for (int i = 0; i < steps; i++) {
        int from_end = points - 1 - i;
        double t = linspace_at(from_end, last - 1, points);
        if (f->timestep_spacing == IM_SPACE_LEADING)
            s->times[i] = (float)(from_end * ratio + f->steps_offset);
        else
            s->times[i] = (float)(whole ? nearbyint(t) : t);
    }
    return true;
}

bool im_times_whole(im_scheduler *s, int steps)
{
    return im_times_grid(s, steps, steps, s->cfg.num_train_timesteps, true);
}

/* Every k-th time less one, k = trained / original; of those `steps`, spread evenly from the last one down. */
bool im_times_distilled(im_scheduler *s, int steps)
{
    int original = s->cfg.original_inference_steps, k = s->cfg.num_train_timesteps / original;
    if (steps > original || !set_count(s, steps, false)) return false;
    for (int i = 0; i < steps; i++) s->times[i] = (float)((original - (int)floor(i * ((double)original / steps))) * k - 1);
    return true;
}

/* numpy.interp over the training levels. */
static double level_at(const im_scheduler *s, double t)
{
    int top = s->cfg.num_train_timesteps - 1;
    if (t >= top) return im_train_sigma(s, top);
    int i = (int)t;
    double low = im_train_sigma(s, i), high = im_train_sigma(s, i + 1);
    return (high - low) * (t - i) + low;
}

static float train_log_sigma(const im_scheduler *s, int t)
{
    return (float)log((double)im_train_sigma(s, t));
}

/* The time of a level, by ln sigma between the two training levels around it. */
static double time_of(const im_scheduler *s, double sigma)
{
    double x = log(sigma > 1e-10 ? sigma : 1e-10);
    int top = s->cfg.num_train_timesteps - 1;
    if (top < 1) return 0;
    int low = 0, high = top;                                   /* levels rise with time: the last one not above x     */
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (x >= (double)train_log_sigma(s, middle)) low = middle;
        else high = middle - 1;
    }
    if (low > top - 1) low = top - 1;
    float below = train_log_sigma(s, low), above = train_log_sigma(s, low + 1);
    double w = ((double)below - x) / (double)(below - above);
    w = w < 0 ? 0 : w > 1 ? 1 : w;
    return (1 - w) * low + w * (low + 1);
}

/* Level i of n between the largest and the smallest, by the rule of the configuration. */
static double ruled_level(const im_scheduler *s, double largest, double smallest, int i, int n)
{
    double ramp = linspace_at(i, 1, n);
    if (s->cfg.sigma_rule == IM_SIGMAS_KARRAS) {
        double a = pow(largest, 1.0 / 7), b = pow(smallest, 1.0 / 7);
        return pow(a + ramp * (b - a), 7);
    }
    double a = log(largest), b = log(smallest);
    return exp(a + ramp * (b - a));
}

/* An end of a ruled grid: as configured, but where diffusers does not look (lms by Karras, dpm by Lu). */
static double end_of(const im_scheduler *s, double given, double other)
{
    im_sigma_rule rule = s->cfg.sigma_rule;
    bool looks = rule != IM_SIGMAS_LU && (rule != IM_SIGMAS_KARRAS || s->kind->step != im_step_lms);
    return looks && !isnan(given) ? given : other;
}

/* euler, euler_a, heun, lms: the ends of a ruled grid are the levels of the plain one. */
bool im_times_sigma(im_scheduler *s, int steps)
{
    const im_scheduler_config *f = &s->cfg;
    if (!im_times_grid(s, steps, steps, f->num_train_timesteps, false)) return false;
    double largest = end_of(s, f->sigma_max, level_at(s, s->times[0]));
    double smallest = end_of(s, f->sigma_min, level_at(s, s->times[s->count - 1]));
    for (int i = 0; i < s->count; i++) {
        double sigma;
        if (f->sigma_rule == IM_SIGMAS_PLAIN) {
            sigma = level_at(s, s->times[i]);
        } else {
            sigma = ruled_level(s, largest, smallest, i, s->count);
            s->times[i] = (float)time_of(s, sigma);
        }
        s->sigmas[i] = (float)sigma;
    }
    s->sigmas[s->count] = f->final_sigma_min ? im_train_sigma(s, 0) : 0;
    return true;
}

/* heun: t0 t1 t1 t2 t2 ...; sigmas s0 s1 s1 s2 s2 ... 0 */
bool im_times_heun(im_scheduler *s, int steps)
{
    if (!im_times_sigma(s, steps)) return false;
    float *times = s->times, *sigmas = s->sigmas;
    int n = s->count;
    s->times = s->sigmas = NULL;
    bool ok = set_count(s, 2 * n - 1, true);
    if (ok) {
        for (int i = 0; i < s->count; i++) {
            s->times[i] = times[(i + 1) / 2];
            s->sigmas[i] = sigmas[(i + 1) / 2];
        }
        s->sigmas[s->count] = sigmas[n];
    }
    free(times);
    free(sigmas);
    return ok;
}

/* How many training times have ln(alpha / sigma) of at least lambda_min_clipped. */
static int last_time(const im_scheduler *s)
{
    int n = s->cfg.num_train_timesteps, last = n;
    if (!(s->kind->fields & IM_HAS_DPM)) return n;
    while (last > 1) {
        float a = s->alphas[last - 1];
        float lambda = (float)log((double)sqrtf(a)) - (float)log((double)sqrtf(1 - a));
        if ((double)lambda >= s->cfg.lambda_min_clipped) break;
        last--;
    }
    return last;
}

/* dpm, unipc: one point more than steps, the last left out; a ruled grid spans all training levels. */
bool im_times_multistep(im_scheduler *s, int steps)
{
    const im_scheduler_config *f = &s->cfg;
    bool unipc = s->kind->fields & IM_HAS_UNIPC;
    if (!im_times_grid(s, steps, steps + 1, last_time(s), true)) return false;
    double largest = end_of(s, f->sigma_max, im_train_sigma(s, f->num_train_timesteps - 1));
    double smallest = end_of(s, f->sigma_min, im_train_sigma(s, 0)), sigma = 0;
    if (f->sigma_rule != IM_SIGMAS_PLAIN && s->count != steps && !set_count(s, steps, true)) return false;
    bool round_times = f->sigma_rule == IM_SIGMAS_KARRAS || f->sigma_rule == IM_SIGMAS_LU;
    if (!unipc && f->beta_schedule == IM_BETA_COSINE && !f->trained_betas) round_times = false;
    for (int i = 0; i < s->count; i++) {
        if (f->sigma_rule == IM_SIGMAS_PLAIN) {
            sigma = level_at(s, s->times[i]);
        } else {
            sigma = ruled_level(s, largest, smallest, i, s->count);
            double t = time_of(s, sigma);
            s->times[i] = (float)(round_times ? nearbyint(t) : floor(t));
        }
        /* These kinds have sigmas. NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
        s->sigmas[i] = (float)sigma;
    }
    bool ruled_end = unipc && f->sigma_rule != IM_SIGMAS_PLAIN;
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
    s->sigmas[s->count] = !f->final_sigma_min ? 0 : ruled_end ? s->sigmas[s->count - 1] : im_train_sigma(s, 0);
    return true;
}
