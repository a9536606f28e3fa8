/* winograd_transforms.c: the three transforms of Winograd's F(4x4, 3x3) (Winograd 1980; Lavin & Gray 2015,
 * arXiv:1509.09308), each on 16 channels side by side.
 *
 *     Y = A^T [ sum over cin of (G g G^T) * (B^T d B) ] A        g 3x3 weights, d 6x6 inputs, Y 4x4 outputs
 *
 * One dimension multiplies polynomials: values at the points 0, a, -a, b, -b and infinity fix the product of degree 5.
 * (Toom & Cook; the matrices for any points are in Blahut, "Fast Algorithms for Signal Processing", chapter 5.)
 * With M(x) = x (x^2 - a^2)(x^2 - b^2):
 *     B^T  rows: coefficients of M(x) / (x - p);  at infinity those of M(x)
 *     G    rows: (1, p, p^2) / M'(p);             at infinity (0, 0, 1)
 *     A^T  row j: p^j of every point;             at infinity only in the last row
 *
 * Points decide the accuracy. The usual 1 and 2 (or 1 and 1/2) have a relative error of 3.6e-6 at 320 channels and 6.6e-6
 * at 1,280; 5/8 and 3/2 have 1.5e-6 and 3.1e-6, for the same number of operations (bench/LOG.md), beside 0.9e-6 and
 * 2.0e-6 of direct sums. All coefficients but those of G are exact in f32. */
#include "tensor/cpu/buffer.h"
#include "tensor/cpu/winograd.h"

/* Before a loop that must stay one: unrolled, 36 addresses would not fit the registers. */
#ifdef __clang__
#define ROLLED _Pragma("clang loop unroll(disable)")
#else
#define ROLLED _Pragma("GCC unroll 1")
#endif

static const float a1 = 0.625f, a2 = 0.390625f, a3 = 0.244140625f;       /* a, a^2, a^3                              */
static const float b1 = 1.5f, b2 = 2.25f, b3 = 3.375f;
static const float sum2 = 2.640625f, product2 = 0.87890625f;             /* a^2 + b^2, a^2 b^2                       */

/* B^T: 12 operations. d and r in steps of ds and rs. */
IM_INLINE void input_1d(const v16 *d, int ds, v16 *r, int rs)
{
    v16 d0 = d[0], d1 = d[ds], d2 = d[2 * ds], d3 = d[3 * ds], d4 = d[4 * ds], d5 = d[5 * ds];
    v16 even_a = v_fnma(v_set1(b2), d2, d4), odd_a = v_fnma(v_set1(b2), d1, d3);
    v16 even_b = v_fnma(v_set1(a2), d2, d4), odd_b = v_fnma(v_set1(a2), d1, d3);
    r[0] = v_fma(v_set1(product2), d0, v_fnma(v_set1(sum2), d2, d4));
    r[rs] = v_fma(v_set1(a1), odd_a, even_a);
    r[2 * rs] = v_fnma(v_set1(a1), odd_a, even_a);
    r[3 * rs] = v_fma(v_set1(b1), odd_b, even_b);
    r[4 * rs] = v_fnma(v_set1(b1), odd_b, even_b);
    r[5 * rs] = v_fma(v_set1(product2), d1, v_fnma(v_set1(sum2), d3, d5));
}

/* G. M'(0) = a^2 b^2, M'(+-a) = 2 a^2 (a^2 - b^2), M'(+-b) = 2 b^2 (b^2 - a^2). */
IM_INLINE void weights_1d(const v16 *g, int gs, v16 *r, int rs)
{
    static const double aa = 0.390625, bb = 2.25, na = 2 * 0.390625 * (0.390625 - 2.25), nb = 2 * 2.25 * (2.25 - 0.390625);
    v16 g0 = g[0], g1 = g[gs], g2 = g[2 * gs];
    v16 even_a = v_fma(v_set1((float)(aa / na)), g2, v_mul(v_set1((float)(1 / na)), g0));
    v16 even_b = v_fma(v_set1((float)(bb / nb)), g2, v_mul(v_set1((float)(1 / nb)), g0));
    v16 odd_a = v_mul(v_set1((float)(0.625 / na)), g1), odd_b = v_mul(v_set1((float)(1.5 / nb)), g1);
    r[0] = v_mul(v_set1((float)(1 / (aa * bb))), g0);
    r[rs] = v_add(even_a, odd_a);
    r[2 * rs] = v_sub(even_a, odd_a);
    r[3 * rs] = v_add(even_b, odd_b);
    r[4 * rs] = v_sub(even_b, odd_b);
    r[5 * rs] = g2;
}

