/* plot.h: drawing with cairo into memory and from there into files that are whole or not there. */
#ifndef IM_CLI_PLOT_H
#define IM_CLI_PLOT_H

#include <cairo/cairo.h>

#include "imago.h"

/* Draws by fn into PATH.svg or PATH.png, by the name's end; replaced where it exists. */
bool plot_write(im_ctx *c, const char *path, int width, int height, void (*fn)(void *arg, cairo_t *g), void *arg);

/* The same as SVG in memory: malloc'd, NULL with an error. */
unsigned char *plot_svg(im_ctx *c, int width, int height, void (*fn)(void *arg, cairo_t *g), void *arg, size_t *bytes);

void plot_text(cairo_t *g, double x, double y, double size, const char *text);      /* left end of the base line      */
double plot_text_width(cairo_t *g, double size, const char *text);

#endif
