/* batchnorm.c: batch norm with residual and ReLU, and its gradients (Ioffe & Szegedy 2015; ref/batchnorm.c has the
 * formulas).
 *
 *             channels, BLOCK a task
 *          +-------+-------+-- -
 *   rows   | chunk |       |      chunk: down the columns in f32      run: its chunks, in f64       all runs, ascending
 *    |     | chunk |       |      (the row after next is on its way)
 *    v     +-run---+-run---+-- -
 *
 * All of it is bound by memory: forward reads x, then x and res, and writes y; backward reads x and dy (and y, where a
 * residual hides the ReLU's sign) for the sums, and again for dx. Rows go in runs of IM_SUM_RUN chunks of IM_SUM_CHUNK: a
 * task takes one run of BLOCK channels, sums a chunk down its columns in f32 and adds it to the run in f64; the runs are
 * joined afterwards, ascending. So bits depend on neither threads nor tasks.
 *   y  = act(fma(x, scale, shift) [+ res]),  scale = rstd gamma, shift = beta - mean rstd gamma, rounded once from f64
 *   dx = fma(b, x - mean, fma(a, dy', c)),   a = gamma rstd, b = -a rstd dgamma / n, c = -a dbeta / n
 * The second pass runs from the end, which the first one left in the caches. Large results are written past the caches,
 * and memory is asked for ahead where few streams run at once: the processor's own prefetcher loses short rows. */
#include "tensor/cpu/columns.h"
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/vmath.h"
#include "tensor/parallel.h"

#include <math.h>

enum {
    AHEAD = 4096,                        /* bytes: how far ahead of a row memory is asked for (bench/LOG.md) */
    RUN = IM_SUM_CHUNK * IM_SUM_RUN,     /* rows a task of the first pass */
    BLOCK = 128,                         /* channels a task of the first pass */
    LANES = 64,                          /* channels a task when runs are joined */
    ROWS = 64,                           /* rows a task of the second pass */
    PAIR = IM_NV > 1 ? 4 : 2             /* vectors of channels side by side in the sums of backward */
};

static int runs_of(int64_t rows) { return (int)((rows + RUN - 1) / RUN); }
static int blocks_of(int channels) { return (channels + BLOCK - 1) / BLOCK; }

/* The factors of y, from the rounded statistics: the same bits in forward and backward. */
static void factors(float mean, float rstd, float gamma, float beta, float *scale, float *shift)
{
    double s = (double)rstd * (double)gamma;
    *scale = (float)s;
    *shift = (float)((double)beta - (double)mean * s);
}

/* ---------------------------------------------------------------- forward */

typedef struct {
    const im_batchnorm_args *at;
    int runs, cp;                        /* cp: channels rounded up to 16 */
    double *mean, *m2;                   /* [runs][cp] */
    float *scale, *shift;                /* [cp] */
    bool stream;
} job;

IM_INLINE int ahead_of(im_dtype t) { return AHEAD / (t == IM_F32 ? 4 : 2); }

/* Task: one run of BLOCK channels. */
static void run_statistics(void *arg, int task, int thread)
{
    const job *w = arg;
    const im_batchnorm_args *at = w->at;
    int blocks = blocks_of(at->channels), c0 = task % blocks * BLOCK;
    int n = at->channels - c0 < BLOCK ? at->channels - c0 : BLOCK;
    int64_t run = task / blocks, first = run * RUN, last = first + RUN < at->rows ? first + RUN : at->rows;
    double *mean = w->mean + run * w->cp + c0, *m2 = w->m2 + run * w->cp + c0;
    float chunk_mean[BLOCK], chunk_m2[BLOCK];
    (void)thread;
    for (int c = 0; c < n; c++)
        mean[c] = m2[c] = 0.0;
    for (int64_t r = first; r < last; r += IM_SUM_CHUNK) {
        int rows = last - r < IM_SUM_CHUNK ? (int)(last - r) : IM_SUM_CHUNK;
        column_statistics(im_cbuf_at(at->x, r * at->channels + c0), at->channels, rows, n, chunk_mean, chunk_m2);
        join_chunk(n, mean, m2, (double)(r - first), chunk_mean, chunk_m2, rows);
    }
}

static void move(float *running, double now, double momentum)
{
    *running = (float)((1.0 - momentum) * (double)*running + momentum * now);
}

