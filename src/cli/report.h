/* report.h: what `imago report` knows of runs, and what its files share: report_read.c (runs and their results),
 * report_plots.c (pictures of numbers), report_page.c (the page), report_sets.c (sheets and prompts). */
#ifndef IM_CLI_REPORT_H
#define IM_CLI_REPORT_H

#include <cairo/cairo.h>
#include <jansson.h>
#include <stdio.h>

#include "imago.h"

enum { REPORT_SEEDS = 64, REPORT_WORST = 20 };                 /* runs of an arm; classes shown at both ends           */

typedef struct report_run {
    const char *path;
    json_t *config;                                            /* config.json; NULL: a file of results                 */
    json_t *results;                                           /* object: name of a test -> what the verb printed      */
    int steps; double *x, *loss;                               /* (steps) of log.jsonl, thinned                        */
} report_run;

typedef struct report_arm {                                    /* runs that differ in their seed alone                 */
    char *label;
    int n, runs[REPORT_SEEDS];
} report_arm;

typedef struct report_files { const char *folder; int n; } report_files;                /* plots as files: so far     */

typedef struct report {
    im_ctx *c;
    report_files *files;                                       /* NULL: plots are in the page alone                    */
    int n; report_run *runs;
    int n_arms; report_arm *arms;                              /* the first is what the others are set beside          */
    json_t *loose;                                             /* object: results that belong to no run                */
} report;

/* ---------------------------------------------------------------- report_read.c */

/* Folders of runs, with results/NAME.json in them, and files of results. */
bool report_read(report *r, const char *const paths[], int n);
void report_free(report *r);

typedef struct spread { int n; double v[REPORT_SEEDS], mean, deviation; } spread;       /* deviation: n - 1, or NAN    */
/* A number of results of this verb and name, over the runs of an arm; n 0: no run has it. */
spread report_spread(const report *r, int arm, const char *verb, const char *name, const char *field);
spread report_spread_of(const double *v, int n);
/* Names of the results of a verb that any run has, sorted: an array of strings, to be released. */
json_t *report_names(const report *r, const char *verb);
/* Top-1 of a class on a test, the mean over the arm's runs; NAN: not known. */
double report_class_top1(const report *r, int arm, const char *name, const char *class_name);

/* ---------------------------------------------------------------- report_plots.c */

typedef struct plot_axis { const char *name; double of, other; } plot_axis;             /* NAN: not known              */
typedef struct plot_spider { const char *of, *other; const plot_axis *axes; int n; double most; } plot_spider;
enum { SPIDER_WIDTH = 360, SPIDER_HEIGHT = 340 };
void plot_spider_draw(void *arg, cairo_t *g);

typedef struct plot_bar { const char *label; spread value; } plot_bar;
typedef struct plot_bars { const char *title, *unit; const plot_bar *bars; int n; } plot_bars;
enum { BARS_WIDTH = 560, BARS_EACH = 24, BARS_ABOVE = 58 };
void plot_bars_draw(void *arg, cairo_t *g);

typedef struct plot_line { const char *label; const double *x, *y; int n; } plot_line;
typedef struct plot_lines {
    const char *title, *x, *y;                                 /* what the axes are                                    */
    bool log_x, marks;                                         /* powers of 2 as ticks; a mark a point                 */
    const plot_line *lines; int n;
} plot_lines;
enum { LINES_WIDTH = 760, LINES_HEIGHT = 360, LINES_MOST = 8 };
void plot_lines_draw(void *arg, cairo_t *g);

/* ---------------------------------------------------------------- report_sets.c */

void report_sets(const report *r, FILE *f);                    /* of every set trained on: what it is, prompts, sheet  */

/* ---------------------------------------------------------------- report_page.c */

void page_text(FILE *f, const char *text);                     /* as HTML                                              */
void page_paths(FILE *f, const char *text);                     /* the same; paths below this folder relative to it     */
void page_url(FILE *f, const char *type, const void *bytes, size_t n);                 /* data:TYPE;base64,...        */
void page_data(FILE *f, const char *type, const void *bytes, size_t n, const char *alt);              /* <img>         */
bool report_write(report *r, const char *title, const char *path, const char *command);

#endif
