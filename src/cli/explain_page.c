/* explain_page.c: the page of `imago explain`: one HTML file that needs nothing else, and what its sections share. Style
 * and script are explain.css and explain.js, carried in the program. Without the script all is there but the sliders. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli/explain.h"
#include "cli/measure.h"
#include "cli/plot.h"
#include "cli/report.h"
#include "cli/session.h"
#include "data/files/file.h"

void page_print(page *p, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vfprintf(p->f, fmt, args);
    va_end(args);
}

void page_say(page *p, const char *text)
{
    page_text(p->f, text);
}

void page_section(page *p, const char *id, const char *title)
{
    page_print(p, "<h2 id=\"%s\">", id);
    page_say(p, title);
    page_print(p, "</h2>\n");
}

void page_command(page *p, const char *command)
{
    page_print(p, "<span class=\"made\">made by <code>");
    page_paths(p->f, command);
    page_print(p, "</code></span>\n");
}

void page_generate(const explain *e, const im_sd_args *a, const char *more, char *out, size_t size)
{
    FILE *f = fmemopen(out, size, "w");
    if (!f) {
        out[0] = '\0';
        return;
    }
    fputs("imago generate", f);
    if (e->model) {
        fputs(" -m ", f);
        measure_word(f, e->model);
    }
    fputs(" -p ", f);
    measure_word(f, a->prompt);
    if (a->negative && *a->negative) {
        fputs(" -n ", f);
        measure_word(f, a->negative);
    }
    fprintf(f, " -s %llu --steps %d --guidance %g", (unsigned long long)a->seed, a->steps, (double)a->guidance);
    if (a->scheduler)
        fprintf(f, " --scheduler %s", a->scheduler);
    if (a->eta > 0)
        fprintf(f, " --eta %g", (double)a->eta);
    fprintf(f, "%s -o picture.png", more);
    fclose(f);
    out[size - 1] = '\0';
}

static void url(page *p, const im_image *i)
{
    size_t n;
    unsigned char *png = draw_png(p->c, i, &n);
    if (png)
        page_url(p->f, "image/png", png, n);
    free(png);
}

void page_picture(page *p, const im_image *i, const char *alt, const char *css)
{
    if (!i)
        return;
    page_print(p, "<img%s%s%s width=\"%d\" height=\"%d\" alt=\"", *css ? " class=\"" : "", css, *css ? "\"" : "", i->width,
               i->height);
    page_say(p, alt);
    page_print(p, "\" src=\"");
    url(p, i);
    page_print(p, "\">\n");
}

void page_film(page *p, const im_image *strip, int n, const char *name, const char *alt, double aspect)
{
    if (!strip)
        return;
    page_print(p, "<div class=\"film\" data-film=\"%s\" role=\"img\" aria-label=\"", name);
    page_say(p, alt);
    page_print(p, "\" style=\"--n:%d;--i:%d;aspect-ratio:%.4f;background-image:url(", n, n - 1, aspect);
    url(p, strip);
    page_print(p, ")\"></div>\n");
}

void page_slider(page *p, const char *name, int n, int at, const char *label)
{
    page_print(p, "<div class=\"slider\"><label for=\"slider-%s\">", name);
    page_say(p, label);
    page_print(p, "</label><input id=\"slider-%s\" data-slider=\"%s\" type=\"range\" min=\"0\" max=\"%d\" "
               "value=\"%d\">", name,
               name, n - 1, at);
    page_print(p, "<output data-follow=\"%s\" data-values=\"", name);
    for (int i = 0; i < n; i++)
        page_print(p, "%s%d of %d", i ? "|" : "", i + 1, n);
    page_print(p, "\">%d of %d</output></div>\n", at + 1, n);
}

void page_follow(page *p, const char *name, const char *const values[], int n, int at)
{
    page_print(p, "<span data-follow=\"%s\" data-values=\"", name);
    for (int i = 0; i < n; i++) {
        page_print(p, i ? "|" : "");
        page_say(p, values[i]);
    }
    page_print(p, "\">");
    page_say(p, values[at]);
    page_print(p, "</span>");
}

/* ---------------------------------------------------------------- curves, in the colours of the page */

