/* test_sd_run.c: generation in steps. Runs that are stepped together, begin late or are cancelled leave the others the bits
 * that they have alone; previews look like the picture. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "imago.h"
#include "models/pipelines/preview.h"
#include "models/pipelines/sd.h"
#include "suite.h"

static const char A[] = "tests/golden/models/a", B[] = "tests/golden/models/b", SMALL[] = "weights/imago-small";

static im_ctx *c;

static im_sd *open_model_on(const char *device, const char *path)
{
    ck_assert_ptr_nonnull(c = im_ctx_new(device, 1));
    im_sd *sd = im_sd_open(c, path, IM_F32);
    ck_assert_msg(sd != NULL, "%s: %s", path, im_error(c));
    return sd;
}

static im_sd *open_model(const char *path)
{
    return open_model_on("cpu", path);
}

static void close_model(im_sd *sd)
{
    im_sd_free(sd);
    im_ctx_free(c);
}

static im_sd_args request(const im_sd *sd, int i)
{
    static const struct { const char *prompt, *scheduler; int steps, extra; float guidance; } all[] = {
        { "a cat", "ddim", 6, 0, 7.5f }, { "a red dog", "euler_a", 4, 0, 3 }, { "", "dpmpp_2m", 5, 1, 1 },
        { "a house", "pndm", 4, 0, 2 },
    };
    im_sd_args a = im_sd_defaults(sd);
    a.prompt = all[i].prompt;
    a.scheduler = all[i].scheduler;
    a.steps = all[i].steps;
    a.guidance = all[i].guidance;
    a.seed = 10 + (uint64_t)i;
    if (all[i].extra) a.width *= 2;                            /* another size: an evaluation of its own              */
    return a;
}

static void same_picture(const im_image *a, const im_image *b, int i)
{
    ck_assert_msg(a && b, "run %d: %s", i, im_error(c));
    ck_assert_int_eq(a->width, b->width);
    ck_assert_int_eq(a->height, b->height);
    ck_assert_msg(!memcmp(a->pixels, b->pixels, (size_t)a->width * (size_t)a->height * 3), "run %d: other pixels", i);
}

static void is_that_of_one_call(im_sd *sd, im_sd_run *r, int i)
{
    im_sd_args a = request(sd, i);
    ck_assert_msg(im_sd_run_state(r) == IM_SD_FINISHED, "run %d: %s", i, im_sd_run_error(r));
    im_image *stepped = im_sd_run_image(r), *whole = im_sd_generate(sd, &a);
    same_picture(stepped, whole, i);
    im_image_free(stepped);
    im_image_free(whole);
}

/* Number i joins after i steps of the first: at every step other runs share an evaluation. */
START_TEST(late_runs_have_the_same_bits)
{
    im_sd *sd = open_model(A);
    im_sd_run *r[4] = { 0 };
    int opened = 0;
    bool more = true;
    while (opened < 4 || more) {
        if (opened < 4) {
            im_sd_args a = request(sd, opened);
            ck_assert_msg((r[opened++] = im_sd_run_open(sd, &a)) != NULL, "%s", im_error(c));
        }
        more = im_sd_run_step(r, 4);
    }
    ck_assert_msg(im_ok(c), "%s", im_error(c));
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(im_sd_run_done(r[i]), im_sd_run_total(r[i]));
        is_that_of_one_call(sd, r[i], i);
        im_sd_run_close(r[i]);
    }
    close_model(sd);
}
END_TEST

START_TEST(cancelling_one_leaves_the_others)
{
    im_sd *sd = open_model(A);
    im_sd_run *r[3];
    for (int i = 0; i < 3; i++) {
        im_sd_args a = request(sd, i);
        ck_assert_msg((r[i] = im_sd_run_open(sd, &a)) != NULL, "%s", im_error(c));
    }
    ck_assert(im_sd_run_step(r, 3) && im_sd_run_step(r, 3));
    im_sd_run_cancel(r[1]);
    ck_assert_int_eq(im_sd_run_state(r[1]), IM_SD_CANCELLED);
    while (im_sd_run_step(r, 3)) ;
    ck_assert_msg(im_ok(c), "%s", im_error(c));
    ck_assert_int_eq(im_sd_run_done(r[1]), 2);
    is_that_of_one_call(sd, r[0], 0);
    is_that_of_one_call(sd, r[2], 2);
    im_sd_run_close(r[1]);
    im_sd_args a = request(sd, 1);                             /* context and model are as they were                  */
    r[1] = im_sd_run_open(sd, &a);
    while (im_sd_run_step(&r[1], 1)) ;
    is_that_of_one_call(sd, r[1], 1);
    for (int i = 0; i < 3; i++) im_sd_run_close(r[i]);
    close_model(sd);
}
END_TEST

/* Everything is refused in words, and a run that was closed early harms nothing. */
START_TEST(too_early)
{
    static const struct { int which; const char *words; } wanted[] = {
        { 0, "has not begun has no latents yet" }, { 1, "a preview was asked for before" },
        { 2, "after 0 of 6 steps; step the run to its end, or ask for a preview" },
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        im_sd *sd = open_model(A);
        im_sd_args a = request(sd, 0);
        im_sd_run *r = im_sd_run_open(sd, &a);
        float x[4 * 64 * 64];
        if (wanted[i].which == 0) ck_assert(!im_sd_run_latents(r, x));
        if (wanted[i].which == 1) ck_assert_ptr_null(im_sd_run_preview(r));
        if (wanted[i].which == 2) ck_assert_ptr_null(im_sd_run_image(r));
        ck_assert_msg(strstr(im_error(c), wanted[i].words) != NULL, "found: %s", im_error(c));
        im_sd_run_close(r);
        close_model(sd);
    }
}
END_TEST

