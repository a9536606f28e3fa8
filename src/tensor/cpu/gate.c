/* gate.c: slopes of the activations, and the gated linear unit of GEGLU in both directions:
 *   dx = dy act'(x)         y = v gelu(g), z = [v g];  dv = dy gelu(g), dg = dy v gelu'(g)
 * With s the sigmoid, x s(a x) has the slope s + a x s (1 - s), and gelu has Phi(x) + x phi(x). Used by linear layers
 * that keep z for backward (ops/linear.c), and by im_activate (ops/map.c). */
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/vmath.h"
#include "tensor/parallel.h"

enum { CHUNK = 16384 };                  /* elements a task */

/* s + u s (1 - s): the slope of x sigmoid(u(x)) where u = x u'(x). */
IM_INLINE v16 logistic_slope(v16 s, v16 u)
{
    return v_fma(v_mul(u, s), v_sub(v_set1(1.0f), s), s);
}

IM_INLINE v16 gelu_slope(v16 x)
{
    v16 w = v_mul(v_set1(0.5f), v_erfc_positive(v_mul(v_abs(x), v_set1(0x1.6a09e6p-1f))));
    v16 phi = v_mul(v_set1(0.398942280401f), v_exp(v_mul(v_mul(x, x), v_set1(-0.5f))));
    return v_fma(x, phi, v_select(v_lt(x, v_zero()), w, v_sub(v_set1(1.0f), w)));
}

IM_INLINE v16 slope(im_act act, v16 x)
{
    const v16 one = v_set1(1.0f), z = v_mul(x, x);
    switch (act) {
    case IM_ACT_SILU: return logistic_slope(v_sigmoid(x), x);
    case IM_ACT_QUICK_GELU: return logistic_slope(v_sigmoid(v_mul(x, v_set1(1.702f))), v_mul(x, v_set1(1.702f)));
    case IM_ACT_GELU: return gelu_slope(x);
    case IM_ACT_GELU_TANH:                                     /* 2 u = x (c1 + c3 x^2), its slope c1 + 3 c3 x^2 */
        return logistic_slope(v_sigmoid(v_mul(x, v_fma(z, v_set1(0.0713548162726f), v_set1(1.59576912161f)))),
                              v_mul(x, v_fma(z, v_set1(3 * 0.0713548162726f), v_set1(1.59576912161f))));
    case IM_ACT_RELU: return v_select(v_gt(x, v_zero()), one, v_zero());
    case IM_ACT_NONE: break;
    }
    return one;
}

IM_INLINE v16 load(const float *p, int n)
{
    return n == 16 ? v_load(p) : v_load_n(p, n);
}

/* y = v, or y += v where add; the first n of 16. */
IM_INLINE void put(float *y, v16 v, int n, bool add)
{
    if (add)
        v = v_add(load(y, n), v);
    if (n == 16)
        v_store(y, v);
    else
        v_store_n(y, v, n);
}

/* ---------------------------------------------------------------- dx = dy act'(x) */

IM_INLINE void act_loop(im_act act, const im_act_bwd_args *p, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i += 16) {
        int n = to - i < 16 ? (int)(to - i) : 16;
        put(p->dx + i, v_mul(load(p->dy + i, n), slope(act, load(p->x + i, n))), n, p->add);
    }
}

static void act_task(void *arg, int task, int thread)
{
    const im_act_bwd_args *p = arg;
    int64_t i = (int64_t)task * CHUNK, to = i + CHUNK < p->n ? i + CHUNK : p->n;
    (void)thread;
    switch (p->act) {
    case IM_ACT_SILU: act_loop(IM_ACT_SILU, p, i, to); break;
    case IM_ACT_GELU: act_loop(IM_ACT_GELU, p, i, to); break;
    case IM_ACT_GELU_TANH: act_loop(IM_ACT_GELU_TANH, p, i, to); break;
    case IM_ACT_QUICK_GELU: act_loop(IM_ACT_QUICK_GELU, p, i, to); break;
    case IM_ACT_RELU: act_loop(IM_ACT_RELU, p, i, to); break;
    case IM_ACT_NONE: act_loop(IM_ACT_NONE, p, i, to); break;
    }
}

int IM_FN(im_cpu_act_bwd)(im_device *dev, const im_act_bwd_args *p)
{
    im_parallel_for(dev->threads, (int)((p->n + CHUNK - 1) / CHUNK), act_task, (void *)p);
    return IM_DONE;
}

/* ---------------------------------------------------------------- the gated linear unit */

/* Rows of one task: about CHUNK elements of y. */
static int64_t task_rows(int n)
{
    return n < CHUNK ? CHUNK / n : 1;
}

static void glu_task(void *arg, int task, int thread)
{
    const im_glu_args *p = arg;
    int64_t from = task * task_rows(p->n), to = from + task_rows(p->n) < p->rows ? from + task_rows(p->n) : p->rows;
    (void)thread;
    for (int64_t r = from; r < to; r++)
        for (int i = 0; i < p->n; i += 16) {
            const float *v = p->z + r * 2 * p->n + i, *g = v + p->n;
            int n = p->n - i < 16 ? p->n - i : 16;
            put(p->y + r * p->n + i, v_mul(load(v, n), v_gelu_erf(load(g, n))), n, false);
        }
}

int IM_FN(im_cpu_glu)(im_device *dev, const im_glu_args *p)
{
    im_parallel_for(dev->threads, (int)((p->rows + task_rows(p->n) - 1) / task_rows(p->n)), glu_task, (void *)p);
    return IM_DONE;
}

static void glu_bwd_task(void *arg, int task, int thread)
{
    const im_glu_bwd_args *p = arg;
    int64_t from = task * task_rows(p->n), to = from + task_rows(p->n) < p->rows ? from + task_rows(p->n) : p->rows;
    (void)thread;
    for (int64_t r = from; r < to; r++)
        for (int i = 0; i < p->n; i += 16) {
            const float *z = p->z + r * 2 * p->n + i;
            float *dz = p->dz + r * 2 * p->n + i;
            int n = p->n - i < 16 ? p->n - i : 16;
            v16 v = load(z, n), g = load(z + p->n, n), dy = load(p->dy + r * p->n + i, n);
            put(dz, v_mul(dy, v_gelu_erf(g)), n, p->add);
            put(dz + p->n, v_mul(v_mul(dy, v), gelu_slope(g)), n, p->add);
        }
}

int IM_FN(im_cpu_glu_bwd)(im_device *dev, const im_glu_bwd_args *p)
{
    im_parallel_for(dev->threads, (int)((p->rows + task_rows(p->n) - 1) / task_rows(p->n)), glu_bwd_task, (void *)p);
    return IM_DONE;
}
