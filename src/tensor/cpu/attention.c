/* attention.c: o = softmax(scale q k^T) v by tiles; the scores are never stored beyond one tile (Dao et al. 2022).
 *
 * Everything is computed transposed: the 16 lanes of a vector are 16 queries. Then the scores of a key block,
 * S^T[key][query] = sum_d K[key][d] Q^T[d][query], and the output, O^T[d][query] = sum_key V[key][d] P^T[key][query],
 * are both products of broadcast numbers (K, V as they lie in memory) with vectors (Q^T, P^T), the maximum and the sum
 * over keys run from vector to vector without a shuffle, and no head size is padded to whole vectors.
 *
 *                    queries: lanes of 3 vectors                     for each task (a head, up to 192 queries):
 *                  [ q0 .. q15 ][ q16 .. q31 ][ q32 .. q47 ]           Q^T of its queries, scaled, once
 *   K block        [      S^T: 64 keys x 48 queries        ]           for each block of 64 keys:
 *   64 keys x d     8 rows x 3 vectors a tile: 24 sums                   copy its rows of K and V together (L1)
 *                  [      max, exp2, sum: down the columns ]             for each group of 48 queries:
 *   V block^T      [      O^T: d x 48, kept, rescaled by a ]                S^T, mask, weights, O^T += V^T P^T
 *
 * Why these sizes: 64 keys, for at d = 40 K, V (10 KiB each) and S^T (12 KiB) stay in L1, and device.h fixes it, as the
 * order of the sums depends on it; 8 x 3 vectors are 24 sums beside 3 loads and 1 broadcast, and 8 divides 64 and every
 * head size of the networks (40, 64, 80, 160, 512); 12 vectors of queries a task, so that the copy of K and V is paid once
 * for four groups.
 *
 * The arithmetic, for one query (device.h fixes the order):
 *   q' = q * (scale * log2 e), rounded once an element: weights are powers of 2
 *   s_j = chain of fma over d, ascending, from 0
 *   per block of IM_ATT_BLOCK keys: m' = max(m, s_j);  a = 2^(m - m');  p_j = 2^(s_j - m');  m = m'
 *     l = fma(l, a, sum p_j)            key j of the block into lane j % 16, then the tree
 *     o_c = chain of fma p_j v_jc over j, ascending, from o_c * a
 *   result o_c / l. Weights below 2^-126 are 0. Where every score is -Inf, l = 0 and the result is 0.
 * Masked keys (causal) have the score -Inf. Used by self, cross and causal attention of CLIP, UNet and VAE. */
#include "tensor/cpu/attention.h"
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/vmath.h"
#include "tensor/parallel.h"

#include <math.h>
#include <string.h>

typedef struct {                         /* one thread's memory: the state of a block of queries */
    float *q;                            /* by group: [d][queries of the group], scaled */
    float *o;                            /* by group: [dp][queries of the group] */
    float *k, *v;                        /* [KEYS][d], [KEYS][dp]: the key block, rows packed together */
    float *s;                            /* [KEYS][queries of the group]: scores, then weights */
    float *m, *l, *a;                    /* running maximum, running sum, rescaling; [queries] */
} state;

typedef struct {
    im_device *dev;
    const im_attention_args *at;
    int dp;                              /* d rounded up to 4 */
    int vecs, block, blocks;             /* vectors of 16 queries; in a task; tasks of a head */
    float factor;                        /* scale * log2 e */
} job;

/* o[c][query] = o[c][query] * a[query] + v[key][c] p[key][query] */
static void values_of_group(int nv, const float *v, const float *p, float *o, int keys, int dp, const float *a)
{
    if (GROUP >= 3 && nv == 3)
        product_rows(3, FROM_C_SCALED, dp, keys, v, 1, dp, p, o, a);
    else if (GROUP >= 2 && nv == 2)
        product_rows(2, FROM_C_SCALED, dp, keys, v, 1, dp, p, o, a);
    else
        product_rows(1, FROM_C_SCALED, dp, keys, v, 1, dp, p, o, a);
}

