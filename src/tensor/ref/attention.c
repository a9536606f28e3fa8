/* ref/attention.c: scaled dot-product attention (Vaswani et al. 2017, "Attention Is All You Need").
 *
 *     s_j = scale q_i . k_j        p_j = exp(s_j - max s) / sum_j exp(s_j - max s)        o_i = sum_j p_j v_j
 *
 * for each sample, head and query i; causal: only keys j <= i. One row of scores is held at a time. The cpu backend
 * computes the same by blocks of keys and never holds a row (Dao et al. 2022). Called by ops/attention.c. */
#include <math.h>

#include "tensor/ref/ref.h"

typedef struct { const im_attention_args *p; double *scores; } job;     /* scores (threads, tk)                       */

/* Query i of one head of one sample, numbered (batch, heads, tq). */
static void query(const void *arg, int64_t index, int thread)
{
    const job *jb = arg;
    const im_attention_args *p = jb->p;
    int i = (int)(index % p->tq), head = (int)(index / p->tq % p->heads);
    int64_t b = index / p->tq / p->heads, column = (int64_t)head * p->d;
    im_cbuf q = im_cbuf_at(p->q, b * p->bsq + i * p->ldq + column);    /* (d)                                         */
    im_cbuf k = im_cbuf_at(p->k, b * p->bsk + column);         /* (tk, d), rows ldk apart                             */
    im_cbuf v = im_cbuf_at(p->v, b * p->bsv + column);         /* (tk, d), rows ldv apart                             */
    im_buf o = im_buf_at(p->o, b * p->bso + i * p->ldo + column);      /* (d)                                         */
    double *s = jb->scores + (int64_t)thread * p->tk, top = -INFINITY, sum = 0;
    int keys = p->causal && i + 1 < p->tk ? i + 1 : p->tk;

    for (int j = 0; j < keys; j++) {
        double dot = 0;
        for (int c = 0; c < p->d; c++)
            dot += (double)im_ref_at(q, c) * im_ref_at(k, j * p->ldk + c);
        s[j] = dot * p->scale;
        top = fmax(top, s[j]);
    }
    for (int j = 0; j < keys; j++)
        sum += s[j] = exp(s[j] - top);
    if (p->lse)
        p->lse[index] = (float)((top + log(sum)) * M_LOG2E);
    for (int c = 0; c < p->d; c++) {
        double out = 0;
        for (int j = 0; j < keys; j++)
            out += s[j] * im_ref_at(v, j * p->ldv + c);
        im_ref_put(o, c, out / sum, false);
    }
}

int im_ref_attention(im_device *dev, const im_attention_args *p)
{
    if (p->products == IM_INT8 && !p->lse)
        return im_ref_attention_int8(dev, p);
    job j = { p, im_scratch(dev, im_threads_of(dev), (size_t)im_threads_of(dev) * (size_t)p->tk * sizeof(double)) };
    return j.scores ? im_ref_each(dev, (int64_t)p->batch * p->heads * p->tq, query, &j) : IM_NO_MEMORY;
}
