/* phash.c: see phash.h. DCT-II: X_k = 2 sum_n x_n cos(pi k (2n + 1) / 2N), along columns, then rows; f64. */
#include "data/images/phash.h"

#include <math.h>
#include <stdlib.h>

#include "data/images/resize.h"

enum { SIDE = 32, LOW = 8, BITS = LOW * LOW };

static im_image *grey_of(im_ctx *c, const im_image *in)
{
    im_image *out = im_image_new(c, in->width, in->height, 1);
    size_t n = (size_t)in->width * (size_t)in->height;
    for (size_t i = 0; out && i < n; i++) {
        const uint8_t *p = in->pixels + i * (size_t)in->channels;
        out->pixels[i] = in->channels == 1 ? *p : (uint8_t)((19595u * p[0] + 38470u * p[1] + 7471u * p[2] + 0x8000u) >> 16);
    }
    return out;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* pixels (SIDE, SIDE) -> low (LOW, LOW) */
static void transform(const uint8_t *pixels, double *low)
{
    double wave[LOW][SIDE], column[LOW][SIDE];
    for (int k = 0; k < LOW; k++)
        for (int n = 0; n < SIDE; n++) wave[k][n] = 2 * cos(acos(-1.0) * k * (2 * n + 1) / (2.0 * SIDE));
    for (int k = 0; k < LOW; k++)
        for (int x = 0; x < SIDE; x++) {
            column[k][x] = 0;
            for (int y = 0; y < SIDE; y++) column[k][x] += wave[k][y] * pixels[y * SIDE + x];
        }
    for (int k = 0; k < LOW; k++)
        for (int j = 0; j < LOW; j++) {
            double sum = 0;
            for (int x = 0; x < SIDE; x++) sum += wave[j][x] * column[k][x];
            low[k * LOW + j] = sum;
        }
}

bool im_phash(im_ctx *c, const im_image *picture, uint64_t *out)
{
    im_image *grey = grey_of(c, picture), *small = grey ? im_resize(c, grey, SIDE, SIDE, IM_FILTER_LANCZOS) : NULL;
    double low[BITS], sorted[BITS];
    *out = 0;
    if (small) transform(small->pixels, low);
    for (int i = 0; small && i < BITS; i++) sorted[i] = low[i];
    if (small) qsort(sorted, BITS, sizeof *sorted, ascending);
    for (int i = 0; small && i < BITS; i++)
        *out = *out << 1 | (low[i] > 0.5 * (sorted[BITS / 2 - 1] + sorted[BITS / 2]));
    bool ok = small != NULL;
    im_image_free(grey);
    im_image_free(small);
    return ok;
}

int im_hash_distance(uint64_t a, uint64_t b)
{
    int n = 0;
    for (uint64_t x = a ^ b; x; x &= x - 1) n++;
    return n;
}
