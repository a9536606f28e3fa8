/* png.c: PNG files (ISO/IEC 15948) through libpng.
 *
 * Reading gives 8-bit RGB as Pillow's Image.open(path).convert("RGB") does, as diffusers begins with that: alpha and
 * transparent colours are dropped, not blended; of 16-bit RGB and of 16-bit grey with alpha the high byte counts;
 * 16-bit grey is clipped at 255, with a warning; colours beyond the palette are black; gamma and profiles are not
 * applied. A file whose end is missing or wrong is read while all its pixels are there; checksums: png_chunks.c.
 * Reading is used by picture.c, writing by whoever makes pictures. */
#include "data/images/png.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/files/utf8.h"
#include "data/images/exif.h"
#include "data/images/mark.h"
#include "data/images/png_chunks.h"
#include "imago.h"

/* State of one reading or writing. It lives in the caller of the function that calls setjmp, so that a longjmp leaves
 * its members as they are. */
typedef struct work {
    im_ctx *c;
    const char *path;
    png_structp png;
    png_infop info;
    const uint8_t *at; size_t left;                            /* reading: what is still unread of the file           */
    int64_t max_pixels;
    bool mended;                                               /* the file ended too early                            */
    uint32_t rows_left;                                        /* still to be unpacked, of all passes                 */
    im_image *image;
    uint8_t *grey16;                                           /* (h, w) of 2 bytes, for 16-bit grey only             */
    uint8_t **rows;
    im_out *out;                                               /* writing: to a file, or                              */
    uint8_t *file; size_t bytes, room;                         /* into memory                                         */
    bool writing;
} work;

/* All pixels are there: what is wrong behind them is no matter. */
static bool whole_at_last(const work *w) { return !w->writing && w->rows && !w->rows_left; }

