/* norm_backward.c: gradients of group norm (with SiLU) and layer norm (ref/norm_backward.c has the formulas).
 *
 * Group norm: with g = dy silu'(z), z = fma(x - mean, scale, beta), scale = rstd gamma, a first pass takes for each
 * channel A = sum g and B = sum g (x - mean) over chunks of IM_GN_CHUNK pixels in f32, joined in f64, ascending. Then
 *   s1 = sum_c gamma A, s2 = sum_c gamma B over the channels of a group, ascending;  dbeta = sum_b A, dgamma = sum_b rstd B
 *   dx = fma(b, x - mean, fma(scale, g, c)),  b = -rstd^3 s2 / n,  c = -rstd s1 / n
 * An image that fits into L2 goes through both passes at once, so memory is read once; larger ones go in chunks. Where dx
 * is stored, the first pass leaves g there: exp and division are what takes the time, and come once.
 *
 * Layer norm: a task is a chunk of IM_SUM_CHUNK rows: sums of each row in 16 lanes and the tree, columns as chains over
 * the rows of the chunk, then dx while the rows are still in L1. Chunks of columns are joined in f64, ascending. */
#include "tensor/cpu/columns.h"
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/vmath.h"
#include "tensor/parallel.h"

enum {
    PAIR = IM_NV > 1 ? 4 : 2,            /* vectors of channels side by side in the first pass */
    SPAN = 4,                            /* chunks a task */
    LANES = 64,                          /* channels a task when chunks are joined */
    L2 = 1 << 20,                        /* bytes of x and dy of one image that go through both passes at once */
    TOGETHER = 4                         /* rows of a layer norm side by side */
};

static void put(float *to, double value, bool add)
{
    *to = (float)(add ? (double)*to + value : value);
}

/* ---------------------------------------------------------------- group norm */

typedef struct {
    const im_groupnorm_bwd_args *at;
    int chunks, cp;                      /* cp: channels rounded up to 16 */
    float *a, *b;                        /* [batch][chunks][cp]: A and B of each chunk */
    double *channel_a, *channel_b;       /* [batch][cp]: over all pixels; B times rstd afterwards */
    float *beta;                         /* [cp] */
    float *mean, *scale, *fb, *fc;       /* [batch][cp]: of a channel's group; factors of dx */
} job;

/* What x, dy and dx are held in: constants where they are the same. */
typedef struct { im_dtype x, dy, dx; } kinds;
#define UNIFORM(t) ((kinds){ t, t, t })

/* g = dy silu'(z), silu'(z) = s (1 + z (1 - s)) */
IM_INLINE v16 through(bool silu, v16 d, v16 dy, const float *scale, const float *beta)
{
    if (!silu)
        return dy;
    v16 z = v_fma(d, v_load(scale), v_load(beta)), s = v_sigmoid(z);
    return v_mul(dy, v_fma(z, v_mul(s, v_sub(v_set1(1.0f), s)), s));
}

/* What both passes need to know of image b. */
static void prepare(const job *w, int b)
{
    const im_groupnorm_bwd_args *at = w->at;
    int size = at->channels / at->groups;
    float *mean = w->mean + (int64_t)b * w->cp, *scale = w->scale + (int64_t)b * w->cp;
    for (int c = 0; c < w->cp; c++) {
        int64_t g = (int64_t)b * at->groups + c / size;
        bool real = c < at->channels;
        mean[c] = real ? at->mean[g] : 0.0f;
        scale[c] = real ? (float)((double)at->rstd[g] * (double)at->gamma[c]) : 0.0f;
    }
}

/* What is done with g: dy is g | computed in both passes, as dx is added to | the first pass leaves it in dx. */
typedef enum { PLAIN, TWICE, ONCE } way;

/* n pixels of 16 nv channels (left < 16: of `left` channels) from x and dy. */
IM_INLINE void strip_sums(kinds t, way g_is, int nv, int left, const job *w, int64_t off, int64_t image, int c, int n,
                          float *a, float *b)
{
    const im_groupnorm_bwd_args *at = w->at;
    const float *mean = w->mean + image, *scale = w->scale + image, *beta = w->beta;
    const void *x = at->x.p, *dy = at->dy.p;
    void *dx = at->dx.p;
    v16 s[PAIR], u[PAIR];
    IM_UNROLL for (int j = 0; j < nv; j++) s[j] = u[j] = v_zero();
    for (int p = 0, ch = at->channels; p < n; p++, off += ch)
        IM_UNROLL for (int j = 0; j < nv; j++) {
            int k = c + 16 * j;
            v16 d = v_sub(load_as(t.x, x, off + k, left), v_load(mean + k));
            v16 g = through(g_is != PLAIN, d, load_as(t.dy, dy, off + k, left), scale + k, beta + k);
            if (g_is == ONCE)
                store_as(t.dx, dx, off + k, g, left);
            s[j] = v_add(s[j], g);
            u[j] = v_fma(g, d, u[j]);
        }
    IM_UNROLL for (int j = 0; j < nv; j++) {
        v_store(a + c + 16 * j, s[j]);
        v_store(b + c + 16 * j, u[j]);
    }
}

