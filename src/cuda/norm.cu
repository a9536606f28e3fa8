/* norm.cu: group norm with SiLU, and layer norm (ref/norm.c has the formulas; cpu/norm.c the order of their sums).
 *
 * Group norm, channels last:   statistics   a block: a chunk of IM_GN_CHUNK pixels x 64 channels, fetched once into shared
 *                                           memory; then a thread a channel: mean and centred squares
 *                              groups       a block a group: a thread a channel joins its chunks in f64, ascending; one
 *                                           joins the channels; scale and shift of each channel
 *                              apply        a thread a channel, or 8, of 8 pixels: y = fma(x, scale, shift) [silu]
 * So x is read twice and y written once. In 16 bits eight numbers go in one access of 16 bytes, where channels allow it
 * (vector.cuh); in f32 neighbouring threads take neighbouring numbers, which asks for no more sectors.
 *
 * Layer norm: 16 threads a row, thread i the elements i, i + 16, ...; they are the lanes of the sums. Rows of up to 1,280
 * channels stay in registers and are read once. */
#include "cuda/row.cuh"
#include "cuda/vector.cuh"

struct group_call {
    im_groupnorm_args p;
    int chunks;
    bool eight;                                                /* x can be read by 8                                   */
    float *mean, *m2;                                          /* [batch][chunks][channels]                            */
    double *channel_mean, *channel_m2;                         /* [batch][channels]                                    */
    float *scale, *shift;                                      /* [batch][channels]                                    */
};

enum { GN_PIXELS = 8, GN_TILE = 64, GN_PITCH = GN_TILE + 4, GN_THREADS = IM_GN_CHUNK * GN_TILE / EIGHT };

/* blockIdx: chunk, 64 channels, picture */
KERNEL(GN_THREADS) group_statistics(GRID group_call w)
{
    SHARED2(float, tile, IM_GN_CHUNK, GN_PITCH);
    int t = (int)threadIdx.x, line = t / (GN_TILE / EIGHT), c0 = t % (GN_TILE / EIGHT) * EIGHT;
    int64_t channels = w.p.channels, first = (int64_t)blockIdx.y * GN_TILE, pixel = (int64_t)blockIdx.x * IM_GN_CHUNK;
    int n = (int)min_of(w.p.pixels - pixel, (int64_t)IM_GN_CHUNK);
    int64_t at = (blockIdx.z * w.p.pixels + pixel + line) * channels + first + c0;
    if (w.eight && line < n && first + c0 < channels) {
        float v[EIGHT];
        load_eight(w.p.x.p, w.p.x.t, at, v);
        for (int k = 0; k < EIGHT; k++)
            tile[line][c0 + k] = v[k];
    }
    for (int k = 0; !w.eight && k < EIGHT; k++) {              /* neighbours side by side                              */
        int row = k * (GN_THREADS / GN_TILE) + t / GN_TILE, c = t % GN_TILE;
        if (row < n && first + c < channels)
            tile[row][c] = load(w.p.x, (blockIdx.z * w.p.pixels + pixel + row) * channels + first + c);
    }
    sync_block();
    if (t >= GN_TILE || first + t >= channels)
        return;
    float sum = 0.0f, squares = 0.0f;
    for (int k = 0; k < n; k++)
        sum = sum + tile[k][t];
    sum = sum / (float)n;
    for (int k = 0; k < n; k++) {
        float d = tile[k][t] - sum;
        squares = fmaf(d, d, squares);
    }
    int64_t i = ((int64_t)blockIdx.z * w.chunks + blockIdx.x) * channels + first + t;
    w.mean[i] = sum;
    w.m2[i] = squares;
}

