/* test_augment.c: crops, colours and blurs against Pillow and torchvision (tests/golden/augment.json.gz), draws,
 * streams, and how far a picture shrunk by the decoder moves a crop.
 *
 *     test_augment --bench [JPEG]      times of one picture through the recipes, beside bench/rivals/torch_augment.py */
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "data/images/augment.h"
#include "data/images/blur.h"
#include "data/images/colour.h"
#include "data/files/file.h"
#include "data/images/picture.h"
#include "data/files/sha256.h"
#include "data/files/stream.h"
#include "golden_json.h"
#include "imago.h"
#include "scratch.h"
#include "suite.h"

static im_ctx *c;
static im_crop_scratch *room;

static void setup(void)
{
    c = im_ctx_new("ref", 1);
    room = im_crop_scratch_new();
}

static void teardown(void)
{
    im_ctx_free(c);
    im_crop_scratch_free(room);
}

static im_image *noise(int width, int height)
{
    im_image *i = im_image_new(c, width, height, 3);
    ck_assert_ptr_nonnull(i);
    uint32_t state = 1;
    for (size_t k = 0; k < (size_t)width * (size_t)height * 3; k++) {
        state = state * 1664525 + 1013904223;
        i->pixels[k] = (uint8_t)(state >> 24);
    }
    return i;
}

static void check_sha(const void *bytes, size_t n, const json_t *row)
{
    char got[65];
    ck_assert(im_sha256_of(c, bytes, n, got));
    char *what = json_dumps(row, JSON_COMPACT);
    ck_assert_msg(!strcmp(got, json_string_value(json_object_get(row, "sha256"))), "differs from Pillow: %.400s", what);
    free(what);
}

static const char *text_of(const json_t *row, const char *key) { return json_string_value(json_object_get(row, key)); }
static double real_of(const json_t *row, const char *key) { return json_number_value(json_object_get(row, key)); }
static int int_of(const json_t *row, const char *key) { return (int)real_of(row, key); }
static double item(const json_t *row, const char *key, size_t i)
{
    return json_number_value(json_array_get(json_object_get(row, key), i));
}

/* Calls fn for every row of the kind; there must be `want` of them. */
static void each_row(const char *kind, int want, void (*fn)(const json_t *row))
{
    json_t *j = golden_json("tests/golden/augment.json.gz"), *row;
    size_t i;
    int seen = 0;
    json_array_foreach(json_object_get(j, "rows"), i, row)
        if (!strcmp(text_of(row, "kind"), kind)) {
            fn(row);
            seen++;
        }
    ck_assert_int_eq(seen, want);
    json_decref(j);
}

/* ---------------------------------------------------------------- values of Pillow and torchvision */

static void check_crop(const json_t *row)
{
    im_image *src = noise((int)item(row, "from", 0), (int)item(row, "from", 1));
    int size = int_of(row, "size"), solarize = int_of(row, "solarize");
    im_recipe r = { .name = "test", .random = true, .kinds = 1, .crop = { { .size = size, .count = 1 } } };
    r.crop[0].filter = strcmp(text_of(row, "filter"), "bicubic") ? IM_FILTER_BILINEAR : IM_FILTER_BICUBIC;
    im_draw d = { .width = src->width, .height = src->height, .x = (int)item(row, "box", 0),
                  .y = (int)item(row, "box", 1), .w = (int)item(row, "box", 2), .h = (int)item(row, "box", 3),
                  .resize_w = size, .resize_h = size, .flip = json_is_true(json_object_get(row, "flip")),
                  .jitters = (int)json_array_size(json_object_get(row, "order")),
                  .grey = json_is_true(json_object_get(row, "grey")), .sigma = (float)real_of(row, "sigma"),
                  .solarize = solarize >= 0, .solarize_threshold = solarize };
    for (size_t i = 0; i < 4; i++) {
        d.order[i] = (uint8_t)item(row, "order", i);
        d.factor[i] = (float)item(row, "factor", i);
    }
    size_t n = 3 * (size_t)size * (size_t)size;
    uint8_t *out = malloc(n + 16);
    memset(out, 0xa5, n + 16);
    ck_assert_msg(im_augment_apply(c, room, src, &r, 0, &d, out), "%s", im_error(c));
    check_sha(out, n, row);
    for (size_t i = n; i < n + 16; i++) ck_assert_int_eq(out[i], 0xa5);
    free(out);
    im_image_free(src);
}

