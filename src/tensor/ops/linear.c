/* linear.c: products with a weight matrix.
 *   linear: y = act(z) + res, z = x w^T + b
 *   geglu:  y = v * gelu(g), z = [v g] = x w^T + b                                   (Shazeer 2020, arXiv 2002.05202)
 * Backward, with dz = dy act'(z) (or GEGLU's): dx = dz w, dw = dz^T x, db = sum of the rows of dz, dres = dy. On a tape, z
 * is made first and kept, the rest follows in kernels of its own with the same bits.
 * Used by every projection of CLIP, UNet and VAE attention, by feed-forward blocks and time embeddings. */
#include "tensor/tensor.h"

#include <string.h>

enum { X, W, B, RES };                                         /* inputs */
enum { Z, ACT_OF_Z };                                          /* scratch */

static bool product_shape(im_ctx *c, im_node *n, bool geglu)
{
    const im_tensor *x = n->in[X], *w = n->in[W], *b = n->in[B];
    int64_t rows, ld, k = x->ndim ? x->shape[x->ndim - 1] : 0;
    if (!im_want(c, n, im_is_real((im_dtype)x->dtype) && x->ndim >= 1 && im_rows(x, &rows, &ld),
                 "x (..., K) in f32, f16 or bf16, K contiguous")
        || !im_want(c, n, w->ndim >= 2 && im_numel(w) / w->shape[0] == k && im_contiguous(w) && im_is_weight(w),
                    "w (N, K) with the K of x")
        || !im_want(c, n, (!geglu || w->shape[0] % 2 == 0) && (!w->packed || w->geglu == geglu),
                    geglu ? "w (2N, K), packed for GEGLU where it is packed" : "w (N, K), not packed for GEGLU")
        || !im_want(c, n, !b || (b->dtype == IM_F32 && im_numel(b) == w->shape[0] && im_contiguous(b)),
                    "b (N) in f32"))
        return false;
    im_like(c, n, X);
    n->out->shape[x->ndim - 1] = geglu ? w->shape[0] / 2 : w->shape[0];
    return true;
}

/* Is z made by itself, and not within the product? On a tape, since backward reads it; and in im_recompute's first run,
 * which has to give the bits of the second one, on a tape: ref rounds a z that is stored. */
static bool stores_z(const im_ctx *c, const im_node *n)
{
    bool grad = false;
    for (int i = 0; c->marking && i < n->op->n_in; i++)
        grad |= n->in[i] && n->in[i]->wants_grad;
    return n->taped || grad;
}

static int64_t *shape_of_z(const im_node *n, int64_t shape[IM_MAX_DIMS])                        /* (..., N or 2N) */
{
    memcpy(shape, n->out->shape, IM_MAX_DIMS * sizeof *shape);
    shape[n->out->ndim - 1] = n->in[W]->shape[0];
    return shape;
}

/* Room for z where it is made and no backward keeps it. */
static bool ask_for_z(im_ctx *c, im_node *n)
{
    int64_t shape[IM_MAX_DIMS];
    return n->taped || im_ask(c, n, Z, n->out->ndim, shape_of_z(n, shape));
}

static im_tensor *place_of_z(im_ctx *c, im_node *n)
{
    int64_t shape[IM_MAX_DIMS];
    return n->taped ? im_save(c, n, 0, n->out->ndim, shape_of_z(n, shape)) : n->scratch[Z];
}

static bool linear_shape(im_ctx *c, im_node *n)
{
    const im_tensor *res = n->in[RES];
    if (!im_want_act(c, n, n->attrs.i[0]) || !product_shape(c, n, false)
        || !im_want(c, n, !res || (im_is_real((im_dtype)res->dtype) && im_contiguous(res) && res->ndim == n->out->ndim
                                   && !memcmp(res->shape, n->out->shape, sizeof res->shape[0] * res->ndim)),
                    "res of the output's shape (..., N) in f32, f16 or bf16"))
        return false;
    if (!stores_z(c, n) || n->attrs.i[0] == IM_ACT_NONE)
        return true;
    bool apart = res && n->out->dtype != IM_F32;
    return ask_for_z(c, n) && (!apart || im_ask(c, n, ACT_OF_Z, n->out->ndim, n->out->shape));
}

