/* pack_int8.c: weights into panels of int8 (layout: weight.h, arithmetic: int8.h). Values in f32, f16 or bf16 are rounded
 * here, row by row; integers that a file holds, with their scales, only change places. Called by pack.c; im_round_int8,
 * which makes such integers, by convert.c. */
#include "tensor/device.h"
#include "tensor/half.h"
#include "tensor/int8.h"
#include "tensor/parallel.h"
#include "tensor/ctx.h"

#include <string.h>

typedef struct row { const im_pack_args *p; int64_t at; } row; /* its first element in src                            */

/* Inlined with constant types and, of a matrix, distances. */
static inline __attribute__((always_inline)) float largest(row w, im_dtype from, int64_t step)
{
    float amax = 0;
    for (int tap = 0; tap < w.p->taps; tap++)
        for (int c = 0; c < w.p->cin; c++)
            amax = im_int8_larger(amax, im_get_as(from, w.p->src, w.at + tap * w.p->tap_stride + c * step));
    return amax;
}

/* Writes the row's integers to its place in the panel; returns their sum. */
static inline __attribute__((always_inline)) int32_t place(row w, im_dtype from, int64_t step, float inverse, int8_t *dst)
{
    int32_t sum = 0;
    int k = 0;
    for (int tap = 0; tap < w.p->taps; tap++)
        for (int c = 0; c < w.p->cin; c++, k++) {
            int64_t i = w.at + tap * w.p->tap_stride + c * step;
            int q = from == IM_INT8 ? ((const int8_t *)w.p->src)[i]
                  : inverse != 0    ? im_int8_round(im_get_as(from, w.p->src, i) * inverse) : 0;
            dst[k / 4 * 4 * IM_PANEL + k % 4] = (int8_t)q;
            sum += q;
        }
    return sum;
}

static inline __attribute__((always_inline)) int32_t pack_as(row w, im_dtype from, int8_t *dst, float *scale)
{
    int64_t step = w.p->cin_stride;
    if (from == IM_INT8)
        return step == 1 ? place(w, from, 1, 0, dst) : place(w, from, step, 0, dst);
    im_int8_scale s = im_int8_scale_of(step == 1 ? largest(w, from, 1) : largest(w, from, step));
    *scale = s.scale;
    return step == 1 ? place(w, from, 1, s.inverse, dst) : place(w, from, step, s.inverse, dst);
}

void im_pack_int8(const im_pack_args *p, int64_t first_row, int rows, void *panel)
{
    int k = p->taps * p->cin;
    int8_t *dst = panel;
    memset(dst, 0, im_int8_panel(k));
    float *scales = (float *)(void *)(dst + im_int8_values(k));
    int32_t *sums = (int32_t *)(void *)(scales + IM_PANEL);
    for (int r = 0; r < rows; r++) {
        row w = { p, (first_row + r) * p->row_stride };
        int32_t sum;
        switch (p->src_dtype) {
        case IM_INT8:
            scales[r] = p->scales[first_row + r];
            sum = pack_as(w, IM_INT8, dst + 4 * r, &scales[r]);
            break;
        case IM_F16:  sum = pack_as(w, IM_F16, dst + 4 * r, &scales[r]); break;
        case IM_BF16: sum = pack_as(w, IM_BF16, dst + 4 * r, &scales[r]); break;
        default:      sum = pack_as(w, IM_F32, dst + 4 * r, &scales[r]);
        }
        sums[r] = 128 * sum;
    }
}

void im_pack_multipliers(const im_pack_args *p, void *tail)
{
    float *out = tail;
    memset(out, 0, im_int8_tail(p->channels));
    if (!p->multipliers)
        return;
    *out = 1.0f;
    memcpy(out + IM_PANEL, p->multipliers, (size_t)p->channels * sizeof *out);
}

typedef struct { const float *values; int64_t k; int8_t *q; float *scales; } rounding;

static void round_row(void *arg, int nth, int thread)
{
    const rounding *r = arg;
    const float *x = r->values + nth * r->k;
    float amax = 0;
    (void)thread;
    for (int64_t i = 0; i < r->k; i++)
        amax = im_int8_larger(amax, x[i]);
    im_int8_scale s = im_int8_scale_of(amax);
    if (r->scales)
        r->scales[nth] = s.scale;
    for (int64_t i = 0; r->q && i < r->k; i++)
        r->q[nth * r->k + i] = s.inverse != 0 ? (int8_t)im_int8_round(x[i] * s.inverse) : 0;
}

void im_round_int8(im_ctx *c, const float *values, int64_t rows, int64_t k, int8_t *q, float *scales)
{
    im_parallel_for(c->threads, (int)rows, round_row, &(rounding){ values, k, q, scales });
}
