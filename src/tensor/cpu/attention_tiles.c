/* attention_tiles.c: attention.c with both products in bf16 in tile registers (tile.h), for the 16-bit and int8 forms of
 * the networks. Scores stay f32, as do sums; q (with its factor), k, v and the weights of the softmax are rounded to bf16.
 *
 * Transposed as there, so that the softmax runs down the columns without a shuffle:
 *
 *     S^T (keys, 32 queries) = K (keys, d) x Q^T (d, 32)      K as rows of pairs, Q^T as two panels (weight.h)
 *     O^T (d, 32)           += V^T (d, keys) x P^T (keys, 32)  V^T as rows of pairs of keys; P^T: panels, from the softmax
 *
 *   prepare   K and V^T of all heads to bf16, once, in memory that all threads share: a task is 128 keys of a head
 *   attend    a task is a head and up to 256 queries; for each block of 128 keys (S^T 16 KiB, P^T 8 KiB, K and V^T 10 to
 *             16 KiB each at d = 40: about an L1), for each group of 32 queries: scores, mask, weights, O^T
 *
 * Tiles of both products have the same number of rows, for a change of their shape takes as long as 10 products of tiles:
 * d in equal parts of at most 32 (40: 20 and 20; 160: five of 32).
 *
 *   per block of IM_ATT_TILE keys: m' = max(m, s_j);  a = 2^(m - m');  p_j = 2^(s_j - m');  m = m'
 *     l = fma(l, a, (p_0 + p_2 + ..) + (p_1 + p_3 + ..))          of p before it is rounded
 *     o_c = o_c * a, then groups of 32 keys in the order of tile.h */
#include "tensor/cpu/attention.h"
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/tile.h"
#include "tensor/cpu/vmath.h"
#include "tensor/parallel.h"

enum {
    BLOCK = IM_ATT_TILE, PAIRS = BLOCK / 2, QUERIES = IM_AMX_ROWS, VECS = QUERIES / 16,
    GROUPS = 8,                                  /* of 32 queries in a task                                            */
    GROUP_KEYS = 2 * IM_AMX_STEPS,               /* keys come in groups of as many                                     */
};

typedef struct job {
    im_device *dev;
    const im_attention_args *at;
    const im_amx *amx;
    float factor;                                /* scale * log2 e                                                     */
    int parts, rows;                             /* of d in O^T; of a part, and of a part of the keys in S^T           */
    int steps;                                   /* pairs of d, whole groups                                           */
    int key_blocks, groups, blocks;              /* of a head; groups of queries in a task; tasks of a head            */
    float *k, *v;                                /* by head: (tk + 32, steps); (key_blocks, parts * rows, PAIRS)       */
    size_t k_head, v_head;                       /* floats from head to head                                           */
} job;

typedef struct state {                           /* one thread's memory                                                */
    float *q;                                    /* by group: two panels of (steps, 16) pairs                          */
    float *o;                                    /* by group: (parts * rows, 32)                                       */
    float *s;                                    /* (BLOCK + 32, 32) scores                                            */
    float *p;                                    /* two panels of (PAIRS, 16) pairs                                    */
    float *m, *l, *a;                            /* by group: 32                                                       */
} state;

bool IM_FN(im_attention_in_tiles)(const im_device *dev)
{
    const im_host *h = im_host_of(dev);
    return h->amx && h->compute[IM_BF16] == IM_COMPUTE_BF16;
}

static bool stopped(const job *w)
{
    return w->dev->stop && *w->dev->stop;
}

static int keys_of(const job *w, int block)
{
    int left = w->at->tk - block * BLOCK;
    return left < BLOCK ? left : BLOCK;
}

/* ---------------------------------------------------------------- keys and values */

/* A row of pairs: n values of src, then zeros up to `steps` pairs. */
IM_INLINE void round_row(im_dtype t, float *dst, const void *src, int64_t at, int n, int steps)
{
    for (int c = 0; c < 2 * steps; c += 16) {
        int left = n - c < 0 ? 0 : n - c < 16 ? n - c : 16;
        store_as(IM_BF16, dst, c, left ? load_as(t, src, at + c, left) : v_zero(), 16);
    }
}

IM_INLINE void prepare_keys(im_dtype t, const job *w, const void *k, int keys, float *dst)
{
    for (int j = 0; j < keys; j++)
        round_row(t, dst + (size_t)j * (size_t)w->steps, k, j * w->at->ldk, w->at->d, w->steps);
}

