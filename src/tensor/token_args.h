/* token_args.h: what the kernels of token merging take (ops/tokens.c has the formulas). Included by device.h. Their result
 * is the same bits on every device: a choice, copies, and sums in ascending order of tokens. On devices in the host's
 * memory host_tokens.c is the one definition. */
#ifndef IM_TOKEN_ARGS_H
#define IM_TOKEN_ARGS_H

#include "tensor/buffer.h"

/* row[b][i] of N = h w tokens: which of N - merged rows token i becomes part of. Kept are those of even row and column in
 * the part of the picture that is even in size, T of them; scores (batch, N, T) of every token with each. The `merged`
 * others of the highest score (of equal ones the first) join the kept token that gave it (of equal ones the first). Rows:
 * the others that stay, ascending, then the T. A NaN is no score; a token without any has -infinity, with the first one. */
typedef struct im_token_match_args {
    int batch, h, w, merged;
    im_cbuf scores;
    float *best, *with;          /* (batch, N) each, for the kernel's own use                                       */
    float *row;                  /* (batch, N) whole numbers                                                        */
} im_token_match_args;

/* y[b][m] = mean of the x[b][i] whose row[b][i] is m: a chain in f32 over ascending i, divided by their number; 0 where
 * there is none. x (batch, n, channels), y (batch, rows, channels). A row below 0, from `rows` on or NaN is none. */
typedef struct im_token_merge_args {
    int batch, n, rows, channels;
    im_cbuf x;
    const float *row;            /* (batch, n)                                                                      */
    float *first, *next;         /* (batch, rows), (batch, n), for the kernel's own use                             */
    im_buf y;
} im_token_merge_args;

/* x[b][i] = y[b][row[b][i]], both in `dtype`; 0 where that is none */
typedef struct im_token_spread_args {
    int batch, n, rows, channels;
    im_dtype dtype;
    const void *y; const float *row;
    void *x;
} im_token_spread_args;

#define IM_KERNELS_TOKENS(X) X(token_match) X(token_merge) X(token_spread)

#endif