/* c = x w^T + b, then what `act`, `geglu` and `res` say. */
static int product(im_ctx *c, im_node *n, im_tensor *out, im_act act, bool geglu, const im_tensor *res)
{
    int64_t rows, ld;
    im_rows(n->in[X], &rows, &ld);
    int cols = (int)out->shape[out->ndim - 1];
    return c->dev.k.gemm(&c->dev, &(im_gemm_args){
        .m = rows, .n = cols, .k = (int)n->in[X]->shape[n->in[X]->ndim - 1],
        .a = im_read_of(n->in[X]), .lda = ld, .b = im_weight_of(n->in[W]), .bias = im_read_of(n->in[B]).p,
        .res = im_read_of(res), .ldres = cols, .c = im_write_of(out), .ldc = cols, .act = act, .geglu = geglu });
}

/* y = act(z) [+ res]. The sum is rounded once, so where y is in 16 bits act(z) waits in f32. */
static int act_of_z(im_ctx *c, im_node *n, const im_tensor *z)
{
    const im_tensor *y = n->out, *res = n->in[RES], *t = n->scratch[ACT_OF_Z] ? n->scratch[ACT_OF_Z] : y;
    int64_t count = im_numel(y);
    int status = c->dev.k.map(&c->dev, &(im_map_args){ .kind = IM_MAP_ACT, .act = (im_act)n->attrs.i[0], .n = count,
                                                       .a = im_read_of(z), .y = im_write_of(t) });
    if (status || !res)
        return status;
    return c->dev.k.map(&c->dev, &(im_map_args){ .kind = IM_MAP_ADD, .n = count, .nb = count, .a = im_read_of(t),
                                                 .b = im_read_of(res), .y = im_write_of(y) });
}

static bool makes_z(const im_node *n)                          /* as `shape` has found                                 */
{
    return n->taped || n->scratch[Z];
}

static int linear_forward(im_ctx *c, im_node *n)
{
    im_act act = (im_act)n->attrs.i[0];
    if (act == IM_ACT_NONE || !makes_z(n))
        return product(c, n, n->out, act, false, n->in[RES]);
    im_tensor *z = place_of_z(c, n);
    int status = z ? product(c, n, z, IM_ACT_NONE, false, NULL) : IM_NO_MEMORY;
    return status ? status : act_of_z(c, n, z);
}

static int geglu_forward(im_ctx *c, im_node *n)
{
    if (!makes_z(n))
        return product(c, n, n->out, IM_ACT_NONE, true, NULL);
    if (!im_want(c, n, !n->in[W]->packed, "w that is not packed, as training needs it"))
        return IM_NO_KERNEL;
    im_tensor *z = place_of_z(c, n);
    int status = z ? product(c, n, z, IM_ACT_NONE, false, NULL) : IM_NO_MEMORY;
    int cols = (int)n->out->shape[n->out->ndim - 1];
    return status ? status : c->dev.k.glu(&c->dev, &(im_glu_args){ .rows = im_numel(n->out) / cols, .n = cols,
                                                                   .z = im_read_of(z), .y = im_write_of(n->out) });
}

/* ---------------------------------------------------------------- backward */

/* The gradients of x, w and b from dz (rows, cols), contiguous. */
static int product_backward(im_ctx *c, im_node *n, im_cbuf dz)
{
    const im_tensor *x = n->in[X], *w = n->in[W];
    int64_t rows, ld, ldg, k = x->shape[x->ndim - 1], cols = w->shape[0];
    bool add;
    int status = IM_DONE;
    im_rows(x, &rows, &ld);
    im_tensor *g = im_grad_of(c, n, X, &add);
    if (g && im_rows(g, &rows, &ldg)) {
        if (!im_want(c, n, !w->packed, "w that is not packed, as training needs it"))
            return IM_NO_KERNEL;
        im_weight t = im_weight_of(w);                         /* row j of the transpose is column j of w              */
        t.n = (int)k;
        t.k = (int)cols;
        t.lk = t.ld;
        t.ld = 1;
        status = c->dev.k.gemm(&c->dev, &(im_gemm_args){ .m = rows, .n = (int)k, .k = (int)cols,
                                                         .a = dz, .lda = cols, .b = t,
                                                         .res = im_read_of(add ? g : NULL), .ldres = ldg,
                                                         .c = im_write_of(g), .ldc = ldg });
    }
    g = status ? NULL : im_grad_of(c, n, W, &add);
    if (g)
        status = c->dev.k.outer(&c->dev, &(im_outer_args){ .m = rows, .ni = (int)cols, .nj = (int)k,
                                                           .a = dz, .lda = cols, .b = im_read_of(x), .ldb = ld,
                                                           .c = im_data(g), .ldc = k, .add = add });
    g = status ? NULL : im_grad_of(c, n, B, &add);
    if (g)
        status = c->dev.k.colsum(&c->dev, &(im_colsum_args){ .batch = 1, .rows = rows, .n = (int)cols, .x = dz,
                                                             .y = im_write_of(g), .ldy = cols, .add = add });
    return status;
}

