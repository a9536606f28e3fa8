/* test_rng.c: the generators give the bits of torch.randn: short and long calls, calls after calls, and torch's CUDA
 * stream. Values from tests/golden (rng.safetensors.gz, rng.json) and, for CUDA, published ones. */
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden_tensors.h"
#include "imago.h"
#include "suite.h"

static im_ctx *c;
static im_safetensors *golden;

static void open_golden(void)
{
    ck_assert_ptr_nonnull(c = im_ctx_new("ref", 1));
    golden = golden_tensors(c, "tests/golden/rng.safetensors.gz");
    ck_assert_msg(golden != NULL, "%s", im_error(c));
}

static void close_golden(void)
{
    im_st_close(golden);
    im_ctx_free(c);
}

static const float *values(const char *name, size_t *n)
{
    const im_st_entry *e = im_st_find(golden, name);
    ck_assert_msg(e && e->dtype == IM_F32, "%s is not in rng.safetensors", name);
    *n = e->bytes / sizeof(float);
    return e->data;
}

/* Bits, so that -0 and 0 differ. */
static void same_bits(const char *name, const float *found, const float *wanted, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(!memcmp(&found[i], &wanted[i], sizeof *found), "%s [%zu]: found %.9g, wanted %.9g", name, i,
                      (double)found[i], (double)wanted[i]);
}

static void draw(im_rng *r, const char *name)
{
    size_t n;
    const float *wanted = values(name, &n);
    float *found = malloc(n * sizeof *found);
    ck_assert_ptr_nonnull(found);
    im_randn(r, found, n);
    same_bits(name, found, wanted, n);
    free(found);
}

START_TEST(short_calls)
{
    int tested = 0;
    for (int i = 0; i < im_st_count(golden); i++) {
        const char *name = im_st_at(golden, i)->name;
        unsigned long long seed;
        if (sscanf(name, "short.%llu.", &seed) != 1) continue;
        im_rng *r = im_rng_new(c, IM_RNG_CPU, seed);
        draw(r, name);
        im_rng_free(r);
        tested++;
    }
    ck_assert_int_ge(tested, 50);
}
END_TEST

static json_t *read_rows(json_t **root)
{
    *root = json_load_file("tests/golden/rng.json", 0, NULL);
    ck_assert_ptr_nonnull(*root);
    return json_object_get(*root, "rows");
}

/* One generator walks one stream: what one call leaves over, the next one uses. */
START_TEST(calls_after_calls)
{
    json_t *root;
    read_rows(&root);
    int calls = (int)json_array_size(json_object_get(root, "sequence"));
    ck_assert_int_ge(calls, 10);
    for (int seed = 0; seed <= 42; seed += 42) {
        im_rng *r = im_rng_new(c, IM_RNG_CPU, (uint64_t)seed);
        for (int i = 0; i < calls; i++) {
            char name[64];
            snprintf(name, sizeof name, "sequence.%d.%d", seed, i);
            draw(r, name);
        }
        im_rng_free(r);
    }
    im_rng *again = im_rng_new(c, IM_RNG_CPU, 7);              /* a fresh generator keeps nothing of an older one     */
    draw(again, "reseeded.7.4");
    im_rng_free(again);
    json_decref(root);
}
END_TEST

