/* loss.c: losses, one number each.
 *   cross_entropy: y = mean over rows of (log sum exp(x) - x[label]), softmax and loss in one (the classifier)
 *   mse, l1: y = mean over samples of weight * mean of (x - t)^2 or |x - t| (diffusion, autoencoder) */
#include "tensor/tensor.h"

#include <string.h>

static bool scalar(im_node *n)
{
    n->out->ndim = 1;
    n->out->dtype = IM_F32;
    n->out->shape[0] = 1;
    return true;
}

/* ---------------------------------------------------------------- cross entropy */

enum { LOGITS, LABELS };

static void say_label(im_ctx *c, int64_t at, int32_t found, int64_t limit)
{
    im_fail(c, "cross_entropy: label %lld is %d, wanted 0 to %lld; do the data set and the model's number of classes "
            "belong together?", (long long)at, found, (long long)limit - 1);
}

static bool cross_entropy_shape(im_ctx *c, im_node *n)
{
    const im_tensor *x = n->in[LOGITS], *labels = n->in[LABELS];
    return im_want_activation(c, n, LOGITS)
        && im_want(c, n, x->ndim == 2 && labels->ndim == 1 && labels->shape[0] == x->shape[0] && labels->dtype == IM_I32
                   && im_contiguous(labels), "logits (R, K) and labels (R) in i32")
        && im_want_ids(c, n, LABELS, x->shape[1], say_label)
        && scalar(n);
}

static int cross_entropy_forward(im_ctx *c, im_node *n)
{
    const im_tensor *x = n->in[LOGITS];
    int64_t rows = x->shape[0], classes = x->shape[1];
    im_tensor *stats = n->taped ? im_save(c, n, 0, 2, (int64_t[]){ rows, 2 }) : NULL;
    if (n->taped && !stats)
        return IM_NO_MEMORY;
    return c->dev.k.cross_entropy(&c->dev, &(im_cross_entropy_args){
        .rows = rows, .classes = (int)classes, .x = im_read_of(x), .labels = im_data(n->in[LABELS]),
        .loss = im_data(n->out),
        .stats = stats ? im_data(stats) : NULL });
}

/* dx = dy / R (softmax(x) - onehot(label)) */
static int cross_entropy_backward(im_ctx *c, im_node *n)
{
    const im_tensor *x = n->in[LOGITS];
    bool add;
    im_tensor *dx = im_grad_of(c, n, LOGITS, &add);
    if (!dx)
        return IM_DONE;
    return c->dev.k.cross_entropy_bwd(&c->dev, &(im_cross_entropy_bwd_args){
        .rows = x->shape[0], .classes = (int)x->shape[1], .x = im_read_of(x), .labels = im_data(n->in[LABELS]),
        .stats = im_data(n->saved[0]), .dloss = im_data(im_dout(n)), .dx = im_write_of(dx), .add = add });
}

const im_op im_op_cross_entropy = { .name = "cross_entropy", .formula = "y = mean(log sum exp(x) - x[label])", .n_in = 2,
    .shape = cross_entropy_shape, .forward = cross_entropy_forward, .backward = cross_entropy_backward,
    .keeps = IM_KEEP(LOGITS) | IM_KEEP(LABELS) };

im_tensor *im_cross_entropy(im_ctx *c, im_tensor *logits, im_tensor *labels)
{
    return im_run(c, &im_op_cross_entropy, (im_tensor *[]){ logits, labels }, NULL);
}

/* ---------------------------------------------------------------- distances */

enum { X, TARGET, WEIGHT };

static bool distance_shape(im_ctx *c, im_node *n)
{
    const im_tensor *x = n->in[X], *t = n->in[TARGET], *w = n->in[WEIGHT];
    return im_want_activation(c, n, X) && im_want_activation(c, n, TARGET) && (!w || im_want_f32(c, n, WEIGHT))
        && im_want(c, n, x->ndim >= 1 && t->ndim == x->ndim
                   && !memcmp(x->shape, t->shape, (size_t)x->ndim * sizeof x->shape[0])
                   && (!w || (w->ndim == 1 && w->shape[0] == x->shape[0])),
                   "x and t (B, ...) of one shape, weight (B) or none")
        && scalar(n);
}

static int distance_forward(im_ctx *c, im_node *n, im_loss_kind kind)
{
    const im_tensor *x = n->in[X];
    return c->dev.k.loss(&c->dev, &(im_loss_args){
        .kind = kind, .batch = (int)x->shape[0], .n = im_numel(x) / x->shape[0], .x = im_read_of(x),
        .t = im_read_of(n->in[TARGET]), .weight = n->in[WEIGHT] ? im_data(n->in[WEIGHT]) : NULL, .loss = im_data(n->out) });
}

static int distance_backward(im_ctx *c, im_node *n, im_loss_kind kind)
{
    const im_tensor *x = n->in[X], *w = n->in[WEIGHT];
    bool add_dx, add_dt;
    if (w && w->wants_grad) {
        im_fail(c, "%s has no gradient for its weights", n->op->name);
        return IM_NO_KERNEL;
    }
    im_tensor *dx = im_grad_of(c, n, X, &add_dx), *dt = im_grad_of(c, n, TARGET, &add_dt);
    return c->dev.k.loss_bwd(&c->dev, &(im_loss_bwd_args){
        .kind = kind, .batch = (int)x->shape[0], .n = im_numel(x) / x->shape[0], .x = im_read_of(x),
        .t = im_read_of(n->in[TARGET]), .weight = w ? im_data(w) : NULL, .dloss = im_data(im_dout(n)),
        .dx = im_write_of(dx), .dt = im_write_of(dt), .add_dx = add_dx, .add_dt = add_dt });
}

static int mse_forward(im_ctx *c, im_node *n)
{
    return distance_forward(c, n, IM_LOSS_MSE);
}

static int mse_backward(im_ctx *c, im_node *n)
{
    return distance_backward(c, n, IM_LOSS_MSE);
}

static int l1_forward(im_ctx *c, im_node *n)
{
    return distance_forward(c, n, IM_LOSS_L1);
}

static int l1_backward(im_ctx *c, im_node *n)
{
    return distance_backward(c, n, IM_LOSS_L1);
}

const im_op im_op_mse = { .name = "mse", .formula = "y = mean(w (x - t)^2)", .n_in = 3, .optional = 1u << WEIGHT,
    .shape = distance_shape, .forward = mse_forward, .backward = mse_backward,
    .keeps = IM_KEEP(X) | IM_KEEP(TARGET) | IM_KEEP(WEIGHT) };
const im_op im_op_l1 = { .name = "l1", .formula = "y = mean(w |x - t|)", .n_in = 3, .optional = 1u << WEIGHT,
    .shape = distance_shape, .forward = l1_forward, .backward = l1_backward,
    .keeps = IM_KEEP(X) | IM_KEEP(TARGET) | IM_KEEP(WEIGHT) };

im_tensor *im_mse(im_ctx *c, im_tensor *x, im_tensor *t, im_tensor *weight)
{
    return im_run(c, &im_op_mse, (im_tensor *[]){ x, t, weight }, NULL);
}

im_tensor *im_l1(im_ctx *c, im_tensor *x, im_tensor *t, im_tensor *weight)
{
    return im_run(c, &im_op_l1, (im_tensor *[]){ x, t, weight }, NULL);
}
