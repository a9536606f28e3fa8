/* test_eval_sets.c: a classifier on the real sets of ImageNet, each in its own folder convention: label maps, top-1, top-5,
 * loss and AUPR beside torch, torchvision and scikit-learn (golden_clones.py); files of features; what does not fit. */
#include "classifier.h"

#include <jansson.h>

#include "data/files/file.h"
#include "data/text/carried_lists.h"
#include "golden_json.h"
#include "imago.h"
#include "models/eval/features.h"
#include "models/eval/measures.h"
#include "scratch.h"
#include "want.h"

/* Logits of the golden are f64, ours f32: sums over 64 features of values near 1. Rows of top-k are the same. */
#define LOSS_TOLERANCE 1e-4

enum { WIDTH = 8, SIZE = 32 };
static char dir[200];
static json_t *sets;

static void setup(void)
{
    open_ctx("", 2);
    scratch_make(dir, sizeof dir);
    json_t *root = golden_json("tests/golden/clones.json.gz");
    sets = json_incref(json_object_get(root, "sets"));
    json_decref(root);
    ck_assert_ptr_nonnull(sets);
}

static void teardown(void)
{
    json_decref(sets);
    im_ctx_free(c);
    scratch_remove(dir);
}

/* DIR/FILE: the narrow ResNet-18 with hashed weights. list: whose wnids its classes are, told in the file; or none. */
static const char *write_model(const char *file, int classes, const im_imagenet *list)
{
    const char *path = scratch_path(dir, file);
    im_classifier *m = im_classifier_new(c, &(im_classifier_config){ .arch = "resnet18", .classes = classes, .width = WIDTH,
                                                                     .small_stem = true });
    ck_assert_msg(m != NULL, "%s", im_error(c));
    im_classifier_params(m)->train = true;                     /* plain weights                                       */
    fill_hashed(im_classifier_params(m), NULL);
    static char wnid[IM_IMAGENET_CLASSES][IM_WNID_BYTES];
    json_t *config = json_pack("{s:i, s:[]}", "size", SIZE, "class-names");
    int n = list ? im_imagenet_wnids(*list, wnid, NULL) : 0;
    for (int i = 0; i < n; i++) json_array_append_new(json_object_get(config, "class-names"), json_string(wnid[i]));
    char *text = json_dumps(config, JSON_COMPACT);
    const char *metadata[] = { "config", text };
    im_state s = { .c = c };
    ck_assert(im_state_add(&s, "", im_classifier_params(m)));
    ck_assert_msg(im_state_write(&s, path, metadata, list ? 1 : 0, false), "%s", im_error(c));
    im_state_free(&s);
    free(text);
    json_decref(config);
    im_classifier_free(m);
    return path;
}

/* golden_clones.py has the same. */
static void write_picture(const char *path, int number)
{
    char name[40];
    im_image *p = im_image_new(c, 48, 40, 3);
    snprintf(name, sizeof name, "eval.%d", number);
    uint64_t block = hashed_seed(name);
    snprintf(name, sizeof name, "eval.%d.noise", number);
    uint64_t noise = hashed_seed(name);
    for (int y = 0; y < 40; y++)
        for (int x = 0; x < 48; x++)
            for (int k = 0; k < 3; k++)
                p->pixels[(y * 48 + x) * 3 + k] = (uint8_t)((hashed_bits(block, (y / 8 * 6 + x / 8) * 3 + k) >> 8) % 200 +
                                                            hashed_bits(noise, (y * 48 + x) * 3 + k) % 56);
    ck_assert_msg(im_png_write(c, path, p, NULL, 0, true), "%s", im_error(c));
    im_image_free(p);
}

static const char *write_tree(const char *name)
{
    const char *root = scratch_path(dir, name);
    json_t *row, *tree = json_object_get(json_object_get(sets, "trees"), name);
    size_t i;
    ck_assert_uint_ge(json_array_size(tree), 18);
    json_array_foreach(tree, i, row) {
        char file[600];
        int number = (int)json_integer_value(json_array_get(row, 1));
        snprintf(file, sizeof file, "%s/%s", root, json_string_value(json_array_get(row, 0)));
        ck_assert(im_make_folder(c, file));
        snprintf(file + strlen(file), sizeof file - strlen(file), "/%d.png", number);
        write_picture(file, number);
    }
    return root;
}

static double number(json_t *o, const char *key)
{
    json_t *v = json_object_get(o, key);
    ck_assert_msg(json_is_number(v), "the golden file has no %s", key);
    return json_number_value(v);
}

