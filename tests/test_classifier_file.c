/* test_classifier_file.c: classifiers of other widths give what torchvision's blocks give, are told apart by their files,
 * and go through f16. Reference: measures.safetensors, computed by torchvision in f64 (tests/golden/golden_measures.py). */
#include "classifier.h"

#include <jansson.h>

#include "data/files/file.h"
#include "models/checkpoints/classifier_file.h"
#include "models/train/train_resnet.h"
#include "scratch.h"
#include "tensor/tensor.h"
#include "want.h"

#define LOGITS 1e-5                                            /* as in test_resnet.c                                 */

enum { WIDTH = 20, CLASSES = 5, SIZE = 32 };
static const char GOLDEN[] = "tests/golden/measures.safetensors";
static char dir[200];

static void setup(void)
{
    open_ctx("", 2);
    scratch_make(dir, sizeof dir);
}

static void teardown(void)
{
    im_ctx_free(c);
    scratch_remove(dir);
}

static im_classifier *narrow(bool small_stem, bool train)
{
    im_classifier *m = im_classifier_new(c, &(im_classifier_config){ .arch = "resnet18", .classes = CLASSES,
                                                                     .width = WIDTH, .small_stem = small_stem });
    ck_assert_msg(m != NULL, "%s", im_error(c));
    im_classifier_params(m)->train = train;
    fill_hashed(im_classifier_params(m), NULL);
    return m;
}

static double off_by(const im_classifier *m, const char *name)
{
    char input[64];
    snprintf(input, sizeof input, "%s.x", name);
    im_scope_push(c);
    im_tensor *y = im_classifier_logits(c, m, im_classifier_features(c, m, hashed_pictures(input, 2, SIZE)));
    no_error();
    double d = distance(im_data(y), found("%s.logits", name)->data, 2 * CLASSES);
    im_scope_pop(c);
    return d;
}

START_TEST(other_widths_are_torchvisions)
{
    const char *name = _i ? "narrow_usual" : "narrow";
    golden = im_st_open(c, GOLDEN);
    im_classifier *m = narrow(!_i, false);
    ck_assert_int_eq(im_classifier_width(m), 8 * WIDTH);
    double d = off_by(m, name);
    ck_assert_msg(d < LOGITS, "%s: logits are off by %g", name, d);
    im_classifier_free(m);
    im_st_close(golden);
}
END_TEST

/* A file as a run leaves it: weights, and config.json in its metadata. */
static const char *write_model(const char *file, const im_classifier *m)
{
    const char *path = scratch_path(dir, file);
    const char *config = "{\"size\": 32, \"class-names\": [\"a\", \"b\", \"c\", \"d\", \"e\"]}";
    const char *metadata[] = { "format", "pt", "config", config };
    im_state s = { .c = c, .tracked = 3 };
    ck_assert(im_state_add(&s, "", im_classifier_params((im_classifier *)m)));
    ck_assert(im_state_write(&s, path, metadata, 2, false));
    im_state_free(&s);
    return path;
}

/* f16 has 11 bits: logits of random weights through twenty layers stay within 2^-11 of each weight, added up at random. */
START_TEST(half_precision)
{
    golden = im_st_open(c, GOLDEN);
    im_classifier *m = narrow(true, true);
    const char *path = write_model("model.safetensors", m), *half = scratch_path(dir, "half.safetensors");
    ck_assert(im_is_classifier(c, path) && im_is_classifier(c, dir));
    ck_assert(!im_is_classifier(c, GOLDEN) && !im_is_classifier(c, "tests/golden/models/a"));
    ck_assert(!im_is_classifier(c, "tests/golden/nothing") && im_ok(c));
    ck_assert_msg(im_classifier_convert(c, path, half, IM_F16, false), "%s", im_error(c));
    ck_assert(!im_classifier_convert(c, path, half, IM_F16, false) && strstr(im_error(c), "half.safetensors"));
    im_clear_error(c);
    ck_assert(!im_classifier_convert(c, path, scratch_path(dir, "folder"), IM_F16, false) &&
              strstr(im_error(c), ".safetensors"));
    im_clear_error(c);
    im_safetensors *s = im_st_open(c, half), *whole = im_st_open(c, path);
    ck_assert_int_eq(im_st_count(s), im_st_count(whole));
    for (int i = 0; i < im_st_count(whole); i++) {
        const im_st_entry *e = im_st_at(whole, i), *h = im_st_find(s, e->name);
        ck_assert_msg(h && h->ndim == e->ndim, "%s", e->name);
        ck_assert_msg(!strcmp(h->dtype_name, e->ndim > 1 ? "F16" : e->dtype_name), "%s is %s", e->name, h->dtype_name);
        if (e->ndim > 1)
            for (size_t k = 0; k < e->bytes / 4; k++)
                ck_assert_uint_eq(((const uint16_t *)h->data)[k], im_f16_from_f32(((const float *)e->data)[k]));
        else
            ck_assert_mem_eq(h->data, e->data, e->bytes);
    }
    im_st_close(whole);
    im_st_close(s);
    im_classifier_info info;
    im_classifier *again = im_classifier_open(c, half, &info);
    ck_assert_msg(again != NULL, "%s", im_error(c));
    ck_assert_int_eq(info.config.width, WIDTH);
    ck_assert(info.config.small_stem && info.size == 32 && info.n_names == CLASSES && !strcmp(info.names[4], "e"));
    double d = off_by(again, "narrow");
    ck_assert_msg(d > 1e-6 && d < 4e-3, "f16: logits are off by %g", d);
    im_classifier_info_free(&info);
    im_classifier_free(again);
    im_classifier_free(m);
    im_st_close(golden);
}
END_TEST

