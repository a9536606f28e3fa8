/* attention_backward.cu: the gradient of attention (train_args.h has the formulas and the order of the sums; Dao et al.
 * 2022, algorithm 4). Scores are computed again from q, k and the lse of each query. In 16 bits where there are tensor
 * cores: attention_backward_mma.cu. Called by ops/attention.c.
 *
 *     along   a thread a query: do . o
 *     dq      a block: 16 queries of a head against all blocks of 64 keys, the sums of dq in registers
 *     dk, dv  a block: 16 keys against all blocks of 64 queries, in the same way with the two sides exchanged
 *
 *     "rows" are the 16 of the block, "columns" the 64 that pass by:   s[row][column], dp[row][column] by 16 threads a row,
 *     column i, i + 16, ... each; then ds (and p) to shared memory; then results of channel i, i + 16, ...: chains over
 *     ascending columns. Nothing is summed by two blocks, so there are no atomics. */
#include "cuda/attention.cuh"

enum { ROWS = 16, COLUMNS = 64, PIECE = 32 };

KERNEL(THREADS) along_kernel(GRID bwd_call w)
{
    const im_attention_bwd_args &p = w.p;
    int64_t i = thread_of_grid(), pair = i / p.tq, at = pair / p.heads * p.bso + i % p.tq * p.ldo + pair % p.heads * p.d;
    if (pair >= (int64_t)p.batch * p.heads)
        return;
    float sum = 0.0f;
    for (int c = 0; c < p.d; c++)
        sum = fmaf(load(p.dout, at + c), load(p.o, at + c), sum);
    w.along[i] = sum;
}

/* A side of a product: rows of d numbers; n of them exist. */
struct side { im_cbuf x; int64_t at, ld; int n; float by; };

/* s[r] = row of `a` (row0 + t / 16) times row of `b` (column0 + t % 16 + 16 r), chains over d. */
DEV void dots(const side &a, const side &b, int row0, int column0, int d, float (*as)[PIECE + 1], float (*bs)[PIECE + 1],
              float s[4])
{
    int t = (int)threadIdx.x, c = t % PIECE;
    for (int r = 0; r < 4; r++)
        s[r] = 0.0f;
    for (int d0 = 0; d0 < d; d0 += PIECE) {
        int n = d - d0 < PIECE ? d - d0 : (int)PIECE;
        sync_block();
        for (int i = t / PIECE; i < ROWS; i += THREADS / PIECE)
            as[i][c] = c < n && row0 + i < a.n ? load(a.x, a.at + (row0 + i) * a.ld + d0 + c) * a.by : 0.0f;
        for (int i = t / PIECE; i < COLUMNS; i += THREADS / PIECE)
            bs[i][c] = c < n && column0 + i < b.n ? load(b.x, b.at + (column0 + i) * b.ld + d0 + c) * b.by : 0.0f;
        sync_block();
        for (int i = 0; i < n; i++)
            for (int r = 0; r < 4; r++)
                s[r] = fmaf(as[t / 16][i], bs[t % 16 + 16 * r][i], s[r]);
    }
}

/* Score and dp of (query, key) to weight p (returned) and ds. */
DEV float weight(const bwd_call &w, int64_t pair, int query, int key, float s, float dp, float *ds)
{
    bool masked = w.p.causal && key > query;
    float x = masked ? 0.0f : exp2_weight(s - w.p.lse[pair * w.p.tq + query]);
    *ds = x * (dp - w.along[pair * w.p.tq + query]);
    return x;
}

template <int R> KERNEL(THREADS) dq_kernel(GRID bwd_call w)
{
    SHARED2(float, as, ROWS, PIECE + 1);
    SHARED2(float, bs, COLUMNS, PIECE + 1);
    SHARED2(float, ds, ROWS, COLUMNS);
    const im_attention_bwd_args &p = w.p;
    int t = (int)threadIdx.x, lane = t % 16, row0 = (int)blockIdx.x * ROWS, query = row0 + t / 16;
    int64_t pair = blockIdx.y, b = pair / p.heads, column = pair % p.heads * p.d;
    int c0 = (int)blockIdx.z * 16 * R + lane, tk = p.causal && row0 + ROWS < p.tk ? row0 + ROWS : p.tk;
    side q = { p.q, b * p.bsq + column, p.ldq, p.tq, w.factor }, k = { p.k, b * p.bsk + column, p.ldk, p.tk, 1.0f };
    side dout = { p.dout, b * p.bso + column, p.ldo, p.tq, 1.0f }, v = { p.v, b * p.bsv + column, p.ldv, p.tk, 1.0f };
    float sum[R], s[4], dp[4];
    for (int r = 0; r < R; r++)
        sum[r] = 0.0f;
    for (int key0 = 0; key0 < tk; key0 += COLUMNS) {
        int keys = tk - key0 < COLUMNS ? tk - key0 : (int)COLUMNS;
        dots(q, k, row0, key0, p.d, as, bs, s);
        dots(dout, v, row0, key0, p.d, as, bs, dp);
        for (int r = 0; r < 4; r++) {
            int key = lane + 16 * r;
            float x = 0.0f;
            if (query < p.tq)                                  /* beyond the last key: nobody reads it                */
                weight(w, pair, query, key0 + key, s[r], dp[r], &x);
            ds[t / 16][key] = x;
        }
        sync_warp();                                           /* rows stay within half a warp; dots has the next one  */
        for (int i = 0; i < keys; i++)
            for (int r = 0; r < R; r++)
                if (c0 + 16 * r < p.d)
                    sum[r] = fmaf(load(p.k, k.at + (key0 + i) * p.ldk + c0 + 16 * r), ds[t / 16][i], sum[r]);
    }
    for (int r = 0; r < R; r++)
        if (query < p.tq && c0 + 16 * r < p.d)
            put(p.dq, q.at + query * p.ldq + c0 + 16 * r, sum[r] * p.scale, p.add_dq);
}