START_TEST(two_models_are_not_mixed)
{
    im_sd *sd = open_model(A), *other = im_sd_open(c, B, IM_F32);
    im_sd_args a = request(sd, 0), b = request(other, 0);
    im_sd_run *r[] = { im_sd_run_open(sd, &a), im_sd_run_open(other, &b) };
    ck_assert(r[0] && r[1] && !im_sd_run_step(r, 2));
    ck_assert_str_eq(im_error(c), "runs of two models cannot be stepped together");
    im_sd_run_close(r[0]);
    im_sd_run_close(r[1]);
    im_sd_free(other);
    close_model(sd);
}
END_TEST

/* ---------------------------------------------------------------- previews */

/* The mean square of (picture, averaged over what a pixel of p stands for) - (p, or all of it one grey: flat). */
static double error_of(const im_image *picture, const im_image *p, bool flat)
{
    int f = picture->width / p->width;
    double sum = 0, mean = 0;
    size_t n = (size_t)p->width * (size_t)p->height * 3;
    for (int pass = flat ? 0 : 1; pass < 2; pass++, sum = pass == 1 ? 0 : sum)
        for (size_t i = 0; i < n; i++) {
            int x = (int)(i / 3) % p->width, y = (int)(i / 3) / p->width;
            double square = 0;
            for (int k = 0; k < f * f; k++)
                square += picture->pixels[3 * ((y * f + k / f) * picture->width + x * f + k % f) + (int)(i % 3)];
            square /= f * f;
            double off = square - (flat ? mean : p->pixels[i]);
            if (pass == 0) mean += square / (double)n;
            else sum += off * off;
        }
    return sum / (double)n;
}

/* What remains is detail and white, at which decoders saturate: of the variance of 24 pictures of this model the best
 * linear map for just these pictures leaves 31 %, this one 34 %. */
START_TEST(previews_look_like_the_picture)
{
    im_sd *sd = open_model(SMALL);
    im_sd_args a = im_sd_defaults(sd);
    a.prompt = "strawberry";
    a.seed = 1;
    a.steps = 20;
    a.guidance = 4;
    im_sd_run *r = im_sd_run_open(sd, &a);
    double early = 0;
    ck_assert(im_sd_run_begin(&r, 1));
    im_image *first = im_sd_run_preview(r);
    ck_assert_msg(first != NULL, "%s", im_error(c));
    im_image_free(first);
    ck_assert(im_sd_run_step(&r, 1));
    im_image *p = im_sd_run_preview(r), *half = NULL;
    while (im_sd_run_step(&r, 1))
        if (im_sd_run_done(r) == 10) half = im_sd_run_preview(r);
    im_image *last = im_sd_run_preview(r), *picture = im_sd_run_image(r);
    ck_assert_msg(p && half && last && picture, "%s", im_error(c));
    ck_assert_int_eq(last->width, picture->width / 4);
    early = error_of(picture, p, false);
    double middle = error_of(picture, half, false), end = error_of(picture, last, false);
    double grey = error_of(picture, last, true);
    ck_assert_msg(end < grey / 3, "the last preview is off by %.1f levels squared; one grey by %.1f", end, grey);
    ck_assert_msg(end < middle && middle < early, "off by %.1f, %.1f, %.1f", early, middle, end);
    im_image_free(p);
    im_image_free(half);
    im_image_free(last);
    im_image_free(picture);
    im_sd_run_close(r);
    close_model(sd);
}
END_TEST

/* weights/imago-small/vae/preview.json is what im_preview_fit makes of its autoencoder. */
START_TEST(the_embedded_map_is_a_fit)
{
    im_sd *sd = open_model(SMALL);
    ck_assert(im_sd_need(sd, IM_NET_VAE_ENCODER));
    int channels = sd->config->vae.latent_channels;
    float *map = im_preview_fit(c, sd->nets.vae, &sd->config->vae);
    ck_assert_msg(map != NULL, "%s", im_error(c));
    char *path = im_join(c, SMALL, IM_PREVIEW_FILE), *text = im_read_file(c, path, 1 << 20, NULL);
    float *there = text ? im_preview_read(c, path, text, channels) : NULL;
    char *fresh = im_preview_text(c, map, channels);
    ck_assert_msg(there != NULL, "%s; a fresh fit is\n%s", im_error(c), fresh);
    for (int i = 0; i < 3 * (channels + 1); i++)               /* other instruction sets round otherwise              */
        ck_assert_msg(fabsf(map[i] - there[i]) < 1e-4f, "value %d of %s is %g; a fresh fit is\n%s", i, path,
                      (double)there[i], fresh);
    free(fresh);
    free(text);
    free(path);
    free(there);
    free(map);
    close_model(sd);
}
END_TEST

/* A model without the file: its map is fitted when it is needed, in the middle of a run whose bits stay. On "far", too:
 * latents are downloaded for it. */
START_TEST(previews_change_no_bit)
{
    im_sd *sd = open_model_on(_i ? "far" : "cpu", A);
    im_sd_args a = request(sd, 0);
    im_sd_run *r = im_sd_run_open(sd, &a);
    while (im_sd_run_step(&r, 1)) {
        im_image *p = im_sd_run_preview(r);
        ck_assert_msg(p != NULL, "%s", im_error(c));
        im_image_free(p);
    }
    is_that_of_one_call(sd, r, 0);
    im_sd_run_close(r);
    close_model(sd);
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(late_runs_have_the_same_bits), ONCE(cancelling_one_leaves_the_others), ONCE(too_early),
        ONCE(two_models_are_not_mixed), ONCE(previews_look_like_the_picture), ONCE(the_embedded_map_is_a_fit),
        LOOP(previews_change_no_bit, 2),
    };
    return suite_run("sd_run", NULL, NULL, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
