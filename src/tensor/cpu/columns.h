/* columns.h: what norms do down the columns of a few rows: mean and centred squares of a chunk, each channel one ascending
 * chain in f32 (the squares read the chunk again, from L1), and the joining of chunks in f64:
 *   delta = mean_b - mean;  mean += delta n_b / (n + n_b);  m2 += m2_b + delta^2 n n_b / (n + n_b)  (Chan et al. 1979).
 * Used by norm.c and batchnorm.c, and what loads and stores parts of vectors by pool.c and norm_backward.c too. */
#ifndef IM_CPU_COLUMNS_H
#define IM_CPU_COLUMNS_H

#include "tensor/cpu/buffer.h"

enum {
    IM_COLUMN_VECTORS = IM_NV > 1 ? 8 : 4,       /* of channels whose sums fill at most half the registers */
    IM_STREAM = 24 << 20                         /* bytes: about the L3 that a core can hope for */
};

/* The first `left` of 16 (most often all: no mask then). */
IM_INLINE v16 load_left(const float *p, int left) { return left == 16 ? v_load(p) : v_load_n(p, left); }

/* stream: what is written is larger than the caches, and whole vectors on 64 bytes (streams below). */
IM_INLINE void store_left(bool stream, float *p, v16 v, int left)
{
    if (stream)
        v_stream(p, v);
    else if (left == 16)
        v_store(p, v);
    else
        v_store_n(p, v, left);
}

/* The same of any dtype, at p + i. */
IM_INLINE void store_left_as(im_dtype t, bool stream, void *p, int64_t i, v16 v, int left)
{
    if (stream)
        stream_as(t, p, i, v);
    else
        store_as(t, p, i, v, left);
}

/* Whether rows of `channels` values at p are written past the caches: a line that is only written need not be read first,
 * but what comes next finds nothing in the caches, so only from IM_STREAM bytes on. */
IM_INLINE bool streams(im_buf b, int64_t rows, int channels)
{
    return rows * channels * (b.t == IM_F32 ? 4 : 2) >= IM_STREAM && channels % 16 == 0 && (uintptr_t)b.p % 64 == 0;
}

/* Mean and centred squares of 16 nv channels (tail > 0: of `tail` channels) over n rows. */
IM_INLINE void strip_statistics(im_dtype t, int nv, int tail, const void *x, int64_t ld, int n, float *mean, float *m2)
{
    v16 sum[IM_COLUMN_VECTORS], sq[IM_COLUMN_VECTORS];
    IM_UNROLL for (int j = 0; j < nv; j++) sum[j] = sq[j] = v_zero();
    for (int p = 0; p < n; p++)
        IM_UNROLL for (int j = 0; j < nv; j++) {
            prefetch_as(t, x, (p + 16) * ld + 16 * j);
            sum[j] = v_add(sum[j], load_as(t, x, p * ld + 16 * j, tail ? tail : 16));
        }
    IM_UNROLL for (int j = 0; j < nv; j++) sum[j] = v_div(sum[j], v_set1((float)n));
    for (int p = 0; p < n; p++)
        IM_UNROLL for (int j = 0; j < nv; j++) {
            v16 c = v_sub(load_as(t, x, p * ld + 16 * j, tail ? tail : 16), sum[j]);
            sq[j] = v_fma(c, c, sq[j]);
        }
    IM_UNROLL for (int j = 0; j < nv; j++) {
        v_store(mean + 16 * j, sum[j]);
        v_store(m2 + 16 * j, sq[j]);
    }
}

/* The same for `channels` channels; mean and m2 have room for whole vectors. */
IM_INLINE void column_statistics_as(im_dtype t, const void *x, int64_t ld, int n, int channels, float *mean, float *m2)
{
    int c = 0;
    for (; c + 16 * IM_COLUMN_VECTORS <= channels; c += 16 * IM_COLUMN_VECTORS)
        strip_statistics(t, IM_COLUMN_VECTORS, 0, im_at(x, t, c), ld, n, mean + c, m2 + c);
    for (; c + 64 <= channels; c += 64)
        strip_statistics(t, 4, 0, im_at(x, t, c), ld, n, mean + c, m2 + c);
    for (; c + 32 <= channels; c += 32)
        strip_statistics(t, 2, 0, im_at(x, t, c), ld, n, mean + c, m2 + c);
    for (; c + 16 <= channels; c += 16)
        strip_statistics(t, 1, 0, im_at(x, t, c), ld, n, mean + c, m2 + c);
    if (c < channels)
        strip_statistics(t, 1, channels - c, im_at(x, t, c), ld, n, mean + c, m2 + c);
}

IM_INLINE void column_statistics(im_cbuf x, int64_t ld, int n, int channels, float *mean, float *m2)
{
    if (x.t == IM_F32)
        column_statistics_as(IM_F32, x.p, ld, n, channels, mean, m2);
    else if (x.t == IM_BF16)
        column_statistics_as(IM_BF16, x.p, ld, n, channels, mean, m2);
    else
        column_statistics_as(IM_F16, x.p, ld, n, channels, mean, m2);
}

/* Joins mean_b and m2_b of nb rows to mean and m2 of na rows, for n channels. */
IM_INLINE void join_chunk(int n, double *restrict mean, double *restrict m2, double na, const float *mean_b,
                          const float *m2_b, double nb)
{
    double share = nb / (na + nb), cross = na * share;
    for (int c = 0; c < n; c++) {
        double delta = (double)mean_b[c] - mean[c];
        mean[c] += delta * share;
        m2[c] += (double)m2_b[c] + delta * delta * cross;
    }
}

#endif
