/* resize_rgb.c: the sums of resize.c for rows of RGB, in an order that vector units like; every value is the same.
 *
 * Along columns an output row is a weighted sum of input rows: 32 bytes at a time, the sums stay in registers.
 * Along rows the weights change from pixel to pixel. Four rows are first woven into a tile, 16 numbers a column:
 *     R G B . of row 0, R G B . of row 1, ... of row 3       (the fourth of each is of no interest)
 * so that one weight times one column serves 12 values, and the result is a column of four rows again.
 * All arithmetic is on 32-bit integers, so results do not depend on the instruction set (the Makefile's IM_CLONES has
 * these functions compiled for several). Vectors are written out, IM_LANES numbers each: left to itself the compiler keeps
 * the sums on the stack. Used by augment.c. */
#include <stdlib.h>
#include <string.h>

#include "data/images/resize.h"

enum { TILE_ROWS = 4, COLUMN = 4 * TILE_ROWS, STRIP = 32, LINE = 64 };                  /* LINE: bytes of a column    */

typedef int32_t lanes __attribute__((vector_size(4 * IM_LANES)));
typedef int16_t halves __attribute__((vector_size(2 * IM_LANES)));
typedef uint8_t octets __attribute__((vector_size(IM_LANES)));

static inline __attribute__((always_inline)) void begin_sums(lanes *sums, int n)
{
    for (int k = 0; k < n; k++) sums[k] = (lanes){ 0 } + (1 << (IM_RESIZE_BITS - 1));
}

/* Sums with 22 fractional bits as bytes. Conversions go by way of 16 bits: compilers have vectors for that. */
static inline __attribute__((always_inline)) void store_sums(uint8_t *to, const lanes *sums, int n)
{
    for (int k = 0; k < n; k++) {
        lanes s = sums[k] >> IM_RESIZE_BITS;
        s &= s >= 0;                                           /* negative: 0                                         */
        s |= s > 255;                                          /* beyond 255: all bits                                */
        octets b = __builtin_convertvector(__builtin_convertvector(s, halves), octets);
        memcpy(to + k * IM_LANES, &b, sizeof b);
    }
}

/* sums += n * IM_LANES bytes times w */
static inline __attribute__((always_inline)) void add_bytes(lanes *sums, const uint8_t *from, int32_t w, int n)
{
    for (int k = 0; k < n; k++) {
        octets b;
        memcpy(&b, from + k * IM_LANES, sizeof b);
        sums[k] += __builtin_convertvector(__builtin_convertvector(b, halves), lanes) * w;
    }
}

