/* movement.c: operations that move values.   concat: y = [a b] along channels (the UNet's skip connections);
 * stack: y = [a; b] along the first axis; copy: a view made contiguous;
 * embedding: y = table[ids] (CLIP's tokens and positions);
 * timestep: y = [cos(t f) sin(t f)], f_i = exp(-ln(10000) i / (dim/2 - shift))   (Vaswani et al. 2017, section 3.5) */
#include "tensor/tensor.h"

#include <limits.h>
#include <string.h>

static bool concat_shape(im_ctx *c, im_node *n)
{
    const im_tensor *a = n->in[0], *b = n->in[1];
    if (!im_want_activation(c, n, 0) || !im_want_activation(c, n, 1)
        || !im_want(c, n, a->dtype == b->dtype && a->ndim >= 1 && a->ndim == b->ndim
                    && !memcmp(a->shape, b->shape, (size_t)(a->ndim - 1) * sizeof a->shape[0]),
                    "one dtype, equal shapes but for the last axis"))
        return false;
    im_like(c, n, 0);
    n->out->shape[a->ndim - 1] += b->shape[b->ndim - 1];
    return true;
}

static int concat_forward(im_ctx *c, im_node *n)
{
    int64_t total = n->out->shape[n->out->ndim - 1], rows = im_numel(n->out) / total, at = 0;
    im_dtype dtype = (im_dtype)n->out->dtype;
    for (int i = 0; i < 2; i++) {
        int64_t part = n->in[i]->shape[n->in[i]->ndim - 1];
        int status = c->dev.k.copy(&c->dev, &(im_copy_args){
            .shape = { 1, 1, rows, part }, .ss = { 0, 0, part, 1 }, .ds = { 0, 0, total, 1 }, .dtype = dtype,
            .src = im_data(n->in[i]), .dst = im_at(im_data(n->out), dtype, at) });
        if (status)
            return status;
        at += part;
    }
    return IM_DONE;
}

/* Each input takes its columns of dy. */
static int concat_backward(im_ctx *c, im_node *n)
{
    int64_t total = n->out->shape[n->out->ndim - 1], rows = im_numel(n->out) / total, at = 0;
    im_dtype dtype = (im_dtype)n->out->dtype;
    for (int i = 0; i < 2; i++) {
        int64_t part = n->in[i]->shape[n->in[i]->ndim - 1];
        bool add;
        im_tensor *d = im_grad_of(c, n, i, &add);
        int status = !d ? IM_DONE : c->dev.k.copy(&c->dev, &(im_copy_args){
            .shape = { 1, 1, rows, part }, .ss = { 0, 0, total, 1 }, .ds = { 0, 0, part, 1 }, .dtype = dtype,
            .src = im_at(im_data(im_dout(n)), dtype, at), .dst = im_data(d), .add = add });
        if (status)
            return status;
        at += part;
    }
    return IM_DONE;
}

static bool stack_shape(im_ctx *c, im_node *n)
{
    const im_tensor *a = n->in[0], *b = n->in[1];
    if (!im_want_activation(c, n, 0) || !im_want_activation(c, n, 1)
        || !im_want(c, n, a->dtype == b->dtype && a->ndim >= 1 && a->ndim == b->ndim
                    && !memcmp(a->shape + 1, b->shape + 1, (size_t)(a->ndim - 1) * sizeof a->shape[0]),
                    "one dtype, equal shapes but for the first axis"))
        return false;
    im_like(c, n, 0);
    n->out->shape[0] += b->shape[0];
    return true;
}

static int stack_forward(im_ctx *c, im_node *n)
{
    int64_t at = 0;
    im_dtype dtype = (im_dtype)n->out->dtype;
    for (int i = 0; i < 2; i++) {
        int64_t part = im_numel(n->in[i]);
        int status = c->dev.k.copy(&c->dev, &(im_copy_args){
            .shape = { 1, 1, 1, part }, .ss = { 0, 0, 0, 1 }, .ds = { 0, 0, 0, 1 }, .dtype = dtype,
            .src = im_data(n->in[i]), .dst = im_at(im_data(n->out), dtype, at) });
        if (status)
            return status;
        at += part;
    }
    return IM_DONE;
}

static int stack_backward(im_ctx *c, im_node *n)
{
    int64_t at = 0;
    for (int i = 0; i < 2; i++) {
        int64_t part = im_numel(n->in[i]);
        bool add;
        im_tensor *d = im_grad_of(c, n, i, &add);
        int status = !d ? IM_DONE : c->dev.k.accumulate(&c->dev, &(im_accumulate_args){
            .n = part, .s = 1, .x = im_cbuf_at(im_read_of(im_dout(n)), at), .y = im_write_of(d), .add = add });
        if (status)
            return status;
        at += part;
    }
    return IM_DONE;
}

int im_copy_tensor(im_ctx *c, const im_tensor *from, const im_tensor *to, bool add)
{
    im_copy_args args = { .shape = { 1, 1, 1, 1 }, .dtype = (im_dtype)from->dtype, .add = add };
    int skip = from->ndim > 4, status = IM_DONE;               /* a fifth axis: the kernel once for each of its places */
    for (int i = skip; i < from->ndim; i++) {
        int axis = 4 - from->ndim + i;
        args.shape[axis] = from->shape[i];
        args.ss[axis] = from->stride[i];
        args.ds[axis] = to->stride[i];
    }
    size_t size = im_dtype_size(args.dtype);
    for (int64_t i = 0; !status && i < (skip ? from->shape[0] : 1); i++) {
        args.src = (const char *)im_data(from) + (size_t)(skip * i * from->stride[0]) * size;
        args.dst = (char *)im_data(to) + (size_t)(skip * i * to->stride[0]) * size;
        status = c->dev.k.copy(&c->dev, &args);
    }
    return status;
}