static void compare(const char *model, const char *net, const char *set)
{
    const char *data = write_tree(set);
    json_t *want = json_object_get(json_object_get(json_object_get(sets, "values"), net), set);
    bool odd = !strcmp(set, "imagenet-o");
    im_eval_args a = { .model = model, .data = data, .set = set, .batch = 7, .size = SIZE,
                       .val = odd ? write_tree("val") : NULL };
    im_eval_result r;
    ck_assert_msg(im_eval_classifier(c, &a, &r, NULL, NULL), "%s, %s: %s", net, set, im_error(c));
    ck_assert_int_eq(r.pictures, (int)number(want, "pictures") + (odd ? (int)number(want, "val") : 0));
    ck_assert_int_eq(r.left_out, (int)number(want, "left_out"));
    ck_assert_int_eq(r.in_common, (int)number(want, "in_common"));
    ck_assert_msg(fabs(r.top1 - number(want, "top1")) < 1e-12 && fabs(r.top5 - number(want, "top5")) < 1e-12,
                  "%s, %s: top-1 %g, top-5 %g", net, set, r.top1, r.top5);
    ck_assert_msg(fabs(r.loss - number(want, "loss")) < LOSS_TOLERANCE, "%s, %s: loss %.9g, wanted %.9g", net, set, r.loss,
                  number(want, "loss"));
    if (odd) ck_assert_msg(fabs(r.aupr - number(want, "aupr")) < 1e-12, "%s: AUPR %.12g", net, r.aupr);
    else ck_assert(isnan(r.aupr));
    im_eval_result_free(&r);
}

START_TEST(those_of_torch)
{
    static const char *const names[] = { "imagenet", "imagenet-v2", "imagenet-sketch", "imagenet-a", "imagenet-r",
                                         "imagenet-o" };
    const im_imagenet hundred = IM_IMAGENET_100;
    compare(write_model("1k.safetensors", 1000, NULL), "1k", names[_i]);
    compare(write_model("100.safetensors", 100, &hundred), "100", names[_i]);
}
END_TEST

START_TEST(what_does_not_fit)
{
    const im_imagenet hundred = IM_IMAGENET_100;
    const char *model = write_model("100.safetensors", 100, &hundred), *one = write_model("1k.safetensors", 1000, NULL);
    const char *ten = write_model("10.safetensors", 10, NULL), *a = write_tree("imagenet-a");
    const char *v2 = write_tree("imagenet-v2");
    const char *val = write_tree("imagenet"), *odd = write_tree("imagenet-o");
    const struct { const char *model, *data, *set, *says; } cases[] = {
        { one, a, "imagenet-v2", "is not a number below 1000" }, { one, v2, "imagenet", "named by wnid" },
        { one, val, "imagenet-a", "is none of the 200 classes of imagenet-a" }, { ten, val, "imagenet", "10 classes" },
        { one, odd, "imagenet-o", "name ImageNet's val with --val" }, { one, val, "imagenet-x", "there is no set" },
        { model, val, "folder", "was trained on 100" }
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        im_eval_result r;
        ck_assert(!im_eval_classifier(c, &(im_eval_args){ .model = cases[i].model, .data = cases[i].data,
                                                          .set = cases[i].set, .size = SIZE }, &r, NULL, NULL));
        WANT_ERROR(cases[i].says);
    }
}
END_TEST