/* 16 pairs of keys by 16 values of d, turned. */
IM_INLINE void turn_values(im_dtype t, const job *w, const void *v, int keys, int pair0, int c0, float *dst)
{
    v16 x[16];
    int n = w->at->d - c0 < 16 ? w->at->d - c0 : 16;
    for (int i = 0; i < 16; i++) {
        int j = 2 * (pair0 + i);
        int64_t at = j * w->at->ldv + c0;
        v16 first = n > 0 && j < keys ? load_as(t, v, at, n) : v_zero();
        v16 second = n > 0 && j + 1 < keys ? load_as(t, v, at + w->at->ldv, n) : v_zero();
        x[i] = v_bf16_pairs(first, second);
    }
    v_turn(x);
    for (int c = 0; c < 16 && c0 + c < w->parts * w->rows; c++)
        v_store(dst + (c0 + c) * PAIRS + pair0, x[c]);
}

IM_INLINE void prepare_values(im_dtype t, const job *w, const void *v, int keys, float *dst)
{
    for (int pair0 = 0; 2 * pair0 < keys; pair0 += 16)
        for (int c0 = 0; c0 < w->parts * w->rows; c0 += 16)
            turn_values(t, w, v, keys, pair0, c0, dst);
}

static void prepare(void *arg, int task, int thread)
{
    const job *w = arg;
    const im_attention_args *at = w->at;
    int pair = task / w->key_blocks, block = task % w->key_blocks, b = pair / at->heads, keys = keys_of(w, block);
    int64_t column = (int64_t)(pair % at->heads) * at->d, key0 = (int64_t)block * BLOCK;
    im_cbuf k = im_cbuf_at(at->k, b * at->bsk + column + key0 * at->ldk);
    im_cbuf v = im_cbuf_at(at->v, b * at->bsv + column + key0 * at->ldv);
    float *to_k = w->k + (size_t)pair * w->k_head + (size_t)key0 * (size_t)w->steps;
    float *to_v = w->v + (size_t)pair * w->v_head + (size_t)block * (size_t)(w->parts * w->rows) * PAIRS;
    (void)thread;
    switch (k.t) {
    case IM_F16:  prepare_keys(IM_F16, w, k.p, keys, to_k); break;
    case IM_BF16: prepare_keys(IM_BF16, w, k.p, keys, to_k); break;
    default:      prepare_keys(IM_F32, w, k.p, keys, to_k);
    }
    if (block + 1 == w->key_blocks)              /* the last tile's rows may reach behind the keys                      */
        memset(to_k + (size_t)keys * (size_t)w->steps, 0, sizeof(float) * IM_AMX_ROWS * (size_t)w->steps);
    switch (v.t) {
    case IM_F16:  prepare_values(IM_F16, w, v.p, keys, to_v); break;
    case IM_BF16: prepare_values(IM_BF16, w, v.p, keys, to_v); break;
    default:      prepare_values(IM_F32, w, v.p, keys, to_v);
    }
}

/* ---------------------------------------------------------------- one group, one block */

/* n queries of d values to panels of pairs, times the factor; room: (d, 32). */
static void pack_queries(const job *w, float *q, im_cbuf src, int n, float *room)
{
    int d = w->at->d;
    load_queries(VECS, room, src, w->at->ldq, n, d, w->factor);
    for (int i = 0; i < VECS; i++)
        for (int s = 0; s < w->steps; s++) {
            const float *row = room + 2 * s * QUERIES + 16 * i;
            v16 first = 2 * s < d ? v_load(row) : v_zero(), second = 2 * s + 1 < d ? v_load(row + QUERIES) : v_zero();
            v_store(q + (i * w->steps + s) * 16, v_bf16_pairs(first, second));
        }
}

static void scores_in_tiles(const job *w, const float *k, const float *q, float *s, int keys)
{
    for (int row = 0; row < keys; row += w->rows)
        w->amx->multiply[IM_COMPUTE_BF16](&(im_tile){
            .steps = w->steps, .a = k + (size_t)row * (size_t)w->steps, .lda = w->steps, .b = { q, q + 16 * w->steps },
            .out = s + row * QUERIES, .next = q }, w->rows, 2);
}

