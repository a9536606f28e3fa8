/* test_measures.c: what `make model-report` computes. Frechet distances, mean distances, quantiles and PSNR are scipy's and
 * numpy's (measures.json); near copies on pictures made up here; features of a set are those of its pictures. */
#include "classifier.h"

#include "data/files/file.h"
#include "data/files/json.h"
#include "models/eval/evaluate.h"
#include "models/eval/features.h"
#include "models/eval/measures.h"
#include "scratch.h"
#include "shapes.h"

#define EXACT 1e-6                                             /* sums in f64 of f32 values, in another order: 1e-10  */

static char dir[200];
static im_json values;

static void setup(void)
{
    open_ctx("", 2);
    scratch_make(dir, sizeof dir);
    golden = im_st_open(c, "tests/golden/measures.safetensors");
    ck_assert(im_json_load(c, &values, "tests/golden/measures.json", IM_JSON_CONFIG_BYTES));
}

static void teardown(void)
{
    im_json_close(&values);
    im_st_close(golden);
    im_ctx_free(c);
    scratch_remove(dir);
}

static double wanted(const char *group, const char *key)
{
    im_json g = values;
    double v = NAN;
    if (group)
        ck_assert(im_json_object(c, &values, group, IM_MUST, &g));
    ck_assert_msg(im_json_float(c, &g, key, IM_MUST, -1e9, 1e9, &v), "%s", im_error(c));
    return v;
}

static void is(const char *what, double got, double want)
{
    ck_assert_msg(fabs(got - want) <= EXACT * fabs(want), "%s is %.12g, wanted %.12g", what, got, want);
}

START_TEST(frechet_is_scipys)
{
    const im_st_entry *a = found("a"), *b = found(_i ? "few" : "b");
    int d = (int)a->shape[1];
    double want = wanted("frechet", _i ? "a few" : "a b");
    is("distance", im_frechet(c, a->data, a->shape[0], b->data, b->shape[0], d), want);
    is("the other way round", im_frechet(c, b->data, b->shape[0], a->data, a->shape[0], d), want);
    double self = im_frechet(c, a->data, a->shape[0], a->data, a->shape[0], d);
    ck_assert_msg(fabs(self) < 1e-9, "a set is %g away from itself", self);
    ck_assert(isnan(im_frechet(c, a->data, 1, b->data, b->shape[0], d)) && strstr(im_error(c), "two rows"));
    im_clear_error(c);
}
END_TEST

START_TEST(distances_are_scipys)
{
    static const char *const names[] = { "a", "b", "few" };
    const im_st_entry *e = found("%s", names[_i]);
    int d = (int)e->shape[1];
    int64_t n = e->shape[0], index[64];
    float *x = malloc(e->bytes);
    memcpy(x, e->data, e->bytes);
    im_unit_rows(x, n, d);
    for (int64_t i = 0; i < n; i++)
        index[i] = n - 1 - i;
    is(names[_i], im_mean_distance(x, d, index, n), wanted("mean_distance", names[_i]));
    ck_assert(isnan(im_mean_distance(x, d, index, 1)));
    float zeros[2] = { 0, 0 };
    im_unit_rows(zeros, 1, 2);
    ck_assert(zeros[0] == 0 && zeros[1] == 0);
    free(x);
}
END_TEST

START_TEST(quantiles_and_psnr_are_numpys)
{
    static const struct { const char *key; double at; } at[] = { { "0", 0 }, { "0.01", 0.01 }, { "0.1", 0.1 },
                                                               { "0.5", 0.5 }, { "0.875", 0.875 }, { "1", 1 } };
    const im_st_entry *a = found("a");
    double column[64];
    for (size_t k = 0; k < sizeof at / sizeof *at; k++) {
        for (int64_t i = 0; i < a->shape[0]; i++)
            column[i] = ((const float *)a->data)[i * a->shape[1]];
        is(at[k].key, im_quantile(column, a->shape[0], at[k].at), wanted("quantiles", at[k].key));
    }
    ck_assert(isnan(im_quantile(column, 0, 0.5)) && column[0] == im_quantile(column, 1, 0.3));
    const im_st_entry *p = im_st_find(golden, "p"), *q = im_st_find(golden, "q");
    is("PSNR", im_psnr(p->data, q->data, (int64_t)p->bytes), wanted(NULL, "psnr"));
    is("PSNR of equal pictures", im_psnr(p->data, p->data, (int64_t)p->bytes), 100);
}
END_TEST

/* Eigenvectors, beside eigenvalues that the distance already needs: m v = value v. */
START_TEST(eigenvectors)
{
    enum { D = 9 };
    double m[D * D], copy[D * D], value[D], v[D * D];
    for (int i = 0; i < D; i++)
        for (int j = 0; j < D; j++)
            m[i * D + j] = copy[i * D + j] = i == 8 || j == 8 ? 0 : 1.0 / (1 + i + j);       /* Hilbert's, and a zero */
    ck_assert(im_symmetric_eigen(c, m, D, value, v));
    double trace = 0;
    for (int k = 0; k < D; k++) {
        double off = 0;
        for (int i = 0; i < D; i++) {
            double s = -value[k] * v[i * D + k];
            for (int j = 0; j < D; j++)
                s += copy[i * D + j] * v[j * D + k];
            off = fmax(off, fabs(s));
        }
        ck_assert_msg(off < 1e-14, "eigenvalue %g: off by %g", value[k], off);
        trace += value[k];
    }
    is("trace", trace, 1 + 1.0 / 3 + 1.0 / 5 + 1.0 / 7 + 1.0 / 9 + 1.0 / 11 + 1.0 / 13 + 1.0 / 15);
}
END_TEST

