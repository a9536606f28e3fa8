/* report_plots.c: numbers as pictures: spider plots, bars with intervals, lines. Two things are told apart by colour (Okabe
 * & Ito's, which the colour-blind can tell apart), by lightness, and by the form of line and mark, so that a grey print
 * says as much. Used by report_page.c. */
#include <math.h>
#include <string.h>

#include "cli/plot.h"
#include "cli/report.h"

static const double colours[LINES_MOST][3] = {
    { 0, 0, 0 }, { 0, 0.447, 0.698 }, { 0.835, 0.369, 0 }, { 0, 0.62, 0.451 },
    { 0.8, 0.475, 0.655 }, { 0.902, 0.624, 0 }, { 0.337, 0.706, 0.914 }, { 0.45, 0.45, 0.45 }
};
static const double dashes[LINES_MOST][4] = {
    { 0 }, { 7, 3 }, { 2, 2 }, { 9, 3, 2, 3 }, { 4, 4 }, { 12, 4 }, { 1, 3 }, { 5, 2, 1, 2 }
};

static void ink(cairo_t *g, double grey) { cairo_set_source_rgb(g, grey, grey, grey); }

static void line_style(cairo_t *g, int k)
{
    int n = 0;
    while (n < 4 && dashes[k][n] > 0)
        n++;
    cairo_set_source_rgb(g, colours[k][0], colours[k][1], colours[k][2]);
    cairo_set_dash(g, dashes[k], n, 0);
    cairo_set_line_width(g, 1.8);
}

/* Mark k at a place: disc, square, triangle, ring, diamond ... */
static void mark(cairo_t *g, int k, double x, double y)
{
    double s = 3.6;
    cairo_set_dash(g, NULL, 0, 0);
    cairo_set_source_rgb(g, colours[k][0], colours[k][1], colours[k][2]);
    cairo_new_path(g);
    if (k % 4 == 0)
        cairo_arc(g, x, y, s, 0, 2 * M_PI);
    else if (k % 4 == 1)
        cairo_rectangle(g, x - s, y - s, 2 * s, 2 * s);
    else
        for (int i = 0; i < (k % 4 == 2 ? 3 : 4); i++) {
            double angle = 2 * M_PI * i / (k % 4 == 2 ? 3 : 4) - M_PI / 2;
            cairo_line_to(g, x + 1.4 * s * cos(angle), y + 1.4 * s * sin(angle));
        }
    cairo_close_path(g);
    if (k < 4) {
        cairo_fill(g);
    } else {                                                   /* the second four are hollow                           */
        cairo_set_line_width(g, 1.4);
        cairo_stroke(g);
    }
}

/* No wider than `room`: cut with a mark where it would be. */
static void fitted(cairo_t *g, double x, double y, double size, const char *text, double room)
{
    char cut[200];
    snprintf(cut, sizeof cut, "%.190s", text);
    size_t n = strlen(cut);
    while (n > 4 && plot_text_width(g, size, cut) > room) {
        do
            n--;
        while (n > 1 && ((unsigned char)cut[n] & 0xC0) == 0x80);                             /* whole characters       */
        cut[n] = '\0';
        memcpy(cut + n, "..", 3);
    }
    plot_text(g, x, y, size, cut);
}

static double round_step(double range)
{
    double raw = range / 4, power = pow(10, floor(log10(raw))), m = raw / power;
    return power * (m > 5 ? 10 : m > 2 ? 5 : m > 1 ? 2 : 1);
}

/* ---------------------------------------------------------------- spider */

static void corner(int i, int n, double share, double *x, double *y)
{
    double angle = 2 * M_PI * i / n - M_PI / 2, radius = 105;
    *x = SPIDER_WIDTH / 2.0 + share * radius * cos(angle);
    *y = 168 + share * radius * sin(angle);
}

static void web(cairo_t *g, const plot_spider *s)
{
    char text[40];
    double x, y, step = round_step(s->most);
    cairo_set_line_width(g, 0.8);
    for (int ring = 1; ring * step <= s->most * 1.0001; ring++) {
        double at = ring * step;
        ink(g, 0.82);
        for (int i = 0; i <= s->n; i++) {
            corner(i, s->n, at / s->most, &x, &y);
            cairo_line_to(g, x, y);
        }
        cairo_stroke(g);
        ink(g, 0.4);
        corner(0, s->n, at / s->most, &x, &y);
        snprintf(text, sizeof text, "%.3g", at);
        plot_text(g, x + 3, y + 9, 9, text);
    }
    for (int i = 0; i < s->n; i++) {
        corner(i, s->n, 1, &x, &y);
        ink(g, 0.82);
        cairo_move_to(g, SPIDER_WIDTH / 2.0, 168);
        cairo_line_to(g, x, y);
        cairo_stroke(g);
        corner(i, s->n, 1.12, &x, &y);
        double w = fmin(plot_text_width(g, 11, s->axes[i].name), 120);
        double left = x > SPIDER_WIDTH / 2.0 + 8 ? x : x < SPIDER_WIDTH / 2.0 - 8 ? x - w : x - w / 2;
        left = fmax(4, fmin(left, SPIDER_WIDTH - 4 - w));
        ink(g, 0.1);
        fitted(g, left, y + 4, 11, s->axes[i].name, 120);
    }
}

