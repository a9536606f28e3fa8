/* batchnorm.cu: batch norm with residual and ReLU, and its gradients (ref/batchnorm.c has the formulas, cpu/batchnorm.c the
 * order of the sums). A thread a channel of a run of IM_SUM_RUN chunks of rows; a thread a channel for all runs; then a
 * thread an element. Called by ops/batchnorm.c. */
#include "cuda/kernel.cuh"

enum { RUN_ROWS = IM_SUM_CHUNK * IM_SUM_RUN };

/* The factors of y, from the rounded statistics: the same bits in forward and backward. */
DEV void factors(float mean, float rstd, float gamma, float beta, float *scale, float *shift)
{
    double s = (double)rstd * (double)gamma;
    *scale = (float)s;
    *shift = (float)((double)beta - (double)mean * s);
}

/* ---------------------------------------------------------------- forward */

struct batch_call { im_batchnorm_args p; int runs; double *mean, *m2; float *scale, *shift; };   /* [runs][ch], [ch]    */

KERNEL(THREADS) batch_runs(GRID batch_call w)
{
    int64_t i = thread_of_grid(), channels = w.p.channels, run = i / channels, first = run * RUN_ROWS;
    if (run >= w.runs)
        return;
    int64_t last = min_of(first + RUN_ROWS, w.p.rows);
    double mean = 0.0, m2 = 0.0;
    for (int64_t r = first; r < last; r += IM_SUM_CHUNK) {
        int64_t n = min_of(last - r, (int64_t)IM_SUM_CHUNK), at = r * channels + i % channels;
        float sum = 0.0f, squares = 0.0f;
        for (int64_t k = 0; k < n; k++)
            sum = sum + load(w.p.x, at + k * channels);
        sum = sum / (float)n;
        for (int64_t k = 0; k < n; k++) {
            float d = load(w.p.x, at + k * channels) - sum;
            squares = fmaf(d, d, squares);
        }
        double na = (double)(r - first), share = (double)n / (na + (double)n), delta = (double)sum - mean;
        mean = mean + delta * share;
        m2 = m2 + ((double)squares + delta * delta * (na * share));
    }
    w.mean[i] = mean;
    w.m2[i] = m2;
}

DEV void move(float *running, double now, double momentum)
{
    *running = (float)((1.0 - momentum) * (double)*running + momentum * now);
}

/* Mean and variance of channel c. */
DEV double join_runs(const batch_call &w, int64_t c, double *var)
{
    double mean = w.mean[c], m2 = w.m2[c];
    for (int run = 1; run < w.runs; run++) {
        double na = (double)run * RUN_ROWS, nb = (double)min_of(w.p.rows - (int64_t)run * RUN_ROWS, (int64_t)RUN_ROWS);
        double share = nb / (na + nb), delta = w.mean[(int64_t)run * w.p.channels + c] - mean;
        mean = mean + delta * share;
        m2 = m2 + (w.m2[(int64_t)run * w.p.channels + c] + delta * delta * (na * share));
    }
    double unbiased = m2 / ((double)w.p.rows - 1.0);
    if (w.p.seen) {
        w.p.seen[c] = mean;
        w.p.seen[w.p.channels + c] = unbiased;
    } else if (w.p.running_mean) {
        move(w.p.running_mean + c, mean, (double)w.p.momentum);
        move(w.p.running_var + c, unbiased, (double)w.p.momentum);
    }
    *var = m2 / (double)w.p.rows;
    return mean;
}

KERNEL(THREADS) batch_channels(GRID batch_call w)
{
    int64_t c = thread_of_grid();
    if (c >= w.p.channels)
        return;
    double var, m;
    if (w.p.training) {
        m = join_runs(w, c, &var);
    } else {
        m = (double)w.p.running_mean[c];
        var = (double)w.p.running_var[c];
    }
    float mean = (float)m, rstd = (float)(1.0 / sqrt(var + (double)w.p.eps));
    factors(mean, rstd, w.p.gamma[c], w.p.beta[c], w.scale + c, w.shift + c);
    if (w.p.mean) {
        w.p.mean[c] = mean;
        w.p.rstd[c] = rstd;
    }
}

KERNEL(THREADS) batch_apply(GRID batch_call w)
{
    int64_t i = thread_of_grid(), c = i % w.p.channels;
    if (i >= w.p.rows * w.p.channels)
        return;
    float v = fmaf(load(w.p.x, i), w.scale[c], w.shift[c]);
    if (w.p.res.p)
        v = v + load(w.p.res, i);
    store(w.p.y, i, w.p.relu ? max_of(0.0f, v) : v);
}

int im_cuda_batchnorm(im_device *dev, const im_batchnorm_args *p)
{
    int64_t runs = (p->rows + RUN_ROWS - 1) / RUN_ROWS, sums = p->training ? runs * p->channels : 0;
    batch_call w = { *p, (int)runs, NULL, NULL, NULL, NULL };
    w.mean = (double *)im_cuda_workspace(dev, (size_t)(2 * sums) * sizeof(double) +
                                              2 * (size_t)p->channels * sizeof(float));
    if (!w.mean)
        return IM_NO_MEMORY;
    w.m2 = w.mean + sums;
    w.scale = (float *)(w.m2 + sums);
    w.shift = w.scale + p->channels;
    int failed = p->training ? RUN(dev, im_cuda_blocks(sums, THREADS), THREADS, batch_runs, w) : 0;
    failed = failed || RUN(dev, im_cuda_blocks(p->channels, THREADS), THREADS, batch_channels, w);
    failed = failed || RUN(dev, im_cuda_blocks(p->rows * p->channels, THREADS), THREADS, batch_apply, w);
    return im_cuda_done(dev, failed);
}

