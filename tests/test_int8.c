/* test_int8.c: products and attention in int8 (tensor/int8.h): the values of torch's integers, the same bits on ref and on
 * every instruction set of this machine, alone and in a batch, with one and two threads; what is not finite, rows of
 * zeros; and what is refused. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/safetensors.h"
#include "golden_tensors.h"
#include "hashed.h"
#include "isa.h"
#include "suite.h"
#include "tensor/int8.h"
#include "tensor/tensor.h"

enum { DEVICES = 8 };
static struct { const char *isa; im_ctx *c; } on[DEVICES];     /* ref first, then each instruction set, with 2 threads */
static int n_on;

static void open_device(const char *device, const char *isa, int threads)
{
    choose_isa(isa);
    im_ctx *c = im_ctx_new(device, threads);
    if (!c || !im_ok(c) || (isa && strcmp(im_device_isa(c), isa))) {
        im_ctx_free(c);
        return;
    }
    on[n_on].isa = isa ? isa : "ref";
    on[n_on++].c = c;
}

static void setup(void)
{
    static const char *const isas[] = { TEST_ISAS };
    n_on = 0;
    open_device("ref", NULL, 2);
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++)
        if (isa_wanted(isas[i]))
            open_device("cpu", isas[i], 2);
    choose_isa(NULL);
    ck_assert_int_ge(n_on, 2);
}

static void teardown(void)
{
    for (int i = 0; i < n_on; i++)
        im_ctx_free(on[i].c);
}

/* (n, ...) values as a parameter in int8. */
static im_tensor *weight(im_ctx *c, int ndim, const int64_t shape[], const float *values, bool geglu)
{
    im_tensor *t = im_param_new(c, "w", IM_F32, ndim, shape);
    ck_assert_msg(im_param_alloc(c, t, (im_weight_layout){ .dtype = IM_INT8, .packed = true, .geglu = geglu }) &&
                  im_param_load(c, t, values, IM_F32, false), "%s", im_error(c));
    return t;
}

/* The same with multipliers of the input channels, the last axis. */
static im_tensor *weight_by(im_ctx *c, int ndim, const int64_t shape[], const float *values, const float *by)
{
    im_tensor *t = im_param_new(c, "w", IM_F32, ndim, shape);
    int64_t n = shape[0], k = im_numel(t) / n, cin = shape[ndim - 1];
    float *divided = malloc((size_t)(n * k) * sizeof *divided), *scales = malloc((size_t)n * sizeof *scales);
    int8_t *q = malloc((size_t)(n * k));
    for (int64_t i = 0; i < n * k; i++)
        divided[i] = values[i] / by[i % cin];
    im_round_int8(c, divided, n, k, q, scales);
    ck_assert_msg(im_param_alloc(c, t, (im_weight_layout){ .dtype = IM_INT8, .packed = true }) &&
                  im_param_load_int8(c, t, q, scales, by, false), "%s", im_error(c));
    free(divided);
    free(scales);
    free(q);
    return t;
}

static float *values_of(im_ctx *c, const im_tensor *t)
{
    float *v = im_values(c, t);
    ck_assert_msg(v != NULL, "%s", im_error(c));
    return v;
}

static void same_bits(const float *a, const float *b, int64_t n, const char *isa, const char *what)
{
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(!memcmp(&a[i], &b[i], sizeof *a) || (isnan(a[i]) && isnan(b[i])),
                      "%s: %s: value %lld is %.9g, wanted %.9g", isa, what, (long long)i, (double)a[i], (double)b[i]);
}

/* ---------------------------------------------------------------- torch's values */

typedef struct { im_ctx *c; im_safetensors *s; } golden;

static const im_st_entry *entry(const golden *g, const char *name)
{
    const im_st_entry *e = im_st_find(g->s, name);
    ck_assert_msg(e != NULL, "no %s", name);
    return e;
}

static im_tensor *tensor(const golden *g, const char *name)
{
    const im_st_entry *e = entry(g, name);
    return im_from(g->c, IM_F32, e->ndim, e->shape, e->data);
}

static im_tensor *golden_weight(const golden *g, const char *name)
{
    const im_st_entry *e = entry(g, name);
    return weight(g->c, e->ndim, e->shape, e->data, false);
}

