/* test_run_config.c: what a run's files say, changed in every way: for every key of config.json null, other types, huge and
 * negative numbers, missing, twice. Reading it never crashes and never goes on with another training: it fails and says
 * where, or goes on with what was trained. The same of the counters of a checkpoint and of what a model says of itself; and
 * runs that get another number of steps. */
#include <jansson.h>
#include <sys/stat.h>

#include "classifier.h"

#include "data/files/file.h"
#include "models/checkpoints/classifier_file.h"
#include "models/train/train_config.h"
#include "models/train/train_state.h"
#include "scratch.h"
#include "shapes.h"
#include "want.h"

static char dir[256], run[300], shapes[300], warnings[8192];

static void on_warning(void *arg, const char *text)
{
    (void)arg;
    size_t n = strlen(warnings);
    snprintf(warnings + n, sizeof warnings - n, "%s\n", text);
}

static void setup(void)
{
    open_ctx("", 1);
    im_on_warning(c, on_warning, NULL);
    scratch_make(dir, sizeof dir);
    snprintf(run, sizeof run, "%.240s/run", dir);
    snprintf(shapes, sizeof shapes, "%.240s/shapes", dir);
    *warnings = '\0';
}

static void teardown(void)
{
    im_ctx_free(c);
    scratch_remove(dir);
}

static im_train_resnet_args small_run(int steps, const char *schedule)
{
    im_train_resnet_args a = im_train_resnet_defaults();
    a.common.data = shapes;
    a.common.out = run;
    a.common.steps = steps;
    a.common.batch = 4;
    a.common.schedule = schedule;
    a.arch = "resnet18";
    a.width = 4;
    a.size = 16;
    return a;
}

static bool given_these(void *arg, const char *option)
{
    for (const char *const *o = arg; *o; o++)
        if (!strcmp(*o, option))
            return true;
    return false;
}
static const char *const nothing[] = { NULL };

/* --resume with the options `given`, which have the values in *a. */
static bool resume(im_train_resnet_args *a, const char *const given[])
{
    a->common.out = run;
    a->common.resume = true;
    im_train_config *f = im_train_resnet_config(c, run, a, given_these, (void *)given);
    bool ok = f && im_train_resnet(c, a, NULL);
    im_train_config_free(f);
    return ok;
}

static const char *run_file(const char *name)
{
    static char path[600];
    snprintf(path, sizeof path, "%s/%s", run, name);
    return path;
}

/* ---------------------------------------------------------------- config.json */

static const char *const free_keys[] = { "imago", "device", "isa", "data", "mix", "budget", "init", "classes", "val",
                                         "workers", "keep", "checkpoint-every", "strict", "new-head", "recompute", NULL };

/* Does `text`, a config.json, mean what `whole` does, in all that decides? */
static bool same_training(json_t *whole, const char *text)
{
    json_t *now = json_loads(text, 0, NULL), *value;
    const char *key;
    bool same = json_is_object(now);
    json_object_foreach(whole, key, value) {
        json_t *other = json_object_get(now, key);
        bool number = json_is_number(value) && json_is_number(other);
        if (same && !given_these((void *)free_keys, key))
            same = number ? json_number_value(value) == json_number_value(other) : json_equal(value, other);
    }
    json_decref(now);
    return same;
}

static int failed, went_on;

/* The run with this config.json goes on as it was, or fails and says why. key: what was changed. */
static void try_config(json_t *whole, const char *key, const char *change, const char *text)
{
    scratch_write(run, "config.json", text, strlen(text));
    *warnings = '\0';
    im_train_resnet_args a = im_train_resnet_defaults();
    if (!resume(&a, nothing)) {
        ck_assert_msg(!im_ok(c), "\"%s\" %s: failed without a word", key, change);
        bool named = strstr(im_error(c), run) || strstr(im_error(c), key) || strstr(warnings, key) ||
                     given_these((void *)free_keys, key);
        ck_assert_msg(named, "\"%s\" %s: names no file: %s", key, change, im_error(c));
        im_clear_error(c);
        failed++;
        return;
    }
    im_safetensors *s = im_st_open(c, run_file("model.safetensors"));
    ck_assert_msg(same_training(whole, im_st_metadata(s, "config")), "\"%s\" %s: another training", key, change);
    if (!strcmp(change, "missing") && !given_these((void *)free_keys, key))
        ck_assert_msg(strstr(warnings, key), "\"%s\" is missing, and nothing was said: %s", key, warnings);
    im_st_close(s);
    went_on++;
}

