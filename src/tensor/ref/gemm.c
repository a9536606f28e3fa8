/* ref/gemm.c: the product behind every linear layer.
 *
 *     c[m][n] = act(sum_k a[m][k] b[n][k] + bias[n]) + res[m][n]
 *     GEGLU:  c[m][n] = v * gelu(g),  v = a[m] . b[n] + bias[n],  g = a[m] . b[N+n] + bias[N+n]
 *
 * b holds one output feature a row, as torch.nn.Linear does, so both factors are read along k. GEGLU is Shazeer 2020,
 * "GLU Variants Improve Transformer". Called by ops/linear.c. */
#include "tensor/ref/ref.h"

typedef struct {
    const im_gemm_args *p;
    const im_device *round;                                    /* both factors are rounded as it says, or NULL         */
    float *rows;                                               /* (threads, 2, K)                                     */
} job;

static double dot(const job *j, im_cbuf row, const float *b)
{
    double sum = 0;
    for (int i = 0; i < j->p->k; i++) {
        float a = im_ref_at(row, i);
        sum += j->round ? (double)im_ref_factor(j->round, a) * im_ref_factor(j->round, b[i]) : (double)a * b[i];
    }
    return sum;
}

/* Column n of c: all products with row n of b. */
static void column(const void *arg, int64_t i, int thread)
{
    const job *j = arg;
    const im_gemm_args *p = j->p;
    int n = (int)i;
    float *row = j->rows + (int64_t)thread * 2 * p->k, *gate_row = row + p->k;
    weight_row(&p->b, n, row);
    if (p->geglu)
        weight_row(&p->b, p->n + n, gate_row);
    for (int64_t m = 0; m < p->m; m++) {
        im_cbuf a = im_cbuf_at(p->a, m * p->lda);
        double y = dot(j, a, row) + (p->bias ? p->bias[n] : 0);
        if (p->geglu) {
            double gate = dot(j, a, gate_row) + (p->bias ? p->bias[p->n + n] : 0);
            y *= im_ref_activate(IM_ACT_GELU, gate);
        } else {
            y = im_ref_activate(p->act, y);
        }
        if (p->res.p)
            y += im_ref_at(p->res, m * p->ldres + n);
        im_ref_put(p->c, m * p->ldc + n, y, false);
    }
}

int im_ref_gemm(im_device *dev, const im_gemm_args *p)
{
    if (p->b.dtype == IM_INT8)
        return im_ref_gemm_int8(dev, p);
    job j = { p, im_ref_rounds(dev, &p->b),
              im_scratch(dev, im_threads_of(dev), (size_t)im_threads_of(dev) * 2 * (size_t)p->k * sizeof(float)) };
    return j.rows ? im_ref_each(dev, p->n, column, &j) : IM_NO_MEMORY;
}
