/* conv.c: 2-D convolution with everything that follows it in a residual block.
 *   y = conv(x, w) + b + chan[:, None, None, :] + res,   x optionally enlarged by nearest neighbour first
 * Backward: dx through the weights, dw from x and dy, db and dchan are sums of dy over pixels, dres = dy.
 * Channels-last: x (B, H, W, Cin), w (Cout, Kh, Kw, Cin). Used by every residual block, down- and upsampler. */
#include "tensor/tensor.h"

#include <limits.h>
#include <string.h>

enum { X, W, B, CHAN, RES };                                   /* inputs                                               */
enum { STRIDE, TOP, LEFT, BOTTOM, RIGHT, UP_H, UP_W };         /* attrs.i                                              */

/* Of strides, padding and enlarged sides: kernels count pixels in int, and multiply two such numbers in int64. */
enum { LARGEST = 1 << 16 };

static bool geometry_fits(const im_tensor *x, const im_tensor *w, const int *at)
{
    bool ok = at[STRIDE] >= 1 && !at[UP_H] == !at[UP_W] && im_numel(w) / w->shape[0] <= INT_MAX
           && x->shape[1] <= INT_MAX - 2 * LARGEST && x->shape[2] <= INT_MAX - 2 * LARGEST;
    for (int i = STRIDE; i <= UP_W; i++)
        ok &= at[i] >= 0 && at[i] <= LARGEST;
    return ok;
}

static int64_t out_size(int64_t in, int pad0, int pad1, int64_t kernel, int stride)
{
    int64_t room = in + pad0 + pad1 - kernel;
    return room < 0 ? 0 : room / stride + 1;
}

static bool conv2d_shape(im_ctx *c, im_node *n)
{
    const im_tensor *x = n->in[X], *w = n->in[W], *b = n->in[B], *chan = n->in[CHAN], *res = n->in[RES];
    const int *at = n->attrs.i;
    int64_t rows, ld;
    if (!im_want_activation(c, n, X)
        || !im_want(c, n, x->ndim == 4 && w->ndim == 4 && w->shape[3] == x->shape[3] && im_contiguous(w)
                    && im_is_weight(w) && !w->geglu, "x (B, H, W, Cin), w (Cout, Kh, Kw, Cin)")
        || !im_want(c, n, geometry_fits(x, w, at),
                    "a stride of at least 1, no negative padding, both or no enlarged sizes, none above 65536")
        || !im_want(c, n, !b || (b->dtype == IM_F32 && im_contiguous(b) && im_numel(b) == w->shape[0]),
                    "b (Cout) in f32")
        || !im_want(c, n, !chan || (im_is_real((im_dtype)chan->dtype) && chan->ndim == 2 && chan->shape[0] == x->shape[0]
                                    && chan->shape[1] == w->shape[0] && im_rows(chan, &rows, &ld)),
                    "chan (B, Cout) in f32, f16 or bf16"))
        return false;
    im_tensor *y = n->out;
    y->ndim = 4;
    y->dtype = x->dtype;
    y->shape[0] = x->shape[0];
    y->shape[1] = out_size(at[UP_H] ? at[UP_H] : x->shape[1], at[TOP], at[BOTTOM], w->shape[1], at[STRIDE]);
    y->shape[2] = out_size(at[UP_W] ? at[UP_W] : x->shape[2], at[LEFT], at[RIGHT], w->shape[2], at[STRIDE]);
    y->shape[3] = w->shape[0];
    return im_want(c, n, y->shape[1] > 0 && y->shape[2] > 0, "a kernel no larger than the padded input")
        && im_want(c, n, !res || (im_is_real((im_dtype)res->dtype) && im_contiguous(res) && res->ndim == 4
                                  && !memcmp(res->shape, y->shape, 4 * sizeof y->shape[0])),
                   "res of the output's shape (B, Ho, Wo, Cout) in f32, f16 or bf16");
}

static int conv2d_forward(im_ctx *c, im_node *n)
{
    const im_tensor *x = n->in[X], *w = n->in[W], *y = n->out;
    const int *at = n->attrs.i;
    int64_t rows = 0, ldchan = 0;
    if (n->in[CHAN])
        im_rows(n->in[CHAN], &rows, &ldchan);
    return c->dev.k.conv(&c->dev, &(im_conv_args){
        .batch = (int)x->shape[0], .h = (int)x->shape[1], .w = (int)x->shape[2], .cin = (int)x->shape[3],
        .cout = (int)w->shape[0], .kh = (int)w->shape[1], .kw = (int)w->shape[2],
        .oh = (int)y->shape[1], .ow = (int)y->shape[2], .stride = at[STRIDE], .pad_top = at[TOP], .pad_left = at[LEFT],
        .up_h = at[UP_H] ? at[UP_H] : (int)x->shape[1], .up_w = at[UP_W] ? at[UP_W] : (int)x->shape[2],
        .x = im_read_of(x), .wt = im_weight_of(w), .bias = im_read_of(n->in[B]).p, .chan = im_read_of(n->in[CHAN]),
        .ldchan = ldchan, .res = im_read_of(n->in[RES]), .y = im_write_of(y) });
}

