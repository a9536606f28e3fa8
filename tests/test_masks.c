/* test_masks.c: pictures redrawn under a mask are those of diffusers' StableDiffusionInpaintPipeline
 * (tests/golden/golden_masks.py), with an ordinary UNet and with one of nine inputs; what is refused. */
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/images/redraw.h"
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
        ck_assert(im_mask_fill_named(json_string_value(json_object_get(row, "fill")), &a.mask_fill));
        a.eager = i % 2;
        latents_are(sd, a, golden, i);
        im_sd_free(sd);
    }
    ck_assert_int_ge(i, 17);
    json_decref(file);
    im_st_close(golden);
}
END_TEST

static bool same(const im_image *a, const im_image *b)
{
    return a && b && a->width == b->width && a->height == b->height
        && !memcmp(a->pixels, b->pixels, 3 * (size_t)a->width * (size_t)a->height);
}

/* Only the masked part: the box, drawn by itself, and put back. */
START_TEST(only_the_part)
{
    im_sd *sd = open_model(4);
    im_sd_args a = args(sd);
    im_image *large = im_picture_read(c, "tests/golden/init_83x70.png"), *white = im_image_new(c, 83, 70, 3);
    im_image *grey = im_image_new(c, 83, 70, 1);
    memset(white->pixels, 0, 3 * 83 * 70);
    memset(grey->pixels, 0, 83 * 70);
    for (int y = 20; y < 40; y++) {
        memset(white->pixels + 3 * (y * 83 + 50), 255, 3 * 20);
        memset(grey->pixels + y * 83 + 50, 255, 20);
    }
    im_box b = { 47, 17, 73, 43 };
    im_image *part = im_cut(c, large, b), *part_mask = im_cut(c, white, b);
    a.init = large;
    a.mask = white;
    a.mask_only = true;
    a.mask_padding = 3;
    a.mask_fill = IM_MASK_FILL;
    a.strength = 0.5f;
    im_image *made = im_sd_generate(sd, &a);
    ck_assert_msg(made != NULL, "%s", im_error(c));
    a.mask_only = false;
    a.init = part;
    a.mask = part_mask;
    im_image *alone = im_sd_generate(sd, &a), *fit = im_fit_over(c, alone, 26, 26);
    im_image *wanted = im_put_back(c, large, grey, fit, b);
    ck_assert(same(made, wanted) && made->width == 83 && !same(made, large));
    im_image *const all[] = { large, white, grey, part, part_mask, made, alone, fit, wanted };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) im_image_free(all[i]);
    im_sd_free(sd);
}
END_TEST

/* Without a size the part has the model's own; the whole has the picture's. */
START_TEST(sizes)
{
    im_sd *sd = open_model(4);
    im_sd_args a = args(sd), own = im_sd_defaults(sd);
    im_image *large = im_resize(c, init, 40, 40, IM_FILTER_BOX);
    a.init = large;
    a.width = a.height = 0;
    a.mask_only = true;
    ck_assert(im_sd_settle_size(sd, &a) && a.width == own.width && a.height == own.height);
    a.width = a.height = 0;
    a.mask_only = false;
    ck_assert(im_sd_settle_size(sd, &a) && a.width == 40 && a.height == 40);
    im_image_free(large);
    im_sd_free(sd);
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
            a[i].mask_only = i == 1;
            a[i].mask_fill = i ? IM_MASK_NOISE : IM_MASK_FILL;
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
    a.mask_only = true;
    refused(sd, &a, "the mask has no white part");
    memset(large->pixels, 0, 128 * 128 * 3);
    refused(sd, &a, "the mask has no white part");
    a.mask_padding = -2;
    refused(sd, &a, "padding of the masked part: found -2");
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
    const suite_test tests[] = { ONCE(as_diffusers_draws), ONCE(only_the_part), ONCE(sizes), ONCE(in_a_batch),
                                  ONCE(what_is_refused) };
    return suite_run("masks", open_all, close_all, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
