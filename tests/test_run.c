/* test_run.c: a run of training: learning rates, groups of the optimiser, checkpoints and what damages them, resuming to
 * the same bits, a full disk, values that are not finite, and what bad input gets. Its folder: test_run_folder.c. */
#include <math.h>
#include <sys/resource.h>
#include <signal.h>

#include "classifier.h"

#include "data/files/file.h"
#include "data/files/json.h"
#include "imago.h"
#include "models/train/learning_rate.h"
#include "models/train/train_config.h"
#include "models/train/train_state.h"
#include "scratch.h"
#include "shapes.h"
#include "want.h"
#include "warnings.h"
#include "tensor/tensor.h"

#include <jansson.h>

static char dir[256];
static char notes[2048];

static void setup(void)
{
    open_ctx("", 2);
    im_on_warning(c, on_warning, NULL);
    scratch_make(dir, sizeof dir);
    signal(SIGXFSZ, SIG_IGN);
    *warnings = *notes = 0;
}

static void teardown(void)
{
    im_ctx_free(c);
    scratch_remove(dir);
}

/* "folder/name"; 64 results are alive at a time. */
static const char *at_path(const char *folder, const char *name)
{
    static char paths[64][600];
    static unsigned turn;
    char *p = paths[turn++ % 64], copy[600];
    snprintf(copy, sizeof copy, "%s", folder);
    snprintf(p, sizeof paths[0], "%.290s/%.290s", copy, name);
    return p;
}

/* ---------------------------------------------------------------- schedules, optimisers */

START_TEST(rates_are_those_of_numpy)
{
    im_json j;
    ck_assert(im_json_load(c, &j, "tests/golden/lr_schedules.json", IM_JSON_CONFIG_BYTES));
    json_t *rows = json_object_get(j.value, "rows"), *row;
    size_t i, n = 0;
    json_array_foreach(rows, i, row) {
        json_t *values = json_object_get(row, "values");
        int64_t per_epoch = json_integer_value(json_object_get(row, "per_epoch"));
        im_learning_rate s = { .peak = json_real_value(json_object_get(row, "lr")), .floor = 1e-6, .accumulate = 1,
                          .steps = per_epoch * json_integer_value(json_object_get(row, "epochs")),
                          .warmup = per_epoch * json_integer_value(json_object_get(row, "warmup_epochs")),
                          .parts_an_epoch = per_epoch };
        ck_assert(im_learning_rate_parse(c, json_string_value(json_object_get(row, "schedule")), &s.kind));
        ck_assert_int_eq(json_array_size(values), s.steps);
        for (int64_t k = 0; k < s.steps; k++, n++) {
            double want = json_number_value(json_array_get(values, (size_t)k)), got = im_learning_rate_at(&s, k);
            ck_assert_msg(fabs(got - want) <= 1e-14 + 1e-12 * want, "row %zu, step %lld: %.17g, wanted %.17g", i,
                          (long long)k, got, want);
        }
    }
    ck_assert_uint_gt(n, 100);
    im_json_close(&j);
}
END_TEST

/* A step of SGD with a decay so large that it shows which tensors it acts on. The average of a rising decay has gone
 * 9 / 11 of the way after the first step, one of .999 a thousandth. */
