/* norm_backward.cu: gradients of group norm (with SiLU) and layer norm (ref/norm_backward.c has the formulas,
 * cpu/norm_backward.c the order of the sums). Called by ops/norm.c.
 *
 * Group norm: a thread a channel of a chunk of pixels: A = sum g, B = sum g (x - mean); a thread a channel joins its
 * chunks; a thread a group its channels; a thread a channel the batch, for dgamma and dbeta; a thread an element of dx.
 * Layer norm: a thread a column of a chunk of rows, then of all chunks; then 16 threads a row for dx, as in norm.cu. */
#include "cuda/kernel.cuh"

struct group_bwd {
    im_groupnorm_bwd_args p;
    int chunks;
    float *a, *b;                                              /* [batch][chunks][channels]                            */
    double *channel_a, *channel_b;                             /* [batch][channels]                                    */
    float *fb, *fc;                                            /* [batch][groups]: factors of dx                       */
};

/* x - mean, and g = dy silu'(z), of element i of channel c. */
DEV float centred(const group_bwd &w, int64_t i, int64_t b, int64_t c, float *g, float *scale)
{
    int64_t group = b * w.p.groups + c / (w.p.channels / w.p.groups);
    float d = load(w.p.x, i) - w.p.mean[group], dy = load(w.p.dy, i);
    *scale = (float)((double)w.p.rstd[group] * (double)w.p.gamma[c]);
    if (w.p.silu) {
        float z = fmaf(d, *scale, w.p.beta[c]), s = sigmoid(z);
        dy = dy * fmaf(z, s * (1.0f - s), s);
    }
    *g = dy;
    return d;
}

KERNEL(THREADS) group_bwd_chunks(GRID group_bwd w)
{
    int64_t i = thread_of_grid(), channels = w.p.channels, c = i % channels;
    int64_t chunk = i / channels % w.chunks, b = i / channels / w.chunks;
    if (b >= w.p.batch)
        return;
    float sum = 0.0f, with_x = 0.0f, g, scale;
    for (int64_t p = chunk * IM_GN_CHUNK; p < min_of((chunk + 1) * IM_GN_CHUNK, w.p.pixels); p++) {
        float d = centred(w, (b * w.p.pixels + p) * channels + c, b, c, &g, &scale);
        sum = sum + g;
        with_x = fmaf(g, d, with_x);
    }
    w.a[i] = sum;
    w.b[i] = with_x;
}

KERNEL(THREADS) group_bwd_channels(GRID group_bwd w)
{
    int64_t i = thread_of_grid(), channels = w.p.channels;
    if (i >= w.p.batch * channels)
        return;
    double a = 0.0, b = 0.0;
    for (int chunk = 0; chunk < w.chunks; chunk++) {
        int64_t from = (i / channels * w.chunks + chunk) * channels + i % channels;
        a = a + (double)w.a[from];
        b = b + (double)w.b[from];
    }
    w.channel_a[i] = a;
    w.channel_b[i] = b;
}

KERNEL(THREADS) group_bwd_groups(GRID group_bwd w)
{
    int64_t i = thread_of_grid();
    if (i >= (int64_t)w.p.batch * w.p.groups)
        return;
    int size = w.p.channels / w.p.groups, first = (int)(i % w.p.groups) * size;
    int64_t at = i / w.p.groups * w.p.channels + first;
    double n = (double)w.p.pixels * size, s1 = 0.0, s2 = 0.0, rstd = (double)w.p.rstd[i];
    for (int k = 0; k < size; k++) {
        s1 = s1 + (double)w.p.gamma[first + k] * w.channel_a[at + k];
        s2 = s2 + (double)w.p.gamma[first + k] * w.channel_b[at + k];
        w.channel_b[at + k] = w.channel_b[at + k] * rstd;
    }
    w.fb[i] = (float)(-rstd * rstd * rstd * s2 / n);
    w.fc[i] = (float)(-rstd * s1 / n);
}

KERNEL(THREADS) group_bwd_affine(GRID group_bwd w)
{
    int64_t c = thread_of_grid();
    if (c >= w.p.channels)
        return;
    double dgamma = 0.0, dbeta = 0.0;
    for (int64_t b = 0; b < w.p.batch; b++) {
        dbeta = dbeta + w.channel_a[b * w.p.channels + c];
        dgamma = dgamma + w.channel_b[b * w.p.channels + c];
    }
    if (w.p.dgamma)
        put_sum(w.p.dgamma + c, dgamma, w.p.add_dgamma);
    if (w.p.dbeta)
        put_sum(w.p.dbeta + c, dbeta, w.p.add_dbeta);
}

KERNEL(THREADS) group_bwd_dx(GRID group_bwd w)
{
    int64_t i = thread_of_grid(), channels = w.p.channels, c = i % channels, b = i / channels / w.p.pixels;
    if (b >= w.p.batch)
        return;
    float g, scale, d = centred(w, i, b, c, &g, &scale);
    int64_t group = b * w.p.groups + c / (channels / w.p.groups);
    put(w.p.dx, i, fmaf(w.fb[group], d, fmaf(scale, g, w.fc[group])), w.p.add_dx);
}

