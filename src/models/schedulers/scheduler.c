/* scheduler.c: the twelve schedulers by name, and the frame they share: laying out a run, scaling, adding noise, stepping.
 *
 * A sample at noise level sigma is kept in one of two scalings: x = alpha x0 + sigma' noise with alpha^2 + sigma'^2 = 1, or
 * (euler, euler_a, heun, lms) x = x0 + sigma noise, which the network sees divided by sqrt(sigma^2 + 1).
 *
 * To add a scheduler: a line in the table below, its step in scheduler_<family>.c, its row in tests/golden. */
#include "models/schedulers/scheduler_parts.h"

#include <ctype.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DDPM_BETAS .beta_start = 1e-4, .beta_end = 0.02
#define SIGMA_FIELDS (IM_HAS_RULE | IM_HAS_RANGE | IM_HAS_SAMPLE)
#define SOLVER_FIELDS (SIGMA_FIELDS | IM_HAS_FINAL_SIGMA | IM_HAS_SOLVER | IM_HAS_ZERO_SNR | IM_HAS_THRESHOLD)

const im_scheduler_kind im_scheduler_kinds[] = {
    { "pndm", "PNDMScheduler", IM_HAS_FINAL_ALPHA | IM_HAS_PRK, .order = 1, .buffers = 7, DDPM_BETAS,
      .spacing = IM_SPACE_LEADING, .times = im_times_pndm, .step = im_step_pndm },
    { "ddim", "DDIMScheduler",
      IM_HAS_CLIP | IM_HAS_FINAL_ALPHA | IM_HAS_ZERO_SNR | IM_HAS_THRESHOLD | IM_HAS_SAMPLE, .order = 1, DDPM_BETAS,
      .spacing = IM_SPACE_LEADING, .times = im_times_whole, .step = im_step_ddim },
    { "euler", "EulerDiscreteScheduler",
      SIGMA_FIELDS | IM_HAS_FINAL_SIGMA | IM_HAS_ZERO_SNR | IM_HAS_EULER, .order = 1, .by_sigma = true,
      DDPM_BETAS, .spacing = IM_SPACE_LINSPACE, .times = im_times_sigma, .step = im_step_euler },
    { "euler_a", "EulerAncestralDiscreteScheduler", IM_HAS_ZERO_SNR, .order = 1, .buffers = 1, .by_sigma = true,
      DDPM_BETAS, .spacing = IM_SPACE_LINSPACE, .times = im_times_sigma, .step = im_step_euler_a },
    { "heun", "HeunDiscreteScheduler", SIGMA_FIELDS | IM_HAS_CLIP, .order = 2, .buffers = 2, .by_sigma = true,
      .beta_start = 0.00085, .beta_end = 0.012, .spacing = IM_SPACE_LINSPACE, .times = im_times_heun,
      .step = im_step_heun },
    { "lms", "LMSDiscreteScheduler", SIGMA_FIELDS, .order = 1, .buffers = 4, .by_sigma = true, DDPM_BETAS,
      .spacing = IM_SPACE_LINSPACE, .times = im_times_sigma, .step = im_step_lms },
    { "dpmpp_2m", "DPMSolverMultistepScheduler", SOLVER_FIELDS | IM_HAS_LU | IM_HAS_DPM, .order = 1, .buffers = 4,
      DDPM_BETAS, .spacing = IM_SPACE_LINSPACE, .times = im_times_multistep, .step = im_step_dpm },
    { "dpmpp_2m_karras", "DPMSolverMultistepScheduler", SOLVER_FIELDS | IM_HAS_LU | IM_HAS_DPM, .order = 1,
      .buffers = 4, .karras = true, DDPM_BETAS, .spacing = IM_SPACE_LINSPACE, .times = im_times_multistep,
      .step = im_step_dpm },
    { "unipc", "UniPCMultistepScheduler", SOLVER_FIELDS | IM_HAS_UNIPC, .order = 1, .buffers = 5,
      DDPM_BETAS, .spacing = IM_SPACE_LINSPACE, .times = im_times_multistep, .step = im_step_unipc },
    { "ddpm", "DDPMScheduler",
      IM_HAS_CLIP | IM_HAS_VARIANCE | IM_HAS_ZERO_SNR | IM_HAS_THRESHOLD | IM_HAS_SAMPLE, .order = 1, .buffers = 1,
      DDPM_BETAS, .spacing = IM_SPACE_LEADING, .times = im_times_whole, .step = im_step_ddpm },
    { "lcm", "LCMScheduler", IM_HAS_CLIP | IM_HAS_DISTILLED | IM_HAS_THRESHOLD | IM_HAS_ZERO_SNR | IM_HAS_SAMPLE,
      .order = 1, .buffers = 1, .beta_start = 0.00085, .beta_end = 0.012, .spacing = IM_SPACE_LEADING,
      .times = im_times_distilled, .step = im_step_lcm },
    { "tcd", "TCDScheduler", IM_HAS_DISTILLED | IM_HAS_THRESHOLD | IM_HAS_ZERO_SNR | IM_HAS_SAMPLE, .order = 1,
      .buffers = 1, .beta_start = 0.00085, .beta_end = 0.012, .spacing = IM_SPACE_LEADING, .times = im_times_distilled,
      .step = im_step_tcd },
};
const int im_scheduler_kind_count = (int)(sizeof im_scheduler_kinds / sizeof im_scheduler_kinds[0]);

