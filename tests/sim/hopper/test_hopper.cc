/* test_hopper.cc: the kernels of hopper.cu in the simulator: right numbers and no fault, in three orders of threads,
 * copies and products early and late, each case in a process of its own. And what they stand on, against others' word:
 * a wgmma's sums are MMA-Sim's, matrices lie in shared memory and in registers where CuTe has them, boxes and windows
 * hold what plain indexing says, swizzled as Swizzle<B, 4, 3> of CuTe. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vector>

#include "../golden_dots.h"
#include "../sim.h"
extern "C" {
#include "hopper.h"
#include "tensor/half.h"
#include "suite.h"
}

enum { MODES = 6, ORDERS = 3 };  /* three orders, early and late; products take some seconds: one of both an order     */

static im_cu *cu;

static void start(int mode)
{
    char why[100];
    sim = sim_settings{ true, mode % 3, mode / 3 == 1, false };
    sim_set_capability(90);
    cu = im_cu_open(0, why, sizeof why);
}

static void end()
{
    im_cu_event *e = im_cu_event_new(cu);
    im_cu_event_wait(cu, e);
    ck_assert_str_eq(im_cu_failed(cu), "");
    ck_assert_int_eq(sim_all_faults(), 0);
    im_cu_event_free(cu, e);
    im_cu_close(cu);
}

template <class T> static T *upload(const std::vector<T> &x)
{
    T *p = (T *)im_cu_alloc(cu, x.size() * sizeof(T));
    im_cu_to_device(cu, p, x.data(), x.size() * sizeof(T));
    return p;
}
template <class T> static void download(std::vector<T> &x, const T *p)
{
    im_cu_event *e = im_cu_event_new(cu);
    im_cu_to_host(cu, x.data(), p, x.size() * sizeof(T));
    im_cu_event_wait(cu, e);
    im_cu_event_free(cu, e);
}

static uint32_t state = 12345;
static float draw()
{
    state = state * 1664525u + 1013904223u;
    return (float)(int32_t)state / 2147483648.0f;
}
static float value(uint16_t h, bool bf16) { return bf16 ? im_bhalf_to_f32(h) : im_half_to_f32(h); }
static uint16_t rounded(float x, bool bf16) { return bf16 ? im_bhalf_from_f32(x) : im_half_from_f32(x); }
static std::vector<uint16_t> draw_halves(size_t n, bool bf16)
{
    std::vector<uint16_t> x(n);
    for (uint16_t &h : x)
        h = rounded(draw(), bf16);
    return x;
}

/* ---------------------------------------------------------------- sums */

START_TEST(sums_are_the_tensor_cores)
{
    dots_are_golden("tests/golden/wgmma.bin", sim_wgmma_dot);
}
END_TEST

/* ---------------------------------------------------------------- layouts, by CuTe's word (mma_traits_sm90_gmma.hpp) */

static size_t swizzled(swizzle s, size_t byte)                 /* Swizzle<B, 4, 3> on bytes                            */
{
    int bits = s == SWIZZLE_128 ? 3 : s == SWIZZLE_64 ? 2 : s == SWIZZLE_32 ? 1 : 0;
    return byte ^ (byte >> 3 & (((size_t)1 << bits) - 1) << 4);
}

/* Byte of element (row, k) of a matrix; W: 16-byte units in a row of the pattern.
 *     k side by side      none ((8,m),(8,2)):((8,SBO),(1,LBO));  else ((8,m),(8,2)):((8 W,SBO),(1,8))
 *     rows side by side   none ((8,1,m),(8,2)):((1,8,SBO),(8,LBO));  else ((8,W,m),(8,2)):((1,8,LBO),(8 W,SBO)) */
static size_t byte_of(swizzle s, bool turned, int row, int k, int lead, int stride)
{
    int W = s == SWIZZLE_128 ? 8 : s == SWIZZLE_64 ? 4 : s == SWIZZLE_32 ? 2 : 1, x;
    lead /= 2;
    stride /= 2;
    if (!turned)
        x = s ? row % 8 * 8 * W + row / 8 * stride + k : row % 8 * 8 + row / 8 * stride + k % 8 + k / 8 * lead;
    else
        x = s ? row % 8 + row / 8 % W * 8 + row / (8 * W) * lead + k % 8 * 8 * W + k / 8 * stride
              : row % 8 + row / 8 * stride + k % 8 * 8 + k / 8 * lead;
    return swizzled(s, (size_t)x * 2);
}

