/* train_curves.c: RUN/curves.svg and curves.png from RUN/log.jsonl: loss, top-1, scores of the other set, norm of the
 * gradient and learning rate over the steps, one panel each. A long run is drawn as means of POINTS runs of steps. Used by
 * train_view.c. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/plot.h"
#include "cli/train.h"
#include "data/files/file.h"
#include "data/files/utf8.h"
#include "data/files/json.h"

enum { PANELS = 6, POINTS = 600, WIDTH = 900, PANEL = 170, LEFT = 70, RIGHT = 20, TOP = 34, GAP = 34, TICKS = 4 };
static const char *const keys[PANELS] = { "loss", "top1", "val_top1", "val_psnr", "grad_norm", "lr" };
static const char *const titles[PANELS] = { "loss", "top-1 of the batches", "top-1 of the other set",
                                            "PSNR of the other set, dB", "norm of the gradient", "learning rate" };

typedef struct curves {
    const char *title;
    int64_t last;                                              /* step of the last line                                */
    int n[PANELS];                                             /* points                                               */
    double x[PANELS][POINTS], y[PANELS][POINTS];
    int shown;
} curves;

typedef struct bucket { double x, y; int64_t n; } bucket;

/* What one line of the log says: NAN for what it does not. */
typedef struct row { int64_t step; double y[PANELS]; } row;

static bool read_row(im_ctx *c, const char *log, int64_t number, const char *line, size_t bytes, row *out)
{
    char name[600];
    im_json j;
    snprintf(name, sizeof name, "%.500s, line %lld", log, (long long)number);
    bool ok = im_json_parse(c, &j, name, line, bytes) && im_json_long(c, &j, "step", IM_MUST, 1, INT64_MAX, &out->step);
    for (int p = 0; ok && p < PANELS; p++) {
        out->y[p] = NAN;
        ok = im_json_float(c, &j, keys[p], IM_IF_THERE, -DBL_MAX, DBL_MAX, &out->y[p]);
    }
    im_json_close(&j);
    return ok;
}

static void add_row(bucket b[PANELS][POINTS], const row *r, int64_t last)
{
    double per_bucket = (double)(last > POINTS ? last : POINTS) / POINTS;
    int k = r->step <= last ? (int)((double)(r->step - 1) / per_bucket) : POINTS;
    for (int p = 0; p < PANELS && k < POINTS; p++)
        if (isfinite(r->y[p])) {
            b[p][k].x += (double)r->step;
            b[p][k].y += r->y[p];
            b[p][k].n++;
        }
}

/* Steps fall into POINTS buckets of equal width, whatever of them was logged. Half a line at the end is one that is being
 * written. */
static bool read_lines(im_ctx *c, curves *v, const char *log, const char *text)
{
    static bucket b[PANELS][POINTS];
    const char *end = strrchr(text, '\n'), *last = end;
    row r = { .step = 0 };
    int64_t number = 0;
    memset(b, 0, sizeof b);
    for (const char *p = text; end && p <= end; p = strchr(p, '\n') + 1)
        number++;
    while (last > text && last[-1] != '\n')
        last--;
    if (!end || !read_row(c, log, number, last, (size_t)(end - last), &r))
        return im_ok(c);
    v->last = r.step;
    number = 0;
    for (const char *line = text, *stop; (stop = strchr(line, '\n')); line = stop + 1) {
        if (!read_row(c, log, ++number, line, (size_t)(stop - line), &r))
            return false;
        add_row(b, &r, v->last);
    }
    for (int p = 0; p < PANELS; p++) {
        for (int k = 0; k < POINTS; k++)
            if (b[p][k].n) {
                v->x[p][v->n[p]] = b[p][k].x / (double)b[p][k].n;
                v->y[p][v->n[p]++] = b[p][k].y / (double)b[p][k].n;
            }
        v->shown += v->n[p] > 0;
    }
    return true;
}

/* A round step for about TICKS lines over `range`: 1, 2 or 5 times a power of ten. */
static double tick(double range)
{
    double raw = range / TICKS, power = pow(10, floor(log10(raw))), m = raw / power;
    return power * (m > 5 ? 10 : m > 2 ? 5 : m > 1 ? 2 : 1);
}

static void draw_panel(cairo_t *g, const curves *v, int p, double top)
{
    double low = v->y[p][0], high = low, w = WIDTH - LEFT - RIGHT;
    char text[64];
    for (int k = 0; k < v->n[p]; k++) {
        low = fmin(low, v->y[p][k]);
        high = fmax(high, v->y[p][k]);
    }
    if (low > 0 && low < 0.5 * high)
        low = 0;
    if (!(high > low))
        high = low + (low != 0 ? fabs(low) : 1);
    cairo_set_source_rgb(g, 0.15, 0.15, 0.15);
    plot_text(g, LEFT, top - 8, 13, titles[p]);
    cairo_set_line_width(g, 1);
    double step = tick(high - low);
    for (int64_t i = (int64_t)ceil(low / step - 1e-9); (double)i * step <= high + 1e-9 * step; i++) {
        double y = (double)i * step;
        double at = top + PANEL * (high - y) / (high - low);
        cairo_set_source_rgb(g, 0.87, 0.87, 0.87);
        cairo_move_to(g, LEFT, at);
        cairo_line_to(g, LEFT + w, at);
        cairo_stroke(g);
        snprintf(text, sizeof text, "%.4g", y);
        cairo_set_source_rgb(g, 0.35, 0.35, 0.35);
        plot_text(g, LEFT - 6 - plot_text_width(g, 11, text), at + 4, 11, text);
    }
    cairo_set_source_rgb(g, 0.10, 0.33, 0.60);
    cairo_set_line_width(g, 1.4);
    for (int k = 0; k < v->n[p]; k++)
        cairo_line_to(g, LEFT + w * v->x[p][k] / (double)v->last,
                      top + PANEL * (high - v->y[p][k]) / (high - low));
    cairo_stroke(g);
}

static void draw(void *arg, cairo_t *g)
{
    const curves *v = arg;
    double top = TOP + 20;
    char text[64];
    cairo_set_source_rgb(g, 0.1, 0.1, 0.1);
    plot_text(g, LEFT, 22, 14, v->title);
    for (int p = 0; p < PANELS; p++)
        if (v->n[p]) {
            draw_panel(g, v, p, top);
            top += PANEL + GAP;
        }
    snprintf(text, sizeof text, "steps 1 to %lld", (long long)v->last);
    cairo_set_source_rgb(g, 0.35, 0.35, 0.35);
    plot_text(g, LEFT, top - 12, 11, text);
}

bool train_draw_curves(im_ctx *c, const char *run)
{
    static const char *const names[] = { "curves.svg", "curves.png" };
    size_t bytes;
    char *log = im_join(c, run, "log.jsonl");
    char *text = log && im_is_file(log) ? im_read_file(c, log, (size_t)1 << 32, &bytes) : NULL;
    char *title = text ? im_utf8_clean(c, run) : NULL;
    curves *v = title ? calloc(1, sizeof *v) : NULL;
    bool ok = !text || v || im_fail(c, "%s: out of memory for its curves", run);
    if (v) {
        v->title = title;
        ok = read_lines(c, v, log, text);
    }
    for (int i = 0; i < 2 && ok && v && v->shown; i++) {
        char *path = im_join(c, run, names[i]);
        ok = path && plot_write(c, path, WIDTH, TOP + 20 + v->shown * (PANEL + GAP), draw, v);
        free(path);
    }
    free(v);
    free(title);
    free(text);
    free(log);
    return ok && im_ok(c);
}
