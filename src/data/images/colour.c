/* colour.c: brightness, contrast, saturation, hue, grayscale and solarize at 8 bits, as Pillow has them (see colour.h).
 *
 * Hue. With max, min and c = max - min of a pixel, Pillow's convert("HSV") computes in floating point
 *     V = max,  S = int(255 c / max),  H = int(255 h),  h = {(g-b)/c, 2 + (b-r)/c, 4 + (r-g)/c} / 6 mod 1
 * for red, green or blue the largest. In whole numbers h = num / 6c with num in 0 .. 6c - 1, so H is the floor of
 * 85 num / 2c, and a division in f32 finds it without error, since a quotient that is no integer is 1/510 away from one.
 * (1) Where the quotient is an integer k, rounding in Pillow's h decides between k and k - 1. It depends on k alone: the
 *     bits of `below` name the k that become k - 1. S needs no such correction.
 * The way back, with 6 H = 255 i + m (sector i, 0 <= m < 255):
 *     p = round(V (1 - S/255)),  w = round(V (1 - S f)),  f = m/255 in odd sectors, 1 - m/255 in even ones
 * and R, G, B are V, w, p in the order of the sector. These are exact too (tests/test_augment.c walks all 2^24 values both
 * ways and compares with Pillow). */
#include "data/images/colour.h"

IM_CLONES
void im_split_rgb(const uint8_t *rgb, im_planes to)
{
    uint8_t *restrict r = to.p[0], *restrict g = to.p[1], *restrict b = to.p[2];
    for (size_t i = 0; i < to.n; i++) {
        r[i] = rgb[3 * i];
        g[i] = rgb[3 * i + 1];
        b[i] = rgb[3 * i + 2];
    }
}

IM_CLONES
void im_join_rgb(im_planes from, uint8_t *rgb)
{
    const uint8_t *r = from.p[0], *g = from.p[1], *b = from.p[2];
    uint8_t *restrict out = rgb;
    for (size_t i = 0; i < from.n; i++) {
        out[3 * i] = r[i];
        out[3 * i + 1] = g[i];
        out[3 * i + 2] = b[i];
    }
}

static inline int luma(int r, int g, int b) { return (19595 * r + 38470 * g + 7471 * b + 0x8000) >> 16; }

IM_CLONES
uint64_t im_luma_sum(im_planes x)
{
    const uint8_t *r = x.p[0], *g = x.p[1], *b = x.p[2];
    uint64_t sum = 0;
    for (size_t from = 0; from < x.n; from += 1 << 16) {       /* 2^16 values fit 32 bits                             */
        size_t to = x.n - from < 1 << 16 ? x.n : from + (1 << 16);
        uint32_t part = 0;
        for (size_t i = from; i < to; i++) part += (uint32_t)luma(r[i], g[i], b[i]);
        sum += part;
    }
    return sum;
}

IM_CLONES
void im_grey(im_planes x)
{
    uint8_t *restrict r = x.p[0], *restrict g = x.p[1], *restrict b = x.p[2];
    for (size_t i = 0; i < x.n; i++) r[i] = g[i] = b[i] = (uint8_t)luma(r[i], g[i], b[i]);
}

static inline uint8_t blend(int base, int v, float factor)
{
    float t = (float)base + factor * (float)(v - base);
    t = t > 0 ? t : 0;
    return (uint8_t)(int)(t < 255 ? t : 255);
}

IM_CLONES
void im_blend_constant(im_planes x, int base, float factor)
{
    for (int k = 0; k < 3; k++) {
        uint8_t *v = x.p[k];
        for (size_t i = 0; i < x.n; i++) v[i] = blend(base, v[i], factor);
    }
}

