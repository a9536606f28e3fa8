/* attention.h: what attention and its gradient share: tiles of queries in lanes, the products made of them, and how queries
 * and keys are laid out for that. attention.c says why. */
#ifndef IM_CPU_ATTENTION_H
#define IM_CPU_ATTENTION_H

#include "tensor/cpu/buffer.h"
#include "tensor/host.h"

#include <math.h>
#include <stddef.h>

/* A tile is ROWS broadcast numbers by GROUP vectors of queries: 24 sums on avx512, as IM_MR and IM_NV say elsewhere.
 * ROWS 8 divides 64 keys and the head sizes 40, 64, 80, 160 and 512. Rows come in steps of STEP, a rest in fours. */
enum {
    GROUP = IM_NV > 1 ? 3 : 1,
    ROWS = IM_NV > 1 ? 8 : IM_MR,
    STEP = ROWS % 4 ? 2 * ROWS : ROWS,
    BLOCK_VECS = 12,                     /* vectors of queries a task, K and V blocks copied once for all of them */
    KEYS = IM_ATT_BLOCK,
    DEPTH = 160                          /* Q^T of DEPTH rows and a group of queries stays in L1 */
};

/* attention_tiles.c: the same in tile registers, where the device has them, beside weights in bf16 or f16. */
bool IM_FN(im_attention_in_tiles)(const im_device *dev, im_dtype beside);
int IM_FN(im_attention_tiles)(im_device *dev, const im_attention_args *at);

/* attention_int8.c: in integers, on every device (tensor/int8.h). */
int IM_FN(im_attention_int8)(im_device *dev, const im_attention_args *at);

typedef enum { FROM_ZERO, FROM_C, FROM_C_SCALED } start;

/* c[i][j] = (0 | c[i][j] | c[i][j] * scale[j]) + sum_t a[i*ai + t*at] b[t][j],  i < rows, j < 16 nv, ascending t */
IM_INLINE void tile(int rows, int nv, start from, int depth, const float *a, ptrdiff_t ai, ptrdiff_t at, const float *b,
                    float *c, const float *scale)
{
    v16 acc[8][3];
    IM_UNROLL for (int i = 0; i < rows; i++)
        IM_UNROLL for (int j = 0; j < nv; j++) {
            acc[i][j] = from == FROM_ZERO ? v_zero() : v_load(c + (i * nv + j) * 16);
            if (from == FROM_C_SCALED)
                acc[i][j] = v_mul(acc[i][j], v_load(scale + 16 * j));
        }
    for (int t = 0; t < depth; t++) {
        v16 bv[3];
        IM_UNROLL for (int j = 0; j < nv; j++)
            bv[j] = v_load(b + (t * nv + j) * 16);
        IM_UNROLL for (int i = 0; i < rows; i++) {
            v16 av = v_set1(a[i * ai + t * at]);
            IM_UNROLL for (int j = 0; j < nv; j++)
                acc[i][j] = v_fma(av, bv[j], acc[i][j]);
        }
    }
    IM_UNROLL for (int i = 0; i < rows; i++)
        IM_UNROLL for (int j = 0; j < nv; j++)
            v_store(c + (i * nv + j) * 16, acc[i][j]);
}

/* All rows of a product, `rows` a multiple of 4. */
IM_INLINE void product_rows(int nv, start from, int rows, int depth, const float *a, ptrdiff_t ai, ptrdiff_t at,
                            const float *b, float *c, const float *scale)
{
    int i = 0;
    for (; i < rows / STEP * STEP; i += ROWS)
        tile(ROWS, nv, from, depth, a + i * ai, ai, at, b, c + (ptrdiff_t)i * nv * 16, scale);
    for (; i < rows; i += 4)
        tile(4, nv, from, depth, a + i * ai, ai, at, b, c + (ptrdiff_t)i * nv * 16, scale);
}

/* s[key][query] = k[key][d] q[d][query], rows of k ld apart, d in pieces of DEPTH: the chain goes on from what the piece
 * before stored */
IM_INLINE void scores(int nv, const float *k, int ld, const float *q, float *s, int keys, int d)
{
    int rows = (keys + 3) & ~3;
    product_rows(nv, FROM_ZERO, rows, d < DEPTH ? d : DEPTH, k, ld, 1, q, s, NULL);
    for (int t = DEPTH; t < d; t += DEPTH)
        product_rows(nv, FROM_C, rows, d - t < DEPTH ? d - t : DEPTH, k + t, ld, 1, q + (ptrdiff_t)t * nv * 16, s, NULL);
}