/* A^T: 13 operations. */
IM_INLINE void output_1d(const v16 *m, int ms, v16 *r, int rs)
{
    v16 sa = v_add(m[ms], m[2 * ms]), da = v_sub(m[ms], m[2 * ms]);
    v16 sb = v_add(m[3 * ms], m[4 * ms]), db = v_sub(m[3 * ms], m[4 * ms]);
    r[0] = v_add(m[0], v_add(sa, sb));
    r[rs] = v_fma(v_set1(b1), db, v_mul(v_set1(a1), da));
    r[2 * rs] = v_fma(v_set1(b2), sb, v_mul(v_set1(a2), sa));
    r[3 * rs] = v_fma(v_set1(b3), db, v_fma(v_set1(a3), da, m[5 * ms]));
}

/* ---------------------------------------------------------------- weights */

typedef enum { PLAIN, COLUMNS, PACKED_F32, PACKED_F16, PACKED_BF16 } form;

/* Where column k is in row 0 of a plain weight. */
static int64_t plain_at(const im_weight *w, int k)
{
    int channels = w->k / 9;
    return w->lt ? k / channels * w->lt + k % channels * w->lk : k * (w->lk ? w->lk : 1);
}

/* Column k of 16 rows that are not packed, missing rows zero. */
static void gather(const im_weight *w, int panel, int k, float *x)
{
    v_store(x, v_zero());
    for (int i = 0; i < IM_PANEL && panel * IM_PANEL + i < w->n; i++) {
        int64_t at = (panel * IM_PANEL + i) * w->ld + plain_at(w, k);
        if (w->dtype == IM_F32)
            x[i] = ((const float *)w->data)[at];
        else
            x[i] = (w->dtype == IM_F16 ? im_f32_from_f16 : im_f32_from_bf16)(((const uint16_t *)w->data)[at]);
    }
}

enum { AHEAD = 16 };                                           /* columns to the one that is fetched into L2         */

IM_INLINE v16 column(const im_weight *w, const char *data, int panel, int k, form f)
{
    const float *whole = (const float *)data + (int64_t)k * IM_PANEL;
    const float *pair = (const float *)data + (int64_t)(k / 2) * IM_PANEL;
    const uint16_t *half = (const uint16_t *)data + (int64_t)k * IM_PANEL;
    float x[IM_PANEL];
    switch (f) {
    case PACKED_F32:
        v_prefetch_l2(whole + AHEAD * IM_PANEL);
        return v_load(whole);
    case PACKED_F16:
        v_prefetch_l2(half + AHEAD * IM_PANEL);
        return v_load_f16(half);
    case PACKED_BF16:
        v_prefetch_l2(pair + AHEAD / 2 * IM_PANEL);
        return k % 2 ? v_bf16_odd(v_load(pair)) : v_bf16_even(v_load(pair));
    case COLUMNS:                                              /* 16 rows side by side */
        return v_load_n((const float *)w->data + plain_at(w, k) + panel * IM_PANEL,
                        w->n - panel * IM_PANEL < IM_PANEL ? w->n - panel * IM_PANEL : IM_PANEL);
    default:
        gather(w, panel, k, x);
        return v_load(x);
    }
}

IM_INLINE void weights(const im_weight *w, int cin, int panel, int ci0, int ci1, float *u, size_t apart, form f)
{
    size_t before = w->packed ? (size_t)panel * im_packed_bytes(w->dtype, IM_PANEL, w->k, false) : 0;
    const char *data = (const char *)w->data + before;
    for (int ci = ci0; ci < ci1; ci++, u += IM_PANEL) {
        v16 t[18];
        ROLLED
        for (int j = 0; j < 3; j++) {                          /* down the columns, then along the rows */
            v16 g[3];
            for (int i = 0; i < 3; i++)
                g[i] = column(w, data, panel, (3 * i + j) * cin + ci, f);
            weights_1d(g, 1, t + 6 * j, 1);
        }
        ROLLED
        for (int i = 0; i < 6; i++) {
            v16 r[6];
            weights_1d(t + i, 6, r, 1);
            for (int j = 0; j < 6; j++)
                v_store(u + (size_t)(6 * i + j) * apart, r[j]);
        }
    }
}

void IM_FN(im_winograd_weights)(const im_weight *w, int cin, int panel, int ci0, int ci1, float *u, size_t apart)
{
    if (!w->packed && w->ld == 1 && w->dtype == IM_F32) {
        weights(w, cin, panel, ci0, ci1, u, apart, COLUMNS);
        return;
    }
    switch (w->packed ? w->dtype : IM_I32) {
    case IM_F32: weights(w, cin, panel, ci0, ci1, u, apart, PACKED_F32); break;
    case IM_F16: weights(w, cin, panel, ci0, ci1, u, apart, PACKED_F16); break;
    case IM_BF16: weights(w, cin, panel, ci0, ci1, u, apart, PACKED_BF16); break;
    default: weights(w, cin, panel, ci0, ci1, u, apart, PLAIN);
    }
}