/* The tree over 16 lanes of simd.h's v_sum, each lane here a vector of queries. */
IM_INLINE v16 sum_lanes(v16 x[16])
{
    IM_UNROLL for (int i = 0; i < 8; i++) x[i] = v_add(x[i], x[i + 8]);
    IM_UNROLL for (int i = 0; i < 4; i++) x[i] = v_add(x[i], x[i + 4]);
    return v_add(v_add(x[0], x[2]), v_add(x[1], x[3]));
}

/* Turns the scores of 16 queries into weights: s[j * ld], j < keys. Full blocks take four keys at a time for speed. */
IM_INLINE v16 weights(float *s, int ld, int keys, v16 base)
{
    v16 lane[16];
    if (keys == KEYS) {
        for (int j = 0; j < 16; j++) {
            v16 p[4];
            IM_UNROLL for (int i = 0; i < 4; i++) {
                p[i] = v_exp2_weight(v_sub(v_load(s + (j + 16 * i) * ld), base));
                v_store(s + (j + 16 * i) * ld, p[i]);
            }
            lane[j] = v_add(v_add(v_add(p[0], p[1]), p[2]), p[3]);
        }
        return sum_lanes(lane);
    }
    for (int j = 0; j < 16; j++)
        lane[j] = v_zero();
    for (int j = 0; j < keys; j++) {
        v16 p = v_exp2_weight(v_sub(v_load(s + j * ld), base));
        v_store(s + j * ld, p);
        lane[j & 15] = v_add(lane[j & 15], p);
    }
    return sum_lanes(lane);
}

static void softmax_of_group(int nv, float *s, int keys, float *m, float *l, float *a)
{
    int ld = 16 * nv;
    for (int i = 0; i < nv; i++) {
        float *col = s + 16 * i;
        v16 old = v_load(m + 16 * i), t[4] = { old, old, old, old };
        int j = 0;
        for (; j + 4 <= keys; j += 4)
            IM_UNROLL for (int n = 0; n < 4; n++) t[n] = v_max(t[n], v_load(col + (j + n) * ld));
        for (; j < keys; j++)
            t[0] = v_max(t[0], v_load(col + j * ld));
        v16 top = v_max(v_max(t[0], t[1]), v_max(t[2], t[3]));
        v16 base = v_select(v_eq(top, v_set1(-INFINITY)), v_zero(), top);                /* -Inf - -Inf is no number */
        v16 shrink = v_exp2_weight(v_sub(old, base));
        v_store(m + 16 * i, top);
        v_store(a + 16 * i, shrink);
        v_store(l + 16 * i, v_fma(v_load(l + 16 * i), shrink, weights(col, ld, keys, base)));
    }
}

/* m + log2 l, m being in units of log2; 0 where every score was -Inf: weights are then 2^-Inf = 0 in backward, too */
static void store_lse(float *lse, const float *m, const float *l, int n)
{
    for (int i = 0; i < n; i += 16) {
        v16 sum = v_load(l + i), all = v_fma(v_log(sum), v_set1(0x1.715476p+0f), v_load(m + i));
        v_store_part(lse + i, v_select(v_eq(sum, v_zero()), v_zero(), all), n - i < 16 ? n - i : 16);
    }
}

/* Sets the pointers of x into base; returns the number of floats. base NULL: only counts them. */
static size_t lay_out(state *x, float *base, const job *w)
{
    size_t queries = 16 * (size_t)w->block, d = (size_t)w->at->d, dp = (size_t)w->dp, at = 0;
    struct { float **p; size_t n; } part[] = {
        { &x->q, d * queries }, { &x->o, dp * queries }, { &x->s, (size_t)KEYS * 16 * GROUP }, { &x->k, KEYS * d },
        { &x->v, KEYS * dp }, { &x->m, queries }, { &x->l, queries }, { &x->a, queries },
    };
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        if (base)
            *part[i].p = base + at;
        at += (part[i].n + 15) & ~(size_t)15;
    }
    return at;
}

