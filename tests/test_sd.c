/* test_sd.c: finished pictures. Those of diffusers' pipelines (tests/golden, pictures.*), and what imago promises
 * beside: a picture has the same bits alone or in any batch, at any number of threads, op by op or as a plan, on every
 * ISA. One thread is used where threads are not the question. */
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden_json.h"
#include "golden_tensors.h"
#include "imago.h"
#include "models/pipelines/sd.h"
#include "scratch.h"
#include "suite.h"

static const char GOLDEN[] = "tests/golden/";
static const char A[] = "tests/golden/models/a", B[] = "tests/golden/models/b", C[] = "tests/golden/models/c";
enum { LATENT_MAX = 4 * 32 * 32 };

/* After up to 51 evaluations, in values of latents that are near unit size. The reference, drawn a second time with its
 * sums in another order, differs by up to 5e-4 from itself (make_golden.py checks that). */
static const double LATENT_TOLERANCE = 1e-3;

static im_ctx *c;

static void warn_nobody(void *arg, const char *text) { (void)arg, (void)text; }

static void open_context(const char *device, int threads)
{
    ck_assert_ptr_nonnull(c = im_ctx_new(device, threads));
    ck_assert_msg(im_ok(c), "%s", im_error(c));
    im_on_warning(c, warn_nobody, NULL);
}

static im_sd *open_model(const char *path)
{
    im_sd *sd = im_sd_open(c, path, IM_F32);
    ck_assert_msg(sd != NULL, "%s: %s", path, im_error(c));
    return sd;
}

typedef struct picture { im_image *image; float *latents; size_t n; } picture;

static picture draw(im_sd *sd, im_sd_args a)
{
    int64_t s[3];
    picture p = { 0 };
    ck_assert_msg(im_sd_latent_shape(sd, &a, s), "%s", im_error(c));
    p.n = (size_t)(s[0] * s[1] * s[2]);
    a.latents_out = p.latents = malloc(p.n * sizeof *p.latents);
    p.image = im_sd_generate(sd, &a);
    ck_assert_msg(p.image && im_ok(c), "%s", im_error(c));
    return p;
}

static void drop(picture p)
{
    im_image_free(p.image);
    free(p.latents);
}

static size_t picture_bytes(const im_image *i) { return (size_t)i->width * (size_t)i->height * 3; }

static void same(const char *what, picture a, picture b)
{
    ck_assert_uint_eq(a.n, b.n);
    for (size_t i = 0; i < a.n; i++)
        ck_assert_msg(!memcmp(&a.latents[i], &b.latents[i], sizeof(float)), "%s: latent %zu is %.9g and %.9g", what, i,
                      (double)a.latents[i], (double)b.latents[i]);
    ck_assert_msg(!memcmp(a.image->pixels, b.image->pixels, picture_bytes(a.image)), "%s: other pixels", what);
}

/* ---------------------------------------------------------------- the pictures of diffusers */

static const char *text_of(json_t *row, const char *key) { return json_string_value(json_object_get(row, key)); }
static double number_of(json_t *row, const char *key) { return json_number_value(json_object_get(row, key)); }

static const im_st_entry *golden_entry(im_safetensors *golden, const char *name, const char *what)
{
    char full[64];
    snprintf(full, sizeof full, "%s.%s", name, what);
    const im_st_entry *e = im_st_find(golden, full);
    ck_assert_msg(e != NULL, "%s is not in pictures.safetensors", full);
    return e;
}

