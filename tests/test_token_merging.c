/* test_token_merging.c: pictures of which attention at the finest level sees fewer tokens (ToMe): the latents are those of
 * the package tomesd around diffusers (tests/golden/golden_token_merging.py), the same bits side by side and in a plan; how
 * many tokens are left; values in 16 bits; what is counted of its memory. */
#include <string.h>

#include "tensor/tensor.h"
#include "unet_of.h"

#include "models/nets/token_merging.h"

enum { LATENTS = 4 * 8 * 8 };
static const char UNET[] = "tests/golden/models/a/unet";

static im_sd *open_model(void)
{
    model_with(UNET);
    return open_folder();
}

static void merged(im_sd_args *a, const json_t *row)
{
    a->token_merging = (float)json_number_value(json_object_get(row, "ratio"));
    a->width = (int)json_integer_value(json_object_get(row, "width"));
    a->height = (int)json_integer_value(json_object_get(row, "height"));
}

START_TEST(as_the_package_draws)
{
    im_sd *sd = open_model();
    golden_rows(sd, "token_merging", 4, merged);
    im_sd_free(sd);
}
END_TEST

/* Runs with other shares and guidances: only those of one share are evaluated together. */
START_TEST(side_by_side)
{
    enum { N = 4 };
    static const float share[N] = { 0.5f, 0.25f, 0, 0.5f }, guidance[N] = { 4, 7.5f, 4, 1 };
    float alone[N][LATENTS], beside[N][LATENTS];
    im_sd_args a[N];
    im_sd *sd = open_model();
    for (int i = 0; i < N; i++) {
        a[i] = astronaut(sd);
        a[i].steps = 5;
        a[i].scheduler = "ddim";
        a[i].token_merging = share[i];
        a[i].guidance = guidance[i];
        a[i].latents_out = alone[i];
        a[i].deep_cache = i == 3 ? 2 : 0;
        ck_assert_msg(im_sd_latents_batch(sd, &a[i], 1), "%s", im_error(c));
        a[i].latents_out = beside[i];
    }
    ck_assert_msg(im_sd_latents_batch(sd, a, N), "%s", im_error(c));
    ck_assert_int_eq(memcmp(alone, beside, sizeof alone), 0);
    ck_assert(memcmp(alone[0], alone[2], sizeof alone[0]) && memcmp(alone[0], alone[1], sizeof alone[0]));
    im_sd_free(sd);
}
END_TEST

/* x (B, T, C) in f32, held in t. */
static im_tensor *held(im_dtype t, int64_t tokens, int64_t channels, const void *x)
{
    return im_cast(c, im_from(c, IM_F32, 3, (int64_t[]){ 1, tokens, channels }, x), t);
}

/* The values of x, which is held in t. */
static float *values_of(im_tensor *x, im_dtype t)
{
    ck_assert_msg(x != NULL, "%s", im_error(c));
    ck_assert_int_eq(x->dtype, t);
    float *v = im_values(c, im_cast(c, x, IM_F32));
    ck_assert_msg(v != NULL, "%s", im_error(c));
    return v;
}

/* 4 x 6 tokens of 2 channels, all alike but two, which are kept apart from the rest for as long as others can be merged. */
START_TEST(what_is_merged)
{
    im_dtype type = (im_dtype[]){ IM_F32, IM_F16, IM_BF16 }[_i];
    enum { H = 4, W = 6, N = H * W };
    float v[N][2], *row;
    im_scope_push(c);
    for (int i = 0; i < N; i++) {
        v[i][0] = 1;
        v[i][1] = i == 7 || i == 23 ? -1 : 0;
    }
    im_tensor *h = held(type, N, 2, v);
    im_tokens t = im_tokens_match(c, h, H, W, 0.5f);
    ck_assert_int_eq(t.left, 12);
    row = values_of(t.row, IM_F32);
    for (int i = 0; i < N; i++)
        ck_assert_msg((i == 7 || i == 23) ? row[i] < 6 : row[i] >= 0 && row[i] < 12, "token %d is in row %g", i,
                      (double)row[i]);
    ck_assert_float_eq(row[0], 6);                             /* six that are left, then the kept ones               */
    ck_assert_float_eq(row[2], 7);
    ck_assert_float_eq(row[12], 9);
    free(row);
    row = values_of(im_tokens_spread(c, t, im_tokens_merge(c, t, h)), type);
    ck_assert_int_eq(memcmp(row, v, sizeof v), 0);             /* means of what is equal                              */
    free(row);
    ck_assert_int_eq(im_tokens_match(c, h, H, W, 0.9f).left, 6);
    ck_assert_int_eq(im_tokens_match(c, h, H, W, 0.7f).left, N - 16);      /* 24 * 0.7 = 16.8                         */
    ck_assert_ptr_null(im_tokens_match(c, h, 1, N, 0.5f).row);
    ck_assert_ptr_null(im_tokens_match(c, h, H, W, 0).row);
    im_scope_pop(c);
}
END_TEST

/* A square of tokens near the first one, nearest the third: their scores are 1 in 16 bits, and are told apart in f32. */
START_TEST(scores_are_in_f32)
{
    static const float v[4][2] = { { 1, 0 }, { 1, 0x1p-6f }, { 1, 0x1p-7f }, { 1, 0x1p-6f } };
    static const float want[] = { 2, 0, 2, 1 };
    im_scope_push(c);
    float *row = values_of(im_tokens_match(c, held(_i ? IM_BF16 : IM_F16, 4, 2, v), 2, 2, 0.25f).row, IM_F32);
    for (int i = 0; i < 4; i++) ck_assert_float_eq(row[i], want[i]);
    free(row);
    im_scope_pop(c);
}
END_TEST

/* Sums that f16 does not hold, or bf16 only rounded: their means are right. */
START_TEST(means_are_rounded_once)
{
    static const struct { im_dtype t; float x[5], mean; } cases[] = {
        { IM_F16, { 60000, 60000, 60000, 60000, 60000 }, 60000 }, { IM_F16, { 2048, 1, 1, 1, -1 }, 410 },
        { IM_BF16, { 256, 1, 1, 1, 1 }, 52 },
    };
    static const float none[5] = { 0 };
    im_scope_push(c);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        im_tensor *row = im_from(c, IM_F32, 2, (int64_t[]){ 1, 5 }, none);
        float *y = values_of(im_token_merge(c, held(cases[i].t, 5, 1, cases[i].x), row, 1), cases[i].t);
        ck_assert_float_eq(y[0], cases[i].mean);
        free(y);
    }
    im_scope_pop(c);
}
END_TEST

START_TEST(what_is_asked)
{
    im_sd *sd = open_model();
    im_sd_args a = astronaut(sd);
    float x[LATENTS];
    a.width = a.height = 512;
    size_t large = im_sd_bytes_needed(sd, &a, 1);
    a.token_merging = 0.5f;
    ck_assert_uint_gt(im_sd_bytes_needed(sd, &a, 1), large);   /* scores of 4096 tokens with 1024 beside 16 channels  */
    a.width = a.height = 64;
    a.latents_out = x;
    a.token_merging = 0.95f;
    ck_assert(!im_sd_latents_batch(sd, &a, 1));
    ck_assert_msg(strstr(im_error(c), "token merging: found 0.95, wanted 0 (none) to 0.9"), "%s", im_error(c));
    im_sd_free(sd);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { ONCE(as_the_package_draws), ONCE(side_by_side), LOOP(what_is_merged, 3),
                                 LOOP(scores_are_in_f32, 2), ONCE(means_are_rounded_once), ONCE(what_is_asked) };
    return suite_run("token_merging", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
