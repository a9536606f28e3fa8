/* gemm.cu: the product behind every linear layer: c = act(a b^T + bias) + res, and GEGLU, c = v gelu(g) + res
 * (ref/gemm.c has the formulas). Tiles: product.cuh. Called by ops/linear.c. */
#include "cuda/product.cuh"

struct gemm_job {
    int64_t m; int n, k;
    bool geglu;
    im_cbuf x; int64_t lda;
    weight_view w;
    epilogue e;
    int64_t ldres, ldc;
    im_buf c;
    typedef int64_t row;
    MEMBER row row_of(int64_t i) const { return i * lda; }
    MEMBER float a(row at, int i) const { return factor(w.round, load(x, at + i)); }
    MEMBER float b(int i, int step) const { return w.at(i, step); }
    MEMBER void finish(int64_t i, int col, float sum, float gate) const
    {
        float y = sum;
        if (geglu) {
            y = e.bias ? y + e.bias[col] : y;
            y = y * gelu_erf(e.bias ? gate + e.bias[n + col] : gate);
            y = e.res.p ? y + load(e.res, i * ldres + col) : y;
        } else {
            y = e.value(y, col, 0, i * ldres + col);
        }
        store(c, i * ldc + col, y);
    }
};

int im_cuda_gemm(im_device *dev, const im_gemm_args *p)
{
    if (p->b.packed)
        return IM_NO_KERNEL;
    if (im_cuda_stopped(dev))
        return IM_STOPPED;
    gemm_job j = { p->m, p->n, p->k, p->geglu, p->a, p->lda, view_of(dev, &p->b, 1, p->k > 0 ? p->k : 1),
                   { p->bias, { NULL, IM_F32 }, p->res, p->act }, p->ldres, p->ldc, p->c };
    return im_cuda_done(dev, run_product(dev, j, 1));
}