template <int R> KERNEL(THREADS) dkv_kernel(GRID bwd_call w)
{
    SHARED2(float, as, ROWS, PIECE + 1);
    SHARED2(float, bs, COLUMNS, PIECE + 1);
    SHARED2(float, ps, ROWS, COLUMNS);
    SHARED2(float, ds, ROWS, COLUMNS);
    const im_attention_bwd_args &p = w.p;
    int t = (int)threadIdx.x, lane = t % 16, row0 = (int)blockIdx.x * ROWS, key = row0 + t / 16;
    int64_t pair = blockIdx.y, b = pair / p.heads, column = pair % p.heads * p.d;
    int c0 = (int)blockIdx.z * 16 * R + lane, first = p.causal ? row0 / COLUMNS * COLUMNS : 0;
    side q = { p.q, b * p.bsq + column, p.ldq, p.tq, w.factor }, k = { p.k, b * p.bsk + column, p.ldk, p.tk, 1.0f };
    side dout = { p.dout, b * p.bso + column, p.ldo, p.tq, 1.0f }, v = { p.v, b * p.bsv + column, p.ldv, p.tk, 1.0f };
    float dk[R], dv[R], s[4], dp[4];
    for (int r = 0; r < R; r++)
        dk[r] = dv[r] = 0.0f;
    for (int query0 = first; query0 < p.tq; query0 += COLUMNS) {
        int queries = p.tq - query0 < COLUMNS ? p.tq - query0 : (int)COLUMNS;
        dots(k, q, row0, query0, p.d, as, bs, s);
        dots(v, dout, row0, query0, p.d, as, bs, dp);
        for (int r = 0; r < 4; r++) {
            int i = lane + 16 * r;
            float x = 0.0f, d = 0.0f;
            if (i < queries)                                   /* a row beyond the last key is not stored             */
                x = weight(w, pair, query0 + i, key, s[r], dp[r], &d);
            ps[t / 16][i] = x;
            ds[t / 16][i] = d;
        }
        sync_warp();
        for (int i = 0; i < queries; i++)
            for (int r = 0; r < R; r++)
                if (c0 + 16 * r < p.d) {
                    dk[r] = fmaf(ds[t / 16][i], load(p.q, q.at + (query0 + i) * p.ldq + c0 + 16 * r), dk[r]);
                    dv[r] = fmaf(ps[t / 16][i], load(p.dout, dout.at + (query0 + i) * p.ldo + c0 + 16 * r), dv[r]);
                }
    }
    for (int r = 0; r < R; r++)
        if (key < p.tk && c0 + 16 * r < p.d) {
            if (p.dk.p)
                put(p.dk, k.at + key * p.ldk + c0 + 16 * r, dk[r] * p.scale, p.add_dk);
            if (p.dv.p)
                put(p.dv, v.at + key * p.ldv + c0 + 16 * r, dv[r], p.add_dv);
        }
}

template <int R> static int launch(im_device *dev, const bwd_call &w)
{
    unsigned pairs = (unsigned)(w.p.batch * w.p.heads), parts = im_cuda_blocks(w.p.d, 16 * R);
    int failed = 0;
    if (w.p.dq.p)
        failed = RUN(dev, dim3(im_cuda_blocks(w.p.tq, ROWS), pairs, parts), THREADS, dq_kernel<R>, w);
    if (w.p.dk.p || w.p.dv.p)
        failed = failed || RUN(dev, dim3(im_cuda_blocks(w.p.tk, ROWS), pairs, parts), THREADS, dkv_kernel<R>, w);
    return failed;
}

int im_cuda_attention_bwd(im_device *dev, const im_attention_bwd_args *p)
{
    if (im_cuda_stopped(dev))
        return IM_STOPPED;
    size_t n = (size_t)p->batch * (size_t)p->heads * (size_t)p->tq;
    bwd_call w = { *p, (float)((double)p->scale * 1.4426950408889634), (float *)im_cuda_workspace(dev, n * sizeof(float)) };
    if (!w.along)
        return IM_NO_MEMORY;
    int d = p->d, failed = RUN(dev, im_cuda_blocks((int64_t)n, THREADS), THREADS, along_kernel, w);
    bool may = d <= 512 && p->q.t != IM_F32 && p->q.t == p->k.t && p->q.t == p->v.t && p->q.t == p->dout.t;
    im_cuda_cores cores = may ? im_cuda_mma(dev, IM_CUDA_SLOT_attention_bwd, p->q.t) : IM_CUDA_NO_CORES;
    if (!failed && cores)
        return im_cuda_done(dev, im_cuda_attention_bwd_mma(dev, w, cores));
    failed = failed ? failed : d <= 16 ? launch<1>(dev, w) : d <= 48 ? launch<3>(dev, w) : d <= 80 ? launch<5>(dev, w)
                             : d <= 160 ? launch<10>(dev, w) : launch<16>(dev, w);
    return im_cuda_done(dev, failed);
}
