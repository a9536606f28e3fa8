/* test_analysis.c: what analyze, transfer and compare compute, beside numpy, scikit-learn and torch.
 * golden_analysis.py makes the values. */
#include "classifier.h"

#include <jansson.h>

#include "models/eval/analysis.h"
#include "models/eval/linear_fit.h"
#include "models/eval/measures.h"
#include "models/eval/neighbours.h"

#define EXACT 1e-6                                             /* sums in f64 of rows rounded to f32: 1e-8            */

enum { CLASSES = 4 };
static json_t *values;

static void setup(void)
{
    open_ctx("", 2);
    golden = im_st_open(c, "tests/golden/analysis.safetensors");
    values = json_load_file("tests/golden/analysis.json", 0, NULL);
    ck_assert(golden && values);
}

static void teardown(void)
{
    json_decref(values);
    im_st_close(golden);
    im_ctx_free(c);
}

static double number(const json_t *o, const char *key)
{
    json_t *v = json_object_get(o, key);
    ck_assert_msg(json_is_number(v), "the golden file has no %s", key);
    return json_number_value(v);
}

static void near_to(const char *what, double got, double want, double tolerance)
{
    ck_assert_msg(fabs(got - want) <= tolerance * fmax(1, fabs(want)), "%s is %.12g, wanted %.12g", what, got, want);
}

/* malloc'd */
static int32_t *labels_of(const char *set, int64_t n)
{
    char name[60];
    snprintf(name, sizeof name, "%s.labels", set);
    const im_st_entry *e = im_st_find(golden, name);
    ck_assert(e && e->shape[0] == n);
    int32_t *labels = malloc((size_t)n * sizeof *labels);
    for (int64_t i = 0; i < n; i++)
        labels[i] = (int32_t)((const int64_t *)e->data)[i];
    return labels;
}

START_TEST(analysis_is_numpys)
{
    static const char *const sets[] = { "a", "b", "wide" };    /* wide: fewer rows than columns                       */
    const im_st_entry *e = found("%s", sets[_i]);
    const json_t *want = json_object_get(json_object_get(values, "analysis"), sets[_i]);
    int32_t *labels = labels_of(sets[_i], e->shape[0]);
    im_analyze_args a = im_analyze_defaults();
    im_analysis r = { .pictures = 0 };
    ck_assert_msg(im_analyze_features(c, e->data, labels, e->shape[0], (int)e->shape[1], CLASSES, &a, &r), "%s",
                  im_error(c));
    near_to("sparsity", r.sparsity, number(want, "sparsity"), EXACT);
    near_to("intra-class distance", r.intra_class_distance, number(want, "intra_class_distance"), EXACT);
    near_to("redundancy", r.feature_redundancy, number(want, "feature_redundancy"), EXACT);
    near_to("coding length", r.coding_length, number(want, "coding_length"), EXACT);
    ck_assert_int_eq(r.flat, (int)number(want, "flat"));
    int64_t all = 0;
    for (int k = 0; k < CLASSES; k++)
        all += r.count[k];
    ck_assert_int_eq(all, e->shape[0]);
    a.eps2 = 5;
    im_analysis other = { .pictures = 0 };
    ck_assert(im_analyze_features(c, e->data, labels, e->shape[0], (int)e->shape[1], CLASSES, &a, &other));
    ck_assert(other.coding_length < r.coding_length);          /* a coarser code is shorter                           */
    im_analysis_free(&other);
    im_analysis_free(&r);
    free(labels);
}
END_TEST

/* ---------------------------------------------------------------- linear classifiers */

typedef struct problem { im_feature_rows train, test; int32_t *labels[2]; int64_t index[64]; } problem;

static void open_problem(problem *p)
{
    static const char *const sets[] = { "train", "test" }, *const named[] = { "a", "b" };
    im_feature_rows *const rows[] = { &p->train, &p->test };
    for (int64_t i = 0; i < 64; i++)
        p->index[i] = i;
    for (int i = 0; i < 2; i++) {
        const im_st_entry *e = found("%s", sets[i]);
        p->labels[i] = labels_of(named[i], e->shape[0]);
        *rows[i] = (im_feature_rows){ .x = e->data, .d = (int)e->shape[1], .labels = p->labels[i], .index = p->index,
                              .n = e->shape[0], .classes = CLASSES };
    }
}

static void close_problem(problem *p)
{
    free(p->labels[0]);
    free(p->labels[1]);
}

/* w (d + 1, CLASSES) beside "weight" (CLASSES, d) and "bias" of the golden file */
static void same_weights(const json_t *want, const double *w, int d, double tolerance)
{
    for (int k = 0; k < CLASSES; k++) {
        const json_t *row = json_array_get(json_object_get(want, "weight"), (size_t)k);
        for (int j = 0; j < d; j++)
            near_to("weight", w[j * CLASSES + k], json_number_value(json_array_get(row, (size_t)j)), tolerance);
        near_to("bias", w[d * CLASSES + k], json_number_value(json_array_get(json_object_get(want, "bias"), (size_t)k)),
                tolerance);
    }
}