START_TEST(golden_crops) { each_row("crop", 127, check_crop); }
END_TEST

static void check_none(const json_t *row)
{
    im_image *src = noise((int)item(row, "from", 0), (int)item(row, "from", 1));
    im_recipe r;
    im_draw d;
    int size = int_of(row, "size");
    size_t n = 3 * (size_t)size * (size_t)size;
    uint8_t *out = malloc(n);
    ck_assert(im_recipe_named(c, "none", size, &r));
    im_augment_draw(&r, 0, src->width, src->height, 1, 2, 3, &d);
    ck_assert_msg(im_augment_apply(c, room, src, &r, 0, &d, out), "%s", im_error(c));
    check_sha(out, n, row);
    free(out);
    im_image_free(src);
}

START_TEST(golden_none) { each_row("none", 36, check_none); }
END_TEST

static void check_box(const json_t *row)
{
    double u[IM_BOX_DRAWS];
    im_crop_recipe k = { .scale_lo = (float)item(row, "scale", 0), .scale_hi = (float)item(row, "scale", 1),
                         .ratio_lo = 3.0f / 4, .ratio_hi = 4.0f / 3 };
    for (size_t i = 0; i < IM_BOX_DRAWS; i++) u[i] = item(row, "u", i);
    int box[4], w = (int)item(row, "from", 0), h = (int)item(row, "from", 1);
    im_random_box(&k, w, h, u, box);
    for (size_t i = 0; i < 4; i++)
        ck_assert_msg(box[i] == (int)item(row, "box", i), "%dx%d: box[%zu] is %d, torchvision has %d", w, h, i, box[i],
                      (int)item(row, "box", i));
}

START_TEST(golden_boxes) { each_row("box", 132, check_box); }
END_TEST

/* All 2^24 colours through fn, piece by piece; pieces of 1000 leave ends that are no whole vectors. */
static void check_every_colour(const json_t *row, void (*fn)(im_planes x, const json_t *row))
{
    size_t all = 1 << 24, step = 1000;
    uint8_t *rgb = malloc(3 * all), *p[3] = { malloc(step), malloc(step), malloc(step) };
    for (size_t i = 0; i < all; i++) {
        rgb[3 * i] = (uint8_t)i;
        rgb[3 * i + 1] = (uint8_t)(i >> 8);
        rgb[3 * i + 2] = (uint8_t)(i >> 16);
    }
    for (size_t at = 0; at < all; at += step) {
        im_planes x = { .p = { p[0], p[1], p[2] }, .n = all - at < step ? all - at : step };
        im_split_rgb(rgb + 3 * at, x);
        fn(x, row);
        im_join_rgb(x, rgb + 3 * at);
    }
    check_sha(rgb, 3 * all, row);
    for (int k = 0; k < 3; k++) free(p[k]);
    free(rgb);
}

static void do_hue(im_planes x, const json_t *row) { im_shift_hue(x, (uint8_t)int_of(row, "shift")); }
static void do_saturation(im_planes x, const json_t *row) { im_blend_luma(x, (float)real_of(row, "factor")); }
static void do_grey(im_planes x, const json_t *row)
{
    (void)row;
    im_grey(x);
}
static void check_hue(const json_t *row) { check_every_colour(row, do_hue); }
static void check_saturation(const json_t *row) { check_every_colour(row, do_saturation); }
static void check_grey(const json_t *row) { check_every_colour(row, do_grey); }

START_TEST(golden_every_colour)
{
    each_row("hue", 5, check_hue);
    each_row("saturation", 2, check_saturation);
    each_row("grey", 1, check_grey);
}
END_TEST