static im_tensor *golden_weight_by(const golden *g, const char *layer)
{
    char w[32], by[32];
    snprintf(w, sizeof w, "%s.w", layer);
    snprintf(by, sizeof by, "%s.by", layer);
    const im_st_entry *e = entry(g, w);
    return weight_by(g->c, e->ndim, e->shape, e->data, entry(g, by)->data);
}

static void want_golden(const golden *g, const char *name, const im_tensor *y, const char *isa)
{
    const im_st_entry *e = entry(g, name);
    float *got = values_of(g->c, y);
    ck_assert_int_eq(im_numel(y), im_st_numel(e));
    same_bits(got, e->data, im_numel(y), isa, name);
    free(got);
}

START_TEST(values_are_torchs)
{
    for (int i = 0; i < n_on; i++) {
        golden g = { on[i].c, golden_tensors(on[i].c, "tests/golden/int8.safetensors.gz") };
        ck_assert_msg(g.s != NULL, "%s", im_error(g.c));
        im_scope_push(g.c);
        im_tensor *w = golden_weight(&g, "linear.w"), *v = golden_weight(&g, "conv.w");
        im_tensor *y = im_linear(g.c, tensor(&g, "linear.x"), w, tensor(&g, "linear.b"), tensor(&g, "linear.res"),
                                 IM_ACT_NONE);
        want_golden(&g, "linear.y", y, on[i].isa);
        im_conv_attrs at = { .stride = 2, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1 };
        y = im_conv2d(g.c, tensor(&g, "conv.x"), v, tensor(&g, "conv.b"), tensor(&g, "conv.chan"), NULL, &at);
        want_golden(&g, "conv.y", y, on[i].isa);
        im_param_free(g.c, w);
        im_param_free(g.c, v);
        w = golden_weight_by(&g, "linear");
        v = golden_weight_by(&g, "conv");
        want_golden(&g, "linear.multiplied", im_linear(g.c, tensor(&g, "linear.x"), w, NULL, NULL, IM_ACT_NONE), on[i].isa);
        want_golden(&g, "conv.multiplied", im_conv2d(g.c, tensor(&g, "conv.x"), v, NULL, NULL, NULL, &at), on[i].isa);
        for (int causal = 0; causal < 2; causal++)
            want_golden(&g, causal ? "attention.causal" : "attention.y",
                        im_attention_beside(g.c, tensor(&g, "attention.q"), tensor(&g, "attention.k"),
                                            tensor(&g, "attention.v"), 2, causal, IM_INT8), on[i].isa);
        im_scope_pop(g.c);
        im_param_free(g.c, w);
        im_param_free(g.c, v);
        im_st_close(g.s);
    }
}
END_TEST

/* ---------------------------------------------------------------- the same bits everywhere */

static float *random_values(const char *name, int64_t n, float scale)
{
    float *v = malloc((size_t)n * sizeof *v);
    hashed_fill(name, n, scale, 0, v);
    return v;
}

/* Within e^-2 .. e^2. */
static float *random_multipliers(int64_t n)
{
    float *by = random_values("by", n, 2);
    for (int64_t i = 0; i < n; i++)
        by[i] = expf(by[i]);
    return by;
}

typedef struct { int m, n, k; } shape;

/* y (m, n) of rows [first, last); malloc'd. */
static float *linear_of(im_ctx *c, shape s, const float *x, int first, int last, im_tensor *w, const float *bias,
                        im_dtype t)
{
    im_scope_push(c);
    im_tensor *a = im_from(c, IM_F32, 2, (int64_t[]){ last - first, s.k }, x + (int64_t)first * s.k);
    im_tensor *b = im_from(c, IM_F32, 1, (int64_t[]){ s.n }, bias);
    float *y = values_of(c, im_cast(c, im_linear(c, im_cast(c, a, t), w, b, NULL, IM_ACT_NONE), IM_F32));
    im_scope_pop(c);
    return y;
}

