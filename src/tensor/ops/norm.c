/* norm.c: normalisation.   y = (x - mean) / sqrt(var + eps) * gamma + beta
 *   groupnorm: statistics over (H, W, C / groups), then SiLU where asked (Wu & He 2018, arXiv 1803.08494); UNet and VAE
 *   layernorm: statistics over the last axis (Ba et al. 2016, arXiv 1607.06450); CLIP and transformer blocks */
#include "tensor/tensor.h"

enum { X, GAMMA, BETA };
enum { MEAN, RSTD };                                           /* saved: (B, groups), or one a row                     */

static bool want_affine(im_ctx *c, const im_node *n)
{
    int64_t channels = n->in[X]->shape[n->in[X]->ndim - 1];
    bool ok = true;
    for (int i = GAMMA; i <= BETA; i++)
        ok &= n->in[i]->dtype == IM_F32 && im_contiguous(n->in[i]) && im_numel(n->in[i]) == channels;
    return im_want(c, n, ok, "gamma and beta (C) in f32");
}

static bool groupnorm_shape(im_ctx *c, im_node *n)
{
    const im_tensor *x = n->in[X];
    int groups = n->attrs.i[0];
    return im_want_activation(c, n, X) && im_want(c, n, x->ndim >= 3, "x (B, H, W, C) or (B, T, C)") && want_affine(c, n)
        && im_want(c, n, groups >= 1 && x->shape[x->ndim - 1] % groups == 0, "channels that the groups divide")
        && im_like(c, n, X);
}

/* Where forward leaves the statistics of a taped node; false: memory is out. */
static bool save_statistics(im_ctx *c, im_node *n, int64_t count, float **mean, float **rstd)
{
    *mean = *rstd = NULL;
    if (!n->taped)
        return true;
    im_tensor *m = im_save(c, n, MEAN, 1, &count), *r = im_save(c, n, RSTD, 1, &count);
    if (!m || !r)
        return false;
    *mean = im_data(m);
    *rstd = im_data(r);
    return true;
}

static int groupnorm_forward(im_ctx *c, im_node *n)
{
    const im_tensor *x = n->in[X];
    int channels = (int)x->shape[x->ndim - 1], batch = (int)x->shape[0];
    float *mean, *rstd;
    if (!save_statistics(c, n, (int64_t)batch * n->attrs.i[0], &mean, &rstd))
        return IM_NO_MEMORY;
    return c->dev.k.groupnorm(&c->dev, &(im_groupnorm_args){
        .batch = batch, .pixels = im_numel(x) / batch / channels, .channels = channels, .groups = n->attrs.i[0],
        .eps = n->attrs.f[0], .silu = n->attrs.i[1], .x = im_read_of(x), .gamma = im_data(n->in[GAMMA]),
        .beta = im_data(n->in[BETA]), .y = im_write_of(n->out), .mean = mean, .rstd = rstd });
}

static int groupnorm_backward(im_ctx *c, im_node *n)
{
    const im_tensor *x = n->in[X];
    int channels = (int)x->shape[x->ndim - 1], batch = (int)x->shape[0];
    im_groupnorm_bwd_args a = {
        .batch = batch, .pixels = im_numel(x) / batch / channels, .channels = channels, .groups = n->attrs.i[0],
        .silu = n->attrs.i[1], .x = im_read_of(x), .gamma = im_data(n->in[GAMMA]), .beta = im_data(n->in[BETA]),
        .mean = im_data(n->saved[MEAN]), .rstd = im_data(n->saved[RSTD]), .dy = im_read_of(im_dout(n)) };
    a.dx = im_grad_buf(c, n, X, &a.add_dx);
    a.dgamma = im_grad_f32(c, n, GAMMA, &a.add_dgamma);
    a.dbeta = im_grad_f32(c, n, BETA, &a.add_dbeta);
    return c->failed ? IM_DONE : c->dev.k.groupnorm_bwd(&c->dev, &a);
}

static bool layernorm_shape(im_ctx *c, im_node *n)
{
    int64_t rows, ld;
    return im_want(c, n, im_is_real((im_dtype)n->in[X]->dtype) && n->in[X]->ndim >= 1 && im_rows(n->in[X], &rows, &ld),
                   "x (..., C) in f32, f16 or bf16, C contiguous")
        && want_affine(c, n) && im_like(c, n, X);
}

static int layernorm_forward(im_ctx *c, im_node *n)
{
    int64_t rows, ld;
    im_rows(n->in[X], &rows, &ld);
    int channels = (int)n->in[X]->shape[n->in[X]->ndim - 1];
    float *mean, *rstd;
    if (!save_statistics(c, n, rows, &mean, &rstd))
        return IM_NO_MEMORY;
    return c->dev.k.layernorm(&c->dev, &(im_layernorm_args){
        .rows = rows, .channels = channels, .eps = n->attrs.f[0], .x = im_read_of(n->in[X]), .ldx = ld,
        .gamma = im_data(n->in[GAMMA]), .beta = im_data(n->in[BETA]), .y = im_write_of(n->out), .ldy = channels,
        .mean = mean, .rstd = rstd });
}

static int layernorm_backward(im_ctx *c, im_node *n)
{
    int64_t rows, ld;
    im_rows(n->in[X], &rows, &ld);
    im_layernorm_bwd_args a = {
        .rows = rows, .channels = (int)n->in[X]->shape[n->in[X]->ndim - 1], .x = im_read_of(n->in[X]), .ldx = ld,
        .gamma = im_data(n->in[GAMMA]), .mean = im_data(n->saved[MEAN]), .rstd = im_data(n->saved[RSTD]),
        .dy = im_read_of(im_dout(n)) };
    a.dx = im_grad_buf(c, n, X, &a.add_dx);
    a.dgamma = im_grad_f32(c, n, GAMMA, &a.add_dgamma);
    a.dbeta = im_grad_f32(c, n, BETA, &a.add_dbeta);
    return c->failed ? IM_DONE : c->dev.k.layernorm_bwd(&c->dev, &a);
}

const im_op im_op_groupnorm = { .name = "groupnorm", .formula = "y = (x - mean) * rstd * gamma + beta [, silu]",
    .n_in = 3, .shape = groupnorm_shape, .forward = groupnorm_forward, .backward = groupnorm_backward,
    .keeps = IM_KEEP(X) | IM_KEEP(GAMMA) | IM_KEEP(BETA), .f32_grads = 1u << GAMMA | 1u << BETA, .inplace_ok = true };

const im_op im_op_layernorm = { .name = "layernorm", .formula = "y = (x - mean) * rstd * gamma + beta",
    .n_in = 3, .shape = layernorm_shape, .forward = layernorm_forward, .backward = layernorm_backward,
    .keeps = IM_KEEP(X) | IM_KEEP(GAMMA), .f32_grads = 1u << GAMMA | 1u << BETA, .inplace_ok = true };

im_tensor *im_groupnorm(im_ctx *c, im_tensor *x, im_tensor *gamma, im_tensor *beta, int groups, float eps, bool silu)
{
    return im_run(c, &im_op_groupnorm, (im_tensor *[]){ x, gamma, beta },
                  &(im_attrs){ .i = { groups, silu }, .f = { eps } });
}

im_tensor *im_layernorm(im_ctx *c, im_tensor *x, im_tensor *gamma, im_tensor *beta, float eps)
{
    return im_run(c, &im_op_layernorm, (im_tensor *[]){ x, gamma, beta }, &(im_attrs){ .f = { eps } });
}