static bool copy_shape(im_ctx *c, im_node *n)
{
    return im_want(c, n, !n->in[0]->packed, "a tensor that is not packed") && im_like(c, n, 0);
}

static int copy_forward(im_ctx *c, im_node *n)
{
    return im_copy_tensor(c, n->in[0], n->out, false);
}

static int copy_backward(im_ctx *c, im_node *n)
{
    bool add;
    im_tensor *dx = im_grad_of(c, n, 0, &add);
    return dx ? im_copy_tensor(c, im_dout(n), dx, add) : IM_DONE;
}

enum { TABLE, IDS };

static void say_id(im_ctx *c, int64_t at, int32_t found, int64_t limit)
{
    (void)at;
    im_fail(c, "embedding: found id %d, wanted 0 to %lld; do the tokenizer and the model belong together?", found,
            (long long)limit - 1);
}

static bool embedding_shape(im_ctx *c, im_node *n)
{
    const im_tensor *table = n->in[TABLE], *ids = n->in[IDS];
    if (!im_want(c, n, table->ndim == 2 && !table->packed && im_is_real((im_dtype)table->dtype) && im_contiguous(table)
                 && ids->dtype == IM_I32 && im_contiguous(ids) && ids->ndim < IM_MAX_DIMS
                 && im_numel(ids) <= INT_MAX, "a plain table (V, C) and i32 ids")
        || !im_want_ids(c, n, IDS, table->shape[0], say_id))
        return false;
    im_like(c, n, IDS);
    n->out->dtype = IM_F32;
    n->out->shape[n->out->ndim++] = table->shape[1];
    return true;
}

static int embedding_forward(im_ctx *c, im_node *n)
{
    const im_tensor *table = n->in[TABLE];
    return c->dev.k.embedding(&c->dev, &(im_embedding_args){
        .n = im_numel(n->in[IDS]), .channels = (int)table->shape[1], .dtype = (im_dtype)table->dtype,
        .table = im_data(table), .ids = im_data(n->in[IDS]), .y = im_data(n->out) });
}

static int embedding_backward(im_ctx *c, im_node *n)
{
    bool add;
    im_tensor *d = im_grad_of(c, n, TABLE, &add);
    if (!d)
        return IM_DONE;
    return c->dev.k.embedding_bwd(&c->dev, &(im_embedding_bwd_args){
        .n = im_numel(n->in[IDS]), .rows = d->shape[0], .channels = (int)d->shape[1], .ids = im_data(n->in[IDS]),
        .dy = im_data(im_dout(n)), .dtable = im_data(d), .add = add });
}

static bool timestep_shape(im_ctx *c, im_node *n)
{
    if (!im_want_f32(c, n, 0)
        || !im_want(c, n, n->in[0]->ndim == 1 && n->attrs.i[0] >= 2 && n->attrs.i[0] <= 1 << 20
                    && n->attrs.i[0] / 2 > n->attrs.f[0],
                    "t (B) and a dimension of 2 to 1048576, half of it above the shift"))
        return false;
    n->out->ndim = 2;
    n->out->dtype = IM_F32;
    n->out->shape[0] = n->in[0]->shape[0];
    n->out->shape[1] = n->attrs.i[0];
    return true;
}

static int timestep_forward(im_ctx *c, im_node *n)
{
    return c->dev.k.timestep(&c->dev, &(im_timestep_args){
        .batch = (int)n->in[0]->shape[0], .dim = n->attrs.i[0], .cos_first = n->attrs.i[1], .shift = n->attrs.f[0],
        .t = im_data(n->in[0]), .y = im_data(n->out) });
}

const im_op im_op_concat = { .name = "concat", .formula = "y = [a b]", .n_in = 2, .shape = concat_shape,
    .forward = concat_forward, .backward = concat_backward };
const im_op im_op_stack = { .name = "stack", .formula = "y = [a; b]", .n_in = 2, .shape = stack_shape,
    .forward = stack_forward, .backward = stack_backward };
const im_op im_op_copy = { .name = "copy", .formula = "y = x, contiguous", .n_in = 1, .shape = copy_shape,
    .forward = copy_forward, .backward = copy_backward };
const im_op im_op_embedding = { .name = "embedding", .formula = "y = table[ids]", .n_in = 2,
    .shape = embedding_shape, .forward = embedding_forward, .backward = embedding_backward,
    .keeps = IM_KEEP(IDS), .f32_grads = 1u << TABLE };
const im_op im_op_timestep = { .name = "timestep", .formula = "y = [cos(t f) sin(t f)]", .n_in = 1,
    .shape = timestep_shape, .forward = timestep_forward, .backward = im_no_backward };

im_tensor *im_concat(im_ctx *c, im_tensor *a, im_tensor *b)
{
    return im_run(c, &im_op_concat, (im_tensor *[]){ a, b }, NULL);
}

im_tensor *im_stack(im_ctx *c, im_tensor *a, im_tensor *b)
{
    return im_run(c, &im_op_stack, (im_tensor *[]){ a, b }, NULL);
}

im_tensor *im_contiguous_copy(im_ctx *c, im_tensor *x)
{
    return im_run(c, &im_op_copy, &x, NULL);
}

im_tensor *im_embedding(im_ctx *c, im_tensor *table, im_tensor *ids)
{
    return im_run(c, &im_op_embedding, (im_tensor *[]){ table, ids }, NULL);
}

im_tensor *im_timestep_embedding(im_ctx *c, im_tensor *t, int dim, bool cos_first, float shift)
{
    return im_run(c, &im_op_timestep, &t, &(im_attrs){ .i = { dim, cos_first }, .f = { shift } });
}
