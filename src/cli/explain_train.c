/* explain_train.c: the page of a training (`imago explain --train RUN`): its curves, what each epoch changed of loss and
 * scores, how far weights moved between the checkpoints that are kept, the sheets of samples. */
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/explain.h"
#include "cli/report.h"
#include "data/files/file.h"
#include "data/files/json.h"

enum { FILE_BYTES = 1 << 30, POINTS = 240, SHEETS = 12, MOVED = 24, NAMES = 512 };
enum { LOSS, NORM, RATE, TOP1, VAL_TOP1, VAL_PSNR, VALUES };
static const char *const keys[VALUES] = { "loss", "grad_norm", "lr", "top1", "val_top1", "val_psnr" };
static const char *const heads[VALUES] = { "loss", "gradient's norm", "rate", "top-1", "top-1, other set",
                                           "PSNR, other set" };

typedef struct epoch { int64_t number, last_step, n[VALUES]; double sum[VALUES]; } epoch;

typedef struct training {
    im_ctx *c;
    const char *run, *command;
    im_json config;
    int64_t steps; double (*row)[VALUES];                      /* NAN: not logged                                      */
    int n_epochs; epoch *epochs;
    int n_sheets, n_checkpoints; char *sheets[NAMES], *checkpoints[NAMES];               /* names, sorted              */
} training;

/* ---------------------------------------------------------------- reading */

static bool add_row(training *t, const json_t *row, int64_t cap)
{
    int64_t number = json_integer_value(json_object_get(row, "epoch"));
    if (t->steps == cap)
        return im_fail(t->c, "%s/log.jsonl: changed while it was read; try again", t->run);
    epoch *e = t->n_epochs ? &t->epochs[t->n_epochs - 1] : NULL;
    if (!e || e->number != number) {
        epoch *v = realloc(t->epochs, (size_t)(t->n_epochs + 1) * sizeof *v);
        if (!v)
            return im_fail(t->c, "out of memory for the epochs of %s", t->run);
        t->epochs = v;
        e = &v[t->n_epochs++];
        *e = (epoch){ .number = number };
    }
    e->last_step = json_integer_value(json_object_get(row, "step"));
    for (int k = 0; k < VALUES; k++) {
        const json_t *v = json_object_get(row, keys[k]);
        t->row[t->steps][k] = json_is_number(v) ? json_number_value(v) : NAN;
        if (json_is_number(v)) {
            e->sum[k] += json_number_value(v);
            e->n[k]++;
        }
    }
    t->steps++;
    return true;
}