static void check_blur(const json_t *row)
{
    im_image *src = noise((int)item(row, "from", 0), (int)item(row, "from", 1));
    float sigma = (float)real_of(row, "sigma");
    size_t n = (size_t)src->width * (size_t)src->height;
    uint8_t *planes = malloc(3 * n), *scratch = malloc(im_blur_bytes(src->width, src->height, sigma));
    im_planes x = { .p = { planes, planes + n, planes + 2 * n }, .n = n };
    im_split_rgb(src->pixels, x);
    for (int k = 0; k < 3; k++) im_blur(x.p[k], src->width, src->height, sigma, scratch);
    im_join_rgb(x, src->pixels);
    check_sha(src->pixels, 3 * n, row);
    free(scratch);
    free(planes);
    im_image_free(src);
}

START_TEST(golden_blurs) { each_row("blur", 48, check_blur); }
END_TEST

static void check_normalise(const json_t *row)
{
    const char *hex = text_of(row, "f32");
    uint8_t rgb[768];
    float out[768];
    for (int i = 0; i < 768; i++) rgb[i] = (uint8_t)(i / 3);
    for (int64_t pixels = 256; pixels > 240; pixels--) {       /* ends that are no whole vectors                      */
        memset(out, 0, sizeof out);
        im_normalise(rgb, pixels, out);
        for (int i = 0; i < 3 * pixels; i++) {
            uint32_t want = 0, got;
            memcpy(&got, &out[i], 4);
            for (int b = 3; b >= 0; b--) {
                unsigned v;
                ck_assert_int_eq(sscanf(hex + 8 * i + 2 * b, "%2x", &v), 1);
                want = want << 8 | v;
            }
            ck_assert_msg(got == want, "value %d of %d: %08x, torchvision has %08x", rgb[i], i, got, want);
        }
    }
}

START_TEST(golden_normalise) { each_row("normalise", 1, check_normalise); }
END_TEST

/* ---------------------------------------------------------------- resizing, windows, shrinking */

/* The quick sums are those of im_resize (which test_png.c compares with Pillow), for whole pictures and for windows. */
START_TEST(windows_of_resized)
{
    static const int sizes[][4] = { { 23, 17, 64, 40 }, { 23, 17, 5, 3 }, { 1, 1, 9, 4 }, { 2, 300, 3, 7 },
                                    { 300, 2, 7, 3 }, { 300, 200, 299, 201 }, { 70, 90, 70, 20 }, { 90, 70, 20, 70 },
                                    { 61, 33, 61, 33 }, { 500, 400, 11, 9 } };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int filter = IM_FILTER_BOX; filter <= IM_FILTER_LANCZOS; filter++) {
            const int *s = sizes[i];
            im_image *in = noise(s[0], s[1]), *want = im_resize(c, in, s[2], s[3], (im_filter)filter);
            ck_assert_ptr_nonnull(want);
            for (int part = 0; part < 4; part++) {
                int x = part & 1 ? s[2] / 3 : 0, y = part & 2 ? s[3] / 2 : 0;
                im_resize_args a = { .in = in->pixels, .stride = 3 * (size_t)s[0], .in_width = s[0], .in_height = s[1],
                                     .x1 = s[0], .y1 = s[1], .full_width = s[2], .full_height = s[3], .x = x, .y = y,
                                     .width = s[2] - 2 * x, .height = s[3] - y, .flip = part == 3,
                                     .filter = (im_filter)filter };
                uint8_t *out = malloc((size_t)a.width * (size_t)a.height * 3);
                uint8_t *scratch = malloc(im_resize_rgb_bytes(&a));
                ck_assert_msg(im_resize_rgb(c, &a, scratch, out), "%s", im_error(c));
                for (int v = 0; v < a.height; v++)
                    for (int u = 0; u < a.width; u++)
                        for (int k = 0; k < 3; k++) {
                            int from = a.flip ? a.x + a.width - 1 - u : a.x + u;
                            ck_assert_int_eq(out[3 * (v * a.width + u) + k],
                                             want->pixels[3 * ((v + a.y) * want->width + from) + k]);
                        }
                free(scratch);
                free(out);
            }
            im_image_free(in);
            im_image_free(want);
        }
}
END_TEST