IM_INLINE void chunk_sums(kinds t, way g_is, const job *w, int b, int chunk)
{
    const im_groupnorm_bwd_args *at = w->at;
    int64_t pixel = (int64_t)chunk * IM_GN_CHUNK, left = at->pixels - pixel, image = (int64_t)b * w->cp;
    int n = left < IM_GN_CHUNK ? (int)left : IM_GN_CHUNK, c = 0;
    int64_t off = (b * at->pixels + pixel) * at->channels, to = ((int64_t)b * w->chunks + chunk) * w->cp;
    for (; c + 16 * PAIR <= at->channels; c += 16 * PAIR)
        strip_sums(t, g_is, PAIR, 16, w, off, image, c, n, w->a + to, w->b + to);
    for (; c + 16 <= at->channels; c += 16)
        strip_sums(t, g_is, 1, 16, w, off, image, c, n, w->a + to, w->b + to);
    if (c < at->channels)
        strip_sums(t, g_is, 1, at->channels - c, w, off, image, c, n, w->a + to, w->b + to);
}

/* dx in 16 bits would round g on the way. */
static way way_of(const im_groupnorm_bwd_args *at)
{
    return !at->silu ? PLAIN : !at->dx.p || at->add_dx || at->dx.t != IM_F32 ? TWICE : ONCE;
}

IM_INLINE void sums_as(kinds t, const job *w, int b, int chunk)
{
    switch (way_of(w->at)) {
    case PLAIN: chunk_sums(t, PLAIN, w, b, chunk); break;
    case TWICE: chunk_sums(t, TWICE, w, b, chunk); break;
    case ONCE:  chunk_sums(t, ONCE, w, b, chunk); break;
    }
}

static int uniform(const im_groupnorm_bwd_args *at)
{
    return same3(at->x.t, at->dy.t, at->dx.p ? at->dx.t : at->x.t);
}

static void sums(const job *w, int b, int chunk)
{
    const im_groupnorm_bwd_args *at = w->at;
    switch (uniform(at)) {
    case IM_F32:  sums_as(UNIFORM(IM_F32), w, b, chunk); break;
    case IM_F16:  sums_as(UNIFORM(IM_F16), w, b, chunk); break;
    case IM_BF16: sums_as(UNIFORM(IM_BF16), w, b, chunk); break;
    default:      sums_as((kinds){ at->x.t, at->dy.t, at->dx.t }, w, b, chunk);
    }
}

/* The chunks of channels [c0, c0 + n) of image b. */
static void join_chunks(const job *w, int b, int c0, int n)
{
    double *restrict a = w->channel_a + (int64_t)b * w->cp + c0, *restrict v = w->channel_b + (int64_t)b * w->cp + c0;
    for (int c = 0; c < n; c++)
        a[c] = v[c] = 0.0;
    for (int chunk = 0; chunk < w->chunks; chunk++) {
        int64_t from = ((int64_t)b * w->chunks + chunk) * w->cp + c0;
        for (int c = 0; c < n; c++) {
            a[c] += (double)w->a[from + c];
            v[c] += (double)w->b[from + c];
        }
    }
}

/* The channels of every group of image b: factors of dx; B becomes what dgamma sums. */
static void join_channels(const job *w, int b)
{
    const im_groupnorm_bwd_args *at = w->at;
    int size = at->channels / at->groups;
    double n = (double)at->pixels * size, *ca = w->channel_a + (int64_t)b * w->cp, *cb = w->channel_b + (int64_t)b * w->cp;
    float *fb = w->fb + (int64_t)b * w->cp, *fc = w->fc + (int64_t)b * w->cp;
    for (int g = 0; g < at->groups; g++) {
        double s1 = 0.0, s2 = 0.0, rstd = (double)at->rstd[(int64_t)b * at->groups + g];
        for (int c = g * size; c < (g + 1) * size; c++) {
            s1 += (double)at->gamma[c] * ca[c];
            s2 += (double)at->gamma[c] * cb[c];
            cb[c] *= rstd;
        }
        float y = (float)(-rstd * rstd * rstd * s2 / n), z = (float)(-rstd * s1 / n);
        for (int c = g * size; c < (g + 1) * size; c++) {
            fb[c] = y;
            fc[c] = z;
        }
    }
}

