/* attention_int8.c: attention in integers as int8.h defines it, for networks whose weights are int8.
 *
 * Transposed as attention.c is, so that 16 lanes are 16 queries, and by the tiles of the products (cpu/tile.h): those of
 * int8 of this set, or of one with an instruction for them beside it, or tile registers.
 *
 *     S^T (keys, 32 queries) = K (keys, d) x Q^T (d, 32)       K as rows of quads, Q^T as two panels (weight.h)
 *     O^T (d, 32)            = V^T (d, keys) x P^T (keys, 32)   V^T as rows of quads of keys; P^T comes out of the
 *                                                               softmax as panels
 *
 *   prepare   K and V^T of a block of 128 keys of a head to integers, once, in memory that all threads share
 *   attend    a task is a head and up to 256 queries; for each block of keys (S^T 16 KiB, P^T 4, K and V^T 5 each at
 *             d = 40: in L1), for each group of 32 queries: sums, scores, weights, O^T, which goes onto what is there
 *
 * Weights are 0 .. 255 and one factor of a product has a sign, so p - 128 is multiplied, and 128 sum v added. Where the
 * other factor may have none (im_host.int8_flip: 128 is added to k and v), 128 sum q and 128 sum (p - 128) come off. */
#include "tensor/cpu/attention.h"
#include "tensor/cpu/int8.h"
#include "tensor/cpu/product.h"
#include "tensor/parallel.h"

enum {
    BLOCK = IM_INT8_KEYS, QUADS = BLOCK / 4, QUERIES = IM_STRIP, VECS = QUERIES / 16,
    GROUPS = 8,                                  /* of 32 queries in a task                                            */
    SPARE = 16,                                  /* floats behind rows of bytes, which are written 16 at a time        */
    HALF_WEIGHTS = 0x80                          /* 128: what weights are less                                         */
};

/* Of one block of keys of one head. */
typedef struct block {
    float *k;                                    /* (keys and a tile, steps) quads                                     */
    float *k_scales;                             /* (BLOCK)                                                            */
    float *v;                                    /* (d and a tile, QUADS) quads of keys                                */
    float *v_scales, *v_sums;                    /* (d rounded up to 16): scales; 128 sum v, as i32                    */
    float *bad;                                  /* the first key whose scale is not a number, or BLOCK                */
} block;

typedef struct state {                           /* one thread's memory                                                */
    float *q;                                    /* by group: two panels of (steps, 16) quads                          */
    float *o;                                    /* by group: (d, 32)                                                  */
    float *rows;                                 /* (16, q_row) quads: integers of queries; (16) values                */
    float *s;                                    /* (BLOCK + 32, 32) scores; then the sums of O^T, (d + 32, 32)        */
    float *p;                                    /* two panels of (QUADS, 16) quads                                    */
    float *by, *more;                            /* by group: 32: scales of q times factor; 128 sum q, as i32          */
    float *m, *l;                                /* by group: 32                                                       */
    float *a, *share, *less;                     /* 32: of a group and a block: im_int8_powers; 128 sum (p - 128), i32 */
} state;

typedef struct job {
    im_device *dev;
    const im_attention_args *at;
    const im_amx *amx;                           /* NULL: micro                                                        */
    const im_micros *micro;
    uint8_t flip;
    float factor;                                /* scale * log2 e                                                     */
    int tile_rows;                               /* of both products: a change of the shape of tile registers is dear  */
    int steps, q_row, columns;                   /* quads of d: as multiplied, in a row of Q; d rounded up to 16       */
    int key_blocks, groups, blocks;              /* of a head; groups of queries in a task; tasks of a head            */
    float *prepared;
    size_t block_floats;
} job;

static bool stopped(const job *w)
{
    return w->dev->stop && *w->dev->stop;
}

/* Sets pointers, which follow one another from base on, each on 64 bytes; returns the number of floats. base NULL: only
 * counts them. */
typedef struct { float **p; size_t n; } piece;
static size_t lay_out(const piece *pieces, size_t count, float *base)
{
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        if (base)
            *pieces[i].p = base + at;
        at += (pieces[i].n + 15) & ~(size_t)15;
    }
    return at;
}

static size_t lay_out_block(block *x, float *base, const job *w)
{
    size_t columns = (size_t)w->columns;
    const piece all[] = {
        { &x->k, (size_t)(BLOCK + IM_AMX_ROWS) * (size_t)w->steps + SPARE }, { &x->k_scales, BLOCK },
        { &x->v, (columns + IM_AMX_ROWS) * QUADS }, { &x->v_scales, columns }, { &x->v_sums, columns }, { &x->bad, 1 },
    };
    return lay_out(all, sizeof all / sizeof *all, base);
}

