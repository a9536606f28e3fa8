/* attention.cu: o = softmax(scale q k^T) v by tiles, the scores of a tile alone ever stored (Dao et al. 2022); the order of
 * sums is that of cpu/attention.c, number by number.
 *
 *     a block: 16 queries of one head      for each block of 64 keys
 *     16 threads a query, thread i           scores of keys i, i + 16, i + 32, i + 48: chains over d, fed through shared
 *     keys and channels i, i + 16, ...         memory in pieces of 32 channels
 *                                            new maximum, weights 2^(s - m), their sum: 16 lanes and the tree
 *     q: 16 x 32 \                           weights to shared memory, then channels i, i + 16, ... of the result:
 *     k: 64 x 32 / pieces, p: 16 x 64          rescaled once, then a chain over the 64 keys
 *
 * Why these sizes: 64 keys are part of the definition of the sums; 16 lanes as well; with them 16 queries make 256
 * threads. A thread holds R results in registers, which covers 16 R channels; heads wider than 512 are computed in parts,
 * each with the same scores. In 16 bits where there are tensor cores: attention_mma.cu. Called by ops/attention.c. */
#include "cuda/attention.cuh"

enum { QUERIES = 16, KEYS = IM_ATT_BLOCK, PIECE = 32 };

/* 64 scores a query into s[4], of keys key0 + lane + 16 r. */
DEV void scores(const attention_call &w, float (*qs)[PIECE + 1], float (*ks)[PIECE + 1], int64_t q, int64_t k, int query0,
                int key0, float s[4])
{
    const im_attention_args &p = w.p;
    int t = (int)threadIdx.x, lane = t % 16;
    for (int r = 0; r < 4; r++)
        s[r] = 0.0f;
    for (int d0 = 0; d0 < p.d; d0 += PIECE) {
        int n = p.d - d0 < PIECE ? p.d - d0 : PIECE, c = t % PIECE;
        sync_block();
        for (int i = t / PIECE; i < QUERIES; i += THREADS / PIECE)
            qs[i][c] = c < n && query0 + i < p.tq ? load(p.q, q + i * p.ldq + d0 + c) * w.factor : 0.0f;
        for (int i = t / PIECE; i < KEYS; i += THREADS / PIECE)
            ks[i][c] = c < n && key0 + i < p.tk ? load(p.k, k + (key0 + i) * p.ldk + d0 + c) : 0.0f;
        sync_block();
        for (int i = 0; i < n; i++)
            for (int r = 0; r < 4; r++)
                s[r] = fmaf(ks[lane + 16 * r][i], qs[t / 16][i], s[r]);
    }
}

/* Scores to weights; m, l, and what the results so far are to be multiplied by. */
DEV float softmax(const im_attention_args &p, int query, int key0, int keys, float s[4], float *m, float *l)
{
    int lane = (int)threadIdx.x % 16;
    float top = *m, sum = 0.0f;
    for (int r = 0; r < 4; r++) {
        int key = lane + 16 * r;
        if (p.causal && key0 + key > query)
            s[r] = float_of(0xff800000u);
        top = key < keys ? max_of(top, s[r]) : top;
    }
    for (int by = 8; by; by /= 2)
        top = max_of(top, shuffle_xor(top, by));
    float base = top == float_of(0xff800000u) ? 0.0f : top, shrink = exp2_weight(*m - base);
    for (int r = 0; r < 4; r++) {
        s[r] = lane + 16 * r < keys ? exp2_weight(s[r] - base) : 0.0f;
        sum = sum + s[r];
    }
    *l = fmaf(*l, shrink, from_first(tree_sum(sum)));
    *m = top;
    return shrink;
}

template <int R> KERNEL(THREADS) attention_kernel(GRID attention_call w)
{
    SHARED2(float, qs, QUERIES, PIECE + 1);
    SHARED2(float, ks, KEYS, PIECE + 1);
    SHARED2(float, ps, QUERIES, KEYS);
    const im_attention_args &p = w.p;
    int t = (int)threadIdx.x, lane = t % 16, mine = t / 16, query0 = (int)blockIdx.x * QUERIES, query = query0 + mine;
    int b = (int)blockIdx.y / p.heads, column = (int)blockIdx.y % p.heads * p.d, c0 = (int)blockIdx.z * 16 * R + lane;
    int tk = p.causal && query0 + QUERIES < p.tk ? query0 + QUERIES : p.tk;
    float o[R], m = float_of(0xff800000u), l = 0.0f, s[4];
    for (int r = 0; r < R; r++)
        o[r] = 0.0f;
    for (int key0 = 0; key0 < tk; key0 += KEYS) {
        int keys = tk - key0 < KEYS ? tk - key0 : KEYS;
        scores(w, qs, ks, b * p.bsq + column + query0 * p.ldq, b * p.bsk + column, query0, key0, s);
        float shrink = softmax(p, query, key0, keys, s, &m, &l);
        for (int r = 0; r < 4; r++)
            ps[mine][lane + 16 * r] = s[r];
        sync_warp();                                           /* a query's weights stay within half a warp            */
        for (int r = 0; r < R; r++)
            o[r] = o[r] * shrink;
        for (int k = 0; k < keys; k++) {
            float weight = ps[mine][k];
            int64_t v = b * p.bsv + (key0 + k) * p.ldv + column;
            for (int r = 0; r < R; r++)
                if (c0 + 16 * r < p.d)
                    o[r] = fmaf(load(p.v, v + c0 + 16 * r), weight, o[r]);
        }
    }
    if (query >= p.tq)
        return;
    for (int r = 0; r < R; r++)
        if (c0 + 16 * r < p.d)
            store(p.o, b * p.bso + query * p.ldo + column + c0 + 16 * r, l == 0.0f ? 0.0f : o[r] / l);
    if (p.lse && lane == 0 && blockIdx.z == 0)
        p.lse[(int64_t)blockIdx.y * p.tq + query] = l == 0.0f ? 0.0f : fmaf(log_of(l), 0x1.715476p+0f, m);
}

template <int R> static int launch(im_device *dev, const attention_call &w)
{
    dim3 grid(im_cuda_blocks(w.p.tq, QUERIES), (unsigned)(w.p.batch * w.p.heads), im_cuda_blocks(w.p.d, 16 * R));
    return RUN(dev, grid, THREADS, attention_kernel<R>, w);
}

int im_cuda_attention(im_device *dev, const im_attention_args *p)
{
    if (im_cuda_stopped(dev))
        return IM_STOPPED;
    attention_call w = { *p, (float)((double)p->scale * 1.4426950408889634) };
    int d = p->d;
    bool may = d <= 512 && p->q.t != IM_F32 && p->q.t == p->k.t && p->q.t == p->v.t;
    im_cuda_cores cores = may ? im_cuda_mma(dev, IM_CUDA_SLOT_attention, p->q.t) : IM_CUDA_NO_CORES;
    if (cores)
        return im_cuda_done(dev, im_cuda_attention_mma(dev, w, cores));
    return im_cuda_done(dev, d <= 16 ? launch<1>(dev, w) : d <= 32 ? launch<2>(dev, w) : d <= 48 ? launch<3>(dev, w)
                           : d <= 64 ? launch<4>(dev, w) : d <= 80 ? launch<5>(dev, w) : d <= 160 ? launch<10>(dev, w)
                                                                                                  : launch<32>(dev, w));
}
