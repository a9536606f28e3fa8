/* test_vae_tiny.c: a tiny autoencoder is diffusers' AutoencoderTiny (tests/golden/golden_tiny.py): both halves, and
 * pictures of a model with it; the embedded model's own is like its large one. Files of other kinds: tests/cli/vae.sh. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "data/files/file.h"
#include "data/files/safetensors.h"
#include "golden_tensors.h"
#include "models/checkpoints/vae_file.h"
#include "models/pipelines/sd.h"

static const char FOLDER[] = "tests/golden/tiny_vae";
static const char A[] = "tests/golden/models/a";
static im_safetensors *golden;

static void open_all(void)
{
    setup();
    golden = golden_tensors(c, "tests/golden/tiny.safetensors.gz");
}

static void close_all(void)
{
    im_st_close(golden);
    teardown();
}

static const im_st_entry *find(const char *kind, int h, int w, const char *part)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%dx%d.%s", kind, h, w, part);
    const im_st_entry *e = im_st_find(golden, name);
    ck_assert_msg(e != NULL, "%s is missing", name);
    return e;
}

/* (1, C, H, W) of the file -> (1, H, W, C) */
static im_tensor *input(const im_st_entry *e)
{
    int64_t pixels = e->shape[2] * e->shape[3];
    float *v = malloc((size_t)(pixels * e->shape[1]) * sizeof *v);
    im_to_channels_last(e->data, (int)e->shape[1], pixels, v);
    im_tensor *t = im_from(c, IM_F32, 4, (int64_t[]){ 1, e->shape[2], e->shape[3], e->shape[1] }, v);
    free(v);
    return t;
}

/* Relative to the largest: f32 sums of a few hundred terms, through up to a dozen layers. */
static void near(const im_tensor *y, const im_st_entry *e, double tolerance)
{
    float *v = im_values(c, y);
    ck_assert_msg(v && im_numel(y) == im_st_numel(e), "%s: %s", e->name, im_error(c));
    int64_t pixels = e->shape[2] * e->shape[3];
    double worst = 0, size = 0;
    for (int64_t k = 0; k < e->shape[1]; k++)
        for (int64_t p = 0; p < pixels; p++) {
            double wanted = (double)((const float *)e->data)[k * pixels + p];
            worst = fmax(worst, fabs((double)v[p * e->shape[1] + k] - wanted));
            size = fmax(size, fabs(wanted));
        }
    ck_assert_msg(worst <= tolerance * size, "%s: off by %g of %g", e->name, worst, size);
    free(v);
}

static void outputs(const char *device, im_dtype activations, double tolerance)
{
    im_ctx_free(c);
    c = im_ctx_new(device, 2);
    im_vae_config cfg;
    im_vae *m = im_vae_any_open(c, FOLDER, &cfg, false);
    ck_assert_msg(m != NULL, "%s", im_error(c));
    ck_assert(im_vae_factor(&cfg) == 8 && cfg.scaling_factor == 0.75f && im_vae_moments(&cfg) == 4);
    im_vae_params(m, IM_VAE_DECODER)->activations = im_vae_params(m, IM_VAE_ENCODER)->activations = activations;
    im_scope_push(c);
    for (int i = 0; i < 2; i++) {
        int h = i ? 5 : 8, w = i ? 7 : 8;
        near(im_vae_decode(c, m, input(find("decode", h, w, "z"))), find("decode", h, w, "out"), tolerance);
        near(im_vae_encode(c, m, input(find("encode", h, w, "x"))), find("encode", h, w, "out"), tolerance);
    }
    im_scope_pop(c);
    im_vae_free(m);
}

START_TEST(on_ref) { outputs("ref", IM_F32, 2e-6); } END_TEST
START_TEST(on_cpu) { outputs("cpu", IM_F32, 2e-5); } END_TEST          /* Winograd                                       */
START_TEST(in_halves) { outputs("cpu", IM_F16, 1e-2); } END_TEST       /* 11 bits a value, a dozen layers                */

/* ---------------------------------------------------------------- pictures */

static im_sd *with_tiny(const char *vae)
{
    im_sd *sd = im_sd_open(c, A, IM_F32);
    ck_assert_msg(sd && im_sd_use_vae(sd, vae), "%s", im_error(c));
    return sd;
}

