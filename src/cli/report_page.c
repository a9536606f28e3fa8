/* report_page.c: the page of `imago report`: one HTML file that needs nothing else; plots are SVG in it, pictures JPEG. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/plot.h"
#include "cli/report.h"
#include "cli/session.h"
#include "data/files/file.h"

static const char style[] =
    "body{font:15px/1.5 sans-serif;max-width:1160px;margin:2em auto;padding:0 1em;color:#111;background:#fff}"
    "h1{font-size:1.7em}h2{margin-top:2em;border-bottom:1px solid #888}h3{overflow-wrap:anywhere}"
    "table{border-collapse:collapse;margin:.8em 0;font-variant-numeric:tabular-nums}"
    "th,td{border:1px solid #bbb;padding:.2em .6em;text-align:right}th:first-child,td:first-child{text-align:left}"
    "thead th{background:#eee}.facts td{text-align:left;overflow-wrap:anywhere}.wide{overflow-x:auto}"
    ".plots{display:flex;flex-wrap:wrap;gap:12px}.plots img{border:1px solid #ddd;max-width:100%}"
    ".sheet{display:flex;flex-wrap:wrap;gap:4px}.sheet img{display:block;border:1px solid #ddd}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f5f5f5;padding:.6em;font-size:13px}"
    ".best{font-weight:bold}.missing{color:#555;font-style:italic}";

void page_text(FILE *f, const char *text)
{
    for (; *text; text++)
        switch (*text) {
        case '&': fputs("&amp;", f); break;
        case '<': fputs("&lt;", f); break;
        case '>': fputs("&gt;", f); break;
        case '"': fputs("&quot;", f); break;
        default: fputc(*text, f);
        }
}

/* A page is to be read elsewhere: where the folder lies on this machine says nothing there. */
void page_paths(FILE *f, const char *text)
{
    char here[4096], *plain = strdup(text), *to = plain;
    size_t n = getcwd(here, sizeof here) ? strlen(here) : 0;
    for (const char *at = text; plain && *at; ) {
        bool ours = n > 1 && !strncmp(at, here, n);
        if (ours && at[n] == '/') {
            at += n + 1;
        } else if (ours && (!at[n] || strchr(" ,:", at[n]))) {
            at += n;
            *to++ = '.';
        } else {
            *to++ = *at++;
        }
    }
    if (plain)
        *to = '\0';
    page_text(f, plain ? plain : text);
    free(plain);
}

void page_url(FILE *f, const char *type, const void *bytes, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *b = bytes;
    fprintf(f, "data:%s;base64,", type);
    for (size_t i = 0; i < n; i += 3) {
        unsigned v = (unsigned)b[i] << 16 | (i + 1 < n ? (unsigned)b[i + 1] << 8 : 0) | (i + 2 < n ? b[i + 2] : 0);
        fputc(digits[v >> 18], f);
        fputc(digits[v >> 12 & 63], f);
        fputc(i + 1 < n ? digits[v >> 6 & 63] : '=', f);
        fputc(i + 2 < n ? digits[v & 63] : '=', f);
    }
}

void page_data(FILE *f, const char *type, const void *bytes, size_t n, const char *alt)
{
    fputs("<img src=\"", f);
    page_url(f, type, bytes, n);
    fputs("\" alt=\"", f);
    page_text(f, alt);
    fputs("\" title=\"", f);
    page_text(f, alt);
    fputs("\">\n", f);
}

typedef void (*plotter)(void *arg, cairo_t *g);

/* FOLDER/03-few-shot-photos.svg, for example, malloc'd: the plot's place on the page, and its name as far as a file's may
 * have it. */
