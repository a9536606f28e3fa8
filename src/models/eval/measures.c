/* measures.c: see measures.h. Used by weights/report (`make model-report`), evaluate.c, analyze.c, compare.c. */
#include "models/eval/measures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void im_unit_rows(float *x, int64_t n, int d)
{
    for (int64_t i = 0; i < n; i++, x += d) {
        double squares = 0;
        for (int k = 0; k < d; k++)
            squares += (double)x[k] * x[k];
        double by = squares > 0 ? 1 / sqrt(squares) : 0;
        for (int k = 0; k < d; k++)
            x[k] = (float)(x[k] * by);
    }
}

/* ---------------------------------------------------------------- sums of squares and products */

void im_mean_row(const float *x, int64_t n, int d, double *mean)
{
    memset(mean, 0, (size_t)d * sizeof *mean);
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < d; k++)
            mean[k] += x[i * d + k];
    for (int k = 0; k < d; k++)
        mean[k] /= (double)n;
}

enum { ROWS = 256, STRIP = 16 };                               /* rows held in f64; lines of the result a task        */

typedef struct gram { const double *rows; int n, d; double *out; } gram;

/* Lines i of the lower half, from STRIP task on: a row of the block is read once for all of them. */
static void gram_strip(void *arg, int task, int thread)
{
    const gram *g = arg;
    int d = g->d, first = task * STRIP, end = first + STRIP < d ? first + STRIP : d;
    (void)thread;
    for (int r = 0; r < g->n; r++) {
        const double *row = g->rows + (int64_t)r * d;
        for (int i = first; i < end; i++) {
            double *out = g->out + (int64_t)i * d, by = row[i];
            for (int j = 0; j <= i; j++)
                out[j] += by * row[j];
        }
    }
}

/* A row in f64, less the mean, of length 1. */
static void wide_row(const float *x, int d, const double *mean, bool unit, double *out)
{
    double squares = 0;
    for (int k = 0; k < d; k++) {
        out[k] = mean ? x[k] - mean[k] : x[k];
        squares += out[k] * out[k];
    }
    for (int k = 0; unit && squares > 0 && k < d; k++)
        out[k] /= sqrt(squares);
}

bool im_gram(im_ctx *c, const float *x, int64_t n, int d, const double *mean, bool unit, double *out)
{
    if (!im_ok(c))
        return false;
    double *rows = malloc((size_t)ROWS * (size_t)d * sizeof *rows);
    if (!rows)
        return im_fail(c, "out of memory for products of %d dimensions", d);
    memset(out, 0, (size_t)d * (size_t)d * sizeof *out);
    for (int64_t at = 0; at < n; at += ROWS) {
        gram g = { .rows = rows, .n = n - at < ROWS ? (int)(n - at) : ROWS, .d = d, .out = out };
        for (int r = 0; r < g.n; r++)
            wide_row(x + (at + r) * d, d, mean, unit, rows + (int64_t)r * d);
        im_parallel(c, (d + STRIP - 1) / STRIP, gram_strip, &g);
    }
    for (int i = 0; i < d; i++)
        for (int j = 0; j < i; j++)
            out[(int64_t)j * d + i] = out[(int64_t)i * d + j];
    free(rows);
    return true;
}

/* ---------------------------------------------------------------- distances, qualities, areas */

static double distance(const float *a, const float *b, int d)
{
    double squares = 0;
    for (int k = 0; k < d; k++) {
        double e = (double)a[k] - b[k];
        squares += e * e;
    }
    return sqrt(squares);
}

double im_mean_distance(const float *x, int d, const int64_t *index, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i; j++)
            sum += distance(x + index[i] * d, x + index[j] * d, d);
    return n > 1 ? sum / (0.5 * (double)n * (double)(n - 1)) : NAN;
}

