/* attention_backward.c: the gradient of attention by tiles (Dao et al. 2022, arXiv 2205.14135, algorithm 4). The scores are
 * computed again from q, k and the lse of each query; nothing larger than a tile of them is ever stored.
 *
 * As in attention.c the 16 lanes are 16 queries for what has a query in its columns:
 *     S^T[key][query] = K Q^T      P^T = 2^(S^T - lse)      dP^T = V dO^T      dS^T = P^T (dP^T - along)
 *     dQ^T[c][query] += sum_key K[key][c] dS^T[key][query]
 * and 16 channels for the sums over queries, to which the rows of P^T and dS^T are the broadcast numbers:
 *     dV[key][c] += sum_query P^T[key][query] dO[query][c]      dK[key][c] += sum_query dS^T[key][query] Q[query][c]
 *
 *              queries ->                                       for each block of queries (dQ stays with it)
 *            +----+----+----+                                     for each block of keys (dK, dV of the head in memory)
 *   keys     |    | bl |    |   a block: S^T, P^T, dP^T, dS^T       S^T = K Q^T, P^T, dP^T = V dO^T, dS^T
 *    |       |    | ock|    |   of 64 keys x a group of queries     dQ^T += K^T dS^T    along the column
 *    v       |    |    |    |   live in L1 and are thrown away      dV, dK += P^T dO, dS^T Q    along the row
 *            +----+----+----+
 *
 * Each sum is one chain over ascending keys or queries (train_args.h), so it is all the same for the bits how the work is
 * shared: a task takes a head, its 5 products sharing the scores; where there are too few heads for the threads, tasks take
 * blocks of queries for dq, then blocks of keys for dk and dv, and the scores are computed twice (7 products). */
#include "tensor/cpu/attention.h"
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/vmath.h"
#include "tensor/parallel.h"

#include <string.h>

typedef struct {                         /* one thread's memory */
    float *qt, *dot;                     /* by group of queries: [d][queries of the group]; qt scaled */
    float *qr, *dor;                     /* by group of channels: [queries][channels of the group] */
    float *dqt;                          /* by group of queries: [dp][queries of the group] */
    float *lse, *along;                  /* [queries] */
    float *k, *v;                        /* [KEYS][dp]: a block of keys */
    float *s, *ds;                       /* [KEYS][queries of a group] */
    float *dk, *dv;                      /* by block of keys, by group of channels: [KEYS][channels of the group] */
} state;

typedef struct {
    im_device *dev;
    const im_attention_bwd_args *at;
    int dp, cv;                          /* d rounded up to 4; vectors of channels */
    int vecs, blocks;                    /* vectors of 16 queries; blocks of BLOCK_VECS */
    int key_blocks, span, spans;         /* blocks of KEYS; of them in a task; tasks of a head */
    float factor;                        /* scale * log2 e */
    bool want_q, want_kv;                /* of this pass */
} job;

/* Where the head begins in q (and dq), k, v and o, in elements. */
typedef struct { int64_t q, k, v, o; const float *lse; } head;

/* Head h of sample b; pair = b * heads + h. */
static head head_of(const im_attention_bwd_args *at, int pair)
{
    int b = pair / at->heads;
    int64_t column = (int64_t)(pair % at->heads) * at->d;
    return (head){ .q = b * at->bsq + column, .k = b * at->bsk + column, .v = b * at->bsv + column,
                   .o = b * at->bso + column, .lse = at->lse + (int64_t)pair * at->tq };
}

/* Sets the pointers of x into base; returns the number of floats. base NULL: only counts them. */
static size_t lay_out(state *x, float *base, const job *w)
{
    size_t queries = 16 * (size_t)(w->vecs < BLOCK_VECS ? w->vecs : BLOCK_VECS), d = (size_t)w->at->d, at = 0;
    size_t dp = (size_t)w->dp, width = 16 * (size_t)w->cv, keys = w->want_kv ? (size_t)w->span * KEYS : 0;
    size_t rows = w->want_kv ? queries * width : 0, tile_size = (size_t)KEYS * 16 * GROUP;
    struct { float **p; size_t n; } part[] = {
        { &x->qt, d * queries }, { &x->dot, d * queries }, { &x->qr, rows }, { &x->dor, rows },
        { &x->dqt, w->want_q ? dp * queries : 0 }, { &x->lse, queries }, { &x->along, queries }, { &x->k, KEYS * dp },
        { &x->v, KEYS * dp }, { &x->s, tile_size }, { &x->ds, tile_size }, { &x->dk, keys * width },
        { &x->dv, keys * width },
    };
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        if (base)
            *part[i].p = base + at;
        at += (part[i].n + 15) & ~(size_t)15;
    }
    return at;
}

