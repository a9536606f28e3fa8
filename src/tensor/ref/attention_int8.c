/* attention_int8.c: attention in integers, int8.h's definition as plain loops. The cpu backend has the bits of what stands
 * here. Called by ref/attention.c. */
#include "tensor/int8.h"
#include "tensor/ref/ref.h"

#include <string.h>

typedef struct {
    const im_attention_args *p;
    float factor;                                /* scale * log2 e                                                     */
    int blocks;                                  /* of keys                                                            */
    float *k_scales, *v_scales;                  /* (batch, heads, tk), (batch, heads, blocks, d)                      */
    int8_t *k, *v;                               /* (batch, heads, tk, d) each                                         */
    int8_t *q;                                   /* (threads, d)                                                       */
    float *s, *o;                                /* (threads, IM_INT8_KEYS), (threads, d)                              */
} job;

/* n values, apart from one another, to integers `to` apart; their scale. */
static float integers(im_cbuf x, int64_t apart, int n, int8_t *q, int to)
{
    float amax = 0;
    for (int i = 0; i < n; i++)
        amax = im_int8_larger(amax, im_ref_at(x, i * apart));
    im_int8_scale s = im_int8_scale_of(amax);
    for (int i = 0; i < n; i++)
        q[i * to] = s.inverse != 0 ? (int8_t)im_int8_round(im_ref_at(x, i * apart) * s.inverse) : 0;
    return s.scale;
}

/* Block `index` of keys of (batch, heads, blocks): rows of k, columns of v. */
static void prepare(const void *arg, int64_t index, int thread)
{
    const job *j = arg;
    const im_attention_args *p = j->p;
    int64_t pair = index / j->blocks, b = pair / p->heads, column = pair % p->heads * p->d;
    int key0 = (int)(index % j->blocks) * IM_INT8_KEYS, keys = p->tk - key0 < IM_INT8_KEYS ? p->tk - key0 : IM_INT8_KEYS;
    int64_t row0 = pair * p->tk + key0;
    im_cbuf k = im_cbuf_at(p->k, b * p->bsk + key0 * p->ldk + column);
    im_cbuf v = im_cbuf_at(p->v, b * p->bsv + key0 * p->ldv + column);
    (void)thread;
    for (int i = 0; i < keys; i++)
        j->k_scales[row0 + i] = integers(im_cbuf_at(k, i * p->ldk), 1, p->d, j->k + (row0 + i) * p->d, 1);
    for (int c = 0; c < p->d; c++)
        j->v_scales[index * p->d + c] = integers(im_cbuf_at(v, c), p->ldv, keys, j->v + row0 * p->d + c, p->d);
}

static int dot(const int8_t *a, const int8_t *b, int n)
{
    int sum = 0;
    for (int i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Query i of one head of one sample, numbered (batch, heads, tq). */
static void query(const void *arg, int64_t index, int thread)
{
    const job *j = arg;
    const im_attention_args *p = j->p;
    int i = (int)(index % p->tq), head = (int)(index / p->tq % p->heads), d = p->d;
    int64_t pair = index / p->tq, b = pair / p->heads, column = (int64_t)head * d;
    int8_t *q = j->q + (int64_t)thread * d;
    float *s = j->s + (int64_t)thread * IM_INT8_KEYS, *o = j->o + (int64_t)thread * d;
    float by = integers(im_cbuf_at(p->q, b * p->bsq + i * p->ldq + column), 1, d, q, 1) * j->factor;
    float m = IM_INT8_LOWEST, l = by * 0;
    int seen = p->causal && i + 1 < p->tk ? i + 1 : p->tk;
    memset(o, 0, (size_t)d * sizeof *o);
    for (int key0 = 0; key0 < seen; key0 += IM_INT8_KEYS) {
        int keys = seen - key0 < IM_INT8_KEYS ? seen - key0 : IM_INT8_KEYS, p_of[IM_INT8_KEYS], sum = 0;
        int64_t row0 = pair * p->tk + key0;
        const float *v_scales = j->v_scales + (pair * j->blocks + key0 / IM_INT8_KEYS) * d;
        float top = IM_INT8_LOWEST;
        for (int n = 0; n < keys; n++) {
            s[n] = (float)dot(q, j->k + (row0 + n) * d, d) * (by * j->k_scales[row0 + n]);
            top = s[n] > top ? s[n] : top;
            l += j->k_scales[row0 + n] * 0;
        }
        float next = m > top ? m : top, a = im_int8_power(m - next), share = im_int8_power(top - next);
        for (int n = 0; n < keys; n++)
            sum += p_of[n] = im_int8_weight(s[n] - top);
        for (int c = 0; c < d; c++) {
            int total = 0;
            for (int n = 0; n < keys; n++)
                total += p_of[n] * j->v[(row0 + n) * d + c];
            o[c] = o[c] * a + (float)total * (share * v_scales[c]);
        }
        l = l * a + (float)sum * share + top * 0;
        m = next;
    }
    im_buf out = im_buf_at(p->o, b * p->bso + i * p->ldo + column);
    for (int c = 0; c < d; c++)
        im_ref_put(out, c, (double)(l == 0 ? 0 : o[c] / l), false);
}

int im_ref_attention_int8(im_device *dev, const im_attention_args *p)
{
    job j = { .p = p, .factor = (float)((double)p->scale * 1.4426950408889634),
              .blocks = (p->tk + IM_INT8_KEYS - 1) / IM_INT8_KEYS };
    int64_t pairs = (int64_t)p->batch * p->heads, rows = pairs * p->tk, threads = im_threads_of(dev);
    int64_t floats = rows + pairs * j.blocks * p->d + threads * (IM_INT8_KEYS + p->d);
    size_t bytes = (size_t)floats * sizeof(float) + (size_t)(2 * rows + threads) * (size_t)p->d;
    j.k_scales = im_scratch(dev, (int)threads, bytes);
    if (!j.k_scales)
        return IM_NO_MEMORY;
    j.v_scales = j.k_scales + rows;
    j.s = j.v_scales + pairs * j.blocks * p->d;
    j.o = j.s + threads * IM_INT8_KEYS;
    j.k = (int8_t *)(j.o + threads * p->d);
    j.v = j.k + rows * p->d;
    j.q = j.v + rows * p->d;
    int status = im_ref_each(dev, pairs * j.blocks, prepare, &j);
    return status ? status : im_ref_each(dev, pairs * p->tq, query, &j);
}
