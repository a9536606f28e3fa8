/* gemm.cu: the product behind every linear layer: c = act(a b^T + bias) + res, and GEGLU, c = v gelu(g) + res
 * (ref/gemm.c has the formulas). Tiles: product.cuh. Called by ops/linear.c. */
#include "cuda/product_mma.cuh"

struct gemm_job {
    int64_t m; int n, k;
    bool geglu;
    im_cbuf x; int64_t lda;
    weight_view w;
    epilogue e;
    int64_t ldres, ldc;
    im_buf c;
    bool bf16, a_direct, b_direct;
    typedef int64_t row;
    MEMBER row row_of(int64_t i) const { return i * lda; }
    MEMBER float a(row at, int i) const { return factor(w.round, load(x, at + i)); }
    MEMBER float b(int i, int step) const { return w.at(i, step); }
    MEMBER const void *a8(row at, int i) const { return (const uint16_t *)x.p + at + i; }
    MEMBER const void *b8(int i, int step) const { return (const uint16_t *)w.p + w.place(i, step); }
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
                   { p->bias, { NULL, IM_F32 }, p->res, p->act }, p->ldres, p->ldc, p->c, false, false, false };
    im_cuda_cores cores = mma_takes(dev, IM_CUDA_SLOT_gemm, j.w.t);
    if (!cores)
        return im_cuda_done(dev, run_product(dev, j, 1));
    im_dtype half = half_of(j.w.t);
    j.bf16 = half == IM_BF16;
    j.a_direct = p->a.t == half && aligned16(p->a.p) && (p->lda | p->k) % 8 == 0;
    j.b_direct = weight_direct(j.w, half);
    return im_cuda_done(dev, run_product_mma(dev, j, cores));
}