/* The photograph of the goldens at 1, 1/2, 1/4, 1/8: crops of the shrunk picture beside those of the whole one, for every
 * draw that allows it. im_augment_shrink leaves a crop twice the pixels that it has in the end. */
START_TEST(shrunk_crops)
{
    size_t n;
    char *file = im_read_file(c, "tests/golden/photo.jpg", 1 << 24, &n);
    im_image *whole = im_picture_decode(c, file, n, "photo.jpg", NULL);
    ck_assert_msg(whole != NULL, "%s", im_error(c));
    im_recipe r;
    ck_assert(im_recipe_named(c, "plain", 32, &r));
    static uint8_t a[32 * 32 * 3], b[32 * 32 * 3];
    double worst = 0, mean = 0;
    int used = 0, seen[9] = { 0 };
    for (uint64_t i = 0; i < 200; i++) {
        im_draw d;
        r.crop[0].filter = i % 2 ? IM_FILTER_BICUBIC : IM_FILTER_BILINEAR;
        im_augment_draw(&r, 0, whole->width, whole->height, 7, 0, i, &d);
        im_decode_args args = { .shrink = im_augment_shrink(&d, 1) };
        seen[args.shrink]++;
        if (args.shrink == 1) continue;
        im_image *less = im_picture_decode(c, file, n, "photo.jpg", &args);
        ck_assert(less && less->width == (whole->width + args.shrink - 1) / args.shrink);
        ck_assert_msg(im_augment_apply(c, room, whole, &r, 0, &d, a) && im_augment_apply(c, room, less, &r, 0, &d, b),
                      "%s", im_error(c));
        double sum = 0;
        for (size_t k = 0; k < sizeof a; k++) sum += abs(a[k] - b[k]);
        sum /= sizeof a;
        worst = sum > worst ? sum : worst;
        mean += sum;
        used++;
        im_image_free(less);
    }
    ck_assert(seen[1] && seen[2] && seen[4]);
    mean /= used;
    if (getenv("IMAGO_SHOW")) printf("shrunk crops: %d, mean %.3f, worst %.3f of 255\n", used, mean, worst);
    ck_assert_msg(mean < 0.6 && worst < 1.0, "mean %g, worst %g", mean, worst);
    im_image_free(whole);
    free(file);
}
END_TEST

/* ---------------------------------------------------------------- draws */

/* Known answers of Philox4x32-10 (Random123's kat_vectors): counter and key all zeros, all ones. */
START_TEST(stream_known_answers)
{
    static const uint32_t zeros[4] = { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 };
    static const uint32_t ones[4] = { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd };
    im_stream s;
    im_stream_open(&s, 0, 0, 0, 0);
    for (int i = 0; i < 4; i++) ck_assert_uint_eq(im_stream_bits(&s), zeros[i]);
    s = (im_stream){ .counter = { ~0u, ~0u, ~0u, ~0u }, .key = { ~0u, ~0u } };
    for (int i = 0; i < 4; i++) ck_assert_uint_eq(im_stream_bits(&s), ones[i]);
}
END_TEST

static void check_share(const char *what, int hits, int n, double p)
{
    double sd = sqrt(p * (1 - p) / n), share = (double)hits / n;
    ck_assert_msg(fabs(share - p) <= 4.5 * sd, "%s: %g of the draws, wanted %g", what, share, p);
}