/* Another value that the option could have. */
static json_t *another(const json_t *v)
{
    if (json_is_integer(v))
        return json_integer(json_integer_value(v) + 1);
    if (json_is_real(v))
        return json_real(json_real_value(v) / 2);
    if (json_is_boolean(v))
        return json_boolean(!json_is_true(v));
    return json_string(json_is_string(v) ? "lars" : "none");
}

static void try_changes(json_t *whole, const char *key, json_t *value)
{
    json_t *const changes[] = { json_null(), json_true(), json_string("none"), json_string("NaN"), json_string(""),
                                json_integer(-1), json_integer(0), json_integer(4294967328), json_integer(INT64_MAX),
                                json_real(1e300), json_real(-1e300), json_real(0.999999999999), json_array(),
                                json_object(), another(value) };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        json_t *changed = json_copy(whole);
        char *what = json_dumps(changes[i], JSON_ENCODE_ANY);
        json_object_set_new(changed, key, changes[i]);
        char *text = json_dumps(changed, JSON_INDENT(1));
        try_config(whole, key, what, text);
        free(text);
        free(what);
        json_decref(changed);
    }
    json_t *without = json_copy(whole);
    json_object_del(without, key);
    char *text = json_dumps(without, JSON_INDENT(1));
    char *twice = malloc(strlen(text) + 200), *literal = malloc(strlen(text) + 200);
    try_config(whole, key, "missing", text);
    char *one = json_dumps(value, JSON_ENCODE_ANY);
    sprintf(twice, "{ \"%s\": %.60s, \"%s\": %.60s,%s", key, json_is_array(value) ? "[]" : one, key,
            json_is_array(value) ? "[]" : one, text + 1);
    try_config(whole, key, "twice", twice);
    sprintf(literal, "{ \"%s\": NaN,%s", key, text + 1);
    try_config(whole, key, "NaN", literal);
    free(one);
    free(text);
    free(twice);
    free(literal);
    json_decref(without);
}

/* All keys of a run with a cosine; those of the rate in one without, which may get more steps. */
START_TEST(changed_configs)
{
    shapes_write(c, shapes, 0, 2);
    im_train_resnet_args a = small_run(1, _i ? "constant" : "cosine");
    a.common.ema = 0.5f;
    ck_assert_msg(im_train_resnet(c, &a, NULL), "%s", im_error(c));
    size_t n;
    char *text = im_read_file(c, run_file("config.json"), 1 << 20, &n);
    json_t *whole = json_loads(text, 0, NULL), *value;
    const char *key;
    ck_assert(json_is_object(whole));
    try_config(whole, "nothing", "changed", text);
    ck_assert_int_eq(went_on, 1);
    int at = 0;
    json_object_foreach(whole, key, value)
        if (!_i || !strcmp(key, "warmup") || !strcmp(key, "schedule") || !strcmp(key, "lr")) {
            try_changes(whole, key, value);
            at++;
        }
    ck_assert_int_ge(at, _i ? 3 : 40);
    for (size_t cut = 0; cut < n; cut += n / 7) {
        text[cut] = '\0';
        try_config(whole, "all", "cut off", text);
    }
    ck_assert_int_ge(failed, _i ? 30 : 500);
    json_decref(whole);
    free(text);
}
END_TEST