/* n rows of d numbers -> by group of channels [n][16 nv]; missing channels are zeros */
static void pack_rows(float *dst, im_cbuf src, int64_t ld, int n, int d, int cv)
{
    for (int g = 0, nv; g < cv; g += nv) {
        nv = next_group(cv - g);
        float *to = dst + (ptrdiff_t)g * 16 * n;
        for (int i = 0; i < n; i++)
            for (int j = 0; j < nv; j++) {
                int c = 16 * (g + j), part = d - c < 16 ? d - c : 16;
                v_store(to + (ptrdiff_t)(i * nv + j) * 16, load_as(src.t, src.p, i * ld + c, part));
            }
    }
}

/* along[query] = sum_c a[c][query] b[c][query], a chain as those of dP: where a query sees one key, dP - along is 0 */
static void dot_columns(int nv, float *along, const float *a, const float *b, int d)
{
    for (int i = 0; i < nv; i++) {
        v16 sum = v_zero();
        for (int c = 0; c < d; c++)
            sum = v_fma(v_load(a + (c * nv + i) * 16), v_load(b + (c * nv + i) * 16), sum);
        v_store(along + 16 * i, sum);
    }
}

/* A block of queries into x. */
static void load_block(const job *w, const state *x, const head *h, int query0, int n, int vecs)
{
    const im_attention_bwd_args *at = w->at;
    for (int g = 0, nv; g < vecs; g += nv) {
        nv = next_group(vecs - g);
        int part = n - 16 * g < 16 * nv ? n - 16 * g : 16 * nv, from = query0 + 16 * g;
        float *qt = x->qt + (ptrdiff_t)at->d * 16 * g, *dot = x->dot + (ptrdiff_t)at->d * 16 * g;
        load_queries(nv, dot, im_cbuf_at(at->dout, h->o + from * at->ldo), at->ldo, part, at->d, 1.0f);
        load_queries(nv, qt, im_cbuf_at(at->o, h->o + from * at->ldo), at->ldo, part, at->d, 1.0f);
        dot_columns(nv, x->along + 16 * g, dot, qt, at->d);
        load_queries(nv, qt, im_cbuf_at(at->q, h->q + from * at->ldq), at->ldq, part, at->d, w->factor);
    }
    if (w->want_kv) {
        pack_rows(x->qr, im_cbuf_at(at->q, h->q + query0 * at->ldq), at->ldq, n, at->d, w->cv);
        pack_rows(x->dor, im_cbuf_at(at->dout, h->o + query0 * at->ldo), at->ldo, n, at->d, w->cv);
    }
    for (int i = 0; i < 16 * vecs; i++)
        x->lse[i] = i < n ? h->lse[query0 + i] : 0.0f;
    if (w->want_q)
        memset(x->dqt, 0, (size_t)w->dp * 16 * (size_t)vecs * sizeof *x->dqt);
}

/* s: scores -> P^T;  ds: dP^T -> dS^T */
static void weights_of_group(int nv, float *s, float *ds, int keys, const float *lse, const float *along)
{
    for (int i = 0; i < nv; i++) {
        v16 base = v_load(lse + 16 * i), a = v_load(along + 16 * i);
        for (int j = 0; j < keys; j++) {
            float *sj = s + (j * nv + i) * 16, *dj = ds + (j * nv + i) * 16;
            v16 p = v_exp2_weight(v_sub(v_load(sj), base));
            v_store(sj, p);
            v_store(dj, v_mul(p, v_sub(v_load(dj), a)));
        }
    }
}

/* c[i][j] += sum_t a[i*ai + t*at] b[t][j] */
static void add_product(int nv, int rows, int depth, const float *a, ptrdiff_t ai, ptrdiff_t at, const float *b, float *c)
{
    if (GROUP >= 3 && nv == 3)
        product_rows(3, FROM_C, rows, depth, a, ai, at, b, c, NULL);
    else if (GROUP >= 2 && nv == 2)
        product_rows(2, FROM_C, rows, depth, a, ai, at, b, c, NULL);
    else
        product_rows(1, FROM_C, rows, depth, a, ai, at, b, c, NULL);
}

/* Sums over the n queries of a group, which begin at row0 of a block of `block` queries:
 * dst[key][c] += p[key][i] r[i][c] */