static size_t lay_out_state(state *x, float *base, const job *w)
{
    size_t n = (size_t)w->groups, d = (size_t)w->at->d, rows = (d > BLOCK ? d : BLOCK) + IM_AMX_ROWS;
    const piece all[] = {
        { &x->q, n * QUERIES * (size_t)w->steps }, { &x->o, n * QUERIES * d }, { &x->rows, 16 * (size_t)w->q_row + SPARE },
        { &x->s, rows * QUERIES }, { &x->p, QUADS * QUERIES }, { &x->by, n * QUERIES }, { &x->more, n * QUERIES },
        { &x->m, n * QUERIES }, { &x->l, n * QUERIES }, { &x->a, QUERIES }, { &x->share, QUERIES }, { &x->less, QUERIES },
    };
    return lay_out(all, sizeof all / sizeof *all, base);
}

/* ---------------------------------------------------------------- keys and values */

static void prepare_keys(const job *w, im_cbuf k, int keys, block *x)
{
    int d = w->at->d, bytes = 4 * w->steps, bad = BLOCK;
    for (int j = 0; j < keys; j++) {
        const void *row = im_at(k.p, k.t, j * w->at->ldk);
        uint8_t *q = (uint8_t *)(x->k + (size_t)j * (size_t)w->steps);
        im_int8_scale s = im_int8_scale_of(im_amax_of(k.t, row, NULL, d));
        im_integers_of(k.t, row, NULL, d, s.inverse, w->flip, q);
        for (int i = (d + 15) / 16 * 16; i < bytes; i++)
            q[i] = 0;
        x->k_scales[j] = s.scale;
        bad = bad == BLOCK && s.scale != s.scale ? j : bad;
    }
    /* the last tile's rows may reach behind the keys */
    memset(x->k + (size_t)keys * (size_t)w->steps, 0, sizeof(float) * IM_AMX_ROWS * (size_t)w->steps);
    *x->bad = (float)bad;
}

/* 16 columns, of which n exist: their integers, turned; their scales and sums. */
IM_INLINE void turn_values(im_dtype t, const job *w, const void *v, int keys, int c0, block *x)
{
    int n = w->at->d - c0 < 16 ? w->at->d - c0 : 16;
    v16 most = v_zero(), none = v_zero(), sum = v_zero();
    float amax[16], inverse[16];
    for (int j = 0; j < keys; j++) {
        v16 row = load_as(t, v, j * w->at->ldv + c0, n);
        most = v_max(v_abs(row), most);
        none = v_add(none, v_mul(row, v_zero()));              /* NaN where one is not finite                         */
    }
    v_store(amax, v_add(most, none));
    for (int c = 0; c < 16; c++) {
        im_int8_scale s = im_int8_scale_of(amax[c]);
        x->v_scales[c0 + c] = s.scale;
        inverse[c] = s.inverse;
    }
    v16 by = v_load(inverse);
    for (int j0 = 0; j0 < BLOCK; j0 += 16) {
        v16 rows[16];
        for (int j = 0; j < 16; j++) {
            rows[j] = j0 + j < keys ? v_mul(load_as(t, v, (j0 + j) * w->at->ldv + c0, n), by) : v_zero();
            sum = v_add(sum, v_round(rows[j]));
        }
        v_turn(rows);
        for (int c = 0; c < n; c++)
            v_store_int8((uint8_t *)(x->v + (c0 + c) * QUADS) + j0, rows[c], w->flip);
    }
    v_store(x->v_sums + c0, v_i32_of_real(v_mul(sum, v_set1(HALF_WEIGHTS))));
}

IM_INLINE void prepare_values(im_dtype t, const job *w, const void *v, int keys, block *x)
{
    for (int c0 = 0; c0 < w->at->d; c0 += 16)
        turn_values(t, w, v, keys, c0, x);
    memset(x->v + w->at->d * QUADS, 0, sizeof(float) * IM_AMX_ROWS * QUADS);
}

static void prepare(void *arg, int task, int thread)
{
    const job *w = arg;
    const im_attention_args *at = w->at;
    int pair = task / w->key_blocks, b = pair / at->heads, key0 = task % w->key_blocks * BLOCK;
    int keys = at->tk - key0 < BLOCK ? at->tk - key0 : BLOCK;
    int64_t column = (int64_t)(pair % at->heads) * at->d;
    im_cbuf v = im_cbuf_at(at->v, b * at->bsv + column + key0 * at->ldv);
    block x;
    (void)thread;
    lay_out_block(&x, w->prepared + (size_t)task * w->block_floats, w);
    prepare_keys(w, im_cbuf_at(at->k, b * at->bsk + column + key0 * at->ldk), keys, &x);
    switch (v.t) {
    case IM_F16:  prepare_values(IM_F16, w, v.p, keys, &x); break;
    case IM_BF16: prepare_values(IM_BF16, w, v.p, keys, &x); break;
    default:      prepare_values(IM_F32, w, v.p, keys, &x);
    }
}