static void attend(void *arg, int task, int thread)
{
    const job *w = arg;
    const im_attention_args *at = w->at;
    int d = at->d, dp = w->dp, pair = task / w->blocks, b = pair / at->heads, h = pair % at->heads;
    int vec0 = task % w->blocks * w->block, vecs = w->vecs - vec0 < w->block ? w->vecs - vec0 : w->block;
    int query0 = 16 * vec0, queries = at->tq - query0 < 16 * vecs ? at->tq - query0 : 16 * vecs;
    int64_t column = (int64_t)h * d, k0 = b * at->bsk + column, v0 = b * at->bsv + column;
    im_cbuf q = im_cbuf_at(at->q, b * at->bsq + column + query0 * at->ldq);
    im_buf o = im_buf_at(at->o, b * at->bso + column + query0 * at->ldo);
    int tk = at->causal && query0 + queries < at->tk ? query0 + queries : at->tk;
    state x;
    lay_out(&x, im_scratch(w->dev, thread, lay_out(&x, NULL, w) * sizeof(float)), w);

    for (int i = 0; i < 16 * vecs; i++) {
        x.m[i] = -INFINITY;
        x.l[i] = 0.0f;
    }
    memset(x.o, 0, (size_t)dp * 16 * (size_t)vecs * sizeof *x.o);
    for (int g = 0, nv; g < vecs; g += nv) {
        nv = next_group(vecs - g);
        int n = queries - 16 * g < 16 * nv ? queries - 16 * g : 16 * nv;
        load_queries(nv, x.q + (ptrdiff_t)d * 16 * g, im_cbuf_at(q, 16 * g * at->ldq), at->ldq, n, d, w->factor);
    }
    for (int key0 = 0; key0 < tk; key0 += KEYS) {
        int keys = tk - key0 < KEYS ? tk - key0 : KEYS;
        if (w->dev->stop && *w->dev->stop)
            return;
        copy_rows(x.k, d, at->k, k0 + key0 * at->ldk, at->ldk, keys, d);
        copy_rows(x.v, dp, at->v, v0 + key0 * at->ldv, at->ldv, keys, d);
        for (int g = 0, nv; g < vecs; g += nv) {
            nv = next_group(vecs - g);
            scores_of_group(nv, x.k, d, x.q + (ptrdiff_t)d * 16 * g, x.s, keys, d);
            if (at->causal)
                mask_of_group(nv, x.s, keys, key0, query0 + 16 * g);
            softmax_of_group(nv, x.s, keys, x.m + 16 * g, x.l + 16 * g, x.a + 16 * g);
            values_of_group(nv, x.v, x.s, x.o + (ptrdiff_t)dp * 16 * g, keys, dp, x.a + 16 * g);
        }
    }
    if (at->lse)
        store_lse(at->lse + (int64_t)pair * at->tq + query0, x.m, x.l, queries);
    for (int g = 0, nv; g < vecs; g += nv) {
        nv = next_group(vecs - g);
        int n = queries - 16 * g < 16 * nv ? queries - 16 * g : 16 * nv;
        store_output(nv, im_buf_at(o, 16 * g * at->ldo), at->ldo, x.o + (ptrdiff_t)dp * 16 * g, x.l + 16 * g, n, d);
    }
}

int IM_FN(im_cpu_attention)(im_device *dev, const im_attention_args *at)
{
    if (at->products == IM_INT8 && !at->lse)
        return IM_FN(im_attention_int8)(dev, at);
    if (!at->lse && IM_FN(im_attention_in_tiles)(dev, at->products))
        return IM_FN(im_attention_tiles)(dev, at);
    job w = { .dev = dev, .at = at, .dp = (at->d + 3) & ~3, .vecs = (at->tq + 15) / 16, .block = BLOCK_VECS,
              .factor = (float)((double)at->scale * 1.4426950408889634) };
    int pairs = at->batch * at->heads;
    state x;
    w.blocks = (w.vecs + w.block - 1) / w.block;
    while (w.block > GROUP && w.block % 2 == 0 && pairs * w.blocks < 4 * im_threads_of(dev)) {  /* a part a thread */
        w.block /= 2;
        w.blocks = (w.vecs + w.block - 1) / w.block;
    }
    for (int i = 0; i < im_threads_of(dev); i++)
        if (!im_scratch(dev, i, lay_out(&x, NULL, &w) * sizeof(float)))
            return IM_NO_MEMORY;
    im_parallel_for(im_threads_of(dev), pairs * w.blocks, attend, &w);
    return dev->stop && *dev->stop ? IM_STOPPED : IM_DONE;
}