/* ---------------------------------------------------------------- backward */

struct batch_bwd {
    im_batchnorm_bwd_args p;
    int runs;
    double *dbeta, *with_x;                                    /* [runs][channels]: sums of dy' and dy' (x - mean)     */
    float *scale, *shift, *a, *b, *c;                          /* [channels]                                           */
};

/* dy where the ReLU let through, else 0; a NaN lets through. */
DEV float masked(const batch_bwd &w, int64_t i, int64_t c, float x)
{
    float dy = load(w.p.dy, i);
    if (!w.p.relu)
        return dy;
    float y = w.p.y.p ? load(w.p.y, i) : fmaf(x, w.scale[c], w.shift[c]);
    return y <= 0.0f ? 0.0f : dy;
}

KERNEL(THREADS) batch_bwd_factors(GRID batch_bwd w)
{
    int64_t c = thread_of_grid();
    if (c < w.p.channels)
        factors(w.p.mean[c], w.p.rstd[c], w.p.gamma[c], w.p.beta[c], w.scale + c, w.shift + c);
}

KERNEL(THREADS) batch_bwd_runs(GRID batch_bwd w)
{
    int64_t i = thread_of_grid(), channels = w.p.channels, run = i / channels, c = i % channels;
    if (run >= w.runs)
        return;
    int64_t last = min_of((run + 1) * RUN_ROWS, w.p.rows);
    double dbeta = 0.0, with_x = 0.0;
    for (int64_t r0 = run * RUN_ROWS; r0 < last; r0 += IM_SUM_CHUNK) {
        float s = 0.0f, u = 0.0f;
        for (int64_t r = r0; r < min_of(r0 + IM_SUM_CHUNK, last); r++) {
            float x = load(w.p.x, r * channels + c), dy = masked(w, r * channels + c, c, x);
            s = s + dy;
            u = fmaf(dy, x - w.p.mean[c], u);
        }
        dbeta = dbeta + (double)s;
        with_x = with_x + (double)u;
    }
    w.dbeta[i] = dbeta;
    w.with_x[i] = with_x;
}

KERNEL(THREADS) batch_bwd_channels(GRID batch_bwd w)
{
    int64_t c = thread_of_grid();
    if (c >= w.p.channels)
        return;
    double dbeta = 0.0, with_x = 0.0, n = (double)w.p.rows, rstd = (double)w.p.rstd[c];
    for (int64_t run = 0; run < w.runs; run++) {
        dbeta = dbeta + w.dbeta[run * w.p.channels + c];
        with_x = with_x + w.with_x[run * w.p.channels + c];
    }
    double dgamma = with_x * rstd, a = (double)w.p.gamma[c] * rstd;
    if (w.p.dgamma)
        put_sum(w.p.dgamma + c, dgamma, w.p.add_dgamma);
    if (w.p.dbeta)
        put_sum(w.p.dbeta + c, dbeta, w.p.add_dbeta);
    w.a[c] = (float)a;
    w.b[c] = (float)(-a * rstd * dgamma / n);
    w.c[c] = (float)(-a * dbeta / n);
}

/* dx is stored before dres is read: x and res may be one tensor. */
KERNEL(THREADS) batch_bwd_dx(GRID batch_bwd w)
{
    int64_t i = thread_of_grid(), c = i % w.p.channels;
    if (i >= w.p.rows * w.p.channels)
        return;
    float x = load(w.p.x, i), g = masked(w, i, c, x);
    float v = w.p.training ? fmaf(w.b[c], x - w.p.mean[c], fmaf(w.a[c], g, w.c[c])) : w.a[c] * g;
    if (w.p.dx.p)
        put(w.p.dx, i, v, w.p.add_dx);
    if (w.p.dres.p)
        put(w.p.dres, i, g, w.p.add_dres);
}

int im_cuda_batchnorm_bwd(im_device *dev, const im_batchnorm_bwd_args *p)
{
    int64_t runs = (p->rows + RUN_ROWS - 1) / RUN_ROWS, sums = runs * p->channels, ch = p->channels;
    batch_bwd w = { *p, (int)runs, NULL, NULL, NULL, NULL, NULL, NULL, NULL };
    w.dbeta = (double *)im_cuda_workspace(dev, (size_t)(2 * sums) * sizeof(double) + 5 * (size_t)ch * sizeof(float));
    if (!w.dbeta)
        return IM_NO_MEMORY;
    w.with_x = w.dbeta + sums;
    w.scale = (float *)(w.with_x + sums);
    w.shift = w.scale + ch;
    w.a = w.shift + ch;
    w.b = w.a + ch;
    w.c = w.b + ch;
    int failed = RUN(dev, im_cuda_blocks(ch, THREADS), THREADS, batch_bwd_factors, w);
    failed = failed || RUN(dev, im_cuda_blocks(sums, THREADS), THREADS, batch_bwd_runs, w);
    failed = failed || RUN(dev, im_cuda_blocks(ch, THREADS), THREADS, batch_bwd_channels, w);
    if (p->dx.p || p->dres.p)
        failed = failed || RUN(dev, im_cuda_blocks(p->rows * ch, THREADS), THREADS, batch_bwd_dx, w);
    return im_cuda_done(dev, failed);
}
