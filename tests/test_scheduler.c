/* test_scheduler.c: every scheduler walks the path that diffusers' class walks, under a formula that stands in for the
 * network: from noise over 2 to 50 steps, with many kinds of scheduler_config.json, and from the middle (image to
 * image). Values from tests/golden (schedulers.safetensors.gz, schedulers.json.gz). */
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden_json.h"
#include "golden_tensors.h"
#include "imago.h"
#include "models/checkpoints/scheduler_file.h"
#include "scratch.h"
#include "suite.h"

enum { N = 16 };                                               /* values of a sample: (1, 4, 2, 2)                    */

/* Largest difference allowed, over the largest value of the path. Times are equal, but those
 * of levels by Karras' rule and its like, which are found by logarithms, too. The coefficients come from square
 * roots, logarithms and exponentials, which torch takes from a library that is off by one unit in the last place (6e-8)
 * in a fifth of the values; up to 51 such steps add up to at most 8e-7 on any path here. */
static const double TOLERANCE = 2e-6;

static im_ctx *c;
static im_safetensors *golden, *more, *options;              /* of ten schedulers; of lcm and tcd; with options     */
static json_t *root;
static char folder[256];
static const char *config_path;

static void open_golden(void)
{
    ck_assert_ptr_nonnull(c = im_ctx_new("ref", 1));
    golden = golden_tensors(c, "tests/golden/schedulers.safetensors.gz");
    more = golden_tensors(c, "tests/golden/few_steps.safetensors.gz");
    options = golden_tensors(c, "tests/golden/scheduler_options.safetensors.gz");
    ck_assert_msg(golden && more && options, "%s", im_error(c));
    root = golden_json("tests/golden/schedulers.json.gz");
    scratch_make(folder, sizeof folder);
    config_path = scratch_path(folder, "scheduler_config.json");
}

static void close_golden(void)
{
    json_decref(root);
    im_st_close(golden);
    im_st_close(more);
    im_st_close(options);
    im_ctx_free(c);
    scratch_remove(folder);
}

static const float *values(const char *key, const char *what, int *n)
{
    char name[160];
    snprintf(name, sizeof name, "%s%s", key, what);
    const im_st_entry *e = im_st_find(golden, name);
    if (!e) e = im_st_find(more, name);
    if (!e) e = im_st_find(options, name);
    if (!e) return NULL;
    ck_assert_int_eq(e->dtype, IM_F32);
    *n = (int)(e->bytes / sizeof(float));
    return e->data;
}

static void write_config(json_t *config, const char *class_name)
{
    json_t *whole = json_copy(config);
    json_object_set_new(whole, "_class_name", json_string(class_name));
    ck_assert_int_eq(json_dump_file(whole, config_path, 0), 0);
    json_decref(whole);
}