START_TEST(draws_have_their_shares)
{
    im_recipe r;
    ck_assert(im_recipe_named(c, "dino", 0, &r) && im_recipe_check(c, &r));
    ck_assert_int_eq(im_recipe_crops(&r), 9);
    enum { N = 4000 };
    for (int crop = 0; crop < 2; crop++) {
        const im_crop_recipe *k = im_recipe_crop(&r, crop);
        ck_assert_int_eq(k->size, crop ? 96 : 224);
        int flip = 0, jitter = 0, grey = 0, blur = 0, solarize = 0, hue_first = 0;
        for (uint64_t i = 0; i < N; i++) {
            im_draw d, again, other;
            im_augment_draw(&r, crop, 300, 200, 11, 4, i, &d);
            im_augment_draw(&r, crop, 300, 200, 11, 4, i, &again);
            ck_assert(!memcmp(&d, &again, sizeof d));
            im_augment_draw(&r, crop, 300, 200, 11, 5, i, &other);
            ck_assert(memcmp(&d.factor, &other.factor, sizeof d.factor) || !d.jitters || !other.jitters);
            double area = (double)d.w * d.h / (300 * 200), ratio = (double)d.w / d.h;
            ck_assert(area > k->scale_lo - 0.02 && area < k->scale_hi + 0.02 && ratio > 0.73 && ratio < 1.37);
            ck_assert(d.x >= 0 && d.y >= 0 && d.x + d.w <= 300 && d.y + d.h <= 200);
            ck_assert(d.jitters == 0 || d.jitters == 4);
            for (int j = 0; j < d.jitters; j++)
                ck_assert(d.factor[j] >= (j == 3 ? -0.1f : j == 2 ? 0.8f : 0.6f) &&
                          d.factor[j] <= (j == 3 ? 0.1f : j == 2 ? 1.2f : 1.4f));
            ck_assert(d.sigma == 0 || (d.sigma >= 0.1f && d.sigma <= 2));
            flip += d.flip;
            jitter += d.jitters > 0;
            hue_first += d.jitters && d.order[0] == IM_JITTER_HUE;
            grey += d.grey;
            blur += d.sigma > 0;
            solarize += d.solarize;
        }
        check_share("flip", flip, N, 0.5);
        check_share("jitter", jitter, N, 0.8);
        check_share("hue first", hue_first, N, 0.2);
        check_share("grey", grey, N, 0.2);
        check_share("blur", blur, N, crop ? 0.5 : 0.2);
        check_share("solarize", solarize, N, crop ? 0 : 0.2);
    }
}
END_TEST

/* For drawings: at least half of the picture, never another hue; flags keep their colours but for a few grey ones. */
START_TEST(drawings_stay_what_they_are)
{
    im_recipe r;
    ck_assert(im_recipe_named(c, "drawing", 64, &r) && im_recipe_check(c, &r));
    ck_assert_int_eq(im_recipe_crops(&r), 1);
    enum { N = 4000 };
    int flip = 0, jitter = 0, grey = 0;
    double area = 0;
    for (uint64_t i = 0; i < N; i++) {
        im_draw d;
        im_augment_draw(&r, 0, 64, 64, 3, 2, i, &d);
        ck_assert(d.w * d.h >= 0.58 * 64 * 64 && d.x + d.w <= 64 && d.y + d.h <= 64);
        ck_assert(d.factor[IM_JITTER_HUE] == 0 && d.sigma == 0 && !d.solarize);
        for (int j = 0; j < d.jitters; j++)
            ck_assert(d.order[j] != IM_JITTER_HUE && d.factor[d.order[j]] >= 0.5f && d.factor[d.order[j]] <= 1.5f);
        area += d.w * d.h / (64.0 * 64);
        flip += d.flip;
        jitter += d.jitters > 0;
        grey += d.grey;
    }
    ck_assert(area / N > 0.70 && area / N < 0.80);
    check_share("flip", flip, N, 0.5);
    check_share("jitter", jitter, N, 0.5);
    check_share("grey", grey, N, 0.05);
}
END_TEST

START_TEST(sizes_and_numbers_are_free)
{
    im_recipe r;
    ck_assert(im_recipe_named(c, "dino", 64, &r));
    ck_assert_int_eq(r.crop[1].size, 27);
    r.crop[1].size = 10;
    r.crop[1].count = 3;
    ck_assert(im_recipe_check(c, &r) && im_recipe_crops(&r) == 4);
    ck_assert_int_eq(im_recipe_crop(&r, 0)->size, 64);
    ck_assert_int_eq(im_recipe_crop(&r, 3)->size, 10);
    im_image *src = noise(37, 41);
    for (int crop = 0; crop < 4; crop++) {
        im_draw d;
        uint8_t out[64 * 64 * 3];
        im_augment_draw(&r, crop, 37, 41, 1, 1, 1, &d);
        ck_assert_msg(im_augment_apply(c, room, src, &r, crop, &d, out), "%s", im_error(c));
    }
    im_image_free(src);
}
END_TEST