/* Mean and variance of channel c, where the runs are joined. */
static double join_runs(const job *w, int c, double *var)
{
    const im_batchnorm_args *at = w->at;
    double mean = w->mean[c], m2 = w->m2[c];
    for (int run = 1; run < w->runs; run++) {
        double na = (double)run * RUN, left = (double)at->rows - na, nb = left < RUN ? left : RUN;
        double share = nb / (na + nb), delta = w->mean[(int64_t)run * w->cp + c] - mean;
        mean += delta * share;
        m2 += w->m2[(int64_t)run * w->cp + c] + delta * delta * (na * share);
    }
    double unbiased = m2 / ((double)at->rows - 1.0);
    if (at->seen) {
        at->seen[c] = mean;
        at->seen[at->channels + c] = unbiased;
    } else if (at->running_mean) {
        move(&at->running_mean[c], mean, (double)at->momentum);
        move(&at->running_var[c], unbiased, (double)at->momentum);
    }
    *var = m2 / (double)at->rows;
    return mean;
}

/* Task: LANES channels: statistics and the factors of the second pass. */
static void finish(void *arg, int task, int thread)
{
    const job *w = arg;
    const im_batchnorm_args *at = w->at;
    int c = task * LANES, last = c + LANES < at->channels ? c + LANES : at->channels;
    (void)thread;
    for (; c < last; c++) {
        double var = 0.0, m = 0.0;
        if (at->training) {
            m = join_runs(w, c, &var);
        } else {
            m = (double)at->running_mean[c];
            var = (double)at->running_var[c];
        }
        float mean = (float)m, rstd = (float)(1.0 / sqrt(var + (double)at->eps));
        factors(mean, rstd, at->gamma[c], at->beta[c], &w->scale[c], &w->shift[c]);
        if (at->mean) {
            at->mean[c] = mean;
            at->rstd[c] = rstd;
        }
    }
}

typedef struct { im_dtype x, res, y; } kinds;                  /* what they are held in                               */
#define UNIFORM(t) ((kinds){ t, t, t })

/* Pointers and flags in variables of their own: after each store of a vector the compiler would read them again. */
IM_INLINE void apply_row(kinds t, bool has_res, bool relu, bool stream, const job *w, int64_t off)
{
    const void *x = im_at(w->at->x.p, t.x, off), *res = has_res ? im_at(w->at->res.p, t.res, off) : NULL;
    const float *scale = w->scale, *shift = w->shift;
    void *y = im_at(w->at->y.p, t.y, off);
    for (int c = 0, n = w->at->channels; c < n; c += 16) {
        int left = n - c < 16 ? n - c : 16;
        if (!has_res)
            prefetch_as(t.x, x, c + ahead_of(t.x));
        v16 v = v_fma(load_as(t.x, x, c, left), v_load(scale + c), v_load(shift + c));
        if (has_res)
            v = v_add(v, load_as(t.res, res, c, left));
        store_left_as(t.y, stream, y, c, relu ? v_relu(v) : v, left);
    }
}

/* ROWS rows, from the end. */
IM_INLINE void apply_rows(kinds t, const job *w, int task)
{
    const im_batchnorm_args *at = w->at;
    int64_t r = ((at->rows + ROWS - 1) / ROWS - 1 - task) * ROWS, last = r + ROWS < at->rows ? r + ROWS : at->rows;
    for (; r < last; r++) {
        int64_t off = r * at->channels;
        if (at->res.p && w->stream)
            at->relu ? apply_row(t, true, true, true, w, off) : apply_row(t, true, false, true, w, off);
        else if (at->res.p)
            at->relu ? apply_row(t, true, true, false, w, off) : apply_row(t, true, false, false, w, off);
        else if (w->stream)
            at->relu ? apply_row(t, false, true, true, w, off) : apply_row(t, false, false, true, w, off);
        else
            at->relu ? apply_row(t, false, true, false, w, off) : apply_row(t, false, false, false, w, off);
    }
    v_stream_end();
}

static void apply(void *arg, int task, int thread)
{
    const job *w = arg;
    const im_batchnorm_args *at = w->at;
    (void)thread;
    switch (same3(at->x.t, at->res.p ? at->res.t : at->x.t, at->y.t)) {
    case IM_F32:  apply_rows(UNIFORM(IM_F32), w, task); break;
    case IM_F16:  apply_rows(UNIFORM(IM_F16), w, task); break;
    case IM_BF16: apply_rows(UNIFORM(IM_BF16), w, task); break;
    default:      apply_rows((kinds){ at->x.t, at->res.t, at->y.t }, w, task);
    }
}