/* ---------------------------------------------------------------- input and output */

IM_INLINE void input_16(im_dtype dtype, const im_wino_pixels *src, const im_wino_pixels *next, int c, int n, float *v,
                        size_t apart)
{
    v16 t[IM_WINO_POINTS];
    ROLLED
    for (int j = 0; j < 6; j++) {                              /* down the columns, then along the rows */
        v16 d[6];
        for (int i = 0; i < 6; i++)
            d[i] = load_as(dtype, src->at[j][i], c, n);
        for (int i = 0; j >= 2 && i < 6; i++)                  /* columns 0 and 1 are known from this tile */
            prefetch_l2_as(dtype, next->at[j][i], c);
        input_1d(d, 1, t + 6 * j, 1);
    }
    ROLLED
    for (int i = 0; i < 6; i++, v += 6 * apart) {
        v16 r[6];
        input_1d(t + i, 6, r, 1);
        for (int j = 0; j < 6; j++)
            v_store(v + (size_t)j * apart + c, r[j]);
    }
}

IM_INLINE void input_as(im_dtype dtype, const im_wino_pixels *src, const im_wino_pixels *next, int n, float *v,
                          size_t apart, size_t panel_apart)
{
    int c = 0;
    for (; c + IM_PANEL <= n; c += IM_PANEL, v += panel_apart)
        input_16(dtype, src, next, c, IM_PANEL, v - c, apart);
    if (c < n)
        input_16(dtype, src, next, c, n - c, v - c, apart);
}

void IM_FN(im_winograd_input)(im_dtype dtype, const im_wino_pixels *src, const im_wino_pixels *next, int n, float *v,
                              size_t apart)
{
    IM_FN(im_winograd_input_panels)(dtype, src, next, n, v, apart, IM_PANEL);
}

IM_INLINE v16 load(const float *p, int n)
{
    return n == IM_PANEL ? v_load(p) : v_load_n(p, n);
}

typedef struct { im_dtype chan, res, y; } kinds;               /* what they are held in                               */
#define UNIFORM(t) ((kinds){ t, t, t })

IM_INLINE void output_16(kinds k, const float *m, size_t apart, const im_wino_output *o, int n)
{
    v16 t[4 * IM_WINO_IN], bias = o->bias ? load(o->bias, n) : v_zero();
    v16 chan = o->chan.p ? load_as(k.chan, o->chan.p, 0, n) : v_zero();
    ROLLED
    for (int i = 0; i < 6; i++, m += 6 * apart) {              /* along the rows, then down the columns */
        v16 d[6];
        for (int j = 0; j < 6; j++)
            d[j] = v_load(m + (size_t)j * apart);
        output_1d(d, 1, t + i, 6);
    }
    ROLLED
    for (int j = 0; j < o->cols; j++) {
        v16 r[4];
        output_1d(t + 6 * j, 1, r, 1);
        for (int i = 0; i < o->rows; i++) {
            int64_t at = i * o->ldrow + j * o->ldy;
            v16 y = o->bias ? v_add(r[i], bias) : r[i];
            if (o->chan.p)
                y = v_add(y, chan);
            if (o->res.p)
                y = v_add(y, load_as(k.res, o->res.p, at, n));
            store_as(k.y, o->y.p, at, y, n);
        }
    }
}

IM_INLINE void output_as(kinds k, const float *m, size_t apart, const im_wino_output *o)
{
    if (o->n == IM_PANEL)
        output_16(k, m, apart, o, IM_PANEL);
    else
        output_16(k, m, apart, o, o->n);
}

void IM_FN(im_winograd_output)(const float *m, size_t apart, const im_wino_output *o)
{
    im_dtype y = o->y.t;
    switch (same3(o->chan.p ? o->chan.t : y, o->res.p ? o->res.t : y, y)) {
    case IM_F32:  output_as(UNIFORM(IM_F32), m, apart, o); break;
    case IM_F16:  output_as(UNIFORM(IM_F16), m, apart, o); break;
    case IM_BF16: output_as(UNIFORM(IM_BF16), m, apart, o); break;
    default:      output_16((kinds){ o->chan.t, o->res.t, y }, m, apart, o, o->n);
    }
}

/* ---------------------------------------------------------------- the gradient of the weights */

void IM_FN(im_winograd_input_panels)(im_dtype dtype, const im_wino_pixels *src, const im_wino_pixels *next, int n, float *v,
                                     size_t apart, size_t panel_apart)
{
    switch (dtype) {
    case IM_F16:  input_as(IM_F16, src, next, n, v, apart, panel_apart); break;
    case IM_BF16: input_as(IM_BF16, src, next, n, v, apart, panel_apart); break;
    default:      input_as(IM_F32, src, next, n, v, apart, panel_apart);
    }
}

