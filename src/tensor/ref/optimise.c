/* ref/optimise.c: one step of an optimiser, for every parameter w with gradient g (times `scale`).
 *
 *   SGD    g' = g + decay w;  m = momentum m + g';  w -= lr (nesterov ? g' + momentum m : m), without momentum: lr g'
 *          (Sutskever et al. 2013 in the form of torch.optim.SGD, dampening 0)
 *   AdamW  w *= 1 - lr decay;  m += (1 - b1)(g - m);  v = b2 v + (1 - b2) g^2
 *          w -= lr / (1 - b1^t)  m / (sqrt(v) / sqrt(1 - b2^t) + eps)
 *          (Kingma & Ba 2015; decay decoupled: Loshchilov & Hutter 2019; the operations as in torch.optim.AdamW)
 *   LARS   g' = r (g + decay w),  r = trust |w| / (|g| + decay |w| + eps), 1 where |w| or |g| is 0; then as SGD
 *          (You, Gitman & Ginsburg 2017, arXiv 1708.03888, in the form of timm.optim.Lars); r = 1, and so SGD, for
 *          parameters that do not adapt (biases, norms)
 *   then   ema += (1 - d)(w - ema)                        (Polyak & Juditsky 1992, exponential)
 *
 * and the sum of squares of all gradients, for clipping by the global norm (Pascanu et al. 2013). Here everything is f64
 * but for what is stored. Called by ops/optimise.c. */
#include <math.h>

#include "tensor/ref/ref.h"

static double square_sum(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return sum;
}

static double trust_of(const im_optimise_args *p, const im_slot *s)
{
    if (p->kind != IM_LARS || !s->adapt || !s->g)
        return 1;
    double w = sqrt(square_sum(s->w, s->n)), g = fabs(p->scale) * sqrt(square_sum(s->g, s->n));
    return w > 0 && g > 0 ? p->trust * w / (g + s->decay * w + p->eps) : 1;
}

static void sgd(const im_optimise_args *p, const im_slot *s, int64_t i, double trust)
{
    double g = trust * (p->scale * s->g[i] + s->decay * s->w[i]), step = g;
    if (s->m && p->momentum != 0) {
        double m = p->momentum * s->m[i] + g;
        step = p->nesterov ? g + p->momentum * m : m;
        s->m[i] = (float)m;
    }
    s->w[i] = (float)(s->w[i] - p->lr * step);
}

static void adamw(const im_optimise_args *p, const im_slot *s, int64_t i)
{
    double g = p->scale * s->g[i], w = s->w[i] * (1 - p->lr * s->decay);
    double m = s->m[i] + (1 - p->beta1) * (g - s->m[i]), v = p->beta2 * s->v[i] + (1 - p->beta2) * g * g;
    double t = (double)p->step, down = sqrt(v) / sqrt(1 - pow(p->beta2, t)) + p->eps;
    s->m[i] = (float)m;
    s->v[i] = (float)v;
    s->w[i] = (float)(w - p->lr / (1 - pow(p->beta1, t)) * m / down);
}

static void slot(const void *arg, int64_t index, int thread)
{
    const im_optimise_args *p = arg;
    const im_slot *s = &p->slots[index];
    double trust = trust_of(p, s);
    (void)thread;
    for (int64_t i = 0; i < s->n; i++) {
        if (s->g && p->kind == IM_ADAMW)
            adamw(p, s, i);
        else if (s->g)
            sgd(p, s, i, trust);
        if (s->ema)
            s->ema[i] = (float)(s->ema[i] + (1 - p->ema_decay) * ((double)s->w[i] - s->ema[i]));
    }
}

int im_ref_optimise(im_device *dev, const im_optimise_args *p)
{
    im_optimise_args at = *p;
    if (p->gate && p->gate->shut)
        return IM_DONE;
    if (p->gate)
        at.scale = p->gate->scale;
    return im_ref_each(dev, at.count, slot, &at);
}

int im_ref_sumsq(im_device *dev, const im_sumsq_args *p)
{
    (void)dev;
    *p->sum = 0;
    *p->first_bad = -1;
    for (int i = 0; i < p->count; i++) {
        double sum = p->slots[i].g ? square_sum(p->slots[i].g, p->slots[i].n) : 0;
        if (!isfinite(sum) && *p->first_bad < 0)
            *p->first_bad = i;
        *p->sum += sum;
    }
    return IM_DONE;
}