IM_CLONES
void im_blend_luma(im_planes x, float factor)
{
    uint8_t *restrict r = x.p[0], *restrict g = x.p[1], *restrict b = x.p[2];
    for (size_t i = 0; i < x.n; i++) {
        int l = luma(r[i], g[i], b[i]), red = r[i], green = g[i], blue = b[i];
        r[i] = blend(l, red, factor);
        g[i] = blend(l, green, factor);
        b[i] = blend(l, blue, factor);
    }
}

IM_CLONES
void im_solarize(im_planes x, int threshold)
{
    for (int k = 0; k < 3; k++) {
        uint8_t *v = x.p[k];
        for (size_t i = 0; i < x.n; i++) v[i] = v[i] < threshold ? v[i] : (uint8_t)(255 - v[i]);
    }
}

/* ---------------------------------------------------------------- hue */

/* (1): bit k % 32 of word k / 32 */
static const uint32_t below[8] = { 0xfffffffe, 0x00000000, 0x11000000, 0x00000111, 0x222aaaaa, 0x23232222, 0x00022222 };

/* For H = (floor, or exact ? the integer) + shift: sector << 8 | 255 f; at [2 floor + exact]. */
static void hue_table(uint8_t shift, int32_t table[512])
{
    for (int i = 0; i < 512; i++) {
        int k = i / 2;
        bool minus = i % 2 && below[k / 32] >> (k % 32) & 1;
        int six = 6 * (uint8_t)(k - minus + shift), sector = six / 255, m = six % 255;
        table[i] = sector % 6 << 8 | (sector % 2 ? m : 255 - m);
    }
}

/* at: where the pixel's hue is in the table; s, v: saturation and value. */
static inline __attribute__((always_inline)) void to_hsv(im_planes x, int32_t *restrict at, int32_t *restrict s,
                                                         int32_t *restrict v)
{
    const uint8_t *red = x.p[0], *green = x.p[1], *blue = x.p[2];
    for (size_t i = 0; i < x.n; i++) {
        int r = red[i], g = green[i], b = blue[i];
        int max = r > g ? r : g, min = r < g ? r : g;
        max = max > b ? max : b;
        min = min < b ? min : b;
        int c = max - min, num = r == max ? g - b : g == max ? 2 * c + b - r : 4 * c + r - g;
        num = num < 0 ? num + 6 * c : num;
        float q = (float)(85 * num) / (float)(c ? 2 * c : 1);
        int k = (int)q;
        at[i] = 2 * k + ((float)k == q);
        s[i] = (int)((float)(255 * c) / (float)(max ? max : 1));
        v[i] = max;
    }
}

static inline __attribute__((always_inline)) void from_hsv(const int32_t *hue, const int32_t *s, const int32_t *v,
                                                           im_planes x)
{
    uint8_t *restrict r = x.p[0], *restrict g = x.p[1], *restrict b = x.p[2];
    for (size_t i = 0; i < x.n; i++) {
        int sector = hue[i] >> 8, f = hue[i] & 255, most = v[i], n = most * (255 - s[i]) + 128;
        int p = (n + (n >> 8)) >> 8;                           /* round(n / 255) for n below 2^16                     */
        int w = (int)((float)most - (float)(most * s[i] * f) * (1 / 65025.0f) + 0.5f);
        r[i] = (uint8_t)(sector == 0 || sector == 5 ? most : sector == 1 || sector == 4 ? w : p);
        g[i] = (uint8_t)(sector == 1 || sector == 2 ? most : sector == 0 || sector == 3 ? w : p);
        b[i] = (uint8_t)(sector == 3 || sector == 4 ? most : sector == 2 || sector == 5 ? w : p);
    }
}

IM_CLONES
void im_shift_hue(im_planes x, uint8_t shift)
{
    int32_t table[512], hue[IM_COLOUR_PIECE], s[IM_COLOUR_PIECE], v[IM_COLOUR_PIECE];
    hue_table(shift, table);
    to_hsv(x, hue, s, v);
    for (size_t i = 0; i < x.n; i++) hue[i] = table[hue[i]];
    from_hsv(hue, s, v, x);
}