START_TEST(linear_has_the_same_bits)
{
    static const shape shapes[] = { { 1, 1, 1 }, { 3, 5, 2 }, { 13, 33, 31 }, { 29, 47, 100 }, { 200, 130, 64 },
                                    { 9, 35, 5120 },
                                    { 1, 320, 1281 }, { 450, 17, 9 }, { 33, 96, 1300 } };
    for (size_t q = 0; q < sizeof shapes / sizeof *shapes; q++)
        for (im_dtype t = IM_F32; t <= IM_BF16; t++) {
            shape s = shapes[q];
            float *by = _i ? random_multipliers(s.k) : NULL;
            float *x = random_values("x", (int64_t)s.m * s.k, 2), *v = random_values("w", (int64_t)s.n * s.k, 0.3f);
            float *bias = random_values("b", s.n, 1), *want = NULL;
            for (int i = 0; i < n_on; i++) {
                im_tensor *w = by ? weight_by(on[i].c, 2, (int64_t[]){ s.n, s.k }, v, by)
                                  : weight(on[i].c, 2, (int64_t[]){ s.n, s.k }, v, false);
                float *y = linear_of(on[i].c, s, x, 0, s.m, w, bias, t), *last;
                if (want)
                    same_bits(y, want, (int64_t)s.m * s.n, on[i].isa, "linear");
                last = linear_of(on[i].c, s, x, s.m - 1, s.m, w, bias, t);
                same_bits(last, y + (int64_t)(s.m - 1) * s.n, s.n, on[i].isa, "a row alone");
                free(last);
                im_param_free(on[i].c, w);
                if (want)
                    free(y);
                else
                    want = y;
            }
            free(want);
            free(x);
            free(v);
            free(bias);
            free(by);
        }
}
END_TEST

typedef struct { int h, w, cin, cout, kernel; im_conv_attrs at; } picture;

static float *conv_of(im_ctx *c, const picture *p, int batch, const float *x, im_tensor *w, int64_t *n)
{
    im_scope_push(c);
    im_tensor *a = im_from(c, IM_F32, 4, (int64_t[]){ batch, p->h, p->w, p->cin }, x);
    im_tensor *y = im_conv2d(c, a, w, NULL, NULL, NULL, &p->at);
    ck_assert_msg(y != NULL, "%s", im_error(c));
    *n = im_numel(y);
    float *v = values_of(c, y);
    im_scope_pop(c);
    return v;
}

/* Those too that go through Winograd with other weights. */
START_TEST(convolutions_have_the_same_bits)
{
    static const picture all[] = {
        { 5, 7, 4, 6, 3, { .stride = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1 } },
        { 8, 8, 96, 40, 3, { .stride = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1 } },
        { 9, 12, 70, 33, 3, { .stride = 2, .pad_bottom = 1, .pad_right = 1 } },
        { 6, 5, 33, 31, 1, { .stride = 1 } },
        { 6, 5, 16, 8, 1, { .stride = 2, .pad_top = 1, .pad_left = 1 } },
        { 4, 3, 7, 5, 3, { .stride = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1, .up_h = 7,
                           .up_w = 5 } },
        { 11, 6, 3, 18, 2, { .stride = 3, .pad_left = 2, .pad_top = 1 } },
        { 13, 16, 64, 20, 3, { .stride = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1 } },
        { 8, 7, 65, 33, 3, { .stride = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1, .up_h = 16,
                             .up_w = 14 } },
    };
    const picture *p = &all[_i / 2];
    float *by = _i % 2 ? random_multipliers(p->cin) : NULL;
    const int64_t dims[] = { p->cout, p->kernel, p->kernel, p->cin };
    int64_t values = (int64_t)p->h * p->w * p->cin, k = (int64_t)p->kernel * p->kernel * p->cin, n, one;
    float *x = random_values("x", 3 * values, 2), *v = random_values("w", p->cout * k, 0.3f), *want = NULL;
    for (int i = 0; i < n_on; i++) {
        im_tensor *w = by ? weight_by(on[i].c, 4, dims, v, by) : weight(on[i].c, 4, dims, v, false);
        float *y = conv_of(on[i].c, p, 3, x, w, &n), *alone = conv_of(on[i].c, p, 1, x + 2 * values, w, &one);
        ck_assert_int_eq(3 * one, n);
        same_bits(alone, y + 2 * one, one, on[i].isa, "a picture alone");
        if (want)
            same_bits(y, want, n, on[i].isa, "conv2d");
        free(alone);
        im_param_free(on[i].c, w);
        if (want)
            free(y);
        else
            want = y;
    }
    free(want);
    free(x);
    free(v);
    free(by);
}
END_TEST