START_TEST(decay_spares_vectors)
{
    im_classifier *m = im_classifier_new(c, &(im_classifier_config){ .arch = "resnet18", .classes = 3 });
    im_params *p = im_classifier_params(m);
    p->train = true;
    ck_assert(im_init_params(p, 1));
    im_optimiser_args a = im_optimiser_defaults(IM_SGD);
    a.decay = 0.5;
    a.ema = 0.999;
    a.ema_rises = _i;
    im_optimiser *o = im_optimiser_new(c, &(im_part_params){ p, "" }, 1, &a);
    im_tensor *w = im_params_find(p, "fc.weight")->t, *b = im_params_find(p, "fc.bias")->t;
    im_tensor *gamma = im_params_find(p, "bn1.weight")->t;
    im_tensor *const all[] = { w, b, gamma };
    float before[3];
    for (int i = 0; i < 3; i++) {                              /* gradients of zero: only decay moves anything        */
        im_tensor *t = all[i];
        im_scope_push(c);
        im_tape_begin(c);
        im_tensor *y = im_scale(c, t, 0);
        im_tensor *dy = im_new(c, IM_F32, y->ndim, y->shape);
        memset(im_data(dy), 0, (size_t)im_numel(dy) * sizeof(float));
        ck_assert_msg(im_backward_from(c, y, dy), "%s", im_error(c));
        im_scope_pop(c);
        before[i] = *(float *)im_data(t);
    }
    ck_assert(im_optimiser_step(o, 0.1, 1, NULL));
    ck_assert_float_eq_tol(*(float *)im_data(w), before[0] * 0.95f, 1e-7f);
    ck_assert_float_eq(*(float *)im_data(b), before[1]);
    ck_assert_float_eq(*(float *)im_data(gamma), before[2]);
    float average = 0;
    for (int i = 0; i < p->n; i++)
        if (p->v[i].t == w)
            average = *(float *)im_data(im_optimiser_average(o, 0, i));
    ck_assert_float_eq_tol((average - before[0]) / (*(float *)im_data(w) - before[0]), _i ? 9 / 11.0f : 0.001f, 1e-4f);
    im_optimiser_free(o);
    im_classifier_free(m);
}
END_TEST

/* ---------------------------------------------------------------- checkpoints */

typedef struct made {
    im_classifier *m;
    im_part_params parts[1];
    im_optimiser *o;
    im_run_folder run;
    im_train_state s;
} made;

static void make(made *k, uint64_t seed)
{
    k->m = im_classifier_new(c, &(im_classifier_config){ .arch = "resnet18", .classes = 3 });
    im_params *p = im_classifier_params(k->m);
    p->train = true;
    ck_assert(im_init_params(p, seed));
    k->parts[0] = (im_part_params){ p, "" };
    im_optimiser_args a = im_optimiser_defaults(IM_ADAMW);
    a.ema = 0.9;
    k->o = im_optimiser_new(c, k->parts, 1, &a);
    if (!k->run.path)
        ck_assert(im_run_open(c, &k->run, at_path(dir, "run")));
    k->s = (im_train_state){ .c = c, .run = &k->run, .parts = k->parts, .n_parts = 1, .optimiser = k->o, .config = "{}",
                             .keep = 2, .best = NAN, .last_good = -1 };
    no_error();
}

static void unmake(made *k, bool run)
{
    im_optimiser_free(k->o);
    im_classifier_free(k->m);
    if (run)
        im_run_close(&k->run);
}

static float *weight(made *k) { return im_data(im_params_find(k->parts[0].params, "conv1.weight")->t); }

static void damage(const char *path, long at, bool cut)
{
    if (cut) {
        ck_assert_int_eq(truncate(path, at), 0);
        return;
    }
    FILE *f = fopen(path, "r+b");
    fseek(f, at, SEEK_SET);
    int byte = fgetc(f);
    fseek(f, at, SEEK_SET);
    fputc(byte ^ 1, f);
    fclose(f);
}

/* Of steps 10, 20, 30, 40 two stay, and the best one; 40 is damaged by a bit and 30 is cut: what is left is the best.
 * Without it there is nothing to go on from, and a run of the same name would write over what is left. */
