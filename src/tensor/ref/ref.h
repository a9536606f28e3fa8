/* ref.h: what the files of the ref backend share.
 *
 * ref is the specification and the textbook: each kernel is the formula as plain loops, f32 data with f64 sums, no
 * tiling and no vectors. The cpu backend is compared with it at every shape of tests/cases_*.c. Read gemm.c first. */
#ifndef IM_REF_H
#define IM_REF_H

#include "tensor/half.h"
#include "tensor/host.h"
#include "tensor/int8.h"

#define X(name) int im_ref_##name(im_device *dev, const im_##name##_args *p);
IM_KERNELS_OWN(X)
#undef X

/* Calls fn(job, i, thread) for each i in [0, count), spread over the device's threads; IM_STOPPED once im_cancel was
 * called, else IM_DONE (table.c). */
typedef void (*im_ref_fn)(const void *job, int64_t i, int thread);
int im_ref_each(im_device *dev, int64_t count, im_ref_fn fn, const void *job);

int im_ref_gemm_int8(im_device *dev, const im_gemm_args *p);    /* int8.c: weights in int8                            */
int im_ref_conv_int8(im_device *dev, const im_conv_args *p);
int im_ref_attention_int8(im_device *dev, const im_attention_args *p);                   /* attention_int8.c          */
double im_ref_activate(im_act act, double x);                  /* map.c                                               */

/* A factor of a product: as it is, or rounded to bf16 where im_set_compute_dtype asked for that. */
static inline float im_ref_factor(const im_device *dev, float x)
{
    return dev->compute_dtype == IM_BF16 ? im_f32_from_bf16(im_bf16_from_f32(x)) : x;
}

/* The device for im_ref_factor where w is multiplied as im_set_compute_dtype says: plain and in f32; else NULL. */
static inline const im_device *im_ref_rounds(const im_device *dev, const im_weight *w)
{
    return dev->compute_dtype == IM_BF16 && w->dtype == IM_F32 && !w->packed ? dev : NULL;
}

/* Element i of an array in one of the three weight types. */
static inline float im_ref_load(const void *data, im_dtype dtype, int64_t i)
{
    return im_get_as(dtype, data, i);
}

static inline float im_ref_at(im_cbuf b, int64_t i)
{
    return im_ref_load(b.p, b.t, i);
}

/* Element i becomes x, or x more, rounded to f32 first and then to what it is held in. */
static inline void im_ref_put(im_buf b, int64_t i, double x, bool add)
{
    float v = (float)(add ? im_ref_load(b.p, b.t, i) + x : x);
    switch (b.t) {
    case IM_F16:  ((uint16_t *)b.p)[i] = im_f16_from_f32(v);  break;
    case IM_BF16: ((uint16_t *)b.p)[i] = im_bf16_from_f32(v); break;
    default:      ((float *)b.p)[i] = v;
    }
}

/* A gradient of a parameter: f32. */
static inline void im_ref_sum(float *to, double x, bool add)
{
    *to = (float)(add ? *to + x : x);
}

/* Panel and lane of row n of a packed weight: the rows of values and those of gates are packed one after the other. */
static inline int64_t im_ref_panel(const im_weight *w, int n, int *lane)
{
    int rows = w->geglu ? w->n / 2 : w->n, row = n % rows;
    *lane = row % IM_PANEL;
    return n / rows * ((rows + IM_PANEL - 1) / IM_PANEL) + row / IM_PANEL;
}

/* Row n of weights in int8: its integer k, its scale. */
static inline int im_ref_int8_at(const im_weight *w, int n, int k)
{
    int lane;
    int64_t panel = im_ref_panel(w, n, &lane);
    return ((const int8_t *)w->data)[panel * (int64_t)im_int8_panel(w->k) + (k / 4 * IM_PANEL + lane) * 4 + k % 4];
}

static inline float im_ref_int8_scale(const im_weight *w, int n)
{
    int lane;
    int64_t panel = im_ref_panel(w, n, &lane);
    const char *data = (const char *)w->data + panel * (int64_t)im_int8_panel(w->k) + im_int8_values(w->k);
    return ((const float *)(const void *)data)[lane];
}

/* Row n, column k of a weight, plain or in the packed layout that device.h draws. */
static inline float weight_at(const im_weight *w, int n, int k)
{
    if (!w->packed)
        return im_ref_load(w->data, w->dtype, n * w->ld + k * (w->lk ? w->lk : 1));
    if (w->dtype == IM_INT8)
        return (float)im_ref_int8_at(w, n, k) * im_ref_int8_scale(w, n);
    int lane;
    int64_t panel = im_ref_panel(w, n, &lane);
    if (w->dtype == IM_BF16)                                   /* [panel][k/2][16][2]                                 */
        return im_ref_load(w->data, w->dtype, ((panel * ((w->k + 1) / 2) + k / 2) * IM_PANEL + lane) * 2 + k % 2);
    return im_ref_load(w->data, w->dtype, (panel * w->k + k) * IM_PANEL + lane);    /* [panel][k][16]                 */
}

/* Row n as k floats. */
static inline void weight_row(const im_weight *w, int n, float *row)
{
    for (int k = 0; k < w->k; k++)
        row[k] = weight_at(w, n, k);
}

#endif