static void polygon(cairo_t *g, const plot_spider *s, bool other)
{
    double x, y;
    int k = other ? 0 : 1;
    line_style(g, k);
    if (other)
        cairo_set_dash(g, (double[]){ 5, 3 }, 2, 0);
    else
        cairo_set_dash(g, NULL, 0, 0);
    for (int i = 0; i < s->n; i++) {
        double v = other ? s->axes[i].other : s->axes[i].of;
        corner(i, s->n, isnan(v) ? 0 : v / s->most, &x, &y);
        cairo_line_to(g, x, y);
    }
    cairo_close_path(g);
    if (!other) {
        cairo_set_source_rgba(g, colours[1][0], colours[1][1], colours[1][2], 0.14);
        cairo_fill_preserve(g);
        cairo_set_source_rgb(g, colours[1][0], colours[1][1], colours[1][2]);
    }
    cairo_stroke(g);
    for (int i = 0; i < s->n; i++) {
        double v = other ? s->axes[i].other : s->axes[i].of;
        corner(i, s->n, isnan(v) ? 0 : v / s->most, &x, &y);
        mark(g, k, x, y);
    }
}

void plot_spider_draw(void *arg, cairo_t *g)
{
    const plot_spider *s = arg;
    web(g, s);
    if (s->other)
        polygon(g, s, true);
    polygon(g, s, false);
    mark(g, 1, 14, SPIDER_HEIGHT - 28);
    ink(g, 0.1);
    fitted(g, 24, SPIDER_HEIGHT - 24, 12, s->of, SPIDER_WIDTH - 34);
    if (s->other) {
        mark(g, 0, 14, SPIDER_HEIGHT - 11);
        ink(g, 0.1);
        fitted(g, 24, SPIDER_HEIGHT - 7, 12, s->other, SPIDER_WIDTH - 34);
    }
}

/* ---------------------------------------------------------------- bars */

void plot_bars_draw(void *arg, cairo_t *g)
{
    const plot_bars *b = arg;
    double left = 190, right = BARS_WIDTH - 70, most = 0;
    char text[60];
    for (int i = 0; i < b->n; i++)
        most = fmax(most, b->bars[i].value.mean + (isnan(b->bars[i].value.deviation) ? 0 : b->bars[i].value.deviation));
    if (!(most > 0))
        most = 1;
    ink(g, 0.1);
    fitted(g, 10, 18, 13, b->title, BARS_WIDTH - 20);
    double step = round_step(most), bottom = 30 + b->n * BARS_EACH;
    cairo_set_line_width(g, 0.8);
    for (int tick = 0; tick * step <= most * 1.0001; tick++) {
        double at = tick * step, x = left + (right - left) * at / most;
        ink(g, 0.87);
        cairo_move_to(g, x, 28);
        cairo_line_to(g, x, bottom);
        cairo_stroke(g);
        snprintf(text, sizeof text, "%.3g", at);
        ink(g, 0.35);
        plot_text(g, x - plot_text_width(g, 10, text) / 2, bottom + 12, 10, text);
    }
    plot_text(g, left, bottom + 25, 10, b->unit);
    for (int i = 0; i < b->n; i++) {
        const spread *v = &b->bars[i].value;
        double y = 30 + i * BARS_EACH, scale = (right - left) / most;
        ink(g, 0.1);
        fitted(g, 10, y + 15, 12, b->bars[i].label, left - 18);
        if (isnan(v->mean))
            continue;
        cairo_set_source_rgb(g, 0.45, 0.66, 0.82);
        cairo_rectangle(g, left, y + 4, v->mean * scale, BARS_EACH - 9);
        cairo_fill(g);
        ink(g, 0);
        cairo_set_line_width(g, 1.3);
        if (!isnan(v->deviation)) {
            cairo_move_to(g, left + (v->mean - v->deviation) * scale, y + 11.5);
            cairo_line_to(g, left + (v->mean + v->deviation) * scale, y + 11.5);
            cairo_stroke(g);
        }
        for (int k = 0; k < v->n; k++) {
            cairo_arc(g, left + v->v[k] * scale, y + 11.5, 2.2, 0, 2 * M_PI);
            cairo_fill(g);
        }
        snprintf(text, sizeof text, "%.2f", v->mean);
        plot_text(g, right + 12, y + 15, 11, text);
    }
}

