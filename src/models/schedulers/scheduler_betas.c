/* scheduler_betas.c: the products of alphas that a scheduler walks along.
 *
 *     alpha_t = 1 - beta_t,   a_t = alpha_1 alpha_2 ... alpha_t   (Ho et al. 2020)
 *     beta: linear; squares of a linear ramp ("scaled_linear", Rombach et al. 2022); or from the cosine products
 *     ("squaredcos_cap_v2", Nichol & Dhariwal 2021). All in f32 with torch's ramp and its products kept in f64, so that
 *     the bits are those of a model trained and sampled with diffusers. */
#include "models/schedulers/scheduler_parts.h"

#include <math.h>
#include <stdlib.h>

/* torch.linspace in f32 (2.x, x86 with FMA): one fused multiply-add from the nearer end. */
static void linspace(float start, float end, int n, float *out)
{
    float step = n > 1 ? (end - start) / (float)(n - 1) : 0;
    for (int i = 0; i < n; i++)
        out[i] = i < n / 2 ? fmaf(step, (float)i, start) : fmaf(-step, (float)(n - 1 - i), end);
}

static double cosine_product(double t)                         /* cos^2((t + 0.008) / 1.008 pi / 2)                   */
{
    double c = cos((t + 0.008) / 1.008 * 3.14159265358979323846 / 2);
    return c * c;
}

static void fill_betas(const im_scheduler_config *f, float *beta)
{
    int n = f->num_train_timesteps;
    if (f->trained_betas) {
        for (int i = 0; i < n; i++) beta[i] = (float)f->trained_betas[i];
    } else if (f->beta_schedule == IM_BETA_LINEAR) {
        linspace((float)f->beta_start, (float)f->beta_end, n, beta);
    } else if (f->beta_schedule == IM_BETA_SCALED_LINEAR) {
        linspace((float)sqrt(f->beta_start), (float)sqrt(f->beta_end), n, beta);
        for (int i = 0; i < n; i++) beta[i] *= beta[i];
    } else {
        for (int i = 0; i < n; i++) {
            double b = 1 - cosine_product((i + 1.0) / n) / cosine_product((double)i / n);
            beta[i] = (float)(b < 0.999 ? b : 0.999);
        }
    }
}

static void products(const float *beta, int n, float *out)
{
    double product = 1;
    for (int i = 0; i < n; i++) out[i] = (float)(product *= (double)(1.0f - beta[i]));
}

/* Betas that end in pure noise (Lin et al. 2024, algorithm 1): square roots of the products, moved to end in 0. */
static void zero_terminal_snr(float *beta, int n, float *root)
{
    products(beta, n, root);
    for (int i = 0; i < n; i++) root[i] = sqrtf(root[i]);
    float first = root[0], last = root[n - 1], by = first / (first - last), before = 1;
    for (int i = 0; i < n; i++) {
        float r = (root[i] - last) * by, bar = r * r;
        beta[i] = 1 - (i ? bar / before : bar);
        before = bar;
    }
}

bool im_scheduler_products(im_scheduler *s)
{
    im_scheduler_config *f = &s->cfg;
    int n = f->num_train_timesteps;
    float *beta = malloc((size_t)n * sizeof *beta);
    s->alphas = malloc((size_t)n * sizeof *s->alphas);
    if (!beta || !s->alphas) {
        free(beta);
        return im_fail(s->c, "scheduler %s: out of memory for %d training steps", s->kind->name, n);
    }
    fill_betas(f, beta);
    if (f->rescale_betas_zero_snr) zero_terminal_snr(beta, n, s->alphas);
    products(beta, n, s->alphas);
    /* sigma = sqrt((1 - product) / product) must not meet a 0: the smallest f16 takes its place in classes with sigmas. */
    bool sigmas = s->kind->fields & IM_HAS_RULE || s->kind->by_sigma;
    if (f->rescale_betas_zero_snr && sigmas) s->alphas[n - 1] = 0x1p-24f;
    free(beta);
    bool one = s->kind->step == im_step_ddpm || f->set_alpha_to_one;
    s->final_alpha = one ? 1 : s->alphas[0];
    for (int i = 0; i < n; i++)
        if (!(s->alphas[i] >= 0 && s->alphas[i] < 1))
            return im_fail(s->c, "scheduler %s: the product of alphas at time %d is %g, wanted 0 to 1; look at the "
                           "betas in scheduler_config.json", s->kind->name, i, (double)s->alphas[i]);
    return true;
}
