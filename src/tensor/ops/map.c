/* map.c: elementwise operations.   activate: y = act(x)   add: y = a + b   scale: y = s x   cast: y = x in another dtype
 *   silu x sigmoid(x);  gelu x Phi(x) by erf;  gelu_tanh its tanh form;  quick_gelu x sigmoid(1.702 x);  relu;  tanh */
#include "tensor/tensor.h"

#include <assert.h>

static bool one_input_shape(im_ctx *c, im_node *n)
{
    return im_want_activation(c, n, 0) && im_like(c, n, 0);
}

bool im_want_act(im_ctx *c, const im_node *n, int act)
{
    return im_want(c, n, act >= IM_ACT_NONE && act <= IM_ACT_TANH, "an activation that there is (im_act)");
}

static bool activate_shape(im_ctx *c, im_node *n)
{
    return im_want_act(c, n, n->attrs.i[0]) && one_input_shape(c, n);
}

static bool add_shape(im_ctx *c, im_node *n)
{
    if (!im_want_activation(c, n, 0) || !im_want_activation(c, n, 1))
        return false;
    const im_tensor *a = n->in[0], *b = n->in[1];
    bool ok = b->ndim <= a->ndim;
    for (int i = 1; ok && i <= b->ndim; i++)
        ok = b->shape[b->ndim - i] == a->shape[a->ndim - i];
    return im_want(c, n, ok, "b of a's shape, or of the last axes of it") && im_like(c, n, 0);
}

static int map_forward(im_ctx *c, im_node *n, im_map_args args)
{
    args.n = im_numel(n->out);
    args.a = im_read_of(n->in[0]);
    args.y = im_write_of(n->out);
    return c->dev.k.map(&c->dev, &args);
}

bool im_accumulate(im_ctx *c, const im_tensor *y, const im_tensor *x, float s, bool add)
{
    if (c->failed)
        return false;
    assert(im_numel(x) == im_numel(y) && im_contiguous(x) && im_contiguous(y));
    int status = c->dev.k.accumulate(&c->dev, &(im_accumulate_args){ .n = im_numel(x), .s = s, .x = im_read_of(x),
                                                                     .y = im_write_of(y), .add = add });
    return !status || im_fail(c, "accumulate: the kernel failed");
}

static int activate_forward(im_ctx *c, im_node *n)
{
    return map_forward(c, n, (im_map_args){ .kind = IM_MAP_ACT, .act = (im_act)n->attrs.i[0] });
}

/* dx = dy act'(x) */
static int activate_backward(im_ctx *c, im_node *n)
{
    bool add;
    im_tensor *dx = im_grad_of(c, n, 0, &add);
    if (!dx)
        return IM_DONE;
    return c->dev.k.act_bwd(&c->dev, &(im_act_bwd_args){ .act = (im_act)n->attrs.i[0], .n = im_numel(n->out),
                            .x = im_read_of(n->in[0]), .dy = im_read_of(im_dout(n)), .dx = im_write_of(dx), .add = add });
}

static int add_forward(im_ctx *c, im_node *n)
{
    return map_forward(c, n, (im_map_args){ .kind = IM_MAP_ADD, .b = im_read_of(n->in[1]), .nb = im_numel(n->in[1]) });
}

/* da = dy, db = dy summed over the axes that b does not have */
static int add_backward(im_ctx *c, im_node *n)
{
    const im_tensor *dy = im_dout(n);
    int64_t nb = im_numel(n->in[1]), rows = im_numel(dy) / nb;
    bool add;
    im_tensor *da = im_grad_of(c, n, 0, &add);
    if (da)
        im_accumulate(c, da, dy, 1, add);
    im_tensor *db = im_grad_of(c, n, 1, &add);
    if (db && rows == 1)
        im_accumulate(c, db, dy, 1, add);
    else if (db)
        return c->dev.k.colsum(&c->dev, &(im_colsum_args){ .batch = 1, .rows = rows, .n = (int)nb, .x = im_read_of(dy),
                                                           .y = im_write_of(db), .ldy = nb, .add = add });
    return IM_DONE;
}

static int scale_forward(im_ctx *c, im_node *n)
{
    return map_forward(c, n, (im_map_args){ .kind = IM_MAP_SCALE, .s = n->attrs.f[0] });
}

/* dx = s dy */
static int scale_backward(im_ctx *c, im_node *n)
{
    bool add;
    im_tensor *dx = im_grad_of(c, n, 0, &add);
    if (dx)
        im_accumulate(c, dx, im_dout(n), n->attrs.f[0], add);
    return IM_DONE;
}

static bool cast_shape(im_ctx *c, im_node *n)
{
    im_dtype to = (im_dtype)n->attrs.i[0];
    if (!im_want_activation(c, n, 0) || !im_want(c, n, to <= IM_BF16, "f32, f16 or bf16 to cast to"))
        return false;
    im_like(c, n, 0);
    n->out->dtype = (uint8_t)to;
    return true;
}

static int cast_forward(im_ctx *c, im_node *n)
{
    im_accumulate(c, n->out, n->in[0], 1, false);
    return IM_DONE;                                            /* a failure is in the context                          */
}

static int cast_backward(im_ctx *c, im_node *n)
{
    bool add;
    im_tensor *dx = im_grad_of(c, n, 0, &add);
    if (dx)
        im_accumulate(c, dx, im_dout(n), 1, add);
    return IM_DONE;
}

const im_op im_op_activate = { .name = "activate", .formula = "y = act(x)", .n_in = 1, .shape = activate_shape,
    .forward = activate_forward, .backward = activate_backward, .keeps = IM_KEEP(0), .inplace_ok = true };
const im_op im_op_add = { .name = "add", .formula = "y = a + b", .n_in = 2, .shape = add_shape,
    .forward = add_forward, .backward = add_backward, .inplace_ok = true };
const im_op im_op_scale = { .name = "scale", .formula = "y = s x", .n_in = 1, .shape = one_input_shape,
    .forward = scale_forward, .backward = scale_backward, .inplace_ok = true };

const im_op im_op_cast = { .name = "cast", .formula = "y = x in f32, f16 or bf16", .n_in = 1, .shape = cast_shape,
    .forward = cast_forward, .backward = cast_backward };

im_tensor *im_activate(im_ctx *c, im_tensor *x, im_act act)
{
    return im_run(c, &im_op_activate, &x, &(im_attrs){ .i = { (int)act } });
}

im_tensor *im_add(im_ctx *c, im_tensor *a, im_tensor *b)
{
    return im_run(c, &im_op_add, (im_tensor *[]){ a, b }, NULL);
}

im_tensor *im_scale(im_ctx *c, im_tensor *x, float s)
{
    return im_run(c, &im_op_scale, &x, &(im_attrs){ .f = { s } });
}

im_tensor *im_cast(im_ctx *c, im_tensor *x, im_dtype t)
{
    return im_run(c, &im_op_cast, &x, &(im_attrs){ .i = { (int)t } });
}