/* One im_colsum: the gradient of what was added to each of `rows` pixels, `batch` times. */
static int sum_pixels(im_ctx *c, im_node *n, int input, int batch)
{
    const im_tensor *dy = im_dout(n);
    bool add;
    int64_t rows, ld, cols = dy->shape[3];
    im_tensor *g = im_grad_of(c, n, input, &add);
    if (!g)
        return IM_DONE;
    im_rows(g, &rows, &ld);
    return c->dev.k.colsum(&c->dev, &(im_colsum_args){ .batch = batch, .rows = im_numel(dy) / cols / batch, .n = (int)cols,
                                                       .x = im_read_of(dy), .y = im_write_of(g), .ldy = ld,
                                                       .add = add });
}

static int conv2d_backward(im_ctx *c, im_node *n)
{
    const im_tensor *x = n->in[X], *w = n->in[W], *dy = im_dout(n);
    const int *at = n->attrs.i;
    int up_h = at[UP_H] ? at[UP_H] : (int)x->shape[1], up_w = at[UP_W] ? at[UP_W] : (int)x->shape[2];
    bool add;
    im_tensor *g = im_grad_of(c, n, RES, &add);
    if (g && !im_accumulate(c, g, dy, 1, add))
        return IM_DONE;                                        /* the failure is in the context                        */
    int status = sum_pixels(c, n, B, 1);
    if (!status)
        status = sum_pixels(c, n, CHAN, (int)dy->shape[0]);
    g = status ? NULL : im_grad_of(c, n, W, &add);
    if (g)
        status = c->dev.k.conv_dw(&c->dev, &(im_conv_dw_args){
            .batch = (int)x->shape[0], .h = (int)x->shape[1], .w = (int)x->shape[2], .cin = (int)x->shape[3],
            .cout = (int)w->shape[0], .kh = (int)w->shape[1], .kw = (int)w->shape[2],
            .oh = (int)dy->shape[1], .ow = (int)dy->shape[2], .stride = at[STRIDE], .pad_top = at[TOP],
            .pad_left = at[LEFT], .up_h = up_h, .up_w = up_w, .x = im_read_of(x), .dy = im_read_of(dy),
            .dw = im_data(g), .add = add });
    g = status ? NULL : im_grad_of(c, n, X, &add);
    if (g && !im_want(c, n, !w->packed, "w that is not packed, as training needs it"))
        return IM_NO_KERNEL;
    if (g)
        status = c->dev.k.conv_dx(&c->dev, &(im_conv_dx_args){
            .batch = (int)x->shape[0], .h = (int)x->shape[1], .w = (int)x->shape[2], .cin = (int)x->shape[3],
            .cout = (int)w->shape[0], .kh = (int)w->shape[1], .kw = (int)w->shape[2],
            .oh = (int)dy->shape[1], .ow = (int)dy->shape[2], .stride = at[STRIDE], .pad_top = at[TOP],
            .pad_left = at[LEFT], .up_h = up_h, .up_w = up_w, .dy = im_read_of(dy), .wt = im_weight_of(w),
            .dx = im_write_of(g), .add = add });
    return status;
}

static double conv2d_flop(const im_node *n)
{
    const im_tensor *w = n->in[W];
    return 2.0 * (double)im_numel(n->out) * (double)(im_numel(w) / w->shape[0]);
}

const im_op im_op_conv2d = { .name = "conv2d", .formula = "y = conv(x, w) + b + chan + res", .n_in = 5,
    .optional = 1u << B | 1u << CHAN | 1u << RES, .shape = conv2d_shape, .forward = conv2d_forward,
    .backward = conv2d_backward, .flop = conv2d_flop, .keeps = IM_KEEP(X) | IM_KEEP(W), .keeps_for_w = IM_KEEP(X),
    .f32_grads = 1u << W | 1u << B };

im_tensor *im_conv2d(im_ctx *c, im_tensor *x, im_tensor *w, im_tensor *b, im_tensor *chan, im_tensor *res,
                     const im_conv_attrs *at)
{
    if (!at) {
        im_fail(c, "conv2d: found no stride and padding (im_conv_attrs)");
        return NULL;
    }
    im_attrs a = { .i = { [STRIDE] = at->stride, [TOP] = at->pad_top, [LEFT] = at->pad_left, [BOTTOM] = at->pad_bottom,
                          [RIGHT] = at->pad_right, [UP_H] = at->up_h, [UP_W] = at->up_w } };
    return im_run(c, &im_op_conv2d, (im_tensor *[]){ x, w, b, chan, res }, &a);
}
