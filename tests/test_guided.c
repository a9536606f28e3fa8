/* test_guided.c: how many samples an evaluation has, and UNets that are told the guidance (time_cond_proj_dim): their
 * pictures are those of diffusers (tests/golden/golden_guided.py). */
#include <math.h>
#include <string.h>

#include "unet_of.h"

enum { LATENTS = 4 * 8 * 8 };

/* numerics.md's promise for latents; every second picture by a plan. */
static void negative(im_sd_args *a, const json_t *row)
{
    a->negative = json_string_value(json_object_get(row, "negative"));
}

START_TEST(as_diffusers_draws)
{
    model_with("tests/golden/guided_unet");
    im_sd *sd = open_folder();
    golden_rows(sd, "guided", 4, negative);
    im_sd_free(sd);
}
END_TEST

/* Pictures of other guidances side by side are those that they are alone. */
START_TEST(told_side_by_side)
{
    enum { N = 3 };
    static const float guidance[N] = { 1, 4, 0.5f };
    float alone[N][LATENTS], beside[N][LATENTS];
    im_sd_args a[N];
    model_with("tests/golden/guided_unet");
    im_sd *sd = open_folder();
    for (int i = 0; i < N; i++) {
        a[i] = astronaut(sd);
        a[i].steps = 2;
        a[i].guidance = guidance[i];
        a[i].latents_out = alone[i];
        ck_assert_msg(im_sd_latents_batch(sd, &a[i], 1), "%s", im_error(c));
        a[i].latents_out = beside[i];
    }
    ck_assert_msg(im_sd_latents_batch(sd, a, N), "%s", im_error(c));
    ck_assert_int_eq(memcmp(alone, beside, sizeof alone), 0);
    ck_assert(memcmp(alone[0], alone[1], sizeof alone[0]) && memcmp(alone[0], alone[2], sizeof alone[0]));
    im_sd_free(sd);
}
END_TEST

/* ---------------------------------------------------------------- how much is computed */

typedef struct count { int64_t rows; int evaluations; } count;

/* The UNet's last convolution: its samples. */
static void on_row(void *arg, const im_profile_row *row)
{
    count *k = arg;
    if (strcmp(row->layer, "conv_out.weight")) return;
    k->rows += row->out->shape[0];
    k->evaluations++;
}

/* diffusers: do_classifier_free_guidance = guidance_scale > 1 and unet.config.time_cond_proj_dim is None. */
START_TEST(half_the_work_without_guidance)
{
    static const struct { const char *unet; float guidance; int rows; } cases[] = {
        { "tests/golden/models/a/unet", 7.5f, 2 }, { "tests/golden/models/a/unet", 1.5f, 2 },
        { "tests/golden/models/a/unet", 1, 1 }, { "tests/golden/models/a/unet", 0, 1 },
        { "tests/golden/models/a/unet", -3, 1 },
        { "tests/golden/guided_unet", 8.5f, 1 }, { "tests/golden/guided_unet", 1, 1 },
    };
    enum { STEPS = 3 };
    const int i = _i;
    count k = { 0 };
    float x[LATENTS];
    model_with(cases[i].unet);
    im_sd *sd = open_folder();
    im_sd_args a = astronaut(sd);
    a.scheduler = "ddim";
    a.steps = STEPS;
    a.guidance = cases[i].guidance;
    a.eager = true;
    a.latents_out = x;
    im_on_profile(c, on_row, &k);
    ck_assert_msg(im_sd_latents_batch(sd, &a, 1), "%s", im_error(c));
    im_on_profile(c, NULL, NULL);
    ck_assert_int_eq(k.evaluations, STEPS);
    ck_assert_int_eq(k.rows, STEPS * cases[i].rows);
    ck_assert_int_eq(im_sd_guided(sd, &a), cases[i].rows == 2);
    im_sd_free(sd);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { ONCE(as_diffusers_draws), ONCE(told_side_by_side),
                                 LOOP(half_the_work_without_guidance, 7) };
    return suite_run("guided", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