/* ---------------------------------------------------------------- attention */

typedef struct { int batch, tq, tk, heads, d; bool causal; im_dtype t; float size; } attention;

/* Of samples [first, batch); malloc'd. size: of q and k, so that a few keys have all of the weight, or each its share. */
static float *attend(im_ctx *c, const attention *p, im_dtype beside, int first, int64_t *n)
{
    int64_t width = (int64_t)p->heads * p->d, rows[3] = { p->tq, p->tk, p->tk };
    static const char *const names[] = { "q", "k", "v" };
    im_tensor *in[3];
    im_scope_push(c);
    for (int i = 0; i < 3; i++) {
        float *x = random_values(names[i], p->batch * rows[i] * width, i < 2 ? p->size : 1);
        in[i] = im_cast(c, im_from(c, IM_F32, 3, (int64_t[]){ p->batch - first, rows[i], width },
                                   x + first * rows[i] * width), p->t);
        free(x);
    }
    im_tensor *y = im_attention_beside(c, in[0], in[1], in[2], p->heads, p->causal, beside);
    float *v = values_of(c, im_cast(c, y, IM_F32));
    *n = im_numel(y);
    im_scope_pop(c);
    return v;
}

/* Relative to the root of the mean square of f32's values: each q, k, v is off by 1/254 of its row's largest value at most
 * and a weight by 1/256 of the largest; values of the sizes below average that to 0.6 to 2 %. */
static void want_near(const float *y, const float *f32, int64_t n, const char *isa)
{
    double off = 0, all = 0;
    for (int64_t i = 0; i < n; i++) {
        off += ((double)y[i] - f32[i]) * ((double)y[i] - f32[i]);
        all += (double)f32[i] * f32[i];
    }
    ck_assert_msg(off <= 0.03 * 0.03 * all, "%s: attention is off by %g of f32's", isa, sqrt(off / all));
}

START_TEST(attention_has_the_same_bits)
{
    static const attention all[] = {
        { 1, 1, 1, 1, 1, false, IM_F32, 1 }, { 2, 40, 77, 2, 40, false, IM_F32, 2 },
        { 3, 33, 130, 2, 64, false, IM_BF16, 2 },
        { 1, 300, 300, 1, 80, true, IM_F32, 1 }, { 2, 70, 257, 1, 160, false, IM_F16, 0.5f },
        { 2, 65, 131, 3, 5, true, IM_F32, 6 }, { 1, 20, 640, 1, 512, false, IM_F32, 0.2f },
        { 1, 513, 9, 2, 13, false, IM_F32, 3 },
    };
    const attention *p = &all[_i];
    float *want = NULL;
    int64_t n, one;
    for (int i = 0; i < n_on; i++) {
        float *y = attend(on[i].c, p, IM_INT8, 0, &n), *alone = attend(on[i].c, p, IM_INT8, p->batch - 1, &one);
        same_bits(alone, y + n - one, one, on[i].isa, "a sample alone");
        free(alone);
        if (want) {
            same_bits(y, want, n, on[i].isa, "attention");
            free(y);
            continue;
        }
        want = y;
        float *f32 = attend(on[i].c, p, IM_F32, 0, &n);
        want_near(y, f32, n, on[i].isa);
        free(f32);
    }
    for (int threads = 1; threads <= 3; threads += 2) {
        im_ctx *c = im_ctx_new("cpu", threads);
        float *y = attend(c, p, IM_INT8, 0, &n);
        same_bits(y, want, n, im_device_isa(c), "with other threads");
        free(y);
        im_ctx_free(c);
    }
    free(want);
}
END_TEST

/* What is not finite reaches the queries that see it (of v: the column), and no others; a query or keys of zeros have all
 * weights alike; scores beyond all numbers are not a number. */