/* Of a checkpoint the averages go out, under the names of the weights, without the optimiser's state. */
START_TEST(averages_of_checkpoints)
{
    im_classifier *m = narrow(true, true), *average = narrow(true, true);
    for (int i = 0; i < im_classifier_params(average)->n; i++)
        *(float *)im_data(im_classifier_params(average)->v[i].t) = 7;
    im_state s = { .c = c };
    const char *path = scratch_path(dir, "step.safetensors"), *out = scratch_path(dir, "out.safetensors");
    const im_params *p = im_classifier_params(m);
    ck_assert(im_state_add(&s, "", p));
    for (int i = 0; i < p->n; i++) {
        const im_param *q = &p->v[i];
        ck_assert(im_state_add_one(&s, "ema.", q, im_classifier_params(average)->v[i].t));
        ck_assert(im_state_add_one(&s, "optimizer.momentum.", q, q->t));
    }
    ck_assert(im_state_write(&s, path, NULL, 0, false));
    im_state_free(&s);
    ck_assert_msg(im_classifier_convert(c, path, out, -1, false), "%s", im_error(c));
    im_safetensors *f = im_st_open(c, out);
    no_error();
    for (int i = 0; i < im_st_count(f); i++) {
        const im_st_entry *e = im_st_at(f, i);
        ck_assert_msg(strncmp(e->name, "ema.", 4) && strncmp(e->name, "optimizer.", 10), "%s", e->name);
        if (e->dtype == IM_F32)
            ck_assert_msg(*(const float *)e->data == 7, "%s is not the average", e->name);
    }
    im_st_close(f);
    im_classifier_free(average);
    im_classifier_free(m);
}
END_TEST

/* Writes the tensors of a file again under other names; also (may be NULL): one more of that name. */
static void wrap(const char *from, const char *to, const char *head, int every, const char *also)
{
    im_safetensors *s = im_st_open(c, from);
    no_error();
    int n = im_st_count(s);
    im_st_entry *e = calloc((size_t)n + 1, sizeof *e);
    char (*names)[200] = calloc((size_t)n + 1, sizeof *names);
    for (int i = 0; i < n; i++) {
        e[i] = *im_st_at(s, i);
        snprintf(names[i], sizeof names[i], "%s%s", i % every ? "" : head, e[i].name);
        e[i].name = names[i];
    }
    e[n] = e[0];
    e[n].name = also;
    int total = n + (also != NULL);
    const char *metadata[] = { "config", im_st_metadata(s, "config") };
    im_st_writer *w = im_st_create(c, to, e, total, metadata, 1);
    for (int i = 0; i < total; i++)
        im_st_put(c, w, i, e[i].data, e[i].bytes);
    ck_assert_msg(im_st_finish(c, w), "%s", im_error(c));
    im_st_close(s);
    free(names);
    free(e);
}

static char heard[400];
static int warnings;
static void hear(void *arg, const char *text)
{
    (void)arg;
    snprintf(heard, sizeof heard, "%s", text);
    warnings++;
}

