/* gaussian.c: the VAE's diagonal Gaussian; formulas in ref/gaussian.c. Rows are [mean logvar] of n channels each. Latents
 * have 4 channels, so most of a vector is empty: a few thousand rows a step, beside networks of billions of operations. */
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/sums.h"
#include "tensor/cpu/vmath.h"
#include "tensor/parallel.h"

/* Whole rows of one task. */
static int64_t rows_per_task(int n)
{
    return n < IM_MAP_CHUNK ? IM_MAP_CHUNK / n : 1;
}

static int tasks_of(int64_t rows, int n)
{
    return (int)((rows + rows_per_task(n) - 1) / rows_per_task(n));
}

/* The rows of a task: calls row(arg, r) for each. */
IM_INLINE void each_row(int task, int64_t rows, int n, void (*row)(const void *, int64_t), const void *arg)
{
    int64_t per = rows_per_task(n), r = task * per, last = r + per < rows ? r + per : rows;
    for (; r < last; r++)
        row(arg, r);
}

IM_INLINE v16 clamped(v16 logvar) { return v_max(v_set1(-30.0f), v_min(v_set1(20.0f), logvar)); }  /* a NaN stays */

/* d where the clamp lets through, else 0 */
IM_INLINE v16 where_inside(v16 logvar, v16 d)
{
    return v_select(v_lt(logvar, v_set1(-30.0f)), v_zero(), v_select(v_gt(logvar, v_set1(20.0f)), v_zero(), d));
}

IM_INLINE v16 deviation(v16 logvar) { return v_exp(v_mul(v_set1(0.5f), clamped(logvar))); }

IM_INLINE v16 load(im_cbuf b, int64_t i, int n) { return load_as(b.t, b.p, i, n); }
IM_INLINE void put(im_buf b, int64_t i, bool add, v16 d, int n) { put_as(b.t, b.p, i, d, n, add); }

static void sample_row(const void *arg, int64_t r)
{
    const im_gaussian_args *at = arg;
    int64_t mean = 2 * r * at->n, logvar = mean + at->n;       /* where the row's means and log variances begin        */
    for (int i = 0; i < at->n; i += 16) {
        int n = at->n - i < 16 ? at->n - i : 16;
        v16 e = load(at->noise, r * at->n + i, n), m = load(at->moments, mean + i, n);
        put(at->z, r * at->n + i, false, v_fma(deviation(load(at->moments, logvar + i, n)), e, m), n);
    }
}

static void sample_task(void *arg, int task, int thread)
{
    const im_gaussian_args *at = arg;
    (void)thread;
    each_row(task, at->rows, at->n, sample_row, at);
}

int IM_FN(im_cpu_gaussian)(im_device *dev, const im_gaussian_args *at)
{
    im_parallel_for(im_threads_of(dev), tasks_of(at->rows, at->n), sample_task, (void *)at);
    return IM_DONE;
}

static void sample_bwd_row(const void *arg, int64_t r)
{
    const im_gaussian_bwd_args *at = arg;
    int64_t mean = 2 * r * at->n, logvar = mean + at->n;
    for (int i = 0; i < at->n; i += 16) {
        int n = at->n - i < 16 ? at->n - i : 16;
        v16 dz = load(at->dz, r * at->n + i, n), e = load(at->noise, r * at->n + i, n);
        v16 l = load(at->moments, logvar + i, n);
        put(at->dmoments, mean + i, at->add, dz, n);
        put(at->dmoments, logvar + i, at->add, where_inside(l, v_mul(v_mul(dz, e), v_mul(v_set1(0.5f), deviation(l)))), n);
    }
}

static void sample_bwd_task(void *arg, int task, int thread)
{
    const im_gaussian_bwd_args *at = arg;
    (void)thread;
    each_row(task, at->rows, at->n, sample_bwd_row, at);
}

int IM_FN(im_cpu_gaussian_bwd)(im_device *dev, const im_gaussian_bwd_args *at)
{
    im_parallel_for(im_threads_of(dev), tasks_of(at->rows, at->n), sample_bwd_task, (void *)at);
    return IM_DONE;
}

/* ---------------------------------------------------------------- divergence */

typedef struct { const im_kl_args *at; double *sum; } kl_job;  /* sum (tasks) */

/* Twice the terms: (mean^2 + (exp(l) - 1)) - l */
static void kl_task(void *arg, int task, int thread)
{
    const kl_job *w = arg;
    const im_kl_args *at = w->at;
    int64_t per = rows_per_task(at->n), r = task * per, last = r + per < at->rows ? r + per : at->rows;
    lanes s = { { 0 } };
    (void)thread;
    for (; r < last; r++)
        for (int i = 0; i < at->n; i += 16) {
            int n = at->n - i < 16 ? at->n - i : 16;
            v16 m = load(at->moments, 2 * r * at->n + i, n);
            v16 l = clamped(load(at->moments, 2 * r * at->n + at->n + i, n));
            lanes_add(&s, v_sub(v_fma(m, m, v_sub(v_exp(l), v_set1(1.0f))), l), n);
        }
    w->sum[task] = lanes_sum(s);
}

int IM_FN(im_cpu_kl)(im_device *dev, const im_kl_args *at)
{
    int tasks = tasks_of(at->rows, at->n);
    kl_job w = { at, im_scratch(dev, im_threads_of(dev), (size_t)tasks * sizeof(double)) };
    double sum = 0;
    if (!w.sum)
        return IM_NO_MEMORY;
    im_parallel_for(im_threads_of(dev), tasks, kl_task, &w);
    for (int i = 0; i < tasks; i++)
        sum += w.sum[i];
    at->kl[0] = (float)(0.5 * sum / at->batch);
    return IM_DONE;
}

static void kl_bwd_row(const void *arg, int64_t r)
{
    const im_kl_bwd_args *at = arg;
    int64_t mean = 2 * r * at->n, logvar = mean + at->n;
    v16 s = v_set1(at->dkl[0] / (float)at->batch), half = v_mul(v_set1(0.5f), s);
    for (int i = 0; i < at->n; i += 16) {
        int n = at->n - i < 16 ? at->n - i : 16;
        v16 l = load(at->moments, logvar + i, n);
        put(at->dmoments, mean + i, at->add, v_mul(s, load(at->moments, mean + i, n)), n);
        put(at->dmoments, logvar + i, at->add, where_inside(l, v_mul(half, v_sub(v_exp(clamped(l)), v_set1(1.0f)))), n);
    }
}

static void kl_bwd_task(void *arg, int task, int thread)
{
    const im_kl_bwd_args *at = arg;
    (void)thread;
    each_row(task, at->rows, at->n, kl_bwd_row, at);
}

int IM_FN(im_cpu_kl_bwd)(im_device *dev, const im_kl_bwd_args *at)
{
    im_parallel_for(im_threads_of(dev), tasks_of(at->rows, at->n), kl_bwd_task, (void *)at);
    return IM_DONE;
}
