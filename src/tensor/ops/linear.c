/* linear.c: products with a weight matrix.
 *   linear: y = act(x w^T + b) + res        geglu: y = v * gelu(g), [v g] = x w^T + b   (Shazeer 2020, arXiv 2002.05202)
 * Used by every projection of CLIP, UNet and VAE attention, by feed-forward blocks and time embeddings. */
#include "tensor/tensor.h"

#include <string.h>

enum { X, W, B, RES };                                         /* inputs */

static bool product_shape(im_ctx *c, im_node *n, int64_t halves)
{
    const im_tensor *x = n->in[X], *w = n->in[W], *b = n->in[B];
    int64_t rows, ld, k = x->ndim ? x->shape[x->ndim - 1] : 0;
    if (!im_want(c, n, x->dtype == IM_F32 && x->ndim >= 1 && im_rows(x, &rows, &ld), "x (..., K) in f32, K contiguous")
        || !im_want(c, n, w->ndim >= 2 && im_numel(w) / w->shape[0] == k && im_contiguous(w) && w->dtype != IM_I32,
                    "w (N, K) with the K of x")
        || !im_want(c, n, w->shape[0] % halves == 0 && (!w->packed || w->halves == halves),
                    halves == 2 ? "w (2N, K) packed as two halves" : "w (N, K) packed whole")
        || !im_want(c, n, !b || (b->dtype == IM_F32 && im_numel(b) == w->shape[0] && im_contiguous(b)),
                    "b (N) in f32"))
        return false;
    im_like(c, n, X);
    n->out->shape[x->ndim - 1] = w->shape[0] / halves;
    return true;
}

static bool linear_shape(im_ctx *c, im_node *n)
{
    const im_tensor *res = n->in[RES];
    return product_shape(c, n, 1)
        && im_want(c, n, !res || (res->dtype == IM_F32 && im_contiguous(res) && res->ndim == n->out->ndim
                                  && !memcmp(res->shape, n->out->shape, sizeof res->shape[0] * res->ndim)),
                   "res of the output's shape (..., N) in f32");
}

static int product_forward(im_ctx *c, im_node *n, bool geglu)
{
    int64_t rows, ld;
    im_rows(n->in[X], &rows, &ld);
    const im_tensor *res = n->op->n_in > RES ? n->in[RES] : NULL;
    int cols = (int)n->out->shape[n->out->ndim - 1];
    return c->dev.k.gemm(&c->dev, &(im_gemm_args){
        .m = rows, .n = cols, .k = (int)n->in[X]->shape[n->in[X]->ndim - 1],
        .a = im_data(n->in[X]), .lda = ld, .b = im_weight_of(n->in[W]), .bias = n->in[B] ? im_data(n->in[B]) : NULL,
        .res = res ? im_data(res) : NULL, .ldres = cols, .c = im_data(n->out), .ldc = cols,
        .act = (im_act)n->attrs.i[0], .geglu = geglu });
}

static int linear_forward(im_ctx *c, im_node *n)
{
    return product_forward(c, n, false);
}

static int geglu_forward(im_ctx *c, im_node *n)
{
    return product_forward(c, n, true);
}

static bool geglu_shape(im_ctx *c, im_node *n)
{
    return product_shape(c, n, 2);
}

static double product_flop(const im_node *n)
{
    return 2.0 * (double)im_numel(n->in[X]) * (double)n->in[W]->shape[0];
}

const im_op im_op_linear = { .name = "linear", .formula = "y = act(x w^T + b) + res", .n_in = 4,
    .optional = 1u << B | 1u << RES, .shape = linear_shape, .forward = linear_forward, .backward = im_no_backward,
    .flop = product_flop };

const im_op im_op_geglu = { .name = "geglu", .formula = "y = v * gelu(g), [v g] = x w^T + b", .n_in = 3,
    .optional = 1u << B, .shape = geglu_shape, .forward = geglu_forward, .backward = im_no_backward,
    .flop = product_flop };

im_tensor *im_linear(im_ctx *c, im_tensor *x, im_tensor *w, im_tensor *b, im_tensor *res, im_act act)
{
    return im_run(c, &im_op_linear, (im_tensor *[]){ x, w, b, res }, &(im_attrs){ .i = { (int)act } });
}

im_tensor *im_linear_geglu(im_ctx *c, im_tensor *x, im_tensor *w, im_tensor *b)
{
    return im_run(c, &im_op_geglu, (im_tensor *[]){ x, w, b }, NULL);
}