int IM_FN(im_cpu_batchnorm)(im_device *dev, const im_batchnorm_args *at)
{
    job w = { .at = at, .runs = runs_of(at->rows), .cp = (at->channels + 15) & ~15 };
    size_t sums = at->training ? (size_t)w.runs * (size_t)w.cp : 0;
    w.mean = im_scratch(dev, im_threads_of(dev), 2 * sums * sizeof(double) + 2 * (size_t)w.cp * sizeof(float));
    if (!w.mean)
        return IM_NO_MEMORY;
    w.m2 = w.mean + sums;
    w.scale = (float *)(w.m2 + sums);
    w.shift = w.scale + w.cp;
    w.stream = at->y.p != at->x.p && streams(at->y, at->rows, at->channels);
    if (at->training)
        im_parallel_for(im_threads_of(dev), w.runs * blocks_of(at->channels), run_statistics, &w);
    im_parallel_for(im_threads_of(dev), (at->channels + LANES - 1) / LANES, finish, &w);
    im_parallel_for(im_threads_of(dev), (int)((at->rows + ROWS - 1) / ROWS), apply, &w);
    return dev->stop && *dev->stop ? IM_STOPPED : IM_DONE;
}

/* ---------------------------------------------------------------- backward */

typedef enum { NONE, FROM_X, FROM_Y } mask;                    /* what tells where the ReLU let through */

typedef struct {
    const im_batchnorm_bwd_args *at;
    int runs, cp;
    double *dbeta, *with_x;              /* [runs][cp]: sums of dy' and dy' (x - mean) */
    float *mean, *scale, *shift;         /* [cp]: of forward */
    float *a, *b, *c;                    /* [cp]: of dx */
    bool stream_dx, stream_dres;
} back;

typedef struct { im_dtype x, y, dy, dx, dres; } back_kinds;
#define BACK_UNIFORM(t) ((back_kinds){ t, t, t, t, t })

/* dy where the ReLU let through, else 0; a NaN lets through. */
IM_INLINE v16 masked(im_dtype ty, mask kind, v16 x, const void *y, int64_t i, int left, v16 dy, const float *scale,
                     const float *shift)
{
    if (kind == NONE)
        return dy;
    v16 v = kind == FROM_X ? v_fma(x, v_load(scale), v_load(shift)) : load_as(ty, y, i, left);
    return v_select(v_le(v, v_zero()), v_zero(), dy);
}

/* n rows of 16 nv channels (left < 16: of `left`) from column c at `off`, added to the sums of a run. */
IM_INLINE void strip_sums(back_kinds t, mask kind, int nv, int left, const back *w, int64_t off, int c, int n,
                          double *dbeta, double *with_x)
{
    const im_batchnorm_bwd_args *at = w->at;
    const void *px = at->x.p, *py = at->y.p, *pdy = at->dy.p;
    v16 s[PAIR], u[PAIR];
    float sums[16];
    int64_t ahead = (int64_t)at->channels * 16;
    IM_UNROLL for (int j = 0; j < nv; j++) s[j] = u[j] = v_zero();
    for (int r = 0; r < n; r++, off += at->channels)
        IM_UNROLL for (int j = 0; j < nv; j++) {
            int64_t i = off + c + 16 * j;
            int k = c + 16 * j;
            if (kind != FROM_Y) {
                prefetch_as(t.x, px, i + ahead);
                prefetch_as(t.dy, pdy, i + ahead);
            }
            v16 x = load_as(t.x, px, i, left), g = load_as(t.dy, pdy, i, left);
            v16 dy = masked(t.y, kind, x, py, i, left, g, w->scale + k, w->shift + k);
            s[j] = v_add(s[j], dy);
            u[j] = v_fma(dy, v_sub(x, v_load(w->mean + k)), u[j]);
        }
    IM_UNROLL for (int j = 0; j < nv; j++) {
        v_store(sums, s[j]);
        for (int i = 0; i < left; i++)
            dbeta[16 * j + i] += (double)sums[i];
        v_store(sums, u[j]);
        for (int i = 0; i < left; i++)
            with_x[16 * j + i] += (double)sums[i];
    }
}

