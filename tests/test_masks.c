/* test_masks.c: pictures redrawn under a mask are those of diffusers' StableDiffusionInpaintPipeline
 * (tests/golden/golden_masks.py), with an ordinary UNet and with one of nine inputs; what is refused. */
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/images/resize.h"
#include "imago.h"
#include "models/pipelines/sd.h"
#include "unet_of.h"

enum { LATENTS = 4 * 8 * 8 };

static im_image *init, *mask;

static void open_all(void)
{
    setup();
    init = im_picture_read(c, "tests/golden/init_64x64.png");
    mask = im_picture_read(c, "tests/golden/mask_64x64.png");
    ck_assert(init && mask);
    model_with("tests/golden/inpaint_unet");
}

static void close_all(void)
{
    im_image_free(init);
    im_image_free(mask);
    teardown();
}

static im_sd *open_model(int inputs)
{
    im_sd *sd = im_sd_open(c, inputs == 9 ? folder : A, IM_F32);
    ck_assert_msg(sd != NULL, "%s", im_error(c));
    return sd;
}

static im_sd_args args(im_sd *sd)
{
    im_sd_args a = im_sd_defaults(sd);
    a.prompt = "a photograph of an astronaut riding a horse";
    a.steps = 8;
    a.seed = 42;
    a.init = init;
    a.mask = mask;
    a.width = a.height = 64;
    return a;
}

static float number(const json_t *row, const char *key) { return (float)json_number_value(json_object_get(row, key)); }

/* numerics.md's promise for latents. */
START_TEST(as_diffusers_draws)
{
    im_safetensors *golden = im_st_open(c, "tests/golden/masks.safetensors");
    json_t *file = json_load_file("tests/golden/masks.json", 0, NULL), *row;
    size_t i;
    json_array_foreach(json_object_get(file, "rows"), i, row) {
        im_sd *sd = open_model((int)number(row, "inputs"));
        im_sd_args a = args(sd);
        a.scheduler = json_string_value(json_object_get(row, "scheduler"));
        a.strength = number(row, "strength");
        a.guidance = number(row, "guidance");
        a.mask_blur = number(row, "blur");
        a.eager = i % 2;
        latents_are(sd, a, golden, i);
        im_sd_free(sd);
    }
    ck_assert_int_ge(i, 13);
    json_decref(file);
    im_st_close(golden);
}
END_TEST

/* A batch with and without masks: each picture is the one that it is alone. */
START_TEST(in_a_batch)
{
    for (int inputs = 4; inputs <= 9; inputs += 5) {
        im_sd *sd = open_model(inputs);
        float alone[3][LATENTS], x[3][LATENTS];
        im_sd_args a[3];
        for (int i = 0; i < 3; i++) {
            a[i] = args(sd);
            a[i].scheduler = i ? "ddim" : "euler_a";
            a[i].steps = 4 + i;
            a[i].strength = i == 1 ? 1 : 0.6f;
            if (i == 2 && inputs == 4) a[i].mask = NULL;
            a[i].latents_out = alone[i];
            ck_assert_msg(im_sd_latents_batch(sd, &a[i], 1), "%s", im_error(c));
            a[i].latents_out = x[i];
        }
        ck_assert_msg(im_sd_latents_batch(sd, a, 3), "%s", im_error(c));
        for (int i = 0; i < 3; i++) ck_assert_int_eq(memcmp(alone[i], x[i], sizeof x[i]), 0);
        im_sd_free(sd);
    }
}
END_TEST

static void refused(im_sd *sd, const im_sd_args *a, const char *why)
{
    ck_assert_ptr_null(im_sd_run_open(sd, a));
    ck_assert_msg(strstr(im_error(c), why) != NULL, "%s", im_error(c));
    im_clear_error(c);
}

START_TEST(what_is_refused)
{
    im_sd *sd = open_model(4), *nine = open_model(9);
    im_sd_args a = args(sd), b = args(nine);
    a.init = NULL;
    refused(sd, &a, "a mask needs a picture to redraw");
    a.init = init;
    im_image *other = im_image_new(c, 64, 32, 3), *large = im_resize(c, mask, 128, 128, IM_FILTER_BOX);
    memset(other->pixels, 255, 64 * 32 * 3);
    a.mask = other;
    refused(sd, &a, "the mask has 64x32 pixels and the picture 64x64");
    a.mask = large;
    im_sd_run *run = im_sd_run_open(sd, &a);
    ck_assert_msg(run != NULL, "%s", im_error(c));             /* resized                                              */
    im_sd_run_close(run);
    memset(large->pixels, 100, 128 * 128 * 3);
    refused(sd, &a, "the mask has no white part");
    b.mask = NULL;
    refused(nine, &b, "this is an inpainting model");
    im_image_free(other);
    im_image_free(large);
    im_sd_free(sd);
    im_sd_free(nine);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { ONCE(as_diffusers_draws), ONCE(in_a_batch), ONCE(what_is_refused) };
    return suite_run("masks", open_all, close_all, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
