/* host_steps.c: the kernels of IM_KERNELS_STEPS (train_args.h) of every device in the host's memory: a few thousand
 * values, or a few numbers, a step, so that one plain loop is as good as any. They are exact where they are more than a
 * count, so ref has no other definition. Used by cpu/table.c and ref/table.c. */
#include "tensor/half.h"
#include "tensor/host.h"

#include <math.h>
#include <string.h>

static const double CLIP_EPS = 1e-6;                           /* torch's                                              */

/* Values in one go: sums stay in L1. */
enum { PIECE = 1024 };

static void combine_piece(const im_combine_args *p, int64_t from, int n)
{
    float sum[PIECE];
    for (int i = 0; i < n; i++)
        sum[i] = p->w[0] * p->x[0][from + i];
    for (int k = 1; k < p->count; k++) {
        const float *x = p->x[k] + from, w = p->w[k];
        for (int i = 0; i < n; i++)
            sum[i] += w * x[i];
    }
    if (p->by != 1)
        for (int i = 0; i < n; i++)
            sum[i] /= p->by;
    if (!isinf(p->limit))
        for (int i = 0; i < n; i++)
            sum[i] = sum[i] < -p->limit ? -p->limit : sum[i] > p->limit ? p->limit : sum[i];
    memcpy(p->y + from, sum, (size_t)n * sizeof *sum);
}

static int combine(im_device *dev, const im_combine_args *p)
{
    (void)dev;
    if (p->unless && *p->unless)
        return IM_DONE;
    for (int64_t from = 0; from < p->n; from += PIECE)
        combine_piece(p, from, p->n - from < PIECE ? (int)(p->n - from) : PIECE);
    return IM_DONE;
}

static int watch(im_device *dev, const im_watch_args *p)
{
    (void)dev;
    bool finite = true;
    for (int64_t i = 0; i < p->n; i++)
        finite &= isfinite(p->x[i]) != 0;
    if (!finite && !*p->mark)
        *p->mark = p->code;
    return IM_DONE;
}

static int draw_latent(im_device *dev, const im_draw_latent_args *p)
{
    (void)dev;
    for (int64_t i = 0; i < p->rows * p->n; i++) {
        const float *m = p->moments + i / p->n * 2 * p->n + i % p->n;
        float logvar = m[p->n];
        logvar = logvar < -30 ? -30 : logvar > 20 ? 20 : logvar;
        p->z[i] = (m[0] + expf(0.5f * logvar) * p->noise[i]) * p->scaling;
    }
    return IM_DONE;
}

static int count_right(im_device *dev, const im_count_right_args *p)
{
    (void)dev;
    *p->right = 0;
    for (int64_t row = 0; row < p->rows; row++) {
        int64_t at = row * p->classes, best = 0;
        for (int64_t k = 1; k < p->classes; k++)
            if (im_get_as(p->x.t, p->x.p, at + k) > im_get_as(p->x.t, p->x.p, at + best))
                best = k;
        *p->right += best == p->labels[row];
    }
    return IM_DONE;
}

static int gate(im_device *dev, const im_gate_args *p)
{
    (void)dev;
    for (int i = 0; i < p->count; i++)
        if (!isfinite(p->parts[i].loss) || p->parts[i].first_bad >= 0)
            p->gate->shut = 1;
    double norm = p->mean * sqrt(p->parts[p->count - 1].sumsq), share = p->clip / (norm + CLIP_EPS);
    p->gate->scale = p->mean;
    if (p->clip > 0 && share < 1)
        p->gate->scale *= share;
    return IM_DONE;
}

void im_host_kernels(im_kernels *k)
{
#define X(name) k->name = name;
    IM_KERNELS_STEPS(X)
#undef X
    im_host_tokens(k);
}
