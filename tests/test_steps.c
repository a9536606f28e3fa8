/* test_steps.c: steps that stay on the device. The arithmetic of samplers (im_combine) is that of plain f32, bit for bit;
 * im_watch keeps the first code; between the first and the last step of a picture nothing is read back and nobody waits,
 * with every scheduler; a second picture records no plan, and a step after the first asks the device for no memory. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "imago.h"
#include "suite.h"

static im_ctx *c;
#include "want.h"

#define MODEL_A "tests/golden/models/a"
#define SHAPE(...) (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), (int64_t[]){ __VA_ARGS__ }

static const char *const devices[] = { "ref", "cpu", "far" };
enum { DEVICES = sizeof devices / sizeof *devices, N = 2500 };

static void open_context(const char *device)
{
    ck_assert_ptr_nonnull(c = im_ctx_new(device, 2));
    ck_assert_msg(im_ok(c), "%s", im_error(c));
}

static im_tensor *noise(uint64_t seed, float *values)
{
    im_rng *r = im_rng_new(c, IM_RNG_CPU, seed);
    im_randn(r, values, N);
    im_rng_free(r);
    return im_from(c, IM_F32, SHAPE(N), values);
}

static void want_bits(const im_tensor *y, const float *want)
{
    float got[N];
    ck_assert(im_download(c, y, got));
    for (int i = 0; i < N; i++)
        ck_assert_msg(!memcmp(&got[i], &want[i], sizeof *got), "[%d] is %.9g, wanted %.9g", i, (double)got[i],
                      (double)want[i]);
}

START_TEST(sums_of_f32)
{
    open_context(devices[_i]);
    float a[N], b[N], d[N], want[N];
    im_tensor *x = noise(1, a), *y = noise(2, b), *z = noise(3, d), *out = im_new(c, IM_F32, SHAPE(1, N));
    volatile float p, q, r;                                    /* volatile: nothing is fused                           */
    for (int i = 0; i < N; i++) {
        p = 0.3f * a[i], q = -1.7f * b[i], r = 2.9f * d[i];
        p = p + q;
        p = p + r;
        want[i] = p / 0.7f;
    }
    im_combination sum = { .count = 3, .x = { x, y, z }, .w = { 0.3f, -1.7f, 2.9f }, .by = 0.7f, .limit = INFINITY };
    ck_assert_msg(im_combine(c, out, &sum), "%s", im_error(c));
    want_bits(out, want);
    sum.limit = 0.5f;
    for (int i = 0; i < N; i++)
        want[i] = want[i] < -0.5f ? -0.5f : want[i] > 0.5f ? 0.5f : want[i];
    ck_assert(im_combine(c, x, &sum));                         /* in place                                             */
    want_bits(x, want);
    im_tensor *mark = im_new(c, IM_I32, SHAPE(1));
    im_combination copy = { .count = 1, .x = { y }, .w = { 1 }, .by = 1, .limit = INFINITY, .unless = mark };
    ck_assert(im_combine(c, x, &copy));
    want_bits(x, b);
    ck_assert(im_fill(c, mark, 1));
    copy.x[0] = z;
    ck_assert(im_combine(c, x, &copy));                        /* the mark is set: x stays                             */
    want_bits(x, b);
    ck_assert(!im_combine(c, out, &(im_combination){ .count = 7, .by = 1 }));
    WANT_ERROR("combine", "7 terms", "1 to 6");
    ck_assert(!im_combine(c, im_new(c, IM_F32, SHAPE(3)), &copy));
    WANT_ERROR("combine", "wanted 3 contiguous values in f32");
    im_ctx_free(c);
}
END_TEST

START_TEST(first_code_stays)
{
    open_context(devices[_i]);
    float a[N];
    im_tensor *x = noise(1, a), *mark = im_new(c, IM_I32, SHAPE(1));
    ck_assert(im_watch(c, x, 3, mark));
    ck_assert_double_eq(im_item(c, mark), 0);
    a[N - 1] = NAN;
    ck_assert(im_upload(c, x, a) && im_watch(c, im_slice(c, x, 0, 0, N - 1), 4, mark));
    ck_assert_double_eq(im_item(c, mark), 0);
    ck_assert(im_watch(c, x, 5, mark));
    a[N - 1] = 0, a[0] = -INFINITY;
    ck_assert(im_upload(c, x, a) && im_watch(c, x, 6, mark));
    ck_assert_double_eq(im_item(c, mark), 5);
    ck_assert(!im_watch(c, x, 6, x));
    WANT_ERROR("watch", "i32");
    im_ctx_free(c);
}
END_TEST

/* ---------------------------------------------------------------- a picture */

static const char *const schedulers[] = { "pndm", "ddim", "euler", "euler_a", "heun", "lms", "dpmpp_2m", "dpmpp_2m_karras",
                                          "unipc", "ddpm" };
enum { SCHEDULERS = sizeof schedulers / sizeof *schedulers };