const char *im_scheduler_known(void)
{
    return "pndm, ddim, euler, euler_a, heun, lms, dpmpp_2m, dpmpp_2m_karras, unipc, ddpm, lcm, tcd";
}

const im_scheduler_kind *im_scheduler_find(const char *name)
{
    for (int i = 0; i < im_scheduler_kind_count; i++)
        if (!strcmp(im_scheduler_kinds[i].name, name) || !strcmp(im_scheduler_kinds[i].class_name, name))
            return &im_scheduler_kinds[i];
    return NULL;
}

/* Small letters and digits; + is p: "DPM++ 2M Karras" and "dpmpp_2m_karras" are one. */
static void plain_name(const char *name, char out[64])
{
    size_t n = 0;
    for (; *name && n < 63; name++)
        if (*name == '+' || isalnum((unsigned char)*name))
            out[n++] = *name == '+' ? 'p' : (char)tolower((unsigned char)*name);
    out[n] = '\0';
}

const char *im_scheduler_named(const char *name)
{
    static const char *const others[][2] = { { "plms", "pndm" }, { "eulerancestral", "euler_a" } };
    char plain[64], known[64];
    if (!name) return NULL;
    plain_name(name, plain);
    for (int from = 0; from <= (*plain == 'k'); from++)        /* k_euler: of the k-diffusion library                 */
        for (int i = 0; i < im_scheduler_kind_count; i++) {
            const im_scheduler_kind *k = &im_scheduler_kinds[i];
            plain_name(k->name, known);
            if (!strcmp(plain + from, known)) return k->name;
            plain_name(k->class_name, known);
            if (!strcmp(plain, known)) return k->name;
        }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (!strcmp(plain, others[i][0]) || (*plain == 'k' && !strcmp(plain + 1, others[i][0]))) return others[i][1];
    return NULL;
}

/* "dpmpp_2m" and "dpmpp_2m_karras" are one class: a short name decides about Karras sigmas, a file decides the name. */
static void fix_karras(im_scheduler *s, const char *name)
{
    if (s->kind->step != im_step_dpm) return;
    bool karras = s->cfg.sigma_rule == IM_SIGMAS_KARRAS;
    if (!name || strcmp(name, s->kind->name))
        s->kind = im_scheduler_find(karras ? "dpmpp_2m_karras" : "dpmpp_2m");
    else if (karras != s->kind->karras)
        s->cfg.sigma_rule = s->kind->karras ? IM_SIGMAS_KARRAS : IM_SIGMAS_PLAIN;
}

im_scheduler_config im_scheduler_defaults(const im_scheduler_kind *k)
{
    bool ddim = k->step == im_step_ddim, distilled = k->fields & IM_HAS_DISTILLED;
    return (im_scheduler_config){
        .num_train_timesteps = 1000, .beta_start = k->beta_start, .beta_end = k->beta_end,
        .timestep_spacing = k->spacing, .set_alpha_to_one = ddim, .clip_sample = ddim || k->step == im_step_ddpm,
        .clip_sample_range = 1, .sigma_min = NAN, .sigma_max = NAN, .solver_order = 2, .algorithm_type = IM_ALGO_DPMPP,
        .beta_schedule = distilled ? IM_BETA_SCALED_LINEAR : IM_BETA_LINEAR, .original_inference_steps = 50,
        .timestep_scaling = 10, .predict_x0 = true, .lower_order_final = true, .lambda_min_clipped = -DBL_MAX,
    };
}

