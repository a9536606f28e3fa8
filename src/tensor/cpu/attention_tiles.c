/* attention_tiles.c: attention.c with both products in bf16 in tile registers (tile.h), for the 16-bit forms of the
 * networks. Scores stay f32, as do sums; q (with its factor), k, v and the weights of the softmax are rounded to bf16, or
 * beside weights in f16 split into two (split.h).
 *
 * Transposed as there, so that the softmax runs down the columns without a shuffle:
 *
 *     S^T (keys, 32 queries) = K (keys, d) x Q^T (d, 32)      K as rows of pairs, Q^T as two panels (weight.h)
 *     O^T (d, 32)           += V^T (d, keys) x P^T (keys, 32)  V^T as rows of pairs of keys; P^T comes out of the
 *                                                              softmax as panels
 *
 *   prepare   K and V^T of all heads to bf16, once, in memory that all threads share: a task is 256 keys of a head
 *   attend    a task is a head and up to 256 queries; for each block of 256 keys (P^T 16 KiB, K and V^T 24 and 32 KiB
 *             at d = 40), for each group of 32 queries: scores, mask, weights, O^T
 *
 * Split, rows of K and V^T and the panels of Q^T and P^T have high and low halves of 32 values in turn, and are twice as
 * long.
 *
 * Where d is 64 or less, Q^T of a group stays in registers, and scores are made 32 keys at a time, those of the next 32
 * before the weights of these: tile registers work beside vectors, but no processor looks far enough ahead to do that by
 * itself, and scores never leave L1. Split, they are made so as well, from Q^T in L1. Else larger heads have the scores of
 * a block first.
 *
 *   per 32 keys:     t = max s_j; where t > m + 8:  a = 2^(m - t), m = t, l = l a, o_c = o_c a; before that, what was not
 *                    multiplied yet
 *                    p_j = 2^(s_j - m), below 2^-126: 0
 *   per block:       l = l + ((p_0 + p_2 + ..) + (p_1 + p_3 + ..))   of p before it is rounded
 *                    o_c in groups of 32 keys in the order of tile.h
 *
 * A maximum that grows little stays what it was (as in FlashAttention 4): weights up to 2^8 lose nothing in bf16 and f32,
 * and O^T is hardly ever multiplied. Rows of V^T and O^T fill whole registers, so that their shape never changes, which
 * would take as long as 10 products of tiles. */
#include "tensor/cpu/attention.h"
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/split.h"
#include "tensor/cpu/vmath.h"
#include "tensor/parallel.h"

enum {
    BLOCK = IM_ATT_TILE, PAIRS = BLOCK / 2, QUERIES = IM_AMX_ROWS, VECS = QUERIES / 16,
    GROUPS = 8,                                  /* of 32 queries in a task                                            */
    GROUP_KEYS = 2 * IM_AMX_STEPS,               /* keys come in groups of as many                                     */
    HALF = IM_AMX_ROWS / 2,                      /* rows of a register                                                 */
    CHUNK = GROUP_KEYS,                          /* keys whose scores are made at once                                 */
};
static const float GROWTH = 8.0f;                /* of a maximum, in powers of 2, before it counts                     */

typedef struct job {
    im_device *dev;
    const im_attention_args *at;
    const im_amx *amx;
    float factor;                                /* scale * log2 e                                                     */
    int depth;                                   /* rows of V^T and O^T: d in whole registers                          */
    bool split;                                  /* all factors are: high and low halves in turn                       */
    int per_step;                                /* values of a row's 4 bytes: 2, split 1                              */
    int steps;                                   /* of a row of K: d in whole groups                                   */
    int v_row;                                   /* floats of a row of V^T: a block of keys                            */
    bool held;                                   /* Q^T of a group fits into registers                                 */
    bool in_turn;                                /* scores are made 32 keys at a time                                  */
    int key_blocks, groups, blocks;              /* of a head; groups of queries in a task; tasks of a head            */
    float *k, *v;                                /* by head: (tk + 32, steps); (key_blocks, depth, v_row)       */
    size_t k_head, v_head;                       /* floats from head to head                                           */
} job;

