/* norm.cu: group norm with SiLU, and layer norm (ref/norm.c has the formulas; cpu/norm.c the order of their sums).
 *
 * Group norm, channels last:   statistics   a thread a channel of a chunk of IM_GN_CHUNK pixels: mean and centred squares
 *                              channels     a thread a channel: its chunks joined in f64, ascending
 *                              groups       a thread a group: its channels joined; scale and shift of each channel
 *                              apply        a thread an element: y = fma(x, scale, shift) [silu]
 * Neighbouring threads take neighbouring channels, so that a warp reads 128 bytes that lie side by side.
 *
 * Layer norm: 16 threads a row, thread i the elements i, i + 16, ...; they are the lanes of the sums. */
#include "cuda/kernel.cuh"

struct group_call {
    im_groupnorm_args p;
    int chunks;
    float *mean, *m2;                                          /* [batch][chunks][channels]                            */
    double *channel_mean, *channel_m2;                         /* [batch][channels]                                    */
    float *scale, *shift;                                      /* [batch][channels]                                    */
};

KERNEL(THREADS) group_statistics(GRID group_call w)
{
    int64_t i = thread_of_grid(), channels = w.p.channels;
    if (i >= w.p.batch * w.chunks * channels)
        return;
    int64_t c = i % channels, chunk = i / channels % w.chunks, b = i / channels / w.chunks, pixel = chunk * IM_GN_CHUNK;
    int n = (int)min_of(w.p.pixels - pixel, (int64_t)IM_GN_CHUNK);
    int64_t at = (b * w.p.pixels + pixel) * channels + c;
    float sum = 0.0f, squares = 0.0f;
    for (int k = 0; k < n; k++)
        sum = sum + load(w.p.x, at + k * channels);
    sum = sum / (float)n;
    for (int k = 0; k < n; k++) {
        float d = load(w.p.x, at + k * channels) - sum;
        squares = fmaf(d, d, squares);
    }
    w.mean[i] = sum;
    w.m2[i] = squares;
}

KERNEL(THREADS) group_channels(GRID group_call w)
{
    int64_t i = thread_of_grid(), channels = w.p.channels;
    if (i >= w.p.batch * channels)
        return;
    double mean = 0.0, m2 = 0.0;
    for (int chunk = 0; chunk < w.chunks; chunk++) {
        int64_t from = (i / channels * w.chunks + chunk) * channels + i % channels;
        double na = (double)chunk * IM_GN_CHUNK;
        double nb = (double)min_of(w.p.pixels - chunk * IM_GN_CHUNK, (int64_t)IM_GN_CHUNK);
        double share = nb / (na + nb), delta = (double)w.mean[from] - mean;
        mean = mean + delta * share;
        m2 = m2 + ((double)w.m2[from] + delta * delta * (na * share));
    }
    w.channel_mean[i] = mean;
    w.channel_m2[i] = m2;
}

KERNEL(THREADS) group_groups(GRID group_call w)
{
    int64_t i = thread_of_grid();
    if (i >= (int64_t)w.p.batch * w.p.groups)
        return;
    int size = w.p.channels / w.p.groups, first = (int)(i % w.p.groups) * size;
    int64_t at = i / w.p.groups * w.p.channels + first;
    double mean = 0.0, m2 = 0.0, n = (double)w.p.pixels;
    for (int k = 0; k < size; k++) {
        double na = n * k, share = n / (na + n), delta = w.channel_mean[at + k] - mean;
        mean = mean + delta * share;
        m2 = m2 + (w.channel_m2[at + k] + delta * delta * (na * share));
    }
    double rstd = 1.0 / sqrt(m2 / (n * size) + (double)w.p.eps);
    if (w.p.mean) {
        w.p.mean[i] = (float)mean;
        w.p.rstd[i] = (float)rstd;
    }
    for (int k = 0; k < size; k++) {
        double scale = rstd * (double)w.p.gamma[first + k];
        w.scale[at + k] = (float)scale;
        w.shift[at + k] = (float)((double)w.p.beta[first + k] - mean * scale);
    }
}

KERNEL(THREADS) group_apply(GRID group_call w)
{
    int64_t i = thread_of_grid(), channels = w.p.channels;
    if (i >= w.p.batch * w.p.pixels * channels)
        return;
    int64_t at = i / (w.p.pixels * channels) * channels + i % channels;
    float v = fmaf(load(w.p.x, i), w.scale[at], w.shift[at]);
    store(w.p.y, i, w.p.silu ? silu(v) : v);
}

int im_cuda_groupnorm(im_device *dev, const im_groupnorm_args *p)
{
    int chunks = (int)((p->pixels + IM_GN_CHUNK - 1) / IM_GN_CHUNK);
    int64_t per = (int64_t)p->batch * p->channels, all = per * chunks;
    group_call w = { *p, chunks, NULL, NULL, NULL, NULL, NULL, NULL };
    w.channel_mean = (double *)im_cuda_workspace(dev, (size_t)(2 * per) * sizeof(double) +
                                                      (size_t)(2 * per + 2 * all) * sizeof(float));
    if (!w.channel_mean)
        return IM_NO_MEMORY;
    w.channel_m2 = w.channel_mean + per;
    w.scale = (float *)(w.channel_m2 + per);
    w.shift = w.scale + per;
    w.mean = w.shift + per;
    w.m2 = w.mean + all;
    int failed = RUN(dev, im_cuda_blocks(all, THREADS), THREADS, group_statistics, w);
    failed = failed || RUN(dev, im_cuda_blocks(per, THREADS), THREADS, group_channels, w);
    failed = failed || RUN(dev, im_cuda_blocks((int64_t)p->batch * p->groups, THREADS), THREADS, group_groups, w);
    failed = failed || RUN(dev, im_cuda_blocks(per * p->pixels, THREADS), THREADS, group_apply, w);
    return im_cuda_done(dev, failed);
}

KERNEL(THREADS) layernorm_kernel(GRID im_layernorm_args p)
{
    int64_t row = thread_of_grid() / 16, x = row * p.ldx, y = row * p.ldy;
    int lane = (int)threadIdx.x % 16, ch = row < p.rows ? p.channels : 0;      /* lanes without a row stay for the sums */
    float acc = 0.0f;
    for (int c = lane; c < ch; c += 16)
        acc = acc + load(p.x, x + c);
    float mean = from_first(tree_sum(acc) / (float)p.channels);
    acc = 0.0f;
    for (int c = lane; c < ch; c += 16) {
        float d = load(p.x, x + c) - mean;
        acc = fmaf(d, d, acc);
    }
    float rstd = from_first(1.0f / sqrtf(tree_sum(acc) / (float)p.channels + p.eps));
    if (lane == 0 && ch && p.mean)
        p.mean[row] = mean;
    if (lane == 0 && ch && p.rstd)
        p.rstd[row] = rstd;
    for (int c = lane; c < ch; c += 16)
        store(p.y, y + c, fmaf((load(p.x, x + c) - mean) * rstd, p.gamma[c], p.beta[c]));
}

int im_cuda_layernorm(im_device *dev, const im_layernorm_args *p)
{
    return im_cuda_done(dev, RUN(dev, im_cuda_blocks(p->rows * 16, THREADS), THREADS, layernorm_kernel, *p));
}