static void sum_queries(const job *w, float *dst, const float *p, int ld, int keys, const float *r, int row0, int n,
                        int block)
{
    for (int g = 0, nv; g < w->cv; g += nv) {
        nv = next_group(w->cv - g);
        add_product(nv, (keys + 3) & ~3, n, p, ld, 1, r + (ptrdiff_t)g * 16 * block + (ptrdiff_t)row0 * 16 * nv,
                    dst + (ptrdiff_t)g * 16 * KEYS);
    }
}

/* One block of queries with one block of keys; dk, dv: the sums of this block of keys. */
static void block_pair(const job *w, const state *x, int query0, int queries, int vecs, int key0, int keys, float *dk,
                       float *dv)
{
    const im_attention_bwd_args *at = w->at;
    for (int g = 0, nv; g < vecs; g += nv) {
        nv = next_group(vecs - g);
        int n = queries - 16 * g < 16 * nv ? queries - 16 * g : 16 * nv;
        if (at->causal && query0 + 16 * g + n <= key0)         /* nothing but zeros */
            continue;
        scores_of_group(nv, x->k, w->dp, x->qt + (ptrdiff_t)at->d * 16 * g, x->s, keys, at->d);
        scores_of_group(nv, x->v, w->dp, x->dot + (ptrdiff_t)at->d * 16 * g, x->ds, keys, at->d);
        if (at->causal)
            mask_of_group(nv, x->s, keys, key0, query0 + 16 * g);
        weights_of_group(nv, x->s, x->ds, keys, x->lse + 16 * g, x->along + 16 * g);
        if (w->want_q)
            add_product(nv, w->dp, keys, x->k, 1, w->dp, x->ds, x->dqt + (ptrdiff_t)w->dp * 16 * g);
        if (w->want_kv) {
            sum_queries(w, dv, x->s, 16 * nv, keys, x->dor, 16 * g, n, queries);
            sum_queries(w, dk, x->ds, 16 * nv, keys, x->qr, 16 * g, n, queries);
        }
    }
}

/* dQ^T of a block -> rows */
static void store_dq(const job *w, const state *x, const head *h, int query0, int n, int vecs)
{
    const im_attention_bwd_args *at = w->at;
    v16 scale = v_set1(at->scale);
    for (int g = 0, nv; g < vecs; g += nv) {
        nv = next_group(vecs - g);
        const float *from = x->dqt + (ptrdiff_t)w->dp * 16 * g;
        for (int i = 0; i < 16 * nv && 16 * g + i < n; i++)
            for (int c = 0; c < at->d; c += 16) {
                int part = at->d - c < 16 ? at->d - c : 16;
                float t[16] = { 0 };
                for (int j = 0; j < part; j++)
                    t[j] = from[(c + j) * 16 * nv + i];
                put_as(at->dq.t, at->dq.p, h->q + (query0 + 16 * g + i) * at->ldq + c, v_mul(v_load(t), scale), part,
                       at->add_dq);
            }
    }
}

/* Sums of a block of keys -> rows */
static void store_keys(const job *w, const float *sums, im_buf to, int64_t ld, int n, float by, bool add)
{
    v16 scale = v_set1(by);
    for (int g = 0, nv; g < w->cv; g += nv) {
        nv = next_group(w->cv - g);
        const float *from = sums + (ptrdiff_t)g * 16 * KEYS;
        for (int i = 0; i < n; i++)
            for (int j = 0; j < nv; j++) {
                int c = 16 * (g + j), part = w->at->d - c < 16 ? w->at->d - c : 16;
                put_as(to.t, to.p, i * ld + c, v_mul(v_load(from + (i * nv + j) * 16), scale), part, add);
            }
    }
}

