/* report_read.c: runs, the results in them, and which runs are seeds of one arm. See report.h. */
#include <assert.h>
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/report.h"
#include "data/files/file.h"
#include "data/files/json.h"

enum { RESULT_BYTES = 256 << 20, POINTS = 300 };

/* "eval-photos.json" of eval -> "photos"; malloc'd */
static char *test_name(im_ctx *c, const char *file, const char *verb)
{
    const char *slash = strrchr(file, '/'), *base = slash ? slash + 1 : file;
    size_t n = strlen(base), v = strlen(verb);
    if (n > 5 && !strcmp(base + n - 5, ".json"))
        n -= 5;
    if (n > v + 1 && !strncmp(base, verb, v) && base[v] == '-') {
        base += v + 1;
        n -= v + 1;
    }
    return im_copy_text(c, base, n);
}

/* results[VERB/NAME] = the object in the file. */
static bool read_result(report *r, json_t *results, const char *path)
{
    im_json j = { 0 };
    const char *verb = NULL;
    bool ok = im_json_load(r->c, &j, path, RESULT_BYTES) && im_json_string(r->c, &j, "verb", IM_MUST, &verb);
    if (ok && strcmp(verb, "eval") && strcmp(verb, "transfer") && strcmp(verb, "analyze") && strcmp(verb, "compare"))
        ok = im_fail(r->c, "%s: is of the verb \"%s\"; wanted what eval, transfer, analyze or compare print with "
                     "--json", path, verb);
    char *name = ok ? test_name(r->c, path, verb) : NULL;
    if (name) {
        char key[600];
        snprintf(key, sizeof key, "%s/%s", verb, name);
        if (json_object_get(results, key))
            ok = im_fail(r->c, "%s: there are two results of the name %s", path, key);
        else
            json_object_set(results, key, j.value);
    }
    free(name);
    im_json_close(&j);
    return ok && im_ok(r->c);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool read_results(report *r, report_run *run)
{
    char *folder = im_join(r->c, run->path, "results"), **names = NULL;
    DIR *d = folder ? opendir(folder) : NULL;
    size_t n = 0, cap = 0;
    for (struct dirent *e; d && im_ok(r->c) && (e = readdir(d)); ) {
        size_t length = strlen(e->d_name);
        if (e->d_name[0] == '.' || length <= 5 || strcmp(e->d_name + length - 5, ".json") != 0)
            continue;
        if (n == cap) {
            char **more = realloc(names, (cap = cap ? 2 * cap : 16) * sizeof *names);
            if (!more) {
                im_fail(r->c, "%s: out of memory for its results", folder);
                break;
            }
            names = more;
        }
        if ((names[n] = im_join(r->c, folder, e->d_name)))
            n++;
    }
    if (d)
        closedir(d);
    if (n)
        qsort(names, n, sizeof *names, by_name);
    for (size_t i = 0; i < n; i++) {
        if (im_ok(r->c))
            read_result(r, run->results, names[i]);
        free(names[i]);
    }
    free(names);
    free(folder);
    return im_ok(r->c);
}

/* Loss of log.jsonl as means of up to POINTS runs of lines. */
static bool read_log(report *r, report_run *run)
{
    char *path = im_join(r->c, run->path, "log.jsonl"), *save = NULL;
    size_t bytes;
    char *text = path && im_is_file(path) ? im_read_file(r->c, path, (size_t)1 << 32, &bytes) : NULL;
    int64_t lines = 0, at = 0;
    for (char *p = text; p && (p = strchr(p, '\n')); p++)
        lines++;
    run->x = calloc(POINTS, sizeof *run->x);
    run->loss = calloc(POINTS, sizeof *run->loss);
    int64_t count[POINTS] = { 0 }, points = lines < POINTS ? lines : POINTS;
    bool ok = (run->x && run->loss) || im_fail(r->c, "%s: out of memory for its curve", run->path);
    for (char *line = text ? strtok_r(text, "\n", &save) : NULL; ok && line && at < lines;
         line = strtok_r(NULL, "\n", &save), at++) {
        json_t *row = json_loads(line, 0, NULL), *step = json_object_get(row, "step"), *loss = json_object_get(row, "loss");
        int64_t k = at * points / lines;
        if (json_is_number(step) && json_is_number(loss)) {
            run->x[k] += json_number_value(step);
            run->loss[k] += json_number_value(loss);
            count[k]++;
        }
        json_decref(row);
    }
    for (int64_t k = 0; ok && k < points; k++)
        if (count[k]) {
            run->x[run->steps] = run->x[k] / (double)count[k];
            run->loss[run->steps++] = run->loss[k] / (double)count[k];
        }
    free(text);
    free(path);
    return ok && im_ok(r->c);
}

static bool read_run(report *r, const char *path)
{
    report_run *run = &r->runs[r->n++];
    char *config = im_join(r->c, path, "config.json");
    im_json j = { 0 };
    *run = (report_run){ .path = path, .results = json_object() };
    bool ok = config && im_json_load(r->c, &j, config, IM_JSON_CONFIG_BYTES);
    if (ok)
        run->config = json_incref(j.value);
    im_json_close(&j);
    free(config);
    return ok && read_results(r, run) && read_log(r, run);
}

/* ---------------------------------------------------------------- arms */

/* "runs/real-s2/" -> "real": a number at the end, and what parts it from the name, is that of the seed. */
static char *arm_label(im_ctx *c, const char *path)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t from = end;
    while (from > 0 && path[from - 1] != '/')
        from--;
    size_t n = end;
    while (n > from && path[n - 1] >= '0' && path[n - 1] <= '9')
        n--;
    size_t digits = n;
    if (n > from + 1 && (path[n - 1] == 's' || path[n - 1] == '.'))
        n--;
    if (n > from + 1 && digits < end && strchr("-_.", path[n - 1]) && (n < digits || strchr("-_", path[n - 1])))
        return im_copy_text(c, path + from, n - 1 - from);
    return im_copy_text(c, path + from, end - from);
}

