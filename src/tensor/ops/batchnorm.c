/* batchnorm.c: batch normalisation (Ioffe & Szegedy 2015, arXiv 1502.03167), sum and ReLU in one; ResNet.
 *
 *     y = act((x - mean) / sqrt(var + eps) * gamma + beta [+ res]),  mean and var of each channel over all rows
 *
 * Two ops, for what backward must know of the ReLU: without a residual the sign of its argument is computed again from x,
 * which backward needs anyway; with one it is read from the output, which the next convolution keeps anyway. */
#include "tensor/norm_sync.h"

#include <limits.h>

enum { X, GAMMA, BETA, RES, RUNNING_MEAN, RUNNING_VAR, INPUTS };
enum { MEAN, RSTD };                                           /* saved                                                */
enum { TRAINING, RELU, TOTAL };                                /* attrs.i; total: rows of all parts, 0: of this alone  */
enum { EPS, MOMENTUM };                                        /* attrs.f                                              */

static int channels_of(const im_node *n)
{
    return (int)n->in[X]->shape[n->in[X]->ndim - 1];
}

static bool batchnorm_shape(im_ctx *c, im_node *n)
{
    const im_tensor *x = n->in[X], *res = n->in[RES];
    if (!im_want_activation(c, n, X) || !im_want(c, n, x->ndim >= 2, "x (B, ..., C)")
        || (res && !im_want_activation(c, n, RES)))
        return false;
    bool vectors = true, same = !res || res->ndim == x->ndim;
    for (int i = GAMMA; i < INPUTS; i++)
        vectors &= i == RES || (n->in[i]->dtype == IM_F32 && im_contiguous(n->in[i])
                                && im_numel(n->in[i]) == channels_of(n));
    for (int i = 0; same && res && i < x->ndim; i++)
        same = res->shape[i] == x->shape[i];
    return im_want(c, n, vectors, "gamma, beta, running mean and variance (C) in f32")
        && im_want(c, n, same, "a residual of x's shape")
        && im_want(c, n, !n->attrs.i[TRAINING] || im_numel(x) > channels_of(n),
                   "more than one value of each channel to train on")
        && im_like(c, n, X);
}

static int batchnorm_forward(im_ctx *c, im_node *n)
{
    int64_t channels = channels_of(n);
    im_tensor *mean = NULL, *rstd = NULL;
    if (n->taped && !((mean = im_save(c, n, MEAN, 1, &channels)) && (rstd = im_save(c, n, RSTD, 1, &channels))))
        return IM_NO_MEMORY;
    bool training = n->attrs.i[TRAINING], moves = !training || !c->recomputing, synced = training && c->norm_parts;
    double *seen = NULL;
    if (training && moves && !synced)
        seen = im_norm_log_place(c, n->in[RUNNING_MEAN], n->in[RUNNING_VAR], n->attrs.f[MOMENTUM]);
    if (c->failed)
        return IM_DONE;
    im_batchnorm_args a = {
        .rows = im_numel(n->in[X]) / channels, .channels = (int)channels, .eps = n->attrs.f[EPS],
        .momentum = n->attrs.f[MOMENTUM], .training = training, .relu = n->attrs.i[RELU],
        .x = im_read_of(n->in[X]), .gamma = im_data(n->in[GAMMA]), .beta = im_data(n->in[BETA]),
        .res = im_read_of(n->in[RES]),
        .running_mean = moves ? im_data(n->in[RUNNING_MEAN]) : NULL,
        .running_var = moves ? im_data(n->in[RUNNING_VAR]) : NULL, .mean = mean ? im_data(mean) : NULL,
        .seen = seen, .rstd = rstd ? im_data(rstd) : NULL, .y = im_write_of(n->out) };
    if (!synced)
        return c->dev.k.batchnorm(&c->dev, &a);
    int64_t total;
    int status = im_sync_batchnorm(c, n, a, RUNNING_MEAN, RUNNING_VAR, &total);
    if (!status && total > INT_MAX)
        im_fail(c, "batchnorm: found %lld rows in all parts, wanted at most %d", (long long)total, INT_MAX);
    n->attrs.i[TOTAL] = (int)total;
    return status;
}

static int backward(im_ctx *c, im_node *n, const im_tensor *y)
{
    im_batchnorm_bwd_args a = {
        .rows = im_numel(n->in[X]) / channels_of(n), .channels = channels_of(n), .training = n->attrs.i[TRAINING],
        .relu = n->attrs.i[RELU], .x = im_read_of(n->in[X]),
        .gamma = im_data(n->in[GAMMA]), .beta = im_data(n->in[BETA]), .mean = im_data(n->saved[MEAN]),
        .rstd = im_data(n->saved[RSTD]), .y = im_read_of(y), .dy = im_read_of(im_dout(n)) };
    a.dx = im_grad_buf(c, n, X, &a.add_dx);
    if (n->attrs.i[TOTAL]) {
        a.dres = im_grad_buf(c, n, RES, &a.add_dres);
        return c->failed ? IM_DONE
                         : im_sync_batchnorm_bwd(c, n, a, GAMMA, BETA, n->saved[RSTD], n->attrs.i[TOTAL]);
    }
    a.dgamma = im_grad_f32(c, n, GAMMA, &a.add_dgamma);
    a.dbeta = im_grad_f32(c, n, BETA, &a.add_dbeta);
    a.dres = im_grad_buf(c, n, RES, &a.add_dres);
    return c->failed ? IM_DONE : c->dev.k.batchnorm_bwd(&c->dev, &a);
}

static int batchnorm_backward(im_ctx *c, im_node *n)
{
    return backward(c, n, NULL);
}

static int batchnorm_res_backward(im_ctx *c, im_node *n)
{
    return backward(c, n, n->out);
}

const im_op im_op_batchnorm = { .name = "batchnorm", .formula = "y = act((x - mean) * rstd * gamma + beta [+ res])",
    .n_in = INPUTS, .optional = 1u << RES, .shape = batchnorm_shape, .forward = batchnorm_forward,
    .backward = batchnorm_backward, .keeps = IM_KEEP(X) | IM_KEEP(GAMMA) | IM_KEEP(BETA),
    .f32_grads = 1u << GAMMA | 1u << BETA,
    .inplace_ok = true };

const im_op im_op_batchnorm_res = { .name = "batchnorm_res", .formula = "y = relu((x - mean) * rstd * gamma + beta + res)",
    .n_in = INPUTS, .shape = batchnorm_shape, .forward = batchnorm_forward, .backward = batchnorm_res_backward,
    .keeps = IM_KEEP(X) | IM_KEEP(GAMMA) | IM_KEEP_OUT, .f32_grads = 1u << GAMMA | 1u << BETA,
    .inplace_ok = true };

im_tensor *im_batchnorm(im_ctx *c, im_tensor *x, im_tensor *gamma, im_tensor *beta, im_tensor *res,
                        im_tensor *running_mean, im_tensor *running_var, const im_batchnorm_attrs *at)
{
    if (!at) {
        im_fail(c, "batchnorm: found no eps and momentum (im_batchnorm_attrs)");
        return NULL;
    }
    return im_run(c, res && at->relu ? &im_op_batchnorm_res : &im_op_batchnorm,
                  (im_tensor *[]){ x, gamma, beta, res, running_mean, running_var },
                  &(im_attrs){ .i = { at->training, at->relu }, .f = { at->eps, at->momentum } });
}
