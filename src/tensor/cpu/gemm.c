/* gemm.c: c = act(a b^T + bias) + res, and its GEGLU form; the product behind every linear layer (ops/linear.c). */
#include "tensor/cpu/int8.h"
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/product.h"

IM_INLINE void pack_rows(const im_gemm_args *g, im_dtype t, float *dst, int64_t row, int rows, int k0, int k1,
                         im_pack_mode mode)
{
    for (int i = 0; i < rows; i++)
        im_pack_copy(dst + i * IM_PITCH, 0, t, im_at(g->a.p, t, (row + i) * g->lda + k0), k1 - k0, mode);
}

IM_INLINE void pack_as(const im_gemm_args *g, float *dst, int64_t row, int rows, int k0, int k1, im_pack_mode mode)
{
    switch (g->a.t) {
    case IM_F16:  pack_rows(g, IM_F16, dst, row, rows, k0, k1, mode); break;
    case IM_BF16: pack_rows(g, IM_BF16, dst, row, rows, k0, k1, mode); break;
    default:      pack_rows(g, IM_F32, dst, row, rows, k0, k1, mode);
    }
}

static void pack(const im_product *p, float *dst, int64_t row, int rows, int k0, int k1, im_pack_mode mode)
{
    switch (mode) {
#define X(id, name, factors, per_step, words, with) \
    case IM_COMPUTE_##id: pack_as(p->args, dst, row, rows, k0, k1, IM_COMPUTE_##id); break;
    IM_COMPUTES_REAL(X, )
#undef X
    default: pack_as(p->args, dst, row, rows, k0, k1, IM_PACK_FETCH);
    }
}

int IM_FN(im_cpu_gemm)(im_device *dev, const im_gemm_args *g)
{
    if (g->b.dtype == IM_INT8)
        return IM_FN(im_int8_gemm)(dev, g);
    return IM_FN(im_product_run)(dev, &(im_product){
        .m = g->m, .n = g->n, .k = g->k, .pack = pack, .args = g, .a = g->a, .lda = g->lda, .b = g->b, .bias = g->bias,
        .res = g->res, .ldres = g->ldres, .c = g->c, .ldc = g->ldc, .act = g->act, .geglu = g->geglu });
}