static void on_error(png_structp png, png_const_charp message)
{
    work *w = png_get_error_ptr(png);
    if (w->mended) message = "the file ends too early";
    if (w->writing) im_fail(w->c, "%s: cannot write the PNG: %s", w->path, message);
    else if (!whole_at_last(w))
        im_fail(w->c, "%s: is a damaged PNG: %s; fetch or export it again", w->path, message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;                                                 /* odd but readable: ICC profiles, gamma               */
    (void)message;
}

static bool no_memory(work *w) { return im_fail(w->c, "%s: out of memory; close other programs", w->path); }

/* ---------------------------------------------------------------- reading */

static void take_bytes(png_structp png, png_bytep to, size_t n)
{
    work *w = png_get_io_ptr(png);
    if (n > w->left) png_error(png, "the file ends too early");
    memcpy(to, w->at, n);
    w->at += n;
    w->left -= n;
}

/* Asks libpng for 8-bit RGB, or 16-bit grey where the picture is that. */
static void set_transforms(work *w, int depth, int colour)
{
    if (colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(w->png);
    if (colour == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(w->png);
    if (colour == PNG_COLOR_TYPE_GRAY && depth == 16) return;
    if (depth == 16) png_set_strip_16(w->png);
    png_set_strip_alpha(w->png);
    if (!(colour & PNG_COLOR_MASK_COLOR)) png_set_gray_to_rgb(w->png);
}

static bool check_pixels(im_ctx *c, const char *path, uint32_t width, uint32_t height, int64_t max_pixels)
{
    if (max_pixels > IM_PNG_MAX_PIXELS) max_pixels = IM_PNG_MAX_PIXELS;
    if ((uint64_t)width * height <= (uint64_t)max_pixels) return true;
    return im_fail(c, "%s: has %ux%u pixels, more than the %lld that are read; make it smaller", path, width, height,
                   (long long)max_pixels);
}

/* Memory for the picture and its row pointers. */
static bool make_image(work *w, uint32_t width, uint32_t height, bool grey16)
{
    if (!check_pixels(w->c, w->path, width, height, w->max_pixels)) return false;
    if (!(w->image = im_image_new(w->c, (int)width, (int)height, 3))) return false;
    size_t row = (size_t)width * (grey16 ? 2 : 3);
    if (grey16 && !(w->grey16 = malloc(row * height))) return no_memory(w);
    if (!(w->rows = malloc(height * sizeof *w->rows))) return no_memory(w);
    for (size_t y = 0; y < height; y++) w->rows[y] = (grey16 ? w->grey16 : w->image->pixels) + y * row;
    bool passes = png_get_interlace_type(w->png, w->info) != PNG_INTERLACE_NONE;
    w->rows_left = passes ? 0 : height;
    for (int pass = 0; passes && pass < PNG_INTERLACE_ADAM7_PASSES; pass++)
        if (PNG_PASS_COLS(width, pass)) w->rows_left += PNG_PASS_ROWS(height, pass);
    return true;
}

/* libpng unpacked a row. */
static void count_row(png_structp png, png_row_infop info, png_bytep row)
{
    work *w = png_get_user_transform_ptr(png);
    (void)info;
    (void)row;
    if (w->rows_left) w->rows_left--;
}

static void clip_grey16(const work *w)
{
    size_t n = (size_t)w->image->width * (size_t)w->image->height, clipped = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t v = w->grey16[2 * i] ? 255 : w->grey16[2 * i + 1];
        clipped += w->grey16[2 * i] != 0;
        memset(w->image->pixels + 3 * i, v, 3);
    }
    if (clipped)
        im_warn(w->c, "%s: is grey with 16 bits per value, and read as Pillow reads it, so that the %.0f %% of its values "
                      "above 255 are white; divide them by 257 and write 8 bits to see all of it", w->path,
                100.0 * (double)clipped / (double)n);
}

/* A chunk that libpng does not know, critical by its name as Apple's CgBI: done with, as Pillow passes it over. */
static int pass_over(png_structp png, png_unknown_chunkp chunk)
{
    (void)png;
    (void)chunk;
    return 1;
}

/* Everything of the file: pixels into w->image, texts into w->info. CRCs were looked at before. Some encoders name a
 * smaller window of zlib's than their data want, and Pillow never asks. */
static bool decode(work *w)
{
    if (setjmp(png_jmpbuf(w->png))) return whole_at_last(w) && im_ok(w->c);
    png_set_read_fn(w->png, w, take_bytes);
    png_set_user_limits(w->png, 0x7fffffff, 0x7fffffff);
    png_set_chunk_malloc_max(w->png, IM_PNG_MAX_CHUNK);
    png_set_crc_action(w->png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
    png_set_option(w->png, PNG_MAXIMUM_INFLATE_WINDOW, PNG_OPTION_ON);
    png_set_read_user_chunk_fn(w->png, NULL, pass_over);
    png_read_info(w->png, w->info);
    int depth = png_get_bit_depth(w->png, w->info), colour = png_get_color_type(w->png, w->info);
    bool grey16 = colour == PNG_COLOR_TYPE_GRAY && depth == 16;
    set_transforms(w, depth, colour);
    if (!make_image(w, png_get_image_width(w->png, w->info), png_get_image_height(w->png, w->info), grey16))
        return false;
    png_set_interlace_handling(w->png);
    png_set_read_user_transform_fn(w->png, count_row);
    png_set_user_transform_info(w->png, w, 0, 0);
    png_read_update_info(w->png, w->info);
    png_read_image(w->png, w->rows);
    png_read_end(w->png, w->info);
    return true;
}

static bool check_text(work *w, const char *key, const char *text)
{
    char what[400];
    snprintf(what, sizeof what, "%.300s: text \"%.79s\"", w->path, key);
    return im_utf8_check(w->c, what, text, strlen(text));
}

/* The first text chunk of the key, as UTF-8, or NULL. */
static char *find_text(work *w, const char *key)
{
    png_textp texts;
    int n = 0;
    png_get_text(w->png, w->info, &texts, &n);
    for (int i = 0; i < n; i++) {
        if (strcmp(texts[i].key, key)) continue;
        const char *text = texts[i].text ? texts[i].text : "";
        size_t bytes = strlen(text);
        if (texts[i].compression < PNG_ITXT_COMPRESSION_NONE) return im_utf8_from_latin1(w->c, text, bytes);
        return check_text(w, key, text) ? im_copy_text(w->c, text, bytes) : NULL;
    }
    return NULL;
}

/* Reads the bytes; gives the picture when key is NULL, else the text of the key in *value. */
static im_image *read_png(im_ctx *c, const im_png_file *file, const char *path, int64_t max_pixels, const char *key,
                          char **value)
{
    work w = { .c = c, .path = path, .at = file->p, .left = file->n, .mended = file->copy, .max_pixels = max_pixels };
    bool ok = im_ok(c);
    if (ok) w.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &w, on_error, on_warning);
    if (w.png) w.info = png_create_info_struct(w.png);
    if (ok && !w.info) ok = no_memory(&w);
    ok = ok && decode(&w);
    if (ok && w.grey16 && !key) clip_grey16(&w);
    if (ok && key) *value = find_text(&w, key);
    png_destroy_read_struct(&w.png, &w.info, NULL);
    free(w.rows);
    free(w.grey16);
    if (ok && !key) return w.image;
    im_image_free(w.image);
    return NULL;
}

im_image *im_png_decode(im_ctx *c, const void *bytes, size_t n, const char *name, int64_t max_pixels, int *orientation)
{
    im_png_file file;
    if (!im_ok(c) || !im_png_mend(c, name, bytes, n, &file)) return NULL;
    im_image *image = read_png(c, &file, name, max_pixels, NULL, NULL);
    *orientation = image ? im_png_orientation(bytes, n) : IM_UPRIGHT;       /* as im_png_header finds it             */
    free(file.copy);
    return image;
}

char *im_png_text_in(im_ctx *c, const void *bytes, size_t n, const char *name, const char *key)
{
    im_png_file file;
    char *value = NULL;
    if (!im_ok(c) || !im_png_mend(c, name, bytes, n, &file)) return NULL;
    read_png(c, &file, name, IM_PNG_MAX_PIXELS, key, &value);
    free(file.copy);
    return value;
}

bool im_png_header(im_ctx *c, const void *bytes, size_t n, const char *name, int64_t max_pixels, int *width, int *height,
                   int *orientation)
{
    const uint8_t *p = bytes;
    if (!im_ok(c)) return false;
    if (n < 33 || memcmp(p + 12, "IHDR", 4))
        return im_fail(c, "%s: is a damaged PNG: the file ends too early; fetch or export it again", name);
    uint32_t side[2];
    for (int i = 0; i < 2; i++)
        side[i] = (uint32_t)p[16 + 4 * i] << 24 | (uint32_t)p[17 + 4 * i] << 16 | (uint32_t)p[18 + 4 * i] << 8 |
                  p[19 + 4 * i];
    if (!side[0] || !side[1] || side[0] > INT32_MAX || side[1] > INT32_MAX)
        return im_fail(c, "%s: is a damaged PNG: its size is %ux%u; fetch or export it again", name, side[0], side[1]);
    *width = (int)side[0];
    *height = (int)side[1];
    *orientation = im_png_orientation(p, n);
    return check_pixels(c, name, side[0], side[1], max_pixels);
}

/* ---------------------------------------------------------------- writing */

static bool append(work *w, const void *from, size_t n)
{
    if (w->bytes + n > w->room) {
        size_t room = 2 * (w->bytes + n) + 4096;
        uint8_t *file = realloc(w->file, room);
        if (!file) return no_memory(w);
        w->file = file;
        w->room = room;
    }
    memcpy(w->file + w->bytes, from, n);
    w->bytes += n;
    return true;
}

static void give_bytes(png_structp png, png_bytep from, size_t n)
{
    work *w = png_get_io_ptr(png);
    if (!(w->out ? im_out_write(w->c, w->out, from, n) : append(w, from, n))) png_longjmp(png, 1);
}

static void flush_bytes(png_structp png) { (void)png; }        /* im_out_finish does it                               */

/* Keys are 1 to 79 printable ASCII characters (all that imago writes), no space at an end, no two in a row. */
static bool check_key(work *w, const char *key)
{
    size_t n = strlen(key);
    bool ok = n >= 1 && n <= 79 && key[0] != ' ' && key[n - 1] != ' ' && !strstr(key, "  ");
    for (size_t i = 0; i < n; i++) ok = ok && key[i] >= ' ' && key[i] <= '~';
    return ok || im_fail(w->c, "%s: \"%.100s\" cannot be the name of a text in a PNG; wanted 1 to 79 ASCII letters",
                         w->path, key);
}

/* Chunks for the texts: tEXt where Latin-1 holds the text, else iTXt; XMP is iTXt always.
 * latin1[i] owns the converted texts. */
static bool make_chunks(work *w, const im_text *texts, int n, png_text *chunks, char **latin1)
{
    for (int i = 0; i < n; i++) {
        if (!check_key(w, texts[i].key) || !check_text(w, texts[i].key, texts[i].value)) return false;
        if (strcmp(texts[i].key, IM_XMP_KEY) != 0)
            latin1[i] = im_utf8_to_latin1(w->c, texts[i].value, strlen(texts[i].value));
        bool wide = !latin1[i];
        chunks[i] = (png_text){ .compression = wide ? PNG_ITXT_COMPRESSION_NONE : PNG_TEXT_COMPRESSION_NONE,
                                .key = (char *)(uintptr_t)texts[i].key,
                                .text = wide ? (char *)(uintptr_t)texts[i].value : latin1[i] };
    }
    return im_ok(w->c);
}

static bool encode(work *w, const im_image *i, const png_text *chunks, int n)
{
    if (setjmp(png_jmpbuf(w->png))) return false;
    png_set_write_fn(w->png, w, give_bytes, flush_bytes);
    png_set_IHDR(w->png, w->info, (uint32_t)i->width, (uint32_t)i->height, 8,
                 i->channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (n) png_set_text(w->png, w->info, chunks, n);
    png_write_info(w->png, w->info);
    for (int y = 0; y < i->height; y++)
        png_write_row(w->png, i->pixels + (size_t)y * (size_t)i->width * (size_t)i->channels);
    png_write_end(w->png, w->info);
    return true;
}

static void write_png(work *w, const im_image *i, const im_text *texts, int n_texts)
{
    size_t n = n_texts > 0 ? (size_t)n_texts : 0;
    png_text *chunks = calloc(n + 1, sizeof *chunks);
    char **latin1 = calloc(n + 1, sizeof *latin1);
    w->writing = true;
    w->png = png_create_write_struct(PNG_LIBPNG_VER_STRING, w, on_error, on_warning);
    if (w->png) w->info = png_create_info_struct(w->png);
    if (!chunks || !latin1 || !w->info) no_memory(w);
    else if (make_chunks(w, texts, (int)n, chunks, latin1)) encode(w, i, chunks, (int)n);
    png_destroy_write_struct(&w->png, &w->info);
    for (size_t k = 0; latin1 && k < n; k++) free(latin1[k]);
    free(latin1);
    free(chunks);
}

bool im_png_write(im_ctx *c, const char *path, const im_image *i, const im_text *texts, int n_texts, bool force)
{
    if (!im_ok(c)) return false;
    if (!i) return im_fail(c, "%s: there is no picture to write", path);
    im_out out;
    if (!im_out_open(c, &out, path, force)) return false;
    write_png(&(work){ .c = c, .path = path, .out = &out }, i, texts, n_texts);
    return im_out_finish(c, &out);
}

uint8_t *im_png_encode(im_ctx *c, const im_image *i, const char *name, const im_text *texts, int n_texts, size_t *bytes)
{
    work w = { .c = c, .path = name };
    if (im_ok(c)) write_png(&w, i, texts, n_texts);
    *bytes = w.bytes;
    if (im_ok(c)) return w.file;
    free(w.file);
    return NULL;
}