DEV void join_chunks(const group_call &w, int64_t b, int64_t c)
{
    double mean = 0.0, m2 = 0.0;
    for (int chunk = 0; chunk < w.chunks; chunk++) {
        int64_t from = (b * w.chunks + chunk) * w.p.channels + c;
        double na = (double)chunk * IM_GN_CHUNK;
        double nb = (double)min_of(w.p.pixels - chunk * IM_GN_CHUNK, (int64_t)IM_GN_CHUNK);
        double share = nb / (na + nb), delta = (double)w.mean[from] - mean;
        mean = mean + delta * share;
        m2 = m2 + ((double)w.m2[from] + delta * delta * (na * share));
    }
    w.channel_mean[b * w.p.channels + c] = mean;
    w.channel_m2[b * w.p.channels + c] = m2;
}

/* blockIdx: group, picture */
KERNEL(GN_TILE) group_groups(GRID group_call w)
{
    SHARED(double, joined, 2);                                 /* mean and 1 / deviation of the group                  */
    int t = (int)threadIdx.x, size = w.p.channels / w.p.groups, first = (int)blockIdx.x * size;
    int64_t b = blockIdx.y, at = b * w.p.channels + first, i = b * w.p.groups + blockIdx.x;
    for (int k = t; k < size; k += GN_TILE)
        join_chunks(w, b, first + k);
    sync_block();
    if (t == 0) {
        double mean = 0.0, m2 = 0.0, n = (double)w.p.pixels;
        for (int k = 0; k < size; k++) {
            double na = n * k, share = n / (na + n), delta = w.channel_mean[at + k] - mean;
            mean = mean + delta * share;
            m2 = m2 + (w.channel_m2[at + k] + delta * delta * (na * share));
        }
        joined[0] = mean;
        joined[1] = 1.0 / sqrt(m2 / (n * size) + (double)w.p.eps);
        if (w.p.mean) {
            w.p.mean[i] = (float)mean;
            w.p.rstd[i] = (float)joined[1];
        }
    }
    sync_block();
    for (int k = t; k < size; k += GN_TILE) {
        double scale = joined[1] * (double)w.p.gamma[first + k];
        w.scale[at + k] = (float)scale;
        w.shift[at + k] = (float)((double)w.p.beta[first + k] - joined[0] * scale);
    }
}

/* A thread a channel of 8 pixels, whose scale and shift it reads once; its neighbours take the channels beside it. */
KERNEL(THREADS) group_apply(GRID group_call w)
{
    int64_t i = thread_of_grid(), channels = w.p.channels, some = (w.p.pixels + GN_PIXELS - 1) / GN_PIXELS;
    int64_t c = i % channels, b = i / channels / some;
    int64_t from = i / channels % some * GN_PIXELS, to = min_of(from + GN_PIXELS, w.p.pixels);
    if (b >= w.p.batch)
        return;
    float scale = w.scale[b * channels + c], shift = w.shift[b * channels + c];
    for (int64_t pixel = from; pixel < to; pixel++) {
        int64_t at = (b * w.p.pixels + pixel) * channels + c;
        float v = fmaf(load(w.p.x, at), scale, shift);
        store(w.p.y, at, w.p.silu ? silu(v) : v);
    }
}

KERNEL(THREADS) group_apply_eight(GRID group_call w)
{
    int64_t i = thread_of_grid(), channels = w.p.channels, some = (w.p.pixels + GN_PIXELS - 1) / GN_PIXELS;
    int64_t c = i % (channels / EIGHT) * EIGHT, b = i / (channels / EIGHT) / some;
    int64_t from = i / (channels / EIGHT) % some * GN_PIXELS, to = min_of(from + GN_PIXELS, w.p.pixels);
    float v[EIGHT], scale[EIGHT], shift[EIGHT];
    if (b >= w.p.batch)
        return;
    load_eight(w.scale, IM_F32, b * channels + c, scale);
    load_eight(w.shift, IM_F32, b * channels + c, shift);
    for (int64_t pixel = from; pixel < to; pixel++) {
        int64_t at = (b * w.p.pixels + pixel) * channels + c;
        load_eight(w.p.x.p, w.p.x.t, at, v);
        UNROLL for (int k = 0; k < EIGHT; k++) {
            v[k] = fmaf(v[k], scale[k], shift[k]);
            v[k] = w.p.silu ? silu(v[k]) : v[k];
        }
        store_eight(w.p.y, at, v);
    }
}

