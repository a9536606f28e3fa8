/* loss.c: losses, and their gradients.
 *   cross_entropy: y = mean over rows of (log sum exp(x) - x[label]);   dx = dy / R (softmax(x) - onehot(label))
 *   mse, l1: y = 1/B sum_b w_b mean f(x - t);   dx = dy w_b / (B n) f'(x - t), dt = -dx
 * The exponentials of a row are summed in 16 lanes and the tree, losses of rows in f64, ascending. mse and l1 sum chunks of
 * a sample in f64 (sums.h), ascending, then samples. */
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/sums.h"
#include "tensor/cpu/vmath.h"
#include "tensor/parallel.h"

#include <math.h>

enum { TASK = 16384 };                   /* elements a task, about */

/* Rows of one task, and tasks. */
static int64_t rows_per_task(int64_t width)
{
    return width < TASK ? TASK / width : 1;
}

static int tasks_of(int64_t rows, int64_t per)
{
    return (int)((rows + per - 1) / per);
}

static float lane0(v16 v)
{
    float t[16];
    v_store(t, v);
    return t[0];
}

/* Elements i .. i+15 of n; `missing` in lanes behind the last. */
IM_INLINE v16 load_or(float missing, im_cbuf x, int i, int n)
{
    float t[16];
    if (n - i >= 16)
        return load_as(x.t, x.p, i, 16);
    v_store(t, load_as(x.t, x.p, i, n - i));
    for (int j = n - i; j < 16; j++)
        t[j] = missing;
    return v_load(t);
}

/* ---------------------------------------------------------------- cross entropy */

typedef struct {
    const im_cross_entropy_args *at;
    double *row;                         /* (rows): losses */
    int64_t per;
} entropy_job;

static void entropy_row(const im_cross_entropy_args *at, int64_t r, double *loss)
{
    im_cbuf x = im_cbuf_at(at->x, r * at->classes);
    v16 top = v_set1(-INFINITY), sum = v_zero();
    for (int i = 0, n = at->classes; i < n; i += 16)
        top = v_max(top, load_or(-INFINITY, x, i, n));
    float m = v_hmax(top);
    v16 base = v_set1(m);
    for (int i = 0, n = at->classes; i < n; i += 16)           /* the exponential of a missing lane is 0 */
        sum = v_add(sum, v_exp(v_sub(load_or(-INFINITY, x, i, n), base)));
    float total = v_sum(sum), label = lane0(load_as(x.t, x.p, at->labels[r], 1));
    *loss = (double)(lane0(v_log(v_set1(total))) + (m - label));
    if (at->stats) {
        at->stats[2 * r] = m;
        at->stats[2 * r + 1] = total;
    }
}

static void entropy_task(void *arg, int task, int thread)
{
    const entropy_job *w = arg;
    int64_t r = task * w->per, last = r + w->per < w->at->rows ? r + w->per : w->at->rows;
    (void)thread;
    for (; r < last; r++)
        entropy_row(w->at, r, w->row + r);
}

int IM_FN(im_cpu_cross_entropy)(im_device *dev, const im_cross_entropy_args *at)
{
    entropy_job w = { at, im_scratch(dev, im_threads_of(dev), (size_t)at->rows * sizeof(double)),
                      rows_per_task(at->classes) };
    double sum = 0;
    if (!w.row)
        return IM_NO_MEMORY;
    im_parallel_for(im_threads_of(dev), tasks_of(at->rows, w.per), entropy_task, &w);
    for (int64_t r = 0; r < at->rows; r++)
        sum += w.row[r];
    at->loss[0] = (float)(sum / (double)at->rows);
    return IM_DONE;
}

/* dx_k = e_k (s / sum), less s at the label, e_k = exp(x_k - top), s = dloss / R */
static void entropy_bwd_row(const im_cross_entropy_bwd_args *at, int64_t r, float s)
{
    im_cbuf x = im_cbuf_at(at->x, r * at->classes);
    im_buf dx = im_buf_at(at->dx, r * at->classes);
    float by = s / at->stats[2 * r + 1];
    int label = at->labels[r];
    v16 base = v_set1(at->stats[2 * r]), factor = v_set1(by);
    float d = lane0(v_exp(v_sub(load_as(x.t, x.p, label, 1), base))) * by - s;
    d = at->add ? lane0(load_as(dx.t, dx.p, label, 1)) + d : d;
    for (int i = 0; i < at->classes; i += 16) {
        int n = at->classes - i < 16 ? at->classes - i : 16;
        put_as(dx.t, dx.p, i, v_mul(v_exp(v_sub(load_as(x.t, x.p, i, n), base)), factor), n, at->add);
    }
    store_as(dx.t, dx.p, label, v_set1(d), 1);
}

static void entropy_bwd_task(void *arg, int task, int thread)
{
    const im_cross_entropy_bwd_args *at = arg;
    int64_t per = rows_per_task(at->classes), r = task * per, last = r + per < at->rows ? r + per : at->rows;
    float s = (float)((double)at->dloss[0] / (double)at->rows);
    (void)thread;
    for (; r < last; r++)
        entropy_bwd_row(at, r, s);
}