static int linear_backward(im_ctx *c, im_node *n)
{
    const im_tensor *dy = im_dout(n), *z = n->saved[0];
    im_cbuf dz = im_read_of(dy);
    int status = IM_DONE;
    bool add;
    im_tensor *g = im_grad_of(c, n, RES, &add);
    if (g && !im_accumulate(c, g, dy, 1, add))
        return IM_DONE;                                        /* the failure is in the context                        */
    if (z) {
        im_tensor *t = im_new(c, IM_F32, dy->ndim, dy->shape);
        if (!t)
            return IM_NO_MEMORY;
        status = c->dev.k.act_bwd(&c->dev, &(im_act_bwd_args){ .act = (im_act)n->attrs.i[0], .n = im_numel(dy),
                                                               .x = im_read_of(z), .dy = im_read_of(dy),
                                                               .dx = im_write_of(t) });
        dz = im_read_of(t);
    }
    return status ? status : product_backward(c, n, dz);
}

static int geglu_backward(im_ctx *c, im_node *n)
{
    const im_tensor *dy = im_dout(n), *z = n->saved[0];
    int cols = (int)dy->shape[dy->ndim - 1];
    im_tensor *dz = im_new(c, IM_F32, z->ndim, z->shape);
    int status = !dz ? IM_NO_MEMORY : c->dev.k.glu_bwd(&c->dev, &(im_glu_bwd_args){
        .rows = im_numel(dy) / cols, .n = cols, .z = im_read_of(z), .dy = im_read_of(dy), .dz = im_write_of(dz) });
    return status ? status : product_backward(c, n, im_read_of(dz));
}

static bool geglu_shape(im_ctx *c, im_node *n)
{
    return product_shape(c, n, true) && (!stores_z(c, n) || ask_for_z(c, n));
}

static double product_flop(const im_node *n)
{
    return 2.0 * (double)im_numel(n->in[X]) * (double)n->in[W]->shape[0];
}

const im_op im_op_linear = { .name = "linear", .formula = "y = act(x w^T + b) + res", .n_in = 4,
    .optional = 1u << B | 1u << RES, .shape = linear_shape, .forward = linear_forward, .backward = linear_backward,
    .flop = product_flop, .keeps = IM_KEEP(X) | IM_KEEP(W), .keeps_for_w = IM_KEEP(X),
    .f32_grads = 1u << W | 1u << B };

const im_op im_op_geglu = { .name = "geglu", .formula = "y = v * gelu(g), [v g] = x w^T + b", .n_in = 3,
    .optional = 1u << B, .shape = geglu_shape, .forward = geglu_forward, .backward = geglu_backward,
    .flop = product_flop, .keeps = IM_KEEP(X) | IM_KEEP(W), .keeps_for_w = IM_KEEP(X),
    .f32_grads = 1u << W | 1u << B };

im_tensor *im_linear(im_ctx *c, im_tensor *x, im_tensor *w, im_tensor *b, im_tensor *res, im_act act)
{
    return im_run(c, &im_op_linear, (im_tensor *[]){ x, w, b, res }, &(im_attrs){ .i = { (int)act } });
}

im_tensor *im_linear_geglu(im_ctx *c, im_tensor *x, im_tensor *w, im_tensor *b)
{
    return im_run(c, &im_op_geglu, (im_tensor *[]){ x, w, b }, NULL);
}