static char *plot_path(im_ctx *c, const report_files *to, const char *name, const char *end)
{
    char plain[80], file[120];
    size_t n = 0;
    for (const char *s = name; *s && n + 1 < sizeof plain; s++) {
        bool keep = (*s >= '0' && *s <= '9') || (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || *s == '_';
        if (keep || (n && plain[n - 1] != '-'))
            plain[n++] = keep ? *s : '-';
    }
    plain[n] = '\0';
    snprintf(file, sizeof file, "%02d-%s.%s", to->n, plain, end);
    return im_join(c, to->folder, file);
}

/* name: what it shows, also that of its files. */
static void plot(const report *r, FILE *f, int width, int height, plotter fn, void *arg, const char *name)
{
    im_ctx *c = r->c;
    size_t n;
    unsigned char *svg = im_ok(c) ? plot_svg(c, width, height, fn, arg, &n) : NULL;
    if (svg)
        page_data(f, "image/svg+xml", svg, n, name);
    if (svg && r->files) {
        r->files->n++;
        char *line = plot_path(c, r->files, name, "svg"), *dots = plot_path(c, r->files, name, "png");
        if (line && dots && im_write_file(c, line, svg, n, true))
            plot_write(c, dots, width, height, fn, arg);
        free(line);
        free(dots);
    }
    free(svg);
}

/* ---------------------------------------------------------------- tables */

/* "71.20 +- 0.35", scaled; "-" where there is none. */
static void cell(FILE *f, const spread *s, double scale, const char *format, bool best)
{
    fputs(best ? "<td class=\"best\">" : "<td>", f);
    if (isnan(s->mean)) {
        fputs("&ndash;</td>", f);
        return;
    }
    fprintf(f, format, scale * s->mean);
    if (!isnan(s->deviation)) {
        fputs(" &plusmn; ", f);
        fprintf(f, format, scale * s->deviation);
    }
    fputs("</td>", f);
}

typedef struct column { const char *verb, *name, *field, *title, *format; double scale; bool larger; } column;

static void table(const report *r, FILE *f, const column *columns, int n)
{
    fputs("<div class=\"wide\"><table><thead><tr><th>training</th><th>runs</th>", f);
    for (int i = 0; i < n; i++) {
        fputs("<th>", f);
        page_text(f, columns[i].title);
        fputs("</th>", f);
    }
    fputs("</tr></thead>\n", f);
    for (int k = 0; k < r->n_arms; k++) {
        fputs("<tr><td>", f);
        page_text(f, r->arms[k].label);
        fprintf(f, "</td><td>%d</td>", r->arms[k].n);
        for (int i = 0; i < n; i++) {
            const column *q = &columns[i];
            spread s = report_spread(r, k, q->verb, q->name, q->field);
            bool best = q->larger && !isnan(s.mean) && r->n_arms > 1;
            for (int j = 0; best && j < r->n_arms; j++)
                best = !(report_spread(r, j, q->verb, q->name, q->field).mean > s.mean);
            cell(f, &s, q->scale, q->format, best);
        }
        fputs("</tr>\n", f);
    }
    fputs("</table></div>\n", f);
}

/* One table a verb: of each of its results these fields. */
static void tables(const report *r, FILE *f, const char *heading, const char *from, const column *fields, int n,
                   const char *note)
{
    json_t *names = report_names(r, from), *v;
    size_t i;
    int count = 0, most = (int)json_array_size(names) * n;
    column *columns = calloc((size_t)most + 1, sizeof *columns);
    char (*titles)[200] = calloc((size_t)most + 1, sizeof *titles);
    if (most && columns && titles) {
        json_array_foreach(names, i, v) {
            for (int k = 0; k < n; k++) {
                snprintf(titles[count], sizeof *titles, "%s: %s", json_string_value(v), fields[k].title);
                columns[count] = fields[k];
                columns[count].name = json_string_value(v);
                columns[count].title = titles[count];
                count++;
            }
        }
        fprintf(f, "<h2>%s</h2>\n<p>%s</p>\n", heading, note);
        table(r, f, columns, count);
    }
    free(columns);
    free(titles);
    json_decref(names);
}

/* ---------------------------------------------------------------- plots of tests */

static void spiders(const report *r, FILE *f, const json_t *names)
{
    int n = (int)json_array_size(names);
    plot_axis *axes = calloc((size_t)n + 1, sizeof *axes);
    double most = 0;
    for (int k = 0; k < r->n_arms; k++)
        for (int i = 0; i < n; i++) {
            double top1 = report_spread(r, k, "eval", json_string_value(json_array_get(names, (size_t)i)), "top1").mean;
            most = top1 > most ? top1 : most;
        }
    if (axes && n >= 3 && most > 0) {
        fputs("<h3>Spider plots: an axis a test, top-1 in %</h3>\n<div class=\"plots\">\n", f);
        for (int k = r->n_arms > 1; k < r->n_arms; k++) {
            for (int i = 0; i < n; i++) {
                const char *name = json_string_value(json_array_get(names, (size_t)i));
                axes[i] = (plot_axis){ name, 100 * report_spread(r, k, "eval", name, "top1").mean,
                                       100 * report_spread(r, 0, "eval", name, "top1").mean };
            }
            plot_spider s = { .of = r->arms[k].label, .other = k ? r->arms[0].label : NULL, .axes = axes, .n = n,
                              .most = 10 * ceil(10 * most) };
            char name[300];
            snprintf(name, sizeof name, "tests: %s", r->arms[k].label);
            plot(r, f, SPIDER_WIDTH, SPIDER_HEIGHT, plot_spider_draw, &s, name);
        }
        fputs("</div>\n", f);
    }
    free(axes);
}

static void bars(const report *r, FILE *f, const json_t *names)
{
    plot_bar *v = calloc((size_t)r->n_arms + 1, sizeof *v);
    json_t *name;
    size_t i;
    if (!v)
        return;
    fputs("<h3>Top-1 of every test, with one standard deviation over seeds; a dot a run</h3>\n<div class=\"plots\">\n", f);
    json_array_foreach(names, i, name) {
        for (int k = 0; k < r->n_arms; k++) {
            spread s = report_spread(r, k, "eval", json_string_value(name), "top1");
            for (int j = 0; j < s.n; j++)
                s.v[j] *= 100;
            v[k] = (plot_bar){ r->arms[k].label, report_spread_of(s.v, s.n) };
        }
        char title[300];
        plot_bars b = { .title = json_string_value(name), .unit = "top-1, %", .bars = v, .n = r->n_arms };
        snprintf(title, sizeof title, "top-1: %s", json_string_value(name));
        plot(r, f, BARS_WIDTH, BARS_ABOVE + r->n_arms * BARS_EACH, plot_bars_draw, &b, title);
    }
    fputs("</div>\n", f);
    free(v);
}

static void tests(const report *r, FILE *f)
{
    const column fields[] = { { "eval", NULL, "top1", "top-1, %", "%.2f", 100, true },
                              { "eval", NULL, "top5", "top-5, %", "%.2f", 100, true } };
    const column odd[] = { { "eval", NULL, "aupr", "AUPR, %", "%.2f", 100, true } };
    json_t *names = report_names(r, "eval");
    tables(r, f, "Tests", "eval", fields, 2, "Mean over runs that differ in their seed, &plusmn; one standard deviation.");
    for (int k = 0, any = 0; k < r->n_arms && !any; k++)
        for (size_t i = 0; i < json_array_size(names) && !any; i++)
            if ((any = report_spread(r, k, "eval", json_string_value(json_array_get(names, i)), "aupr").n))
                tables(r, f, "Anomalies", "eval", odd, 1, "Area under precision and recall of &minus;max softmax.");
    if (json_array_size(names)) {
        spiders(r, f, names);
        bars(r, f, names);
    }
    json_decref(names);
}

/* ---------------------------------------------------------------- transfer */

/* Top-1 by pictures a class, the mean over runs and draws: fills x, y; returns how many. */
static int shots_of(const report *r, int arm, const char *name, double *x, double *y, int room)
{
    int n = 0;
    char key[600];
    snprintf(key, sizeof key, "transfer/%s", name);
    const json_t *first = json_object_get(json_object_get(r->runs[r->arms[arm].runs[0]].results, key), "few_shot");
    for (size_t i = 0; i < json_array_size(first) && n < room; i++, n++) {
        double v[REPORT_SEEDS];
        for (int k = 0; k < r->arms[arm].n; k++) {
            const json_t *all = json_object_get(json_object_get(r->runs[r->arms[arm].runs[k]].results, key), "few_shot");
            const json_t *top1 = json_object_get(json_array_get(all, i), "top1");
            v[k] = json_is_number(top1) ? 100 * json_number_value(top1) : NAN;
        }
        x[n] = json_number_value(json_object_get(json_array_get(first, i), "shots"));
        y[n] = report_spread_of(v, r->arms[arm].n).mean;
        if (isnan(y[n]))
            n--;
    }
    return n;
}

static void few_shot(const report *r, FILE *f)
{
    enum { ROOM = 32 };
    static double x[LINES_MOST][ROOM], y[LINES_MOST][ROOM];
    json_t *names = report_names(r, "transfer"), *name;
    size_t i;
    json_array_foreach(names, i, name) {
        for (int from = 0; from < r->n_arms; from += LINES_MOST) {
            plot_line lines[LINES_MOST];
            char title[300];
            int n = 0;
            for (int k = from; k < r->n_arms && k < from + LINES_MOST; k++) {
                int points = shots_of(r, k, json_string_value(name), x[n], y[n], ROOM);
                if (points > 0) {
                    lines[n] = (plot_line){ r->arms[k].label, x[n], y[n], points };
                    n++;
                }
            }
            snprintf(title, sizeof title, "few-shot: %s", json_string_value(name));
            plot_lines p = { .title = title, .x = "pictures a class", .y = "top-1, %", .log_x = true, .marks = true,
                             .lines = lines, .n = n };
            if (n)
                plot(r, f, LINES_WIDTH, LINES_HEIGHT, plot_lines_draw, &p, title);
        }
    }
    json_decref(names);
}

/* ---------------------------------------------------------------- classes */

typedef struct gap { const char *class_name; double first; double *other; double mean; } gap;

static int by_gap(const void *a, const void *b)
{
    double x = ((const gap *)a)->mean, y = ((const gap *)b)->mean;
    return (x > y) - (x < y);
}

static void gap_rows(const report *r, FILE *f, const gap *g, int n)
{
    fputs("<div class=\"wide\"><table><thead><tr><th>class</th><th>", f);
    page_text(f, r->arms[0].label);
    for (int k = 1; k < r->n_arms; k++) {
        fputs("</th><th>", f);
        page_text(f, r->arms[k].label);
    }
    fputs("</th></tr></thead>\n", f);
    for (int i = 0; i < n; i++) {
        if (n > 2 * REPORT_WORST && i == REPORT_WORST) {
            fprintf(f, "<tr><td colspan=\"%d\">%d classes between</td></tr>\n", r->n_arms + 1, n - 2 * REPORT_WORST);
            i = n - REPORT_WORST;
        }
        fputs("<tr><td>", f);
        page_text(f, g[i].class_name);
        fprintf(f, "</td><td>%.1f</td>", 100 * g[i].first);
        for (int k = 1; k < r->n_arms; k++)
            if (isnan(g[i].other[k]))
                fputs("<td>&ndash;</td>", f);
            else
                fprintf(f, "<td>%+.1f</td>", 100 * (g[i].other[k] - g[i].first));
        fputs("</tr>\n", f);
    }
    fputs("</table></div>\n", f);
}

/* Top-1 of each class of one test: the first arm's, and how far the others are from it. */
static void gaps_on(const report *r, FILE *f, const char *name)
{
    char key[600];
    snprintf(key, sizeof key, "eval/%s", name);
    const json_t *list = json_object_get(json_object_get(r->runs[r->arms[0].runs[0]].results, key), "per_class");
    size_t most = json_array_size(list);
    gap *g = calloc(most + 1, sizeof *g);
    double *room = calloc((most + 1) * (size_t)r->n_arms, sizeof *room);
    int n = 0;
    for (size_t i = 0; g && room && i < most; i++) {
        const char *class_name = json_string_value(json_object_get(json_array_get(list, i), "class"));
        double sum = 0, first = class_name ? report_class_top1(r, 0, name, class_name) : NAN;
        if (isnan(first))
            continue;
        g[n] = (gap){ .class_name = class_name, .first = first, .other = room + (size_t)n * (size_t)r->n_arms };
        int seen = 0;
        for (int k = 1; k < r->n_arms; k++) {
            g[n].other[k] = report_class_top1(r, k, name, class_name);
            if (isnan(g[n].other[k]))
                continue;
            sum += g[n].other[k] - first;
            seen++;
        }
        g[n].mean = seen ? sum / seen : 0;
        n++;
    }
    if (n) {
        qsort(g, (size_t)n, sizeof *g, by_gap);
        fputs("<h3>", f);
        page_text(f, name);
        fputs("</h3>\n", f);
        gap_rows(r, f, g, n);
    }
    free(g);
    free(room);
}

static void gaps(const report *r, FILE *f)
{
    json_t *names = report_names(r, "eval"), *name;
    size_t i;
    if (r->n_arms > 1 && json_array_size(names)) {
        fputs("<h2>Gaps of classes</h2>\n<p>Top-1 in % of the first training, and by how many points the others differ; "
              "classes that lose most come first.</p>\n", f);
        json_array_foreach(names, i, name) {
            gaps_on(r, f, json_string_value(name));
        }
    }
    json_decref(names);
}

/* ---------------------------------------------------------------- sets beside each other */

static void compare_row(FILE *f, const char *name, const json_t *o)
{
    static const char *const fields[] = { "frechet", "precision", "recall", "density", "coverage", "vendi",
                                          "cmmd", "recognizability" };
    fputs("<tr><td>", f);
    page_text(f, name);
    fputs("</td>", f);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const json_t *v = json_object_get(o, fields[i]);
        if (json_is_number(v))
            fprintf(f, "<td>%.4g</td>", json_number_value(v));
        else
            fputs("<td>&ndash;</td>", f);
    }
    fputs("<td>", f);
    const char *net = json_string_value(json_object_get(o, "feature_net"));
    page_paths(f, net ? net : "?");
    fputs("</td></tr>\n", f);
}