START_TEST(types_and_ranges_are_named)
{
    static const struct { const char *from, *to, *says; } changes[] = {
        { "\"schedule\": \"cosine\"", "\"schedule\": null", "\"schedule\" is null; wanted one of cosine|step|constant" },
        { "\"size\": 16", "\"size\": 4294967328", "\"size\" is 4294967328; wanted a whole number from 1 to 4096" },
        { "\"batch\": 4", "\"batch\": -4", "\"batch\" is -4; wanted a whole number from 1 to 65536" },
        { "\"ema\": 0.0", "\"ema\": 1", "\"ema\" is 1; wanted a number of at least 0 and below 1" },
        { "\"seed\": \"0\"", "\"seed\": \"-1\"", "\"seed\" is \"-1\"; wanted a whole number from 0 to" },
        { "\"seed\": \"0\"", "\"seed\": 0", "\"seed\" is 0; wanted a whole number from 0 to" },
        { "\"nesterov\": false", "\"nesterov\": 0", "\"nesterov\" is 0; wanted true or false" },
        { "\"optimizer\": \"sgd\"", "\"optimizer\": \"adamw\"", "--optimizer is sgd there and adamw here" },
        { "\"task\": \"resnet\"", "\"task\": 3", "\"task\" is 3; wanted a text" },
        { "\"circle\"", "3", "\"class-names[0]\" is 3; wanted a text" },
        { "\"data-sha256\": \"", "\"data-sha256\": null, \"x\": \"", "\"data-sha256\" is null; add it" },
        { "\"pictures\": 8", "\"pictures\": -8", "\"pictures\" is -8; wanted a whole number from 0 to" },
    };
    shapes_write(c, shapes, 0, 2);
    im_train_resnet_args a = small_run(1, "cosine");
    ck_assert_msg(im_train_resnet(c, &a, NULL), "%s", im_error(c));
    size_t n;
    char *text = im_read_file(c, run_file("config.json"), 1 << 20, &n);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char changed[8000];
        const char *at = strstr(text, changes[i].from);
        ck_assert_msg(at, "config.json has no %s: %s", changes[i].from, text);
        snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, changes[i].to, at + strlen(changes[i].from));
        scratch_write(run, "config.json", changed, strlen(changed));
        a = im_train_resnet_defaults();
        ck_assert_msg(!resume(&a, nothing), "taken: %s", changes[i].to);
        WANT_ERROR(run, changes[i].says);
    }
    free(text);
}
END_TEST

/* ---------------------------------------------------------------- more steps */

static void *model_bytes(size_t *n)
{
    void *bytes = im_read_file(c, run_file("model.safetensors"), 1 << 26, n);
    no_error();
    return bytes;
}

/* With a rate that does not depend on the last step a run may go on past it, to the bits of a run that had meant to. */
START_TEST(more_steps)
{
    static const char *const steps[] = { "steps", NULL }, *const epochs[] = { "epochs", NULL };
    size_t n, m;
    shapes_write(c, shapes, 0, 2);
    im_train_resnet_args a = small_run(5, _i ? "step" : "constant");
    a.common.warmup = 1;
    ck_assert_msg(im_train_resnet(c, &a, NULL), "%s", im_error(c));
    void *whole = model_bytes(&n);
    snprintf(run, sizeof run, "%.240s/again", dir);
    a = small_run(2, _i ? "step" : "constant");
    a.common.warmup = 1;
    ck_assert_msg(im_train_resnet(c, &a, NULL), "%s", im_error(c));
    a = im_train_resnet_defaults();
    a.common.steps = 5;
    ck_assert_msg(resume(&a, steps), "%s", im_error(c));
    void *grown = model_bytes(&m);
    ck_assert(n == m && !memcmp(whole, grown, n));
    a = im_train_resnet_defaults();                            /* the run is one of 5 steps from now on                */
    ck_assert_msg(resume(&a, nothing), "%s", im_error(c));
    ck_assert_int_eq(a.common.steps, 5);
    a = im_train_resnet_defaults();
    a.common.steps = 3;
    ck_assert(!resume(&a, steps));
    WANT_ERROR("of step 5 is past the 3 steps asked for");
    a.common.epochs = 7;                                       /* steps count, epochs would do nothing                */
    ck_assert(!resume(&a, epochs));
    WANT_ERROR("this is another run", "--epochs is 100 there and 7 here");
    free(whole);
    free(grown);
}
END_TEST

/* The warm-up stays what a tenth of the first length was. */
START_TEST(more_steps_keep_their_warm_up)
{
    static const char *const steps[] = { "steps", NULL };
    shapes_write(c, shapes, 0, 2);
    im_train_resnet_args a = small_run(20, "constant");
    ck_assert_msg(im_train_resnet(c, &a, NULL), "%s", im_error(c));
    a = im_train_resnet_defaults();
    a.common.steps = 60;
    ck_assert_msg(resume(&a, steps), "%s", im_error(c));
    size_t n;
    char *text = im_read_file(c, run_file("config.json"), 1 << 20, &n);
    ck_assert_msg(strstr(text, "\"steps\": 60") && strstr(text, "\"warmup\": 1.0"), "%s", text);
    free(text);
    text = im_read_file(c, run_file("log.jsonl"), 1 << 20, &n);
    ck_assert(strstr(text, "{\"step\": 60,"));
    free(text);
}
END_TEST