void im_scheduler_config_free(im_scheduler_config *f)
{
    free(f->trained_betas);
    free(f->disable_corrector);
    f->trained_betas = NULL;
    f->disable_corrector = NULL;
}

im_scheduler *im_scheduler_make(im_ctx *c, const im_scheduler_kind *k, const char *name, const im_scheduler_config *config)
{
    im_scheduler *s = calloc(1, sizeof *s);
    im_scheduler_config own = *config;
    if (!s) {
        im_scheduler_config_free(&own);
        im_fail(c, "scheduler: out of memory");
        return NULL;
    }
    *s = (im_scheduler){ .c = c, .kind = k, .cfg = own };
    fix_karras(s, name);
    if (im_scheduler_products(s)) return s;
    im_scheduler_free(s);
    return NULL;
}

static void free_memory(im_scheduler *s)
{
    for (int i = 0; i < IM_SCHEDULER_BUFFERS; i++) im_param_free(s->c, s->buf[i]);
    for (int i = 0; i < IM_SCHEDULER_WORK; i++) im_param_free(s->c, s->work[i]);
    memset(s->buf, 0, sizeof s->buf);
    memset(s->work, 0, sizeof s->work);
}

/* n zeros on the device. */
static im_tensor *zeros(im_scheduler *s)
{
    im_tensor *t = im_own(s->c, im_new(s->c, IM_F32, 1, (int64_t[]){ (int64_t)s->n }));
    if (t) im_fill(s->c, t, 0);
    return t;
}

void im_scheduler_free(im_scheduler *s)
{
    if (!s) return;
    im_scheduler_config_free(&s->cfg);
    free(s->alphas);
    free(s->times);
    free(s->sigmas);
    free_memory(s);
    free(s);
}

const char *im_scheduler_name(const im_scheduler *s)
{
    return s->kind->name;
}

/* Times, and the levels that go with them, of so many steps. steps_offset may put the first time behind the last one that
 * was trained: it has that one's level then, as in diffusers, and the first step of euler, euler_a and heun goes nowhere.
 * lms, dpm and unipc divide by how far a step goes, and products of alphas have no such place: these do not fit. */
static bool lay_out(im_scheduler *s, int steps)
{
    free(s->times);
    free(s->sigmas);
    s->times = s->sigmas = NULL;
    s->steps = steps;
    s->first = 0;
    if (steps > s->cfg.num_train_timesteps || !s->kind->times(s, steps)) return false;
    bool divides = s->sigmas && (!s->kind->by_sigma || s->kind->step == im_step_lms), fits = true;
    float last = (float)(s->cfg.num_train_timesteps - 1 + (s->sigmas ? s->cfg.steps_offset : 0));
    for (int i = 0; i < s->count; i++) fits &= s->times[i] >= 0 && s->times[i] <= last;
    for (int i = 0; divides && i + 1 < s->count; i++) fits &= s->sigmas[i] != s->sigmas[i + 1];
    return fits;
}

/* Names the largest number of steps below that fits. */
static bool refuse_steps(im_scheduler *s, int steps)
{
    static const char *const spacings[] = { "linspace", "leading", "trailing" };
    const im_scheduler_config *f = &s->cfg;
    int most = steps < 1 || steps > f->num_train_timesteps ? f->num_train_timesteps : steps - 1;
    while (most > 0 && im_ok(s->c) && !lay_out(s, most)) most--;
    if (f->original_inference_steps == most && s->kind->fields & IM_HAS_DISTILLED)
        return im_fail(s->c, "scheduler %s: found %d steps, wanted 1 to %d, its original_inference_steps; 4 to 8 are usual",
                       s->kind->name, steps, most);
    return im_fail(s->c, "scheduler %s: found %d steps, wanted 1 to %d: the model was trained with %d times "
                   "(num_train_timesteps), and no more fit with timestep_spacing \"%s\" and steps_offset %d",
                   s->kind->name, steps, most, f->num_train_timesteps, spacings[f->timestep_spacing], f->steps_offset);
}

