/* attention.c: scaled dot-product attention by tiles.   y = softmax(q k^T / sqrt(d)) v   (Vaswani et al. 2017;
 * Dao et al. 2022, arXiv 2205.14135: scores are never stored). q (B, Tq, heads*d), k and v (B, Tk, heads*d); heads lie
 * side by side in a row, so no permutation is needed. Used by CLIP (causal), UNet (self and cross), VAE (one head). */
#include "tensor/tensor.h"

#include <math.h>

enum { Q, K, V };

static bool attention_shape(im_ctx *c, im_node *n)
{
    const im_tensor *q = n->in[Q], *k = n->in[K], *v = n->in[V];
    int heads = n->attrs.i[0];
    bool ok = true;
    for (int i = Q; i <= V; i++)
        ok &= im_is_real((im_dtype)n->in[i]->dtype) && n->in[i]->ndim == 3
           && (n->in[i]->stride[2] == 1 || n->in[i]->shape[2] == 1);
    return im_want(c, n, ok, "q (B, Tq, C), k and v (B, Tk, C) in f32, f16 or bf16, C contiguous")
        && im_want(c, n, q->shape[0] == k->shape[0] && k->shape[0] == v->shape[0] && k->shape[1] == v->shape[1]
                   && q->shape[2] == k->shape[2] && k->shape[2] == v->shape[2], "equal B, Tk and C")
        && im_want(c, n, heads >= 1 && q->shape[2] % heads == 0, "channels that the heads divide")
        && im_like(c, n, Q);
}

static int attention_forward(im_ctx *c, im_node *n)
{
    const im_tensor *q = n->in[Q], *k = n->in[K], *v = n->in[V], *o = n->out;
    int heads = n->attrs.i[0], d = (int)q->shape[2] / heads;
    im_tensor *lse = n->taped ? im_save(c, n, 0, 3, (int64_t[]){ q->shape[0], heads, q->shape[1] }) : NULL;
    if (n->taped && !lse)
        return IM_NO_MEMORY;
    return c->dev.k.attention(&c->dev, &(im_attention_args){
        .batch = (int)q->shape[0], .heads = heads, .d = d, .tq = (int)q->shape[1], .tk = (int)k->shape[1],
        .scale = 1.0f / sqrtf((float)d), .causal = n->attrs.i[1],
        .q = im_read_of(q), .ldq = q->stride[1], .bsq = q->stride[0], .k = im_read_of(k), .ldk = k->stride[1],
        .bsk = k->stride[0], .v = im_read_of(v), .ldv = v->stride[1], .bsv = v->stride[0],
        .o = im_write_of(o), .ldo = o->stride[1], .bso = o->stride[0], .lse = lse ? im_data(lse) : NULL,
        .products = n->taped ? IM_F32 : (im_dtype)n->attrs.i[2] });
}

static int attention_backward(im_ctx *c, im_node *n)
{
    const im_tensor *q = n->in[Q], *k = n->in[K], *v = n->in[V], *o = n->out;
    int heads = n->attrs.i[0], d = (int)q->shape[2] / heads;
    bool add[3];
    im_tensor *grad[3];
    for (int i = Q; i <= V; i++)
        grad[i] = im_grad_of(c, n, i, &add[i]);
    return c->dev.k.attention_bwd(&c->dev, &(im_attention_bwd_args){
        .batch = (int)q->shape[0], .heads = heads, .d = d, .tq = (int)q->shape[1], .tk = (int)k->shape[1],
        .scale = 1.0f / sqrtf((float)d), .causal = n->attrs.i[1],
        .q = im_read_of(q), .ldq = q->stride[1], .bsq = q->stride[0], .k = im_read_of(k), .ldk = k->stride[1],
        .bsk = k->stride[0], .v = im_read_of(v), .ldv = v->stride[1], .bsv = v->stride[0], .o = im_read_of(o),
        .dout = im_read_of(im_dout(n)), .ldo = o->stride[1], .bso = o->stride[0], .lse = im_data(n->saved[0]),
        .dq = im_write_of(grad[Q]), .dk = im_write_of(grad[K]), .dv = im_write_of(grad[V]),
        .add_dq = add[Q], .add_dk = add[K], .add_dv = add[V] });
}

static double attention_flop(const im_node *n)
{
    return 4.0 * (double)im_numel(n->in[Q]) * (double)n->in[K]->shape[1];          /* q k^T and p v                    */
}

const im_op im_op_attention = { .name = "attention", .formula = "y = softmax(q k^T / sqrt(d)) v", .n_in = 3,
    .shape = attention_shape, .forward = attention_forward, .backward = attention_backward, .flop = attention_flop,
    .keeps = IM_KEEP(Q) | IM_KEEP(K) | IM_KEEP(V) | IM_KEEP_OUT };

im_tensor *im_attention(im_ctx *c, im_tensor *q, im_tensor *k, im_tensor *v, int heads, bool causal)
{
    return im_attention_beside(c, q, k, v, heads, causal, IM_F32);
}

im_tensor *im_attention_beside(im_ctx *c, im_tensor *q, im_tensor *k, im_tensor *v, int heads, bool causal,
                               im_dtype weights)
{
    im_dtype products = im_is_real(weights) || weights == IM_INT8 ? weights : IM_F32;
    return im_run(c, &im_op_attention, (im_tensor *[]){ q, k, v }, &(im_attrs){ .i = { heads, causal, products } });
}