static void want_quiet(im_counts before, const char *when)
{
    im_counts now = im_counted(c);
    ck_assert_msg(now.downloads == before.downloads && now.syncs == before.syncs, "%s: %lld downloads, %lld waits", when,
                  (long long)(now.downloads - before.downloads), (long long)(now.syncs - before.syncs));
}

START_TEST(nothing_is_read_between_the_steps)
{
    open_context("cpu");
    im_sd *sd = im_sd_open(c, MODEL_A, IM_F32);
    ck_assert_msg(sd != NULL, "%s", im_error(c));
    im_sd_args a = im_sd_defaults(sd);
    a.prompt = "a castle";
    a.steps = 5;
    a.scheduler = schedulers[_i];
    im_sd_run *r[2] = { im_sd_run_open(sd, &a), NULL };
    a.width *= 2;                                              /* its own evaluation, side by side                     */
    a.guidance = 1;
    ck_assert_msg(r[0] && (r[1] = im_sd_run_open(sd, &a)), "%s", im_error(c));
    ck_assert_msg(im_sd_run_step(r, 2), "%s", im_error(c));
    im_counts before = im_counted(c);
    int total = im_sd_run_total(r[0]);
    ck_assert_int_ge(total, 5);
    while (im_sd_run_done(r[0]) < total - 1)
        ck_assert_msg(im_sd_run_step(r, 2), "%s", im_error(c));
    want_quiet(before, schedulers[_i]);
    ck_assert(im_sd_run_step(r, 2) && im_sd_run_state(r[0]) == IM_SD_FINISHED && im_sd_run_state(r[1]) == IM_SD_FINISHED);
    ck_assert_int_eq(im_counted(c).downloads - before.downloads, 2);           /* was all well? of each picture        */
    for (int i = 0; i < 2; i++) {
        im_image *picture = im_sd_run_image(r[i]);
        ck_assert_msg(picture != NULL, "%s", im_error(c));
        im_image_free(picture);
        im_sd_run_close(r[i]);
    }
    im_sd_free(sd);
    im_ctx_free(c);
}
END_TEST

/* Nor does any later one of that size. */
START_TEST(the_second_picture_records_nothing)
{
    open_context("cpu");
    im_sd *sd = im_sd_open(c, MODEL_A, IM_F32);
    ck_assert_msg(sd != NULL, "%s", im_error(c));
    im_image *init = im_image_new(c, 64, 64, 3), *first[2];
    memset(init->pixels, 90, 64 * 64 * 3);
    im_sd_args a = im_sd_defaults(sd);
    a.steps = 3;
    for (int round = 0; round < 3; round++)
        for (int k = 0; k < 2; k++) {                          /* from noise, and from a picture                       */
            a.prompt = round == 1 ? "a horse" : "a castle";
            a.init = k ? init : NULL;
            im_counts before = im_counted(c);
            im_image *picture = im_sd_generate(sd, &a);
            ck_assert_msg(picture != NULL, "%s", im_error(c));
            int64_t plans = im_counted(c).plans - before.plans;
            ck_assert_msg(round ? plans == 0 : k ? plans > 0 : plans >= 3, "round %d: %lld plans", round,
                          (long long)plans);
            if (!round)
                first[k] = picture;
            if (round == 2)                                    /* other texts in between change nothing                */
                ck_assert_int_eq(memcmp(picture->pixels, first[k]->pixels, 64 * 64 * 3), 0);
            if (round)
                im_image_free(picture);
        }
    im_image_free(first[0]);
    im_image_free(first[1]);
    im_image_free(init);
    im_sd_free(sd);
    im_ctx_free(c);
}
END_TEST

START_TEST(a_step_asks_for_no_memory)
{
    open_context(_i ? "cpu" : "far");
    im_sd *sd = im_sd_open(c, MODEL_A, IM_F32);
    ck_assert_msg(sd != NULL, "%s", im_error(c));
    im_sd_args a = im_sd_defaults(sd);
    a.steps = _i ? 8 : 4;
    im_sd_run *r = im_sd_run_open(sd, &a);
    ck_assert_msg(r && im_sd_run_step(&r, 1), "%s", im_error(c));
    im_counts before = im_counted(c);
    while (im_sd_run_done(r) < im_sd_run_total(r))
        ck_assert_msg(im_sd_run_step(&r, 1), "%s", im_error(c));
    ck_assert_int_eq(im_counted(c).blocks, before.blocks);
    im_sd_run_close(r);
    im_sd_free(sd);
    im_ctx_free(c);
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        LOOP(sums_of_f32, DEVICES), LOOP(first_code_stays, DEVICES), LOOP(nothing_is_read_between_the_steps, SCHEDULERS),
        ONCE(the_second_picture_records_nothing), LOOP(a_step_asks_for_no_memory, 2),
    };
    return suite_run("steps", NULL, NULL, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