bool im_scheduler_plan(im_scheduler *s, int steps, size_t n)
{
    if (!s || !im_ok(s->c)) return false;
    if (steps < 1 || !lay_out(s, steps)) return im_ok(s->c) && refuse_steps(s, steps);
    free_memory(s);
    s->done = s->kept = s->last_order = 0;
    s->n = n;
    for (int i = 0; n && i < s->kind->buffers; i++) s->buf[i] = zeros(s);
    for (int i = 0; n && i < IM_SCHEDULER_WORK; i++) s->work[i] = zeros(s);
    return im_ok(s->c);
}

/* strength was typed as a decimal: 0.7 must mean 0.7 and not the f32 below it, or int(10 * 0.7) loses a step. */
static double as_typed(float x)
{
    char text[32];
    snprintf(text, sizeof text, "%.7g", (double)x);
    return strtod(text, NULL);
}

static bool has_eta(const im_scheduler_kind *k) { return k->step == im_step_ddim || k->step == im_step_tcd; }

bool im_scheduler_takes_eta(const char *name)
{
    const char *ours = im_scheduler_named(name);
    return ours && has_eta(im_scheduler_find(ours));
}

bool im_scheduler_set_eta(im_scheduler *s, float eta)
{
    if (!s || !im_ok(s->c)) return false;
    if (!(eta >= 0 && eta <= 1)) return im_fail(s->c, "eta: found %g, wanted a number from 0 to 1", (double)eta);
    if (eta > 0 && !has_eta(s->kind))
        return im_fail(s->c, "eta is %g, but scheduler %s has no eta; leave it out, or choose ddim or tcd", (double)eta,
                       s->kind->name);
    s->eta = as_typed(eta);
    return true;
}

bool im_scheduler_begin(im_scheduler *s, float strength)
{
    if (!s || !im_ok(s->c)) return false;
    if (!(strength >= 0 && strength <= 1))
        return im_fail(s->c, "strength: found %g, wanted a number from 0 to 1", (double)strength);
    if (strength == 0) {
        s->first = s->count;                                   /* keeps the picture: nothing to run                   */
        return true;
    }
    int run = (int)(s->steps * as_typed(strength));
    if (run < 1)
        return im_fail(s->c, "strength %g of %d steps leaves no step to run; raise the strength to %g or take more "
                       "steps", (double)strength, s->steps, 1.0 / s->steps);
    int first = (s->steps - run) * s->kind->order;
    if (first >= s->count)
        return im_fail(s->c, "strength %g of %d steps leaves no evaluation to run; raise it", (double)strength,
                       s->steps);
    s->first = first;
    return true;
}

int im_scheduler_evaluations(const im_scheduler *s)
{
    return s ? s->count - s->first : 0;
}

int im_scheduler_first(const im_scheduler *s)
{
    return s->first;
}

float im_scheduler_time(const im_scheduler *s, int i)
{
    return s->times[s->first + i];
}

float im_scheduler_start(const im_scheduler *s)
{
    if (!s->kind->by_sigma) return 1;
    float top = 0;
    for (int i = 0; i <= s->count; i++) top = s->sigmas[i] > top ? s->sigmas[i] : top;
    return s->cfg.timestep_spacing == IM_SPACE_LEADING ? sqrtf(top * top + 1) : top;
}

bool im_mix(const im_scheduler *s, im_tensor *y, float by, float limit, const im_term terms[], int n)
{
    im_combination a = { .count = n, .by = by, .limit = limit };
    for (int i = 0; i < n; i++) {
        a.x[i] = terms[i].x;
        a.w[i] = terms[i].w;
    }
    return im_combine(s->c, y, &a);
}

bool im_scheduler_scale(const im_scheduler *s, const im_tensor *x, im_tensor *input)
{
    float by = 1;
    if (s->kind->by_sigma) {
        float sigma = s->sigmas[im_step_index(s)];
        by = sqrtf(sigma * sigma + 1);
    }
    return IM_MIX_BY(s, input, by, { x, 1 });
}

bool im_scheduler_step(im_scheduler *s, const im_tensor *model_output, im_tensor *x, im_noise noise)
{
    if (!s || !im_ok(s->c)) return false;
    if (s->done >= im_scheduler_evaluations(s))
        return im_fail(s->c, "scheduler %s: step %d of a run of %d", s->kind->name, s->done + 1,
                       im_scheduler_evaluations(s));
    bool ok = s->kind->step(s, model_output, x, noise);
    s->done++;
    return ok;
}

