/* ref/map.c: elementwise functions, and the sinusoidal embedding of time.
 *
 *     silu       x s(x), s(x) = 1 / (1 + exp(-x))                     (Elfwing et al. 2018)
 *     gelu       x/2 (1 + erf(x / sqrt 2))                            (Hendrycks & Gimpel 2016)
 *     gelu_tanh  x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))        (the same paper, the approximation)
 *     quick_gelu x s(1.702 x)                                         (the same paper; CLIP uses it)
 *     relu       max(x, 0)
 *     tanh       (e^x - e^-x) / (e^x + e^-x)
 *
 * Called by ops/map.c; the other ref kernels use im_ref_activate. */
#include <math.h>

#include "tensor/ref/ref.h"

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

double im_ref_activate(im_act act, double x)
{
    switch (act) {
    case IM_ACT_SILU:       return x * sigmoid(x);
    case IM_ACT_GELU:       return 0.5 * x * (1 + erf(x * M_SQRT1_2));
    case IM_ACT_GELU_TANH:  return 0.5 * x * (1 + tanh(M_2_SQRTPI * M_SQRT1_2 * (x + 0.044715 * x * x * x)));
    case IM_ACT_QUICK_GELU: return x * sigmoid(1.702 * x);
    case IM_ACT_RELU:       return x < 0 ? 0 : x;              /* a NaN stays one                                     */
    case IM_ACT_TANH:       return tanh(x);
    default:                return x;
    }
}

static void element(const void *arg, int64_t i, int thread)
{
    const im_map_args *p = arg;
    double a = im_ref_at(p->a, i);
    (void)thread;
    switch (p->kind) {
    case IM_MAP_ACT:   im_ref_put(p->y, i, im_ref_activate(p->act, a), false);    break;
    case IM_MAP_ADD:   im_ref_put(p->y, i, a + im_ref_at(p->b, i % p->nb), false); break;
    case IM_MAP_SCALE: im_ref_put(p->y, i, a * p->s, false);                      break;
    }
}

int im_ref_map(im_device *dev, const im_map_args *p)
{
    return im_ref_each(dev, p->n, element, p);
}

static void accumulate_element(const void *arg, int64_t i, int thread)
{
    const im_accumulate_args *p = arg;
    (void)thread;
    im_ref_put(p->y, i, (double)p->s * im_ref_at(p->x, i), p->add);
}

int im_ref_accumulate(im_device *dev, const im_accumulate_args *p)
{
    return im_ref_each(dev, p->n, accumulate_element, p);
}

/* Row b: cosines and sines of t_b f_i, f_i = exp(-ln(10000) i / (dim/2 - shift)), i < dim/2 (Ho et al. 2020, after
 * Vaswani et al. 2017). Frequencies and angles are rounded to f32 on the way, as every implementation has them: at
 * t = 1000 that rounding is worth 3e-5 of the result, and the model was trained with it. */
static void time_row(const void *arg, int64_t b, int thread)
{
    const im_timestep_args *p = arg;
    int half = p->dim / 2;
    float *y = p->y + b * p->dim, *cosines = p->cos_first ? y : y + half, *sines = p->cos_first ? y + half : y;
    (void)thread;
    for (int i = 0; i < half; i++) {
        float exponent = -(float)log(10000.0) * (float)i / ((float)half - p->shift);
        float angle = p->t[b] * (float)exp(exponent);
        cosines[i] = (float)cos(angle);
        sines[i] = (float)sin(angle);
    }
    if (p->dim % 2)
        y[p->dim - 1] = 0;
}

int im_ref_timestep(im_device *dev, const im_timestep_args *p)
{
    return im_ref_each(dev, p->batch, time_row, p);
}
