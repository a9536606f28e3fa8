/* scheduler_file.c: reads scheduler_config.json and makes the scheduler that it describes. A field that the class does not
 * have is skipped, as diffusers does; one that it has but that asks for something not built here is an error. */
#include "models/checkpoints/scheduler_file.h"

#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/files/json.h"
#include "models/schedulers/scheduler_parts.h"

/* see the header */
typedef struct scheduler_file { const char *path, *text, *class_name; im_scheduler_mends mends; } scheduler_file;

static const char v14[] =
    "{\"_class_name\": \"PNDMScheduler\", \"beta_end\": 0.012, \"beta_schedule\": \"scaled_linear\","
    " \"beta_start\": 0.00085, \"num_train_timesteps\": 1000, \"set_alpha_to_one\": false, \"skip_prk_steps\": true,"
    " \"steps_offset\": 1, \"trained_betas\": null, \"clip_sample\": false}";

static bool open_config(im_ctx *c, scheduler_file file, im_json *j)
{
    if (!file.path) return im_json_parse(c, j, "the built-in scheduler of v1.4", v14, sizeof v14 - 1);
    return file.text ? im_json_parse(c, j, file.path, file.text, strlen(file.text))
                     : im_json_load(c, j, file.path, IM_JSON_CONFIG_BYTES);
}

/* model_index.json decides, as in diffusers; without one, or where it names none, the file itself does. */
static bool class_of(im_ctx *c, scheduler_file file, char *out, size_t size)
{
    im_json j;
    const char *name = "", *index = file.class_name;
    bool ok = open_config(c, file, &j) && im_json_string(c, &j, "_class_name", index ? IM_MAY : IM_MUST, &name);
    if (ok && index && *name && strcmp(name, index))
        im_warn(c, "%s: _class_name is \"%s\", but model_index.json has \"%s\"; that is used, as diffusers does", j.file,
                name, index);
    if (ok) snprintf(out, size, "%s", index ? index : name);
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
    return im_json_flag(c, j, key, &on)
        && (!on || im_fail(c, "%s: \"%s\" is true, which is not supported; set it to false or choose another scheduler",
                           j->file, key));
}

/* ---------------------------------------------------------------- groups of fields */