static void compare(json_t *row, im_safetensors *golden, picture p)
{
    const char *name = text_of(row, "name");
    const im_st_entry *e = golden_entry(golden, name, "latents");
    const float *wanted = e->data;
    ck_assert_uint_eq(e->bytes, p.n * sizeof(float));
    double worst = 0;
    for (size_t i = 0; i < p.n; i++) worst = fmax(worst, fabs((double)p.latents[i] - (double)wanted[i]));
    ck_assert_msg(worst <= LATENT_TOLERANCE, "%s (%s): latents off by %.3g, allowed %g", name,
                  text_of(row, "scheduler"), worst, LATENT_TOLERANCE);

    e = golden_entry(golden, name, "rows");                    /* every second row: ((H + 1) / 2, W, 3) u8            */
    ck_assert_int_eq(p.image->height, (int)number_of(row, "H"));
    ck_assert_int_eq((p.image->height + 1) / 2, (int)e->shape[0]);
    ck_assert_int_eq(p.image->width, (int)e->shape[1]);
    const uint8_t *pixels = e->data;
    size_t n = e->bytes, width = 3 * (size_t)p.image->width, far = 0;
    for (size_t i = 0; i < n; i++) {
        int got = p.image->pixels[2 * (i / width) * width + i % width], off = abs(pixels[i] - got);
        far += off > 1;
        ck_assert_msg(off <= 2, "%s: value %zu of every second row is %d, wanted %d", name, i, got, pixels[i]);
    }
    ck_assert_msg((double)far <= 0.001 * (double)n, "%s: %zu of %zu values are 2 levels off", name, far, n);
}

static void draw_row(im_sd *sd, json_t *row, im_safetensors *golden)
{
    im_sd_args a = im_sd_defaults(sd);
    a.prompt = text_of(row, "prompt");
    a.negative = text_of(row, "negative");
    a.steps = (int)number_of(row, "steps");
    a.guidance = (float)number_of(row, "guidance");
    a.scheduler = text_of(row, "scheduler");
    a.seed = (uint64_t)json_integer_value(json_object_get(row, "seed"));
    a.width = (int)number_of(row, "W");
    a.height = (int)number_of(row, "H");
    im_image *init = NULL;
    if (text_of(row, "init")) {
        char path[96];
        snprintf(path, sizeof path, "%s%s", GOLDEN, text_of(row, "init"));
        a.init = init = im_picture_read(c, path);
        a.strength = (float)number_of(row, "strength");
        a.width = a.height = 0;
    }
    picture p = draw(sd, a);
    compare(row, golden, p);
    drop(p);
    im_image_free(init);
}

static const char *const models[] = { A, B, C };

START_TEST(pictures_of_diffusers)
{
    open_context("cpu", 1);
    json_t *row, *root = golden_json("tests/golden/pictures.json.gz");
    im_safetensors *golden = golden_tensors(c, "tests/golden/pictures.safetensors.gz");
    im_sd *sd = open_model(models[_i]);
    size_t k;
    int drawn = 0;
    json_array_foreach(json_object_get(root, "rows"), k, row)
        if (text_of(row, "model")[0] == 'a' + _i) {
            draw_row(sd, row, golden);
            drawn++;
        }
    ck_assert_int_ge(drawn, 10);                               /* every scheduler at least                            */
    im_sd_free(sd);
    im_st_close(golden);
    json_decref(root);
    im_ctx_free(c);
}
END_TEST

/* The plain loops of ref must agree, too: one picture, since they are slow. */
START_TEST(ref_draws_it_too)
{
    open_context("ref", 1);
    json_t *root = golden_json("tests/golden/pictures.json.gz");
    im_safetensors *golden = golden_tensors(c, "tests/golden/pictures.safetensors.gz");
    im_sd *sd = open_model(A);
    draw_row(sd, json_array_get(json_object_get(root, "rows"), 0), golden);
    im_sd_free(sd);
    im_st_close(golden);
    json_decref(root);
    im_ctx_free(c);
}
END_TEST

/* ---------------------------------------------------------------- the same bits */

static im_sd_args args_for(im_sd *sd, int i)                   /* noise in every step; all texts differ               */
{
    static const char *const prompts[] = { "a photograph of an astronaut riding a horse", "a castle", "" };
    static const char *const negatives[] = { NULL, "blurry", "a castle" };
    im_sd_args a = im_sd_defaults(sd);
    a.prompt = prompts[i];
    a.negative = negatives[i];
    a.steps = 4;
    a.seed = 10 + (uint64_t)i;
    a.scheduler = "euler_a";
    return a;
}

/* Alone: with a model that has not seen the texts, whose states it would keep. */
static void alone_and_together(const char *model, im_sd *sd, im_sd_args a[3], const char *what)
{
    float latents[3][LATENT_MAX];
    im_image *out[3];
    for (int i = 0; i < 3; i++) a[i].latents_out = latents[i];
    ck_assert_msg(im_sd_generate_batch(sd, a, 3, out), "%s: %s", what, im_error(c));
    for (int i = 0; i < 3; i++) {
        im_sd *fresh = open_model(model);
        picture one = draw(fresh, a[i]);
        im_sd_free(fresh);
        ck_assert_uint_le(one.n, LATENT_MAX);
        same(what, one, (picture){ .image = out[i], .latents = latents[i], .n = one.n });
        drop(one);
        im_image_free(out[i]);
    }
}