/* Coefficients of scikit-learn's LogisticRegression and its accuracy, from zeros and from where another C ended. */
START_TEST(logreg_is_scikit_learns)
{
    problem p;
    const json_t *want = json_array_get(json_object_get(values, "logreg"), (size_t)_i);
    double w[13 * CLASSES] = { 0 }, again[13 * CLASSES] = { 0 };
    int32_t named[64];
    int iterations, right = 0;
    bool converged;
    open_problem(&p);
    ck_assert_msg(im_logreg_fit(c, &p.train, number(want, "C"), false, w, &iterations, &converged), "%s", im_error(c));
    ck_assert(converged && iterations > 1);
    same_weights(want, w, 12, 1e-4);
    ck_assert(im_linear_name(c, &p.test, w, named));
    for (int64_t i = 0; i < p.test.n; i++)
        right += named[i] == p.labels[1][i];
    near_to("top-1", (double)right / (double)p.test.n, number(want, "top1"), 1e-12);
    ck_assert(im_logreg_fit(c, &p.train, 7, false, w, &iterations, &converged));
    ck_assert(im_logreg_fit(c, &p.train, number(want, "C"), false, w, &iterations, &converged));
    same_weights(want, w, 12, 1e-4);
    im_ctx *one = im_ctx_new("cpu", 1);                        /* the same bits on one thread                         */
    memset(w, 0, sizeof w);
    ck_assert(im_logreg_fit(one, &p.train, number(want, "C"), false, w, &iterations, &converged));
    ck_assert(im_logreg_fit(c, &p.train, number(want, "C"), false, again, &iterations, &converged));
    ck_assert_mem_eq(w, again, sizeof w);
    im_ctx_free(one);
    close_problem(&p);
}
END_TEST

START_TEST(sgd_is_torchs)
{
    problem p;
    const json_t *want = json_object_get(values, "sgd");
    double w[13 * CLASSES] = { 0 };
    open_problem(&p);
    p.train.unit = true;
    im_sgd_settings s = { .lr = number(want, "lr"), .decay = number(want, "decay"), .epochs = (int)number(want, "epochs"),
                          .batch = 1024 };
    ck_assert_msg(im_sgd_fit(c, &p.train, &s, w), "%s", im_error(c));
    same_weights(want, w, 12, EXACT);
    double small[13 * CLASSES] = { 0 }, other[13 * CLASSES] = { 0 };
    s.batch = 16;                                              /* the last batch of an epoch has 12                   */
    ck_assert(im_sgd_fit(c, &p.train, &s, small));
    s.seed = 1;
    ck_assert(im_sgd_fit(c, &p.train, &s, other));
    ck_assert(memcmp(small, w, sizeof w) && memcmp(small, other, sizeof w));
    close_problem(&p);
}
END_TEST

/* ---------------------------------------------------------------- two sets */

START_TEST(comparison_is_numpys)
{
    const im_st_entry *a = found("a"), *b = found("b");
    const json_t *want = json_object_get(values, "compare");
    im_comparison r = { .width = 0 };
    int d = (int)a->shape[1];
    ck_assert_msg(im_prdc(c, a->data, a->shape[0], b->data, b->shape[0], d, 5, &r), "%s", im_error(c));
    near_to("precision", r.precision, number(want, "precision"), 1e-12);
    near_to("recall", r.recall, number(want, "recall"), 1e-12);
    near_to("density", r.density, number(want, "density"), 1e-12);
    near_to("coverage", r.coverage, number(want, "coverage"), 1e-12);
    near_to("Frechet distance", im_frechet(c, a->data, a->shape[0], b->data, b->shape[0], d), number(want, "frechet"),
            EXACT);
    float *x = malloc(a->bytes), *y = malloc(b->bytes);
    memcpy(x, a->data, a->bytes);
    memcpy(y, b->data, b->bytes);
    im_unit_rows(x, a->shape[0], d);
    im_unit_rows(y, b->shape[0], d);
    near_to("CMMD", im_cmmd(c, x, a->shape[0], y, b->shape[0], d), number(want, "cmmd"), 1e-5);
    free(x);
    free(y);
    ck_assert(!im_prdc(c, a->data, 5, b->data, b->shape[0], d, 5, &r) && strstr(im_error(c), "more than 5"));
    im_clear_error(c);
}
END_TEST

START_TEST(vendi_is_numpys)
{
    static const char *const sets[] = { "a", "b", "wide" };
    const im_st_entry *e = found("%s", sets[_i]);
    near_to(sets[_i], im_vendi(c, e->data, e->shape[0], (int)e->shape[1]),
            number(json_object_get(values, "vendi"), sets[_i]), EXACT);
    float same[6] = { 1, 2, 1, 2, 2, 4 };                      /* three times the same direction: one picture          */
    near_to("one direction", im_vendi(c, same, 3, 2), 1, EXACT);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { LOOP(analysis_is_numpys, 3), LOOP(logreg_is_scikit_learns, 3), ONCE(sgd_is_torchs),
                                 ONCE(comparison_is_numpys), LOOP(vendi_is_numpys, 3) };
    return suite_run("analysis", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