int IM_FN(im_cpu_cross_entropy_bwd)(im_device *dev, const im_cross_entropy_bwd_args *at)
{
    im_parallel_for(im_threads_of(dev), tasks_of(at->rows, rows_per_task(at->classes)), entropy_bwd_task, (void *)at);
    return IM_DONE;
}

/* ---------------------------------------------------------------- mse, l1 */

typedef struct {
    const im_loss_args *at;
    int64_t chunks;                      /* of a sample */
    double *sum;                         /* (batch, chunks) */
} loss_job;

IM_INLINE double distance(im_loss_kind kind, im_cbuf x, im_cbuf t, int64_t n)
{
    lanes s = { { 0 } };
    for (int64_t i = 0; i < n; i += 16) {
        int part = n - i < 16 ? (int)(n - i) : 16;
        float d[16];
        v_store(d, v_sub(load_as(x.t, x.p, i, part), load_as(t.t, t.p, i, part)));       /* missing lanes: 0 */
        for (int j = 0; j < 16; j++)
            s.v[j] += kind == IM_LOSS_MSE ? (double)d[j] * d[j] : (double)fabsf(d[j]);
    }
    return lanes_sum(s);
}

static void loss_task(void *arg, int task, int thread)
{
    const loss_job *w = arg;
    const im_loss_args *at = w->at;
    int64_t from = task % w->chunks * IM_MAP_CHUNK, n = at->n - from < IM_MAP_CHUNK ? at->n - from : IM_MAP_CHUNK;
    int64_t i = task / w->chunks * at->n + from;
    im_cbuf x = im_cbuf_at(at->x, i), t = im_cbuf_at(at->t, i);
    w->sum[task] = at->kind == IM_LOSS_MSE ? distance(IM_LOSS_MSE, x, t, n) : distance(IM_LOSS_L1, x, t, n);
    (void)thread;
}

int IM_FN(im_cpu_loss)(im_device *dev, const im_loss_args *at)
{
    loss_job w = { .at = at, .chunks = (at->n + IM_MAP_CHUNK - 1) / IM_MAP_CHUNK };
    double loss = 0;
    w.sum = im_scratch(dev, im_threads_of(dev), (size_t)(at->batch * w.chunks) * sizeof(double));
    if (!w.sum)
        return IM_NO_MEMORY;
    im_parallel_for(im_threads_of(dev), (int)(at->batch * w.chunks), loss_task, &w);
    for (int b = 0; b < at->batch; b++) {
        double sum = 0;
        for (int64_t i = 0; i < w.chunks; i++)
            sum += w.sum[b * w.chunks + i];
        loss += (at->weight ? (double)at->weight[b] : 1.0) * (sum / (double)at->n);
    }
    at->loss[0] = (float)(loss / at->batch);
    return IM_DONE;
}

IM_INLINE void loss_gradient(im_loss_kind kind, const im_loss_bwd_args *at, int64_t i, int64_t last, v16 s)
{
    for (; i < last; i += 16) {
        int n = last - i < 16 ? (int)(last - i) : 16;
        v16 d = v_sub(load_as(at->x.t, at->x.p, i, n), load_as(at->t.t, at->t.p, i, n));
        if (kind == IM_LOSS_L1)          /* sign: a NaN and a zero stay */
            d = v_select(v_gt(d, v_zero()), v_set1(1.0f), v_select(v_lt(d, v_zero()), v_set1(-1.0f), d));
        v16 g = v_mul(s, d);
        if (at->dx.p)
            put_as(at->dx.t, at->dx.p, i, g, n, at->add_dx);
        if (at->dt.p)
            put_as(at->dt.t, at->dt.p, i, v_neg(g), n, at->add_dt);
    }
}

static void loss_bwd_task(void *arg, int task, int thread)
{
    const im_loss_bwd_args *at = arg;
    int64_t chunks = (at->n + IM_MAP_CHUNK - 1) / IM_MAP_CHUNK, b = task / chunks, from = task % chunks * IM_MAP_CHUNK;
    int64_t i = b * at->n + from, last = from + IM_MAP_CHUNK < at->n ? i + IM_MAP_CHUNK : (b + 1) * at->n;
    double s = (double)at->dloss[0] * (at->weight ? (double)at->weight[b] : 1.0) / ((double)at->batch * (double)at->n);
    (void)thread;
    if (at->kind == IM_LOSS_MSE)
        loss_gradient(IM_LOSS_MSE, at, i, last, v_set1((float)(2 * s)));
    else
        loss_gradient(IM_LOSS_L1, at, i, last, v_set1((float)s));
}

int IM_FN(im_cpu_loss_bwd)(im_device *dev, const im_loss_bwd_args *at)
{
    int64_t chunks = (at->n + IM_MAP_CHUNK - 1) / IM_MAP_CHUNK;
    im_parallel_for(im_threads_of(dev), (int)(at->batch * chunks), loss_bwd_task, (void *)at);
    return IM_DONE;
}