int im_cuda_groupnorm(im_device *dev, const im_groupnorm_args *p)
{
    int chunks = (int)((p->pixels + IM_GN_CHUNK - 1) / IM_GN_CHUNK);
    int64_t per = (int64_t)p->batch * p->channels, all = per * chunks;
    bool eight = p->x.t != IM_F32 && by_eight(p->x.p, p->channels);
    group_call w = { *p, chunks, eight, NULL, NULL, NULL, NULL, NULL, NULL };
    w.channel_mean = (double *)im_cuda_workspace(dev, (size_t)(2 * per) * sizeof(double) +
                                                      (size_t)(2 * per + 2 * all) * sizeof(float));
    if (!w.channel_mean)
        return IM_NO_MEMORY;
    w.channel_m2 = w.channel_mean + per;
    w.scale = (float *)(w.channel_m2 + per);
    w.shift = w.scale + per;
    w.mean = w.shift + per;
    w.m2 = w.mean + all;
    dim3 tiles((unsigned)chunks, im_cuda_blocks(p->channels, GN_TILE), (unsigned)p->batch);
    int failed = RUN(dev, tiles, GN_THREADS, group_statistics, w);
    failed = failed || RUN(dev, dim3((unsigned)p->groups, (unsigned)p->batch), GN_TILE, group_groups, w);
    int64_t some = per * ((p->pixels + GN_PIXELS - 1) / GN_PIXELS);
    if (eight && p->y.t != IM_F32 && by_eight(p->y.p, p->channels))
        failed = failed || RUN(dev, im_cuda_blocks(some / EIGHT, THREADS), THREADS, group_apply_eight, w);
    else
        failed = failed || RUN(dev, im_cuda_blocks(some, THREADS), THREADS, group_apply, w);
    return im_cuda_done(dev, failed);
}

template <int HELD> KERNEL(THREADS) layernorm_kernel(GRID im_layernorm_args p)
{
    int64_t row = thread_of_grid() / 16, y = row * p.ldy;
    int lane = (int)threadIdx.x % 16, ch = row < p.rows ? p.channels : 0;      /* lanes without a row stay for the sums */
    row_numbers<HELD> x = { p.x, row * p.ldx + lane, (ch - lane + 15) / 16, { 0 } };
    float acc = 0.0f;
    x.begin();
    UNROLL for (int k = 0; k < x.end(); k++)
        acc = acc + x.number(k);                               /* zeros behind the row                                 */
    float mean = from_first(tree_sum(acc) / (float)p.channels);
    acc = 0.0f;
    UNROLL for (int k = 0; k < x.end(); k++) {
        float d = x.number(k) - mean;
        acc = k < x.n ? fmaf(d, d, acc) : acc;
    }
    float rstd = from_first(1.0f / sqrtf(tree_sum(acc) / (float)p.channels + p.eps));
    if (lane == 0 && ch && p.mean)
        p.mean[row] = mean;
    if (lane == 0 && ch && p.rstd)
        p.rstd[row] = rstd;
    UNROLL for (int k = 0; k < x.end(); k++)
        if (k < x.n) {
            int c = lane + 16 * k;
            store(p.y, y + c, fmaf((x.number(k) - mean) * rstd, p.gamma[c], p.beta[c]));
        }
}

int im_cuda_layernorm(im_device *dev, const im_layernorm_args *p)
{
    unsigned blocks = im_cuda_blocks(p->rows * 16, THREADS);
    int failed = p->channels <= 16 * 20 ? RUN(dev, blocks, THREADS, layernorm_kernel<20>, *p)
               : p->channels <= 16 * 40 ? RUN(dev, blocks, THREADS, layernorm_kernel<40>, *p)
               : p->channels <= 16 * 80 ? RUN(dev, blocks, THREADS, layernorm_kernel<80>, *p)
                                        : RUN(dev, blocks, THREADS, layernorm_kernel<0>, *p);
    return im_cuda_done(dev, failed);
}
