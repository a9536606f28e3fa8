/* norm.c: group norm (Wu & He 2018) with SiLU, and layer norm (Ba et al. 2016).
 *
 * Group norm, channels last: a first pass over x takes mean and centred squares of each channel over chunks of
 * IM_GN_CHUNK pixels, in f32, each a chain over ascending pixels (the squares from L1, so memory is read once); the
 * chunks of a channel are then combined in f64, ascending, and so are the channels of a group (Chan et al. 1979;
 * columns.h).
 * A second pass is y = fma(x, scale, shift) [silu] with, per channel, computed in f64 and rounded once,
 *   rstd = 1 / sqrt(m2 / n + eps);  scale = rstd gamma;  shift = beta - mean rstd gamma.
 * The statistics of a chunk are stored, not added up by threads, so the bits depend on neither threads nor batch.
 * Used before every convolution of UNet and VAE; layer norm by the transformer blocks and CLIP. */
#include "tensor/cpu/columns.h"
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/vmath.h"
#include "tensor/parallel.h"

#include <math.h>

enum {
    SPAN = 4,                            /* chunks a task */
    LANES = 64,                          /* channels a task when chunks are combined */
    PIXELS = 64,                         /* pixels a task of the second pass */
    ROWS = 4                             /* rows of a layer norm side by side, to hide the latency of their sums */
};

typedef struct {
    const im_groupnorm_args *at;
    int chunks, cp;                      /* cp: channels rounded up to 16 */
    float *mean, *m2;                    /* [batch][chunks][cp] of each chunk */
    double *channel_mean, *channel_m2;   /* [batch][cp] over all pixels */
    double *group_mean, *group_m2;       /* [groups], one batch at a time */
    float *scale, *shift;                /* [batch][cp] */
} job;

/* Task: SPAN chunks of one image. */
static void chunk_statistics(void *arg, int task, int thread)
{
    const job *w = arg;
    const im_groupnorm_args *at = w->at;
    int spans = (w->chunks + SPAN - 1) / SPAN, b = task / spans, chunk = task % spans * SPAN;
    int last = chunk + SPAN < w->chunks ? chunk + SPAN : w->chunks;
    (void)thread;
    for (; chunk < last; chunk++) {
        int64_t pixel = (int64_t)chunk * IM_GN_CHUNK, left = at->pixels - pixel;
        int n = left < IM_GN_CHUNK ? (int)left : IM_GN_CHUNK, ch = at->channels;
        int64_t to = ((int64_t)b * w->chunks + chunk) * w->cp;
        column_statistics(im_cbuf_at(at->x, (b * at->pixels + pixel) * ch), ch, n, ch, w->mean + to, w->m2 + to);
    }
}

/* Task: LANES channels of one image; the weights of a step are the same for all of them. */
static void combine_chunks(void *arg, int task, int thread)
{
    const job *w = arg;
    int lanes = (w->cp + LANES - 1) / LANES, b = task / lanes, c0 = task % lanes * LANES;
    int n = w->cp - c0 < LANES ? w->cp - c0 : LANES;
    double *mean = w->channel_mean + (int64_t)b * w->cp + c0, *m2 = w->channel_m2 + (int64_t)b * w->cp + c0;
    (void)thread;
    for (int c = 0; c < n; c++)
        mean[c] = m2[c] = 0.0;
    for (int chunk = 0; chunk < w->chunks; chunk++) {
        int64_t from = ((int64_t)b * w->chunks + chunk) * w->cp + c0;
        double na = (double)chunk * IM_GN_CHUNK, left = (double)w->at->pixels - na;
        join_chunk(n, mean, m2, na, w->mean + from, w->m2 + from, left < IM_GN_CHUNK ? left : IM_GN_CHUNK);
    }
}

/* The channels of every group of image b, ascending; groups side by side, as they do not depend on one another. Then
 * the factors of the second pass. */