/* ---------------------------------------------------------------- lines */

typedef struct frame { double left, right, top, bottom, x0, x1, y0, y1; } frame;

static frame frame_of(const plot_lines *p)
{
    frame f = { .left = 62, .right = LINES_WIDTH - 190, .top = 34, .bottom = LINES_HEIGHT - 44, .x0 = HUGE_VAL,
                .x1 = -HUGE_VAL, .y0 = HUGE_VAL, .y1 = -HUGE_VAL };
    for (int i = 0; i < p->n; i++)
        for (int k = 0; k < p->lines[i].n; k++) {
            double x = p->log_x ? log2(p->lines[i].x[k]) : p->lines[i].x[k];
            f.x0 = fmin(f.x0, x);
            f.x1 = fmax(f.x1, x);
            f.y0 = fmin(f.y0, p->lines[i].y[k]);
            f.y1 = fmax(f.y1, p->lines[i].y[k]);
        }
    if (f.y0 > 0 && f.y0 < 0.5 * f.y1)
        f.y0 = 0;
    f.x1 = f.x1 > f.x0 ? f.x1 : f.x0 + 1;
    f.y1 = f.y1 > f.y0 ? f.y1 : f.y0 + 1;
    return f;
}

static double at_x(const frame *f, double x) { return f->left + (f->right - f->left) * (x - f->x0) / (f->x1 - f->x0); }
static double at_y(const frame *f, double y) { return f->bottom - (f->bottom - f->top) * (y - f->y0) / (f->y1 - f->y0); }

static void grid(cairo_t *g, const plot_lines *p, const frame *f)
{
    char text[40];
    double step = round_step(f->y1 - f->y0);
    cairo_set_line_width(g, 0.8);
    for (int64_t i = (int64_t)ceil(f->y0 / step - 1e-9); (double)i * step <= f->y1 + 1e-9 * step; i++) {
        double y = (double)i * step;
        ink(g, 0.87);
        cairo_move_to(g, f->left, at_y(f, y));
        cairo_line_to(g, f->right, at_y(f, y));
        cairo_stroke(g);
        ink(g, 0.35);
        snprintf(text, sizeof text, "%.4g", y);
        plot_text(g, f->left - 6 - plot_text_width(g, 10, text), at_y(f, y) + 4, 10, text);
    }
    step = p->log_x ? 1 : round_step(f->x1 - f->x0);
    for (int64_t i = (int64_t)ceil(f->x0 / step - 1e-9); (double)i * step <= f->x1 + 1e-9 * step; i++) {
        double x = (double)i * step;
        snprintf(text, sizeof text, "%.6g", p->log_x ? exp2(x) : x);
        plot_text(g, at_x(f, x) - plot_text_width(g, 10, text) / 2, f->bottom + 14, 10, text);
    }
    ink(g, 0.1);
    fitted(g, 10, 18, 13, p->title, LINES_WIDTH - 20);
    plot_text(g, (f->left + f->right - plot_text_width(g, 11, p->x)) / 2, f->bottom + 32, 11, p->x);
    cairo_save(g);
    cairo_translate(g, 14, (f->top + f->bottom + plot_text_width(g, 11, p->y)) / 2);
    cairo_rotate(g, -M_PI / 2);
    plot_text(g, 0, 0, 11, p->y);
    cairo_restore(g);
}

void plot_lines_draw(void *arg, cairo_t *g)
{
    const plot_lines *p = arg;
    frame f = frame_of(p);
    grid(g, p, &f);
    for (int i = 0; i < p->n && i < LINES_MOST; i++) {
        const plot_line *l = &p->lines[i];
        double y = f.top + 8 + 18 * i;
        line_style(g, i);
        for (int k = 0; k < l->n; k++)
            cairo_line_to(g, at_x(&f, p->log_x ? log2(l->x[k]) : l->x[k]), at_y(&f, l->y[k]));
        cairo_stroke(g);
        cairo_move_to(g, f.right + 14, y);
        cairo_line_to(g, f.right + 44, y);
        cairo_stroke(g);
        for (int k = 0; p->marks && k < l->n; k++)
            mark(g, i, at_x(&f, p->log_x ? log2(l->x[k]) : l->x[k]), at_y(&f, l->y[k]));
        if (p->marks)
            mark(g, i, f.right + 29, y);
        cairo_set_dash(g, NULL, 0, 0);
        ink(g, 0.1);
        fitted(g, f.right + 50, y + 4, 11, l->label, LINES_WIDTH - f.right - 56);
    }
}