IM_INLINE void chunk_dx(kinds t, way g_is, const job *w, int b, int chunk)
{
    const im_groupnorm_bwd_args *at = w->at;
    int64_t p = (int64_t)chunk * IM_GN_CHUNK, last = p + IM_GN_CHUNK < at->pixels ? p + IM_GN_CHUNK : at->pixels;
    int64_t image = (int64_t)b * w->cp;
    const float *mean = w->mean + image, *scale = w->scale + image, *fb = w->fb + image, *fc = w->fc + image;
    const void *x = at->x.p, *dy = g_is == ONCE ? at->dx.p : at->dy.p;
    const float *beta = w->beta;
    void *to = at->dx.p;
    im_dtype tdy = g_is == ONCE ? t.dx : t.dy;
    bool add = at->add_dx;
    for (; p < last; p++) {
        int64_t off = (b * at->pixels + p) * at->channels;
        for (int c = 0, n = at->channels; c < n; c += 16) {
            int left = n - c < 16 ? n - c : 16;
            v16 d = v_sub(load_as(t.x, x, off + c, left), v_load(mean + c));
            v16 g = through(g_is == TWICE, d, load_as(tdy, dy, off + c, left), scale + c, beta + c);
            v16 v = v_fma(v_load(fb + c), d, v_fma(v_load(scale + c), g, v_load(fc + c)));
            put_as(t.dx, to, off + c, v, left, add);
        }
    }
}

IM_INLINE void dx_as(kinds t, const job *w, int b, int chunk)
{
    switch (way_of(w->at)) {
    case PLAIN: chunk_dx(t, PLAIN, w, b, chunk); break;
    case TWICE: chunk_dx(t, TWICE, w, b, chunk); break;
    case ONCE:  chunk_dx(t, ONCE, w, b, chunk); break;
    }
}

static void dx(const job *w, int b, int chunk)
{
    const im_groupnorm_bwd_args *at = w->at;
    switch (uniform(at)) {
    case IM_F32:  dx_as(UNIFORM(IM_F32), w, b, chunk); break;
    case IM_F16:  dx_as(UNIFORM(IM_F16), w, b, chunk); break;
    case IM_BF16: dx_as(UNIFORM(IM_BF16), w, b, chunk); break;
    default:      dx_as((kinds){ at->x.t, at->dy.t, at->dx.t }, w, b, chunk);
    }
}

/* Task: an image. */
static void image_task(void *arg, int b, int thread)
{
    const job *w = arg;
    (void)thread;
    prepare(w, b);
    for (int chunk = 0; chunk < w->chunks; chunk++)
        sums(w, b, chunk);
    join_chunks(w, b, 0, w->at->channels);
    join_channels(w, b);
    for (int chunk = w->chunks - 1; w->at->dx.p && chunk >= 0; chunk--)
        dx(w, b, chunk);
}

/* Tasks: SPAN chunks of one image, the second from the end; LANES channels of one. */
static void sums_task(void *arg, int task, int thread)
{
    const job *w = arg;
    int spans = (w->chunks + SPAN - 1) / SPAN, b = task / spans, chunk = task % spans * SPAN;
    (void)thread;
    for (int i = 0; i < SPAN && chunk + i < w->chunks; i++)
        sums(w, b, chunk + i);
}

static void dx_task(void *arg, int task, int thread)
{
    const job *w = arg;
    int spans = (w->chunks + SPAN - 1) / SPAN, t = spans * w->at->batch - 1 - task, b = t / spans, chunk = t % spans * SPAN;
    (void)thread;
    for (int i = 0; i < SPAN && chunk + i < w->chunks; i++)
        dx(w, b, chunk + i);
}

static void join_task(void *arg, int task, int thread)
{
    const job *w = arg;
    int lanes = (w->at->channels + LANES - 1) / LANES, b = task / lanes, c = task % lanes * LANES;
    (void)thread;
    join_chunks(w, b, c, w->at->channels - c < LANES ? w->at->channels - c : LANES);
}

