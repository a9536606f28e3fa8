/* gaussian.c: the VAE's diagonal Gaussian (Kingma & Welling 2014, arXiv 1312.6114), moments (B, ..., 2C) = [mean logvar],
 * l = clamp(logvar, -30, 20) as diffusers has it.
 *   gaussian_sample: z = mean + exp(l / 2) noise
 *   kl: sum of (mean^2 + exp(l) - 1 - l) / 2 over a sample, mean over samples */
#include "tensor/tensor.h"

#include <string.h>

enum { MOMENTS, NOISE };

static int channels_of(const im_node *n)
{
    const im_tensor *m = n->in[MOMENTS];
    return (int)(m->shape[m->ndim - 1] / 2);
}

static int64_t rows_of(const im_node *n)
{
    return im_numel(n->in[MOMENTS]) / (2 * channels_of(n));
}

static bool even_moments(im_ctx *c, const im_node *n)
{
    const im_tensor *m = n->in[MOMENTS];
    return im_want_activation(c, n, MOMENTS)
        && im_want(c, n, m->ndim >= 2 && m->shape[m->ndim - 1] % 2 == 0, "moments (B, ..., 2C)");
}

static bool sample_shape(im_ctx *c, im_node *n)
{
    const im_tensor *m = n->in[MOMENTS], *e = n->in[NOISE];
    return even_moments(c, n) && im_want_activation(c, n, NOISE)
        && im_want(c, n, e->ndim == m->ndim && !memcmp(e->shape, m->shape, (size_t)(m->ndim - 1) * sizeof m->shape[0])
                   && e->shape[e->ndim - 1] == channels_of(n), "moments (B, ..., 2C) and noise (B, ..., C)")
        && im_like(c, n, NOISE);
}

static int sample_forward(im_ctx *c, im_node *n)
{
    return c->dev.k.gaussian(&c->dev, &(im_gaussian_args){
        .rows = rows_of(n), .n = channels_of(n), .moments = im_read_of(n->in[MOMENTS]), .noise = im_read_of(n->in[NOISE]),
        .z = im_write_of(n->out) });
}

static int sample_backward(im_ctx *c, im_node *n)
{
    bool add;
    if (n->in[NOISE]->wants_grad) {
        im_fail(c, "gaussian_sample has no gradient for its noise");
        return IM_NO_KERNEL;
    }
    im_tensor *d = im_grad_of(c, n, MOMENTS, &add);
    return !d ? IM_DONE : c->dev.k.gaussian_bwd(&c->dev, &(im_gaussian_bwd_args){
        .rows = rows_of(n), .n = channels_of(n), .moments = im_read_of(n->in[MOMENTS]), .noise = im_read_of(n->in[NOISE]),
        .dz = im_read_of(im_dout(n)), .dmoments = im_write_of(d), .add = add });
}

static bool kl_shape(im_ctx *c, im_node *n)
{
    n->out->ndim = 1;
    n->out->dtype = IM_F32;
    n->out->shape[0] = 1;
    return even_moments(c, n);
}

static int kl_forward(im_ctx *c, im_node *n)
{
    return c->dev.k.kl(&c->dev, &(im_kl_args){
        .batch = (int)n->in[MOMENTS]->shape[0], .rows = rows_of(n), .n = channels_of(n),
        .moments = im_read_of(n->in[MOMENTS]), .kl = im_data(n->out) });
}

static int kl_backward(im_ctx *c, im_node *n)
{
    bool add;
    im_tensor *d = im_grad_of(c, n, MOMENTS, &add);
    return !d ? IM_DONE : c->dev.k.kl_bwd(&c->dev, &(im_kl_bwd_args){
        .batch = (int)n->in[MOMENTS]->shape[0], .rows = rows_of(n), .n = channels_of(n),
        .moments = im_read_of(n->in[MOMENTS]), .dkl = im_data(im_dout(n)), .dmoments = im_write_of(d), .add = add });
}

const im_op im_op_gaussian_sample = { .name = "gaussian_sample", .formula = "y = mean + exp(logvar / 2) noise", .n_in = 2,
    .shape = sample_shape, .forward = sample_forward, .backward = sample_backward,
    .keeps = IM_KEEP(MOMENTS) | IM_KEEP(NOISE) };
const im_op im_op_kl = { .name = "kl", .formula = "y = sum(mean^2 + exp(logvar) - 1 - logvar) / 2", .n_in = 1,
    .shape = kl_shape, .forward = kl_forward, .backward = kl_backward, .keeps = IM_KEEP(MOMENTS) };

im_tensor *im_gaussian_sample(im_ctx *c, im_tensor *moments, im_tensor *noise)
{
    return im_run(c, &im_op_gaussian_sample, (im_tensor *[]){ moments, noise }, NULL);
}

im_tensor *im_kl(im_ctx *c, im_tensor *moments)
{
    return im_run(c, &im_op_kl, &moments, NULL);
}