static void write_text(const char *text)
{
    FILE *f = fopen(config_path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

static bool fill(void *rng, im_tensor *out)
{
    float noise[N];
    im_randn(rng, noise, N);
    return im_upload(c, out, noise);
}

static im_tensor *sample(const float *values)
{
    return im_from(c, IM_F32, 1, (int64_t[]){ N }, values);
}

/* The largest difference of two arrays over the largest wanted value. */
static double apart(const float *found, const float *wanted, int n)
{
    double worst = 0, top = 1e-30;
    for (int i = 0; i < n; i++) {
        if (!isfinite(found[i])) return INFINITY;
        worst = fmax(worst, fabs((double)found[i] - (double)wanted[i]));
        top = fmax(top, fabs((double)wanted[i]));
    }
    return worst / top;
}

static void close_to(const char *key, const char *what, const float *found, int n_found, double tolerance)
{
    int n = 0;
    const float *wanted = values(key, what, &n);
    ck_assert_msg(wanted && n == n_found, "%s%s: found %d values, wanted %d", key, what, n_found, n);
    double off = apart(found, wanted, n);
    ck_assert_msg(off <= tolerance, "%s%s: off by %.3g, allowed %.3g", key, what, off, tolerance);
}

/* Runs a planned scheduler from x and keeps the sample after every step. */
static float *walk(im_scheduler *s, float *x, im_rng *rng)
{
    int count = im_scheduler_evaluations(s);
    float *path = malloc((size_t)count * N * sizeof *path), input[N], e[N];
    ck_assert_ptr_nonnull(path);
    im_scope_push(c);
    im_tensor *t = sample(x), *scaled = sample(x);
    for (int i = 0; i < count; i++) {
        float u = im_scheduler_time(s, i) / 1000.0f, shift = 0.25f - 0.5f * u;
        ck_assert(im_scheduler_scale(s, t, scaled) && im_download(c, scaled, input));
        for (int k = 0; k < N; k++) e[k] = 0.3f * input[k] + shift;
        im_counts before = im_counted(c);
        im_tensor *output = sample(e);
        ck_assert_msg(im_scheduler_step(s, output, t, (im_noise){ fill, rng }), "%s", im_error(c));
        ck_assert_int_eq(im_counted(c).downloads + im_counted(c).syncs, before.downloads + before.syncs);
        ck_assert(im_download(c, t, path + (size_t)i * N));
    }
    im_scope_pop(c);
    return path;
}

static const char *text_of(json_t *row, const char *key) { return json_string_value(json_object_get(row, key)); }
static double number_of(json_t *row, const char *key) { return json_number_value(json_object_get(row, key)); }

static void one_path(json_t *row)
{
    const char *key = text_of(row, "key"), *name = text_of(row, "scheduler");
    json_t *config = json_object_get(json_object_get(root, "configs"), text_of(row, "config"));
    bool ruled = json_object_get(config, "use_karras_sigmas") || json_object_get(config, "use_exponential_sigmas");
    write_config(config, "PNDMScheduler");
    im_scheduler *s = im_scheduler_new(c, name, config_path);
    ck_assert_msg(im_scheduler_plan(s, (int)number_of(row, "steps"), N), "%s: %s", key, im_error(c));
    ck_assert_str_eq(im_scheduler_name(s), name);
    ck_assert_msg(im_scheduler_set_eta(s, (float)number_of(row, "eta")), "%s: %s", key, im_error(c));

    im_rng *rng = im_rng_new(c, IM_RNG_CPU, (uint64_t)number_of(row, "seed"));
    float x[N], noise[N];
    im_randn(rng, noise, N);
    if (json_object_get(row, "strength")) {
        ck_assert_msg(im_scheduler_begin(s, (float)number_of(row, "strength")), "%s: %s", key, im_error(c));
        ck_assert_int_eq(im_scheduler_first(s), (int)number_of(row, "first_call"));
        int n;
        im_scope_push(c);
        im_tensor *t = sample(values("start.latents", "", &n));
        ck_assert(im_scheduler_add_noise(s, t, sample(noise), t) && im_download(c, t, x));
        im_scope_pop(c);
        close_to(key, ".noisy", x, N, TOLERANCE);
    } else {
        ck_assert_double_eq_tol((double)im_scheduler_start(s), number_of(row, "init_noise_sigma"),
                                1e-6 * number_of(row, "init_noise_sigma"));
        for (int i = 0; i < N; i++) x[i] = noise[i] * im_scheduler_start(s);
        int n;
        const float *sigmas = im_scheduler_sigmas(s, &n);
        if (sigmas && values(key, ".sigmas", &n)) close_to(key, ".sigmas", sigmas, n, 1e-6);
    }
    int count = im_scheduler_evaluations(s);
    ck_assert_int_eq(count, (int)number_of(row, "evaluations"));
    float *times = malloc((size_t)count * sizeof *times);
    for (int i = 0; i < count; i++) times[i] = im_scheduler_time(s, i);
    close_to(key, ".timesteps", times, count, ruled ? TOLERANCE : 0);
    float *path = walk(s, x, rng);
    close_to(key, ".path", path, count * N, TOLERANCE);
    free(path);
    free(times);
    im_rng_free(rng);
    im_scheduler_free(s);
}

START_TEST(paths)
{
    json_t *row, *rows = json_object_get(root, "rows");
    size_t k;
    ck_assert_int_ge((int)json_array_size(rows), 200);
    json_array_foreach(rows, k, row) one_path(row);
    ck_assert_msg(im_ok(c), "%s", im_error(c));
}
END_TEST

static void fails(im_scheduler *s, bool planned, const char *part);

static void all_rows(const char *file, int n)
{
    json_t *row, *rows, *own = root;
    size_t k;
    root = golden_json(file);
    rows = json_object_get(root, "rows");
    ck_assert_int_ge((int)json_array_size(rows), n);
    json_array_foreach(rows, k, row) one_path(row);
    json_decref(root);
    root = own;
    ck_assert_msg(im_ok(c), "%s", im_error(c));
}

START_TEST(few_steps)
{
    all_rows("tests/golden/few_steps.json.gz", 26);
    im_scheduler *s = im_scheduler_new(c, "lcm", NULL);
    fails(s, im_scheduler_plan(s, 51, N), "found 51 steps, wanted 1 to 50, its original_inference_steps");
}
END_TEST

/* eta of ddim and tcd; sigma_min and sigma_max, which diffusers' heun, lms and dpmpp_2m heed without having them as
 * arguments; null for a switch. */
START_TEST(seldom_options)
{
    all_rows("tests/golden/scheduler_options.json.gz", 41);
    ck_assert(im_scheduler_takes_eta("TCD") && im_scheduler_takes_eta("ddim") && !im_scheduler_takes_eta("euler"));
    im_scheduler *s = im_scheduler_new(c, "tcd", NULL);
    fails(s, im_scheduler_set_eta(s, 1.5f), "eta: found 1.5, wanted a number from 0 to 1");
    s = im_scheduler_new(c, "euler", NULL);
    ck_assert(im_scheduler_set_eta(s, 0));
    fails(s, im_scheduler_set_eta(s, 0.5f), "eta is 0.5, but scheduler euler has no eta");
}
END_TEST

/* Bit for bit: these products decide every scheduler's coefficients. */
START_TEST(products)
{
    im_scheduler *s = im_scheduler_new(c, NULL, NULL);
    int n, m = 0;
    const float *found = im_scheduler_alphas(s, &n), *wanted = values("v14.alphas_cumprod", "", &m);
    ck_assert_int_eq(n, 1000);
    ck_assert_int_eq(m, 1000);
    for (int i = 0; i < n; i++)
        ck_assert_msg(found[i] == wanted[i], "[%d]: found %.9g, wanted %.9g", i, (double)found[i], (double)wanted[i]);
    im_scheduler_free(s);
}
END_TEST

START_TEST(fifty_steps_are_51_evaluations)
{
    im_scheduler *s = im_scheduler_new(c, NULL, NULL);
    ck_assert_str_eq(im_scheduler_name(s), "pndm");
    ck_assert(im_scheduler_plan(s, 50, 0));
    ck_assert_int_eq(im_scheduler_evaluations(s), 51);
    static const float first[4] = { 981, 961, 961, 941 };
    for (int i = 0; i < 4; i++) ck_assert_float_eq(im_scheduler_time(s, i), first[i]);
    ck_assert_float_eq(im_scheduler_time(s, 50), 1);
    im_scheduler_free(s);
}
END_TEST

/* Strength is what was typed: 0.7 of 10 steps are 7, though the float is below 0.7. */
START_TEST(strength_as_typed)
{
    im_scheduler *s = im_scheduler_new(c, "ddim", NULL);
    ck_assert(im_scheduler_plan(s, 10, 0) && im_scheduler_begin(s, 0.7f));
    ck_assert_int_eq(im_scheduler_evaluations(s), 7);
    ck_assert(im_scheduler_plan(s, 50, 0) && im_scheduler_begin(s, 0.58f));
    ck_assert_int_eq(im_scheduler_evaluations(s), 28);         /* 50 * 0.58 is 28.999999999999996 in Python, too      */
    im_scheduler_free(s);
}
END_TEST

static void fails(im_scheduler *s, bool planned, const char *part)
{
    ck_assert_msg(!planned && !im_ok(c), "no error where one with \"%s\" was wanted", part);
    ck_assert_msg(strstr(im_error(c), part), "found \"%s\", wanted \"%s\" in it", im_error(c), part);
    im_clear_error(c);
    im_scheduler_free(s);
}

static void config_fails(const char *name, const char *text, const char *part)
{
    write_text(text);
    im_scheduler *s = im_scheduler_new(c, name, config_path);
    fails(s, s != NULL, part);
}

START_TEST(errors)
{
    im_scheduler *s = im_scheduler_new(c, "dpm3", NULL);
    fails(s, s != NULL, "choose one of pndm, ddim, euler, euler_a, heun, lms, dpmpp_2m, dpmpp_2m_karras, unipc, ddpm");
    s = im_scheduler_new(c, "ddim", NULL);
    fails(s, im_scheduler_plan(s, 0, N), "wanted 1 to 999");
    s = im_scheduler_new(c, "ddim", NULL);
    fails(s, im_scheduler_plan(s, 1001, N), "found 1001 steps, wanted 1 to 999: the model was trained with 1000 times");
    s = im_scheduler_new(c, "ddim", NULL);                     /* steps_offset 1: time 1000 does not exist            */
    fails(s, im_scheduler_plan(s, 1000, N), "wanted 1 to 999");
    s = im_scheduler_new(c, "ddim", NULL);
    fails(s, im_scheduler_plan(s, 10, N) && im_scheduler_begin(s, 0.05f), "leaves no step");
    s = im_scheduler_new(c, "ddim", NULL);
    fails(s, im_scheduler_plan(s, 10, N) && im_scheduler_begin(s, 1.5f), "from 0 to 1");
    config_fails(NULL, "{\"_class_name\": \"EDMEulerScheduler\"}", "EDMEulerScheduler");
    config_fails(NULL, "{\"beta_start\": 0.1}", "_class_name");
    config_fails("ddim", "{\"prediction_type\": \"flow\"}", "wanted one of: epsilon");
    config_fails("pndm", "{\"prediction_type\": \"sample\"}", "wanted one of: epsilon");
    config_fails("ddim", "{\"beta_schedule\": \"laplace\"}", "wanted one of: linear");
    config_fails("ddim", "{\"thresholding\": true}", "thresholding");
    config_fails("euler", "{\"use_karras_sigmas\": true, \"use_exponential_sigmas\": true}", "keep one");
    config_fails("ddim", "{\"trained_betas\": [0.1, 0.2]}", "wanted num_train_timesteps, 1000");
    config_fails("ddim", "{\"beta_start\": \"small\"}", "beta_start");
    config_fails("dpmpp_2m", "{\"algorithm_type\": \"dpmsolver\"}", "sigma_min");
    config_fails("unipc", "{\"solver_order\": 4}", "solver_order");
    config_fails("ddim", "{", "JSON");
    unlink(config_path);
    s = im_scheduler_new(c, "ddim", config_path);
    fails(s, s != NULL, config_path);
}
END_TEST

/* As A1111, k-diffusion, stable-diffusion.cpp and diffusers call them. */
START_TEST(names_of_neighbours)
{
    static const char *const names[][2] = {
        { "Euler a", "euler_a" }, { "euler_ancestral", "euler_a" }, { "k_euler", "euler" }, { "k_euler_a", "euler_a" },
        { "PLMS", "pndm" }, { "k_lms", "lms" }, { "DPM++ 2M", "dpmpp_2m" }, { "DPM++ 2M Karras", "dpmpp_2m_karras" },
        { "dpm++2m", "dpmpp_2m" }, { "k_dpmpp_2m", "dpmpp_2m" }, { "UniPC", "unipc" }, { "LCMScheduler", "lcm" },
        { "EulerDiscreteScheduler", "euler" }, { "karras", NULL }, { "", NULL }, { "k", NULL }, { "euler b", NULL },
        { "DPM++ 2M SDE", NULL }, { "keuler discrete scheduler", NULL }
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *ours = im_scheduler_named(names[i][0]);
        ck_assert_msg(names[i][1] ? ours && !strcmp(ours, names[i][1]) : !ours, "%s is %s", names[i][0], ours);
    }
    im_scheduler *s = im_scheduler_new(c, "DPM++ 2M Karras", NULL);
    ck_assert_msg(s && !strcmp(im_scheduler_name(s), "dpmpp_2m_karras"), "%s", im_error(c));
    im_scheduler_free(s);
    s = im_scheduler_new(c, "DPM++ SDE", NULL);
    fails(s, s != NULL, "scheduler \"DPM++ SDE\" is not known; choose one of");
}
END_TEST

static void keep_text(void *out, const char *text) { snprintf(out, 400, "%s", text); }

static im_scheduler *of_pipeline(im_ctx *ctx, const char *name, const char *path, const char *text, const char *class_name)
{
    return im_scheduler_new_for_pipeline(ctx, name, path, text, class_name, IM_MEND_PICTURES);
}

/* The repairs of StableDiffusionPipeline, and Python's -Infinity. */
START_TEST(pipeline_repairs)
{
    char warning[400] = "";
    im_on_warning(c, keep_text, warning);
    write_text("{\"_class_name\": \"DDIMScheduler\", \"beta_schedule\": \"scaled_linear\"}");
    im_scheduler *s = of_pipeline(c, NULL, config_path, NULL, NULL);
    ck_assert_msg(im_scheduler_plan(s, 10, 0), "%s", im_error(c));
    ck_assert_float_eq(im_scheduler_time(s, 0), 901);
    ck_assert_msg(strstr(warning, "clip_sample"), "%s", warning);
    im_scheduler_free(s);
    warning[0] = 0;
    s = of_pipeline(c, "ddim", NULL, NULL, NULL);      /* nothing to repair: no warning               */
    ck_assert_str_eq(warning, "");
    im_scheduler_free(s);
    s = of_pipeline(c, NULL, "a file", "{\"_class_name\": \"LMSDiscreteScheduler\"}", NULL);
    ck_assert_msg(s && !strcmp(im_scheduler_name(s), "lms"), "%s", im_error(c));
    im_scheduler_free(s);
    write_text("{\"_class_name\": \"DPMSolverMultistepScheduler\", \"lambda_min_clipped\": -Infinity, "
               "\"note\": \"-Infinity \\\" stays\", \"use_karras_sigmas\": true}");
    s = im_scheduler_new(c, NULL, config_path);
    ck_assert_msg(im_scheduler_plan(s, 10, 0), "%s", im_error(c));
    ck_assert_str_eq(im_scheduler_name(s), "dpmpp_2m_karras");
    im_scheduler_free(s);
}
END_TEST

/* With a mask StableDiffusionInpaintPipeline mends skip_prk_steps and leaves clip_sample; LCM's pipelines mend nothing. */
START_TEST(repairs_of_other_pipelines)
{
    static const char pndm[] = "{\"_class_name\": \"PNDMScheduler\"}";
    static const char ddim[] = "{\"_class_name\": \"DDIMScheduler\"}";
    static const struct {
        const char *text; im_scheduler_mends mends; int evaluations; float first; const char *told;
    } cases[] = {
        { pndm, IM_MEND_PICTURES, 19, 901, "steps_offset is 0" },
        { pndm, IM_MEND_MASKS, 11, 901, "skip_prk_steps is false" },
        { pndm, IM_MEND_NOTHING, 19, 900, "" }, { ddim, IM_MEND_PICTURES, 10, 901, "clip_sample is true" },
        { ddim, IM_MEND_MASKS, 10, 901, "steps_offset is 0" }, { ddim, IM_MEND_NOTHING, 10, 900, "" },
    };
    const int i = _i;
    char warning[400] = "";
    im_on_warning(c, keep_text, warning);
    im_scheduler *s = im_scheduler_new_for_pipeline(c, NULL, "a file", cases[i].text, NULL, cases[i].mends);
    ck_assert_msg(im_scheduler_plan(s, 10, 0), "%s", im_error(c));
    ck_assert_int_eq(im_scheduler_evaluations(s), cases[i].evaluations);
    ck_assert_float_eq(im_scheduler_time(s, 0), cases[i].first);
    ck_assert_msg(*cases[i].told ? strstr(warning, cases[i].told) != NULL : !*warning, "%s", warning);
    im_scheduler_free(s);
}
END_TEST

/* model_index.json names the class, as in diffusers; the file's own counts where there is none. --scheduler is first. */
START_TEST(class_of_the_index)
{
    static const char ddim[] = "{\"_class_name\": \"DDIMScheduler\", \"steps_offset\": 1, \"clip_sample\": false}";
    char warning[400] = "";
    im_on_warning(c, keep_text, warning);
    im_scheduler *s = of_pipeline(c, NULL, "a file", ddim, "EulerDiscreteScheduler");
    ck_assert_msg(s && !strcmp(im_scheduler_name(s), "euler"), "%s", im_error(c));
    ck_assert_str_eq(warning, "a file: _class_name is \"DDIMScheduler\", but model_index.json has "
                              "\"EulerDiscreteScheduler\"; that is used, as diffusers does");
    im_scheduler_free(s);
    warning[0] = 0;
    s = of_pipeline(c, "heun", "a file", ddim, "EulerDiscreteScheduler");
    ck_assert_msg(s && !strcmp(im_scheduler_name(s), "heun") && !*warning, "%s%s", im_error(c), warning);
    im_scheduler_free(s);
    s = of_pipeline(c, NULL, "a file", "{\"steps_offset\": 1}", "EulerDiscreteScheduler");
    ck_assert_msg(s && !strcmp(im_scheduler_name(s), "euler") && !*warning, "%s%s", im_error(c), warning);
    im_scheduler_free(s);
    s = of_pipeline(c, NULL, "a file", ddim, "EDMEulerScheduler");
    fails(s, s != NULL, "a file: scheduler class EDMEulerScheduler (of model_index.json) is not supported; choose one of");
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(products), ONCE(fifty_steps_are_51_evaluations), ONCE(paths), ONCE(few_steps), ONCE(seldom_options),
        ONCE(strength_as_typed),
        ONCE(errors), ONCE(names_of_neighbours),
        ONCE(pipeline_repairs), LOOP(repairs_of_other_pipelines, 6), ONCE(class_of_the_index),
    };
    return suite_run("scheduler", open_golden, close_golden, 60, tests, SUITE_COUNT(tests));
}