START_TEST(errors)
{
    im_recipe r;
    im_draw d;
    uint8_t out[32 * 32 * 3];
    ck_assert(!im_recipe_named(c, "simclr", 0, &r) && strstr(im_error(c), "none, plain, drawing or dino"));
    im_clear_error(c);
    ck_assert(!im_recipe_named(c, "plain", -3, &r) && strstr(im_error(c), "size -3"));
    im_clear_error(c);
    ck_assert(im_recipe_named(c, "plain", 32, &r));
    r.crop[0].p_flip = 1.5f;
    ck_assert(!im_recipe_check(c, &r) && strstr(im_error(c), "a probability is 1.5"));
    im_clear_error(c);
    ck_assert(im_recipe_named(c, "none", 32, &r));
    r.crop[0].size = 40;
    ck_assert(!im_recipe_check(c, &r) && strstr(im_error(c), "hold no crop of 40"));
    im_clear_error(c);
    ck_assert(im_recipe_named(c, "plain", 32, &r));
    im_augment_draw(&r, 0, 100, 80, 1, 1, 1, &d);
    im_image *other = noise(99, 80);
    ck_assert(!im_augment_apply(c, room, other, &r, 0, &d, out) && strstr(im_error(c), "drawn for a picture of 100x80"));
    im_image_free(other);
}
END_TEST

/* ---------------------------------------------------------------- --bench */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Processor milliseconds a picture, of one thread: decoding, all crops, normalised. */
static int bench(const char *path)
{
    enum { ROUNDS = 15, PICTURES = 40 };
    setup();
    size_t n;
    char *file = im_read_file(c, path, 1 << 28, &n);
    float *out = malloc(sizeof *out * 3 * 224 * 224);
    uint8_t *rgb = malloc(3 * 224 * 224);
    const char *names[] = { "decode", "none", "plain", "dino" };
    for (int what = 0; what < 4 && im_ok(c); what++) {
        im_recipe r;
        im_recipe_named(c, what ? names[what] : "none", 224, &r);
        int crops = what ? im_recipe_crops(&r) : 0;
        double times[ROUNDS];
        for (int round = 0; round < ROUNDS; round++) {
            double start = now();
            for (uint64_t i = 0; i < PICTURES; i++) {
                im_image *image = im_picture_decode(c, file, n, path, NULL);
                for (int k = 0; image && k < crops; k++) {
                    im_draw d;
                    int64_t size = im_recipe_crop(&r, k)->size;
                    im_augment_draw(&r, k, image->width, image->height, 1, (uint64_t)round, i, &d);
                    im_augment_apply(c, room, image, &r, k, &d, rgb);
                    im_normalise(rgb, size * size, out);
                }
                im_image_free(image);
            }
            times[round] = (now() - start) * 1e3 / PICTURES;
        }
        qsort(times, ROUNDS, sizeof *times, compare);
        printf("%s,%.4f\n", names[what], times[ROUNDS / 2]);
    }
    if (!im_ok(c)) fprintf(stderr, "%s\n", im_error(c));
    int rc = !im_ok(c);
    free(rgb);
    free(out);
    free(file);
    teardown();
    return rc;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--bench")) return bench(argc > 2 ? argv[2] : "tests/golden/photo.jpg");
    const suite_test tests[] = {
        ONCE(golden_crops), ONCE(golden_none), ONCE(golden_boxes), ONCE(golden_every_colour), ONCE(golden_blurs),
        ONCE(golden_normalise), ONCE(windows_of_resized), ONCE(shrunk_crops), ONCE(stream_known_answers),
        ONCE(draws_have_their_shares), ONCE(drawings_stay_what_they_are), ONCE(sizes_and_numbers_are_free), ONCE(errors)
    };
    return suite_run("augment", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
