/* token_merging.c: which tokens of a picture are alike (Bolya & Hoffman 2023, arXiv 2303.17604; package tomesd), as the
 * AUTOMATIC1111 web interface has it: of each square of 2 x 2 tokens the first is kept, nothing is drawn at random, and
 * self-attention alone sees fewer tokens.
 *
 *     n = h / |h| of each token,  score[i][j] = n_i . n_j, j kept;  the H W ratio others of the highest score are merged
 *
 * Scores are in f32 whatever activations are held in: in 16 bits all tokens that are much alike would be equally so. The
 * formulas of merging itself: tensor/ops/tokens.c. */
#include "models/nets/token_merging.h"

#include <math.h>

/* n (B, H W, C) -> those of even row and column of the part that is even in size: (B, T, C) */
static im_tensor *kept(im_ctx *c, im_tensor *n, int height, int width)
{
    if (!n) return NULL;
    int64_t b = n->shape[0], channels = n->shape[2], rows = height / 2, columns = width / 2;
    im_tensor *x = im_reshape(c, n, 4, (int64_t[]){ b, height, width, channels });
    x = im_contiguous_copy(c, im_slice(c, im_slice(c, x, 1, 0, 2 * rows), 2, 0, 2 * columns));
    if (!x) return NULL;
    x = im_reshape(c, x, 4, (int64_t[]){ b * rows, 2, columns, 2 * channels });          /* two rows, two columns     */
    x = im_contiguous_copy(c, im_slice(c, im_slice(c, x, 1, 0, 1), 3, 0, channels));
    return x ? im_reshape(c, x, 3, (int64_t[]){ b, rows * columns, channels }) : NULL;
}

/* Of one picture: n (1, H W, C), targets (1, T, C) -> (1, H W, T) */
static im_tensor *scores_of(im_ctx *c, im_tensor *n, im_tensor *targets)
{
    if (!n || !targets) return NULL;
    return im_linear(c, n, im_reshape(c, targets, 2, targets->shape + 1), NULL, NULL, IM_ACT_NONE);
}

im_tokens im_tokens_match(im_ctx *c, im_tensor *h, int height, int width, float ratio)
{
    int all = height * width, most = all - height / 2 * (width / 2);
    int merged = (int)(all * (round((double)ratio * 1e6) / 1e6));                        /* 0.7, not 0.69999999       */
    im_tokens t = { .left = all };
    if (!h || ratio <= 0 || height < 2 || width < 2) return t;
    if (merged > most) merged = most;
    im_scope_push(c);
    if (h->dtype != IM_F32) h = im_cast(c, h, IM_F32);
    im_tensor *n = im_normalize(c, h, 1e-12f), *targets = kept(c, n, height, width), *scores = NULL;
    for (int64_t b = 0; im_ok(c) && b < h->shape[0]; b++) {
        im_tensor *one = scores_of(c, im_slice(c, n, 0, b, b + 1), im_slice(c, targets, 0, b, b + 1));
        scores = scores ? im_stack(c, scores, one) : one;
    }
    t.row = im_keep(c, scores ? im_token_match(c, scores, height, width, merged) : NULL);
    t.left = all - merged;
    im_scope_pop(c);
    return t;
}

im_tensor *im_tokens_merge(im_ctx *c, im_tokens t, im_tensor *x)
{
    return t.row ? im_token_merge(c, x, t.row, t.left) : x;
}

im_tensor *im_tokens_spread(im_ctx *c, im_tokens t, im_tensor *x)
{
    return t.row ? im_token_spread(c, x, t.row) : x;
}