static void comparisons(const report *r, FILE *f)
{
    const char *key;
    json_t *v;
    bool any = false;
    for (int k = -1; k < r->n; k++)
        json_object_foreach(k < 0 ? r->loose : r->runs[k].results, key, v) {
            if (strncmp(key, "compare/", 8))
                continue;
            if (!any)
                fputs("<h2>Sets</h2>\n<p>Each beside the reference that its command names, by the features of one net."
                      "</p>\n<div class=\"wide\"><table><thead><tr><th>set</th><th>Fr&eacute;chet</th><th>precision</th>"
                      "<th>recall</th><th>density</th><th>coverage</th><th>Vendi</th><th>CMMD</th><th>recognizability</th>"
                      "<th>feature net</th></tr></thead>\n", f);
            any = true;
            compare_row(f, key + 8, v);
        }
    if (any)
        fputs("</table></div>\n", f);
}

/* ---------------------------------------------------------------- curves, commands */

static void curves(const report *r, FILE *f)
{
    fputs("<h2>Curves</h2>\n<div class=\"plots\">\n", f);
    for (int from = 0; from < r->n_arms; from += LINES_MOST) {
        plot_line lines[LINES_MOST];
        int n = 0;
        for (int k = from; k < r->n_arms && k < from + LINES_MOST; k++) {
            const report_run *run = &r->runs[r->arms[k].runs[0]];
            if (run->steps)
                lines[n++] = (plot_line){ r->arms[k].label, run->x, run->loss, run->steps };
        }
        plot_lines p = { .title = "training loss, the first run of each", .x = "step", .y = "loss", .lines = lines,
                         .n = n };
        if (n)
            plot(r, f, LINES_WIDTH, LINES_HEIGHT, plot_lines_draw, &p, "training loss");
    }
    fputs("</div>\n", f);
}