static void latents(im_sd *sd, im_sd_args a, const char *name)
{
    enum { LATENTS = 4 * 8 * 8 };
    float x[LATENTS];
    double worst = 0;
    a.latents_out = x;
    ck_assert_msg(im_sd_latents_batch(sd, &a, 1), "%s", im_error(c));
    const im_st_entry *e = im_st_find(golden, name);
    for (int k = 0; k < LATENTS; k++) worst = fmax(worst, fabs((double)x[k] - (double)((const float *)e->data)[k]));
    ck_assert_msg(worst <= 1e-3, "%s: latents are off by %g", name, worst);
}

/* No draw for a distribution that there is not: the noise is the first of the seed. */
START_TEST(from_pictures)
{
    im_sd *sd = with_tiny(FOLDER);
    im_sd_args a = im_sd_defaults(sd);
    im_image *init = im_picture_read(c, "tests/golden/init_64x64.png");
    im_image *mask = im_picture_read(c, "tests/golden/mask_64x64.png");
    a.prompt = "a photograph of an astronaut riding a horse";
    a.steps = 8;
    a.seed = 42;
    a.strength = 0.6f;
    a.scheduler = "ddim";
    a.init = init;
    a.width = a.height = 64;
    latents(sd, a, "latents.image");
    im_image *drawn = im_sd_generate(sd, &a);
    const im_st_entry *e = im_st_find(golden, "picture.image");
    int worst = 0;
    for (size_t k = 0; k < e->bytes; k++) {
        int d = abs(drawn->pixels[k] - ((const uint8_t *)e->data)[k]);
        worst = d > worst ? d : worst;
    }
    ck_assert_int_le(worst, 1);
    a.mask = mask;
    latents(sd, a, "latents.mask");
    im_sd_run *r = im_sd_run_open(sd, &a);
    ck_assert(im_sd_run_begin(&r, 1) && im_sd_run_step(&r, 1));
    im_image *preview = im_sd_run_preview(r);
    ck_assert_msg(preview && preview->width == 8, "%s", im_error(c));
    im_sd_run_close(r);
    im_image_free(preview);
    im_image_free(drawn);
    im_image_free(init);
    im_image_free(mask);
    im_sd_free(sd);
}
END_TEST

static double psnr(const im_image *a, const im_image *b)
{
    double sum = 0;
    int n = a->width * a->height * 3;
    for (int i = 0; i < n; i++) sum += pow(a->pixels[i] - b->pixels[i], 2);
    return 10 * log10(255.0 * 255 * n / fmax(sum, 1));
}

/* "--vae tiny": drawn from noise, and from a picture, which its encoder reads. 24 pictures of 50 steps have 23.5 dB or more
 * (bench/results/2026-11-30-zen5-tiny-decoder.csv); this one, of 12 steps, 20.1 and 19.7. */
START_TEST(the_embedded_ones_own)
{
    im_sd *sd[2] = { im_sd_open(c, NULL, IM_F32), im_sd_open(c, NULL, IM_F32) };
    ck_assert_msg(im_sd_use_vae(sd[1], "tiny"), "%s", im_error(c));
    im_image *x[2] = { NULL }, *y[2] = { NULL };
    for (int i = 0; i < 2; i++) {
        im_sd_args a = im_sd_defaults(sd[i]);
        a.prompt = "strawberry";
        a.steps = 12;
        a.guidance = 5;
        a.seed = 7;
        ck_assert_msg((x[i] = im_sd_generate(sd[i], &a)) != NULL, "%s", im_error(c));
        a.init = x[0];
        a.strength = 0.3f;
        ck_assert_msg((y[i] = im_sd_generate(sd[i], &a)) != NULL, "%s", im_error(c));
    }
    ck_assert_msg(psnr(x[0], x[1]) > 18 && psnr(x[0], x[1]) < 60, "PSNR is %.1f dB", psnr(x[0], x[1]));
    ck_assert_msg(psnr(y[0], y[1]) > 17, "PSNR from a picture is %.1f dB", psnr(y[0], y[1]));
    for (int i = 0; i < 2; i++) {
        im_image_free(x[i]);
        im_image_free(y[i]);
        im_sd_free(sd[i]);
    }
}
END_TEST

int main(void)
{
    const suite_test tests[] = { ONCE(on_ref), ONCE(on_cpu), ONCE(in_halves), ONCE(from_pictures),
                                 ONCE(the_embedded_ones_own) };
    return suite_run("vae_tiny", open_all, close_all, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