START_TEST(damaged_checkpoints_are_skipped)
{
    static const double scores[] = { 0.5, 0.9, 0.7, NAN };
    made k = { .m = NULL };
    bool found;
    float at20 = 0, at30 = 0;
    make(&k, 1);
    for (int i = 0; i < 4; i++) {
        weight(&k)[0] += 1;
        at20 = i == 1 ? weight(&k)[0] : at20;
        at30 = i == 2 ? weight(&k)[0] : at30;
        k.s.step = 10 * (i + 1);
        k.s.tracked = 5 * (i + 1);
        ck_assert(im_train_state_save(&k.s, scores[i]));
    }
    ck_assert_int_eq(scratch_count(at_path(dir, "run/checkpoints")), 3);
    unmake(&k, false);
    damage(at_path(dir, "run/checkpoints/step-00000040.safetensors"), 30000000, false);
    make(&k, 2);
    ck_assert(im_train_state_resume(&k.s, &found) && found);
    ck_assert_int_eq(k.s.step, 30);
    ck_assert_int_eq(k.s.tracked, 15);
    ck_assert_double_eq(k.s.best, 0.9);
    ck_assert_float_eq(weight(&k)[0], at30);
    ck_assert_int_eq(im_optimiser_steps(k.o), 30);
    ck_assert_ptr_nonnull(strstr(warnings, "step-00000040.safetensors"));
    unmake(&k, false);
    damage(at_path(dir, "run/checkpoints/step-00000030.safetensors"), 20000000, true);
    make(&k, 3);
    ck_assert(im_train_state_resume(&k.s, &found) && found);
    ck_assert_ptr_nonnull(strstr(warnings, "step-00000030.safetensors"));
    ck_assert_int_eq(k.s.step, 20);
    ck_assert_float_eq(weight(&k)[0], at20);
    no_error();
    im_safetensors *best = im_st_open(c, at_path(dir, "run/checkpoints/best.safetensors"));
    ck_assert(im_checkpoint_good(c, best));
    ck_assert_float_eq(((const float *)im_st_find(best, "conv1.weight")->data)[0], at20);
    ck_assert_ptr_nonnull(im_st_find(best, "optimizer.exp_avg_sq.layer1.0.conv1.weight"));
    ck_assert_ptr_nonnull(im_st_find(best, "ema.bn1.running_var"));
    im_st_close(best);
    unmake(&k, false);
    damage(at_path(dir, "run/checkpoints/best.safetensors"), 20000000, true);
    make(&k, 4);
    ck_assert(!im_train_state_resume(&k.s, &found) && !found);
    WANT_ERROR("run", "none of its 3 checkpoints is whole", "begin anew");
    unmake(&k, true);
}
END_TEST

/* ---------------------------------------------------------------- whole runs */

static void on_note(void *arg, const char *text)
{
    (void)arg;
    size_t n = strlen(notes);
    snprintf(notes + n, sizeof notes - n, "%s\n", text);
}

typedef struct watch { int64_t stop_after, steps, limit_after; double losses[64]; } watch;

static void limit_files(rlim_t bytes)
{
    struct rlimit l;
    getrlimit(RLIMIT_FSIZE, &l);
    l.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &l);
}

static void on_step(void *arg, const im_train_progress *p)
{
    watch *w = arg;
    w->losses[p->step] = p->loss;
    w->steps = p->step;
    if (w->limit_after && p->step == w->limit_after)
        limit_files(1 << 20);
}

static bool on_stop(void *arg)
{
    watch *w = arg;
    return w->stop_after && w->steps >= w->stop_after;
}

static im_train_resnet_args small_run(const char *run)
{
    im_train_resnet_args a = im_train_resnet_defaults();
    a.common.data = at_path(dir, "shapes");
    a.common.out = run;
    a.common.epochs = 3;
    a.common.batch = 4;
    a.common.seed = 7;
    a.common.lr = 0.01f;
    a.common.checkpoint_every = 3;
    a.arch = "resnet18";
    a.size = SHAPE_SIZE;
    return a;
}

static bool train(const im_train_resnet_args *a, watch *w)
{
    im_train_hooks h = { .arg = w, .step = on_step, .stop = on_stop, .note = on_note };
    return im_train_resnet(c, a, &h);
}

static void same_file(const char *a, const char *b)
{
    size_t n, m;
    char *x = im_read_file(c, a, 1 << 29, &n), *y = im_read_file(c, b, 1 << 29, &m);
    no_error();
    ck_assert_msg(n == m && !memcmp(x, y, n), "%s and %s differ", a, b);
    free(x);
    free(y);
}