/* ---------------------------------------------------------------- one group, one block */

/* n (1..16) queries to a panel, their scales and sums; the panel's other queries are zeros. */
static void pack_panel(const job *w, im_cbuf q, int n, float *rows, float *panel, float *by, float *more)
{
    int d = w->at->d;
    float scales[16] = { 0 }, sums[16] = { 0 };
    memset(rows, 0, sizeof *rows * 16 * (size_t)w->q_row);
    for (int i = 0; i < n; i++) {
        const void *row = im_at(q.p, q.t, i * w->at->ldq);
        int8_t *to = (int8_t *)(rows + i * w->q_row);
        im_int8_scale s = im_int8_scale_of(im_amax_of(q.t, row, NULL, d));
        int sum = 0;
        im_integers_of(q.t, row, NULL, d, s.inverse, 0, (uint8_t *)to);
        for (int c = 0; c < d; c++)
            sum += to[c];
        scales[i] = s.scale;
        sums[i] = (float)(w->flip ? HALF_WEIGHTS * sum : 0);
    }
    for (int s0 = 0; s0 < w->q_row; s0 += 16) {
        v16 x[16];
        for (int i = 0; i < 16; i++)
            x[i] = v_load(rows + i * w->q_row + s0);
        v_turn(x);
        for (int s = 0; s < 16 && s0 + s < w->steps; s++)
            v_store(panel + (s0 + s) * 16, x[s]);
    }
    v_store(by, v_mul(v_load(scales), v_set1(w->factor)));
    v_store(more, v_i32_of_real(v_load(sums)));
}

/* out (rows, 32) = a (rows, steps) x the two panels at b, as i32. */
static void multiply(const job *w, const float *a, int lda, int rows, const float *b, int panel, int steps, float *out)
{
    int tiles = im_ceil_div(rows, w->tile_rows);
    for (int t = 0; t < tiles; t++) {
        int r0 = w->amx ? t * w->tile_rows : rows * t / tiles;
        int n = w->amx ? w->tile_rows : rows * (t + 1) / tiles - r0;
        im_tile x = { .steps = steps, .a = a + (size_t)r0 * (size_t)lda, .lda = lda, .b = { b, b + panel },
                      .out = out + r0 * QUERIES, .next = b };
        if (w->amx) {
            w->amx->multiply[IM_COMPUTE_INT8](&x, n, VECS);
            continue;
        }
        for (int i = 0; i < VECS; i += IM_NV, x.b[0] += panel, x.out += 16)
            w->micro->tile[IM_NV - 1][n - 1](&x);
    }
}

/* Sums of 16 queries to scores, in place; returns the largest, or what is less than any. */
IM_INLINE v16 to_scores(const job *w, const block *x, float *s, int keys, v16 by, v16 more)
{
    v16 top = v_set1(IM_INT8_LOWEST);
    for (int j = 0; j < keys; j++) {
        v16 sum = v_load(s + j * QUERIES);
        v16 y = v_mul(v_real_of_i32(w->flip ? v_sub_i32(sum, more) : sum), v_mul(by, v_set1(x->k_scales[j])));
        v_store(s + j * QUERIES, y);
        top = v_max(y, top);
    }
    return top;
}

IM_INLINE v16 largest(const float *s, int keys)
{
    v16 top = v_set1(IM_INT8_LOWEST);
    for (int j = 0; j < keys; j++)
        top = v_max(v_load(s + j * QUERIES), top);
    return top;
}

/* im_int8_weight, as i32. */
IM_INLINE v16 weight(v16 x)
{
    v16 y = v_max(x, v_set1(IM_INT8_LEAST)), n = v_round(y), f = v_sub(y, n);
    v16 p = v_add(v_mul(v_add(v_mul(v_set1(IM_INT8_E2), f), v_set1(IM_INT8_E1)), f), v_set1(IM_INT8_E0));
    return v_i32_of_real(v_ldexp(p, n));
}