/* In phases, each over all images. */
static void large(im_device *dev, job *w)
{
    const im_groupnorm_bwd_args *at = w->at;
    int tasks = at->batch * ((w->chunks + SPAN - 1) / SPAN);
    for (int b = 0; b < at->batch; b++)
        prepare(w, b);
    im_parallel_for(im_threads_of(dev), tasks, sums_task, w);
    im_parallel_for(im_threads_of(dev), at->batch * ((at->channels + LANES - 1) / LANES), join_task, w);
    for (int b = 0; b < at->batch; b++)
        join_channels(w, b);
    if (at->dx.p)
        im_parallel_for(im_threads_of(dev), tasks, dx_task, w);
}

int IM_FN(im_cpu_groupnorm_bwd)(im_device *dev, const im_groupnorm_bwd_args *at)
{
    job w = { .at = at, .chunks = (int)((at->pixels + IM_GN_CHUNK - 1) / IM_GN_CHUNK),
              .cp = (at->channels + 15) & ~15 };
    size_t per = (size_t)at->batch * (size_t)w.cp, chunks = per * (size_t)w.chunks;
    w.channel_a = im_scratch(dev, im_threads_of(dev), 2 * per * sizeof(double) +
                                                    (2 * chunks + 4 * per + (size_t)w.cp) * sizeof(float));
    if (!w.channel_a)
        return IM_NO_MEMORY;
    w.channel_b = w.channel_a + per;
    w.a = (float *)(w.channel_b + per);
    w.b = w.a + chunks;
    w.mean = w.b + chunks;
    w.scale = w.mean + per;
    w.fb = w.scale + per;
    w.fc = w.fb + per;
    w.beta = w.fc + per;
    for (int c = 0; c < w.cp; c++)
        w.beta[c] = c < at->channels ? at->beta[c] : 0.0f;
    if (at->batch >= im_threads_of(dev) && 2 * sizeof(float) * (size_t)at->pixels * (size_t)at->channels <= L2)
        im_parallel_for(im_threads_of(dev), at->batch, image_task, &w);
    else
        large(dev, &w);
    for (int c = 0; c < at->channels; c++) {
        double dgamma = 0.0, dbeta = 0.0;
        for (int64_t b = 0; b < at->batch; b++) {
            dbeta += w.channel_a[b * w.cp + c];
            dgamma += w.channel_b[b * w.cp + c];
        }
        if (at->dgamma)
            put(&at->dgamma[c], dgamma, at->add_dgamma);
        if (at->dbeta)
            put(&at->dbeta[c], dbeta, at->add_dbeta);
    }
    return dev->stop && *dev->stop ? IM_STOPPED : IM_DONE;
}

/* ---------------------------------------------------------------- layer norm */

typedef struct {
    const im_layernorm_bwd_args *at;
    int chunks, cp;
    float *dgamma, *dbeta;               /* [chunks][cp] */
} rows_job;

/* n rows from row r: their sums, and one step of each column's chain. With g = dy gamma and the row's sums,
 *   dx = rstd ((g - s1) - (x - mean) s2),  s1 = sum(g) / C,  s2 = rstd sum(g xhat) / C */
IM_INLINE void layernorm_rows(kinds t, int n, const im_layernorm_bwd_args *at, int64_t r, float *dgamma, float *dbeta)
{
    int ch = at->channels;
    const void *x = im_at(at->x.p, t.x, r * at->ldx), *dy = im_at(at->dy.p, t.dy, r * ch);
    void *dx = at->dx.p;
    v16 s1[TOGETHER], s2[TOGETHER], mean[TOGETHER], rstd[TOGETHER];
    IM_UNROLL for (int i = 0; i < n; i++) {
        s1[i] = s2[i] = v_zero();
        mean[i] = v_set1(at->mean[r + i]);
        rstd[i] = v_set1(at->rstd[r + i]);
    }
    for (int c = 0; c < ch; c += 16) {
        int left = ch - c < 16 ? ch - c : 16;
        v16 gamma = load_left(at->gamma + c, left), sum = v_load(dgamma + c), sum_b = v_load(dbeta + c);
        IM_UNROLL for (int i = 0; i < n; i++) {
            prefetch_as(t.x, x, (n + i) * at->ldx + c);
            prefetch_as(t.dy, dy, (int64_t)(n + i) * ch + c);
            v16 d = load_as(t.dy, dy, (int64_t)i * ch + c, left), g = v_mul(d, gamma);
            v16 xhat = v_mul(v_sub(load_as(t.x, x, i * at->ldx + c, left), mean[i]), rstd[i]);
            s1[i] = v_add(s1[i], g);
            s2[i] = v_fma(g, xhat, s2[i]);
            sum = v_fma(d, xhat, sum);
            sum_b = v_add(sum_b, d);
        }
        v_store(dgamma + c, sum);
        v_store(dbeta + c, sum_b);
    }
    if (!dx)
        return;
    IM_UNROLL for (int i = 0; i < n; i++) {
        s1[i] = v_set1(v_sum(s1[i]) / (float)ch);
        s2[i] = v_set1(at->rstd[r + i] * v_sum(s2[i]) / (float)ch);
    }
    for (int c = 0; c < ch; c += 16) {
        int left = ch - c < 16 ? ch - c : 16;
        v16 gamma = load_left(at->gamma + c, left);
        IM_UNROLL for (int i = 0; i < n; i++) {
            v16 g = v_mul(load_as(t.dy, dy, (int64_t)i * ch + c, left), gamma);
            v16 v = v_fnma(v_sub(load_as(t.x, x, i * at->ldx + c, left), mean[i]), s2[i], v_sub(g, s1[i]));
            v = v_mul(rstd[i], v);
            put_as(t.dx, dx, (r + i) * at->ldx + c, v, left, at->add_dx);
        }
    }
}

