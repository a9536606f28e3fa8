/* test_amx.c: products in tile registers (src/tensor/cpu/amx.c): on a machine that has none their instructions are emulated
 * (emulate_amx.h), where it has them both are tried. Every tile, and whole products and convolutions, against plain loops
 * in the order of sums that cpu/tile.h gives, to the bit, with weights in bf16 and f16; int8, attention too, against ref;
 * attention in bf16 and split near ref; and a picture in int8 beside that of the same set without them. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "imago.h"
#include "isa.h"
#include "suite.h"
#include "tensor/cpu/tile.h"
#include "tensor/half.h"
#include "tensor/host.h"
#include "tensor/tensor.h"

const im_amx *im_tiles_emulated(void);

enum { LANES = 16, STRIP = 2 * LANES, MOST_STEPS = 96, LDA = 112 };

/* The tile registers of this machine, or NULL. */
static const im_amx *real_tiles(void)
{
    choose_isa("avx512amx");
    im_ctx *c = im_ctx_new("cpu", 1);
    choose_isa(NULL);
    const im_amx *amx = im_ok(c) && !strcmp(im_device_isa(c), "avx512amx") ? im_host_of(&c->dev)->amx : NULL;
    im_ctx_free(c);
    return amx;
}

static uint32_t next(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static float rounded(float x, im_dtype t)
{
    return t == IM_BF16 ? im_bhalf_to_f32(im_bhalf_from_f32(x)) : t == IM_F16 ? im_half_to_f32(im_half_from_f32(x)) : x;
}

/* Of very different sizes, so that another order of sums shows. */
static float real(uint32_t *seed)
{
    uint32_t x = next(seed);
    return ((float)(x & 0xffff) / 32768.0f - 1.0f) * (x >> 16 & 3 ? 1.0f : 100.0f);
}

/* sum + groups of 32 values from a and b, as tile.h has it. */
static float in_order(float sum, const float *a, const float *b, int k)
{
    for (int g = 0; g < k; g += 2 * IM_AMX_STEPS) {
        float s[2] = { 0 };
        for (int i = g; i < g + 2 * IM_AMX_STEPS && i < k; i++)
            s[i % 2] += a[i] * b[i];                           /* products of bf16 are exact                           */
        sum += s[0] + s[1];
    }
    return sum;
}

/* The same of split factors: group by group low high, high high, high low. */
static float in_order_split(float sum, const float *a, const float *b, int k)
{
    float x[2][IM_SPLIT_STEPS], y[2][IM_SPLIT_STEPS];
    for (int g = 0; g < k; g += IM_SPLIT_STEPS) {
        int n = k - g < IM_SPLIT_STEPS ? k - g : IM_SPLIT_STEPS;
        for (int i = 0; i < n; i++) {
            x[0][i] = rounded(a[g + i], IM_BF16);
            y[0][i] = rounded(b[g + i], IM_BF16);
            x[1][i] = rounded(a[g + i] - x[0][i], IM_BF16);
            y[1][i] = rounded(b[g + i] - y[0][i], IM_BF16);
        }
        sum = in_order(in_order(in_order(sum, x[1], y[0], n), x[0], y[0], n), x[0], y[1], n);
    }
    return sum;
}

/* ---------------------------------------------------------------- one tile */

typedef union cell { float f; int32_t i; uint16_t h[2]; int8_t q[4]; } cell;
static cell a[IM_AMX_ROWS][LDA], b[2][MOST_STEPS][LANES];
static union { float f[IM_AMX_ROWS][STRIP]; int32_t i[IM_AMX_ROWS][STRIP]; } in, out;

static void fill_tile(im_compute how)
{
    uint32_t seed = 3;
    for (int i = 0; i < IM_AMX_ROWS * LDA + 2 * MOST_STEPS * LANES; i++) {
        cell *c = i < IM_AMX_ROWS * LDA ? &a[0][0] + i : &b[0][0][0] + (i - IM_AMX_ROWS * LDA);
        for (int k = 0; k < 4; k++)
            c->q[k] = (int8_t)(next(&seed) % 255 - 127);
        for (int k = 0; k < 2 && how == IM_COMPUTE_BF16; k++)
            c->h[k] = im_bhalf_from_f32(real(&seed));
    }
    for (int i = 0; i < IM_AMX_ROWS * STRIP; i++)
        if (how == IM_COMPUTE_BF16)
            in.f[i / STRIP][i % STRIP] = 100 * rounded(real(&seed), IM_BF16);
        else
            in.i[i / STRIP][i % STRIP] = (int32_t)next(&seed);
}

static int32_t want_of(im_compute how, bool from_zero, int i, int j, int steps)
{
    int32_t sum = from_zero ? 0 : in.i[i][j];
    float x[2 * MOST_STEPS], y[2 * MOST_STEPS];
    for (int s = 0; s < steps; s++) {
        const cell *p = &a[i][s], *q = &b[j / LANES][s][j % LANES];
        for (int k = 0; k < 2; k++) {
            x[2 * s + k] = im_bhalf_to_f32(p->h[k]);
            y[2 * s + k] = im_bhalf_to_f32(q->h[k]);
        }
        for (int k = 0; k < 4 && how == IM_COMPUTE_INT8; k++)
            sum += p->q[k] * q->q[k];
    }
    return how == IM_COMPUTE_INT8 ? sum : (cell){ in_order(from_zero ? 0 : in.f[i][j], x, y, 2 * steps) }.i;
}

static void try_tiles(const im_amx *amx, im_compute how, bool from_zero, int steps)
{
    for (int rows = 1; rows <= IM_AMX_ROWS; rows++)
        for (int panels = 1; panels <= 2; panels++) {
            memset(&out, 0x55, sizeof out);
            amx->multiply[how](&(im_tile){ .steps = steps, .a = &a[0][0].f, .lda = LDA,
                                           .b = { &b[0][0][0].f, &b[panels - 1][0][0].f },
                                           .in = from_zero ? NULL : &in.f[0][0], .out = &out.f[0][0], .next = b },
                               rows, panels);
            for (int i = 0; i < IM_AMX_ROWS; i++)
                for (int j = 0; j < STRIP; j++) {
                    bool there = i < rows && j < panels * LANES;
                    int32_t want = there ? want_of(how, from_zero, i, j, steps) : 0x55555555;
                    ck_assert_msg(out.i[i][j] == want, "way %d, %d x %d, %d steps: sum (%d, %d) is %08x, wanted %08x",
                                  (int)how, rows, panels, steps, i, j, (unsigned)out.i[i][j], (unsigned)want);
                }
        }
    amx->end();
}

/* Split: groups of 32 values, high halves of 16 steps, then low ones. */
static float want_split(bool from_zero, int i, int j, int steps)
{
    float x[2][IM_SPLIT_STEPS], y[2][IM_SPLIT_STEPS], sum = from_zero ? 0 : in.f[i][j];
    for (int g = 0; g < steps; g += IM_SPLIT_STEPS) {
        for (int half = 0; half < 2; half++)
            for (int k = 0; k < IM_SPLIT_STEPS; k++) {
                int s = g + half * IM_AMX_STEPS + k / 2;
                x[half][k] = im_bhalf_to_f32(a[i][s].h[k % 2]);
                y[half][k] = im_bhalf_to_f32(b[j / LANES][s][j % LANES].h[k % 2]);
            }
        for (int n = 0; n < 3; n++)
            sum = in_order(sum, x[n == 0], y[n == 2], IM_SPLIT_STEPS);
    }
    return sum;
}

START_TEST(every_split_tile)
{
    const im_amx *sets[2] = { im_tiles_emulated(), real_tiles() };
    fill_tile(IM_COMPUTE_BF16);
    for (int set = 0; set < 2 && sets[set]; set++)
        for (int rows = 1; rows <= IM_AMX_ROWS; rows++)
            for (int panels = 1; panels <= 2; panels++) {
                bool from_zero = (rows + panels) % 3 == 0;
                int steps = rows % 2 ? MOST_STEPS : IM_SPLIT_STEPS;
                memset(&out, 0x55, sizeof out);
                sets[set]->multiply_split(&(im_tile){ .steps = steps, .a = &a[0][0].f, .lda = LDA,
                    .b = { &b[0][0][0].f, &b[panels - 1][0][0].f }, .in = from_zero ? NULL : &in.f[0][0],
                    .out = &out.f[0][0], .next = b }, rows, panels);
                for (int i = 0; i < IM_AMX_ROWS; i++)
                    for (int j = 0; j < STRIP; j++) {
                        bool there = i < rows && j < panels * LANES;
                        int32_t want = there ? (cell){ want_split(from_zero, i, j, steps) }.i : 0x55555555;
                        ck_assert_msg(out.i[i][j] == want, "split, %d x %d, %d steps: sum (%d, %d) is %08x, wanted %08x",
                                      rows, panels, steps, i, j, (unsigned)out.i[i][j], (unsigned)want);
                    }
                sets[set]->end();
            }
}
END_TEST

START_TEST(every_tile)
{
    const im_amx *sets[2] = { im_tiles_emulated(), real_tiles() };
    im_compute how = _i ? IM_COMPUTE_INT8 : IM_COMPUTE_BF16;
    fill_tile(how);
    for (int s = 0; s < 2 && sets[s]; s++) {
        try_tiles(sets[s], how, true, 16);
        try_tiles(sets[s], how, false, 80);
        try_tiles(sets[s], how, false, MOST_STEPS);
    }
}
END_TEST

/* ---------------------------------------------------------------- whole products */

enum { MOST_THREADS = 3 };

/* NULL where this machine or TEST_ISA has no such set. Emulated: the kernels of that set with emulated tile registers. */
static im_ctx *open_tiles(const char *isa, bool emulated, int threads)
{
    choose_isa(isa);
    im_ctx *c = im_ctx_new("cpu", threads);
    choose_isa(NULL);
    if (!isa_wanted(isa) || !im_ok(c) || strcmp(im_device_isa(c), isa)) {
        im_ctx_free(c);
        return NULL;
    }
    im_host *h = im_host_of(&c->dev);
    if (emulated) {
        h->amx = im_tiles_emulated();
        h->direct = h->split = true;
        h->int8_flip = 0;
        h->compute[IM_BF16] = IM_COMPUTE_BF16;
    }
    return c;
}

static const struct { const char *isa; bool emulated; } devices[] = {
    { "portable", true }, { "neon", true }, { "avx2", true }, { "avx512", true }, { "avx512amx", false },
};
enum { DEVICES = sizeof devices / sizeof *devices };

typedef struct product { int m, n, k; bool geglu; int conv; } product;       /* conv: side of a picture, 3x3 filters    */
static const product products[] = {
    { 1, 1, 1, 0, 0 }, { 33, 17, 31, 0, 0 }, { 40, 48, 64, 0, 0 }, { 65, 33, 700, 0, 0 }, { 300, 65, 1300, 0, 0 },
    { 500, 320, 320, 0, 0 }, { 5, 64, 2048, 0, 0 }, { 47, 80, 96, 1, 0 }, { 35, 24, 50, 1, 0 }, { 2 * 81, 40, 9 * 5, 0, 9 },
    { 3 * 64, 40, 9 * 64, 0, 8 }, { 144, 96, 9 * 96, 0, 12 }, { 2 * 400, 33, 9 * 32, 0, 20 },
    { 2 * 121, 70, 9 * 64, 0, 11 }, { 256, 64, 9 * 512, 0, 16 },
};
enum { PRODUCTS = sizeof products / sizeof *products };

/* Values that t holds. */
static float *values(int64_t n, im_dtype t, uint32_t seed)
{
    float *v = malloc((size_t)n * sizeof *v);
    for (int64_t i = 0; i < n; i++)
        v[i] = rounded(real(&seed), t);
    return v;
}

/* Of activations beside such weights: bf16 needs no rounding then; f16 is tried with values of f32. */
static im_dtype beside(im_dtype weights) { return weights == IM_F16 ? IM_F32 : IM_BF16; }
static im_dtype held(im_dtype weights) { return weights == IM_F16 ? IM_F16 : IM_BF16; }

static int channels(const product *p) { return p->conv ? p->k / 9 : p->k; }
static int images(const product *p) { return p->conv ? p->m / p->conv / p->conv : 1; }
static int rows_of_weight(const product *p) { return p->geglu ? 2 * p->n : p->n; }

/* x in dtype `t`, whose rows or pictures are those from `first` on, `count` of them. */
static float *run(im_ctx *c, const product *p, im_dtype weights, im_dtype t, int first, int count)
{
    int64_t side = p->conv ? p->conv : 1, each = side * side * channels(p);
    float *x = values((p->conv ? images(p) : p->m) * each, beside(weights), 7);
    float *w = values((int64_t)rows_of_weight(p) * p->k, held(weights), 9);
    int64_t matrix[] = { count, p->k }, pictures[] = { count, side, side, channels(p) };
    int64_t flat[] = { rows_of_weight(p), p->k }, filters[] = { p->n, 3, 3, channels(p) };
    im_tensor *wt = im_param_new(c, "w", IM_F32, p->conv ? 4 : 2, p->conv ? filters : flat);
    im_scope_push(c);
    ck_assert(im_param_alloc(c, wt, (im_weight_layout){ .dtype = weights, .packed = true, .geglu = p->geglu }) &&
              im_param_load(c, wt, w, IM_F32, false));
    im_tensor *in_f32 = im_from(c, IM_F32, p->conv ? 4 : 2, p->conv ? pictures : matrix, x + first * each);
    im_tensor *v = t == IM_F32 ? in_f32 : im_cast(c, in_f32, t);
    im_conv_attrs at = { .stride = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1 };
    im_tensor *y = p->conv ? im_conv2d(c, v, wt, NULL, NULL, NULL, &at)
                 : p->geglu ? im_linear_geglu(c, v, wt, NULL) : im_linear(c, v, wt, NULL, NULL, IM_ACT_NONE);
    float *out_f32 = im_values(c, t == IM_F32 ? y : im_cast(c, y, IM_F32));
    ck_assert_msg(out_f32 != NULL, "%s", im_error(c));
    im_scope_pop(c);
    im_param_free(c, wt);
    free(x);
    free(w);
    return out_f32;
}

/* Row i of A: of a matrix, or the window of an output pixel. */
static void row_of(const product *p, const float *x, int i, float *row)
{
    int side = p->conv, cin = channels(p), ox = side ? i % side : 0, oy = side ? i / side % side : 0;
    for (int k = 0; k < p->k; k++) {
        int tap = k / cin, iy = oy + tap / 3 - 1, ix = ox + tap % 3 - 1;
        bool outside = side && (iy < 0 || iy >= side || ix < 0 || ix >= side);
        int64_t pixel = side ? (int64_t)(i / side / side * side + iy) * side + ix : i;
        row[k] = outside ? 0.0f : x[pixel * cin + (side ? k % cin : k)];
    }
}

static float *wanted(const product *p, im_dtype weights)
{
    int n = p->n;
    int64_t inputs = p->conv ? (int64_t)p->m * channels(p) : (int64_t)p->m * p->k;
    float *x = values(inputs, beside(weights), 7), *w = values((int64_t)n * p->k, held(weights), 9);
    float *y = malloc((size_t)p->m * (size_t)n * sizeof *y);
    float *rows = malloc(2 * (size_t)p->k * sizeof *rows), *filter = rows + p->k;
    for (int j = 0; j < n; j++) {
        for (int k = 0; k < p->k; k++)
            filter[k] = w[(int64_t)j * p->k + k];
        for (int i = 0; i < p->m; i++) {
            row_of(p, x, i, rows);
            y[(int64_t)i * n + j] = (weights == IM_F16 ? in_order_split : in_order)(0, rows, filter, p->k);
        }
    }
    free(rows);
    free(x);
    free(w);
    return y;
}

static void same(const float *got, const float *want, int64_t n, int device, int product_at, const char *what)
{
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(!memcmp(&got[i], &want[i], sizeof *got), "%s, product %d, %s: value %lld is %.9g, wanted %.9g",
                      devices[device].isa, product_at, what, (long long)i, (double)got[i], (double)want[i]);
}

/* bf16 and f16: the order of tile.h, with any number of threads, alone and in a batch. */
static void whole_products(const product *p, im_dtype weights)
{
    int at = (int)(p - products);
    float *want = p->geglu ? NULL : wanted(p, weights);
    int64_t n = (int64_t)p->m * p->n;
    for (int d = 0; d < DEVICES; d++)
        for (int threads = 1; threads <= MOST_THREADS; threads++) {
            im_ctx *c = open_tiles(devices[d].isa, devices[d].emulated, threads);
            if (!c)
                break;
            int all = p->conv ? images(p) : p->m, half = all / 2;
            float *y = run(c, p, weights, IM_F32, 0, all), *end = run(c, p, weights, IM_F32, half, all - half);
            if (want)
                same(y, want, n, d, at, "the order of sums");
            same(end, y + n / all * half, n / all * (all - half), d, at, "of a part of the rows");
            free(y);
            free(end);
            im_ctx_free(c);
        }
    free(want);
}

START_TEST(whole_products_in_bf16) { whole_products(&products[_i], IM_BF16); } END_TEST
START_TEST(whole_products_in_f16) { whole_products(&products[_i], IM_F16); } END_TEST

/* A read in place, in bf16 as it is multiplied: only the results are rounded once more. */
START_TEST(read_in_place)
{
    const product *p = &products[_i];
    int64_t n = (int64_t)p->m * p->n;
    for (int d = 0; d < DEVICES; d++) {
        im_ctx *c = open_tiles(devices[d].isa, devices[d].emulated, 2);
        if (!c)
            continue;
        int all = p->conv ? images(p) : p->m;
        float *want = run(c, p, IM_BF16, IM_F32, 0, all), *y = run(c, p, IM_BF16, IM_BF16, 0, all);
        for (int64_t i = 0; i < n; i++)
            want[i] = im_bhalf_to_f32(im_bhalf_from_f32(want[i]));
        same(y, want, n, d, _i, "in place");
        free(want);
        free(y);
        im_ctx_free(c);
    }
}
END_TEST

/* ref, but for GEGLU, which ends in other functions. Then on every set as on the first one; portable has no fused
 * multiply-add. */
START_TEST(whole_products_in_int8)
{
    const product *p = &products[_i];
    im_ctx *ref = im_ctx_new("ref", 2);
    int all = p->conv ? images(p) : p->m;
    float *want = p->geglu ? NULL : run(ref, p, IM_INT8, IM_F32, 0, all);
    for (int d = p->geglu ? 1 : 0; d < DEVICES; d++) {
        im_ctx *c = open_tiles(devices[d].isa, devices[d].emulated, 2);
        if (!c)
            continue;
        float *y = run(c, p, IM_INT8, IM_F32, 0, all);
        if (!want)
            want = y;
        else
            same(y, want, (int64_t)p->m * p->n, d, _i, "int8");
        if (y != want)
            free(y);
        im_ctx_free(c);
    }
    free(want);
    im_ctx_free(ref);
}
END_TEST

/* ---------------------------------------------------------------- gradients of weights */

/* c = A^T B in chunks of IM_DW_CHUNK rows, each in the order of tile.h. */
START_TEST(sums_over_rows)
{
    static const int shapes[][3] = { { 1, 1, 1 }, { 31, 5, 7 }, { 300, 33, 50 }, { 2100, 40, 65 }, { 4500, 70, 300 } };
    int m = shapes[_i][0], ni = shapes[_i][1], nj = shapes[_i][2];
    float *x = values((int64_t)m * ni, IM_BF16, 3), *y = values((int64_t)m * nj, IM_BF16, 5);
    float *column = malloc(2 * (size_t)m * sizeof *column);
    float *want = malloc((size_t)ni * (size_t)nj * sizeof *want), *got = malloc((size_t)ni * (size_t)nj * sizeof *got);
    for (int i = 0; i < ni; i++)
        for (int j = 0; j < nj; j++) {
            float sum = 0;
            for (int k = 0; k < m; k++) {
                column[k] = x[(int64_t)k * ni + i];
                column[m + k] = y[(int64_t)k * nj + j];
            }
            for (int k = 0; k < m; k += IM_DW_CHUNK) {
                float part = in_order(0, column + k, column + m + k, m - k < IM_DW_CHUNK ? m - k : IM_DW_CHUNK);
                sum = k ? sum + part : part;
            }
            want[i * nj + j] = sum;
        }
    for (int d = 0; d < DEVICES; d++)
        for (int threads = 1; threads <= MOST_THREADS; threads++) {
            im_ctx *c = open_tiles(devices[d].isa, devices[d].emulated, threads);
            if (!c)
                break;
            im_set_compute_dtype(c, IM_BF16);
            ck_assert_int_eq(c->dev.k.outer(&c->dev, &(im_outer_args){
                .m = m, .ni = ni, .nj = nj, .a = { x, IM_F32 }, .lda = ni, .b = { y, IM_F32 }, .ldb = nj, .c = got,
                .ldc = nj }), IM_DONE);
            same(got, want, (int64_t)ni * nj, d, _i, "sums over rows");
            im_ctx_free(c);
        }
    free(x);
    free(y);
    free(column);
    free(want);
    free(got);
}
END_TEST

/* ---------------------------------------------------------------- attention */

typedef struct { int batch, tq, tk, heads, d; bool causal; im_dtype t; } attention;
static const attention attentions[] = {
    { 1, 1, 1, 1, 1, false, IM_F32 }, { 2, 40, 77, 2, 40, false, IM_F32 }, { 1, 300, 300, 1, 80, true, IM_F32 },
    { 3, 33, 130, 2, 64, false, IM_BF16 }, { 1, 70, 129, 1, 160, false, IM_F16 }, { 1, 65, 257, 1, 200, true, IM_F32 },
};
enum { ATTENTIONS = sizeof attentions / sizeof *attentions };

/* Samples first .. first+count-1. beside: the dtype of weights. */
static float *attend(im_ctx *c, const attention *p, im_dtype beside, int first, int count)
{
    int64_t width = (int64_t)p->heads * p->d, q_shape[] = { count, p->tq, width }, k_shape[] = { count, p->tk, width };
    float *x[3];
    im_tensor *qkv[3];
    im_scope_push(c);
    for (int i = 0; i < 3; i++) {
        const int64_t *shape = i ? k_shape : q_shape;
        x[i] = values(p->batch * shape[1] * width, IM_BF16, 11 + (uint32_t)i);
        for (int64_t k = 0; k < p->batch * shape[1] * width; k++)
            x[i][k] *= x[i][k] > 1 || x[i][k] < -1 ? 0x1p-6f : 1.0f;             /* values of one size                 */
        qkv[i] = im_from(c, IM_F32, 3, shape, x[i] + first * shape[1] * width);
        qkv[i] = p->t == IM_F32 ? qkv[i] : im_cast(c, qkv[i], p->t);
    }
    im_tensor *y = im_attention_beside(c, qkv[0], qkv[1], qkv[2], p->heads, p->causal, beside);
    float *out_f32 = im_values(c, p->t == IM_F32 ? y : im_cast(c, y, IM_F32));
    ck_assert_msg(out_f32 != NULL, "%s", im_error(c));
    im_scope_pop(c);
    for (int i = 0; i < 3; i++)
        free(x[i]);
    return out_f32;
}

/* Near ref; the same bits on all sets with a fused multiply-add, with any number of threads, alone and in a batch; not
 * those of products in f32. Tolerance: q, k, v and weights are each rounded to bf16 (2^-9): the scores, below 3, are off
 * by 2^-8 of their terms' size, a weight by that and 2^-9 and 1e-4, and so are means of values below 2: 2^-5 at most.
 * Beside weights in f16 each is split into two bf16, which lose 2^-16 of it: 2^-8 of that error; results in 16 bits are
 * rounded once more. */
static void attention_beside(const attention *p, int at, im_dtype weights, double most)
{
    int64_t n = (int64_t)p->batch * p->tq * p->heads * p->d;
    im_ctx *ref = im_ctx_new("ref", 2);
    float *want = attend(ref, p, IM_F32, 0, p->batch), *first = NULL;
    im_ctx_free(ref);
    for (int d = 0; d < DEVICES; d++)
        for (int threads = 1; threads <= MOST_THREADS; threads++) {
            im_ctx *c = open_tiles(devices[d].isa, devices[d].emulated, threads);
            if (!c)
                break;
            float *y = attend(c, p, weights, 0, p->batch), *last = attend(c, p, weights, p->batch - 1, 1);
            float *f32 = attend(c, p, IM_F32, 0, p->batch);
            double apart = 0;
            for (int64_t i = 0; i < n; i++) {
                double off = fabs((double)y[i] - want[i]), may = most + fabs(y[i]) * (p->t == IM_F32 ? 0 : 0x1p-8);
                ck_assert_msg(off <= may, "%s: value %lld is %g, ref has %g", devices[d].isa, (long long)i,
                              (double)y[i], (double)want[i]);
                apart += fabs((double)y[i] - f32[i]);
            }
            ck_assert_msg(apart > 0 || n == 1, "%s: nothing was rounded", devices[d].isa);
            same(last, y + n / p->batch * (p->batch - 1), n / p->batch, d, at, "alone");
            if (first)
                same(y, first, n, d, at, "of another set");
            if (!first && d)
                first = y;
            else
                free(y);
            free(last);
            free(f32);
            im_ctx_free(c);
        }
    free(first);
    free(want);
}

START_TEST(attention_in_tiles) { attention_beside(&attentions[_i], _i, IM_BF16, 0x1p-5); } END_TEST
START_TEST(attention_split) { attention_beside(&attentions[_i], _i, IM_F16, 0x1p-13); } END_TEST

START_TEST(attention_in_int8)
{
    const attention *p = &attentions[_i];
    int64_t n = (int64_t)p->batch * p->tq * p->heads * p->d;
    im_ctx *ref = im_ctx_new("ref", 2);
    float *want = attend(ref, p, IM_INT8, 0, p->batch);
    im_ctx_free(ref);
    for (int d = 0; d < DEVICES; d++)
        for (int threads = 1; threads <= MOST_THREADS; threads++) {
            im_ctx *c = open_tiles(devices[d].isa, devices[d].emulated, threads);
            if (!c)
                break;
            float *y = attend(c, p, IM_INT8, 0, p->batch), *last = attend(c, p, IM_INT8, p->batch - 1, 1);
            same(y, want, n, d, _i, "attention in int8");
            same(last, want + n / p->batch * (p->batch - 1), n / p->batch, d, _i, "of a sample alone");
            free(y);
            free(last);
            im_ctx_free(c);
        }
    free(want);
}
END_TEST

/* Pixels of a whole model in int8; malloc'd. */
static uint8_t *picture(im_ctx *c, size_t *bytes)
{
    im_sd *sd = im_sd_open(c, "tests/golden/models/a", IM_INT8);
    ck_assert_msg(sd != NULL, "%s", im_error(c));
    im_sd_args how = im_sd_defaults(sd);
    how.prompt = "a pear";
    how.steps = 2;
    im_image *drawn = im_sd_generate(sd, &how);
    ck_assert_msg(drawn != NULL, "%s", im_error(c));
    *bytes = (size_t)drawn->width * (size_t)drawn->height * 3;
    uint8_t *pixels = malloc(*bytes);
    memcpy(pixels, drawn->pixels, *bytes);
    im_image_free(drawn);
    im_sd_free(sd);
    return pixels;
}

/* A model's pixels in int8 are those of the set without tile registers, and of every other one with a fused
 * multiply-add. */
START_TEST(a_picture_in_int8)
{
    uint8_t *want = NULL;
    size_t bytes = 0, n;
    for (int d = 1; d < DEVICES; d++)
        for (int tiles = 0; tiles < 2; tiles++) {
            im_ctx *c = open_tiles(devices[d].isa, devices[d].emulated && tiles, 2);
            if (!c)
                break;
            uint8_t *got = picture(c, &n);
            ck_assert_msg(!want || (n == bytes && !memcmp(got, want, n)), "%s: another picture", devices[d].isa);
            if (want)
                free(got);
            else
                want = got;
            bytes = n;
            im_ctx_free(c);
        }
    free(want);
}
END_TEST

/* IMAGO_WINOGRAD: the rule that all sets share. */
START_TEST(the_environment_has_the_common_rule)
{
    for (int set = 0; set < 2; set++) {
        setenv("IMAGO_WINOGRAD", set ? "1" : "", 1);
        choose_isa("avx512amx");
        im_ctx *c = im_ctx_new("cpu", 1);
        choose_isa(NULL);
        unsetenv("IMAGO_WINOGRAD");
        if (im_ok(c))
            ck_assert(im_host_of(&c->dev)->direct == (!set && !strcmp(im_device_isa(c), "avx512amx")));
        im_ctx_free(c);
    }
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        LOOP(every_tile, 2), ONCE(every_split_tile), LOOP(whole_products_in_bf16, PRODUCTS),
        LOOP(whole_products_in_f16, PRODUCTS), LOOP(read_in_place, PRODUCTS),
        LOOP(whole_products_in_int8, PRODUCTS), LOOP(sums_over_rows, 5), LOOP(attention_in_tiles, ATTENTIONS),
        LOOP(attention_split, ATTENTIONS),
        LOOP(attention_in_int8, ATTENTIONS), ONCE(a_picture_in_int8),
        ONCE(the_environment_has_the_common_rule),
    };
    return suite_run("amx", NULL, NULL, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