START_TEST(alone_or_in_a_batch)
{
    open_context("cpu", 1);
    im_sd *sd = open_model(models[_i]);
    im_sd_args a[3];
    for (int i = 0; i < 3; i++) a[i] = args_for(sd, i);
    alone_and_together(models[_i], sd, a, "text to image");
    for (int i = 0; i < 3; i++) {
        a[i].guidance = 1;
        a[i].scheduler = "unipc";
    }
    alone_and_together(models[_i], sd, a, "without guidance");
    for (int i = 0; i < 3; i++) a[i].guidance = 1.5f + (float)i;
    alone_and_together(models[_i], sd, a, "each with its own guidance");
    im_image *init = im_picture_read(c, "tests/golden/init_83x70.png");
    im_image *other = im_picture_read(c, "tests/golden/init_64x64.png");
    for (int i = 0; i < 3; i++) {
        a[i].init = i == 1 ? other : init;
        a[i].width = a[i].height = 48;
        a[i].strength = 0.5f;
        a[i].guidance = 4;
        a[i].scheduler = "ddpm";
    }
    alone_and_together(models[_i], sd, a, "image to image");
    im_image_free(init);
    im_image_free(other);
    im_sd_free(sd);
    im_ctx_free(c);
}
END_TEST

/* The two halves give what the whole gives; what is not finite is called by its name. */
START_TEST(halves)
{
    open_context("cpu", 1);
    im_sd *sd = open_model(A);
    im_sd_args a = args_for(sd, 1);
    float latents[LATENT_MAX];
    picture whole = draw(sd, a);
    a.latents_out = latents;
    ck_assert_msg(im_sd_latents_batch(sd, &a, 1), "%s", im_error(c));
    im_image *decoded = im_sd_decode(sd, &a, latents);
    ck_assert_msg(decoded != NULL, "%s", im_error(c));
    same("in two halves", whole, (picture){ .image = decoded, .latents = latents, .n = whole.n });
    im_image_free(decoded);
    drop(whole);
    latents[3] = NAN;
    a.name = "set/cat/000007.png";
    ck_assert_ptr_null(im_sd_decode(sd, &a, latents));
    ck_assert_msg(strstr(im_error(c), "set/cat/000007.png: the latents that were given hold values that are not finite"),
                  "%s", im_error(c));
    im_clear_error(c);
    im_sd_args two[] = { args_for(sd, 0), args_for(sd, 1) };
    two[1].latents = latents;
    im_image *none[2];
    ck_assert(!im_sd_generate_batch(sd, two, 2, none));
    char name[80];
    snprintf(name, sizeof name, "the picture of \"%s\", seed 11: the latents that were given", two[1].prompt);
    ck_assert_msg(strstr(im_error(c), name), "%s", im_error(c));
    im_sd_free(sd);
    im_ctx_free(c);
}
END_TEST

static picture draw_on(const char *device, int threads, const char *model, bool eager)
{
    open_context(device, threads);
    im_sd *sd = open_model(model);
    im_sd_args a = args_for(sd, 1);
    a.steps = 2;
    a.eager = eager;
    a.width += 8;                                              /* odd sizes somewhere in the UNet                     */
    picture p = draw(sd, a);
    im_sd_free(sd);
    im_ctx_free(c);
    return p;
}

START_TEST(any_number_of_threads)
{
    picture one = draw_on("cpu", 1, models[_i], false);
    for (int threads = 2; threads <= (_i ? 2 : 3); threads++) {
        picture more = draw_on("cpu", threads, models[_i], false);
        same("threads", one, more);
        drop(more);
    }
    drop(one);
}
END_TEST

START_TEST(op_by_op_or_as_a_plan)
{
    static const char *const devices[] = { "ref", "cpu" };
    picture plan = draw_on(devices[_i], 1, A, false), eager = draw_on(devices[_i], 1, A, true);
    same("eager", plan, eager);
    drop(plan);
    drop(eager);
}
END_TEST