enum { CURVE_W = 620, CURVE_H = 190, LEFT = 66, RIGHT = 150, TOP = 10, BOTTOM = 34 };

void page_curves(page *p, const char *const names[], const double *const y[], int lines, int n, const char *x_label,
                 const char *marked)
{
    static const char *const colours[] = { "var(--mark)", "var(--mark2)", "var(--dim)" };
    static const char *const dashes[] = { "", " stroke-dasharray=\"7 3\"", " stroke-dasharray=\"2 3\"" };
    double low = 0, high = 0;
    for (int k = 0; k < lines; k++)
        for (int i = 0; i < n; i++) {
            low = fmin(low, y[k][i]);
            high = fmax(high, y[k][i]);
        }
    high = high > low ? high : low + 1;
    int w = CURVE_W - LEFT - RIGHT, h = CURVE_H - TOP - BOTTOM;
    page_print(p, "<svg viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\" aria-label=\"", CURVE_W,
               CURVE_H, CURVE_W,
               CURVE_H);
    page_say(p, names[0]);
    page_print(p, "\">\n");
    for (int i = 0; i <= 4; i++) {
        double v = low + (high - low) * i / 4, at = TOP + h - h * i / 4.0;
        page_print(p, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"var(--line)\"/>"
                   "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.3g</text>\n", LEFT, LEFT + w, at, at, LEFT - 6,
                   at + 4, v);
    }
    for (int k = 0; k < lines; k++) {
        page_print(p, "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"%s\"%s points=\"", colours[k % 3],
                   dashes[k % 3]);
        for (int i = 0; i < n; i++)
            page_print(p, "%s%.1f,%.1f", i ? " " : "", LEFT + (double)w * i / (n > 1 ? n - 1 : 1),
                       TOP + h - h * (y[k][i] - low) / (high - low));
        page_print(p, "\"/><line x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\" stroke-width=\"2\" stroke=\"%s\"%s/><text "
                   "x=\"%d\" "
                   "y=\"%d\">", LEFT + w + 8, LEFT + w + 30, TOP + 10 + 18 * k, TOP + 10 + 18 * k, colours[k % 3],
                   dashes[k % 3],
                   LEFT + w + 36, TOP + 14 + 18 * k);
        page_say(p, names[k]);
        page_print(p, "</text>\n");
    }
    if (marked)
        page_print(p, "<line data-at=\"%s\" data-left=\"%d\" data-width=\"%d\" data-n=\"%d\" x1=\"%d\" x2=\"%d\" y1=\"%d\" "
                   "y2=\"%d\" stroke=\"var(--fg)\"/>\n", marked, LEFT, w, n, LEFT + w, LEFT + w, TOP, TOP + h);
    page_print(p, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">", LEFT + w / 2, CURVE_H - 8);
    page_say(p, x_label);
    page_print(p, "</text></svg>\n");
}

/* ---------------------------------------------------------------- source */

void page_code(page *p, const char *op)
{
    explain_code code;
    bool found;
    page_print(p, "<details id=\"op-%s\"><summary><code>%s</code> ", op, op);
    for (int i = 0; ; i++) {
        const char *name, *formula;
        if (!im_op_describe(i, &name, &formula))
            break;
        if (!strcmp(name, op))
            page_say(p, formula);
    }
    page_print(p, "</summary>\n");
    for (int i = 0; explain_code_of(op, i, &code, &found); i++) {
        if (!found) {
            im_fail(p->c, "the source of the operation %s was not found in %s; explain_code.c names another function", op,
                    code.file);
            return;
        }
        page_print(p, "<p>%s: <code>%s:%d</code></p><pre>", code.what, code.file, code.line);
        char *text = im_copy_text(p->c, code.text, code.bytes);
        page_say(p, text ? text : "");
        free(text);
        page_print(p, "</pre>\n");
    }
    page_print(p, "</details>\n");
}

/* ---------------------------------------------------------------- the page */