/* --save-features, and the file beside the weights: the features of memory, extracted once. */
START_TEST(files_of_features)
{
    const char *model = write_model("1k.safetensors", 1000, NULL), *data = write_tree("imagenet");
    const char *file = scratch_path(dir, "f.safetensors");
    im_eval_result r;
    ck_assert_msg(im_eval_classifier(c, &(im_eval_args){ .model = model, .data = data, .set = "imagenet", .size = SIZE,
                                                         .save_features = file }, &r, NULL, NULL), "%s", im_error(c));
    im_classifier_info info;
    im_classifier *m = im_classifier_open(c, model, &info);
    im_dataset *d = im_dataset_open(c, &(im_dataset_args){ .path = data, .min_classes = 2 });
    im_run_args run = { .batch = 5, .size = SIZE };
    im_features memory;
    ck_assert_msg(im_features_of(c, m, 1000, d, &run, &memory), "%s", im_error(c));
    im_feature_file saved, cached;
    ck_assert_msg(im_features_open(c, file, &saved), "%s", im_error(c));
    ck_assert(saved.n == 18 && saved.width == 8 * WIDTH && !saved.logits);
    ck_assert_mem_eq(saved.features, memory.features, 18 * 8 * WIDTH * sizeof(float));
    static char wnid[IM_IMAGENET_CLASSES][IM_WNID_BYTES];
    im_imagenet_wnids(IM_IMAGENET_1K, wnid, NULL);
    json_t *names = json_loads(im_st_metadata(saved.file, "names"), 0, NULL);
    for (int64_t i = 0; i < 18; i++) {
        ck_assert_str_eq(wnid[saved.labels[i]], d->classes[d->samples[i].label]);
        ck_assert_str_eq(json_string_value(json_array_get(names, (size_t)i)), d->samples[i].name);
    }
    json_decref(names);
    for (int k = 0; k < 2; k++) {
        ck_assert_msg(im_features_cached(c, m, &info, model, d, &run, &cached), "%s", im_error(c));
        ck_assert(cached.n == 18 && cached.classes == 1000 && cached.labels[17] == d->samples[17].label);
        ck_assert_mem_eq(cached.features, memory.features, 18 * 8 * WIDTH * sizeof(float));
        ck_assert_mem_eq(cached.logits, memory.logits, 18 * 1000 * sizeof(float));
        im_features_close(&cached);
        ck_assert_int_eq(scratch_count(scratch_path(dir, "1k.safetensors.features")), 1);
    }
    run.whole = true;                                          /* cut in another way: another file                    */
    ck_assert(im_features_cached(c, m, &info, model, d, &run, &cached));
    ck_assert(memcmp(cached.features, memory.features, 18 * 8 * WIDTH * sizeof(float)));
    ck_assert_int_eq(scratch_count(scratch_path(dir, "1k.safetensors.features")), 2);
    im_features_close(&cached);
    im_features_close(&saved);
    im_features_free(&memory);
    im_dataset_free(d);
    im_classifier_free(m);
    im_classifier_info_free(&info);
    im_eval_result_free(&r);
}
END_TEST

START_TEST(average_precision)
{
    /* sklearn.metrics.average_precision_score([0, 1, 1, 0, 1], [.1, .4, .35, .8, .4]) and of constants */
    const double score[] = { .1, .4, .35, .8, .4 }, same[] = { 1, 1, 1, 1, 1 };
    const uint8_t is[] = { 0, 1, 1, 0, 1 }, none[] = { 0, 0, 0, 0, 0 };
    ck_assert_double_eq_tol(im_average_precision(score, is, 5), 0.69444444444444444, 1e-15);
    ck_assert_double_eq_tol(im_average_precision(same, is, 5), 0.6, 1e-15);
    ck_assert(isnan(im_average_precision(score, none, 5)));
    const double odd[] = { NAN, .4, NAN, 0, 1 };
    ck_assert(isfinite(im_average_precision(odd, is, 5)));     /* and it ends                                         */
}
END_TEST

/* A file of features whose shapes are these, of no picture, so that any shape has no bytes. */
static const char *write_shapes(long long width, long long classes)
{
    char text[400], file[408];
    int n = snprintf(text, sizeof text, "{\"features\":{\"dtype\":\"F32\",\"shape\":[0,%lld],\"data_offsets\":[0,0]},"
                     "\"labels\":{\"dtype\":\"I64\",\"shape\":[0],\"data_offsets\":[0,0]},"
                     "\"logits\":{\"dtype\":\"F32\",\"shape\":[0,%lld],\"data_offsets\":[0,0]}}", width, classes);
    memset(file, 0, 8);
    file[0] = (char)n;
    file[1] = (char)(n >> 8);
    memcpy(file + 8, text, (size_t)n);
    return scratch_write(dir, "shapes.safetensors", file, 8 + (size_t)n);
}

START_TEST(shapes_of_features)
{
    im_feature_file f;
    ck_assert_msg(im_features_open(c, write_shapes(7, 5), &f), "%s", im_error(c));
    ck_assert_int_eq(f.width, 7);
    ck_assert_int_eq(f.classes, 5);
    im_features_close(&f);
    ck_assert(!im_features_open(c, write_shapes(7, 4294967301LL), &f));             /* 2^32 + 5                        */
    WANT_ERROR("shapes.safetensors: its tensor \"logits\" is of 4294967301 classes; wanted 1 to 2147483647");
    ck_assert(!im_features_open(c, write_shapes(7, 0), &f));
    WANT_ERROR("\"logits\" is of 0 classes");
    ck_assert(!im_features_open(c, write_shapes(4294967303LL, 5), &f));
    WANT_ERROR("shapes.safetensors: its tensors are not of the same pictures");
}
END_TEST

int main(void)
{
    const suite_test tests[] = { LOOP(those_of_torch, 6), ONCE(what_does_not_fit), ONCE(files_of_features),
                                 ONCE(shapes_of_features), ONCE(average_precision) };
    return suite_run("eval_sets", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