/* o = o * a + V^T P^T */
static void values_in_tiles(const job *w, const float *v, const float *p, float *o, int keys, const float *a)
{
    v16 by[VECS] = { v_load(a), v_load(a + 16) };
    for (int c = 0; c < w->at->d; c++)
        IM_UNROLL for (int i = 0; i < VECS; i++)
            v_store(o + c * QUERIES + 16 * i, v_mul(v_load(o + c * QUERIES + 16 * i), by[i]));
    int steps = im_ceil_div(keys, GROUP_KEYS) * IM_AMX_STEPS;
    for (int n = 0; n < w->parts; n++, v += w->rows * PAIRS, o += w->rows * QUERIES)
        w->amx->multiply[IM_COMPUTE_BF16](&(im_tile){
            .steps = steps, .a = v, .lda = PAIRS, .b = { p, p + 16 * PAIRS }, .in = o, .out = o, .next = p }, w->rows, 2);
}

/* Scores of 16 queries to weights, as pairs of keys with zeros up to whole groups of them; returns their sum. */
IM_INLINE v16 weights_in_pairs(const float *s, int keys, v16 base, float *p)
{
    v16 even = v_zero(), odd = v_zero();
    int j = 0;
    for (; j + 4 <= keys; j += 4) {
        v16 x[4];
        IM_UNROLL for (int i = 0; i < 4; i++) x[i] = v_exp2_weight_short(v_sub(v_load(s + (j + i) * QUERIES), base));
        even = v_add(v_add(even, x[0]), x[2]);
        odd = v_add(v_add(odd, x[1]), x[3]);
        v_store(p + j / 2 * 16, v_bf16_pairs(x[0], x[1]));
        v_store(p + (j / 2 + 1) * 16, v_bf16_pairs(x[2], x[3]));
    }
    for (; j < keys; j += 2) {
        v16 x = v_exp2_weight_short(v_sub(v_load(s + j * QUERIES), base)), y = v_zero();
        if (j + 1 < keys)
            y = v_exp2_weight_short(v_sub(v_load(s + (j + 1) * QUERIES), base));
        even = v_add(even, x);
        odd = v_add(odd, y);
        v_store(p + j / 2 * 16, v_bf16_pairs(x, y));
    }
    for (; j % GROUP_KEYS; j += 2)
        v_store(p + j / 2 * 16, v_zero());
    return v_add(even, odd);
}

static void softmax_in_pairs(const float *s, int keys, float *p, float *m, float *l, float *a)
{
    for (int i = 0; i < VECS; i++) {
        const float *col = s + 16 * i;
        v16 old = v_load(m + 16 * i), t[4] = { old, old, old, old };
        int j = 0;
        for (; j + 4 <= keys; j += 4)
            IM_UNROLL for (int n = 0; n < 4; n++) t[n] = v_max(t[n], v_load(col + (j + n) * QUERIES));
        for (; j < keys; j++)
            t[0] = v_max(t[0], v_load(col + j * QUERIES));
        v16 top = v_max(v_max(t[0], t[1]), v_max(t[2], t[3]));
        v16 base = v_select(v_eq(top, v_set1(-INFINITY)), v_zero(), top);                /* -Inf - -Inf is no number */
        v16 shrink = v_exp2_weight(v_sub(old, base));
        v_store(m + 16 * i, top);
        v_store(a + 16 * i, shrink);
        v_store(l + 16 * i, v_fma(v_load(l + 16 * i), shrink, weights_in_pairs(col, keys, base, p + i * 16 * PAIRS)));
    }
}

/* ---------------------------------------------------------------- tasks */

/* Sets the pointers of x into base; returns the number of floats. base NULL: only counts them. */
static size_t lay_out(state *x, float *base, const job *w)
{
    size_t n = (size_t)w->groups, at = 0;
    struct { float **p; size_t n; } part[] = {
        { &x->q, n * QUERIES * (size_t)w->steps }, { &x->o, n * QUERIES * (size_t)(w->parts * w->rows) },
        { &x->s, (BLOCK + IM_AMX_ROWS) * QUERIES }, { &x->p, PAIRS * QUERIES },
        { &x->m, n * QUERIES }, { &x->l, n * QUERIES }, { &x->a, n * QUERIES },
    };
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        if (base)
            *part[i].p = base + at;
        at += part[i].n;
    }
    return at;
}