static bool machine_has(const char *isa)
{
    setenv("IMAGO_ISA", isa, 1);
    open_context("cpu", 1);
    bool has = !strcmp(im_device_isa(c), isa);
    im_ctx_free(c);
    return has;
}

START_TEST(any_isa)
{
    if (!machine_has("avx512")) {
        printf("any_isa: skipped, this machine has no AVX-512\n");
        return;
    }
    for (int m = 0; m < 3; m++) {
        setenv("IMAGO_ISA", "avx2", 1);
        picture narrow = draw_on("cpu", 1, models[m], false);
        setenv("IMAGO_ISA", "avx512", 1);
        picture wide = draw_on("cpu", 1, models[m], false);
        same("avx2 and avx512", narrow, wide);
        drop(narrow);
        drop(wide);
    }
    unsetenv("IMAGO_ISA");
}
END_TEST

/* Latents handed in are what the generator would have drawn. */
START_TEST(own_latents)
{
    open_context("cpu", 1);
    im_sd *sd = open_model(A);
    im_sd_args a = args_for(sd, 0);
    a.scheduler = "dpmpp_2m";
    picture drawn = draw(sd, a);
    float noise[LATENT_MAX];
    im_rng *rng = im_rng_new(c, IM_RNG_CPU, a.seed);
    im_randn(rng, noise, drawn.n);
    im_rng_free(rng);
    a.latents = noise;
    a.seed = 999;
    picture given = draw(sd, a);
    same("latents", drawn, given);
    drop(drawn);
    drop(given);
    a.latents = NULL;
    picture other = draw(sd, a);
    ck_assert(memcmp(other.latents, noise, other.n * sizeof *noise));
    drop(other);
    im_sd_free(sd);
    im_ctx_free(c);
}
END_TEST

/* ---------------------------------------------------------------- what a run says of itself */

static struct { int conv_in, text, all; } seen;
static void on_trace(void *arg, const char *name, const im_tensor *t)
{
    (void)arg;
    ck_assert_int_gt((int)im_numel(t), 0);
    seen.conv_in += !strcmp(name, "conv_in");
    seen.text += !strcmp(name, "text_model.final_layer_norm");
    seen.all++;
}

START_TEST(trace)
{
    open_context("ref", 1);
    im_sd *sd = open_model(B);
    im_sd_args a = args_for(sd, 0);
    im_on_trace(c, on_trace, NULL);
    ck_assert_msg(im_sd_trace(sd, &a), "%s", im_error(c));
    ck_assert_int_eq(seen.conv_in, 1);
    ck_assert_int_eq(seen.text, 1);
    ck_assert_int_gt(seen.all, 20);
    im_sd_free(sd);
    im_ctx_free(c);
}
END_TEST

START_TEST(networks)
{
    static const char *const names[] = { "text_encoder", "unet", "vae_decoder", "vae_encoder" };
    open_context("cpu", 1);
    im_sd *sd = open_model(A);
    im_net_info info, again;
    for (int net = 0; net < IM_NET_COUNT; net++) {
        ck_assert_msg(im_sd_net_info(sd, (im_net)net, 64, 64, &info), "%s", im_error(c));
        ck_assert_str_eq(info.name, names[net]);
        ck_assert(info.parameters > 1000 && info.tensors > 10 && info.bytes == 4 * info.parameters);
        ck_assert(info.flop > 1e6 && info.ops > 10 && info.arena_bytes > 1000);
        double seconds[2] = { -1, -1 };
        ck_assert_msg(im_sd_time(sd, (im_net)net, 2, 64, 64, 2, seconds), "%s", im_error(c));
        ck_assert(seconds[0] > 0 && seconds[1] > 0);
        ck_assert(im_sd_net_info(sd, (im_net)net, 64, 64, &again));               /* now that it is loaded            */
        ck_assert(again.flop == info.flop && again.ops == info.ops && again.arena_bytes == info.arena_bytes);
    }
    im_sd_args a = im_sd_defaults(sd);
    ck_assert_int_eq(a.width, 64);
    ck_assert_int_eq(im_sd_evaluations(sd, &a), 51);
    a.scheduler = "heun";
    ck_assert_int_eq(im_sd_evaluations(sd, &a), 99);
    ck_assert_str_eq(im_sd_scheduler(sd, &a), "heun");
    size_t one = im_sd_bytes_needed(sd, &a, 1), four = im_sd_bytes_needed(sd, &a, 4);
    ck_assert(one > 0 && four > one);
    im_sd_free(sd);
    im_ctx_free(c);
}
END_TEST

