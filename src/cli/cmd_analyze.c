/* cmd_analyze.c: `imago analyze`: what the features of an encoder are like on a set, class by class, and where two
 * classifiers differ (models/eval/analyze.c). */
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "cli/measure.h"
#include "cli/session.h"
#include "cli/shown.h"
#include "cli/verbs.h"
#include "data/files/file.h"

typedef struct analyze_options {
    common_options common;
    im_analyze_args a;
    const char *against;
    bool json, quiet;
} analyze_options;

#define AT(field) offsetof(analyze_options, field)
static const option options[] = {
    OPTION_TEXT('m', "model", "RUN|FILE", AT(a.measure.model), NULL,
             "the folder of a run (its model.safetensors, or its newest good checkpoint), or a safetensors file"),
    OPTION_TEXT(0, "data", "DIR|SHARDS", AT(a.data), NULL, "the pictures, in class folders or tar shards"),
    OPTION_TEXT(0, "classes", "FILE", AT(a.measure.classes), NULL, "a class a line, by which classes are numbered"),
    OPTION_CHOICE(0, "set", "SET", AT(a.set), NULL,
             "folder|imagenet|imagenet-v2|imagenet-sketch|imagenet-a|imagenet-r|imagenet-o",
             "what DIR is: folder (class folders of any classes), or a set of ImageNet in its own folders (imago eval)"),
    OPTION_TEXT(0, "against", "RUN|FILE", AT(against), NULL,
             "another classifier, on the same pictures: the gap of a class is then that between the two; without "
             "it, that to the mean"),
    OPTION_REAL(0, "threshold", "T", AT(a.threshold), NULL, 0, 1e6, "sparsity counts values below it"),
    OPTION_REAL(0, "distortion", "E", AT(a.eps2), NULL, 1e-9, 1e9,
                "coding length: the squared error that a code may make, on the mean (eps^2)"),
    OPTION_TEXT(0, "save-features", "FILE", AT(a.save_features), NULL,
             "write a safetensors file: features (n, width), labels (n); metadata names, classes"),
    MEASURE_OPTIONS,
    OPTION_END
};

/* Of class k: to the other classifier, or to the mean of all classes. NAN: not known. */
static double gap_of(const im_analysis *a, const im_analysis *other, int k)
{
    double sum = 0;
    int n = 0;
    if (other)
        return a->class_top1[k] - other->class_top1[k];
    for (int i = 0; i < a->classes; i++)
        if (!isnan(a->class_top1[i])) {
            sum += a->class_top1[i];
            n++;
        }
    return n ? a->class_top1[k] - sum / n : NAN;
}

static json_t *numbers(const im_analysis *a)
{
    return json_pack("{s:s, s:I, s:I, s:i, s:i, s:o, s:f, s:o, s:o, s:i, s:f}", "model", a->weights, "pictures",
                     (json_int_t)a->pictures, "left_out", (json_int_t)a->left_out, "classes", a->classes, "width", a->width,
                     "top1", measure_number(a->top1), "sparsity", a->sparsity, "intra_class_distance",
                     measure_number(a->intra_class_distance), "feature_redundancy", measure_number(a->feature_redundancy),
                     "flat_features", a->flat, "coding_length", a->coding_length);
}

static void print_json(const arguments *v, const im_analysis *a, const im_analysis *other)
{
    const analyze_options *o = v->values;
    json_t *root = numbers(a), *constants = measure_seen(a->size, false), *list = json_array();
    json_object_set_new(constants, "sparsity_threshold", json_real(im_decimal(o->a.threshold)));
    json_object_set_new(constants, "coding_length_eps2", json_real(im_decimal(o->a.eps2)));
    json_object_set_new(root, "constants", constants);
    if (other)
        json_object_set_new(root, "against", numbers(other));
    for (int k = 0; k < a->classes; k++)
        if (a->count[k])
            json_array_append_new(list, json_pack("{s:s, s:I, s:o, s:o, s:o}", "class", a->names[k], "pictures",
                                  (json_int_t)a->count[k], "top1", measure_number(a->class_top1[k]), "intra_class_distance",
                                  measure_number(a->class_distance[k]), "gap", measure_number(gap_of(a, other, k))));
    json_object_set_new(root, "per_class", list);
    measure_print(root, v);
}