typedef struct state {                           /* one thread's memory                                                */
    float *q;                                    /* by group: two panels of (steps, 16) pairs                          */
    float *o;                                    /* by group: (depth, 32)                                              */
    float *s;                                    /* (BLOCK + 32, 32) scores; or of two chunks in turn                  */
    float *p;                                    /* two panels of (v_row, 16) pairs                                    */
    float *m, *l;                                /* by group: 32                                                       */
} state;

bool IM_FN(im_attention_in_tiles)(const im_device *dev, im_dtype beside)
{
    const im_host *h = im_host_of(dev);
    return h->amx && (beside == IM_F16 ? h->split : beside == IM_BF16 && h->compute[IM_BF16] == IM_COMPUTE_BF16);
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

/* A row of pairs, or of halves: n values of src, then zeros up to `steps`. */
IM_INLINE void round_row(const job *w, im_dtype t, float *dst, const void *src, int64_t at, int n)
{
    for (int c = 0; c < w->per_step * w->steps; c += 16) {
        int left = n - c < 0 ? 0 : n - c < 16 ? n - c : 16;
        store_as(w->split ? IM_F32 : IM_BF16, dst, c, left ? load_as(t, src, at + c, left) : v_zero(), 16);
    }
    if (w->split)
        im_split_row(dst, w->steps);
}

IM_INLINE void prepare_keys(im_dtype t, const job *w, const void *k, int keys, float *dst)
{
    for (int j = 0; j < keys; j++)
        round_row(w, t, dst + (size_t)j * (size_t)w->steps, k, j * w->at->ldk, w->at->d);
}

/* 16 pairs of keys by 16 values of d, turned; split: their high halves and their low ones. */
IM_INLINE void turn_values(im_dtype t, const job *w, const void *v, int keys, int pair0, int c0, float *dst)
{
    v16 x[16], low[16];
    int n = w->at->d - c0 < 16 ? w->at->d - c0 : 16;
    for (int i = 0; i < 16; i++) {
        int j = 2 * (pair0 + i);
        int64_t at = j * w->at->ldv + c0;
        v16 first = n > 0 && j < keys ? load_as(t, v, at, n) : v_zero();
        v16 second = n > 0 && j + 1 < keys ? load_as(t, v, at + w->at->ldv, n) : v_zero();
        x[i] = v_bf16_pairs(first, second);
        if (w->split)
            low[i] = v_bf16_pairs(v_sub(first, v_bf16_even(x[i])), v_sub(second, v_bf16_odd(x[i])));
    }
    v_turn(x);
    for (int c = 0; c < 16; c++)
        v_store(dst + (c0 + c) * w->v_row + 2 / w->per_step * pair0, x[c]);
    if (!w->split)
        return;
    v_turn(low);
    for (int c = 0; c < 16; c++)
        v_store(dst + (c0 + c) * w->v_row + 2 * pair0 + IM_AMX_STEPS, low[c]);
}

IM_INLINE void prepare_values(im_dtype t, const job *w, const void *v, int keys, float *dst)
{
    for (int pair0 = 0; 2 * pair0 < keys; pair0 += 16)
        for (int c0 = 0; c0 < w->depth; c0 += 16)
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
    float *to_v = w->v + (size_t)pair * w->v_head + (size_t)block * (size_t)w->depth * (size_t)w->v_row;
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

/* Pair s of a panel's rows. */
IM_INLINE void store_pairs(bool split, float *panel, int s, v16 first, v16 second)
{
    if (split)
        im_split_pairs(first, second, panel + (s / IM_AMX_STEPS * IM_SPLIT_STEPS + s % IM_AMX_STEPS) * 16);
    else
        v_store(panel + s * 16, v_bf16_pairs(first, second));
}

/* n queries of d values to panels of pairs, times the factor; room: (d, 32). */
static void pack_queries(const job *w, float *q, im_cbuf src, int n, float *room)
{
    int d = w->at->d, pairs = w->steps * w->per_step / 2;
    load_queries(VECS, room, src, w->at->ldq, n, d, w->factor);
    for (int i = 0; i < VECS; i++)
        for (int s = 0; s < pairs; s++) {
            const float *row = room + 2 * s * QUERIES + 16 * i;
            v16 first = 2 * s < d ? v_load(row) : v_zero(), second = 2 * s + 1 < d ? v_load(row + QUERIES) : v_zero();
            store_pairs(w->split, q + i * w->steps * 16, s, first, second);
        }
}

static void multiply(const job *w, const im_tile *t, int rows)
{
    (w->split ? w->amx->multiply_split : w->amx->multiply[IM_COMPUTE_BF16])(t, rows, 2);
}

static void scores_in_tiles(const job *w, const float *k, const float *q, float *s, int keys)
{
    for (int row = 0; row < keys; row += IM_AMX_ROWS)
        multiply(w, &(im_tile){ .steps = w->steps, .a = k + (size_t)row * (size_t)w->steps, .lda = w->steps,
                                .b = { q, q + 16 * w->steps }, .out = s + row * QUERIES, .next = q }, IM_AMX_ROWS);
}

static void hold_queries(const job *w, const float *q)
{
    w->amx->hold((const float *[]){ q, q + 16 * w->steps }, w->steps / IM_AMX_STEPS);
}

/* Scores of CHUNK keys from `key` of the block on; in turn: made in one of two places. */
static float *scores_of(const job *w, float *s, int key)
{
    return s + (w->in_turn ? key / CHUNK % 2 * CHUNK : key) * QUERIES;
}

/* Of the queries, which are held where they can be, with CHUNK keys. */
static void scores_of_chunk(const job *w, const float *k, const float *q, int key, float *s)
{
    float *to = scores_of(w, s, key);
    if (!w->held)
        scores_in_tiles(w, k + (size_t)key * (size_t)w->steps, q, to, CHUNK);
    for (int i = 0; w->held && i < CHUNK; i += HALF)
        w->amx->times_held(k + (size_t)(key + i) * (size_t)w->steps, w->steps, w->steps / IM_AMX_STEPS, to + i * QUERIES);
}

/* O^T += V^T P^T over keys [from, to) of the block, from a chunk's first on. */
static void values_in_tiles(const job *w, const float *v, const float *p, float *o, int from, int to)
{
    const float *b = p + from / w->per_step * 16;
    v += from / w->per_step;
    for (int c = 0; c < w->depth; c += IM_AMX_ROWS, v += IM_AMX_ROWS * w->v_row, o += IM_AMX_ROWS * QUERIES)
        multiply(w, &(im_tile){ .steps = im_ceil_div(to - from, GROUP_KEYS) * GROUP_KEYS / w->per_step, .a = v,
                                .lda = w->v_row, .b = { b, b + 16 * w->v_row }, .in = o, .out = o, .next = b },
                 w->depth - c < IM_AMX_ROWS ? HALF : IM_AMX_ROWS);
}

/* ---------------------------------------------------------------- weights */

typedef struct sums { v16 even[VECS], odd[VECS]; } sums;       /* of weights, over even and odd keys                   */

static void clear(sums *l)
{
    for (int i = 0; i < VECS; i++)
        l->even[i] = l->odd[i] = v_zero();
}

static void add_to(float *l, const sums *more)
{
    for (int i = 0; i < VECS; i++)
        v_store(l + 16 * i, v_add(v_load(l + 16 * i), v_add(more->even[i], more->odd[i])));
}

/* The largest of CHUNK keys' scores of 16 queries; of `keys` where there are fewer. */
IM_INLINE v16 largest(const float *s, int keys)
{
    v16 t[4];
    for (int n = 0; n < 4; n++) t[n] = v_set1(-INFINITY);
    if (keys >= CHUNK)
        IM_UNROLL for (int j = 0; j < CHUNK; j++) t[j % 4] = v_max(t[j % 4], v_load(s + j * QUERIES));
    else
        for (int j = 0; j < keys; j++) t[0] = v_max(t[0], v_load(s + j * QUERIES));
    return v_max(v_max(t[0], t[1]), v_max(t[2], t[3]));
}

/* Whether one of the queries' maxima grows with these scores by more than counts. */
static bool grows(const float *s, int keys, const float *m)
{
    bool any = false;
    for (int i = 0; i < VECS; i++)
        any |= m_any(v_lt(v_add(v_load(m + 16 * i), v_set1(GROWTH)), largest(s + 16 * i, keys)));
    return any;
}

/* New maxima where they grow; l and o (d rows) times a. */
static void rescale(const float *s, int keys, float *m, float *l, float *o, int d)
{
    for (int i = 0; i < VECS; i++, s += 16, m += 16, l += 16, o += 16) {
        v16 old = v_load(m), top = largest(s, keys);
        v16 now = v_select(v_lt(v_add(old, v_set1(GROWTH)), top), top, old);
        v16 a = v_select(v_eq(now, old), v_set1(1.0f), v_exp2_weight(v_sub(old, now)));
        v_store(m, now);
        v_store(l, v_mul(v_load(l), a));
        for (int c = 0; c < d; c++)
            v_store(o + c * QUERIES, v_mul(v_load(o + c * QUERIES), a));
    }
}

IM_INLINE v16 weight(bool split, const float *s, v16 base)
{
    v16 x = v_sub(v_load(s), base);
    return split ? v_exp2_weight(x) : v_exp2_weight_short(x);
}

/* Scores of CHUNK keys and 16 queries, of which `keys` exist, to weights, as pairs of keys. */
IM_INLINE void weights_in_pairs(bool split, const float *s, int keys, v16 base, float *p, v16 *even, v16 *odd)
{
    IM_UNROLL for (int j = 0; j < CHUNK; j += 2) {
        v16 x = j < keys ? weight(split, s + j * QUERIES, base) : v_zero();
        v16 y = j + 1 < keys ? weight(split, s + (j + 1) * QUERIES, base) : v_zero();
        *even = v_add(*even, x);
        *odd = v_add(*odd, y);
        store_pairs(split, p, j / 2, x, y);
    }
}

IM_INLINE void weights_of_chunk(bool split, const float *s, int keys, const float *m, float *p, sums *l)
{
    int panel = (split ? BLOCK : PAIRS) * 16;
    IM_UNROLL for (int i = 0; i < VECS; i++) {
        v16 top = v_load(m + 16 * i);
        v16 base = v_select(v_eq(top, v_set1(-INFINITY)), v_zero(), top);                /* -Inf - -Inf is no number */
        if (keys >= CHUNK)
            weights_in_pairs(split, s + 16 * i, CHUNK, base, p + i * panel, &l->even[i], &l->odd[i]);
        else
            weights_in_pairs(split, s + 16 * i, keys, base, p + i * panel, &l->even[i], &l->odd[i]);
    }
}

/* ---------------------------------------------------------------- tasks */

/* Sets the pointers of x into base; returns the number of floats. base NULL: only counts them. */
static size_t lay_out(state *x, float *base, const job *w)
{
    size_t n = (size_t)w->groups, at = 0;
    struct { float **p; size_t n; } part[] = {
        { &x->q, n * QUERIES * (size_t)w->steps }, { &x->o, n * QUERIES * (size_t)w->depth },
        { &x->s, (BLOCK + IM_AMX_ROWS) * QUERIES }, { &x->p, (size_t)w->v_row * QUERIES },
        { &x->m, n * QUERIES }, { &x->l, n * QUERIES },
    };
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        if (base)
            *part[i].p = base + at;
        at += part[i].n;
    }
    return at;
}

/* A block of keys; key: the first one's number where queries see no further than themselves, else -1. */
typedef struct block_of_keys { const float *k, *v; int keys, key; } block_of_keys;

/* Group g of the task's queries, of which `query` is the first, and a block of keys. */
static void attend_block(const job *w, state *x, block_of_keys b, int g, int query)
{
    const float *q = x->q + (size_t)g * QUERIES * (size_t)w->steps;
    float *o = x->o + (size_t)g * QUERIES * (size_t)w->depth, *m = x->m + g * QUERIES, *l = x->l + g * QUERIES;
    int multiplied = 0;
    sums more;
    clear(&more);
    if (w->held)
        hold_queries(w, q);
    if (w->in_turn)
        scores_of_chunk(w, b.k, q, 0, x->s);
    else
        scores_in_tiles(w, b.k, q, x->s, b.keys);
    for (int j = 0; j < b.keys; j += CHUNK) {
        float *s = scores_of(w, x->s, j);
        int keys = b.keys - j;
        if (w->in_turn && keys > CHUNK)
            scores_of_chunk(w, b.k, q, j + CHUNK, x->s);
        if (b.key >= 0)
            mask_of_group(VECS, s, keys < CHUNK ? keys : CHUNK, b.key + j, query);
        if (grows(s, keys, m)) {
            if (j > multiplied)
                values_in_tiles(w, b.v, x->p, o, multiplied, j);
            if (j > multiplied && w->held)
                hold_queries(w, q);
            multiplied = j;
            add_to(l, &more);
            clear(&more);
            rescale(s, keys, m, l, o, w->at->d);
        }
        if (w->split)
            weights_of_chunk(true, s, keys, m, x->p + j * 16, &more);
        else
            weights_of_chunk(false, s, keys, m, x->p + j / 2 * 16, &more);
    }
    values_in_tiles(w, b.v, x->p, o, multiplied, b.keys);
    add_to(l, &more);
}

static void attend(void *arg, int task, int thread)
{
    const job *w = arg;
    const im_attention_args *at = w->at;
    int pair = task / w->blocks, b = pair / at->heads, query0 = task % w->blocks * w->groups * QUERIES;
    int queries = at->tq - query0 < w->groups * QUERIES ? at->tq - query0 : w->groups * QUERIES;
    int groups = im_ceil_div(queries, QUERIES), rows = w->depth;
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
    w->amx->flush(true);
    for (int block = 0; block * BLOCK < tk && !stopped(w); block++) {
        int keys = tk - block * BLOCK < BLOCK ? tk - block * BLOCK : BLOCK;
        const float *k = w->k + (size_t)pair * w->k_head + (size_t)block * BLOCK * (size_t)w->steps;
        const float *v = w->v + (size_t)pair * w->v_head + (size_t)block * (size_t)rows * (size_t)w->v_row;
        for (int g = 0; g < groups; g++)
            attend_block(w, &x, (block_of_keys){ k, v, keys, at->causal ? block * BLOCK : -1 }, g, query0 + g * QUERIES);
    }
    w->amx->flush(false);
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
    w->depth = im_ceil_div(at->d, HALF) * HALF;
    w->per_step = w->split ? 1 : 2;
    w->steps = im_split_whole(at->d) / w->per_step;
    w->v_row = BLOCK / w->per_step;
    w->held = !w->split && w->steps <= IM_AMX_HELD * IM_AMX_STEPS;
    w->in_turn = w->held || w->split;
    w->key_blocks = im_ceil_div(at->tk, BLOCK);
    w->k_head = (size_t)(at->tk + IM_AMX_ROWS) * (size_t)w->steps;
    w->v_head = (size_t)w->key_blocks * (size_t)w->depth * (size_t)w->v_row;
}

int IM_FN(im_attention_tiles)(im_device *dev, const im_attention_args *at)
{
    job w = { .dev = dev, .at = at, .amx = im_host_of(dev)->amx, .groups = GROUPS, .split = at->products == IM_F16,
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