static void attend(void *arg, int task, int thread)
{
    const job *w = arg;
    const im_attention_args *at = w->at;
    int pair = task / w->blocks, b = pair / at->heads, query0 = task % w->blocks * w->groups * QUERIES;
    int queries = at->tq - query0 < w->groups * QUERIES ? at->tq - query0 : w->groups * QUERIES;
    int groups = im_ceil_div(queries, QUERIES), rows = w->parts * w->rows;
    int64_t column = (int64_t)(pair % at->heads) * at->d;
    im_cbuf q = im_cbuf_at(at->q, b * at->bsq + column + query0 * at->ldq);
    im_buf o = im_buf_at(at->o, b * at->bso + column + query0 * at->ldo);
    int tk = at->causal && query0 + queries < at->tk ? query0 + queries : at->tk;
    state x;
    lay_out(&x, im_scratch(w->dev, thread, lay_out(&x, NULL, w) * sizeof(float)), w);
    for (int g = 0; g < groups; g++) {
        int n = queries - g * QUERIES < QUERIES ? queries - g * QUERIES : QUERIES;
        float *og = x.o + (size_t)g * (size_t)rows * QUERIES;
        pack_queries(w, x.q + (size_t)g * QUERIES * (size_t)w->steps, im_cbuf_at(q, g * QUERIES * at->ldq), n, og);
        memset(og, 0, sizeof *og * QUERIES * (size_t)rows);
    }
    for (int i = 0; i < groups * QUERIES; i++) {
        x.m[i] = -INFINITY;
        x.l[i] = 0.0f;
    }
    for (int block = 0; block * BLOCK < tk && !stopped(w); block++) {
        int keys = tk - block * BLOCK < BLOCK ? tk - block * BLOCK : BLOCK;
        const float *k = w->k + (size_t)pair * w->k_head + (size_t)block * BLOCK * (size_t)w->steps;
        const float *v = w->v + (size_t)pair * w->v_head + (size_t)block * (size_t)rows * PAIRS;
        for (int g = 0; g < groups; g++) {
            int at_query = g * QUERIES;
            scores_in_tiles(w, k, x.q + (size_t)at_query * (size_t)w->steps, x.s, keys);
            if (at->causal)
                mask_of_group(VECS, x.s, keys, block * BLOCK, query0 + at_query);
            softmax_in_pairs(x.s, keys, x.p, x.m + at_query, x.l + at_query, x.a + at_query);
            values_in_tiles(w, v, x.p, x.o + (size_t)at_query * (size_t)rows, keys, x.a + at_query);
        }
    }
    w->amx->end();
    for (int g = 0; g < groups && !stopped(w); g++) {
        int at_query = g * QUERIES, n = queries - at_query < QUERIES ? queries - at_query : QUERIES;
        store_output(VECS, im_buf_at(o, at_query * at->ldo), at->ldo, x.o + (size_t)at_query * (size_t)rows,
                     x.l + at_query, n, at->d);
    }
}

/* Of one head: floats of K and of V^T. */
static void size_heads(job *w)
{
    const im_attention_args *at = w->at;
    w->parts = im_ceil_div(at->d, IM_AMX_ROWS);
    w->rows = im_ceil_div(at->d, w->parts);
    w->steps = im_ceil_div(at->d, 2 * IM_AMX_STEPS) * IM_AMX_STEPS;
    w->key_blocks = im_ceil_div(at->tk, BLOCK);
    w->k_head = (size_t)(at->tk + IM_AMX_ROWS) * (size_t)w->steps;
    w->v_head = (size_t)w->key_blocks * (size_t)(w->parts * w->rows) * PAIRS;
}

int IM_FN(im_attention_tiles)(im_device *dev, const im_attention_args *at)
{
    job w = { .dev = dev, .at = at, .amx = im_host_of(dev)->amx, .groups = GROUPS,
              .factor = (float)((double)at->scale * 1.4426950408889634) };
    int pairs = at->batch * at->heads, groups = im_ceil_div(at->tq, QUERIES), threads = im_threads_of(dev);
    state x;
    size_heads(&w);
    w.blocks = im_ceil_div(groups, w.groups);
    while (w.groups > 1 && pairs * w.blocks < 4 * threads) {
        w.groups /= 2;
        w.blocks = im_ceil_div(groups, w.groups);
    }
    w.k = im_scratch(dev, threads, (size_t)pairs * (w.k_head + w.v_head) * sizeof(float));
    if (!w.k)
        return IM_NO_MEMORY;
    w.v = w.k + (size_t)pairs * w.k_head;
    for (int i = 0; i < threads; i++)
        if (!im_scratch(dev, i, lay_out(&x, NULL, &w) * sizeof(float)))
            return IM_NO_MEMORY;
    im_parallel_for(threads, pairs * w.key_blocks, prepare, &w);
    im_parallel_for(threads, pairs * w.blocks, attend, &w);
    return stopped(&w) ? IM_STOPPED : IM_DONE;
}