START_TEST(long_calls)
{
    json_t *root, *row, *rows = read_rows(&root);
    size_t k;
    ck_assert_int_ge((int)json_array_size(rows), 20);
    json_array_foreach(rows, k, row) {
        size_t n = 1, axis, edge;
        json_t *size;
        json_array_foreach(json_object_get(row, "shape"), axis, size) n *= (size_t)json_integer_value(size);
        float *x = malloc(n * sizeof *x);
        im_rng *r = im_rng_new(c, IM_RNG_CPU, (uint64_t)json_integer_value(json_object_get(row, "seed")));
        im_randn(r, x, n);
        char name[96];
        snprintf(name, sizeof name, "%s.head", json_string_value(json_object_get(row, "name")));
        const float *wanted = values(name, &edge);
        same_bits(name, x, wanted, edge);
        snprintf(name, sizeof name, "%s.tail", json_string_value(json_object_get(row, "name")));
        wanted = values(name, &edge);
        same_bits(name, x + n - edge, wanted, edge);
        unsigned char digest[SHA256_DIGEST_LENGTH];
        char hex[2 * SHA256_DIGEST_LENGTH + 1];
        SHA256((const unsigned char *)x, n * sizeof *x, digest);
        for (int i = 0; i < SHA256_DIGEST_LENGTH; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
        ck_assert_msg(!strcmp(hex, json_string_value(json_object_get(row, "sha256"))), "%s: other bits inside", name);
        free(x);
        im_rng_free(r);
    }
    json_decref(root);
}
END_TEST

START_TEST(known_values)
{
    static const float seed42[8] = { 1.92691529f, 1.48728406f, 0.90071720f, -2.10552096f,
                                     0.67841846f, -1.23454487f, -0.04306748f, -1.60466695f };
    static const float seed0[5] = { 1.54099607f, -0.29342890f, -2.17878938f, 0.56843126f, -1.08452237f };
    float x[16];
    im_rng *r = im_rng_new(c, IM_RNG_CPU, 42);
    im_randn(r, x, 16);
    for (int i = 0; i < 8; i++) ck_assert_float_eq_tol(x[i], seed42[i], 5e-9f);     /* printed to 8 decimals          */
    im_rng_free(r);
    r = im_rng_new(c, IM_RNG_CPU, 0);
    im_randn(r, x, 5);
    for (int i = 0; i < 5; i++) ck_assert_float_eq_tol(x[i], seed0[i], 5e-9f);
    im_rng_free(r);
    float before[5];
    memcpy(before, x, sizeof before);
    im_randn(NULL, x, 5);                                      /* a generator that could not be had: nothing happens  */
    same_bits("no generator", x, before, 5);
}
END_TEST

/* A batch drawn in one call equals its pictures drawn one by one, when each fills whole blocks of 16. */
START_TEST(batch_is_its_members)
{
    enum { PICTURE = 4 * 8 * 8 };
    float whole[2 * PICTURE], parts[2 * PICTURE];
    im_rng *a = im_rng_new(c, IM_RNG_CPU, 3), *b = im_rng_new(c, IM_RNG_CPU, 3);
    im_randn(a, whole, 2 * PICTURE);
    im_randn(b, parts, PICTURE);
    im_randn(b, parts + PICTURE, PICTURE);
    same_bits("two halves", parts, whole, 2 * PICTURE);
    im_rng_free(a);
    im_rng_free(b);
}
END_TEST

/* Published values of torch.randn on a GPU with seed 0, printed to 8 or 9 digits: a unit of the last one. */
START_TEST(cuda_stream)
{
    static const double wanted[12] = { -0.92466259, -0.42534415, -2.6438457, 0.14518388, -0.12086647, -0.57972564,
                                       -0.62285122, -0.32838709, -1.07454231, -0.36314407, -1.67105067, 2.26550497 };
    float x[12], y[12];
    im_rng *r = im_rng_new(c, IM_RNG_CUDA, 0);
    im_randn(r, x, 12);
    for (int i = 0; i < 12; i++) ck_assert_double_eq_tol((double)x[i], wanted[i], 1.2e-7);
    im_randn(r, y, 12);                                        /* every call has its own counter                      */
    ck_assert(memcmp(x, y, sizeof x));
    im_rng_free(r);
    r = im_rng_new(c, IM_RNG_CUDA, 1ull << 32);                /* the upper half of the seed counts                   */
    im_randn(r, y, 12);
    ck_assert(memcmp(x, y, sizeof x));
    im_rng_free(r);
}
END_TEST

START_TEST(normal_enough)
{
    enum { N = 1 << 20 };
    float *x = malloc(N * sizeof *x);
    for (int kind = 0; kind < 2; kind++) {
        im_rng *r = im_rng_new(c, kind ? IM_RNG_CUDA : IM_RNG_CPU, 11);
        im_randn(r, x, N);
        double sum = 0, squares = 0;
        for (int i = 0; i < N; i++) {
            ck_assert(isfinite(x[i]));
            sum += (double)x[i];
            squares += (double)x[i] * (double)x[i];
        }
        ck_assert_double_eq_tol(sum / N, 0, 5 / sqrt(N));      /* five standard deviations of the mean                */
        ck_assert_double_eq_tol(squares / N, 1, 5 * sqrt(2.0 / N));
        im_rng_free(r);
    }
    free(x);
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(short_calls), ONCE(calls_after_calls), ONCE(long_calls), ONCE(known_values), ONCE(batch_is_its_members),
        ONCE(cuda_stream), ONCE(normal_enough),
    };
    return suite_run("rng", open_golden, close_golden, 60, tests, SUITE_COUNT(tests));
}