static bool read_betas(im_ctx *c, const im_json *j, im_scheduler_config *f, unsigned has)
{
    int schedule = (int)f->beta_schedule;
    if (!im_json_int(c, j, "num_train_timesteps", IM_MAY, 1, 1000000, &f->num_train_timesteps)
        || !im_json_float(c, j, "beta_start", IM_MAY, 0, 1, &f->beta_start)
        || !im_json_float(c, j, "beta_end", IM_MAY, 0, 1, &f->beta_end)
        || ((has & IM_HAS_ZERO_SNR)
            && !im_json_flag(c, j, "rescale_betas_zero_snr", &f->rescale_betas_zero_snr)))
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
    if (ok && (has & IM_HAS_FINAL_ALPHA)) ok = im_json_flag(c, j, "set_alpha_to_one", &f->set_alpha_to_one);
    if (ok && (has & IM_HAS_PRK)) ok = im_json_flag(c, j, "skip_prk_steps", &f->skip_prk_steps);
    if (ok && (has & IM_HAS_THRESHOLD)) ok = must_be_off(c, j, "thresholding");
    if (ok && (has & IM_HAS_CLIP))
        ok = im_json_flag(c, j, "clip_sample", &f->clip_sample)
            && im_json_float(c, j, "clip_sample_range", IM_MAY, 0, FLT_MAX, &f->clip_sample_range);
    if (ok && (has & IM_HAS_DISTILLED))
        ok = im_json_int(c, j, "original_inference_steps", IM_MAY, 1, f->num_train_timesteps, &f->original_inference_steps)
            && im_json_float(c, j, "timestep_scaling", IM_MAY, 0, FLT_MAX, &f->timestep_scaling);
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
    if (!im_json_flag(c, j, "use_karras_sigmas", &karras)
        || !im_json_flag(c, j, "use_exponential_sigmas", &exponential) || !must_be_off(c, j, "use_beta_sigmas"))
        return false;
    if ((has & IM_HAS_LU) && !im_json_flag(c, j, "use_lu_lambdas", &lu)) return false;
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
        || !im_json_flag(c, j, "lower_order_final", &f->lower_order_final)
        || !one_of(c, j, "solver_type", "midpoint heun logrho bh1 bh2", &type))
        return false;
    f->solver_heun = type == 1;
    f->solver_bh1 = type == 3;
    if (has & IM_HAS_UNIPC)
        return im_json_flag(c, j, "predict_x0", &f->predict_x0) && read_disabled(c, j, f);
    if (!im_json_flag(c, j, "euler_at_final", &f->euler_at_final)
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

/* What a pipeline does to the scheduler of a model that it opens (StableDiffusionPipeline, StableDiffusionInpaintPipeline).
 * A field that the file does not have but the class of the file has is repaired too; for another class than the file's the
 * missing field stays missing. */
static bool repair(im_ctx *c, const im_json *j, const im_scheduler_kind *k, scheduler_file file, im_scheduler_config *f)
{
    const char *class_name = k->class_name;
    if (!im_json_string(c, j, "_class_name", IM_MAY, &class_name)) return false;
    if (file.class_name) class_name = file.class_name;
    bool own = !strcmp(class_name, k->class_name), clip = false, pictures = file.mends == IM_MEND_PICTURES;
    if (!im_json_flag(c, j, "clip_sample", &clip)) return false;
    if (f->steps_offset != 1 && (own || im_json_has(j, "steps_offset"))) {
        im_warn(c, "%s: steps_offset is %d; 1 is used, as diffusers does for Stable Diffusion", j->file,
                f->steps_offset);
        f->steps_offset = 1;
    }
    if (pictures && (k->fields & IM_HAS_CLIP) && f->clip_sample && (own || clip)) {
        im_warn(c, "%s: clip_sample is true; false is used, as diffusers does for Stable Diffusion", j->file);
        f->clip_sample = false;
    }
    if (!pictures && (k->fields & IM_HAS_PRK) && !f->skip_prk_steps && (own || im_json_has(j, "skip_prk_steps"))) {
        im_warn(c, "%s: skip_prk_steps is false; true is used, as diffusers does with a mask", j->file);
        f->skip_prk_steps = true;
    }
    return true;
}

/* False: an error; what f owns is to be freed all the same. */
static bool read_config(im_ctx *c, const im_scheduler_kind *k, scheduler_file file, im_scheduler_config *f)
{
    *f = im_scheduler_defaults(k);
    im_json j;
    bool ok = open_config(c, file, &j) && read_betas(c, &j, f, k->fields) && read_common(c, &j, f, k->fields)
        && read_sigma_rule(c, &j, f, k->fields) && read_solver(c, &j, f, k->fields)
        && (file.mends == IM_MEND_NOTHING || repair(c, &j, k, file, f));
    im_json_close(&j);
    return ok;
}

static im_scheduler *open_scheduler(im_ctx *c, const char *name, scheduler_file file)
{
    if (!im_ok(c)) return NULL;
    char class_name[128];
    if (!name && !class_of(c, file, class_name, sizeof class_name)) return NULL;
    const im_scheduler_kind *kind = im_scheduler_find(name ? name : class_name);
    if (!kind && name && im_scheduler_named(name)) {
        name = im_scheduler_named(name);
        kind = im_scheduler_find(name);
    }
    if (!kind) {
        if (name) im_fail(c, "scheduler \"%s\" is not known; choose one of %s", name, im_scheduler_known());
        else im_fail(c, "%s: scheduler class %s%s is not supported; choose one of %s", file.path, class_name,
                     file.class_name ? " (of model_index.json)" : "", im_scheduler_known());
        return NULL;
    }
    im_scheduler_config config;
    if (read_config(c, kind, file, &config)) return im_scheduler_make(c, kind, name, &config);
    im_scheduler_config_free(&config);
    return NULL;
}

im_scheduler *im_scheduler_new(im_ctx *c, const char *name, const char *path)
{
    return open_scheduler(c, name, (scheduler_file){ .path = path, .mends = IM_MEND_NOTHING });
}

im_scheduler *im_scheduler_new_for_pipeline(im_ctx *c, const char *name, const char *path, const char *text,
                                            const char *class_name, im_scheduler_mends mends)
{
    return open_scheduler(c, name, (scheduler_file){ path, text, class_name, mends });
}
