/* winograd.cuh: the one-dimensional transforms of Winograd's F(4x4, 3x3), operation by operation those of
 * cpu/winograd_transforms.c, where their matrices are derived. Used by winograd.cu and winograd_dw.cu. */
#ifndef IM_CUDA_WINOGRAD_H
#define IM_CUDA_WINOGRAD_H

#include "cuda/conv.cuh"

enum { WINO_OUT = 4, WINO_IN = 6, WINO_POINTS = 36 };
#define A1 0.625f                                              /* the points are 0, +-a, +-b, infinity: a = 5/8, b = 3/2 */
#define A2 0.390625f
#define A3 0.244140625f
#define B1 1.5f
#define B2 2.25f
#define B3 3.375f
/* M'(a), M'(b), in f64 and rounded once where they are used: the only coefficients that are not exact in f32. */
#define NA (2 * 0.390625 * (0.390625 - 2.25))
#define NB (2 * 2.25 * (2.25 - 0.390625))

/* B^T */
DEV void wino_input(const float *d, int ds, float *r, int rs)
{
    float d0 = d[0], d1 = d[ds], d2 = d[2 * ds], d3 = d[3 * ds], d4 = d[4 * ds], d5 = d[5 * ds];
    float even_a = fnma(B2, d2, d4), odd_a = fnma(B2, d1, d3), even_b = fnma(A2, d2, d4), odd_b = fnma(A2, d1, d3);
    r[0] = fmaf(0.87890625f, d0, fnma(2.640625f, d2, d4));
    r[rs] = fmaf(A1, odd_a, even_a);
    r[2 * rs] = fnma(A1, odd_a, even_a);
    r[3 * rs] = fmaf(B1, odd_b, even_b);
    r[4 * rs] = fnma(B1, odd_b, even_b);
    r[5 * rs] = fmaf(0.87890625f, d1, fnma(2.640625f, d3, d5));
}

/* G */
DEV void wino_weights(const float *g, int gs, float *r, int rs)
{
    float g0 = g[0], g1 = g[gs], g2 = g[2 * gs];
    float even_a = fmaf((float)(0.390625 / NA), g2, (float)(1 / NA) * g0);
    float even_b = fmaf((float)(2.25 / NB), g2, (float)(1 / NB) * g0);
    float odd_a = (float)(0.625 / NA) * g1, odd_b = (float)(1.5 / NB) * g1;
    r[0] = (float)(1 / (0.390625 * 2.25)) * g0;
    r[rs] = even_a + odd_a;
    r[2 * rs] = even_a - odd_a;
    r[3 * rs] = even_b + odd_b;
    r[4 * rs] = even_b - odd_b;
    r[5 * rs] = g2;
}

/* A^T */
DEV void wino_output(const float *m, int ms, float *r, int rs)
{
    float sa = m[ms] + m[2 * ms], da = m[ms] - m[2 * ms], sb = m[3 * ms] + m[4 * ms], db = m[3 * ms] - m[4 * ms];
    r[0] = m[0] + (sa + sb);
    r[rs] = fmaf(B1, db, A1 * da);
    r[2 * rs] = fmaf(B2, sb, A2 * sa);
    r[3 * rs] = fmaf(B3, db, fmaf(A3, da, m[5 * ms]));
}

/* A */
DEV void wino_dy(const float *d, int ds, float *r, int rs)
{
    float d0 = d[0], d1 = d[ds], d2 = d[2 * ds], d3 = d[3 * ds];
    float even_a = fmaf(A2, d2, d0), odd_a = fmaf(A3, d3, A1 * d1);
    float even_b = fmaf(B2, d2, d0), odd_b = fmaf(B3, d3, B1 * d1);
    r[0] = d0;
    r[rs] = even_a + odd_a;
    r[2 * rs] = even_a - odd_a;
    r[3 * rs] = even_b + odd_b;
    r[4 * rs] = even_b - odd_b;
    r[5 * rs] = d3;
}

/* G^T */
DEV void wino_dw(const float *u, int us, float *r, int rs)
{
    float sa = u[us] + u[2 * us], da = u[us] - u[2 * us], sb = u[3 * us] + u[4 * us], db = u[3 * us] - u[4 * us];
    float zero = (float)(1 / (0.390625 * 2.25)) * u[0];
    r[0] = fmaf((float)(1 / NB), sb, fmaf((float)(1 / NA), sa, zero));
    r[rs] = fmaf((float)(1.5 / NB), db, (float)(0.625 / NA) * da);
    r[2 * rs] = fmaf((float)(2.25 / NB), sb, fmaf((float)(0.390625 / NA), sa, u[5 * us]));
}

/* V of one tile and channel of the convolution c, at all 36 points: v [36][all], all = tiles of this part * cin, of which
 * this is i; tile0: the first tile of the part; across, down: tiles of a picture. */
template <class C>
DEV void wino_input_tile(const C &c, int across, int down, int64_t tile0, int64_t all, int64_t i, float *v)
{
    int channel = (int)(i % c.cin);
    int64_t tile = tile0 + i / c.cin, b = tile / across / down;
    int oy = (int)(tile / across % down) * WINO_OUT - c.pad_top;
    int ox = (int)(tile % across) * WINO_OUT - c.pad_left;
    float t[WINO_POINTS], d[WINO_IN];
    for (int col = 0; col < WINO_IN; col++) {                  /* down the columns, then along the rows                */
        int sx = source_of(ox + col, c.w, c.up_w);
        for (int row = 0; row < WINO_IN; row++) {
            int sy = source_of(oy + row, c.h, c.up_h);
            bool in = sx >= 0 && sy >= 0;
            d[row] = in ? load(c.x, ((b * c.h + sy) * c.w + sx) * c.cin + channel) : 0.0f;
        }
        wino_input(d, 1, t + WINO_IN * col, 1);
    }
    for (int row = 0; row < WINO_IN; row++) {
        wino_input(t + row, WINO_IN, d, 1);
        for (int col = 0; col < WINO_IN; col++)
            v[(WINO_IN * row + col) * all + i] = d[col];
    }
}

#endif
