/* plot.c: cairo surfaces as files (plot.h). Used by train_curves.c, cmd_eval.c and report_plots.c. */
#include "cli/plot.h"

#include <cairo/cairo-svg.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"

typedef struct bytes { unsigned char *v; size_t n, cap; } bytes;

static cairo_status_t append(void *arg, const unsigned char *data, unsigned n)
{
    bytes *b = arg;
    if (b->n + n > b->cap) {
        size_t cap = 2 * (b->n + n);
        unsigned char *v = realloc(b->v, cap);
        if (!v)
            return CAIRO_STATUS_NO_MEMORY;
        b->v = v;
        b->cap = cap;
    }
    memcpy(b->v + b->n, data, n);
    b->n += n;
    return CAIRO_STATUS_SUCCESS;
}

static bool render(im_ctx *c, const char *name, bool svg, int width, int height, void (*fn)(void *arg, cairo_t *g),
                   void *arg, bytes *b)
{
    cairo_surface_t *s = svg ? cairo_svg_surface_create_for_stream(append, b, width, height)
                             : cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height);
    cairo_t *g = cairo_create(s);
    cairo_set_source_rgb(g, 1, 1, 1);
    cairo_paint(g);
    fn(arg, g);
    cairo_status_t status = cairo_status(g);
    cairo_destroy(g);
    if (status == CAIRO_STATUS_SUCCESS && !svg)
        status = cairo_surface_write_to_png_stream(s, append, b);
    cairo_surface_finish(s);                                   /* the SVG is written here                              */
    if (status == CAIRO_STATUS_SUCCESS)
        status = cairo_surface_status(s);
    cairo_surface_destroy(s);
    return status == CAIRO_STATUS_SUCCESS ||
           im_fail(c, "%s: cannot be drawn: %s", name, cairo_status_to_string(status));
}

bool plot_write(im_ctx *c, const char *path, int width, int height, void (*fn)(void *arg, cairo_t *g), void *arg)
{
    bytes b = { 0 };
    size_t n = strlen(path);
    bool svg = n > 4 && !strcmp(path + n - 4, ".svg");
    bool ok = render(c, path, svg, width, height, fn, arg, &b) && im_write_file(c, path, b.v, b.n, true);
    free(b.v);
    return ok;
}

unsigned char *plot_svg(im_ctx *c, int width, int height, void (*fn)(void *arg, cairo_t *g), void *arg, size_t *n)
{
    bytes b = { 0 };
    if (render(c, "a plot", true, width, height, fn, arg, &b)) {
        *n = b.n;
        return b.v;
    }
    free(b.v);
    return NULL;
}

static void choose(cairo_t *g, double size)
{
    cairo_select_font_face(g, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(g, size);
}

void plot_text(cairo_t *g, double x, double y, double size, const char *text)
{
    choose(g, size);
    cairo_move_to(g, x, y);
    cairo_show_text(g, text);
    cairo_new_path(g);                                         /* else the next line would begin where the text ends   */
}

double plot_text_width(cairo_t *g, double size, const char *text)
{
    cairo_text_extents_t e;
    choose(g, size);
    cairo_text_extents(g, text, &e);
    return e.x_advance;
}