/* Scores of 16 queries to a panel of weights less 128, up to whole quads; returns their sum as i32. */
IM_INLINE v16 weights(const float *s, int keys, v16 base, float *p)
{
    v16 sum = v_zero(), x[4];
    int j = 0;
    for (; j + 4 <= keys; j += 4) {
        IM_UNROLL for (int i = 0; i < 4; i++) {
            x[i] = weight(v_sub(v_load(s + (j + i) * QUERIES), base));
            sum = v_add_i32(sum, x[i]);
        }
        v_store(p + j / 4 * 16, v_quad_bytes(x[0], x[1], x[2], x[3], HALF_WEIGHTS));
    }
    if (j < keys) {
        for (int i = 0; i < 4; i++) {
            x[i] = j + i < keys ? weight(v_sub(v_load(s + (j + i) * QUERIES), base)) : v_zero();
            sum = v_add_i32(sum, x[i]);
        }
        v_store(p + j / 4 * 16, v_quad_bytes(x[0], x[1], x[2], x[3], HALF_WEIGHTS));
    }
    return sum;
}

/* im_int8_power */
IM_INLINE v16 power(v16 x)
{
    static const float by[] = { IM_INT8_POWER };
    v16 y = v_max(x, v_set1(-101.0f)), n = v_round(y), f = v_sub(y, n), p = v_set1(by[0]);
    for (int i = 1; i < 7; i++)
        p = v_add(v_mul(p, f), v_set1(by[i]));
    return v_select(v_ge(y, v_set1(-100.0f)), v_ldexp(p, n), v_zero());
}

/* Of a group whose first query is query0: sums at x->s become weights at x->p. g: 32 times the number of the group. */
static void softmax(const job *w, const block *b, const state *x, int g, int keys, int key0, int query0)
{
    int quads = im_ceil_div(keys, 4);
    for (int i = 0; i < QUERIES; i += 16) {
        float *s = x->s + i;
        v16 top = to_scores(w, b, s, keys, v_load(x->by + g + i), v_load(x->more + g + i));
        v_store(x->a + i, top);
    }
    if (w->at->causal)
        mask_of_group(VECS, x->s, keys, key0, query0);
    for (int i = 0; i < QUERIES; i += 16) {
        v16 top = w->at->causal ? largest(x->s + i, keys) : v_load(x->a + i), old = v_load(x->m + g + i);
        v16 next = v_max(old, top), a = power(v_sub(old, next)), share = power(v_sub(top, next));
        v16 sum = v_real_of_i32(weights(x->s + i, keys, top, x->p + i * QUADS));
        v16 l = v_add(v_mul(v_load(x->l + g + i), a), v_mul(sum, share));
        v_store(x->l + g + i, v_add(l, v_mul(top, v_zero())));
        v_store(x->m + g + i, next);
        v_store(x->a + i, a);
        v_store(x->share + i, share);
        v_store(x->less + i, v_i32_of_real(v_mul(v_sub(sum, v_set1((float)(4 * quads * HALF_WEIGHTS))),
                                                 v_set1(HALF_WEIGHTS))));
        for (int q = quads; w->amx && q % IM_AMX_STEPS; q++)
            v_store(x->p + i * QUADS + q * 16, v_zero());
    }
    if (*b->bad < (float)keys)                                 /* a key that is not finite                            */
        for (int i = 0; i < QUERIES; i++)
            if (!w->at->causal || query0 + i >= key0 + (int)*b->bad)
                x->l[g + i] = NAN;
}

/* o = o * a + sums * (share * scale of the column) */
static void values(const job *w, const block *b, const state *x, float *o, int keys)
{
    int steps = im_ceil_div(keys, 4);
    steps = w->amx ? im_ceil_div(steps, IM_AMX_STEPS) * IM_AMX_STEPS : steps;
    multiply(w, b->v, QUADS, w->at->d, x->p, 16 * QUADS, steps, x->s);
    for (int i = 0; i < QUERIES; i += 16) {
        v16 a = v_load(x->a + i), share = v_load(x->share + i), less = w->flip ? v_load(x->less + i) : v_zero();
        for (int c = 0; c < w->at->d; c++) {
            v16 sum = v_sub_i32(v_load(x->s + c * QUERIES + i), v_sub_i32(less, v_set1(b->v_sums[c])));
            v16 y = v_mul(v_real_of_i32(sum), v_mul(share, v_set1(b->v_scales[c])));
            v_store(o + c * QUERIES + i, v_add(v_mul(v_load(o + c * QUERIES + i), a), y));
        }
    }
}

/* ---------------------------------------------------------------- tasks */