/* torch.compile and DataParallel put words before the names; tensors of nobody are left out, or refused. */
START_TEST(wrapped_names_and_extra_tensors)
{
    static const struct { const char *head; int every; } heads[] = {
        { "module.", 1 }, { "_orig_mod.", 1 }, { "_orig_mod.module.", 1 }, { "module._orig_mod.module.", 1 },
        { "module.", 2 },
    };
    golden = im_st_open(c, GOLDEN);
    im_classifier *m = narrow(true, true);
    const char *path = write_model("model.safetensors", m), *file = scratch_path(dir, "w.safetensors"),
               *out = scratch_path(dir, "out.safetensors");
    wrap(path, file, heads[_i].head, heads[_i].every, "teacher.weight");
    im_on_warning(c, hear, NULL);
    im_classifier_info info;
    im_classifier *again = im_classifier_open(c, file, &info);
    ck_assert_msg(again != NULL, "%s", im_error(c));
    ck_assert_msg(off_by(again, "narrow") < LOGITS, "other logits");
    ck_assert_int_eq(warnings, 1);
    ck_assert_msg(strstr(heard, "1 tensor that no network asks for is left out: teacher.weight"), "%s", heard);
    im_classifier_info_free(&info);
    im_classifier_free(again);
    ck_assert(im_is_classifier(c, file));
    ck_assert_msg(im_classifier_convert(c, file, out, -1, false), "%s", im_error(c));
    im_safetensors *a = im_st_open(c, path), *b = im_st_open(c, out);
    ck_assert_int_eq(im_st_count(a), im_st_count(b));
    for (int i = 0; i < im_st_count(a); i++)
        ck_assert_msg(im_st_find(b, im_st_at(a, i)->name) != NULL, "%s", im_st_at(a, i)->name);
    im_st_close(a);
    im_st_close(b);
    im_weights_rules(c, true, NULL);
    ck_assert_ptr_null(im_classifier_open(c, file, &info));
    WANT_ERROR("1 tensor that no network asks for: teacher.weight; --strict refuses them");
    im_classifier_info_free(&info);
    im_classifier_free(m);
    im_st_close(golden);
}
END_TEST

/* More than ours under our names is another network: timm's seresnet18, blocks of [2, 3, 2, 2], convolutions with
 * biases. */
START_TEST(other_networks_are_refused)
{
    static const char *const names[] = { "layer1.0.se.fc1.weight", "layer2.2.conv1.weight", "layer1.0.conv1.bias",
                                         "conv1.bias", "layer5.0.conv1.weight", "layer1.x.conv1.weight" };
    im_classifier *m = narrow(true, true);
    const char *path = write_model("model.safetensors", m), *file = scratch_path(dir, "w.safetensors");
    char wanted[64];
    im_classifier_info info;
    wrap(path, file, "", 1, names[_i]);
    ck_assert_ptr_null(im_classifier_open(c, file, &info));
    snprintf(wanted, sizeof wanted, "has %s, which resnet", names[_i]);
    WANT_ERROR("w.safetensors", wanted, "it is another network");
    im_classifier_info_free(&info);
    im_classifier_free(m);
}
END_TEST

START_TEST(names_that_meet)
{
    im_classifier *m = narrow(true, true);
    const char *path = write_model("model.safetensors", m), *file = scratch_path(dir, "w.safetensors");
    wrap(path, file, "module.", 1, "conv1.weight");
    im_classifier_info info;
    ck_assert_ptr_null(im_classifier_open(c, file, &info));
    WANT_ERROR("w.safetensors", "tensor conv1.weight is there twice");
    im_classifier_info_free(&info);
    im_classifier_free(m);
}
END_TEST

/* Mixing by hand and by the loss: k of a picture and of its loss, 1 - k of those of its partner; the middle one of five has
 * none. The network is run, not trained, so that a picture's logits do not depend on the others. */
