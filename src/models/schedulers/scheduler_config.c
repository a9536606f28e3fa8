/* scheduler_config.c: reads scheduler_config.json for one class, and makes the products of alphas from it.
 *
 *     alpha_t = 1 - beta_t,   a_t = alpha_1 alpha_2 ... alpha_t   (Ho et al. 2020)
 *     beta: linear; squares of a linear ramp ("scaled_linear", Rombach et al. 2022); or from the cosine products
 *     ("squaredcos_cap_v2", Nichol & Dhariwal 2021). All in f32 with torch's ramp and its products kept in f64, so that
 *     the bits are those of a model trained and sampled with diffusers.
 * A field that the class does not have is skipped, as diffusers does; one that it has but that asks for something not
 * built here is an error. */
#include "data/files/file.h"
#include "data/files/json.h"
#include "models/schedulers/scheduler_parts.h"

#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char v14[] =
    "{\"_class_name\": \"PNDMScheduler\", \"beta_end\": 0.012, \"beta_schedule\": \"scaled_linear\","
    " \"beta_start\": 0.00085, \"num_train_timesteps\": 1000, \"set_alpha_to_one\": false, \"skip_prk_steps\": true,"
    " \"steps_offset\": 1, \"trained_betas\": null, \"clip_sample\": false}";

/* Python writes infinities as bare words, which JSON has not (lambda_min_clipped is -Infinity by default): outside
 * strings they become numbers of the same length. */
static void replace_words(char *text)
{
    static const struct { const char *word, *number; } words[] = {
        { "-Infinity", "-1e308   " }, { "Infinity", "1e308   " },
    };
    bool quoted = false;
    for (char *p = text; *p; p++) {
        if (*p == '\\' && quoted && p[1]) p++;
        else if (*p == '"') quoted = !quoted;
        for (size_t i = 0; !quoted && i < 2; i++)
            if (!strncmp(p, words[i].word, strlen(words[i].word))) memcpy(p, words[i].number, strlen(words[i].number));
    }
}

static bool open_config(im_ctx *c, im_scheduler_file file, im_json *j)
{
    *j = (im_json){ 0 };
    if (!file.path) return im_json_parse(c, j, "the built-in scheduler of v1.4", v14, sizeof v14 - 1);
    size_t bytes = file.text ? strlen(file.text) : 0;
    char *text = file.text ? im_copy_text(c, file.text, bytes)
                           : im_read_file(c, file.path, IM_JSON_CONFIG_BYTES, &bytes);
    if (!text) return false;
    replace_words(text);
    bool ok = im_json_parse(c, j, file.path, text, bytes);
    free(text);
    return ok;
}

bool im_scheduler_class(im_ctx *c, im_scheduler_file file, char *out, size_t size)
{
    im_json j;
    const char *name = "";
    bool ok = open_config(c, file, &j) && im_json_string(c, &j, "_class_name", IM_MUST, &name);
    if (ok) snprintf(out, size, "%s", name);
    im_json_close(&j);
    return ok;
}

/* ---------------------------------------------------------------- one field */

/* key's text must be one of words (separated by blanks); its place among them goes to out. */
static bool one_of(im_ctx *c, const im_json *j, const char *key, const char *words, int *out)
{
    const char *text = NULL;
    if (!im_json_string(c, j, key, IM_MAY, &text)) return false;
    if (!text) return true;
    size_t length = strlen(text);
    int at = 0;
    for (const char *w = words; *w; w += strcspn(w, " "), w += *w == ' ', at++)
        if (strcspn(w, " ") == length && !strncmp(w, text, length)) {
            *out = at;
            return true;
        }
    return im_fail(c, "%s: \"%s\" is \"%s\", which is not supported; wanted one of: %s", j->file, key, text, words);
}

/* A switch that must be off. */
static bool must_be_off(im_ctx *c, const im_json *j, const char *key)
{
    bool on = false;
    return im_json_bool(c, j, key, IM_MAY, &on)
        && (!on || im_fail(c, "%s: \"%s\" is true, which is not supported; set it to false or choose another scheduler",
                           j->file, key));
}

/* ---------------------------------------------------------------- groups of fields */

static bool read_betas(im_ctx *c, const im_json *j, im_scheduler_config *f, unsigned has)
{
    int schedule = IM_BETA_LINEAR;
    if (!im_json_int(c, j, "num_train_timesteps", IM_MAY, 1, 1000000, &f->num_train_timesteps)
        || !im_json_float(c, j, "beta_start", IM_MAY, 0, 1, &f->beta_start)
        || !im_json_float(c, j, "beta_end", IM_MAY, 0, 1, &f->beta_end)
        || ((has & IM_HAS_ZERO_SNR)
            && !im_json_bool(c, j, "rescale_betas_zero_snr", IM_MAY, &f->rescale_betas_zero_snr)))
        return false;
    if (!im_json_has(j, "trained_betas")) {
        if (!one_of(c, j, "beta_schedule", "linear scaled_linear squaredcos_cap_v2", &schedule)) return false;
        f->beta_schedule = (im_beta_schedule)schedule;
        return true;
    }
    int n = im_json_length(c, j, "trained_betas", IM_MUST, 1, 1000000);
    if (n < 0) return false;
    if (n != f->num_train_timesteps)
        return im_fail(c, "%s: \"trained_betas\" has %d values, wanted num_train_timesteps, %d", j->file, n,
                       f->num_train_timesteps);
    f->trained_betas = malloc((size_t)n * sizeof *f->trained_betas);
    if (!f->trained_betas) return im_fail(c, "%s: out of memory for %d betas", j->file, n);
    return im_json_floats(c, j, "trained_betas", IM_MUST, 0, 1, f->trained_betas, n);
}

