/* blur.c: a Gaussian blur by three passes of an extended box blur along rows, then three along columns, edges repeated
 * (Gwosdek et al. 2011, "Theoretical foundations of Gaussian convolution by extended box filtering"; as Pillow has it).
 *
 * (1) s2 = sigma^2 / 3,  L = sqrt(12 s2 + 1),  l = floor((L - 1) / 2),
 *     a = (2l + 1) (l (l + 1) - 3 s2) / (6 (s2 - (l + 1)^2)),  r = l + a                                  in f32
 * (2) ww = floor(2^24 / (2r + 1)) weighs the 2l + 1 values around a pixel, fw = (2^24 - (2l + 1) ww) / 2 the two next to
 *     those; the sum is rounded to 8 bits after every pass. Integers, so any order of sums gives the same values.
 * Along columns the sum over 2l + 1 rows is carried from row to row; along rows it is made anew, 2l + 1 additions of whole
 * rows: l is 0 or 1 up to sigma = 2.4. */
#include "data/images/blur.h"

#include <math.h>
#include <string.h>

enum { PASSES = 3 };

typedef struct kernel { int l; uint32_t ww, fw; } kernel;

static kernel kernel_of(float sigma)
{
    float s2 = sigma * sigma / PASSES, length = (float)sqrt(12.0 * s2 + 1.0), l = (float)floor((length - 1.0) / 2.0);
    float a = (2 * l + 1) * (l * (l + 1) - 3 * s2);
    a /= 6 * (s2 - (l + 1) * (l + 1));
    float r = l + a;
    uint32_t n = (uint32_t)r * 2 + 1, ww = (uint32_t)((float)(1 << 24) / (r * 2 + 1));
    return (kernel){ .l = (int)r, .ww = ww, .fw = ((1u << 24) - n * ww) / 2 };
}

/* out = (sum ww + (left + right) fw) / 2^24, rounded */
static inline __attribute__((always_inline)) void finish(const uint32_t *sum, const uint8_t *left, const uint8_t *right,
                                                         kernel k, uint8_t *restrict out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)((sum[i] * k.ww + ((uint32_t)left[i] + right[i]) * k.fw + (1u << 23)) >> 24);
}

/* All passes along one row, in place. wide: width + 2 l + 2 bytes; sum: width values. */
static inline __attribute__((always_inline)) void blur_row(uint8_t *row, size_t width, kernel k, uint8_t *restrict wide,
                                                           uint32_t *restrict sum)
{
    size_t edge = (size_t)k.l + 1;
    for (int pass = 0; pass < PASSES; pass++) {
        memset(wide, row[0], edge);
        memcpy(wide + edge, row, width);
        memset(wide + edge + width, row[width - 1], edge);
        for (size_t i = 0; i < width; i++) sum[i] = wide[1 + i];
        for (size_t j = 1; j < 2 * edge - 1; j++)
            for (size_t i = 0; i < width; i++) sum[i] += wide[1 + j + i];
        finish(sum, wide, wide + 2 * edge, k, row, width);
    }
}

static const uint8_t *row_of(const uint8_t *in, size_t width, int height, int64_t y)
{
    return in + (size_t)(y < 0 ? 0 : y < height ? y : height - 1) * width;
}

/* One pass along all columns: in (height, width) -> out. */
static inline __attribute__((always_inline)) void blur_columns(const uint8_t *in, uint8_t *out, size_t width, int height,
                                                               kernel k, uint32_t *restrict sum)
{
    memset(sum, 0, width * sizeof *sum);
    for (int64_t j = -k.l; j <= k.l; j++) {
        const uint8_t *row = row_of(in, width, height, j);
        for (size_t i = 0; i < width; i++) sum[i] += row[i];
    }
    for (int64_t y = 0; y < height; y++) {
        const uint8_t *above = row_of(in, width, height, y - k.l - 1), *below = row_of(in, width, height, y + k.l + 1);
        const uint8_t *last = row_of(in, width, height, y - k.l);
        finish(sum, above, below, k, out + (size_t)y * width, width);
        for (size_t i = 0; i < width; i++) sum[i] += (uint32_t)below[i] - last[i];
    }
}

size_t im_blur_bytes(int width, int height, float sigma)
{
    size_t w = (size_t)width;
    return w * sizeof(uint32_t) + w * (size_t)height + w + 2 * ((size_t)kernel_of(sigma).l + 1);
}

IM_CLONES
void im_blur(uint8_t *plane, int width, int height, float sigma, uint8_t *scratch)
{
    kernel k = kernel_of(sigma);
    size_t w = (size_t)width, n = w * (size_t)height;
    uint32_t *sum = (uint32_t *)(void *)scratch;
    uint8_t *other = scratch + w * sizeof *sum, *wide = other + n;
    for (int y = 0; y < height; y++) blur_row(plane + (size_t)y * w, w, k, wide, sum);
    blur_columns(plane, other, w, height, k, sum);
    blur_columns(other, plane, w, height, k, sum);
    blur_columns(plane, other, w, height, k, sum);
    memcpy(plane, other, n);
}