static inline void scores_of_group(int nv, const float *k, int ld, const float *q, float *s, int keys, int d)
{
    if (GROUP >= 3 && nv == 3)
        scores(3, k, ld, q, s, keys, d);
    else if (GROUP >= 2 && nv == 2)
        scores(2, k, ld, q, s, keys, d);
    else
        scores(1, k, ld, q, s, keys, d);
}

/* Query i sees keys 0..i: s[j][i] = -Inf where key0 + j > query0 + i. */
static inline void mask_of_group(int nv, float *s, int keys, int key0, int query0)
{
    for (int j = 0; j < keys; j++)
        for (int i = 0; i < 16 * nv && query0 + i < key0 + j; i++)
            s[j * 16 * nv + i] = -INFINITY;
}

/* d numbers of `rows` queries -> dst[d][ld], one number of 16 queries side by side, times factor. */
IM_INLINE void turn_queries(im_dtype t, float *dst, int ld, const void *src, int64_t ldq, int rows, int d, v16 factor)
{
    for (int c0 = 0; c0 < d; c0 += 16) {
        int n = d - c0 < 16 ? d - c0 : 16;
        v16 x[16];
        for (int i = 0; i < 16; i++)
            x[i] = i < rows ? load_as(t, src, i * ldq + c0, n) : v_zero();
        v_turn(x);
        for (int c = 0; c < n; c++)
            v_store(dst + (c0 + c) * ld, v_mul(x[c], factor));
    }
}

/* q: n queries of d numbers -> dst[d][16 nv], times factor; missing queries are zeros. */
static inline void load_queries(int nv, float *dst, im_cbuf q, int64_t ldq, int n, int d, float factor)
{
    int ld = 16 * nv;
    v16 by = v_set1(factor);
    for (int i0 = 0; i0 < ld; i0 += 16) {
        int rows = n - i0 < 16 ? n - i0 : 16;
        const void *src = im_at(q.p, q.t, i0 * ldq);
        switch (q.t) {
        case IM_F16:  turn_queries(IM_F16, dst + i0, ld, src, ldq, rows, d, by); break;
        case IM_BF16: turn_queries(IM_BF16, dst + i0, ld, src, ldq, rows, d, by); break;
        default:      turn_queries(IM_F32, dst + i0, ld, src, ldq, rows, d, by);
        }
    }
}

IM_INLINE void copy_rows_as(im_dtype t, float *dst, int dp, const void *src, int64_t ld, int n, int d)
{
    for (int i = 0; i < n; i++) {
        float *to = dst + (ptrdiff_t)i * dp;
        int c = 0;
        for (; c + 16 <= d; c += 16)
            v_store(to + c, load_as(t, src, i * ld + c, 16));
        v_store_n(to + c, load_as(t, src, i * ld + c, d - c), dp - c);
    }
}

/* n rows of d numbers, ld apart, the first at element `at` -> dst[n rounded up to 4][dp]; columns d..dp-1 are zeros, rows
 * beyond n stay as they are (their scores are not read, their weights not multiplied). */
static inline void copy_rows(float *dst, int dp, im_cbuf src, int64_t at, int64_t ld, int n, int d)
{
    const void *from = im_at(src.p, src.t, at);
    switch (src.t) {
    case IM_F16:  copy_rows_as(IM_F16, dst, dp, from, ld, n, d); break;
    case IM_BF16: copy_rows_as(IM_BF16, dst, dp, from, ld, n, d); break;
    default:      copy_rows_as(IM_F32, dst, dp, from, ld, n, d);
    }
}

/* o[c][16 nv] / l -> n rows of d numbers */
static inline void store_output(int nv, im_buf out, int64_t ldo, const float *o, const float *l, int n, int d)
{
    int ld = 16 * nv;
    for (int i0 = 0; i0 < n; i0 += 16) {
        int rows = n - i0 < 16 ? n - i0 : 16;
        v16 sum = v_load(l + i0);
        m16 none = v_eq(sum, v_zero());
        for (int c0 = 0; c0 < d; c0 += 16) {
            int cols = d - c0 < 16 ? d - c0 : 16;
            v16 t[16];
            for (int c = 0; c < 16; c++)
                t[c] = c < cols ? v_select(none, v_zero(), v_div(v_load(o + (c0 + c) * ld + i0), sum)) : v_zero();
            v_turn(t);
            for (int i = 0; i < rows; i++)
                store_as(out.t, out.p, (i0 + i) * ldo + c0, t[i], cols);
        }
    }
}

/* Vectors of the next group when `left` remain: 3, but 4 as 2 + 2. */
static inline int next_group(int left)
{
    int n = left == 4 ? 2 : left;
    return n < GROUP ? n : GROUP;
}

#endif
