/* sums.h: sums of f32 terms in f64, in 16 lanes and their tree (train_args.h): losses, norms, dot products. A product of
 * two f32 is exact in f64, so there is no fused multiply-add to tell machines apart. */
#ifndef IM_CPU_SUMS_H
#define IM_CPU_SUMS_H

#include "tensor/cpu/buffer.h"

typedef struct { double v[16]; } lanes;

IM_INLINE double lanes_sum(lanes s)
{
    for (int half = 8; half; half /= 2)
        for (int j = 0; j < half; j++)
            s.v[j] += s.v[j + half];
    return s.v[0];
}

/* sum of x[i] y[i] over n elements */
IM_INLINE double dot_f64(im_cbuf x, im_cbuf y, int64_t n)
{
    lanes s = { { 0 } };
    for (int64_t i = 0; i < n; i += 16) {                      /* missing lanes: 0 */
        int part = n - i < 16 ? (int)(n - i) : 16;
        float a[16], b[16];
        v_store(a, load_as(x.t, x.p, i, part));
        v_store(b, load_as(y.t, y.p, i, part));
        for (int j = 0; j < 16; j++)
            s.v[j] += (double)a[j] * b[j];
    }
    return lanes_sum(s);
}

/* Adds the first n of 16 terms, each to its lane. */
IM_INLINE void lanes_add(lanes *s, v16 term, int n)
{
    float t[16];
    v_store(t, term);
    if (n == 16)
        for (int j = 0; j < 16; j++) s->v[j] += (double)t[j];
    else
        for (int j = 0; j < n; j++) s->v[j] += (double)t[j];
}

#endif