int im_cuda_groupnorm_bwd(im_device *dev, const im_groupnorm_bwd_args *p)
{
    int chunks = (int)((p->pixels + IM_GN_CHUNK - 1) / IM_GN_CHUNK);
    int64_t per = (int64_t)p->batch * p->channels, all = per * chunks, groups = (int64_t)p->batch * p->groups;
    group_bwd w = { *p, chunks, NULL, NULL, NULL, NULL, NULL, NULL };
    w.channel_a = (double *)im_cuda_workspace(dev, (size_t)(2 * per) * sizeof(double) +
                                                   (size_t)(2 * all + 2 * groups) * sizeof(float));
    if (!w.channel_a)
        return IM_NO_MEMORY;
    w.channel_b = w.channel_a + per;
    w.a = (float *)(w.channel_b + per);
    w.b = w.a + all;
    w.fb = w.b + all;
    w.fc = w.fb + groups;
    int failed = RUN(dev, im_cuda_blocks(all, THREADS), THREADS, group_bwd_chunks, w);
    failed = failed || RUN(dev, im_cuda_blocks(per, THREADS), THREADS, group_bwd_channels, w);
    failed = failed || RUN(dev, im_cuda_blocks(groups, THREADS), THREADS, group_bwd_groups, w);
    failed = failed || RUN(dev, im_cuda_blocks(p->channels, THREADS), THREADS, group_bwd_affine, w);
    if (p->dx.p)
        failed = failed || RUN(dev, im_cuda_blocks(per * p->pixels, THREADS), THREADS, group_bwd_dx, w);
    return im_cuda_done(dev, failed);
}

struct rows_bwd { im_layernorm_bwd_args p; int chunks; float *dgamma, *dbeta; };       /* sums [chunks][channels]      */

KERNEL(THREADS) rows_bwd_chunks(GRID rows_bwd w)
{
    int64_t i = thread_of_grid(), channels = w.p.channels, c = i % channels, chunk = i / channels;
    if (chunk >= w.chunks)
        return;
    float dgamma = 0.0f, dbeta = 0.0f;
    for (int64_t r = chunk * IM_SUM_CHUNK; r < min_of((chunk + 1) * IM_SUM_CHUNK, w.p.rows); r++) {
        float d = load(w.p.dy, r * channels + c), xhat = (load(w.p.x, r * w.p.ldx + c) - w.p.mean[r]) * w.p.rstd[r];
        dgamma = fmaf(d, xhat, dgamma);
        dbeta = dbeta + d;
    }
    w.dgamma[i] = dgamma;
    w.dbeta[i] = dbeta;
}

KERNEL(THREADS) rows_bwd_affine(GRID rows_bwd w)
{
    int64_t c = thread_of_grid(), channels = w.p.channels;
    if (c >= channels)
        return;
    double dgamma = 0.0, dbeta = 0.0;
    for (int chunk = 0; chunk < w.chunks; chunk++) {
        dgamma = dgamma + (double)w.dgamma[chunk * channels + c];
        dbeta = dbeta + (double)w.dbeta[chunk * channels + c];
    }
    if (w.p.dgamma)
        put_sum(w.p.dgamma + c, dgamma, w.p.add_dgamma);
    if (w.p.dbeta)
        put_sum(w.p.dbeta + c, dbeta, w.p.add_dbeta);
}

KERNEL(THREADS) rows_bwd_dx(GRID im_layernorm_bwd_args p)
{
    int64_t row = thread_of_grid() / 16, x = row * p.ldx, y = row * p.channels;
    int lane = (int)threadIdx.x % 16, ch = row < p.rows ? p.channels : 0;
    float mean = ch ? p.mean[row] : 0.0f, rstd = ch ? p.rstd[row] : 0.0f, s1 = 0.0f, s2 = 0.0f;
    for (int c = lane; c < ch; c += 16) {
        float g = load(p.dy, y + c) * p.gamma[c];
        s1 = s1 + g;
        s2 = fmaf(g, (load(p.x, x + c) - mean) * rstd, s2);
    }
    s1 = from_first(tree_sum(s1) / (float)p.channels);
    s2 = from_first(rstd * tree_sum(s2) / (float)p.channels);
    for (int c = lane; c < ch; c += 16) {
        float g = load(p.dy, y + c) * p.gamma[c];
        put(p.dx, x + c, rstd * fnma(load(p.x, x + c) - mean, s2, g - s1), p.add_dx);
    }
}

int im_cuda_layernorm_bwd(im_device *dev, const im_layernorm_bwd_args *p)
{
    int chunks = (int)((p->rows + IM_SUM_CHUNK - 1) / IM_SUM_CHUNK);
    int64_t all = (int64_t)chunks * p->channels;
    rows_bwd w = { *p, chunks, (float *)im_cuda_workspace(dev, (size_t)(2 * all) * sizeof(float)), NULL };
    if (!w.dgamma)
        return IM_NO_MEMORY;
    w.dbeta = w.dgamma + all;
    int failed = RUN(dev, im_cuda_blocks(all, THREADS), THREADS, rows_bwd_chunks, w);
    failed = failed || RUN(dev, im_cuda_blocks(p->channels, THREADS), THREADS, rows_bwd_affine, w);
    if (p->dx.p)
        failed = failed || RUN(dev, im_cuda_blocks(p->rows * 16, THREADS), THREADS, rows_bwd_dx, *p);
    return im_cuda_done(dev, failed);
}