/* Stopped twice, with every part of the state in use: multi-crop, two parts a step, Nesterov or AdamW, averages. */
START_TEST(resumed_runs_have_the_same_bits)
{
    watch whole = { 0 }, parts = { 0 };
    shapes_write(c, at_path(dir, "shapes"), 0, 5);        /* 20 pictures: 5 batches an epoch                     */
    const char *one = at_path(dir, "one"), *two = at_path(dir, "two");
    im_train_resnet_args a = small_run(one);
    a.common.accumulate = 2;
    a.common.ema = 0.95f;
    a.common.clip = 1;
    a.augment = "dino";
    a.locals = 2;
    a.head = "cosine";
    a.common.nesterov = !_i;
    a.common.optimizer = _i ? "adamw" : "sgd";
    ck_assert_msg(train(&a, &whole), "%s", im_error(c));
    ck_assert_int_eq(whole.steps, 7);                          /* 3 * 5 batches, 2 a step                             */
    a.common.out = two;
    a.common.data = at_path(dir, "shapes");
    parts.stop_after = 2;
    ck_assert(!train(&a, &parts));
    WANT_ERROR("stopped after step 2 of 7", "step-00000002", "--resume");
    a.common.resume = true;
    parts.stop_after = 5;
    ck_assert(!train(&a, &parts));
    WANT_ERROR("stopped after step 5");
    ck_assert_ptr_nonnull(strstr(notes, "goes on from its checkpoint of step 2 of 7"));
    parts.stop_after = 0;
    ck_assert_msg(train(&a, &parts), "%s", im_error(c));
    for (int i = 1; i <= 7; i++)
        ck_assert_double_eq(whole.losses[i], parts.losses[i]);
    same_file(at_path(one, "model.safetensors"), at_path(two, "model.safetensors"));
    same_file(at_path(one, "checkpoints/step-00000007.safetensors"),
              at_path(two, "checkpoints/step-00000007.safetensors"));
    same_file(at_path(one, "config.json"), at_path(two, "config.json"));
}
END_TEST

/* No room for a checkpoint at all: said before any step. Room that ends later: a warning, the run goes on, and ends with
 * what it could not save; resumed with room again it has the bits of a run that always had it. */
START_TEST(full_disk)
{
    watch w = { 0 };
    shapes_write(c, at_path(dir, "shapes"), 0, 3);
    const char *one = at_path(dir, "one"), *two = at_path(dir, "two");
    im_train_resnet_args a = small_run(one);
    limit_files(1 << 20);
    ck_assert(!train(&a, &w));
    ck_assert_int_eq(w.steps, 0);
    WANT_ERROR("checkpoints/step-00000000.safetensors");
    limit_files(RLIM_INFINITY);
    a.common.resume = true;                                    /* a folder that holds nothing yet is no obstacle      */
    ck_assert_msg(train(&a, &w), "%s", im_error(c));
    ck_assert_int_eq(w.steps, 9);

    a.common.out = two;
    a.common.resume = false;
    w = (watch){ .limit_after = 4 };
    ck_assert(!train(&a, &w));
    ck_assert_int_eq(w.steps, 9);
    WANT_ERROR("last checkpoint could not be written", "step-00000003");
    ck_assert_ptr_nonnull(strstr(warnings, "no checkpoint of step 6"));
    ck_assert_ptr_nonnull(strstr(warnings, "the last good one is that of step 3"));
    limit_files(RLIM_INFINITY);
    a.common.resume = true;
    w.limit_after = 0;
    ck_assert_msg(train(&a, &w), "%s", im_error(c));
    ck_assert_ptr_nonnull(strstr(notes, "step 3 of 9"));
    same_file(at_path(one, "model.safetensors"), at_path(two, "model.safetensors"));
}
END_TEST

START_TEST(not_finite_stops)
{
    watch w = { 0 };
    shapes_write(c, at_path(dir, "shapes"), 0, 3);
    im_train_resnet_args a = small_run(at_path(dir, "run"));
    a.common.lr = 1e30f;
    a.common.warmup = 0;
    a.common.checkpoint_every = 1;
    ck_assert(!train(&a, &w));
    ck_assert_int_ge(w.steps, 1);
    WANT_ERROR("step ", "epoch ", "it begins in", "the last good checkpoint is", "--lr");
}
END_TEST

/* ---------------------------------------------------------------- bad input */