/* Runs that are averaged may differ in their seed, in the pictures (a set a seed), and in where they ran. */
static bool same_training(report *r, const report_run *a, const report_run *b)
{
    static const char *const free_keys[] = { "seed", "data", "mix", "data-sha256", "pictures", "val", "init", "workers",
                                             "keep", "checkpoint-every", "cache", "strict", "imago", "device", "isa" };
    const char *key;
    json_t *v;
    json_object_foreach(a->config, key, v) {
        bool free_key = json_equal(v, json_object_get(b->config, key));
        for (size_t i = 0; i < sizeof free_keys / sizeof *free_keys; i++)
            free_key |= !strcmp(key, free_keys[i]);
        if (!free_key)
            return im_fail(r->c, "%s and %s: their names say that they are seeds of one training, and their --%s differs; "
                           "rename one of them", a->path, b->path, key);
    }
    return true;
}

/* The same run twice, or two of one seed and the same pictures, are one result, and their mean has no deviation. */
static bool other_seed(report *r, const report_run *a, const report_run *b)
{
    static const char *const keys[] = { "seed", "data-sha256", "mix", "val" };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_t *x = json_object_get(a->config, keys[i]), *y = json_object_get(b->config, keys[i]);
        if (x != y && !(x && y && json_equal(x, y)))
            return true;
    }
    return im_fail(r->c, "%s and %s: are seeds of one training by their names, but have the same seed and pictures: one "
                   "result would count twice; give one of them, or rename it", a->path, b->path);
}

static bool find_arms(report *r)
{
    r->arms = calloc((size_t)r->n + 1, sizeof *r->arms);
    if (!r->arms)
        return im_fail(r->c, "out of memory for %d runs", r->n);
    for (int i = 0; i < r->n; i++) {
        assert(r->runs[i].path);
        char *label = arm_label(r->c, r->runs[i].path);
        int k = 0;
        while (label && k < r->n_arms && strcmp(r->arms[k].label, label))
            k++;
        if (!label)
            return false;
        if (k == r->n_arms)
            r->arms[r->n_arms++].label = label;
        else
            free(label);
        if (r->arms[k].n == REPORT_SEEDS)
            return im_fail(r->c, "%s: there are more than %d runs of the name \"%s\"", r->runs[i].path, REPORT_SEEDS,
                           r->arms[k].label);
        for (int j = 0; j < r->arms[k].n; j++)
            if (!other_seed(r, &r->runs[r->arms[k].runs[j]], &r->runs[i]))
                return false;
        r->arms[k].runs[r->arms[k].n++] = i;
        if (!same_training(r, &r->runs[r->arms[k].runs[0]], &r->runs[i]))
            return false;
    }
    return true;
}

