/* test_analysis.c: what analyze, transfer and compare compute, beside numpy, scikit-learn and torch.
 * golden_analysis.py makes the values. */
#include "classifier.h"

#include <jansson.h>

#include "models/eval/analysis.h"
#include "models/eval/measures.h"

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

int main(void)
{
    const suite_test tests[] = { LOOP(analysis_is_numpys, 3) };
    return suite_run("analysis", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