/* A folder and the single file made from it are one model: hash, scheduler, tokenizer, pictures. */
START_TEST(single_file)
{
    char folder_path[256];
    scratch_make(folder_path, sizeof folder_path);
    const char *path = scratch_path(folder_path, "model.safetensors");
    open_context("cpu", 1);
    ck_assert_msg(im_sd_convert(c, models[_i], path, -1, 0, true), "%s", im_error(c));
    im_sd *folder = open_model(models[_i]), *file = open_model(path), *other = open_model(models[(_i + 1) % 3]);
    scratch_remove(folder_path);                               /* what is open stays readable                          */
    ck_assert_int_eq((int)strlen(im_sd_hash(folder)), 64);
    ck_assert_str_eq(im_sd_hash(folder), im_sd_hash(file));
    ck_assert_str_ne(im_sd_hash(folder), im_sd_hash(other));
    im_sd_args a = args_for(folder, 0);
    a.scheduler = NULL;
    picture one = draw(folder, a), two = draw(file, a);
    same("single file", one, two);
    drop(one);
    drop(two);
    im_sd_free(folder);
    im_sd_free(file);
    im_sd_free(other);
    im_ctx_free(c);
}
END_TEST

START_TEST(embedded)
{
    open_context("cpu", 1);
    setenv("IMAGO_WEIGHTS", A, 1);
    im_sd *sd = open_model(NULL);
    ck_assert_int_eq(im_sd_defaults(sd).width, 64);
    im_sd_free(sd);
    unsetenv("IMAGO_WEIGHTS");
    im_ctx_free(c);
}
END_TEST

static void keep_text(void *out, const char *text) { snprintf(out, 2000, "%s", text); }

START_TEST(cut_text_is_quoted)
{
    char warning[2000] = "", prompt[2000] = "";
    open_context("ref", 1);
    im_on_warning(c, keep_text, warning);
    im_sd *sd = open_model(B);
    im_sd_args a = args_for(sd, 0);
    for (int i = 0; i < 40; i++) strcat(prompt, "a castle, ");
    strcat(prompt, "zebra");
    a.prompt = prompt;
    a.guidance = 1;
    a.steps = 1;
    drop(draw(sd, a));
    ck_assert_msg(strstr(warning, "30 tokens") && strstr(warning, "zebra"), "found \"%s\"", warning);
    im_sd_free(sd);
    im_ctx_free(c);
}
END_TEST

/* ---------------------------------------------------------------- stopping and failing */

static int evaluations;
static bool stop_at_two(void *arg, int done, int total)
{
    ck_assert_int_eq(done, evaluations++);                     /* 0 before the first of them                           */
    ck_assert_int_eq(total, 4);
    if (done == 2 && arg) im_cancel(arg);
    return arg || done < 2;
}

START_TEST(stopping)
{
    open_context("cpu", 1);
    im_sd *sd = open_model(A);
    im_sd_args a = args_for(sd, 0);
    im_sd_on_progress(sd, stop_at_two, _i ? c : NULL);
    ck_assert_ptr_null(im_sd_generate(sd, &a));
    ck_assert_int_eq(evaluations, 3);
    ck_assert_str_eq(im_error(c), "stopped");
    im_sd_free(sd);
    im_ctx_free(c);
}
END_TEST

static void fails(im_sd *sd, im_sd_args a, const char *part)
{
    im_image *i = im_sd_generate(sd, &a);
    ck_assert_msg(!i && !im_ok(c), "no error where one with \"%s\" was wanted", part);
    ck_assert_msg(strstr(im_error(c), part), "found \"%s\", wanted \"%s\" in it", im_error(c), part);
    im_clear_error(c);
}