static void combine_channels(const job *w, int b)
{
    const im_groupnorm_args *at = w->at;
    int size = at->channels / at->groups;
    double *restrict mean = w->group_mean, *restrict m2 = w->group_m2, n = (double)at->pixels;
    for (int g = 0; g < at->groups; g++)
        mean[g] = m2[g] = 0.0;
    for (int i = 0; i < size; i++) {
        const double *mean_b = w->channel_mean + (int64_t)b * w->cp + i, *m2_b = w->channel_m2 + (int64_t)b * w->cp + i;
        double na = n * i, share = n / (na + n), cross = na * share;
        for (int g = 0; g < at->groups; g++) {
            double delta = mean_b[g * size] - mean[g];
            mean[g] += delta * share;
            m2[g] += m2_b[g * size] + delta * delta * cross;
        }
    }
    for (int g = 0, c = 0; g < at->groups; g++) {
        double rstd = 1.0 / sqrt(m2[g] / (n * size) + (double)at->eps);
        if (at->mean) {
            at->mean[b * at->groups + g] = (float)mean[g];
            at->rstd[b * at->groups + g] = (float)rstd;
        }
        for (int i = 0; i < size; i++, c++) {
            double scale = rstd * (double)at->gamma[c];
            w->scale[(int64_t)b * w->cp + c] = (float)scale;
            w->shift[(int64_t)b * w->cp + c] = (float)((double)at->beta[c] - mean[g] * scale);
        }
    }
}

IM_INLINE void apply_pixel(im_dtype tx, im_dtype ty, bool silu, const void *x, void *y, const float *scale,
                           const float *shift, int channels)
{
    int c = 0;
    for (; c + 16 <= channels; c += 16) {
        v16 v = v_fma(load_as(tx, x, c, 16), v_load(scale + c), v_load(shift + c));
        store_as(ty, y, c, silu ? v_silu(v) : v, 16);
    }
    if (c < channels) {
        v16 v = v_fma(load_as(tx, x, c, channels - c), v_load(scale + c), v_load(shift + c));
        store_as(ty, y, c, silu ? v_silu(v) : v, channels - c);
    }
}

/* PIXELS pixels of one image, from the end, which the first pass left in the caches. */
IM_INLINE void apply_pixels(im_dtype tx, im_dtype ty, const job *w, int task)
{
    const im_groupnorm_args *at = w->at;
    int64_t per = (at->pixels + PIXELS - 1) / PIXELS, t = per * at->batch - 1 - task, b = t / per, p = t % per * PIXELS;
    int64_t last = p + PIXELS < at->pixels ? p + PIXELS : at->pixels;
    const float *scale = w->scale + b * w->cp, *shift = w->shift + b * w->cp;
    for (; p < last; p++) {
        int64_t off = (b * at->pixels + p) * at->channels;
        const void *x = im_at(at->x.p, tx, off);
        void *y = im_at(at->y.p, ty, off);
        if (at->silu)
            apply_pixel(tx, ty, true, x, y, scale, shift, at->channels);
        else
            apply_pixel(tx, ty, false, x, y, scale, shift, at->channels);
    }
}

static void apply(void *arg, int task, int thread)
{
    const job *w = arg;
    (void)thread;
    switch (same2(w->at->x.t, w->at->y.t)) {
    case IM_F32:  apply_pixels(IM_F32, IM_F32, w, task); break;
    case IM_F16:  apply_pixels(IM_F16, IM_F16, w, task); break;
    case IM_BF16: apply_pixels(IM_BF16, IM_BF16, w, task); break;
    default:      apply_pixels(w->at->x.t, w->at->y.t, w, task);
    }
}

int IM_FN(im_cpu_groupnorm)(im_device *dev, const im_groupnorm_args *at)
{
    job w = { .at = at, .chunks = (int)((at->pixels + IM_GN_CHUNK - 1) / IM_GN_CHUNK),
              .cp = (at->channels + 15) & ~15 };
    size_t stats = (size_t)at->batch * (size_t)w.chunks * (size_t)w.cp, per = (size_t)at->batch * (size_t)w.cp;
    size_t groups = ((size_t)at->groups + 7) & ~(size_t)7;
    double *mem = im_scratch(dev, im_threads_of(dev), (2 * per + 2 * groups) * sizeof(double) +
                                                    (2 * per + 2 * stats) * sizeof(float));
    if (!mem)
        return IM_NO_MEMORY;
    w.channel_mean = mem;
    w.channel_m2 = mem + per;
    w.group_mean = mem + 2 * per;
    w.group_m2 = w.group_mean + groups;
    w.scale = (float *)(w.group_m2 + groups);
    w.shift = w.scale + per;
    w.mean = w.shift + per;
    w.m2 = w.mean + stats;

    im_parallel_for(im_threads_of(dev), at->batch * ((w.chunks + SPAN - 1) / SPAN), chunk_statistics, &w);
    im_parallel_for(im_threads_of(dev), at->batch * ((w.cp + LANES - 1) / LANES), combine_chunks, &w);
    for (int b = 0; b < at->batch; b++)
        combine_channels(&w, b);
    im_parallel_for(im_threads_of(dev), at->batch * (int)((at->pixels + PIXELS - 1) / PIXELS), apply, &w);
    return dev->stop && *dev->stop ? IM_STOPPED : IM_DONE;
}

