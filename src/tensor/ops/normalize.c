/* normalize.c: rows of length one.   y = x / max(|x|, eps), |x| over the last axis   (torch.nn.functional.normalize, p = 2)
 * Cosine logits are a product of two such. */
#include "tensor/tensor.h"

static bool normalize_shape(im_ctx *c, im_node *n)
{
    return im_want_activation(c, n, 0) && im_want(c, n, n->in[0]->ndim >= 1 && n->attrs.f[0] > 0, "x (..., C) and eps > 0")
        && im_like(c, n, 0);
}

static int normalize_forward(im_ctx *c, im_node *n)
{
    int channels = (int)n->out->shape[n->out->ndim - 1];
    int64_t rows = im_numel(n->out) / channels;
    im_tensor *norm = n->taped ? im_save(c, n, 0, 1, &rows) : NULL;
    if (n->taped && !norm)
        return IM_NO_MEMORY;
    return c->dev.k.normalize(&c->dev, &(im_normalize_args){
        .rows = rows, .n = channels, .eps = n->attrs.f[0], .x = im_read_of(n->in[0]), .y = im_write_of(n->out),
        .norm = norm ? im_data(norm) : NULL });
}

/* dx = (dy - y (y . dy)) / |x| */
static int normalize_backward(im_ctx *c, im_node *n)
{
    int channels = (int)n->out->shape[n->out->ndim - 1];
    bool add;
    im_tensor *dx = im_grad_of(c, n, 0, &add);
    if (!dx)
        return IM_DONE;
    return c->dev.k.normalize_bwd(&c->dev, &(im_normalize_bwd_args){
        .rows = im_numel(n->out) / channels, .n = channels, .eps = n->attrs.f[0], .y = im_read_of(n->out),
        .norm = im_data(n->saved[0]), .dy = im_read_of(im_dout(n)), .dx = im_write_of(dx), .add = add });
}

const im_op im_op_normalize = { .name = "normalize", .formula = "y = x / max(|x|, eps)", .n_in = 1,
    .shape = normalize_shape, .forward = normalize_forward, .backward = normalize_backward, .keeps = IM_KEEP_OUT };

im_tensor *im_normalize(im_ctx *c, im_tensor *x, float eps)
{
    return im_run(c, &im_op_normalize, &x, &(im_attrs){ .f = { eps } });
}