/* Queries from block q0 to q1 of a head with keys from block k0 to k1. */
static void rectangle(const job *w, int thread, int pair, int q0, int q1, int k0, int k1)
{
    const im_attention_bwd_args *at = w->at;
    head h = head_of(at, pair);
    ptrdiff_t size = (ptrdiff_t)16 * w->cv * KEYS;             /* of a block of dk or dv */
    state x;
    lay_out(&x, im_scratch(w->dev, thread, lay_out(&x, NULL, w) * sizeof(float)), w);
    if (w->want_kv) {
        memset(x.dk, 0, (size_t)(k1 - k0) * (size_t)size * sizeof *x.dk);
        memset(x.dv, 0, (size_t)(k1 - k0) * (size_t)size * sizeof *x.dv);
    }
    for (int qb = q0; qb < q1; qb++) {
        int vecs = w->vecs - qb * BLOCK_VECS < BLOCK_VECS ? w->vecs - qb * BLOCK_VECS : BLOCK_VECS;
        int query0 = 16 * BLOCK_VECS * qb, n = at->tq - query0 < 16 * vecs ? at->tq - query0 : 16 * vecs;
        if (at->causal && query0 + n <= k0 * KEYS)
            continue;
        load_block(w, &x, &h, query0, n, vecs);
        for (int kb = k0; kb < k1 && !(at->causal && query0 + n <= kb * KEYS); kb++) {
            int keys = at->tk - kb * KEYS < KEYS ? at->tk - kb * KEYS : KEYS;
            if (w->dev->stop && *w->dev->stop)
                return;
            copy_rows(x.k, w->dp, at->k, h.k + kb * KEYS * at->ldk, at->ldk, keys, at->d);
            copy_rows(x.v, w->dp, at->v, h.v + kb * KEYS * at->ldv, at->ldv, keys, at->d);
            block_pair(w, &x, query0, n, vecs, kb * KEYS, keys, x.dk + (kb - k0) * size, x.dv + (kb - k0) * size);
        }
        if (w->want_q)
            store_dq(w, &x, &h, query0, n, vecs);
    }
    for (int kb = k0; w->want_kv && kb < k1; kb++) {
        int keys = at->tk - kb * KEYS < KEYS ? at->tk - kb * KEYS : KEYS;
        im_buf dk = im_buf_at(at->dk, h.k + kb * KEYS * at->ldk), dv = im_buf_at(at->dv, h.v + kb * KEYS * at->ldv);
        if (at->dk.p)
            store_keys(w, x.dk + (kb - k0) * size, dk, at->ldk, keys, at->scale, at->add_dk);
        if (at->dv.p)
            store_keys(w, x.dv + (kb - k0) * size, dv, at->ldv, keys, 1.0f, at->add_dv);
    }
}

static void head_task(void *arg, int task, int thread)
{
    const job *w = arg;
    rectangle(w, thread, task, 0, w->blocks, 0, w->key_blocks);
}

static void query_task(void *arg, int task, int thread)
{
    const job *w = arg;
    rectangle(w, thread, task / w->blocks, task % w->blocks, task % w->blocks + 1, 0, w->key_blocks);
}

static void key_task(void *arg, int task, int thread)
{
    const job *w = arg;
    int first = task % w->spans * w->span, last = first + w->span < w->key_blocks ? first + w->span : w->key_blocks;
    rectangle(w, thread, task / w->spans, 0, w->blocks, first, last);
}

static int pass(job *w, int tasks, void (*fn)(void *arg, int task, int thread))
{
    state x;
    for (int i = 0; i < im_threads_of(w->dev); i++)
        if (!im_scratch(w->dev, i, lay_out(&x, NULL, w) * sizeof(float)))
            return IM_NO_MEMORY;
    im_parallel_for(im_threads_of(w->dev), tasks, fn, w);
    return w->dev->stop && *w->dev->stop ? IM_STOPPED : IM_DONE;
}

int IM_FN(im_cpu_attention_bwd)(im_device *dev, const im_attention_bwd_args *at)
{
    int pairs = at->batch * at->heads, rounds = (pairs + im_threads_of(dev) - 1) / im_threads_of(dev);
    bool want_q = at->dq.p, want_kv = at->dk.p || at->dv.p;
    job w = { .dev = dev, .at = at, .dp = (at->d + 3) & ~3, .cv = (at->d + 15) / 16, .vecs = (at->tq + 15) / 16,
              .key_blocks = (at->tk + KEYS - 1) / KEYS, .factor = (float)((double)at->scale * 1.4426950408889634),
              .want_q = want_q, .want_kv = want_kv };
    w.blocks = (w.vecs + BLOCK_VECS - 1) / BLOCK_VECS;
    w.span = w.key_blocks;
    if (5 * rounds * im_threads_of(dev) <= 7 * pairs)                /* whole heads keep the threads busy enough */
        return pass(&w, pairs, head_task);
    w.want_kv = false;
    int status = want_q ? pass(&w, pairs * w.blocks, query_task) : IM_DONE;
    w.want_kv = want_kv;
    w.want_q = false;
    while (w.span > 1 && pairs * ((w.key_blocks + w.span - 1) / w.span) < 4 * im_threads_of(dev))
        w.span = (w.span + 1) / 2;
    w.spans = (w.key_blocks + w.span - 1) / w.span;
    return status || !want_kv ? status : pass(&w, pairs * w.spans, key_task);
}