START_TEST(attention_to_what_is_not_finite)
{
    enum { TQ = 7, TK = 150, D = 6 };
    float q[TQ * D], k[TK * D], v[TK * D];
    for (int which = 0; which < 6; which++)
        for (int i = 0; i < n_on; i++) {
            im_ctx *c = on[i].c;
            hashed_fill("q", TQ * D, 1, 0, q);
            hashed_fill("k", TK * D, 1, 0, k);
            hashed_fill("v", TK * D, 1, 0, v);
            if (which == 0) q[2 * D + 1] = NAN;
            if (which == 1) k[4 * D] = INFINITY;                                           /* causal: queries 4, 5, 6 */
            if (which == 2) v[3 * D + 5] = -INFINITY;
            if (which == 3) memset(k, 0, sizeof k);
            for (int n = 0; n < TQ * D && which == 4; n++) q[n] = 3e38f;
            for (int n = 0; n < TK * D && which == 4; n++) k[n] = 3e38f;
            if (which == 5) k[149 * D] = NAN;                                              /* causal: nobody           */
            im_scope_push(c);
            const int64_t queries[] = { 1, TQ, D }, keys[] = { 1, TK, D };
            im_tensor *y = im_attention_beside(c, im_from(c, IM_F32, 3, queries, q), im_from(c, IM_F32, 3, keys, k),
                                               im_from(c, IM_F32, 3, keys, v), 1, which % 4 == 1, IM_INT8);
            float *got = values_of(c, y);
            for (int n = 0; n < TQ * D; n++) {
                bool none = (which == 0 && n / D == 2) || (which == 1 && n / D >= 4) || (which == 2 && n % D == 5) ||
                            which == 4;
                ck_assert_msg(!!isnan(got[n]) == none, "%s: %d: value %d is %g", on[i].isa, which, n, (double)got[n]);
                if (which == 3)
                    ck_assert_msg(fabsf(got[n] - got[n % D]) == 0, "%s: value %d is %g", on[i].isa, n, (double)got[n]);
            }
            free(got);
            im_scope_pop(c);
        }
}
END_TEST

/* ---------------------------------------------------------------- edges */

START_TEST(not_finite_and_tiny_rows)
{
    enum { M = 6, N = 20, K = 37 };
    float *x = random_values("x", M * K, 1), *v = random_values("w", N * K, 1), bias[N];
    for (int i = 0; i < N; i++)
        bias[i] = (float)i;
    memset(x, 0, K * sizeof *x);
    x[K + 3] = NAN;
    x[2 * K + 36] = -INFINITY;
    for (int i = 0; i < K; i++)
        x[3 * K + i] *= 1e-33f;                                /* below 2^-100: as if it were zeros                    */
    x[4 * K + 5] = 1e36f;
    v[5 * K + 1] = INFINITY;                                   /* a row of weights                                     */
    memset(v + 6 * K, 0, K * sizeof *v);
    for (int i = 0; i < n_on; i++) {
        im_tensor *w = weight(on[i].c, 2, (int64_t[]){ N, K }, v, false);
        float *y = linear_of(on[i].c, (shape){ M, N, K }, x, 0, M, w, bias, IM_F32);
        for (int m = 0; m < M; m++)
            for (int n = 0; n < N; n++) {
                float got = y[m * N + n];
                if (m == 1 || m == 2 || n == 5)
                    ck_assert_msg(isnan(got), "%s: (%d, %d) is %g", on[i].isa, m, n, (double)got);
                else if (m == 0 || m == 3 || n == 6)
                    ck_assert_float_eq(got, bias[n]);
                else
                    ck_assert(isfinite(got));
            }
        free(y);
        im_param_free(on[i].c, w);
    }
    free(x);
    free(v);
}
END_TEST

/* The largest sums that there are: every integer 127 or -127. */
START_TEST(no_sum_overflows)
{
    enum { K = 60000 };
    float *x = malloc(2 * K * sizeof *x), *v = malloc(2 * K * sizeof *v), bias[2] = { 0 };
    for (int i = 0; i < K; i++) {
        x[i] = v[i] = 127;
        x[K + i] = i % 3 ? -127 : 127;
        v[K + i] = -x[K + i];
    }
    for (int i = 0; i < n_on; i++) {
        im_tensor *w = weight(on[i].c, 2, (int64_t[]){ 2, K }, v, false);
        float *y = linear_of(on[i].c, (shape){ 2, 2, K }, x, 0, 2, w, bias, IM_F32);
        ck_assert_float_eq(y[0], 127.0f * 127 * K);
        ck_assert_float_eq(y[1], 127.0f * 127 * (K / 3));
        ck_assert_float_eq(y[2], -127.0f * 127 * (K / 3));
        ck_assert_float_eq(y[3], -127.0f * 127 * K);
        free(y);
        im_param_free(on[i].c, w);
    }
    free(x);
    free(v);
}
END_TEST