START_TEST(mixed_pictures)
{
    enum { B = 5, EACH = 3 * SIZE * SIZE };
    const float keep = 0.7f;
    static const int32_t labels[B] = { 0, 1, 2, 3, 4 };
    float *x = malloc(B * EACH * sizeof *x), *mixed = malloc(B * EACH * sizeof *mixed);
    hashed_fill("mixed.x", B * EACH, 1, 0, x);
    for (int i = 0; i < B; i++)
        for (int p = 0; p < EACH; p++)
            mixed[i * EACH + p] = keep * x[i * EACH + p] + (1 - keep) * x[(B - 1 - i) * EACH + p];
    im_classifier *m = narrow(true, false);
    im_batch b = { .n = B, .kinds = 1, .labels = labels, .crops = { { .count = 1, .size = SIZE, .f32 = x } } };
    im_loop_result r = { 0 };
    double by_picture[2] = { 0, 0 }, got[2];
    im_scope_push(c);
    for (int i = 0; i < B; i++) {
        im_tensor *one = im_from(c, IM_F32, 4, (int64_t[]){ 1, SIZE, SIZE, 3 }, mixed + i * EACH);
        im_tensor *y = im_classifier_logits(c, m, im_classifier_features(c, m, one));
        im_tensor *own = im_from(c, IM_I32, 1, (int64_t[]){ 1 }, &labels[i]);
        im_tensor *other = im_from(c, IM_I32, 1, (int64_t[]){ 1 }, &labels[B - 1 - i]);
        by_picture[0] += *(float *)im_data(im_cross_entropy(c, y, own)) / B;
        by_picture[1] += *(float *)im_data(im_cross_entropy(c, y, other)) / B;
    }
    got[0] = *(float *)im_data(im_classifier_loss(c, m, &b, keep, &r));
    got[1] = *(float *)im_data(im_classifier_loss(c, m, &b, 1, &r));
    no_error();
    double want = (double)keep * by_picture[0] + (1 - (double)keep) * by_picture[1];
    ck_assert_msg(fabs(got[0] - want) < 1e-5 * want, "mixed: %.9g, wanted %.9g", got[0], want);
    ck_assert_msg(fabs(got[1] - want) > 1e-3, "nothing was mixed");
    ck_assert(r.judged == B && r.pictures == B);
    im_scope_pop(c);
    im_classifier_free(m);
    free(mixed);
    free(x);
}
END_TEST

START_TEST(widths_are_checked)
{
    ck_assert_ptr_null(im_classifier_new(c, &(im_classifier_config){ .arch = "resnet18", .classes = 3, .width = 5000 }));
    ck_assert_ptr_nonnull(strstr(im_error(c), "5000"));
    im_clear_error(c);
    im_classifier *m = narrow(true, true);
    char path[300], run[300], data[300];
    snprintf(path, sizeof path, "%s", write_model("model.safetensors", m));
    snprintf(run, sizeof run, "%s/run", dir);
    snprintf(data, sizeof data, "%s/data", dir);
    im_classifier_free(m);
    im_train_resnet_args a = im_train_resnet_defaults();
    ck_assert_int_eq(a.width, 64);
    a.common.out = run;
    a.common.data = data;
    a.common.batch = 2;
    a.common.init = path;
    a.arch = "resnet18";
    a.size = SIZE;
    a.small_stem = true;
    a.width = 24;
    im_image *picture = im_image_new(c, SIZE, SIZE, 3);
    memset(picture->pixels, 200, (size_t)SIZE * SIZE * 3);
    for (int k = 0; k < CLASSES; k++) {
        char file[80];
        snprintf(file, sizeof file, "data/%c", 'a' + k);
        ck_assert(im_make_folder(c, scratch_path(dir, file)));
        snprintf(file, sizeof file, "data/%c/x.png", 'a' + k);
        ck_assert(im_png_write(c, scratch_path(dir, file), picture, NULL, 0, true));
    }
    im_image_free(picture);
    ck_assert(!im_train_resnet(c, &a, &(im_train_hooks){ 0 }));
    ck_assert_msg(strstr(im_error(c), "20 channels, and --width is 24"), "%s", im_error(c));
    im_clear_error(c);
    a.width = WIDTH;
    a.mixup = 1.5f;
    ck_assert(!im_train_resnet(c, &a, &(im_train_hooks){ 0 }) && strstr(im_error(c), "--mixup is 1.5"));
    im_clear_error(c);
    a.mixup = 0.5f;
    a.common.steps = 1;
    ck_assert_msg(im_train_resnet(c, &a, &(im_train_hooks){ 0 }), "%s", im_error(c));
    json_t *config = json_load_file(scratch_path(dir, "run/config.json"), 0, NULL);
    ck_assert_int_eq(json_integer_value(json_object_get(config, "width")), WIDTH);
    json_decref(config);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { LOOP(other_widths_are_torchvisions, 2), ONCE(half_precision),
                                 ONCE(averages_of_checkpoints), LOOP(wrapped_names_and_extra_tensors, 5),
                                 ONCE(names_that_meet), LOOP(other_networks_are_refused, 6), ONCE(mixed_pictures),
                                 ONCE(widths_are_checked) };
    return suite_run("classifier_file", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