/* Rows [first[i], first[i] + n[i]) of in, weighted, give row i of out; n_bytes a row. first counts from row `origin`. */
IM_CLONES
static void down_columns(const uint8_t *in, size_t stride, int origin, const im_taps *t, uint8_t *out, size_t n_bytes)
{
    for (int i = 0; i < t->count; i++, out += n_bytes) {
        const uint8_t *top = in + (size_t)(t->first[i] - origin) * stride;
        const int32_t *w = t->weight + (size_t)i * (size_t)t->room;
        int n = t->n[i];
        size_t x = 0;
        for (; x + STRIP <= n_bytes; x += STRIP) {
            lanes sums[STRIP / IM_LANES];
            begin_sums(sums, STRIP / IM_LANES);
            for (int j = 0; j < n; j++) add_bytes(sums, top + x + (size_t)j * stride, w[j], STRIP / IM_LANES);
            store_sums(out + x, sums, STRIP / IM_LANES);
        }
        for (; x < n_bytes; x++) {
            int sum = 1 << (IM_RESIZE_BITS - 1);
            for (int j = 0; j < n; j++) sum += top[x + (size_t)j * stride] * w[j];
            sum >>= IM_RESIZE_BITS;
            out[x] = (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
        }
    }
}

/* Columns 0 .. width - 1 of four rows -> tile (width, 4, 4). */
IM_CLONES
static void weave(const uint8_t *const rows[TILE_ROWS], int width, int32_t *tile)
{
    for (int x = 0; x < width; x++) {
        uint8_t pixels[COLUMN] = { 0 };
        if (x + 1 < width)                                     /* 4 bytes at once, the last one belongs to x + 1      */
            for (int r = 0; r < TILE_ROWS; r++) memcpy(pixels + 4 * r, rows[r] + 3 * (size_t)x, 4);
        else
            for (int r = 0; r < TILE_ROWS; r++) memcpy(pixels + 4 * r, rows[r] + 3 * (size_t)x, 3);
        for (int k = 0; k < COLUMN; k++) tile[COLUMN * x + k] = pixels[k];
    }
}

/* Tile of inputs -> n_rows (<= 4) rows of t->count pixels, stride bytes apart. first counts from column `origin`. */
IM_CLONES
static void along_tile(const int32_t *tile, int origin, const im_taps *t, bool flip, uint8_t *out, size_t stride,
                       int n_rows)
{
    uint8_t pixels[COLUMN];
    for (int x = 0; x < t->count; x++) {
        int i = flip ? t->count - 1 - x : x, n = t->n[i];
        const lanes *p = (const lanes *)(tile + COLUMN * (size_t)(t->first[i] - origin));
        const int32_t *w = t->weight + (size_t)i * (size_t)t->room;
        lanes sums[COLUMN / IM_LANES];
        begin_sums(sums, COLUMN / IM_LANES);
        for (int j = 0; j < n; j++, p += COLUMN / IM_LANES)
            for (int k = 0; k < COLUMN / IM_LANES; k++) sums[k] += p[k] * w[j];
        store_sums(pixels, sums, COLUMN / IM_LANES);
        uint8_t *to = out + 3 * (size_t)x;
        if (n_rows == TILE_ROWS && x + 1 < t->count)           /* the fourth byte is written over by the next pixel   */
            for (int r = 0; r < TILE_ROWS; r++) memcpy(to + (size_t)r * stride, pixels + 4 * r, 4);
        else
            for (int r = 0; r < n_rows; r++) memcpy(to + (size_t)r * stride, pixels + 4 * r, 3);
    }
}

/* n rows of in -> n rows of out, t->count pixels each. Columns origin .. origin + width - 1 are looked at. */
static void along_rows(const uint8_t *in, size_t in_stride, int origin, int width, const im_taps *t, bool flip,
                       int32_t *tile, uint8_t *out, int n)
{
    size_t out_stride = 3 * (size_t)t->count;
    for (int y = 0; y < n; y += TILE_ROWS) {
        const uint8_t *rows[TILE_ROWS];
        for (int r = 0; r < TILE_ROWS; r++)
            rows[r] = in + (size_t)(y + r < n ? y + r : n - 1) * in_stride + 3 * (size_t)origin;
        weave(rows, width, tile);
        along_tile(tile, origin, t, flip, out + (size_t)y * out_stride, out_stride, n - y < TILE_ROWS ? n - y : TILE_ROWS);
    }
}

/* The first input that any output looks at, and the one after the last. */
static void span(const im_taps *t, int *from, int *to)
{
    *from = t->first[0];
    *to = t->first[t->count - 1] + t->n[t->count - 1];
}

/* How many inputs the outputs [from, from + count) may look at, at most. */
static size_t most(double in0, double in1, int limit, int out, int count)
{
    double scale = (in1 - in0) / out, n = count * scale + 8 * (scale < 1 ? 1 : scale) + 8;
    return n < limit ? (size_t)n : (size_t)limit;
}

static bool columns_first(const im_resize_args *a)
{
    double dh = a->y1 - a->y0 - a->full_height, dw = a->x1 - a->x0 - a->full_width;
    return dh > 0 && dh > 2 * dw;
}

size_t im_resize_rgb_bytes(const im_resize_args *a)
{
    size_t wide = most(a->x0, a->x1, a->in_width, a->full_width, a->width);
    size_t high = most(a->y0, a->y1, a->in_height, a->full_height, a->height);
    size_t between = columns_first(a) ? 3 * wide * (size_t)a->height : 3 * (size_t)a->width * high;
    return LINE * (wide + 1) + between;
}

bool im_resize_rgb(im_ctx *c, const im_resize_args *a, uint8_t *scratch, uint8_t *out)
{
    im_taps h = { 0 }, v = { 0 };
    bool ok = im_taps_make(c, &h, a->x0, a->x1, a->in_width, a->full_width, a->x, a->width, a->filter) &&
              im_taps_make(c, &v, a->y0, a->y1, a->in_height, a->full_height, a->y, a->height, a->filter);
    if (ok) {
        int left, right, top, bottom;
        span(&h, &left, &right);
        span(&v, &top, &bottom);
        int32_t *tile = (int32_t *)(((uintptr_t)scratch + LINE - 1) / LINE * LINE);
        uint8_t *half = (uint8_t *)(tile + COLUMN * (right - left));
        size_t out_row = 3 * (size_t)a->width, half_row = 3 * (size_t)(right - left);
        if (columns_first(a)) {
            down_columns(a->in + 3 * (size_t)left, a->stride, 0, &v, half, half_row);
            along_rows(half - 3 * (size_t)left, half_row, left, right - left, &h, a->flip, tile, out, a->height);
        } else {
            along_rows(a->in + (size_t)top * a->stride, a->stride, left, right - left, &h, a->flip, tile, half,
                       bottom - top);
            down_columns(half, out_row, top, &v, out, out_row);
        }
    }
    im_taps_free(&h);
    im_taps_free(&v);
    return ok;
}