bool page_write(im_ctx *c, const char *title, const char *path, bool force, void (*body)(page *p, void *arg), void *arg)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (!f)
        return im_fail(c, "%s: out of memory", path);
    page p = { .c = c, .f = f };
    page_print(&p, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
               "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
    page_say(&p, title);
    page_print(&p, "</title>\n<style>\n%s</style></head>\n<body>\n", explain_file("explain.css"));
    body(&p, arg);
    page_print(&p, "<footer>imago %s (%s)</footer>\n<script>\n%s</script>\n</body></html>\n", IM_VERSION, commit_name(),
               explain_file("explain.js"));
    bool ok = !fclose(f) || im_fail(c, "%s: out of memory", path);
    ok = ok && im_ok(c) && im_write_file(c, path, text, n, force);
    free(text);
    return ok;
}

static void fact(page *p, const char *name, const char *fmt, ...) IM_PRINTF(3, 4);
static void fact(page *p, const char *name, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    page_print(p, "<tr><th>%s</th><td>", name);
    page_say(p, text);
    page_print(p, "</td></tr>\n");
}

static void header(page *p, explain *e)
{
    static const char *const sections[][2] = {
        { "prompt", "prompt" }, { "noise", "noise" }, { "steps", "steps" }, { "words", "words" }, { "unet", "UNet" },
        { "convolution", "a convolution" }, { "training", "training" }, { "change", "change one thing" },
        { "exercises", "exercises" } };
    char command[1024];
    const char *hash = im_sd_hash(e->sd), *scheduler = im_sd_scheduler(e->sd, &e->args);
    page_print(p, "<h1>How &ldquo;");
    page_say(p, e->args.prompt);
    page_print(p, "&rdquo; becomes a picture</h1>\n<div class=\"hero\">");
    page_picture(p, e->picture, "the picture", e->picture->width < 256 ? "pixels" : "");
    page_print(p, "<div><p>Everything on this page comes from one run of one model on one machine, and each figure names "
               "the command that makes it. Nothing is loaded from anywhere: the page is one file.</p>\n"
               "<table class=\"text\">");
    fact(p, "seed", "%llu", (unsigned long long)e->args.seed);
    fact(p, "steps", "%d with %s, %d evaluations of the UNet", e->args.steps, scheduler ? scheduler : "", e->steps);
    fact(p, "guidance", "%g", (double)e->args.guidance);
    fact(p, "picture", "%d x %d pixels, latents %d x %d x %d", e->picture->width, e->picture->height, e->channels,
         e->h, e->w);
    fact(p, "machine", "%s, %d thread%s; the run and all that the page varies took %.1f s", im_device_isa(e->c),
         im_threads(e->c), im_threads(e->c) > 1 ? "s" : "", e->seconds);
    page_print(p, "<tr><th>model</th><td><code>");
    page_paths(p->f, e->model ? e->model : "weights/imago-small, the embedded one");
    page_print(p, "</code></td></tr>\n");
    fact(p, "its hash", "%.16s", hash ? hash : "");
    page_print(p, "</table>\n");
    page_generate(e, &e->args, "", command, sizeof command);
    page_command(p, command);
    page_print(p, "<p>This page:</p>\n");
    page_command(p, e->command);
    page_print(p, "</div></div>\n<nav>");
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
        page_print(p, "<a href=\"#%s\">%s</a>", sections[i][0], sections[i][1]);
    page_print(p, "</nav>\n");
}

static void body(page *p, void *arg)
{
    explain *e = arg;
    header(p, e);
    page_text_section(p, e);
    page_noise_section(p, e);
    page_steps_section(p, e);
    page_words_section(p, e);
    page_unet_section(p, e);
    page_conv_section(p, e);
    page_learn_section(p, e);
    page_vary_section(p, e);
    page_exercises(p, e);
}

bool explain_write(explain *e, const char *path, bool force)
{
    char title[200];
    bool brief = strlen(e->args.prompt) < 150;                 /* cut text may end within a character                  */
    snprintf(title, sizeof title, "How \"%s\" becomes a picture", brief ? e->args.prompt : "a long prompt");
    return page_write(e->c, title, path, force, body, e);
}