START_TEST(a_cosine_does_not_grow)
{
    static const char *const steps[] = { "steps", NULL };
    shapes_write(c, shapes, 0, 2);
    im_train_resnet_args a = small_run(2, "cosine");
    ck_assert_msg(im_train_resnet(c, &a, NULL), "%s", im_error(c));
    a = im_train_resnet_defaults();
    a.common.steps = 5;
    ck_assert(!resume(&a, steps));
    WANT_ERROR("--steps is 2 there and 5 here", "falls along a cosine", "begin a new run with --init");
    a = small_run(5, "cosine");                                /* as a library, without im_train_resnet_config         */
    a.common.resume = true;
    ck_assert(!im_train_resnet(c, &a, NULL));
    WANT_ERROR("it has 2 steps, and 5 are asked for");
    a = small_run(2, "cosine");
    a.common.resume = true;
    a.common.momentum = 0.5f;
    ck_assert(!im_train_resnet(c, &a, NULL));
    WANT_ERROR("--momentum is 0.9 there and 0.5 here", "step-00000002");
}
END_TEST

/* ---------------------------------------------------------------- texts that are not UTF-8 */

/* JSON cannot hold them: that is said before anything is trained. */
START_TEST(latin_names)
{
    char from[400], to[400];
    shapes_write(c, shapes, 0, 2);
    snprintf(from, sizeof from, "%.300s/circle", shapes);
    snprintf(to, sizeof to, "%.300s/caf\xe9", shapes);
    ck_assert(!rename(from, to));
    im_train_resnet_args a = small_run(1, "cosine");
    ck_assert(!im_train_resnet(c, &a, NULL));
    WANT_ERROR("the name of class 0", "caf", "byte 3 (0xe9) is not UTF-8");
    struct stat st;
    ck_assert(stat(run, &st));
    ck_assert(!rename(to, from));
    snprintf(to, sizeof to, "%.240s/sh\xe9pes", dir);
    ck_assert(!rename(shapes, to));
    a.common.data = to;
    ck_assert(!im_train_resnet(c, &a, NULL));
    WANT_ERROR("--data", "is not UTF-8");
}
END_TEST

/* ---------------------------------------------------------------- metadata of checkpoints and models */