IM_INLINE void chunk_sums(back_kinds t, mask kind, const back *w, int64_t row, int n, int c0, int last, double *dbeta,
                          double *with_x)
{
    int64_t off = row * w->at->channels;
    int c = c0;
    for (; c + 16 * PAIR <= last; c += 16 * PAIR)
        strip_sums(t, kind, PAIR, 16, w, off, c, n, dbeta + c - c0, with_x + c - c0);
    for (; c + 16 <= last; c += 16)
        strip_sums(t, kind, 1, 16, w, off, c, n, dbeta + c - c0, with_x + c - c0);
    if (c < last)
        strip_sums(t, kind, 1, last - c, w, off, c, n, dbeta + c - c0, with_x + c - c0);
}

/* One run of BLOCK channels. */
IM_INLINE void sums_of(back_kinds t, const back *w, int task)
{
    const im_batchnorm_bwd_args *at = w->at;
    int blocks = blocks_of(at->channels), c0 = task % blocks * BLOCK;
    int last = c0 + BLOCK < at->channels ? c0 + BLOCK : at->channels;
    int64_t run = task / blocks, r = run * RUN, end = r + RUN < at->rows ? r + RUN : at->rows;
    double *dbeta = w->dbeta + run * w->cp + c0, *with_x = w->with_x + run * w->cp + c0;
    for (int c = 0; c < last - c0; c++)
        dbeta[c] = with_x[c] = 0.0;
    for (; r < end; r += IM_SUM_CHUNK) {
        int n = end - r < IM_SUM_CHUNK ? (int)(end - r) : IM_SUM_CHUNK;
        if (!at->relu)
            chunk_sums(t, NONE, w, r, n, c0, last, dbeta, with_x);
        else if (at->y.p)
            chunk_sums(t, FROM_Y, w, r, n, c0, last, dbeta, with_x);
        else
            chunk_sums(t, FROM_X, w, r, n, c0, last, dbeta, with_x);
    }
}

/* The one dtype of all that is there. */
static int uniform(const im_batchnorm_bwd_args *at)
{
    im_dtype t = at->x.t;
    bool same = at->dy.t == t && (!at->y.p || at->y.t == t) && (!at->dx.p || at->dx.t == t)
             && (!at->dres.p || at->dres.t == t);
    return same ? (int)t : IM_MIXED;
}

static void run_sums(void *arg, int task, int thread)
{
    const back *w = arg;
    const im_batchnorm_bwd_args *at = w->at;
    (void)thread;
    switch (uniform(at)) {
    case IM_F32:  sums_of(BACK_UNIFORM(IM_F32), w, task); break;
    case IM_F16:  sums_of(BACK_UNIFORM(IM_F16), w, task); break;
    case IM_BF16: sums_of(BACK_UNIFORM(IM_BF16), w, task); break;
    default:      sums_of((back_kinds){ at->x.t, at->y.t, at->dy.t, at->dx.t, at->dres.t }, w, task);
    }
}

static void put(float *to, double value, bool add)
{
    *to = (float)(add ? (double)*to + value : value);
}

/* Task: LANES channels: gradients of gamma and beta, factors of dx. */
static void finish_back(void *arg, int task, int thread)
{
    const back *w = arg;
    const im_batchnorm_bwd_args *at = w->at;
    int c = task * LANES, last = c + LANES < at->channels ? c + LANES : at->channels;
    (void)thread;
    for (; c < last; c++) {
        double dbeta = 0.0, with_x = 0.0, n = (double)at->rows, rstd = (double)at->rstd[c];
        for (int64_t run = 0; run < w->runs; run++) {
            dbeta += w->dbeta[run * w->cp + c];
            with_x += w->with_x[run * w->cp + c];
        }
        double dgamma = with_x * rstd, a = (double)at->gamma[c] * rstd;
        if (at->dgamma)
            put(&at->dgamma[c], dgamma, at->add_dgamma);
        if (at->dbeta)
            put(&at->dbeta[c], dbeta, at->add_dbeta);
        w->a[c] = (float)a;
        w->b[c] = (float)(-a * rstd * dgamma / n);
        w->c[c] = (float)(-a * dbeta / n);
    }
}

