/* norm_sync.c: batch norm over all parts of a step (im_norms_over_parts), which another place computes side by side.
 *
 *     forward    every part shares its rows n_k, mean m_k and sum of squares q_k = sum (x - m_k)^2 of each channel; they
 *                are joined two by two (Chan et al. 1979), in f64, by the tree of the parts' gradients:
 *                    n = n_a + n_b    d = m_b - m_a    m = m_a + d n_b / n    q = q_a + q_b + d^2 n_a n_b / n
 *     backward   with dy' = dy where the ReLU let through, every part shares s = sum dy' and t = sum dy' xhat, which are
 *                summed by that tree;  dx = gamma rstd (dy' - s / n - xhat t / n);  dgamma and dbeta are the part's own,
 *                since the gradients of parts are summed anyway
 *
 * No kernel of its own: statistics are what batchnorm sees of a part; y is batchnorm with a given mean and variance; dx is
 * batchnorm's backward with these, gamma rstd dy', and then batchnorm again, of x with a residual:
 *
 *     dx = (x - mean) g + b + gamma rstd dy',    g = -gamma rstd^2 t / n,    b = -gamma rstd s / n
 *
 * So every device has it. Sums go by way of the host, which waits in every norm. Called by ops/batchnorm.c. */
#include "tensor/norm_sync.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void im_norms_over_parts(im_ctx *c, const im_norm_parts *p)
{
    c->norm_parts = p;
}

/* ---------------------------------------------------------------- the tree */

typedef void (*joiner)(double *a, const double *b, int64_t channels);

static void join_moments(double *a, const double *b, int64_t channels)
{
    double na = a[0], nb = b[0], n = na + nb;
    for (int64_t i = 1; i <= channels; i++) {
        double d = b[i] - a[i];
        a[i] += d * (nb / n);
        a[channels + i] += b[channels + i] + d * d * (na * nb / n);
    }
    a[0] = n;
}

static void join_sums(double *a, const double *b, int64_t channels)
{
    for (int64_t i = 0; i < 2 * channels; i++)
        a[i] += b[i];
}

/* Shares `own` (n) and joins what all parts have: malloc'd, or NULL after a failure. grad_tree.h has the order. */
static double *over_parts(im_ctx *c, const double *own, int64_t n, int64_t channels, joiner join)
{
    const im_norm_parts *p = c->norm_parts;
    const double *all = p->share(p->arg, own, n);
    double *v = all ? malloc((size_t)p->parts * (size_t)n * sizeof *v) : NULL;
    if (!v) {
        if (im_ok(c))
            im_fail(c, "out of memory for the statistics of batch norms");
        return NULL;
    }
    memcpy(v, all, (size_t)p->parts * (size_t)n * sizeof *v);
    for (int step = 1; step < p->parts; step *= 2)
        for (int k = 0; k + step < p->parts; k += 2 * step)
            join(v + k * n, v + (k + step) * n, channels);
    return v;
}

/* ---------------------------------------------------------------- forward */

/* Rows, means and sums of squares of this part, (1 + 2 channels), malloc'd. y of `a` is written over. */
static double *moments(im_ctx *c, const im_batchnorm_args *a)
{
    int64_t channels = a->channels;
    im_storage *s = im_storage_new(c, 2 * (size_t)channels * sizeof(double), false);
    double *seen = NULL, *v = NULL;
    if (s) {
        im_batchnorm_args own = { .rows = a->rows, .channels = a->channels, .eps = a->eps, .training = true, .x = a->x,
                                  .gamma = a->gamma, .beta = a->beta, .seen = s->data, .y = a->y };
        if (im_done(c, c->dev.k.batchnorm(&c->dev, &own), "batchnorm"))
            seen = im_storage_values(c, s);
    }
    if (seen && !(v = malloc((1 + 2 * (size_t)channels) * sizeof *v)))
        im_fail(c, "out of memory for the statistics of batch norms");
    for (int64_t i = 0; v && i < channels; i++) {
        v[0] = (double)a->rows;
        v[1 + i] = seen[i];
        v[1 + channels + i] = seen[channels + i] * ((double)a->rows - 1);
    }
    free(seen);
    if (s)
        im_storage_release(s);
    return v;
}

/* Where the running statistics move: they see the unbiased variance of all rows. v is changed. */
static bool move(im_ctx *c, const im_node *n, double *v, int64_t channels, double momentum, int mean, int var)
{
    const im_norm_parts *p = c->norm_parts;
    if (c->recomputing || !p->moves(p->arg))
        return true;
    double *unbiased = v + 1 + channels, rows = v[0];
    for (int64_t i = 0; i < channels; i++)
        unbiased[i] /= rows - 1;
    return im_norm_move(c, n->in[mean], v + 1, momentum) && im_norm_move(c, n->in[var], unbiased, momentum);
}