/* ---------------------------------------------------------------- nearest pictures */

enum { N = 4, SIDE = 5, BYTES = 3 * SIDE * SIDE };

/* Four training pictures with features in different directions; three that are looked for: the mirror image of number 2,
 * a few levels brighter; one with the features of 1 and other pixels; one with nothing in common with any. */
START_TEST(near_copies)
{
    static uint8_t train[N][BYTES], made[3][BYTES];
    float f[N][2] = { { 1, 0 }, { 0, 1 }, { -1, 0 }, { 0, -1 } };
    float g[3][2] = { { -0.9998f, 0.02f }, { 0, 1 }, { 0.6f, -0.8f } };
    for (int i = 0; i < N; i++)
        for (int k = 0; k < BYTES; k++)
            train[i][k] = (uint8_t)(hashed_bits((uint64_t)i + 1, k) % 250);
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            for (int k = 0; k < 3; k++)
                made[0][3 * (y * SIDE + x) + k] = (uint8_t)(train[2][3 * (y * SIDE + SIDE - 1 - x) + k] + 3);
    for (int k = 0; k < BYTES; k++) {
        made[1][k] = (uint8_t)(255 - train[1][k]);
        made[2][k] = (uint8_t)(hashed_bits(99, k) % 250);
    }
    im_looks among = { .n = N, .d = 2, .features = f[0], .size = SIDE, .rgb = train[0] };
    im_looks of = { .n = 3, .d = 2, .features = g[0], .size = SIDE, .rgb = made[0] };
    im_nearest near[3];
    ck_assert_msg(im_find_nearest(c, &of, &among, near), "%s", im_error(c));
    ck_assert_int_eq(near[0].by_features.at, 2);
    ck_assert_int_eq(near[0].by_pixels.at, 2);
    is("pixels of the mirror image", near[0].by_features.pixels, 3);
    is("the same by pixels", near[0].by_pixels.pixels, 3);
    ck_assert_int_eq(near[1].by_features.at, 1);
    ck_assert_double_eq(near[1].by_features.features, 0);
    is("features", near[2].by_features.features, sqrt(0.6 * 0.6 + 0.2 * 0.2));
    ck_assert_int_eq(near[2].by_features.at, 3);
    ck_assert(im_near_copy(&near[0], 0.1, 3.1) && !im_near_copy(&near[0], 0.1, 2.9) && !im_near_copy(&near[0], 0.01, 3.1));
    ck_assert(!im_near_copy(&near[1], 0.1, 30) && !im_near_copy(&near[2], 0.1, 30));
    im_nearest split = { .by_features = { .features = 0.1, .pixels = 50 }, .by_pixels = { .features = 0.9, .pixels = 2 } };
    ck_assert(!im_near_copy(&split, 0.2, 5));                  /* near in each, but not to one picture                */
    among.d = 3;
    ck_assert(!im_find_nearest(c, &of, &among, near) && strstr(im_error(c), "2 features"));
    im_clear_error(c);
}
END_TEST

/* Rows stand in the order of the set, whatever the batch; what they are taken for is what evaluation counts. */
START_TEST(features_of_a_set)
{
    const char *data = scratch_path(dir, "shapes");
    shapes_write(c, data, 0, 3);
    im_classifier *m = im_classifier_new(c, &(im_classifier_config){ .arch = "resnet18", .classes = SHAPES, .width = 8 });
    ck_assert(m && im_init_params(im_classifier_params(m), 3));
    im_dataset *d = im_dataset_open(c, &(im_dataset_args){ .path = data, .min_classes = 2 });
    im_features a, b;
    im_run_args args = { .batch = 5, .size = SHAPE_SIZE };
    ck_assert_msg(im_features_of(c, m, SHAPES, d, &args, &a), "%s", im_error(c));
    args.batch = 12;
    ck_assert_msg(im_features_of(c, m, SHAPES, d, &args, &b), "%s", im_error(c));
    ck_assert(a.n == 12 && a.width == 64);
    ck_assert_mem_eq(a.features, b.features, (size_t)a.n * 64 * sizeof(float));
    ck_assert_mem_eq(a.logits, b.logits, (size_t)a.n * SHAPES * sizeof(float));
    ck_assert(memcmp(a.features, a.features + 64, 64 * sizeof(float)));
    im_eval_result r = { .pictures = 0 };
    ck_assert(im_classify_set(c, m, &(im_judged){ .classes = SHAPES }, d, &(im_run_args){ .batch = 4, .size = SHAPE_SIZE },
                              NULL, NULL, &r));
    int64_t confusion[SHAPES * SHAPES] = { 0 };
    for (int64_t i = 0; i < a.n; i++)
        confusion[d->samples[i].label * SHAPES + a.named[i]]++;
    ck_assert_mem_eq(confusion, r.confusion, sizeof confusion);
    im_eval_result_free(&r);
    im_features_free(&a);
    im_features_free(&b);
    im_dataset_free(d);
    im_classifier_free(m);
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        LOOP(frechet_is_scipys, 2), LOOP(distances_are_scipys, 3), ONCE(quantiles_and_psnr_are_numpys), ONCE(eigenvectors),
        ONCE(near_copies), ONCE(features_of_a_set)
    };
    return suite_run("measures", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