/* dx is stored before dres is read: x and res may be one tensor. Variables as in apply_row. */
IM_INLINE void row_dx(back_kinds t, mask kind, const back *w, int64_t off)
{
    const im_batchnorm_bwd_args *at = w->at;
    const void *x = im_at(at->x.p, t.x, off), *y = kind == FROM_Y ? im_at(at->y.p, t.y, off) : NULL;
    const void *dy = im_at(at->dy.p, t.dy, off);
    const float *mean = w->mean, *scale = w->scale, *shift = w->shift, *fa = w->a, *fb = w->b, *fc = w->c;
    void *dx = at->dx.p ? im_at(at->dx.p, t.dx, off) : NULL;
    void *dres = at->dres.p ? im_at(at->dres.p, t.dres, off) : NULL;
    bool training = at->training, add_dx = at->add_dx, add_dres = at->add_dres;
    bool stream_dx = w->stream_dx, stream_dres = w->stream_dres;
    for (int c = 0, n = at->channels; c < n; c += 16) {
        int left = n - c < 16 ? n - c : 16;
        if (kind != FROM_Y) {
            prefetch_as(t.x, x, c + ahead_of(t.x));
            prefetch_as(t.dy, dy, c + ahead_of(t.dy));
        }
        v16 v = load_as(t.x, x, c, left), g = load_as(t.dy, dy, c, left);
        g = masked(t.y, kind, v, y, c, left, g, scale + c, shift + c);
        if (dx) {
            if (training)
                v = v_fma(v_load(fb + c), v_sub(v, v_load(mean + c)), v_fma(v_load(fa + c), g, v_load(fc + c)));
            else
                v = v_mul(v_load(fa + c), g);
            store_left_as(t.dx, stream_dx, dx, c, add_dx ? v_add(v, load_as(t.dx, dx, c, left)) : v, left);
        }
        if (dres)
            store_left_as(t.dres, stream_dres, dres, c, add_dres ? v_add(g, load_as(t.dres, dres, c, left)) : g, left);
    }
}

/* ROWS rows, from the end. */
IM_INLINE void dx_of(back_kinds t, const back *w, int task)
{
    const im_batchnorm_bwd_args *at = w->at;
    int64_t r = ((at->rows + ROWS - 1) / ROWS - 1 - task) * ROWS, last = r + ROWS < at->rows ? r + ROWS : at->rows;
    for (; r < last; r++) {
        if (!at->relu)
            row_dx(t, NONE, w, r * at->channels);
        else if (at->y.p)
            row_dx(t, FROM_Y, w, r * at->channels);
        else
            row_dx(t, FROM_X, w, r * at->channels);
    }
    v_stream_end();
}

static void rows_dx(void *arg, int task, int thread)
{
    const back *w = arg;
    const im_batchnorm_bwd_args *at = w->at;
    (void)thread;
    switch (uniform(at)) {
    case IM_F32:  dx_of(BACK_UNIFORM(IM_F32), w, task); break;
    case IM_F16:  dx_of(BACK_UNIFORM(IM_F16), w, task); break;
    case IM_BF16: dx_of(BACK_UNIFORM(IM_BF16), w, task); break;
    default:      dx_of((back_kinds){ at->x.t, at->y.t, at->dy.t, at->dx.t, at->dres.t }, w, task);
    }
}

int IM_FN(im_cpu_batchnorm_bwd)(im_device *dev, const im_batchnorm_bwd_args *at)
{
    back w = { .at = at, .runs = runs_of(at->rows), .cp = (at->channels + 15) & ~15 };
    size_t sums = (size_t)w.runs * (size_t)w.cp, cp = (size_t)w.cp;
    w.dbeta = im_scratch(dev, im_threads_of(dev), 2 * sums * sizeof(double) + 6 * cp * sizeof(float));
    if (!w.dbeta)
        return IM_NO_MEMORY;
    w.with_x = w.dbeta + sums;
    w.mean = (float *)(w.with_x + sums);
    w.scale = w.mean + cp;
    w.shift = w.scale + cp;
    w.a = w.shift + cp;
    w.b = w.a + cp;
    w.c = w.b + cp;
    w.stream_dx = at->dx.p && !at->add_dx && streams(at->dx, at->rows, at->channels);
    w.stream_dres = at->dres.p && !at->add_dres && streams(at->dres, at->rows, at->channels);
    for (int c = 0; c < at->channels; c++) {
        w.mean[c] = at->mean[c];
        factors(at->mean[c], at->rstd[c], at->gamma[c], at->beta[c], &w.scale[c], &w.shift[c]);
    }
    im_parallel_for(im_threads_of(dev), w.runs * blocks_of(at->channels), run_sums, &w);
    im_parallel_for(im_threads_of(dev), (at->channels + LANES - 1) / LANES, finish_back, &w);
    if (at->dx.p || at->dres.p)
        im_parallel_for(im_threads_of(dev), (int)((at->rows + ROWS - 1) / ROWS), rows_dx, &w);
    return dev->stop && *dev->stop ? IM_STOPPED : IM_DONE;
}