/* A: 10 operations. */
IM_INLINE void dy_1d(const v16 *d, int ds, v16 *r, int rs)
{
    v16 d0 = d[0], d1 = d[ds], d2 = d[2 * ds], d3 = d[3 * ds];
    v16 even_a = v_fma(v_set1(a2), d2, d0), odd_a = v_fma(v_set1(a3), d3, v_mul(v_set1(a1), d1));
    v16 even_b = v_fma(v_set1(b2), d2, d0), odd_b = v_fma(v_set1(b3), d3, v_mul(v_set1(b1), d1));
    r[0] = d0;
    r[rs] = v_add(even_a, odd_a);
    r[2 * rs] = v_sub(even_a, odd_a);
    r[3 * rs] = v_add(even_b, odd_b);
    r[4 * rs] = v_sub(even_b, odd_b);
    r[5 * rs] = d3;
}

IM_INLINE void dy_16(im_dtype dtype, const im_wino_tile *src, const im_wino_tile *next, int c, int n, float *z,
                     size_t apart)
{
    v16 t[IM_WINO_OUT * IM_WINO_IN];
    ROLLED
    for (int j = 0; j < 4; j++) {                              /* down the columns, then along the rows */
        v16 d[4];
        for (int i = 0; i < 4; i++)
            d[i] = load_as(dtype, src->at[j][i], c, n);
        for (int i = 0; i < 4; i++)
            prefetch_l2_as(dtype, next->at[j][i], c);
        dy_1d(d, 1, t + 6 * j, 1);
    }
    ROLLED
    for (int i = 0; i < 6; i++, z += 6 * apart) {
        v16 r[6];
        dy_1d(t + i, 6, r, 1);
        for (int j = 0; j < 6; j++)
            v_store(z + (size_t)j * apart, r[j]);
    }
}

IM_INLINE void dy_as(im_dtype dtype, const im_wino_tile *src, const im_wino_tile *next, int n, float *z, size_t apart,
                       size_t panel_apart)
{
    int c = 0;
    for (; c + IM_PANEL <= n; c += IM_PANEL, z += panel_apart)
        dy_16(dtype, src, next, c, IM_PANEL, z, apart);
    if (c < n)
        dy_16(dtype, src, next, c, n - c, z, apart);
}

void IM_FN(im_winograd_dy)(im_dtype dtype, const im_wino_tile *src, const im_wino_tile *next, int n, float *z, size_t apart,
                           size_t panel_apart)
{
    switch (dtype) {
    case IM_F16:  dy_as(IM_F16, src, next, n, z, apart, panel_apart); break;
    case IM_BF16: dy_as(IM_BF16, src, next, n, z, apart, panel_apart); break;
    default:      dy_as(IM_F32, src, next, n, z, apart, panel_apart);
    }
}

/* G^T: 12 operations, coefficients as in weights_1d. */
IM_INLINE void dw_1d(const v16 *u, int us, v16 *r, int rs)
{
    static const double aa = 0.390625, bb = 2.25, na = 2 * 0.390625 * (0.390625 - 2.25), nb = 2 * 2.25 * (2.25 - 0.390625);
    v16 sa = v_add(u[us], u[2 * us]), da = v_sub(u[us], u[2 * us]);
    v16 sb = v_add(u[3 * us], u[4 * us]), db = v_sub(u[3 * us], u[4 * us]);
    v16 zero = v_mul(v_set1((float)(1 / (aa * bb))), u[0]);
    r[0] = v_fma(v_set1((float)(1 / nb)), sb, v_fma(v_set1((float)(1 / na)), sa, zero));
    r[rs] = v_fma(v_set1((float)(1.5 / nb)), db, v_mul(v_set1((float)(0.625 / na)), da));
    r[2 * rs] = v_fma(v_set1((float)(bb / nb)), sb, v_fma(v_set1((float)(aa / na)), sa, u[5 * us]));
}

void IM_FN(im_winograd_dw_output)(const float *u, size_t apart, int n, float *dw, int64_t ld, bool add)
{
    v16 t[3 * IM_WINO_IN];
    ROLLED
    for (int i = 0; i < 6; i++, u += 6 * apart) {              /* along the rows, then down the columns */
        v16 d[6];
        for (int j = 0; j < 6; j++)
            d[j] = v_load(u + (size_t)j * apart);
        dw_1d(d, 1, t + i, 6);
    }
    ROLLED
    for (int j = 0; j < 3; j++) {
        v16 r[3];
        dw_1d(t + 6 * j, 1, r, 1);
        for (int i = 0; i < 3; i++) {
            float *to = dw + (3 * i + j) * ld;
            v_store_n(to, add ? v_add(v_load_n(to, n), r[i]) : r[i], n);
        }
    }
}