bool report_read(report *r, const char *const paths[], int n)
{
    r->runs = calloc((size_t)n + 1, sizeof *r->runs);
    r->loose = json_object();
    bool ok = (r->runs && r->loose) || im_fail(r->c, "out of memory for %d runs", n);
    for (int i = 0; ok && i < n; i++)
        ok = im_is_folder(paths[i]) ? read_run(r, paths[i]) : read_result(r, r->loose, paths[i]);
    if (ok && !r->n)
        ok = im_fail(r->c, "%s: is no run; wanted the folder of a run of `imago train` among what is reported on",
                     paths[0]);
    return ok && find_arms(r);
}

void report_free(report *r)
{
    for (int i = 0; i < r->n; i++) {
        json_decref(r->runs[i].config);
        json_decref(r->runs[i].results);
        free(r->runs[i].x);
        free(r->runs[i].loss);
    }
    for (int i = 0; i < r->n_arms; i++)
        free(r->arms[i].label);
    free(r->runs);
    free(r->arms);
    json_decref(r->loose);
}

/* ---------------------------------------------------------------- numbers */

spread report_spread_of(const double *v, int n)
{
    spread s = { .mean = NAN, .deviation = NAN };
    double sum = 0, squares = 0;
    for (int i = 0; i < n && s.n < REPORT_SEEDS; i++)
        if (!isnan(v[i]))
            sum += s.v[s.n++] = v[i];
    if (s.n)
        s.mean = sum / s.n;
    for (int i = 0; i < s.n; i++)
        squares += (s.v[i] - s.mean) * (s.v[i] - s.mean);
    if (s.n > 1)
        s.deviation = sqrt(squares / (s.n - 1));
    return s;
}

static const json_t *result_of(const report *r, int run, const char *verb, const char *name)
{
    char key[600];
    snprintf(key, sizeof key, "%s/%s", verb, name);
    return json_object_get(r->runs[run].results, key);
}

spread report_spread(const report *r, int arm, const char *verb, const char *name, const char *field)
{
    double v[REPORT_SEEDS];
    const report_arm *a = &r->arms[arm];
    for (int i = 0; i < a->n; i++) {
        const json_t *x = json_object_get(result_of(r, a->runs[i], verb, name), field);
        v[i] = json_is_number(x) ? json_number_value(x) : NAN;
    }
    return report_spread_of(v, a->n);
}

double report_class_top1(const report *r, int arm, const char *name, const char *class_name)
{
    double v[REPORT_SEEDS];
    const report_arm *a = &r->arms[arm];
    for (int i = 0; i < a->n; i++) {
        json_t *row, *list = json_object_get(result_of(r, a->runs[i], "eval", name), "per_class");
        size_t k;
        v[i] = NAN;
        json_array_foreach(list, k, row) {
            const char *is = json_string_value(json_object_get(row, "class"));
            if (is && !strcmp(is, class_name) && json_integer_value(json_object_get(row, "pictures")))
                v[i] = json_number_value(json_object_get(row, "top1"));
        }
    }
    return report_spread_of(v, a->n).mean;
}

json_t *report_names(const report *r, const char *verb)
{
    json_t *set = json_object(), *list = json_array(), *v;
    size_t n = strlen(verb);
    const char *key;
    for (int i = 0; i < r->n; i++)
        json_object_foreach(r->runs[i].results, key, v) {
            if (!strncmp(key, verb, n) && key[n] == '/')
                json_object_set_new(set, key + n + 1, json_true());
        }
    char *text = json_dumps(set, JSON_SORT_KEYS);
    json_t *sorted = text ? json_loads(text, 0, NULL) : NULL;
    json_object_foreach(sorted, key, v) {
        json_array_append_new(list, json_string(key));
    }
    free(text);
    json_decref(sorted);
    json_decref(set);
    return list;
}
