/* ref/attention_backward.c: the gradient of scaled dot-product attention (Dao et al. 2022, arXiv 2205.14135, algorithm 4).
 *
 *     s_ij = scale q_i . k_j             p_ij = 2^(s_ij log2 e - lse_i), lse from the forward pass
 *     ds_ij = p_ij (do_i . v_j - do_i . o_i)
 *     dq_i = scale sum_j ds_ij k_j       dk_j = scale sum_i ds_ij q_i       dv_j = sum_i p_ij do_i
 *
 * for each sample and head; causal: only pairs j <= i. Called by ops/attention.c. */
#include <math.h>

#include "tensor/ref/ref.h"

typedef struct {
    const im_attention_bwd_args *p;
    double *sums;                /* (threads, 2d): of one row                                                         */
    double *along;               /* (batch, heads, tq): do_i . o_i                                                    */
} job;

typedef struct { im_cbuf q, k, v, o, dout; int64_t column, b; } head;  /* of one sample                              */

static head head_of(const im_attention_bwd_args *p, int64_t pair)
{
    int64_t b = pair / p->heads, column = pair % p->heads * p->d;
    return (head){ im_cbuf_at(p->q, b * p->bsq + column), im_cbuf_at(p->k, b * p->bsk + column),
                   im_cbuf_at(p->v, b * p->bsv + column), im_cbuf_at(p->o, b * p->bso + column),
                   im_cbuf_at(p->dout, b * p->bso + column), column, b };
}

/* n elements, of x from i on and of y from j on. */
static double dot(im_cbuf x, int64_t i, im_cbuf y, int64_t j, int n)
{
    double sum = 0;
    for (int c = 0; c < n; c++)
        sum += (double)im_ref_at(x, i + c) * im_ref_at(y, j + c);
    return sum;
}

static void along_row(const void *arg, int64_t index, int thread)
{
    const job *w = arg;
    const im_attention_bwd_args *p = w->p;
    head h = head_of(p, index / p->tq);
    int64_t i = index % p->tq;
    (void)thread;
    w->along[index] = dot(h.dout, i * p->ldo, h.o, i * p->ldo, p->d);
}

/* p_ij and ds_ij */
static double weight(const job *w, const head *h, int64_t pair, int64_t i, int64_t j, double *ds)
{
    const im_attention_bwd_args *p = w->p;
    double s = p->scale * dot(h->q, i * p->ldq, h->k, j * p->ldk, p->d);
    double x = exp2(s * M_LOG2E - p->lse[pair * p->tq + i]);
    *ds = x * (dot(h->dout, i * p->ldo, h->v, j * p->ldv, p->d) - w->along[pair * p->tq + i]);
    return x;
}

static void put(im_buf to, int64_t at, const double *sum, int n, double scale, bool add)
{
    for (int c = 0; c < n; c++)
        im_ref_put(to, at + c, scale * sum[c], add);
}

static void query(const void *arg, int64_t index, int thread)
{
    const job *w = arg;
    const im_attention_bwd_args *p = w->p;
    int64_t pair = index / p->tq, i = index % p->tq, keys = p->causal && i + 1 < p->tk ? i + 1 : p->tk;
    head h = head_of(p, pair);
    double *sum = w->sums + (int64_t)thread * 2 * p->d;
    for (int c = 0; c < p->d; c++)
        sum[c] = 0;
    for (int64_t j = 0; j < keys; j++) {
        double ds;
        weight(w, &h, pair, i, j, &ds);
        for (int c = 0; c < p->d; c++)
            sum[c] += ds * im_ref_at(h.k, j * p->ldk + c);
    }
    put(p->dq, h.b * p->bsq + i * p->ldq + h.column, sum, p->d, p->scale, p->add_dq);
}

static void key(const void *arg, int64_t index, int thread)
{
    const job *w = arg;
    const im_attention_bwd_args *p = w->p;
    int64_t pair = index / p->tk, j = index % p->tk;
    head h = head_of(p, pair);
    double *dk = w->sums + (int64_t)thread * 2 * p->d, *dv = dk + p->d;
    for (int c = 0; c < 2 * p->d; c++)
        dk[c] = 0;
    for (int64_t i = p->causal ? j : 0; i < p->tq; i++) {
        double ds, x = weight(w, &h, pair, i, j, &ds);
        for (int c = 0; c < p->d; c++) {
            dk[c] += ds * im_ref_at(h.q, i * p->ldq + c);
            dv[c] += x * im_ref_at(h.dout, i * p->ldo + c);
        }
    }
    if (p->dk.p)
        put(p->dk, h.b * p->bsk + j * p->ldk + h.column, dk, p->d, p->scale, p->add_dk);
    if (p->dv.p)
        put(p->dv, h.b * p->bsv + j * p->ldv + h.column, dv, p->d, 1, p->add_dv);
}

int im_ref_attention_bwd(im_device *dev, const im_attention_bwd_args *p)
{
    int64_t pairs = (int64_t)p->batch * p->heads;
    size_t sums = (size_t)im_threads_of(dev) * 2 * (size_t)p->d;
    job w = { p, im_scratch(dev, im_threads_of(dev), (sums + (size_t)(pairs * p->tq)) * sizeof(double)), NULL };
    if (!w.sums)
        return IM_NO_MEMORY;
    w.along = w.sums + sums;
    int status = im_ref_each(dev, pairs * p->tq, along_row, &w);
    if (!status && p->dq.p)
        status = im_ref_each(dev, pairs * p->tq, query, &w);
    if (!status && (p->dk.p || p->dv.p))
        status = im_ref_each(dev, pairs * p->tk, key, &w);
    return status;
}