/* The run as it could be typed: keys of config.json are names of options. */
static void training_command(FILE *f, const json_t *config)
{
    static const char *const others[] = { "imago", "task", "device", "isa", "data-sha256", "vae-sha256", "config-sha256",
                                          "favour-sha256", "pictures", "class-names" };
    const char *key, *task = json_string_value(json_object_get(config, "task"));
    json_t *v;
    fprintf(f, "imago train %s", task ? task : "?");
    json_object_foreach((json_t *)config, key, v) {
        bool skip = json_is_null(v) || json_is_false(v) || (!strcmp(key, "data") && json_object_get(config, "mix") &&
                                                            !json_is_null(json_object_get(config, "mix")));
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
            skip |= !strcmp(key, others[i]);
        char *text = skip || json_is_true(v) ? NULL : json_is_string(v) ? strdup(json_string_value(v))
                                                                         : json_dumps(v, JSON_ENCODE_ANY);
        if (!skip)
            fprintf(f, " --%s%s", key, text ? " " : "");
        if (text)
            page_paths(f, text);
        free(text);
    }
}

static void result_details(FILE *f, const json_t *results)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)results, key, v) {
        const char *command = json_string_value(json_object_get(v, "command"));
        char *constants = json_dumps(json_object_get(v, "constants"), JSON_COMPACT);
        page_paths(f, command ? command : key);
        fputs("\n    # ", f);
        page_text(f, key);
        fputs("; ", f);
        page_text(f, constants ? constants : "");
        fputc('\n', f);
        free(constants);
    }
}