/* A checkpoint with these counters, whose hash is right. */
START_TEST(counters_of_checkpoints)
{
    static const char whole[] = "{\"step\": 3, \"tracked\": 3, \"loss_sum\": 1.5, \"losses\": 3, \"best\": null}";
    static const struct { const char *state, *says; } bad[] = {
        { "{\"tracked\": 3, \"loss_sum\": 1.5, \"losses\": 3}", "\"step\" is missing" },
        { "{\"step\": \"3\", \"tracked\": 3, \"loss_sum\": 1.5, \"losses\": 3}", "\"step\" is \"3\"; wanted a whole" },
        { "{\"step\": -3, \"tracked\": 3, \"loss_sum\": 1.5, \"losses\": 3}", "\"step\" is -3; wanted a whole number" },
        { "{\"step\": 3.5, \"tracked\": 3, \"loss_sum\": 1.5, \"losses\": 3}", "\"step\" is 3.5; wanted a whole number" },
        { "{\"step\": 3, \"tracked\": null, \"loss_sum\": 1.5, \"losses\": 3}", "\"tracked\" is null" },
        { "{\"step\": 3, \"tracked\": 3, \"loss_sum\": [], \"losses\": 3}", "\"loss_sum\" is a list" },
        { "{\"step\": 3, \"tracked\": 3, \"loss_sum\": 1.5, \"losses\": 99999999999999999999}", "\"losses\" is 1e20" },
        { "{\"step\": 3, \"step\": 4, \"tracked\": 3, \"loss_sum\": 1.5, \"losses\": 3}", "is not valid JSON" },
        { "[]", "holds no JSON object" }, { "", "is not valid JSON" }, { NULL, "has no \"state\"" },
    };
    mkdir(run, 0777);
    mkdir(run_file(IM_RUN_CHECKPOINTS), 0777);
    im_classifier *m = im_classifier_new(c, &(im_classifier_config){ .arch = "resnet18", .classes = 3, .width = 4 });
    im_params *p = im_classifier_params(m);
    p->train = true;
    ck_assert(im_init_params(p, 1));
    im_part_params part = { p, "" };
    im_optimiser_args oa = im_optimiser_defaults(IM_SGD);
    im_optimiser *o = im_optimiser_new(c, &part, 1, &oa);
    im_run_folder folder = { .c = c, .path = run, .lock = -1, .log = -1 };
    for (size_t i = 0; i <= sizeof bad / sizeof *bad; i++) {
        bool good = i == sizeof bad / sizeof *bad, found;
        const char *text = good ? whole : bad[i].state;
        const char *metadata[] = { "format", "pt", "imago", IM_VERSION, "config", "{}", "state", text };
        im_state state = { .c = c };
        ck_assert(im_state_add(&state, "", p) && im_optimiser_save(o, &state));
        ck_assert(im_state_write(&state, run_file(IM_RUN_CHECKPOINTS "/step-00000003.safetensors"), metadata, text ? 4 : 3,
                                 true));
        im_state_free(&state);
        im_train_state s = { .c = c, .run = &folder, .parts = &part, .n_parts = 1, .optimiser = o, .keep = 1,
                             .best = NAN, .last_good = -1 };
        bool ok = im_train_state_resume(&s, &found);
        if (!text) {                                           /* the hash covers it: damaged, as any other           */
            ck_assert(!ok);
            WANT_ERROR("none of its 1 checkpoints is whole", "bring one back");
            continue;
        }
        ck_assert_msg(ok == good, "%s", text);
        if (!good)
            WANT_ERROR("step-00000003.safetensors", bad[i].says);
        else
            ck_assert(found && s.step == 3 && s.losses == 3 && s.loss_sum == 1.5 && isnan(s.best));
    }
    im_optimiser_free(o);
    im_classifier_free(m);
}
END_TEST

START_TEST(models_that_tell_nonsense)
{
    static const struct { const char *config, *says; } bad[] = {
        { "{\"size\": 4294967328}", "\"size\" is 4294967328; wanted a whole number from 1 to" },
        { "{\"size\": null}", "\"size\" is null; wanted a whole number" },
        { "{\"size\": \"64\"}", "\"size\" is \"64\"" },
        { "{\"size\": 64, \"class-names\": {}}", "\"class-names\" is an object" },
        { "{\"size\": 64, \"class-names\": \"abc\"}", "\"class-names\" is \"abc\"" },
        { "{\"size\": 64, \"class-names\": [\"a\", null, \"c\"]}", "\"class-names[1]\" is null" },
        { "{\"size\": 64, \"class-names\": [\"a\", 2, \"c\"]}", "\"class-names[1]\" is 2" },
        { "[1]", "holds no JSON object" },
    };
    char path[600];
    float one = 1;
    snprintf(path, sizeof path, "%s/x.safetensors", dir);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *metadata[] = { "config", bad[i].config };
        im_st_entry e = { .name = "x", .dtype = IM_F32, .ndim = 1, .shape = { 1 }, .bytes = 4, .dtype_name = "F32" };
        im_st_writer *w = im_st_create(c, path, &e, 1, metadata, 1);
        ck_assert(w && im_st_put(c, w, 0, &one, 4) && im_st_finish(c, w));
        im_safetensors *s = im_st_open(c, path);
        im_classifier_info info = { .path = im_copy_text(c, path, strlen(path)) };
        ck_assert_msg(s && !im_classifier_read_info(c, s, &info), "%s", bad[i].config);
        WANT_ERROR(path, bad[i].says);
        im_classifier_info_free(&info);
        im_st_close(s);
    }
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        LOOP(changed_configs, 2), ONCE(types_and_ranges_are_named), LOOP(more_steps, 2),
        ONCE(more_steps_keep_their_warm_up), ONCE(a_cosine_does_not_grow), ONCE(latin_names),
        ONCE(counters_of_checkpoints), ONCE(models_that_tell_nonsense)
    };
    return suite_run("run_config", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