/* CLayout_64xN: ((4,8,4),(2,2,N/8)):((128,1,16),(64,8,512)), row + 64 column; ALayout_64x16, row + 64 k, is how it begins. */
static int in_registers(int t, int v)
{
    return t % 4 * 128 + t / 4 % 8 + t / 32 * 16 + v % 2 * 64 + v / 2 % 2 * 8 + v / 4 * 512;
}

typedef struct { int n; bool bf16, turn_a, turn_b, registers, add; swizzle a, b; } layout;
static const layout layouts[] = {
    { 64, true, false, false, false, true, SWIZZLE_128, SWIZZLE_128 },
    { 64, false, false, false, false, false, SWIZZLE_64, SWIZZLE_32 },
    { 64, true, false, false, false, true, SWIZZLE_NONE, SWIZZLE_64 },
    { 64, false, true, false, false, true, SWIZZLE_128, SWIZZLE_NONE },
    { 64, true, true, false, false, true, SWIZZLE_NONE, SWIZZLE_128 },
    { 64, false, false, true, false, true, SWIZZLE_32, SWIZZLE_128 },
    { 64, true, false, true, false, false, SWIZZLE_128, SWIZZLE_64 },
    { 64, false, true, true, false, true, SWIZZLE_64, SWIZZLE_NONE },
    { 64, true, true, true, false, true, SWIZZLE_32, SWIZZLE_32 },
    { 64, false, false, false, true, true, SWIZZLE_NONE, SWIZZLE_128 },
    { 64, true, false, true, true, false, SWIZZLE_NONE, SWIZZLE_32 },
    { 8, true, false, false, false, true, SWIZZLE_128, SWIZZLE_NONE },
    { 40, false, false, false, false, true, SWIZZLE_128, SWIZZLE_64 },
    { 256, true, false, false, false, true, SWIZZLE_128, SWIZZLE_32 },
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

/* Strides that leave gaps, so that no other would do. */
static void strides(swizzle s, bool turned, int *lead, int *stride)
{
    int span = s == SWIZZLE_128 ? 128 : s == SWIZZLE_64 ? 64 : s == SWIZZLE_32 ? 32 : 16, pattern = span * 8;
    if (s)
        *lead = turned ? 3 * pattern : 16;                     /* k side by side: not looked at                        */
    else
        *lead = turned ? 128 * 9 : 128;
    *stride = s ? (turned ? pattern : pattern == 256 ? 512 : pattern) : turned ? 128 : 256;
}

START_TEST(matrices_lie_where_cute_has_them)
{
    const layout *l = &layouts[_i / 2];
    start(_i % 2 * 3 + _i % 3);
    int n = l->n, lead_a, stride_a, lead_b, stride_b;
    strides(l->a, l->turn_a, &lead_a, &stride_a);
    strides(l->b, l->turn_b, &lead_b, &stride_b);
    std::vector<uint16_t> a(64 * 16), b((size_t)n * 16), image_a(HOPPER_IMAGE / 2, 0x7fff), image_b = image_a;
    std::vector<float> d((size_t)n / 2 * 128);
    for (size_t i = 0; i < a.size(); i++)
        a[i] = rounded((float)((int)(i * 7 % 23) - 11), l->bf16);
    for (size_t i = 0; i < b.size(); i++)
        b[i] = rounded((float)((int)(i * 5 % 19) - 9), l->bf16);
    for (int r = 0; r < 64; r++)
        for (int k = 0; k < 16; k++)
            if (!l->registers)
                image_a[byte_of(l->a, l->turn_a, r, k, lead_a, stride_a) / 2] = a[(size_t)r * 16 + (size_t)k];
    for (int t = 0; t < 128 && l->registers; t++)
        for (int v = 0; v < 8; v++) {
            int x = in_registers(t, v);
            image_a[(size_t)t * 8 + (size_t)v] = a[(size_t)(x % 64) * 16 + (size_t)x / 64];
        }
    for (int r = 0; r < n; r++)
        for (int k = 0; k < 16; k++)
            image_b[byte_of(l->b, l->turn_b, r, k, lead_b, stride_b) / 2] = b[(size_t)r * 16 + (size_t)k];
    for (size_t i = 0; i < d.size(); i++)
        d[i] = 3.0f;
    float *dd = upload(d);
    hopper_one p = { (uint32_t *)upload(image_a), (uint32_t *)upload(image_b), dd, l->registers, l->add,
                     lead_a, stride_a, lead_b, stride_b, l->a, l->b };
    ck_assert_int_eq(hopper_run_one(cu, &p, l->bf16, l->turn_a, l->turn_b, n), 0);
    download(d, dd);
    for (int t = 0; t < 128; t++)
        for (int v = 0; v < n / 2; v++) {
            int x = in_registers(t, v), row = x % 64, col = x / 64;
            float sum = l->add ? 3.0f : 0.0f, found = d[(size_t)v * 128 + (size_t)t];
            for (size_t k = 0; k < 16; k++)
                sum += value(a[(size_t)row * 16 + k], l->bf16) * value(b[(size_t)col * 16 + k], l->bf16);
            ck_assert_msg(found == sum, "layout %d: (%d, %d): found %g, wanted %g", _i / 2, row, col, found, sum);
        }
    end();
}
END_TEST

/* ---------------------------------------------------------------- boxes and windows */

typedef struct {
    int rank, size[5], box[5], step[5], at[5];
    swizzle turn;
    bool f32, windows;
    int low[3], high[3], channels, pixels, offset[3];
} box_case;
static const box_case box_cases[] = {
    { 1, { 104 }, { 64 }, { 1 }, { 72 }, SWIZZLE_NONE, false, false, {}, {}, 0, 0, {} },
    { 2, { 40, 13 }, { 16, 10 }, { 1, 1 }, { 32, -3 }, SWIZZLE_32, false, false, {}, {}, 0, 0, {} },
    { 2, { 72, 21 }, { 32, 16 }, { 1, 1 }, { -8, 11 }, SWIZZLE_64, false, false, {}, {}, 0, 0, {} },
    { 2, { 72, 21 }, { 32, 9 }, { 1, 2 }, { 44, 3 }, SWIZZLE_128, true, false, {}, {}, 0, 0, {} },
    { 3, { 24, 7, 5 }, { 8, 5, 3 }, { 1, 1, 2 }, { 20, 4, 1 }, SWIZZLE_NONE, false, false, {}, {}, 0, 0, {} },
    { 4, { 64, 9, 6, 2 }, { 64, 4, 4, 2 }, { 1, 1, 1, 1 }, { 0, -1, 4, 1 }, SWIZZLE_128, false, false, {}, {}, 0, 0, {} },
    { 5, { 16, 3, 4, 3, 3 }, { 8, 2, 3, 2, 2 }, { 1, 1, 1, 1, 1 }, { 12, 2, -1, 1, 2 }, SWIZZLE_NONE, true, false, {}, {}, 0,
      0, {} },
    { 3, { 24, 11, 3 }, {}, { 1, 2, 1 }, { 8, 1, 1 }, SWIZZLE_32, false, true, { -1 }, { -1 }, 16, 9, { 2 } },
    { 4, { 40, 7, 5, 3 }, {}, { 1, 1, 1, 1 }, { 0, 2, 3, 1 }, SWIZZLE_64, false, true, { -1, -1 }, { -1, -1 }, 32, 50,
      { 2, 0 } },
    { 4, { 72, 9, 6, 2 }, {}, { 1, 2, 2, 1 }, { 64, -3, -2, 0 }, SWIZZLE_128, false, true, { -3, -2 }, { -2, -2 }, 64, 40,
      { 5, 4 } },
    { 5, { 16, 5, 4, 3, 2 }, {}, { 1, 1, 1, 1, 1 }, { 0, -1, 0, 0, 0 }, SWIZZLE_NONE, false, true, { -1, 0, 0 }, { -1, -1, 0 },
      16, 100, { 1, 1, 0 } },
};
enum { BOXES = sizeof box_cases / sizeof *box_cases };

/* Where element i of a box is in the tensor, first dimension first; windows: pixel by pixel, its number taken apart by
 * the count of places a picture has, which is how a convolution counts its outputs. */
static bool coordinates(const box_case *c, int i, int at[5])
{
    if (!c->windows) {
        for (int d = 0; d < c->rank; d++) {
            int side = (c->box[d] + c->step[d] - 1) / c->step[d];
            at[d] = c->at[d] + i % side * c->step[d];
            i /= side;
        }
    } else {
        int spatial = c->rank - 2, places[3], first = 0, stride = 1, pixel = i / c->channels;
        at[0] = c->at[0] + i % c->channels;
        for (int d = 0; d < spatial; d++) {
            places[d] = (c->size[d + 1] + c->high[d] - c->low[d] + c->step[d + 1] - 1) / c->step[d + 1];
            first += (c->at[d + 1] - c->low[d]) / c->step[d + 1] * stride;
            stride *= places[d];
        }
        pixel += first + c->at[c->rank - 1] * stride;
        for (int d = 0; d < spatial; d++) {
            at[d + 1] = c->low[d] + pixel % places[d] * c->step[d + 1] + c->offset[d];
            pixel /= places[d];
        }
        at[c->rank - 1] = pixel;
    }
    for (int d = 0; d < c->rank; d++)
        if (at[d] < 0 || at[d] >= c->size[d])
            return false;
    return true;
}

START_TEST(boxes_hold_what_indexing_says)
{
    const box_case *c = &box_cases[_i / MODES];
    start(_i % MODES);
    size_t each = c->f32 ? 4 : 2, all = 1;
    int count = c->windows ? c->channels * c->pixels : 1;
    tensor_shape s = { NULL, c->f32 ? TENSOR_F32 : TENSOR_F16, c->rank, {}, {}, {}, c->turn };
    uint32_t box[5];
    for (int d = 0; d < c->rank; d++) {
        s.size[d] = (uint64_t)c->size[d];
        s.step[d] = (uint32_t)c->step[d];
        box[d] = (uint32_t)c->box[d];
        all *= (size_t)c->size[d];
        s.stride[d < 4 ? d : 3] = d < 4 ? all * each : s.stride[3];
        count *= c->windows ? 1 : (c->box[d] + c->step[d] - 1) / c->step[d];
    }
    std::vector<uint8_t> x(all * each), back(all * each, 0), out((size_t)count * each);
    for (size_t i = 0; i < x.size(); i++)
        x[i] = (uint8_t)(draw() * 100 + 128);
    uint8_t *from = upload(x), *to = upload(back), *image = upload(out);
    tensor_shape b = s;
    s.p = from;
    b.p = to;
    tensor_windows w = { { c->low[0], c->low[1], c->low[2] }, { c->high[0], c->high[1], c->high[2] }, (uint32_t)c->channels,
                         (uint32_t)c->pixels };
    hopper_box p = { (uint32_t *)image, (int)out.size(), {}, {}, c->windows };
    memcpy(p.at, c->at, sizeof p.at);
    memcpy(p.offset, c->offset, sizeof p.offset);
    ck_assert_int_eq(hopper_run_box(cu, &s, &b, box, c->windows ? &w : NULL, &p), 0);
    download(out, image);
    download(back, to);
    std::vector<uint8_t> wanted_back(all * each, 0);
    for (int i = 0; i < count; i++) {
        int at[5] = { 0 };
        size_t place = 0, stride = 1;
        bool in = coordinates(c, i, at);
        for (int d = 0; d < c->rank; d++) {
            place += (size_t)at[d] * stride;
            stride *= (size_t)c->size[d];
        }
        uint8_t zero[4] = { 0 };
        const uint8_t *found = &out[swizzled(c->turn, (size_t)i * each)], *wanted = in ? &x[place * each] : zero;
        ck_assert_msg(!memcmp(found, wanted, each), "box %d, element %d", _i / MODES, i);
        if (in)
            memcpy(&wanted_back[place * each], wanted, each);
    }
    ck_assert(c->windows || back == wanted_back);
    end();
}
END_TEST

/* ---------------------------------------------------------------- products and convolutions */

typedef struct { int m, n, c, cluster, blocks; bool wide; int taps, w, h, step, pad; } product_case;
static const product_case product_cases[] = {
    { 200, 80, 200, 1, 1, false, 1, 0, 0, 0, 0 },              /* tails everywhere, two tiles of columns, one block    */
    { 130, 168, 72, 1, 2, true, 1, 0, 0, 0, 0 },
    { 328, 64, 264, 2, 2, false, 1, 0, 0, 0, 0 },              /* two tiles of rows a cluster; the last half of one    */
    { 500, 168, 136, 2, 4, true, 1, 0, 0, 0, 0 },
    { 8, 8, 8, 1, 3, false, 1, 0, 0, 0, 0 },                   /* blocks without a tile                                */
    { 154, 72, 72, 1, 1, false, 3, 7, 11, 1, 1 },              /* two pictures of 7 x 11, padded                       */
    { 210, 40, 40, 1, 2, false, 3, 13, 9, 2, 1 },              /* stride 2: six of 7 x 5                               */
    { 300, 24, 136, 2, 2, false, 1, 10, 10, 1, 0 },            /* 1 x 1, three pictures, multicast                     */
    { 324, 176, 72, 2, 2, true, 3, 18, 9, 1, 1 },              /* 3 x 3, multicast                                     */
};
enum { PRODUCTS = sizeof product_cases / sizeof *product_cases };

/* Element k of row m of a: its number in the tensor, or -1: padding. */
static long source(const product_case *c, int m, int k)
{
    if (!c->w)
        return (long)m * c->c + k;
    int out_w = (c->w + 2 * c->pad - c->taps) / c->step + 1, out_h = (c->h + 2 * c->pad - c->taps) / c->step + 1;
    int tap = k / c->c, x = m % out_w * c->step - c->pad + tap % c->taps;
    int y = m / out_w % out_h * c->step - c->pad + tap / c->taps, image = m / out_w / out_h;
    if (x < 0 || x >= c->w || y < 0 || y >= c->h)
        return -1;
    return (((long)image * c->h + y) * c->w + x) * c->c + k % c->c;
}

/* What the kernel's chain of 16 k at a time gives, to the bit: blocks of 64 channels, tap by tap, zeros behind the
 * last. */
static float chain_of(const product_case *c, const std::vector<uint16_t> &a, const std::vector<uint16_t> &w, int m, int n,
                      bool bf16, double *exact, double *size)
{
    float sum = 0;
    int taps = c->taps * c->taps;
    *exact = *size = 0;
    for (int tap = 0; tap < taps; tap++)
        for (int k0 = 0; k0 < (c->c + 63) / 64 * 64; k0 += 16) {
            uint16_t x[16] = { 0 }, y[16] = { 0 };
            for (int k = k0; k < k0 + 16 && k < c->c; k++) {
                long at = source(c, m, tap * c->c + k);
                x[k - k0] = at < 0 ? (uint16_t)0 : a[(size_t)at];
                y[k - k0] = w[((size_t)n * (size_t)taps + (size_t)tap) * (size_t)c->c + (size_t)k];
                *exact += (double)value(x[k - k0], bf16) * value(y[k - k0], bf16);
                *size += fabs((double)value(x[k - k0], bf16) * value(y[k - k0], bf16));
            }
            sum = sim_wgmma_dot(x, y, sum, bf16);
        }
    return sum;
}

/* Every number beside a plain sum in f64: half a unit of the 16-bit type, and 2^-24 of the sizes a step of 16 (cut off 25
 * bits below the largest of 17 terms, and once in f32). And the bits of a chain. */
static void run_product(const product_case *c, bool bf16)
{
    int out_w = c->w ? (c->w + 2 * c->pad - c->taps) / c->step + 1 : 1;
    int out_h = c->w ? (c->h + 2 * c->pad - c->taps) / c->step + 1 : 1;
    int taps = c->taps * c->taps, images = c->w ? c->m / (out_w * out_h) : 1, blocks_c = (c->c + 63) / 64;
    ck_assert(!c->w || images * out_w * out_h == c->m);
    std::vector<uint16_t> a = draw_halves(c->w ? (size_t)(images * c->w * c->h * c->c) : (size_t)(c->m * c->c), bf16);
    std::vector<uint16_t> w = draw_halves((size_t)(c->n * taps * c->c), bf16), out((size_t)(c->m * c->n));
    std::vector<float> bias((size_t)c->n);
    for (float &x : bias)
        x = draw();
    uint16_t *y = (uint16_t *)im_cu_alloc(cu, out.size() * 2);
    hopper_products p = { upload(a), upload(w), y, upload(bias), bf16, c->w != 0, c->wide, c->m, c->n, c->c, c->cluster,
                          c->blocks, blocks_c * taps, blocks_c, c->taps, c->w, c->h, out_w, out_h, c->step, c->pad };
    ck_assert_int_eq(hopper_run_products(cu, &p), 0);
    download(out, y);
    for (int m = 0; m < c->m; m++)
        for (int n = m % 5; n < c->n; n += 5) {                /* a fifth: the reference takes as long as the kernel   */
            double exact, size;
            float sum = chain_of(c, a, w, m, n, bf16, &exact, &size) + bias[(size_t)n];
            exact += bias[(size_t)n];
            uint16_t found = out[(size_t)m * (size_t)c->n + (size_t)n];
            double limit = fabs(exact) * (bf16 ? 0x1p-8 : 0x1p-11) + size * 0x1p-24 * (taps * blocks_c * 4) + 0x1p-24;
            ck_assert_msg(found == rounded(sum, bf16), "(%d, %d): found %.9g, wanted %.9g", m, n, value(found, bf16), sum);
            ck_assert_msg(fabs(value(found, bf16) - exact) <= limit, "(%d, %d): found %.9g, wanted %.9g", m, n,
                          value(found, bf16), exact);
        }
}

START_TEST(products_are_right)
{
    int i = _i / ORDERS, order = _i % ORDERS;
    start(order + (i + order) % 2 * 3);
    run_product(&product_cases[i], _i / 2 % 2);
    end();
}
END_TEST

/* As build/imago-sim runs kernels: nothing is looked at, and clusters are shared out among the cores. */
START_TEST(products_are_right_without_checks)
{
    start(_i * 3);
    sim.checks = false;
    run_product(&product_cases[3], _i);
    run_product(&product_cases[8], !_i);
    end();
}
END_TEST

START_TEST(chains_are_right)
{
    bool bf16 = _i / MODES;
    start(_i % MODES);
    const int m = 100, keys = 136;                             /* the last block of keys: 8 of 64                      */
    std::vector<uint16_t> q = draw_halves((size_t)m * 64, bf16), k = draw_halves(keys * 64, bf16);
    std::vector<uint16_t> v = draw_halves(keys * 64, bf16);
    std::vector<float> o((size_t)m * 64);
    float *out = (float *)im_cu_alloc(cu, o.size() * 4);
    ck_assert_int_eq(hopper_run_chain(cu, upload(q), upload(k), upload(v), out, m, keys, bf16), 0);
    download(o, out);
    for (size_t i = 0; i < m; i++) {
        float s[136];
        for (size_t j = 0; j < keys; j++) {
            s[j] = 0;
            for (size_t c = 0; c < 64; c += 16)
                s[j] = sim_wgmma_dot(&q[i * 64 + c], &k[j * 64 + c], s[j], bf16);
            s[j] = value(rounded(s[j], bf16), bf16);
        }
        for (size_t c = 0; c < 64; c++) {
            double sum = 0, size = 0;
            for (size_t j = 0; j < keys; j++) {
                sum += (double)s[j] * value(v[j * 64 + c], bf16);
                size += fabs((double)s[j] * value(v[j * 64 + c], bf16));
            }
            ck_assert_msg(fabs(o[i * 64 + c] - sum) <= size * 0x1p-24 * 12, "(%zu, %zu): found %.9g, wanted %.9g", i, c,
                          o[i * 64 + c], sum);
        }
    }
    end();
}
END_TEST

/* ---------------------------------------------------------------- counts */

/* 256 x 64 by k = 128 in blocks alone, and in a cluster: who multicasts reads the weights once for two. */
START_TEST(transactions_are_counted)
{
    start(0);
    const product_case c = { 256, 64, 128, _i ? 2 : 1, 2, false, 1, 0, 0, 0, 0 };
    sim_counting = true;
    sim_counted = sim_counts();
    run_product(&c, true);
    const int64_t loads = 2 * 2 * 2, stores = 4, a = 256 * 128 * 2, w = 64 * 128 * 2, y = 256 * 64 * 2;
    ck_assert_int_eq(sim_counted.bulk_copies, loads + stores);
    ck_assert_int_eq(sim_counted.bulk_bytes, a + 2 * w + y);
    ck_assert_int_eq(sim_counted.bulk_sectors, (a + (_i ? w : 2 * w) + y) / 32);
    ck_assert_int_eq(sim_counted.products, 2 * 2 * 2 * 4);     /* blocks, warpgroups, k blocks, 64 / 16                */
    end();
}
END_TEST

int main(void)
{
    const suite_test tests[] = { ONCE(sums_are_the_tensor_cores), LOOP(matrices_lie_where_cute_has_them, 2 * LAYOUTS),
                                 LOOP(boxes_hold_what_indexing_says, BOXES * MODES),
                                 LOOP(products_are_right, PRODUCTS * ORDERS),
                                 LOOP(products_are_right_without_checks, 2), LOOP(chains_are_right, 2 * MODES),
                                 LOOP(transactions_are_counted, 2) };
    return suite_run("hopper", NULL, NULL, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