START_TEST(another_run_is_refused)
{
    watch w = { .stop_after = 1 };
    shapes_write(c, at_path(dir, "shapes"), 0, 3);
    im_train_resnet_args a = small_run(at_path(dir, "run"));
    ck_assert(!train(&a, &w));
    WANT_ERROR("stopped after step 1");
    ck_assert(!train(&a, &w));
    WANT_ERROR("there is a run in this folder already", "--resume");
    a.common.resume = true;
    shapes_write(c, at_path(dir, "shapes"), 3, 1);
    ck_assert(!train(&a, &w));
    WANT_ERROR("another run", "12", "16");
    ck_assert_int_eq(unlink(at_path(dir, "run/config.json")), 0);
    ck_assert(!train(&a, &w));                                 /* to resume it later would be to resume the old one   */
    WANT_ERROR("has checkpoints, the newest of step 1", "no config.json", "remove", "run/checkpoints");
    scratch_remove(at_path(dir, "run/checkpoints"));
    ck_assert(!train(&a, &w));                                 /* nor is its log written over                         */
    WANT_ERROR("run/log.jsonl: is there already", "no config.json");
    ck_assert_int_eq(unlink(at_path(dir, "run/log.jsonl")), 0);
    ck_assert(!train(&a, &w));
    WANT_ERROR("stopped after step 1");
    im_train_resnet_args b = im_train_resnet_defaults();
    b.common.lr = 0.5f;
    b.common.batch = 4;
    b.arch = "resnet34";
    ck_assert_ptr_null(im_train_resnet_config(c, at_path(dir, "nothing"), &b, NULL, NULL));
    no_error();
}
END_TEST

static bool given(void *arg, const char *option)
{
    for (const char *const *o = arg; *o; o++)
        if (!strcmp(*o, option))
            return true;
    return false;
}

START_TEST(config_goes_round)
{
    watch w = { .stop_after = 1 };
    shapes_write(c, at_path(dir, "shapes"), 0, 3);
    const char *run = at_path(dir, "run");
    im_train_resnet_args a = small_run(run);
    a.common.lr = 0.1f;
    a.common.seed = UINT64_MAX;
    ck_assert(!train(&a, &w));
    im_clear_error(c);
    static const char *const none[] = { NULL }, *const some[] = { "lr", "arch", "epochs", "batch", NULL };
    im_train_resnet_args b = im_train_resnet_defaults();
    im_train_config *f = im_train_resnet_config(c, run, &b, given, (void *)none);
    no_error();
    ck_assert_float_eq(b.common.lr, 0.1f);
    ck_assert(b.common.seed == UINT64_MAX && b.common.batch == 4 && b.common.epochs == 3 && !strcmp(b.arch, "resnet18"));
    im_train_config_free(f);
    b = a;
    b.common.lr = 0.2f;
    b.arch = "resnet34";
    ck_assert_ptr_null(im_train_resnet_config(c, run, &b, given, (void *)some));
    WANT_ERROR("--lr is 0.1 there and 0.2 here", "--arch is resnet18 there and resnet34 here");
    const im_field *const tables[] = { im_train_common_fields, NULL };
    ck_assert_ptr_null(im_config_merge(c, run, "diffusion", tables, &b, &a, given, (void *)none));
    WANT_ERROR("imago train resnet", "imago train diffusion");
}
END_TEST

START_TEST(bad_input)
{
    watch w = { 0 };
    const char *run = at_path(dir, "run"), *empty = at_path(dir, "empty");
    char path[600];
    im_train_resnet_args a = small_run(run);
    mkdir(empty, 0777);
    a.common.data = empty;
    ck_assert(!train(&a, &w));
    WANT_ERROR("empty");
    snprintf(path, sizeof path, "%s/only", empty);
    mkdir(path, 0777);
    im_image *p = im_image_new(c, SHAPE_SIZE, SHAPE_SIZE, 3);
    shape_draw(p, 0, 0);
    im_png_write(c, at_path(dir, "empty/only/a.png"), p, NULL, 0, true);
    im_image_free(p);
    ck_assert(!train(&a, &w));
    WANT_ERROR("class");
    shapes_write(c, at_path(dir, "shapes"), 0, 3);
    a = small_run(run);
    a.common.batch = 13;
    ck_assert(!train(&a, &w));
    WANT_ERROR("12 pictures", "13", "lower --batch");
    a = small_run(run);
    a.common.dtype = "f16";
    ck_assert(!train(&a, &w));
    WANT_ERROR("f16");
    a = small_run(run);
    a.common.schedule = "linear";
    ck_assert(!train(&a, &w));
    WANT_ERROR("linear", "cosine");
    a = small_run(run);
    a.arch = "resnet20";
    ck_assert(!train(&a, &w));
    WANT_ERROR("resnet20");
    ck_assert_msg(!im_is_folder(run), "a run that never began left a folder");
    ck_assert_int_eq(w.steps, 0);
}
END_TEST