static void commands(const report *r, FILE *f, const char *own)
{
    fputs("<h2>Commands and constants</h2>\n", f);
    for (int i = 0; i < r->n; i++) {
        fputs("<details><summary>", f);
        page_text(f, r->runs[i].path);
        fputs("</summary><pre>", f);
        training_command(f, r->runs[i].config);
        fputs(" -o ", f);
        page_text(f, r->runs[i].path);
        fputc('\n', f);
        result_details(f, r->runs[i].results);
        fputs("</pre></details>\n", f);
    }
    fputs("<pre>", f);
    result_details(f, r->loose);
    page_paths(f, own);
    fputs("</pre>\n", f);
}

/* ---------------------------------------------------------------- the page */

static void body(const report *r, FILE *f, const char *command)
{
    const column transfer[] = { { "transfer", NULL, "top1", "top-1, %", "%.2f", 100, true },
                                { "transfer", NULL, "mean_per_class", "mean of classes, %", "%.2f", 100, true },
                                { "transfer", NULL, "log_odds", "log odds", "%.3f", 1, true } };
    const column analysis[] = { { "analyze", NULL, "sparsity", "sparsity", "%.4f", 1, false },
                                { "analyze", NULL, "intra_class_distance", "intra-class distance", "%.4f", 1, false },
                                { "analyze", NULL, "feature_redundancy", "redundancy", "%.4f", 1, false },
                                { "analyze", NULL, "coding_length", "coding length, nats", "%.2f", 1, false } };
    tests(r, f);
    tables(r, f, "Transfer", "transfer", transfer, 3, "A linear classifier on the features of the frozen encoder.");
    few_shot(r, f);
    tables(r, f, "Features", "analyze", analysis, 4,
           "Of the features in front of the last layer; what the numbers are: <code>imago help analyze</code>.");
    comparisons(r, f);
    gaps(r, f);
    curves(r, f);
    fputs("<h2>What was trained on</h2>\n", f);
    report_sets(r, f);
    commands(r, f, command);
}

bool report_write(report *r, const char *title, const char *path, const char *command)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (!f)
        return im_fail(r->c, "%s: out of memory", path);
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>", f);
    page_text(f, title);
    fprintf(f, "</title>\n<style>%s</style></head>\n<body>\n<h1>", style);
    page_text(f, title);
    fprintf(f, "</h1>\n<p>Made by <code>imago report</code>, imago %s (%s), of %d run%s.</p>\n", IM_VERSION, commit_name(),
            r->n, r->n == 1 ? "" : "s");
    body(r, f, command);
    fputs("</body></html>\n", f);
    bool ok = !fclose(f) || im_fail(r->c, "%s: out of memory", path);
    ok = ok && im_ok(r->c) && im_write_file(r->c, path, text, n, true);
    free(text);
    return ok;
}
