/* gate.c: slopes of the activations, and the gated linear unit of GEGLU in both directions:
 *   dx = dy act'(x)         y = v gelu(g), z = [v g];  dv = dy gelu(g), dg = dy v gelu'(g)
 * With s the sigmoid, x s(a x) has the slope s + a x s (1 - s), and gelu has Phi(x) + x phi(x). Used by linear layers
 * that keep z for backward (ops/linear.c), and by im_activate (ops/map.c). */
#include "tensor/cpu/buffer.h"
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
    case IM_ACT_TANH: return v_mul(v_sub(one, v_tanh(x)), v_add(one, v_tanh(x)));
    case IM_ACT_NONE: break;
    }
    return one;
}

/* ---------------------------------------------------------------- dx = dy act'(x) */

typedef struct { const im_act_bwd_args *p; int64_t from, to; } span;

IM_INLINE void act_loop(im_act act, im_dtype tx, im_dtype tdy, im_dtype tdx, const span *s)
{
    const void *x = s->p->x.p, *dy = s->p->dy.p;
    void *dx = s->p->dx.p;
    bool add = s->p->add;
    for (int64_t i = s->from, to = s->to; i < to; i += 16) {
        int n = to - i < 16 ? (int)(to - i) : 16;
        put_as(tdx, dx, i, v_mul(load_as(tdy, dy, i, n), slope(act, load_as(tx, x, i, n))), n, add);
    }
}

IM_INLINE void by_dtype(im_act act, const span *s)
{
    const im_act_bwd_args *p = s->p;
    switch (same3(p->x.t, p->dy.t, p->dx.t)) {
    case IM_F32:  act_loop(act, IM_F32, IM_F32, IM_F32, s); break;
    case IM_F16:  act_loop(act, IM_F16, IM_F16, IM_F16, s); break;
    case IM_BF16: act_loop(act, IM_BF16, IM_BF16, IM_BF16, s); break;
    default:      act_loop(act, p->x.t, p->dy.t, p->dx.t, s);
    }
}

static void act_task(void *arg, int task, int thread)
{
    const im_act_bwd_args *p = arg;
    int64_t i = (int64_t)task * CHUNK, to = i + CHUNK < p->n ? i + CHUNK : p->n;
    span s = { p, i, to };
    (void)thread;
    switch (p->act) {
    case IM_ACT_SILU: by_dtype(IM_ACT_SILU, &s); break;
    case IM_ACT_GELU: by_dtype(IM_ACT_GELU, &s); break;
    case IM_ACT_GELU_TANH: by_dtype(IM_ACT_GELU_TANH, &s); break;
    case IM_ACT_QUICK_GELU: by_dtype(IM_ACT_QUICK_GELU, &s); break;
    case IM_ACT_RELU: by_dtype(IM_ACT_RELU, &s); break;
    case IM_ACT_TANH: by_dtype(IM_ACT_TANH, &s); break;
    case IM_ACT_NONE: by_dtype(IM_ACT_NONE, &s); break;
    }
}

int IM_FN(im_cpu_act_bwd)(im_device *dev, const im_act_bwd_args *p)
{
    im_parallel_for(im_threads_of(dev), (int)((p->n + CHUNK - 1) / CHUNK), act_task, (void *)p);
    return IM_DONE;
}

/* ---------------------------------------------------------------- the gated linear unit */

/* Rows of one task: about CHUNK elements of y. */
static int64_t task_rows(int n)
{
    return n < CHUNK ? CHUNK / n : 1;
}

IM_INLINE void glu_rows(im_dtype tz, im_dtype ty, const im_glu_args *p, int64_t from, int64_t to)
{
    const void *z = p->z.p;
    void *y = p->y.p;
    int64_t cols = p->n;
    for (int64_t r = from; r < to; r++)
        for (int64_t i = 0; i < cols; i += 16) {
            int n = cols - i < 16 ? (int)(cols - i) : 16;
            v16 v = load_as(tz, z, r * 2 * cols + i, n), g = load_as(tz, z, (r * 2 + 1) * cols + i, n);
            store_as(ty, y, r * cols + i, v_mul(v, v_gelu_erf(g)), n);
        }
}

static void glu_task(void *arg, int task, int thread)
{
    const im_glu_args *p = arg;
    int64_t from = task * task_rows(p->n), to = from + task_rows(p->n) < p->rows ? from + task_rows(p->n) : p->rows;
    (void)thread;
    switch (same2(p->z.t, p->y.t)) {
    case IM_F32:  glu_rows(IM_F32, IM_F32, p, from, to); break;
    case IM_F16:  glu_rows(IM_F16, IM_F16, p, from, to); break;
    case IM_BF16: glu_rows(IM_BF16, IM_BF16, p, from, to); break;
    default:      glu_rows(p->z.t, p->y.t, p, from, to);
    }
}

int IM_FN(im_cpu_glu)(im_device *dev, const im_glu_args *p)
{
    im_parallel_for(im_threads_of(dev), (int)((p->rows + task_rows(p->n) - 1) / task_rows(p->n)), glu_task, (void *)p);
    return IM_DONE;
}

IM_INLINE void glu_bwd_rows(im_dtype tz, im_dtype tdy, im_dtype tdz, const im_glu_bwd_args *p, int64_t from, int64_t to)
{
    const void *z = p->z.p, *dy = p->dy.p;
    void *dz = p->dz.p;
    int64_t cols = p->n;
    bool add = p->add;
    for (int64_t r = from; r < to; r++)
        for (int64_t i = 0; i < cols; i += 16) {
            int64_t at = r * 2 * cols + i;
            int n = cols - i < 16 ? (int)(cols - i) : 16;
            v16 v = load_as(tz, z, at, n), g = load_as(tz, z, at + cols, n), d = load_as(tdy, dy, r * cols + i, n);
            put_as(tdz, dz, at, v_mul(d, v_gelu_erf(g)), n, add);
            put_as(tdz, dz, at + cols, v_mul(v_mul(d, v), gelu_slope(g)), n, add);
        }
}

static void glu_bwd_task(void *arg, int task, int thread)
{
    const im_glu_bwd_args *p = arg;
    int64_t from = task * task_rows(p->n), to = from + task_rows(p->n) < p->rows ? from + task_rows(p->n) : p->rows;
    (void)thread;
    switch (same3(p->z.t, p->dy.t, p->dz.t)) {
    case IM_F32:  glu_bwd_rows(IM_F32, IM_F32, IM_F32, p, from, to); break;
    case IM_F16:  glu_bwd_rows(IM_F16, IM_F16, IM_F16, p, from, to); break;
    case IM_BF16: glu_bwd_rows(IM_BF16, IM_BF16, IM_BF16, p, from, to); break;
    default:      glu_bwd_rows(p->z.t, p->dy.t, p->dz.t, p, from, to);
    }
}

int IM_FN(im_cpu_glu_bwd)(im_device *dev, const im_glu_bwd_args *p)
{
    im_parallel_for(im_threads_of(dev), (int)((p->rows + task_rows(p->n) - 1) / task_rows(p->n)), glu_bwd_task, (void *)p);
    return IM_DONE;
}