/* Classes of other numbers and names; a run begun from weights of another number of classes. */
START_TEST(shares_out_of_range)
{
    static const float bad[] = { -0.1f, 1.5f, NAN };
    for (int i = 0; i < 3; i++) {
        im_train_diffusion_args a = im_train_diffusion_defaults();
        a.common.out = at_path(dir, "none");
        a.common.data = dir;
        a.config = dir;
        a.drop_tags = bad[i];
        ck_assert(!im_train_diffusion(c, &a, NULL));
        WANT_ERROR("--drop-tags", "from 0 to 1");
        a.drop_tags = 0;
        a.snr_power = a.favour_share = bad[i];
        ck_assert(!im_train_diffusion(c, &a, NULL));
        WANT_ERROR("--favour-share", "from 0 to 1");
        a.favour_share = 0;
        ck_assert(!im_train_diffusion(c, &a, NULL));
        WANT_ERROR("--snr-power", "from 0 to 1");
        a.snr_power = 0;
        a.balance = bad[i];
        ck_assert(!im_train_diffusion(c, &a, NULL));
        WANT_ERROR("--balance", "from 0 to 1");
        a.balance = 0.5f;
        a.common.order = "listed";
        ck_assert(!im_train_diffusion(c, &a, NULL));
        WANT_ERROR("--balance", "--order listed");
    }
}
END_TEST

START_TEST(classes_that_do_not_match)
{
    watch w = { .stop_after = 1 };
    char path[600];
    shapes_write(c, at_path(dir, "shapes"), 0, 3);
    const char *run = at_path(dir, "run"), *other = at_path(dir, "other");
    im_train_resnet_args a = small_run(run);
    ck_assert(!train(&a, &w));
    im_clear_error(c);
    shapes_write(c, other, 0, 1);
    im_eval_result r;
    snprintf(path, sizeof path, "mv %s/circle %s/disc", other, other);
    ck_assert_int_eq(system(path), 0);
    ck_assert(!im_eval_classifier(c, &(im_eval_args){ .model = run, .data = other }, &r, NULL, NULL));
    WANT_ERROR("\"cross\"", "\"circle\"");
    snprintf(path, sizeof path, "rm -r %s/disc", other);
    ck_assert_int_eq(system(path), 0);
    ck_assert(!im_eval_classifier(c, &(im_eval_args){ .model = run, .data = other }, &r, NULL, NULL));
    WANT_ERROR("3 classes", "4");
    a = small_run(at_path(dir, "tuned"));
    a.common.data = other;
    a.common.batch = 3;
    snprintf(path, sizeof path, "%s/checkpoints/step-00000001.safetensors", run);
    a.common.init = path;
    ck_assert(!train(&a, &w));
    WANT_ERROR("4 classes", "3", "--new-head");
    a.new_head = true;
    ck_assert(!train(&a, &w));
    WANT_ERROR("stopped after step 1");
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(rates_are_those_of_numpy), LOOP(decay_spares_vectors, 2),
        ONCE(damaged_checkpoints_are_skipped), LOOP(resumed_runs_have_the_same_bits, 2), ONCE(full_disk),
        ONCE(not_finite_stops), ONCE(another_run_is_refused), ONCE(config_goes_round), ONCE(bad_input),
        ONCE(shares_out_of_range), ONCE(classes_that_do_not_match)
    };
    return suite_run("run", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
