/* loss.c: losses, one number each.
 *   cross_entropy: y = mean over rows of (log sum exp(x) - x[label]), softmax and loss in one (the classifier) */
#include "tensor/tensor.h"

static bool scalar(im_node *n)
{
    n->out->ndim = 1;
    n->out->dtype = IM_F32;
    n->out->shape[0] = 1;
    return true;
}

/* ---------------------------------------------------------------- cross entropy */

enum { LOGITS, LABELS };

static bool cross_entropy_shape(im_ctx *c, im_node *n)
{
    const im_tensor *x = n->in[LOGITS], *labels = n->in[LABELS];
    return im_want_f32(c, n, LOGITS)
        && im_want(c, n, x->ndim == 2 && labels->ndim == 1 && labels->shape[0] == x->shape[0] && labels->dtype == IM_I32
                   && im_contiguous(labels), "logits (R, K) and labels (R) in i32")
        && scalar(n);
}

static int cross_entropy_forward(im_ctx *c, im_node *n)
{
    const im_tensor *x = n->in[LOGITS];
    const int32_t *labels = im_data(n->in[LABELS]);
    int64_t rows = x->shape[0], classes = x->shape[1];
    for (int64_t i = 0; i < rows; i++)
        if (labels[i] < 0 || labels[i] >= classes) {
            im_fail(c, "cross_entropy: label %lld is %d, wanted 0 to %lld; do the data set and the model's number of "
                    "classes belong together?", (long long)i, labels[i], (long long)classes - 1);
            return IM_NO_KERNEL;
        }
    im_tensor *stats = n->taped ? im_save(c, n, 0, 2, (int64_t[]){ rows, 2 }) : NULL;
    if (n->taped && !stats)
        return IM_NO_MEMORY;
    return c->dev.k.cross_entropy(&c->dev, &(im_cross_entropy_args){
        .rows = rows, .classes = (int)classes, .x = im_data(x), .labels = labels, .loss = im_data(n->out),
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
        .rows = x->shape[0], .classes = (int)x->shape[1], .x = im_data(x), .labels = im_data(n->in[LABELS]),
        .stats = im_data(n->saved[0]), .dloss = im_data(im_dout(n)), .dx = im_data(dx), .add = add });
}

const im_op im_op_cross_entropy = { .name = "cross_entropy", .formula = "y = mean(log sum exp(x) - x[label])", .n_in = 2,
    .shape = cross_entropy_shape, .forward = cross_entropy_forward, .backward = cross_entropy_backward,
    .keeps = IM_KEEP(LOGITS) | IM_KEEP(LABELS) };

im_tensor *im_cross_entropy(im_ctx *c, im_tensor *logits, im_tensor *labels)
{
    return im_run(c, &im_op_cross_entropy, (im_tensor *[]){ logits, labels }, NULL);
}
