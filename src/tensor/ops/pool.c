/* pool.c: pooling over pixels.   maxpool: y = max of each window (ResNet's stem)   avgpool: y = mean over pixels (its
 * end). A mean comes in f32 whatever x is in. */
#include "tensor/tensor.h"

enum { KERNEL, STRIDE, PAD };                                  /* attrs.i of maxpool                                   */

static bool maxpool_shape(im_ctx *c, im_node *n)
{
    const im_tensor *x = n->in[0];
    int kernel = n->attrs.i[KERNEL], stride = n->attrs.i[STRIDE], pad = n->attrs.i[PAD];
    if (!im_want_activation(c, n, 0) || !im_want(c, n, x->ndim == 4, "x (B, H, W, C)")
        || !im_want(c, n, kernel >= 1 && kernel <= 45 && stride >= 1 && pad >= 0 && pad <= kernel / 2,
                    "a window of 1 to 45, a stride of at least 1, padding of at most half a window")
        || !im_want(c, n, x->shape[1] + 2 * pad >= kernel && x->shape[2] + 2 * pad >= kernel,
                    "a picture not smaller than the window"))
        return false;
    im_like(c, n, 0);
    for (int axis = 1; axis <= 2; axis++)
        n->out->shape[axis] = (x->shape[axis] + 2 * pad - kernel) / stride + 1;
    return true;
}

static int maxpool_forward(im_ctx *c, im_node *n)
{
    const im_tensor *x = n->in[0], *y = n->out;
    im_tensor *won = NULL;
    if (n->taped) {                                            /* halves, two of them in the place of an f32           */
        int64_t pairs = (im_numel(y) + 1) / 2;
        if (!(won = im_save(c, n, 0, 1, &pairs)))
            return IM_NO_MEMORY;
    }
    return c->dev.k.maxpool(&c->dev, &(im_maxpool_args){
        .batch = (int)x->shape[0], .h = (int)x->shape[1], .w = (int)x->shape[2], .channels = (int)x->shape[3],
        .kernel = n->attrs.i[KERNEL], .stride = n->attrs.i[STRIDE], .pad = n->attrs.i[PAD], .oh = (int)y->shape[1],
        .ow = (int)y->shape[2], .x = im_read_of(x), .y = im_write_of(y),
        .won = won ? im_data(won) : NULL });
}

static int maxpool_backward(im_ctx *c, im_node *n)
{
    const im_tensor *x = n->in[0], *y = n->out;
    bool add;
    im_tensor *dx = im_grad_of(c, n, 0, &add);
    if (!dx)
        return IM_DONE;
    return c->dev.k.maxpool_bwd(&c->dev, &(im_maxpool_bwd_args){
        .batch = (int)x->shape[0], .h = (int)x->shape[1], .w = (int)x->shape[2], .channels = (int)x->shape[3],
        .kernel = n->attrs.i[KERNEL], .stride = n->attrs.i[STRIDE], .pad = n->attrs.i[PAD], .oh = (int)y->shape[1],
        .ow = (int)y->shape[2], .dy = im_read_of(im_dout(n)),
        .won = im_data(n->saved[0]), .dx = im_write_of(dx), .add = add });
}

static bool avgpool_shape(im_ctx *c, im_node *n)
{
    const im_tensor *x = n->in[0];
    if (!im_want_activation(c, n, 0) || !im_want(c, n, x->ndim >= 3, "x (B, H, W, C) or (B, T, C)"))
        return false;
    n->out->ndim = 2;
    n->out->dtype = IM_F32;
    n->out->shape[0] = x->shape[0];
    n->out->shape[1] = x->shape[x->ndim - 1];
    return true;
}

static int avgpool_forward(im_ctx *c, im_node *n)
{
    int64_t outputs = im_numel(n->out);
    return c->dev.k.avgpool(&c->dev, &(im_avgpool_args){
        .batch = (int)n->out->shape[0], .pixels = im_numel(n->in[0]) / outputs, .channels = (int)n->out->shape[1],
        .x = im_read_of(n->in[0]), .y = im_write_of(n->out) });
}

static int avgpool_backward(im_ctx *c, im_node *n)
{
    bool add;
    im_tensor *dx = im_grad_of(c, n, 0, &add);
    if (!dx)
        return IM_DONE;
    return c->dev.k.avgpool_bwd(&c->dev, &(im_avgpool_bwd_args){
        .batch = (int)n->out->shape[0], .pixels = im_numel(n->in[0]) / im_numel(n->out),
        .channels = (int)n->out->shape[1], .dy = im_read_of(im_dout(n)),
        .dx = im_write_of(dx), .add = add });
}

const im_op im_op_maxpool = { .name = "maxpool", .formula = "y = max of each window", .n_in = 1, .shape = maxpool_shape,
    .forward = maxpool_forward, .backward = maxpool_backward };
const im_op im_op_avgpool = { .name = "avgpool", .formula = "y = mean over pixels", .n_in = 1, .shape = avgpool_shape,
    .forward = avgpool_forward, .backward = avgpool_backward };

im_tensor *im_maxpool(im_ctx *c, im_tensor *x, int kernel, int stride, int pad)
{
    return im_run(c, &im_op_maxpool, &x, &(im_attrs){ .i = { kernel, stride, pad } });
}

im_tensor *im_avgpool(im_ctx *c, im_tensor *x)
{
    return im_run(c, &im_op_avgpool, &x, NULL);
}