/* A chunk of rows. */
IM_INLINE void chunk_of_rows(kinds t, const rows_job *w, int task)
{
    int64_t r = (int64_t)task * IM_SUM_CHUNK, last = r + IM_SUM_CHUNK < w->at->rows ? r + IM_SUM_CHUNK : w->at->rows;
    float *dgamma = w->dgamma + (int64_t)task * w->cp, *dbeta = w->dbeta + (int64_t)task * w->cp;
    for (int c = 0; c < w->cp; c++)
        dgamma[c] = dbeta[c] = 0.0f;
    for (; r + TOGETHER <= last; r += TOGETHER)
        layernorm_rows(t, TOGETHER, w->at, r, dgamma, dbeta);
    for (; r < last; r++)
        layernorm_rows(t, 1, w->at, r, dgamma, dbeta);
}

static void layernorm_chunk(void *arg, int task, int thread)
{
    const rows_job *w = arg;
    const im_layernorm_bwd_args *at = w->at;
    (void)thread;
    switch (same3(at->x.t, at->dy.t, at->dx.p ? at->dx.t : at->x.t)) {
    case IM_F32:  chunk_of_rows(UNIFORM(IM_F32), w, task); break;
    case IM_F16:  chunk_of_rows(UNIFORM(IM_F16), w, task); break;
    case IM_BF16: chunk_of_rows(UNIFORM(IM_BF16), w, task); break;
    default:      chunk_of_rows((kinds){ at->x.t, at->dy.t, at->dx.t }, w, task);
    }
}

/* Task: LANES columns. */
static void layernorm_columns(void *arg, int task, int thread)
{
    const rows_job *w = arg;
    double dgamma[LANES] = { 0 }, dbeta[LANES] = { 0 };
    int c0 = task * LANES, n = w->at->channels - c0 < LANES ? w->at->channels - c0 : LANES;
    (void)thread;
    for (int chunk = 0; chunk < w->chunks; chunk++) {
        int64_t from = (int64_t)chunk * w->cp + c0;
        for (int c = 0; c < n; c++) {
            dgamma[c] += (double)w->dgamma[from + c];
            dbeta[c] += (double)w->dbeta[from + c];
        }
    }
    for (int c = 0; c < n; c++) {
        if (w->at->dgamma)
            put(&w->at->dgamma[c0 + c], dgamma[c], w->at->add_dgamma);
        if (w->at->dbeta)
            put(&w->at->dbeta[c0 + c], dbeta[c], w->at->add_dbeta);
    }
}

int IM_FN(im_cpu_layernorm_bwd)(im_device *dev, const im_layernorm_bwd_args *at)
{
    rows_job w = { .at = at, .chunks = (int)((at->rows + IM_SUM_CHUNK - 1) / IM_SUM_CHUNK),
                   .cp = (at->channels + 15) & ~15 };
    size_t n = (size_t)w.chunks * (size_t)w.cp;
    if (!(w.dgamma = im_scratch(dev, im_threads_of(dev), 2 * n * sizeof(float))))
        return IM_NO_MEMORY;
    w.dbeta = w.dgamma + n;
    im_parallel_for(im_threads_of(dev), w.chunks, layernorm_chunk, &w);
    im_parallel_for(im_threads_of(dev), (at->channels + LANES - 1) / LANES, layernorm_columns, &w);
    return dev->stop && *dev->stop ? IM_STOPPED : IM_DONE;
}
