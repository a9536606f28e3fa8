/* sheet.c: a grid of pictures with the prompt, a classifier's guess and the seed under each, drawn with cairo. Small
 * pictures are enlarged by a whole factor, each pixel a square. Used by `imago generate --sheet`, so by `make demo`, and by
 * `imago data`. */
#include "cli/sheet.h"

#include <cairo/cairo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/files/utf8.h"
#include "data/images/picture.h"

enum { SMALLEST = 160, GAP = 16, LINE = 17, MOST_LINES = 3, TITLE = 40, FONT = 13, TITLE_FONT = 16 };

typedef struct layout {
    int columns, rows, zoom, picture_w, picture_h, cell_w, cell_h, width, height;
    int lines, guess, note;                                    /* of a label; 1 where there are guesses, notes         */
    int left, above;                                           /* of the pictures, for the names of rows, columns      */
} layout;

static cairo_surface_t *surface_of(const im_image *p)
{
    cairo_surface_t *s = cairo_image_surface_create(CAIRO_FORMAT_RGB24, p->width, p->height);
    if (cairo_surface_status(s) != CAIRO_STATUS_SUCCESS)
        return s;
    unsigned char *data = cairo_image_surface_get_data(s);
    int stride = cairo_image_surface_get_stride(s);
    for (int y = 0; y < p->height; y++)
        for (int x = 0; x < p->width; x++) {
            const uint8_t *from = p->pixels + ((size_t)y * (size_t)p->width + (size_t)x) * (size_t)p->channels;
            uint8_t r = from[0], g = p->channels > 1 ? from[1] : r, b = p->channels > 2 ? from[2] : r;
            uint32_t pixel = (uint32_t)r << 16 | (uint32_t)g << 8 | b;
            memcpy(data + (size_t)y * (size_t)stride + 4 * (size_t)x, &pixel, 4);
        }
    cairo_surface_mark_dirty(s);
    return s;
}

static void draw_picture(cairo_t *g, const im_image *p, int x, int y, int zoom)
{
    cairo_surface_t *s = surface_of(p);
    cairo_save(g);
    cairo_translate(g, x, y);
    cairo_scale(g, zoom, zoom);
    cairo_set_source_surface(g, s, 0, 0);
    cairo_pattern_set_filter(cairo_get_source(g), CAIRO_FILTER_NEAREST);
    cairo_paint(g);
    cairo_restore(g);
    cairo_surface_destroy(s);
}