/* Integers and scales as a file has them make the same weight as the values they were made of. */
START_TEST(integers_are_loaded_as_they_are)
{
    enum { N = 18, CIN = 5, TAPS = 9, K = CIN * TAPS };
    im_ctx *c = on[0].c;
    const int64_t dims[] = { N, 3, 3, CIN };
    float *v = random_values("w", N * K, 1), scales[N];
    int8_t q[N * K];
    for (int n = 0; n < N; n++) {                              /* v: (n, cin, tap), as in checkpoints                  */
        float amax = 0;
        for (int i = 0; i < K; i++)
            amax = im_int8_larger(amax, v[n * K + i]);
        im_int8_scale s = im_int8_scale_of(amax);
        scales[n] = s.scale;
        for (int i = 0; i < K; i++)
            q[n * K + i] = (int8_t)im_int8_round(v[n * K + i] * s.inverse);
    }
    im_tensor *a = im_param_new(c, "a", IM_F32, 4, dims), *b = im_param_new(c, "b", IM_F32, 4, dims);
    im_weight_layout layout = { .dtype = IM_INT8, .packed = true };
    ck_assert(im_param_alloc(c, a, layout) && im_param_load(c, a, v, IM_F32, true));
    ck_assert(im_param_alloc(c, b, layout) && im_param_load_int8(c, b, q, scales, NULL, true));
    size_t bytes = im_param_stored_bytes(c, a, layout);
    ck_assert_uint_eq(bytes, 2 * im_int8_panel(K) + im_int8_tail(CIN));
    char *x = im_param_stored(c, a), *y = im_param_stored(c, b);
    ck_assert(x && y && !memcmp(x, y, bytes));
    free(x);
    free(y);
    free(v);
    im_param_free(c, a);
    im_param_free(c, b);
}
END_TEST

static void want_refused(im_ctx *c, im_weight_layout layout, int64_t k, const char *words)
{
    im_tensor *t = im_param_new(c, "w", IM_F32, 2, (int64_t[]){ 4, k });
    ck_assert(!im_param_alloc(c, t, layout));
    ck_assert_msg(strstr(im_error(c), words), "%s", im_error(c));
    im_clear_error(c);
    im_param_free(c, t);
}

START_TEST(what_int8_is_not_for)
{
    im_ctx *c = on[0].c;
    want_refused(c, (im_weight_layout){ .dtype = IM_INT8 }, 8, "plain; wanted at most 65536, packed");
    want_refused(c, (im_weight_layout){ .dtype = IM_INT8, .packed = true }, 65537, "wanted at most 65536, packed");
    im_scope_push(c);
    im_tensor *x = im_new(c, IM_F32, 2, (int64_t[]){ 4, 8 });
    ck_assert(!im_cast(c, x, IM_INT8));
    ck_assert_msg(strstr(im_error(c), "f32, f16 or bf16 to cast to"), "%s", im_error(c));
    im_clear_error(c);
    im_tensor *y = im_new(c, IM_INT8, 2, (int64_t[]){ 4, 8 });
    ck_assert(!im_linear(c, x, y, NULL, NULL, IM_ACT_NONE));
    ck_assert_msg(strstr(im_error(c), "w (N, K) with the K of x"), "%s", im_error(c));
    im_clear_error(c);
    ck_assert(!im_linear(c, y, x, NULL, NULL, IM_ACT_NONE));
    ck_assert_msg(strstr(im_error(c), "x (..., K) in f32, f16 or bf16"), "%s", im_error(c));
    im_clear_error(c);
    im_scope_pop(c);
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(values_are_torchs), LOOP(linear_has_the_same_bits, 2), LOOP(convolutions_have_the_same_bits, 18),
        LOOP(attention_has_the_same_bits, 8), ONCE(attention_to_what_is_not_finite),
        ONCE(not_finite_and_tiny_rows), ONCE(no_sum_overflows), ONCE(integers_are_loaded_as_they_are),
        ONCE(what_int8_is_not_for),
    };
    return suite_run("int8", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