START_TEST(errors)
{
    open_context("cpu", 1);
    im_sd *sd = open_model(A);
    im_sd_args good = args_for(sd, 0), a = good;
    a.width = 100;
    fails(sd, a, "found 100 pixels, wanted a multiple of 8, such as 96 or 104");
    a = good, a.height = 4;
    fails(sd, a, "found 4 pixels, wanted a multiple of 8, such as 8");
    a = good, a.width = -8;
    fails(sd, a, "-8x64");
    a = good, a.width = a.height = 1 << 16;
    fails(sd, a, "ask for a smaller size");
    im_sd *half = im_sd_open(c, A, IM_F16);
    ck_assert(!im_sd_generate(half, &a));
    ck_assert_msg(strstr(im_error(c), "MiB of memory are free") && !strstr(im_error(c), "f16"), "%s", im_error(c));
    im_clear_error(c);
    im_sd_free(half);
    a = good, a.width = a.height = 256;                        /* one fits, many do not: that is what is said         */
    ck_assert(im_sd_check_memory(sd, &a, 1) && !im_sd_check_memory(sd, &a, 100000));
    ck_assert_msg(strstr(im_error(c), "free; make fewer at once (--batch)") && !strstr(im_error(c), "f16"), "%s",
                  im_error(c));
    im_clear_error(c);
    a = good, a.width = a.height = 1024;                       /* the decoder's strips fit, all of it at once does not */
    double whole = (double)im_sd_bytes_needed(sd, &a, 1);
    a.tile = true;
    double tiled = (double)im_sd_bytes_needed(sd, &a, 1), between = (whole + tiled) / 2;
    ck_assert(tiled < 0.95 * whole);
    im_image_free(im_sd_generate(sd, &good));                  /* no weights are still to be loaded                   */
    ck_assert(im_sd_fits(sd, &a, 1, between) && im_sd_fits(sd, &a, 1, -1));
    a.tile = false;
    ck_assert(!im_sd_fits(sd, &a, 1, between));
    ck_assert_msg(strstr(im_error(c), "MiB of memory are free; decode strip by strip (--tile)"), "%s", im_error(c));
    im_clear_error(c);
    a.tile = true;
    ck_assert(!im_sd_fits(sd, &a, 1, tiled / 2) && !strstr(im_error(c), "--tile"));
    im_clear_error(c);
    a = good, a.scheduler = "fast";
    fails(sd, a, "choose one of pndm");
    a = good, a.steps = 0, a.scheduler = "pndm";
    fails(sd, a, "wanted 1 to 999");
    a = good, a.guidance = NAN;
    fails(sd, a, "guidance");
    a = good, a.prompt = NULL;
    fails(sd, a, "has no prompt");
    a = good, a.prompt = "\xff\xfe";
    fails(sd, a, "UTF-8");
    im_image *init = im_image_new(c, 64, 64, 3), *small = im_image_new(c, 7, 64, 3);
    memset(init->pixels, 128, 64 * 64 * 3);
    a = good, a.init = init, a.strength = -0.5f;
    fails(sd, a, "strength");
    a = good, a.init = init, a.strength = 0.1f;
    fails(sd, a, "leaves no step");
    a = good, a.init = small, a.width = a.height = 0;
    fails(sd, a, "has 7x64 pixels; wanted at least 8x8");
    im_image_free(init);
    im_image_free(small);

    ck_assert_ptr_null(im_sd_open(c, "tests/golden/models/absent", IM_F32));
    ck_assert_msg(strstr(im_error(c), "absent"), "%s", im_error(c));
    im_clear_error(c);
    drop(draw(sd, good));                                      /* the model is none the worse                         */
    im_sd_free(sd);
    im_ctx_free(c);
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        LOOP(pictures_of_diffusers, 3), ONCE(ref_draws_it_too), LOOP(alone_or_in_a_batch, 3), ONCE(halves),
        LOOP(any_number_of_threads, 3), LOOP(op_by_op_or_as_a_plan, 2), ONCE(any_isa), ONCE(own_latents), ONCE(trace),
        ONCE(networks), LOOP(single_file, 3), ONCE(embedded), ONCE(cut_text_is_quoted), LOOP(stopping, 2),
        ONCE(errors),
    };
    return suite_run("sd", NULL, NULL, 240, tests, SUITE_COUNT(tests));
}