static void choose_font(cairo_t *g, double size)
{
    cairo_select_font_face(g, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(g, size);
}

static double text_width(cairo_t *g, const char *text)
{
    cairo_text_extents_t e;
    cairo_text_extents(g, text, &e);
    return e.x_advance;
}

static size_t character(const char *s)                         /* bytes of the UTF-8 character at s                    */
{
    size_t n = 1;
    while (s[0] && ((unsigned char)s[n] & 0xC0) == 0x80)
        n++;
    return n;
}

/* A copy that cairo takes: names of files may hold any bytes and prompts line ends, and one such byte would spoil the whole
 * sheet. Control characters become spaces; in a text that is not UTF-8, bytes beyond ASCII become question marks. */
static char *printable(im_ctx *c, const char *text)
{
    char *out = im_copy_text(c, text ? text : "", text ? strlen(text) : 0);
    bool utf8 = out && im_utf8_check(c, "", out, strlen(out));
    if (out && !utf8)
        im_clear_error(c);
    for (unsigned char *p = (unsigned char *)out; out && *p; p++)
        *p = *p < 32 || *p == 127 ? ' ' : *p > 127 && !utf8 ? '?' : *p;
    return out;
}

/* The bytes of `text` that fit into `width`: up to a space where there is one, else up to a character. */
static size_t fitting(cairo_t *g, const char *text, double width)
{
    size_t fit = 0, space = 0, all = strlen(text);
    char *part = malloc(all + 1);
    if (!part)
        return all;
    for (size_t n = 0; n < all; ) {
        n += character(text + n);
        memcpy(part, text, n);
        part[n] = '\0';
        if (fit && text_width(g, part) > width)
            break;
        fit = n;
        if (text[n] == ' ' || !text[n])
            space = n;
    }
    free(part);
    return fit == all || !space ? fit : space;
}

/* Lines that the longest label takes, up to MOST_LINES. */
static int label_lines(const sheet_cell cells[], int n, double width)
{
    cairo_surface_t *s = cairo_image_surface_create(CAIRO_FORMAT_A8, 1, 1);
    cairo_t *g = cairo_create(s);
    int most = 1;
    choose_font(g, FONT);
    for (int i = 0; i < n && most < MOST_LINES; i++) {
        const char *text = cells[i].label;
        int lines = 0;
        for (; text && *text && lines < MOST_LINES; lines++) {
            text += fitting(g, text, width);
            text += strspn(text, " ");
        }
        most = lines > most ? lines : most;
    }
    cairo_destroy(g);
    cairo_surface_destroy(s);
    return most;
}

/* As near to a square as fits, or wider by up to a half where that leaves fewer cells empty: 24 are 6 x 4, 7 are 4 x 2. */
static int columns_for(int n)
{
    int square = 1;
    while (square * square < n)
        square++;
    int best = square;
    for (int k = square + 1; 2 * k <= 3 * square; k++)
        if ((n + k - 1) / k * k < (n + best - 1) / best * best)
            best = k;
    return best;
}

/* The widest of them. */
static double names_width(char *const names[], int n)
{
    cairo_surface_t *s = cairo_image_surface_create(CAIRO_FORMAT_A8, 1, 1);
    cairo_t *g = cairo_create(s);
    double most = 0;
    choose_font(g, FONT);
    for (int i = 0; i < n; i++) {
        double w = text_width(g, names[i]);
        most = w > most ? w : most;
    }
    cairo_destroy(g);
    cairo_surface_destroy(s);
    return most;
}

static void plan_axes(layout *l, const sheet_axes *axes)
{
    enum { WIDEST = 240 };
    double names = names_width(axes->row, axes->rows);
    l->columns = axes->columns;
    l->left = axes->rows ? (int)(names < WIDEST ? names : WIDEST) + GAP : 0;
    l->above = LINE;
}

static bool plan(im_ctx *c, const sheet_cell cells[], int n, const sheet_axes *axes, layout *l)
{
    int w = 1, h = 1;
    *l = (layout){ .zoom = 1 };
    for (int i = 0; i < n; i++) {
        l->guess |= cells[i].guess && *cells[i].guess;
        if (cells[i].picture) {
            w = cells[i].picture->width > w ? cells[i].picture->width : w;
            h = cells[i].picture->height > h ? cells[i].picture->height : h;
        }
    }
    while (w * l->zoom < SMALLEST)
        l->zoom++;
    l->columns = columns_for(n);
    l->note = !axes;
    if (axes)
        plan_axes(l, axes);
    l->rows = (n + l->columns - 1) / l->columns;
    l->picture_w = w * l->zoom;
    l->picture_h = h * l->zoom;
    l->cell_w = l->picture_w + GAP;
    l->lines = axes ? 0 : label_lines(cells, n, l->picture_w);
    l->cell_h = l->picture_h + (l->lines + l->guess + l->note) * LINE + GAP;
    double width = (double)l->columns * l->cell_w + GAP + l->left;
    double height = (double)l->rows * l->cell_h + GAP + TITLE + l->above;
    if (width > 32767 || height > 32767)                       /* cairo's largest image                                */
        return im_fail(c, "the sheet: %d pictures of %dx%d make %.0fx%.0f pixels, at most 32767 a side are possible; "
                          "ask for fewer pictures", n, w, h, width, height);
    l->width = (int)width;
    l->height = (int)height;
    return true;
}

/* Draws up to `lines` lines; the last one ends in an ellipsis when the text goes on. */
static void draw_text(cairo_t *g, const char *text, double x, double y, double width, int lines)
{
    for (int i = 0; i < lines && *text; i++) {
        bool last = i == lines - 1;
        size_t n = fitting(g, text, width);
        if (last && text[n])
            n = fitting(g, text, width - text_width(g, "\xE2\x80\xA6"));
        char *line = malloc(n + 4);
        if (!line)
            return;
        snprintf(line, n + 4, "%.*s%s", (int)n, text, last && text[n] ? "\xE2\x80\xA6" : "");
        cairo_move_to(g, x, y + i * LINE);
        cairo_show_text(g, line);
        free(line);
        text += n + strspn(text + n, " ");
    }
}

static void draw_axes(cairo_t *g, const layout *l, const sheet_axes *axes)
{
    cairo_set_source_rgb(g, 0.1, 0.1, 0.1);
    for (int i = 0; i < axes->columns; i++)
        draw_text(g, axes->column[i], GAP + l->left + i * l->cell_w, GAP + TITLE + FONT, l->picture_w, 1);
    for (int i = 0; i < axes->rows; i++)
        draw_text(g, axes->row[i], GAP, GAP + TITLE + l->above + i * l->cell_h + l->picture_h / 2, l->left - GAP, 1);
}

static void draw_all(cairo_t *g, const layout *l, const char *title, const sheet_cell cells[], int n,
                     const sheet_axes *axes)
{
    cairo_set_source_rgb(g, 1, 1, 1);
    cairo_paint(g);
    cairo_set_source_rgb(g, 0.1, 0.1, 0.1);
    choose_font(g, TITLE_FONT);
    draw_text(g, title, GAP, GAP + TITLE_FONT, l->width - 2 * GAP, 1);
    choose_font(g, FONT);
    if (axes)
        draw_axes(g, l, axes);
    for (int i = 0; i < n; i++) {
        int x = GAP + l->left + i % l->columns * l->cell_w, y = GAP + TITLE + l->above + i / l->columns * l->cell_h;
        int below = y + l->picture_h + LINE;
        if (cells[i].picture)
            draw_picture(g, cells[i].picture, x, y, l->zoom);
        cairo_set_source_rgb(g, 0.1, 0.1, 0.1);
        draw_text(g, cells[i].label, x, below, l->picture_w, l->lines);
        cairo_set_source_rgb(g, 0.05, 0.3, 0.75);
        draw_text(g, cells[i].guess, x, below + l->lines * LINE, l->picture_w, 1);
        cairo_set_source_rgb(g, 0.45, 0.45, 0.45);
        draw_text(g, cells[i].note, x, below + (l->lines + l->guess) * LINE, l->picture_w, 1);
    }
}

static im_image *image_of(im_ctx *c, cairo_surface_t *s, const layout *l)
{
    im_image *out = im_image_new(c, l->width, l->height, 3);
    cairo_surface_flush(s);
    const unsigned char *data = cairo_image_surface_get_data(s);
    int stride = cairo_image_surface_get_stride(s);
    for (int y = 0; out && y < l->height; y++)
        for (int x = 0; x < l->width; x++) {
            uint32_t pixel;
            uint8_t *to = out->pixels + 3 * ((size_t)y * (size_t)l->width + (size_t)x);
            memcpy(&pixel, data + (size_t)y * (size_t)stride + 4 * (size_t)x, 4);
            to[0] = (uint8_t)(pixel >> 16);
            to[1] = (uint8_t)(pixel >> 8);
            to[2] = (uint8_t)pixel;
        }
    return out;
}

static im_image *draw_sheet(im_ctx *c, const char *title, const sheet_cell cells[], int n, const sheet_axes *axes)
{
    layout l;
    im_image *out = NULL;
    if (!plan(c, cells, n, axes, &l))
        return NULL;
    cairo_surface_t *s = cairo_image_surface_create(CAIRO_FORMAT_RGB24, l.width, l.height);
    cairo_t *g = cairo_create(s);
    draw_all(g, &l, title, cells, n, axes);
    if (cairo_status(g) == CAIRO_STATUS_SUCCESS)
        out = image_of(c, s, &l);
    else
        im_fail(c, "the sheet of %dx%d pixels cannot be drawn: %s", l.width, l.height,
                cairo_status_to_string(cairo_status(g)));
    cairo_destroy(g);
    cairo_surface_destroy(s);
    return out;
}

static void free_cells(sheet_cell *own, int n)
{
    for (int i = 0; own && i < n; i++) {
        free((char *)own[i].label);
        free((char *)own[i].guess);
        free((char *)own[i].note);
    }
    free(own);
}

/* The same cells with texts that can be drawn; NULL with an error. */
static sheet_cell *printable_cells(im_ctx *c, const sheet_cell cells[], int n)
{
    sheet_cell *own = calloc((size_t)n, sizeof *own);
    for (int i = 0; own && i < n; i++)
        own[i] = (sheet_cell){ .picture = cells[i].picture, .label = printable(c, cells[i].label),
                               .guess = printable(c, cells[i].guess), .note = printable(c, cells[i].note) };
    if (!own)
        im_fail(c, "out of memory for a sheet of %d pictures", n);
    if (im_ok(c))
        return own;
    free_cells(own, n);
    return NULL;
}

bool sheet_fits(im_ctx *c, const sheet_cell cells[], int n, const sheet_axes *axes)
{
    layout l;
    sheet_cell *own = printable_cells(c, cells, n);
    bool fits = own && plan(c, own, n, axes, &l);
    free_cells(own, n);
    return fits;
}

im_image *sheet_draw(im_ctx *c, const char *title, const sheet_cell cells[], int n, const sheet_axes *axes)
{
    sheet_cell *own = printable_cells(c, cells, n);
    char *own_title = printable(c, title);
    im_image *out = own && own_title ? draw_sheet(c, own_title, own, n, axes) : NULL;
    free(own_title);
    free_cells(own, n);
    return out;
}

bool sheet_named(im_ctx *c, const char *path)
{
    im_picture_format format;
    return im_picture_format_of(path, &format)
        || im_fail(c, "%s: wanted a name for the sheet that ends in .png, .jpg or .jpeg", path);
}

bool sheet_save(im_ctx *c, const char *path, const im_image *sheet, int quality, im_origin mark, bool force)
{
    im_picture_how how = { .quality = quality, .mark = mark };
    return sheet_named(c, path) && im_picture_format_of(path, &how.format) && im_picture_write(c, path, sheet, &how, force);
}