/* Half a line at the end is one that is being written. */
static bool read_log(training *t)
{
    char *path = im_join(t->c, t->run, "log.jsonl"), *save = NULL;
    char *text = path ? im_read_file(t->c, path, FILE_BYTES, NULL) : NULL;
    int64_t cap = 1;
    for (const char *p = text; p && *p; p++)
        cap += *p == '\n';
    t->row = text ? calloc((size_t)cap, sizeof *t->row) : NULL;
    bool ok = t->row || (im_ok(t->c) && im_fail(t->c, "out of memory for %s", path));
    for (char *line = ok ? strtok_r(text, "\n", &save) : NULL; ok && line; line = strtok_r(NULL, "\n", &save)) {
        json_t *row = json_loads(line, 0, NULL);
        ok = !json_is_object(row) || add_row(t, row, cap);
        json_decref(row);
    }
    if (ok && !t->steps)
        ok = im_fail(t->c, "%s: holds no step yet; wanted the log of a training that has begun", path);
    free(text);
    free(path);
    return ok;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* step-N files of a folder below the run, in order. */
static int list(training *t, const char *folder, const char *tail, char *out[NAMES])
{
    char *path = im_join(t->c, t->run, folder);
    DIR *d = path ? opendir(path) : NULL;
    int n = 0;
    for (struct dirent *e; d && n < NAMES && (e = readdir(d)); ) {
        size_t length = strlen(e->d_name), m = strlen(tail);
        if (!strncmp(e->d_name, "step-", 5) && length > m && !strcmp(e->d_name + length - m, tail)
            && (out[n] = im_join(t->c, path, e->d_name)))
            n++;
    }
    if (d)
        closedir(d);
    if (n)
        qsort(out, (size_t)n, sizeof *out, by_name);
    free(path);
    return n;
}

static bool read_run(training *t)
{
    char *path = im_join(t->c, t->run, "config.json");
    bool ok = path && im_json_load(t->c, &t->config, path, FILE_BYTES) && read_log(t);
    if (ok) {
        t->n_sheets = list(t, "samples", ".png", t->sheets);
        t->n_checkpoints = list(t, "checkpoints", ".safetensors", t->checkpoints);
    }
    free(path);
    return ok && im_ok(t->c);
}

/* ---------------------------------------------------------------- the page */

static void settings(page *p, const training *t)
{
    const char *key;
    json_t *v;
    page_section(p, "settings", "What was trained");
    page_print(p, "<div class=\"wide\"><table class=\"text\">\n");
    json_object_foreach(t->config.value, key, v) {
        if (json_is_object(v) || json_is_array(v) || json_is_null(v))
            continue;
        char *text = json_is_string(v) ? strdup(json_string_value(v))
                                       : json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        page_print(p, "<tr><th>");
        page_say(p, key);
        page_print(p, "</th><td>");
        page_paths(p->f, text ? text : "");
        page_print(p, "</td></tr>\n");
        free(text);
    }
    page_print(p, "</table></div>\n");
}

/* One value over the steps, as means of at most POINTS runs of them. */
static void curve(page *p, const training *t, int k)
{
    double y[POINTS];
    const double *lines[] = { y };
    int n = 0;
    for (int64_t i = 0, end; i < t->steps; i = end) {
        int64_t count = 0, points = t->steps < POINTS ? t->steps : POINTS, part = i * points / t->steps;
        double sum = 0;
        for (end = i; end < t->steps && end * points / t->steps == part; end++)
            if (!isnan(t->row[end][k])) {
                sum += t->row[end][k];
                count++;
            }
        if (count && n < POINTS)
            y[n++] = sum / (double)count;
    }
    if (n < 2)
        return;
    page_print(p, "<figure>");
    page_curves(p, &heads[k], lines, 1, n, "steps, from the first to the last", NULL);
    page_print(p, "</figure>\n");
}

static void epochs(page *p, const training *t)
{
    page_section(p, "epochs", "What each epoch changed");
    page_print(p, "<p>Means over the steps of an epoch, and in brackets the change against the one before.</p>\n"
               "<div class=\"wide\"><table><thead><tr><th>epoch</th><th>last step</th>");
    bool any[VALUES] = { false };
    for (int k = 0; k < VALUES; k++) {
        for (int i = 0; i < t->n_epochs; i++)
            any[k] |= t->epochs[i].n[k] > 0;
        if (any[k])
            page_print(p, "<th>%s</th>", heads[k]);
    }
    page_print(p, "</tr></thead>\n");
    for (int i = 0; i < t->n_epochs; i++) {
        const epoch *e = &t->epochs[i], *before = i ? e - 1 : NULL;
        page_print(p, "<tr><td>%lld</td><td>%lld</td>", (long long)e->number, (long long)e->last_step);
        for (int k = 0; k < VALUES; k++) {
            double now = e->sum[k] / (double)(e->n[k] ? e->n[k] : 1);
            if (any[k] && !e->n[k])
                page_print(p, "<td></td>");
            else if (any[k] && before && before->n[k])
                page_print(p, "<td>%.5g (%+.3g)</td>", now, now - before->sum[k] / (double)before->n[k]);
            else if (any[k])
                page_print(p, "<td>%.5g</td>", now);
        }
        page_print(p, "</tr>\n");
    }
    page_print(p, "</table></div>\n");
}

/* ---------------------------------------------------------------- how far weights moved */

typedef struct moved { char name[160]; double share; } moved;

static int farthest_first(const void *a, const void *b)
{
    double x = ((const moved *)a)->share, y = ((const moved *)b)->share;
    return x > y ? -1 : x < y;
}

static bool is_weight(const im_st_entry *e)
{
    return e->dtype == IM_F32 && strncmp(e->name, "optimizer.", 10) != 0 && strncmp(e->name, "ema.", 4) != 0
        && !strstr(e->name, ".running_") && strncmp(e->name, "running_", 8) != 0;
}

/* |b - a| / |a| of every weight that both have; malloc'd. */
static moved *measure_moved(const im_safetensors *a, const im_safetensors *b, int *n, double *all)
{
    moved *v = calloc((size_t)im_st_count(b) + 1, sizeof *v);
    double up_all = 0, down_all = 0;
    *n = 0;
    for (int i = 0; v && i < im_st_count(b); i++) {
        const im_st_entry *y = im_st_at(b, i), *x = is_weight(y) ? im_st_find(a, y->name) : NULL;
        double up = 0, down = 0;
        if (!x || x->bytes != y->bytes || x->dtype != IM_F32)
            continue;
        for (size_t k = 0; k < y->bytes / sizeof(float); k++) {
            double from = (double)((const float *)x->data)[k], to = (double)((const float *)y->data)[k];
            up += (to - from) * (to - from);
            down += from * from;
        }
        snprintf(v[*n].name, sizeof v->name, "%.150s", y->name);
        v[(*n)++].share = down > 0 ? sqrt(up / down) : 0;
        up_all += up;
        down_all += down;
    }
    *all = down_all > 0 ? sqrt(up_all / down_all) : 0;
    if (v)
        qsort(v, (size_t)*n, sizeof *v, farthest_first);
    return v;
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void weights(page *p, const training *t)
{
    page_section(p, "weights", "How far the weights moved");
    if (t->n_checkpoints < 2) {
        page_print(p, "<p class=\"note\">It takes two checkpoints, and the run has %d; <code>--keep</code> says how "
                   "many stay."
                   "</p>\n", t->n_checkpoints);
        return;
    }
    page_print(p, "<p>Between the checkpoints that are kept: the length of the change of a tensor, as a share of the "
               "tensor's own. "
               "The first of each are shown.</p>\n");
    for (int i = 1; i < t->n_checkpoints && im_ok(t->c); i++) {
        im_safetensors *a = im_st_open(t->c, t->checkpoints[i - 1]), *b = a ? im_st_open(t->c, t->checkpoints[i]) : NULL;
        int n = 0;
        double all = 0;
        moved *v = b ? measure_moved(a, b, &n, &all) : NULL;
        if (v) {
            page_print(p, "<details%s><summary><code>%s</code> to <code>%s</code>: all weights together %.3f "
                       "%%</summary>\n",
                       i == t->n_checkpoints - 1 ? " open" : "", base_of(t->checkpoints[i - 1]),
                       base_of(t->checkpoints[i]), 100 * all);
            for (int k = 0; k < n && k < MOVED; k++) {
                page_print(p, "<div class=\"bar\"><span><code>");
                page_say(p, v[k].name);
                page_print(p, "</code></span><span><i style=\"width:%.1f%%\"></i></span><b>%.3f %%</b></div>\n",
                           v[0].share > 0 ? 100 * v[k].share / v[0].share : 0, 100 * v[k].share);
            }
            page_print(p, "</details>\n");
        }
        free(v);
        im_st_close(b);
        im_st_close(a);
    }
}

/* ---------------------------------------------------------------- samples */

static void samples(page *p, const training *t)
{
    page_section(p, "samples", "What it drew on the way");
    if (!t->n_sheets)
        page_print(p, "<p class=\"note\">The run drew no samples; <code>imago train diffusion --samples FILE</code> "
                   "draws some at "
                   "every checkpoint.</p>\n");
    int shown = t->n_sheets < SHEETS ? t->n_sheets : SHEETS;
    for (int i = 0; i < shown && im_ok(t->c); i++) {
        const char *path = t->sheets[shown > 1 ? (t->n_sheets - 1) * i / (shown - 1) : 0];
        size_t bytes;
        char *png = im_read_file(t->c, path, FILE_BYTES, &bytes);
        page_print(p, "<figure><figcaption><code>%s</code></figcaption>", base_of(path));
        if (png)
            page_data(p->f, "image/png", png, bytes, base_of(path));
        page_print(p, "</figure>\n");
        free(png);
    }
}

static void body(page *p, void *arg)
{
    const training *t = arg;
    page_print(p, "<h1>How a training went</h1>\n<p>Run <code>");
    page_paths(p->f, t->run);
    page_print(p, "</code>: %lld steps logged, %d epochs, %d checkpoints kept.</p>\n", (long long)t->steps, t->n_epochs,
               t->n_checkpoints);
    page_command(p, t->command);
    settings(p, t);
    page_section(p, "curves", "Curves");
    for (int k = 0; k < VALUES; k++)
        curve(p, t, k);
    epochs(p, t);
    weights(p, t);
    samples(p, t);
}

bool explain_training(im_ctx *c, const char *run, const char *out, bool force, const char *command)
{
    training t = { .c = c, .run = run, .command = command };
    bool ok = read_run(&t) && page_write(c, "How a training went", out, force, body, &t);
    for (int i = 0; i < t.n_sheets; i++)
        free(t.sheets[i]);
    for (int i = 0; i < t.n_checkpoints; i++)
        free(t.checkpoints[i]);
    im_json_close(&t.config);
    free(t.row);
    free(t.epochs);
    return ok;
}