static bool read_common(im_ctx *c, const im_json *j, im_scheduler_config *f, unsigned has)
{
    int prediction = f->prediction_type, spacing = f->timestep_spacing, variance = f->variance_type;
    bool ok = one_of(c, j, "prediction_type", has & IM_HAS_SAMPLE ? "epsilon v_prediction sample"
                                                                   : "epsilon v_prediction", &prediction)
        && one_of(c, j, "timestep_spacing", "linspace leading trailing", &spacing)
        && im_json_int(c, j, "steps_offset", IM_MAY, 0, 1000000, &f->steps_offset);
    if (ok && (has & IM_HAS_FINAL_ALPHA)) ok = im_json_bool(c, j, "set_alpha_to_one", IM_MAY, &f->set_alpha_to_one);
    if (ok && (has & IM_HAS_PRK)) ok = im_json_bool(c, j, "skip_prk_steps", IM_MAY, &f->skip_prk_steps);
    if (ok && (has & IM_HAS_THRESHOLD)) ok = must_be_off(c, j, "thresholding");
    if (ok && (has & IM_HAS_CLIP))
        ok = im_json_bool(c, j, "clip_sample", IM_MAY, &f->clip_sample)
            && im_json_float(c, j, "clip_sample_range", IM_MAY, 0, FLT_MAX, &f->clip_sample_range);
    if (ok && (has & IM_HAS_VARIANCE)) ok = one_of(c, j, "variance_type", "fixed_small fixed_small_log fixed_large",
                                                   &variance);
    f->prediction_type = (im_prediction)prediction;
    f->timestep_spacing = (im_spacing)spacing;
    f->variance_type = (im_variance)variance;
    return ok;
}

/* Which noise levels: use_*_sigmas are exclusive. */
static bool read_sigma_rule(im_ctx *c, const im_json *j, im_scheduler_config *f, unsigned has)
{
    bool karras = false, exponential = false, lu = false;
    int final = f->final_sigma_min, plain = 0;
    if (!(has & IM_HAS_RULE)) return true;
    if (!im_json_bool(c, j, "use_karras_sigmas", IM_MAY, &karras)
        || !im_json_bool(c, j, "use_exponential_sigmas", IM_MAY, &exponential) || !must_be_off(c, j, "use_beta_sigmas"))
        return false;
    if ((has & IM_HAS_LU) && !im_json_bool(c, j, "use_lu_lambdas", IM_MAY, &lu)) return false;
    if ((has & IM_HAS_SOLVER) && !must_be_off(c, j, "use_flow_sigmas")) return false;
    if (karras && exponential)
        return im_fail(c, "%s: use_karras_sigmas and use_exponential_sigmas are both true; keep one", j->file);
    f->sigma_rule = karras ? IM_SIGMAS_KARRAS : lu ? IM_SIGMAS_LU : exponential ? IM_SIGMAS_EXPONENTIAL
                  : IM_SIGMAS_PLAIN;
    if ((has & IM_HAS_RANGE) && (!im_json_float(c, j, "sigma_min", IM_MAY, DBL_MIN, FLT_MAX, &f->sigma_min)
                                 || !im_json_float(c, j, "sigma_max", IM_MAY, DBL_MIN, FLT_MAX, &f->sigma_max)))
        return false;
    if ((has & IM_HAS_FINAL_SIGMA) && !one_of(c, j, "final_sigmas_type", "zero sigma_min", &final)) return false;
    f->final_sigma_min = final == 1;
    return !(has & IM_HAS_EULER) || (one_of(c, j, "interpolation_type", "linear", &plain)
                                     && one_of(c, j, "timestep_type", "discrete", &plain));
}

static bool read_disabled(im_ctx *c, const im_json *j, im_scheduler_config *f)
{
    int n = im_json_length(c, j, "disable_corrector", IM_MAY, 0, 1000000);
    if (n <= 0) return n == 0;
    f->disable_corrector = malloc((size_t)n * sizeof *f->disable_corrector);
    if (!f->disable_corrector) return im_fail(c, "%s: out of memory for %d numbers", j->file, n);
    f->n_disable_corrector = n;
    return im_json_ints(c, j, "disable_corrector", IM_MUST, 0, INT_MAX, f->disable_corrector, n);
}

