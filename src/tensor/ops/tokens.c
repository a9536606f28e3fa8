/* tokens.c: tokens of a picture that are merged, and taken apart again (Bolya & Hoffman 2023, arXiv 2303.17604, "Token
 * merging for fast Stable Diffusion", without its random choice). Of every square of 2 x 2 tokens the first is kept; of the
 * others those that are most like a kept one join it.
 *
 *     match:   scores -> row of each token among those that are left
 *     merge:   y[m] = mean of the x[i] of row m          spread: x[i] = y[row of i]
 *
 * Rows are whole numbers, in f32 whatever x and scores are held in; what names no row takes no part. Used by
 * models/nets/token_merging.c, which computes the scores. None of the three has a gradient: they are for drawing. */
#include "tensor/tensor.h"

#include <limits.h>

enum { HEIGHT, WIDTH, MERGED };

static int64_t targets(const im_node *n)
{
    return (int64_t)(n->attrs.i[HEIGHT] / 2) * (n->attrs.i[WIDTH] / 2);
}

/* Numbers that f32 holds, and a size that int holds. */
static bool countable(int64_t rows, int64_t channels) { return rows <= 1 << 24 && channels <= INT_MAX / (rows + 1); }

static bool token_match_shape(im_ctx *c, im_node *n)
{
    const im_tensor *s = n->in[0];
    const int *at = n->attrs.i;
    int64_t tokens = at[HEIGHT] > 0 && at[WIDTH] > 0 ? (int64_t)at[HEIGHT] * at[WIDTH] : 0;
    if (!im_want_activation(c, n, 0)
        || !im_want(c, n, s->ndim == 3 && tokens && countable(tokens, s->shape[0]) && s->shape[1] == tokens
                    && s->shape[2] == targets(n) && targets(n) > 0 && at[MERGED] >= 0 && at[MERGED] <= tokens - targets(n),
                    "scores (B, h w, (h / 2) (w / 2)), and not more merged than the tokens that are not kept"))
        return false;
    int64_t shape[2] = { s->shape[0], tokens };
    n->out->dtype = IM_F32;
    n->out->ndim = 2;
    n->out->shape[0] = shape[0];
    n->out->shape[1] = shape[1];
    return im_ask(c, n, 0, 2, shape) && im_ask(c, n, 1, 2, shape);
}

static int token_match_forward(im_ctx *c, im_node *n)
{
    return c->dev.k.token_match(&c->dev, &(im_token_match_args){
        .batch = (int)n->in[0]->shape[0], .h = n->attrs.i[HEIGHT], .w = n->attrs.i[WIDTH], .merged = n->attrs.i[MERGED],
        .scores = im_read_of(n->in[0]), .best = im_data(n->scratch[0]), .with = im_data(n->scratch[1]),
        .row = im_data(n->out) });
}

/* x (B, n, C), row (B, m); n == m unless apart */
static bool rows_fit(im_ctx *c, const im_node *n, bool apart)
{
    const im_tensor *x = n->in[0], *row = n->in[1];
    return im_want_activation(c, n, 0) && im_want_f32(c, n, 1)
        && im_want(c, n, x->ndim == 3 && row->ndim == 2 && x->shape[0] == row->shape[0]
                   && (apart || x->shape[1] == row->shape[1]) && countable(row->shape[1], x->shape[0])
                   && countable(x->shape[1], x->shape[0]) && x->shape[2] <= INT_MAX,
                   apart ? "y (B, M, C) and row (B, N)" : "x (B, N, C) and row (B, N)");
}

static bool token_merge_shape(im_ctx *c, im_node *n)
{
    int rows = n->attrs.i[0];
    if (!rows_fit(c, n, false) || !im_want(c, n, rows > 0 && rows <= n->in[0]->shape[1], "1 to N rows")) return false;
    im_like(c, n, 0);
    n->out->shape[1] = rows;
    return im_ask(c, n, 0, 2, n->out->shape) && im_ask(c, n, 1, 2, n->in[1]->shape);
}

static int token_merge_forward(im_ctx *c, im_node *n)
{
    const im_tensor *x = n->in[0];
    return c->dev.k.token_merge(&c->dev, &(im_token_merge_args){
        .batch = (int)x->shape[0], .n = (int)x->shape[1], .rows = n->attrs.i[0], .channels = (int)x->shape[2],
        .x = im_read_of(x), .row = im_data(n->in[1]), .first = im_data(n->scratch[0]), .next = im_data(n->scratch[1]),
        .y = im_write_of(n->out) });
}

static bool token_spread_shape(im_ctx *c, im_node *n)
{
    if (!rows_fit(c, n, true)) return false;
    im_like(c, n, 0);
    n->out->shape[1] = n->in[1]->shape[1];
    return true;
}

static int token_spread_forward(im_ctx *c, im_node *n)
{
    const im_tensor *y = n->in[0];
    return c->dev.k.token_spread(&c->dev, &(im_token_spread_args){
        .batch = (int)y->shape[0], .n = (int)n->out->shape[1], .rows = (int)y->shape[1], .channels = (int)y->shape[2],
        .dtype = (im_dtype)y->dtype, .y = im_data(y), .row = im_data(n->in[1]), .x = im_data(n->out) });
}

const im_op im_op_token_match = { .name = "token_match", .formula = "row of each token, r of them with the most like",
    .n_in = 1, .shape = token_match_shape, .forward = token_match_forward, .backward = im_no_backward };
const im_op im_op_token_merge = { .name = "token_merge", .formula = "y[m] = mean of x of row m", .n_in = 2,
    .shape = token_merge_shape, .forward = token_merge_forward, .backward = im_no_backward };
const im_op im_op_token_spread = { .name = "token_spread", .formula = "y = x[row]", .n_in = 2,
    .shape = token_spread_shape, .forward = token_spread_forward, .backward = im_no_backward };

im_tensor *im_token_match(im_ctx *c, im_tensor *scores, int h, int w, int merged)
{
    return im_run(c, &im_op_token_match, &scores, &(im_attrs){ .i = { h, w, merged } });
}

im_tensor *im_token_merge(im_ctx *c, im_tensor *x, im_tensor *row, int rows)
{
    return im_run(c, &im_op_token_merge, (im_tensor *[]){ x, row }, &(im_attrs){ .i = { rows } });
}

im_tensor *im_token_spread(im_ctx *c, im_tensor *y, im_tensor *row)
{
    return im_run(c, &im_op_token_spread, (im_tensor *[]){ y, row }, NULL);
}