double im_psnr(const uint8_t *a, const uint8_t *b, int64_t n)
{
    double squares = 0;
    for (int64_t i = 0; i < n; i++) {
        double e = (double)a[i] - b[i];
        squares += e * e;
    }
    double mean = squares / (double)n, least = 255.0 * 255.0 * 1e-10;
    return 10 * log10(255.0 * 255.0 / (mean > least ? mean : least));
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double im_quantile(double *values, int64_t n, double q)
{
    if (n < 1)
        return NAN;
    qsort(values, (size_t)n, sizeof *values, ascending);
    double at = q * (double)(n - 1);
    int64_t i = (int64_t)at < n - 1 ? (int64_t)at : n - 1, next = i + 1 < n ? i + 1 : i;
    return values[i] + (at - (double)i) * (values[next] - values[i]);
}

typedef struct ranked { double score; uint8_t is; } ranked;

static int descending(const void *a, const void *b)
{
    double x = ((const ranked *)a)->score, y = ((const ranked *)b)->score;
    return (x < y) - (x > y);
}

double im_average_precision(const double *score, const uint8_t *is, int64_t n)
{
    ranked *v = malloc(((size_t)n + 1) * sizeof *v);
    double area = 0, all = 0, found = 0;
    for (int64_t i = 0; v && i < n; i++) {
        v[i] = (ranked){ score[i], is[i] };
        all += is[i] != 0;
    }
    if (v) qsort(v, (size_t)n, sizeof *v, descending);
    for (int64_t i = 0, j; v && i < n; i = j) {
        double more = v[i].is != 0;
        for (j = i + 1; j < n && v[j].score == v[i].score; j++) more += v[j].is != 0;
        found += more;
        area += more / all * (found / (double)j);
    }
    free(v);
    return v && all > 0 ? area : NAN;
}

/* ---------------------------------------------------------------- nearest pictures */

/* Sum of squared differences, exact: size^2 * 3 * 255^2 is below 2^63 for any picture. */
static int64_t squares_of(const uint8_t *a, const uint8_t *b, int size, int64_t enough)
{
    int64_t sum = 0;
    int row = 3 * size;
    for (int y = 0; y < size && sum < enough; y++, a += row, b += row) {
        int32_t part = 0;                                      /* of a row: below 2^31 for 11,000 pixels              */
        for (int k = 0; k < row; k++) {
            int e = a[k] - b[k];
            part += e * e;
        }
        sum += part;
    }
    return sum;
}

static void mirror(const uint8_t *in, int size, uint8_t *out)
{
    for (int y = 0; y < size; y++)
        for (int x = 0; x < size; x++)
            for (int k = 0; k < 3; k++)
                out[3 * (y * size + x) + k] = in[3 * (y * size + size - 1 - x) + k];
}

typedef struct search {
    const im_looks *of, *among;
    im_nearest *out;
    uint8_t *mirrors;                                          /* (threads, size, size, 3)                            */
} search;

static double pixels_between(const search *s, const uint8_t *plain, const uint8_t *mirrored, int64_t at)
{
    int size = s->of->size;
    int64_t bytes = 3 * (int64_t)size * size;
    int64_t a = squares_of(plain, s->among->rgb + at * bytes, size, INT64_MAX);
    int64_t b = squares_of(mirrored, s->among->rgb + at * bytes, size, a);
    return sqrt((double)(b < a ? b : a) / (double)bytes);
}

static void search_task(void *arg, int task, int thread)
{
    const search *s = arg;
    int d = s->of->d, size = s->of->size;
    int64_t bytes = 3 * (int64_t)size * size, least = INT64_MAX;
    const float *f = s->of->features + (int64_t)task * d;
    const uint8_t *plain = s->of->rgb + task * bytes;
    uint8_t *mirrored = s->mirrors + thread * bytes;
    im_near a = { .features = HUGE_VAL }, b = { .at = 0 };
    mirror(plain, size, mirrored);
    for (int64_t i = 0; i < s->among->n; i++) {
        double by_features = distance(f, s->among->features + i * d, d);
        if (by_features < a.features) {
            a.features = by_features;
            a.at = i;
        }
        for (int k = 0; k < 2; k++) {                          /* sums that grow past the least one break off         */
            int64_t by_pixels = squares_of(k ? mirrored : plain, s->among->rgb + i * bytes, size, least);
            if (by_pixels < least) {
                least = by_pixels;
                b.at = i;
            }
        }
    }
    a.pixels = pixels_between(s, plain, mirrored, a.at);
    b.pixels = pixels_between(s, plain, mirrored, b.at);
    b.features = distance(f, s->among->features + b.at * d, d);
    s->out[task] = (im_nearest){ .by_features = a, .by_pixels = b };
}

bool im_find_nearest(im_ctx *c, const im_looks *of, const im_looks *among, im_nearest *out)
{
    if (!im_ok(c))
        return false;
    if (of->d != among->d || of->size != among->size || among->n < 1 || of->n > INT32_MAX)
        return im_fail(c, "pictures of %d pixels with %d features cannot be looked for among %lld of %d pixels with %d",
                       of->size, of->d, (long long)among->n, among->size, among->d);
    search s = { .of = of, .among = among, .out = out };
    s.mirrors = malloc((size_t)im_threads(c) * 3 * (size_t)of->size * (size_t)of->size);
    if (!s.mirrors)
        return im_fail(c, "out of memory for the search of nearest pictures");
    im_parallel(c, (int)of->n, search_task, &s);
    free(s.mirrors);
    return im_ok(c);
}

bool im_near_copy(const im_nearest *v, double features, double pixels)
{
    return (v->by_features.features <= features && v->by_features.pixels <= pixels) ||
           (v->by_pixels.features <= features && v->by_pixels.pixels <= pixels);
}