static void percent(double x, int width)
{
    if (isnan(x))
        printf(" %*s", width, "-");
    else
        printf(" %*.2f%%", width - 1, 100 * x);
}

static void print_table(const im_analysis *a, const im_analysis *other)
{
    printf("%-32s %9s %8s %9s %8s\n", "class", "pictures", "top-1", "distance", "gap");
    for (int k = 0; k < a->classes; k++) {
        if (!a->count[k])
            continue;
        shown_text(stdout, a->names[k], 32);
        printf(" %9lld", (long long)a->count[k]);
        percent(a->class_top1[k], 8);
        if (isnan(a->class_distance[k]))
            printf(" %9s", "-");
        else
            printf(" %9.4f", a->class_distance[k]);
        percent(gap_of(a, other, k), 8);
        putchar('\n');
    }
    for (const im_analysis *x = a; x; x = x == a ? other : NULL)
        printf("%s: %lld pictures, %d features of which %d never change\n"
               "  sparsity %.4f, intra-class distance %.4f, feature redundancy %.4f, coding length %.2f nats\n", x->weights,
               (long long)x->pictures, x->width, x->flat, x->sparsity, x->intra_class_distance, x->feature_redundancy,
               x->coding_length);
}

static void defaults(void *values)
{
    ((analyze_options *)values)->a = im_analyze_defaults();
}

static int run(const arguments *v)
{
    analyze_options *o = v->values;
    if (!o->a.measure.model || !o->a.data)
        return usage_error(v->verb, "%s is missing", o->a.measure.model ? "--data DIR" : "-m RUN|FILE");
    im_ctx *c = session_open(&o->common);
    if (!c)
        return CLI_FAILED;
    if (!o->quiet && isatty(STDERR_FILENO))
        o->a.measure.progress = measure_progress;
    im_analysis a = { .pictures = 0 }, other = { .pictures = 0 };
    im_analyze_args second = o->a;
    second.measure.model = o->against;
    second.save_features = NULL;
    if ((!o->a.save_features || im_may_write(c, o->a.save_features, true)) && im_analyze(c, &o->a, &a)
        && (!o->against || im_analyze(c, &second, &other))) {
        if (o->against && other.classes != a.classes)
            im_fail(c, "%s has %d classes and %s has %d: their gaps cannot be taken; with --set both must be of one list",
                    o->a.measure.model, a.classes, o->against, other.classes);
        else if (o->json)
            print_json(v, &a, o->against ? &other : NULL);
        else
            print_table(&a, o->against ? &other : NULL);
    }
    im_analysis_free(&a);
    im_analysis_free(&other);
    return session_close(c);
}

const verb verb_analyze = {
    .name = "analyze", .common = OPT_DEVICE, .options = options, .size = sizeof(analyze_options), .run = run,
    .defaults = defaults,
    .summary = "what the features of a classifier are like on a set",
    .about = "Sparsity (share of values below a threshold), intra-class distance (mean distance of features of length 1), "
             "feature redundancy (mean absolute correlation of pairs of features) and coding length (1/2 log det(I + d / "
             "(n eps2) Z^T Z)) of the features in front of the last layer, and top-1 of each class with its gap to the "
             "mean, or to another classifier. The classes of the set may be others than those of the classifier; then "
             "there is no top-1. Pictures are cut as `imago eval` does. Features are kept beside the weights for the next "
             "time.",
    .examples = "  imago analyze -m RUN --data DIR\n"
                "  imago analyze -m SYNTHETIC --against REAL --data DIR --json",
};