int im_sync_batchnorm(im_ctx *c, im_node *n, im_batchnorm_args a, int mean, int var, int64_t *total)
{
    int64_t channels = a.channels;
    double *own = moments(c, &a), *v = own ? over_parts(c, own, 1 + 2 * channels, channels, join_moments) : NULL;
    float *f = v ? malloc(2 * (size_t)channels * sizeof *f) : NULL;
    im_tensor *given = NULL;                                                              /* (2, channels)            */
    free(own);
    for (int64_t i = 0; f && i < channels; i++) {
        f[i] = (float)v[1 + i];
        f[channels + i] = (float)(v[1 + channels + i] / v[0]);
    }
    if (f)
        given = im_from(c, IM_F32, 2, (int64_t[]){ 2, channels }, f);
    else if (im_ok(c))
        im_fail(c, "out of memory for the statistics of batch norms");
    *total = v ? (int64_t)v[0] : 0;
    bool ok = given && move(c, n, v, channels, (double)a.momentum, mean, var);
    free(f);
    free(v);
    if (!ok)
        return IM_DONE;                                        /* the failure is in the context                        */
    a.training = false;
    a.seen = NULL;
    a.running_mean = im_data(given);
    a.running_var = a.running_mean + channels;
    int status = c->dev.k.batchnorm(&c->dev, &a);
    im_scope_take(c, given);
    im_tensor_free(given);
    return status;
}

/* ---------------------------------------------------------------- backward */

/* dx += (x - mean) g + b (see above), of the sums that all parts share. */
static int centre(im_ctx *c, const im_batchnorm_bwd_args *a, const double *sums, double total, const float *gamma,
                  const float *rstd)
{
    int64_t channels = a->channels;
    float *f = malloc(3 * (size_t)channels * sizeof *f);
    im_tensor *given = NULL;                                                              /* (g, b, ones; channels)   */
    for (int64_t i = 0; f && i < channels; i++) {
        double scale = -(double)gamma[i] * (double)rstd[i] / total;
        f[i] = (float)(scale * (double)rstd[i] * sums[channels + i]);
        f[channels + i] = (float)(scale * sums[i]);
        f[2 * channels + i] = 1;
    }
    if (f)
        given = im_from(c, IM_F32, 2, (int64_t[]){ 3, channels }, f);
    else
        im_fail(c, "out of memory for the gradient of a batch norm");
    free(f);
    if (!given)
        return IM_DONE;
    float *g = im_data(given);
    im_batchnorm_args y = { .rows = a->rows, .channels = a->channels, .x = a->x, .gamma = g, .beta = g + channels,
                            .res = im_as_read(a->dx), .running_mean = (float *)(uintptr_t)a->mean,
                            .running_var = g + 2 * channels, .y = a->dx };
    return c->dev.k.batchnorm(&c->dev, &y);
}

int im_sync_batchnorm_bwd(im_ctx *c, im_node *n, im_batchnorm_bwd_args a, int gamma, int beta, const im_tensor *rstd,
                          int64_t total)
{
    int64_t channels = a.channels;
    im_tensor *sums = im_new(c, IM_F32, 2, (int64_t[]){ 2, channels });                   /* of dy', of dy' xhat      */
    bool add;
    if (!sums)
        return IM_NO_MEMORY;
    a.training = false;
    a.dbeta = im_data(sums);
    a.dgamma = a.dbeta + channels;
    a.add_dbeta = a.add_dgamma = false;
    int status = c->dev.k.batchnorm_bwd(&c->dev, &a);
    for (int i = 0; i < 2 && !status && im_ok(c); i++) {
        im_tensor *g = im_grad_of(c, n, i ? gamma : beta, &add);
        if (g)
            im_accumulate(c, g, im_slice(c, sums, 0, i, i + 1), 1, add);
    }
    if (status || !im_ok(c) || !a.dx.p)
        return status;
    float *own = im_values(c, sums), *scale = im_values(c, n->in[gamma]), *r = im_values(c, rstd);
    double *wide = own ? malloc(2 * (size_t)channels * sizeof *wide) : NULL, *all = NULL;
    for (int64_t i = 0; wide && i < 2 * channels; i++)
        wide[i] = (double)own[i];
    if (wide && scale && r)
        all = over_parts(c, wide, 2 * channels, channels, join_sums);
    else if (im_ok(c))
        im_fail(c, "out of memory for the gradient of a batch norm");
    if (all)
        status = centre(c, &a, all, (double)total, scale, r);
    free(own);
    free(scale);
    free(r);
    free(wide);
    free(all);
    return status;
}
