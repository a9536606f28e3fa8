/* ref/gate.c: slopes of the activations, and the gated linear unit of GEGLU in both directions.
 *
 *     silu'(x)       = s + x s (1 - s),                 s = 1 / (1 + exp(-x))
 *     gelu'(x)       = Phi(x) + x phi(x),               phi(x) = exp(-x^2 / 2) / sqrt(2 pi)
 *     gelu_tanh'(x)  = (1 + t) / 2 + x (1 - t^2) / 2 u',  t = tanh u, u = sqrt(2/pi) (x + 0.044715 x^3)
 *     quick_gelu'(x) = s + 1.702 x s (1 - s),           s = 1 / (1 + exp(-1.702 x))
 *     relu'(x)       = 1 where x > 0, else 0
 *     tanh'(x)       = 1 - tanh(x)^2
 *     glu            y = v gelu(g), z = [v g];          dv = dy gelu(g), dg = dy v gelu'(g)    (Shazeer 2020)
 *
 * Plain derivatives of what ref/map.c computes. Called by ops/linear.c and ops/map.c. */
#include <math.h>

#include "tensor/ref/ref.h"

static double logistic_slope(double a, double x)               /* of x / (1 + exp(-a x))                              */
{
    double s = 1 / (1 + exp(-a * x));
    return s == 0 ? 0 : s + a * x * s * (1 - s);
}

static double slope(im_act act, double x)
{
    double u, t;
    switch (act) {
    case IM_ACT_SILU:       return logistic_slope(1, x);
    case IM_ACT_QUICK_GELU: return logistic_slope(1.702, x);
    case IM_ACT_GELU:       return 0.5 * (1 + erf(x * M_SQRT1_2)) + x * exp(-0.5 * x * x) * M_2_SQRTPI * M_SQRT1_2 / 2;
    case IM_ACT_GELU_TANH:
        u = M_2_SQRTPI * M_SQRT1_2 * (x + 0.044715 * x * x * x);
        t = tanh(u);
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * M_2_SQRTPI * M_SQRT1_2 * (1 + 3 * 0.044715 * x * x);
    case IM_ACT_RELU:       return x > 0;
    case IM_ACT_TANH:       return (1 - tanh(x)) * (1 + tanh(x));
    default:                return 1;
    }
}

static void element(const void *arg, int64_t i, int thread)
{
    const im_act_bwd_args *p = arg;
    (void)thread;
    im_ref_put(p->dx, i, im_ref_at(p->dy, i) * slope(p->act, im_ref_at(p->x, i)), p->add);
}

int im_ref_act_bwd(im_device *dev, const im_act_bwd_args *p)
{
    return im_ref_each(dev, p->n, element, p);
}

static void glu_row(const void *arg, int64_t row, int thread)
{
    const im_glu_args *p = arg;
    int64_t v = row * 2 * p->n, g = v + p->n;                  /* where the row's values and gates begin               */
    (void)thread;
    for (int i = 0; i < p->n; i++)
        im_ref_put(p->y, row * p->n + i, im_ref_at(p->z, v + i) * im_ref_activate(IM_ACT_GELU, im_ref_at(p->z, g + i)),
                   false);
}

int im_ref_glu(im_device *dev, const im_glu_args *p)
{
    return im_ref_each(dev, p->rows, glu_row, p);
}

static void glu_bwd_row(const void *arg, int64_t row, int thread)
{
    const im_glu_bwd_args *p = arg;
    int64_t at = row * 2 * p->n;
    (void)thread;
    for (int i = 0; i < p->n; i++) {
        double v = im_ref_at(p->z, at + i), g = im_ref_at(p->z, at + p->n + i), dy = im_ref_at(p->dy, row * p->n + i);
        im_ref_put(p->dz, at + i, dy * im_ref_activate(IM_ACT_GELU, g), p->add);
        im_ref_put(p->dz, at + p->n + i, dy * v * slope(IM_ACT_GELU, g), p->add);
    }
}

int im_ref_glu_bwd(im_device *dev, const im_glu_bwd_args *p)
{
    return im_ref_each(dev, p->rows, glu_bwd_row, p);
}