static const float ones[16] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };

/* Rows i < n: mean and centred squares in 16 lanes and the tree; then y = fma((x - mean) rstd, gamma, beta), in f32. */
IM_INLINE void layernorm_rows(im_dtype tx, im_dtype ty, int n, const im_layernorm_args *at, int64_t row)
{
    const void *x = im_at(at->x.p, tx, row * at->ldx);
    void *y = im_at(at->y.p, ty, row * at->ldy);
    int ch = at->channels, whole = ch / 16 * 16;
    v16 acc[ROWS], mean[ROWS], rstd[ROWS], mask = v_load_n(ones, ch - whole);
    IM_UNROLL for (int i = 0; i < n; i++) acc[i] = v_zero();
    for (int c = 0; c < whole; c += 16)
        IM_UNROLL for (int i = 0; i < n; i++) {
            prefetch_as(tx, x, (n + i) * at->ldx + c);
            acc[i] = v_add(acc[i], load_as(tx, x, i * at->ldx + c, 16));
        }
    IM_UNROLL for (int i = 0; i < n; i++) {
        if (whole < ch)
            acc[i] = v_add(acc[i], load_as(tx, x, i * at->ldx + whole, ch - whole));
        float m = v_sum(acc[i]) / (float)ch;
        mean[i] = v_set1(m);
        if (at->mean)
            at->mean[row + i] = m;
        acc[i] = v_zero();
    }
    for (int c = 0; c < whole; c += 16)
        IM_UNROLL for (int i = 0; i < n; i++) {
            v16 d = v_sub(load_as(tx, x, i * at->ldx + c, 16), mean[i]);
            acc[i] = v_fma(d, d, acc[i]);
        }
    IM_UNROLL for (int i = 0; i < n; i++) {
        if (whole < ch) {
            v16 d = v_mul(v_sub(load_as(tx, x, i * at->ldx + whole, ch - whole), mean[i]), mask);
            acc[i] = v_fma(d, d, acc[i]);
        }
        float r = 1.0f / sqrtf(v_sum(acc[i]) / (float)ch + at->eps);
        rstd[i] = v_set1(r);
        if (at->rstd)
            at->rstd[row + i] = r;
    }
    for (int c = 0; c < ch; c += 16) {
        int left = ch - c < 16 ? ch - c : 16;
        v16 gamma = v_load_n(at->gamma + c, left), beta = v_load_n(at->beta + c, left);
        IM_UNROLL for (int i = 0; i < n; i++) {
            v16 v = v_mul(v_sub(load_as(tx, x, i * at->ldx + c, left), mean[i]), rstd[i]);
            store_as(ty, y, i * at->ldy + c, v_fma(v, gamma, beta), left);
        }
    }
}

/* 8 * ROWS rows. */
IM_INLINE void some_rows(im_dtype tx, im_dtype ty, const im_layernorm_args *at, int task)
{
    int64_t r = (int64_t)task * 8 * ROWS, last = r + 8 * ROWS < at->rows ? r + 8 * ROWS : at->rows;
    for (; r + ROWS <= last; r += ROWS)
        layernorm_rows(tx, ty, ROWS, at, r);
    for (; r < last; r++)
        layernorm_rows(tx, ty, 1, at, r);
}

static void layernorm_task(void *arg, int task, int thread)
{
    const im_layernorm_args *at = arg;
    (void)thread;
    switch (same2(at->x.t, at->y.t)) {
    case IM_F32:  some_rows(IM_F32, IM_F32, at, task); break;
    case IM_F16:  some_rows(IM_F16, IM_F16, at, task); break;
    case IM_BF16: some_rows(IM_BF16, IM_BF16, at, task); break;
    default:      some_rows(at->x.t, at->y.t, at, task);
    }
}

int IM_FN(im_cpu_layernorm)(im_device *dev, const im_layernorm_args *args)
{
    im_layernorm_args at = *args;
    im_parallel_for(im_threads_of(dev), (int)((at.rows + 8 * ROWS - 1) / (8 * ROWS)), layernorm_task, &at);
    return IM_DONE;
}
