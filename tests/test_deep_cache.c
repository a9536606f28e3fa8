/* test_deep_cache.c: pictures of which only some evaluations compute all of the UNet (DeepCache): the latents are those of
 * the package DeepCache around diffusers (tests/golden/golden_deep_cache.py), the same bits side by side and in a plan. */
#include <string.h>

#include "unet_of.h"

enum { LATENTS = 4 * 8 * 8 };
static const char UNET[] = "tests/golden/models/a/unet";

static im_sd *open_model(void)
{
    model_with(UNET);
    return open_folder();
}

static void cached(im_sd_args *a, const json_t *row)
{
    a->deep_cache = (int)json_integer_value(json_object_get(row, "interval"));
}

START_TEST(as_the_package_draws)
{
    im_sd *sd = open_model();
    golden_rows(sd, "deep_cache", 3, cached);
    im_sd_free(sd);
}
END_TEST

/* Runs with other intervals and guidances, which go together in some steps and apart in others. */
START_TEST(side_by_side)
{
    enum { N = 4 };
    static const int interval[N] = { 2, 3, 0, 2 };
    static const float guidance[N] = { 4, 7.5f, 4, 1 };
    float alone[N][LATENTS], beside[N][LATENTS];
    im_sd_args a[N];
    im_sd *sd = open_model();
    for (int i = 0; i < N; i++) {
        a[i] = astronaut(sd);
        a[i].steps = 7;
        a[i].scheduler = "ddim";
        a[i].deep_cache = interval[i];
        a[i].guidance = guidance[i];
        a[i].latents_out = alone[i];
        ck_assert_msg(im_sd_latents_batch(sd, &a[i], 1), "%s", im_error(c));
        a[i].latents_out = beside[i];
    }
    ck_assert_msg(im_sd_latents_batch(sd, a, N), "%s", im_error(c));
    ck_assert_int_eq(memcmp(alone, beside, sizeof alone), 0);
    ck_assert(memcmp(alone[0], alone[2], sizeof alone[0]));
    im_sd_free(sd);
}
END_TEST

static void on_row(void *arg, const im_profile_row *row)
{
    int *k = arg;
    k[0] += !strcmp(row->layer, "conv_out.weight");
    k[1] += !strcmp(row->layer, "mid_block.resnets.0.conv1.weight");
}

START_TEST(how_often_all_is_computed)
{
    int k[2] = { 0 };
    float x[LATENTS];
    im_sd *sd = open_model();
    im_sd_args a = astronaut(sd);
    a.scheduler = "ddim";
    a.steps = 7;
    a.deep_cache = 3;
    a.eager = true;
    a.latents_out = x;
    im_on_profile(c, on_row, k);
    ck_assert_msg(im_sd_latents_batch(sd, &a, 1), "%s", im_error(c));
    im_on_profile(c, NULL, NULL);
    ck_assert_int_eq(k[0], 7);
    ck_assert_int_eq(k[1], 3);
    size_t with = im_sd_bytes_needed(sd, &a, 1);
    a.deep_cache = 1;
    ck_assert_uint_gt(with, im_sd_bytes_needed(sd, &a, 1));
    a.deep_cache = -1;
    ck_assert(!im_sd_latents_batch(sd, &a, 1));
    ck_assert_msg(strstr(im_error(c), "deep cache: found -1"), "%s", im_error(c));
    im_sd_free(sd);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { ONCE(as_the_package_draws), ONCE(side_by_side), ONCE(how_often_all_is_computed) };
    return suite_run("deep_cache", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
