/* gemm.c: c = act(a b^T + bias) + res, and its GEGLU form; the product behind every linear layer (ops/linear.c). */
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/product.h"

IM_INLINE void pack_rows(const im_gemm_args *g, im_dtype held, float *dst, int64_t row, int rows, int k0, int k1,
                         im_pack_mode mode)
{
    for (int i = 0; i < rows; i++)
        im_pack_copy(dst + i * IM_PITCH, 0, held, im_at(g->a, held, (row + i) * g->lda + k0), k1 - k0, mode);
}

static void pack(const im_product *p, float *dst, int64_t row, int rows, int k0, int k1, im_pack_mode mode)
{
    bool bf16 = p->held == IM_BF16;
#define CASE(mode) \
    bf16 ? pack_rows(p->args, IM_BF16, dst, row, rows, k0, k1, mode) \
         : pack_rows(p->args, IM_F32, dst, row, rows, k0, k1, mode)
    switch (mode) {
    case IM_PACK_F32: CASE(IM_PACK_F32); break;
    case IM_PACK_PAIRS: CASE(IM_PACK_PAIRS); break;
    case IM_PACK_FETCH: CASE(IM_PACK_FETCH); break;
    }
#undef CASE
}

int IM_FN(im_cpu_gemm)(im_device *dev, const im_gemm_args *g)
{
    return IM_FN(im_product_run)(dev, &(im_product){
        .m = g->m, .n = g->n, .k = g->k, .pack = pack, .args = g, .held = g->held, .a = g->a, .lda = g->lda, .b = g->b,
        .bias = g->bias, .res = g->res, .ldres = g->ldres, .c = g->c, .ldc = g->ldc, .act = g->act, .geglu = g->geglu });
}