static void begin(const job *w, const state *x, im_cbuf q, int queries, int groups)
{
    for (int g = 0; g < groups * QUERIES; g += 16) {
        int n = queries - g < 0 ? 0 : queries - g < 16 ? queries - g : 16;
        pack_panel(w, im_cbuf_at(q, n ? g * w->at->ldq : 0), n, x->rows, x->q + (size_t)g * (size_t)w->steps, x->by + g,
                   x->more + g);
        v_store(x->m + g, v_set1(IM_INT8_LOWEST));
        v_store(x->l + g, v_mul(v_load(x->by + g), v_zero()));                 /* NaN where a query is not finite      */
    }
    memset(x->o, 0, sizeof *x->o * (size_t)(groups * QUERIES) * (size_t)w->at->d);
}

static void attend(void *arg, int task, int thread)
{
    const job *w = arg;
    const im_attention_args *at = w->at;
    int pair = task / w->blocks, b = pair / at->heads, query0 = task % w->blocks * w->groups * QUERIES;
    int queries = at->tq - query0 < w->groups * QUERIES ? at->tq - query0 : w->groups * QUERIES;
    int groups = im_ceil_div(queries, QUERIES);
    int64_t column = (int64_t)(pair % at->heads) * at->d;
    im_buf o = im_buf_at(at->o, b * at->bso + column + query0 * at->ldo);
    int tk = at->causal && query0 + queries < at->tk ? query0 + queries : at->tk;
    state x;
    lay_out_state(&x, im_scratch(w->dev, thread, lay_out_state(&x, NULL, w) * sizeof(float)), w);
    begin(w, &x, im_cbuf_at(at->q, b * at->bsq + column + query0 * at->ldq), queries, groups);
    for (int key0 = 0; key0 < tk && !stopped(w); key0 += BLOCK) {
        int keys = at->tk - key0 < BLOCK ? at->tk - key0 : BLOCK;                      /* v_sums are over all of them   */
        block kv;
        lay_out_block(&kv, w->prepared + (size_t)(pair * w->key_blocks + key0 / BLOCK) * w->block_floats, w);
        for (int g = 0; g < groups * QUERIES; g += QUERIES) {
            multiply(w, kv.k, w->steps, keys, x.q + (size_t)g * (size_t)w->steps, 16 * w->steps, w->steps, x.s);
            softmax(w, &kv, &x, g, keys, key0, query0 + g);
            values(w, &kv, &x, x.o + (size_t)g * (size_t)at->d, keys);
        }
    }
    if (w->amx)
        w->amx->end();
    for (int g = 0; g < groups * QUERIES && !stopped(w); g += QUERIES)
        store_output(VECS, im_buf_at(o, g * at->ldo), at->ldo, x.o + (size_t)g * (size_t)at->d, x.l + g,
                     queries - g < QUERIES ? queries - g : QUERIES, at->d);
}

int IM_FN(im_attention_int8)(im_device *dev, const im_attention_args *at)
{
    const im_host *h = im_host_of(dev);
    job w = { .dev = dev, .at = at, .amx = h->amx, .micro = h->int8_tiles, .flip = h->int8_flip, .groups = GROUPS,
              .factor = (float)((double)at->scale * 1.4426950408889634), .tile_rows = IM_MR,
              .columns = (at->d + 15) / 16 * 16, .key_blocks = im_ceil_div(at->tk, BLOCK) };
    int pairs = at->batch * at->heads, groups = im_ceil_div(at->tq, QUERIES), threads = im_threads_of(dev);
    block kv;
    state x;
    w.q_row = im_ceil_div(at->d, 4 * IM_AMX_STEPS) * IM_AMX_STEPS;
    w.steps = w.amx ? w.q_row : im_ceil_div(at->d, 4);
    if (w.amx)                                   /* d in equal parts of at most 32                                     */
        w.tile_rows = im_ceil_div(at->d, im_ceil_div(at->d, IM_AMX_ROWS));
    w.block_floats = lay_out_block(&kv, NULL, &w);
    w.blocks = im_ceil_div(groups, w.groups);
    while (w.groups > 1 && pairs * w.blocks < 4 * threads) {
        w.groups /= 2;
        w.blocks = im_ceil_div(groups, w.groups);
    }
    w.prepared = im_scratch(dev, threads, (size_t)pairs * (size_t)w.key_blocks * w.block_floats * sizeof(float));
    if (!w.prepared)
        return IM_NO_MEMORY;
    for (int i = 0; i < threads; i++)
        if (!im_scratch(dev, i, lay_out_state(&x, NULL, &w) * sizeof(float)))
            return IM_NO_MEMORY;
    im_parallel_for(threads, pairs * w.key_blocks, prepare, &w);
    im_parallel_for(threads, pairs * w.blocks, attend, &w);
    return stopped(&w) ? IM_STOPPED : IM_DONE;
}
