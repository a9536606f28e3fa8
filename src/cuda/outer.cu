/* outer.cu: sums over rows: the gradient of a weight matrix, by tiles (outer.cuh, outer_mma.cuh), and that of a bias
 * (ref/outer.c). Called by ops/linear.c and ops/conv.c.
 *
 * colsum: a thread a column of a span of 64 chunks of IM_SUM_CHUNK rows: chains in f32, chunks in f64; then the spans. */
#include "cuda/outer_mma.cuh"

struct outer_job {
    int64_t m; int ni, nj, chunk;
    im_outer_args p;
    im_cbuf x, y;                                              /* a and b of p                                         */
    bool round, bf16, a_direct, b_direct;
    typedef int column;
    MEMBER column column_of(int j) const { return j; }
    MEMBER float a(int64_t row, int i) const { return factor(round, load(p.a, row * p.lda + i)); }
    MEMBER float b(int64_t row, column j) const { return factor(round, load(p.b, row * p.ldb + j)); }
    MEMBER const void *a8(int64_t row, int i) const { return (const uint16_t *)p.a.p + row * p.lda + i; }
    MEMBER const void *b8(int64_t row, column j) const { return (const uint16_t *)p.b.p + row * p.ldb + j; }
    MEMBER void finish(int i, int j, float sum) const
    {
        float *c = p.c + i * p.ldc + j;
        *c = p.add ? *c + sum : sum;
    }
};

int im_cuda_outer(im_device *dev, const im_outer_args *p)
{
    if (im_cuda_stopped(dev))
        return IM_STOPPED;
    im_dtype half = outer_half(dev, p->a, p->b);
    im_cuda_cores cores = outer_cores(dev, IM_CUDA_SLOT_outer, half);
    outer_job j = { p->m, p->ni, p->nj, IM_DW_CHUNK, *p, p->a, p->b, dev->compute_dtype == IM_BF16, half == IM_BF16,
                    p->a.t == half && aligned16(p->a.p) && (p->lda | p->ni) % 8 == 0,
                    p->b.t == half && aligned16(p->b.p) && (p->ldb | p->nj) % 8 == 0 };
    if (cores)
        return run_outer_mma(dev, j, cores);
    return im_cuda_done(dev, run_outer(dev, j, 1));
}

enum { SPAN = 64 * IM_SUM_CHUNK };
struct colsum_call { im_colsum_args p; int64_t spans; double *sums; };         /* sums (batch, spans, n)               */

KERNEL(THREADS) span_kernel(GRID colsum_call w)
{
    int64_t i = thread_of_grid(), n = w.p.n, span = i / n % w.spans, b = i / n / w.spans;
    if (b >= w.p.batch)
        return;
    int64_t last = min_of((span + 1) * SPAN, w.p.rows);
    double total = 0.0;
    for (int64_t r0 = span * SPAN; r0 < last; r0 += IM_SUM_CHUNK) {
        float s = 0.0f;
        for (int64_t r = r0; r < min_of(r0 + IM_SUM_CHUNK, last); r++)
            s = s + load(w.p.x, (b * w.p.rows + r) * n + i % n);
        total = total + (double)s;
    }
    w.sums[i] = total;
}

KERNEL(THREADS) spans_kernel(GRID colsum_call w)
{
    int64_t i = thread_of_grid(), n = w.p.n, b = i / n;
    if (b >= w.p.batch)
        return;
    double sum = w.sums[b * w.spans * n + i % n];
    for (int64_t k = 1; k < w.spans; k++)
        sum = sum + w.sums[(b * w.spans + k) * n + i % n];
    put(w.p.y, b * w.p.ldy + i % n, (float)sum, w.p.add);
}

int im_cuda_colsum(im_device *dev, const im_colsum_args *p)
{
    colsum_call w = { *p, (p->rows + SPAN - 1) / SPAN, NULL };
    int64_t all = (int64_t)p->batch * w.spans * p->n;
    w.sums = (double *)im_cuda_workspace(dev, (size_t)all * sizeof(double));
    if (!w.sums)
        return IM_NO_MEMORY;
    int failed = RUN(dev, im_cuda_blocks(all, THREADS), THREADS, span_kernel, w);
    failed = failed || RUN(dev, im_cuda_blocks((int64_t)p->batch * p->n, THREADS), THREADS, spans_kernel, w);
    return im_cuda_done(dev, failed);
}