void im_scheduler_rewind(im_scheduler *s, int i)
{
    s->done = i;
}

/* At the level of evaluation i of a whole run. */
static bool add_noise(const im_scheduler *s, int i, const im_tensor *x, const im_tensor *noise, im_tensor *out)
{
    float keep = 1, add;
    if (s->kind->by_sigma) {
        add = s->sigmas[i];
    } else if (s->sigmas) {
        im_vp v = im_vp_at(s->sigmas[i]);
        keep = v.alpha;
        add = v.sigma;
    } else {
        float a = s->alphas[(int)s->times[i]];
        keep = sqrtf(a);
        add = sqrtf(1 - a);
    }
    return IM_MIX(s, out, { x, keep }, { noise, add });
}

bool im_scheduler_add_noise(const im_scheduler *s, const im_tensor *x, const im_tensor *noise, im_tensor *out)
{
    return add_noise(s, s->first, x, noise, out);
}

bool im_scheduler_add_noise_now(const im_scheduler *s, const im_tensor *x, const im_tensor *noise, im_tensor *out)
{
    return add_noise(s, im_step_index(s), x, noise, out);
}

/* By the kind of prediction, in the scaling that the sample is kept in: noise, v = alpha noise - sigma x0, or x0 itself. */
bool im_scheduler_guess(const im_scheduler *s, const im_tensor *e, const im_tensor *x, im_tensor *x0)
{
    int i = im_step_index(s);
    float a = s->sigmas ? 0 : s->alphas[im_step_time(s)], sigma = s->sigmas ? s->sigmas[i] : sqrtf((1 - a) / a);
    im_vp v = im_vp_at(sigma);
    float by_x = s->kind->by_sigma ? 1 : 1 / v.alpha, by_e = -sigma;       /* x0 = x / alpha - (sigma / alpha) noise  */
    if (s->cfg.prediction_type == IM_PREDICT_V) {                         /* x0 = alpha x - sigma v                   */
        by_x = s->kind->by_sigma ? v.alpha * v.alpha : v.alpha;
        by_e = -v.sigma;
    } else if (s->cfg.prediction_type == IM_PREDICT_SAMPLE) {
        by_x = 0;
        by_e = 1;
    }
    return IM_MIX(s, x0, { x, by_x }, { e, by_e });
}

void im_scheduler_settings(const im_scheduler *s, char *out, size_t size)
{
    static const char *const algorithms[] = { "dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++" };
    const im_scheduler_config *f = &s->cfg;
    unsigned has = s->kind->fields;
    int n = snprintf(out, size, "%s", s->kind->class_name);
    if (has & IM_HAS_SOLVER && n < (int)size)
        n += snprintf(out + n, size - (size_t)n, ", solver_order %d, solver_type %s, lower_order_final %s", f->solver_order,
                      has & IM_HAS_UNIPC ? (f->solver_bh1 ? "bh1" : "bh2") : f->solver_heun ? "heun" : "midpoint",
                      f->lower_order_final ? "true" : "false");
    if (has & IM_HAS_FINAL_SIGMA && n < (int)size)
        n += snprintf(out + n, size - (size_t)n, ", final_sigmas_type %s", f->final_sigma_min ? "sigma_min" : "zero");
    if (has & IM_HAS_DPM && n < (int)size)
        n += snprintf(out + n, size - (size_t)n, ", algorithm_type %s", algorithms[f->algorithm_type]);
    if (has & IM_HAS_UNIPC && n < (int)size)
        snprintf(out + n, size - (size_t)n, ", predict_x0 %s", f->predict_x0 ? "true" : "false");
}

bool im_scheduler_predicts_noise(const im_scheduler *s)
{
    return s->cfg.prediction_type == IM_PREDICT_EPSILON;
}

const float *im_scheduler_alphas(const im_scheduler *s, int *n)
{
    *n = s->cfg.num_train_timesteps;
    return s->alphas;
}

const float *im_scheduler_sigmas(const im_scheduler *s, int *n)
{
    *n = s->sigmas ? s->count + 1 : 0;
    return s->sigmas;
}