static bool read_solver(im_ctx *c, const im_json *j, im_scheduler_config *f, unsigned has)
{
    if (!(has & IM_HAS_SOLVER)) return true;
    /* One file may serve both classes, so each knows the other's words: deis, logrho and the like mean the default. */
    int type = -1, algorithm = IM_ALGO_DPMPP;
    if (!im_json_int(c, j, "solver_order", IM_MAY, 1, 3, &f->solver_order)
        || !im_json_bool(c, j, "lower_order_final", IM_MAY, &f->lower_order_final)
        || !one_of(c, j, "solver_type", "midpoint heun logrho bh1 bh2", &type))
        return false;
    f->solver_heun = type == 1;
    f->solver_bh1 = type == 3;
    if (has & IM_HAS_UNIPC)
        return im_json_bool(c, j, "predict_x0", IM_MAY, &f->predict_x0) && read_disabled(c, j, f);
    if (!im_json_bool(c, j, "euler_at_final", IM_MAY, &f->euler_at_final)
        || !im_json_float(c, j, "lambda_min_clipped", IM_MAY, -DBL_MAX, DBL_MAX, &f->lambda_min_clipped)
        || !one_of(c, j, "algorithm_type", "dpmsolver dpmsolver++ sde-dpmsolver sde-dpmsolver++ deis", &algorithm))
        return false;
    f->algorithm_type = algorithm > IM_ALGO_SDE_DPMPP ? IM_ALGO_DPMPP : (im_dpm_algorithm)algorithm;
    bool of_noise = f->algorithm_type == IM_ALGO_DPM || f->algorithm_type == IM_ALGO_SDE_DPM;
    if (of_noise && !f->final_sigma_min)
        return im_fail(c, "%s: algorithm_type dpmsolver and sde-dpmsolver need final_sigmas_type \"sigma_min\", found "
                       "\"zero\"", j->file);
    if (f->algorithm_type == IM_ALGO_SDE_DPM && f->solver_order == 3)
        return im_fail(c, "%s: sde-dpmsolver has no third order; set solver_order to 2", j->file);
    return true;
}

/* What StableDiffusionPipeline does to the scheduler of a model that it opens. A field that the file does not have but
 * the class of the file has is repaired too; for another class than the file's the missing field stays missing. */
static bool repair(im_ctx *c, const im_json *j, im_scheduler *s)
{
    const char *class_name = s->kind->class_name;
    if (!im_json_string(c, j, "_class_name", IM_MAY, &class_name)) return false;
    bool own = !strcmp(class_name, s->kind->class_name), clip = false;
    if (!im_json_bool(c, j, "clip_sample", IM_MAY, &clip)) return false;
    im_scheduler_config *f = &s->cfg;
    if (f->steps_offset != 1 && (own || im_json_has(j, "steps_offset"))) {
        im_warn(c, "%s: steps_offset is %d; 1 is used, as diffusers does for Stable Diffusion", j->file,
                f->steps_offset);
        f->steps_offset = 1;
    }
    if ((s->kind->fields & IM_HAS_CLIP) && f->clip_sample && (own || clip)) {
        im_warn(c, "%s: clip_sample is true; false is used, as diffusers does for Stable Diffusion", j->file);
        f->clip_sample = false;
    }
    return true;
}

bool im_scheduler_read(im_scheduler *s, im_scheduler_file file)
{
    const im_scheduler_kind *k = s->kind;
    im_scheduler_config *f = &s->cfg;
    bool ddim = k->step == im_step_ddim;
    *f = (im_scheduler_config){
        .num_train_timesteps = 1000, .beta_start = k->beta_start, .beta_end = k->beta_end,
        .timestep_spacing = k->spacing, .set_alpha_to_one = ddim, .clip_sample = ddim || k->step == im_step_ddpm,
        .clip_sample_range = 1, .sigma_min = NAN, .sigma_max = NAN, .solver_order = 2, .algorithm_type = IM_ALGO_DPMPP,
        .predict_x0 = true, .lower_order_final = true, .lambda_min_clipped = -DBL_MAX,
    };
    im_json j;
    bool ok = open_config(s->c, file, &j) && read_betas(s->c, &j, f, k->fields) && read_common(s->c, &j, f, k->fields)
        && read_sigma_rule(s->c, &j, f, k->fields) && read_solver(s->c, &j, f, k->fields)
        && (!file.pipeline || repair(s->c, &j, s));
    im_json_close(&j);
    return ok;
}

/* ---------------------------------------------------------------- betas and products */

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
    /* Classes that divide by the product must not meet a 0: the smallest f16 takes its place. */
    bool divides = s->kind->step != im_step_ddim && s->kind->step != im_step_ddpm;
    if (f->rescale_betas_zero_snr && divides) s->alphas[n - 1] = 0x1p-24f;
    free(beta);
    bool one = s->kind->step == im_step_ddpm || f->set_alpha_to_one;
    s->final_alpha = one ? 1 : s->alphas[0];
    for (int i = 0; i < n; i++)
        if (!(s->alphas[i] >= 0 && s->alphas[i] < 1))
            return im_fail(s->c, "scheduler %s: the product of alphas at time %d is %g, wanted 0 to 1; look at the "
                           "betas in scheduler_config.json", s->kind->name, i, (double)s->alphas[i]);
    return true;
}
