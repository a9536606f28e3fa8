/* train_args.h: the rest of the kernel contract: what only training needs. Included by device.h, whose rules hold.
 *
 * Gradients are `d` + name. `add`: the kernel adds to what is there, else it stores to every element; a NULL output is not
 * wanted. All is contiguous unless a stride is named. Parameters and their gradients are f32, activations and theirs
 * im_cbuf and im_buf (buffer.h).
 *
 * Order of sums, so that bits agree on every ISA and with any number of threads:
 *  - outer (gradients of weights): rows in chunks of IM_DW_CHUNK, each one chain of fused multiply-adds over ascending m
 *    from 0, added in f32 in ascending order; then + what is there. On tensor cores: parts by cuda/outer_mma.cuh's rule;
 *    in tile registers (bf16) each chunk in the order of cpu/tile.h;
 *  - Winograd's gradient of weights (3x3, stride 1; the rule: cpu/winograd_dw.c): each of the 36 points is one chain over
 *    the tiles of a chunk of 128 from 0, chunks are added in f32 in ascending order;
 *  - gradients of inputs: one chain in ascending cout (linear), or (turned tap, cout) (cpu/conv_dx.c), or as a convolution
 *    by Winograd; then + what is there;
 *  - sums over rows (colsum, dgamma, dbeta of layer norm): chunks of IM_SUM_CHUNK rows, each column one ascending chain in
 *    f32; chunks combined in f64 in ascending order (colsum: within spans of 64 chunks first, then the spans);
 *  - batch norm (statistics, and the two sums of backward): the same, but chunks are combined within runs of IM_SUM_RUN
 *    chunks first, then the runs, both ascending in f64; statistics by mean and centred squares as group norm's;
 *  - group norm's backward: chunks of IM_GN_CHUNK pixels, each channel one ascending chain in f32; chunks combined in f64
 *    ascending, then the channels of a group, then, for dgamma and dbeta, the batch, all ascending in f64;
 *  - losses and norms of gradients: terms in f32 (squares in f64, exact), summed in f64 in 16 lanes and the tree over
 *    chunks of IM_MAP_CHUNK, chunks ascending; gradients of a step's parts: tree of models/train/grad_tree.h. */
#ifndef IM_TRAIN_ARGS_H
#define IM_TRAIN_ARGS_H

#include "tensor/weight.h"

enum { IM_DW_CHUNK = 2048, IM_SUM_CHUNK = 32, IM_SUM_RUN = 16, IM_MAP_CHUNK = 16384 };

/* ---------------------------------------------------------------- products */

/* c[i][j] (+)= sum_m a[m][i] b[m][j]:  dW = dY^T X. Both factors in dev->compute_dtype. */
typedef struct im_outer_args {
    int64_t m;
    int ni, nj;
    im_cbuf a; int64_t lda;                                               /* (m, ni): dY                            */
    im_cbuf b; int64_t ldb;                                               /* (m, nj): X                             */
    float *c; int64_t ldc;                                                /* (ni, nj)                               */
    bool add;
} im_outer_args;

/* y[b][j] (+)= sum_r x[b][r][j]:  gradients of biases (batch 1) and of what is broadcast over pixels */
typedef struct im_colsum_args {
    int batch; int64_t rows; int n;
    im_cbuf x;                                                            /* (batch, rows, n)                       */
    im_buf y; int64_t ldy;                                                /* (batch, n)                             */
    bool add;
} im_colsum_args;

/* The two gradients of im_conv_args, same geometry: dx of x (batch, h, w, cin) through the weights (plain),
 * dw (cout, kh, kw, cin) from x and dy. */
typedef struct im_conv_dx_args {
    int batch, h, w, cin, cout, kh, kw, oh, ow;
    int stride, pad_top, pad_left, up_h, up_w;
    im_cbuf dy;                                                           /* (batch, oh, ow, cout)                  */
    im_weight wt;
    im_buf dx;
    bool add;
} im_conv_dx_args;

typedef struct im_conv_dw_args {
    int batch, h, w, cin, cout, kh, kw, oh, ow;
    int stride, pad_top, pad_left, up_h, up_w;
    im_cbuf x, dy;
    float *dw;
    bool add;
} im_conv_dw_args;

/* act_bwd, glu and glu_bwd (arguments below) stand in this line: linear layers cannot do without them. */
#define IM_KERNELS_PRODUCTS(X) X(outer) X(colsum) X(conv_dx) X(conv_dw) X(act_bwd) X(glu) X(glu_bwd)

/* ---------------------------------------------------------------- norms and pools */

/* mean, rstd: (batch, groups) as the forward pass saved them (im_groupnorm_args.mean, .rstd)                       */
typedef struct im_groupnorm_bwd_args {
    int batch; int64_t pixels; int channels, groups;
    bool silu;
    im_cbuf x, dy; im_buf dx;
    const float *gamma, *beta, *mean, *rstd;
    float *dgamma, *dbeta;
    bool add_dx, add_dgamma, add_dbeta;
} im_groupnorm_bwd_args;

/* mean, rstd: (rows) */
typedef struct im_layernorm_bwd_args {
    int64_t rows; int channels;
    im_cbuf x; int64_t ldx;
    im_cbuf dy; im_buf dx;                                                /* dx has the strides of x                */
    const float *gamma, *mean, *rstd;
    float *dgamma, *dbeta;
    bool add_dx, add_dgamma, add_dbeta;
} im_layernorm_bwd_args;

/* Batch norm over rows = (B, H, W), then + res, then ReLU where asked (Ioffe & Szegedy 2015).
 * training: statistics of the batch move the running ones (unbiased variance) by `momentum` where running_mean is not
 * NULL (where `seen` is not NULL they go there instead); else mean and variance are the running ones. mean and rstd are
 * rounded to f32 before y is computed from them, so that backward finds the same bits again. y may be x. */
typedef struct im_batchnorm_args {
    int64_t rows; int channels;
    float eps, momentum; bool training, relu;
    im_cbuf x, res; im_buf y;                                             /* res (rows, channels) or NULL           */
    const float *gamma, *beta;
    float *running_mean, *running_var;                                    /* (channels)                             */
    double *seen;                                                         /* (2, channels): mean, unbiased variance */
    float *mean, *rstd;                                                   /* (channels), for backward; or NULL      */
} im_batchnorm_args;

/* training and relu as in the forward pass. y, its output, tells where ReLU let through; NULL: the sign of
 * fma(x, scale, shift) does, computed again (there was no res). A NaN lets through, as in torch. dres = masked dy. */
typedef struct im_batchnorm_bwd_args {
    int64_t rows; int channels;
    bool training, relu;
    im_cbuf x, y, dy; im_buf dx, dres;
    const float *gamma, *beta, *mean, *rstd;
    float *dgamma, *dbeta;
    bool add_dx, add_dres, add_dgamma, add_dbeta;
} im_batchnorm_bwd_args;

/* Largest value of each window; padding never wins, nor does an equal value behind the first; a NaN wins, the last of
 * several (all as torch). won: which of the kernel * kernel places of the window won, ky * kernel + kx, as f16 (exact
 * up to 2048): half the memory of an index, and backward compares it with a vector of one place. 2 pad <= kernel. */
typedef struct im_maxpool_args {
    int batch, h, w, channels, kernel, stride, pad, oh, ow;
    im_cbuf x; im_buf y;
    uint16_t *won;                                                        /* (batch, oh, ow, channels); NULL: not kept */
} im_maxpool_args;

/* dx[iy][ix] (+)= the sum over windows that it won, ascending (oy, ox), in f32                                     */
typedef struct im_maxpool_bwd_args {
    int batch, h, w, channels, kernel, stride, pad, oh, ow;
    im_cbuf dy; im_buf dx;
    const uint16_t *won;
    bool add;
} im_maxpool_bwd_args;

/* y[b][c] = mean over pixels (chunks of IM_SUM_CHUNK, as sums over rows); backward spreads dy / pixels */
typedef struct im_avgpool_args {
    int batch; int64_t pixels; int channels;
    im_cbuf x; im_buf y;
} im_avgpool_args;
typedef struct im_avgpool_bwd_args {
    int batch; int64_t pixels; int channels;
    im_cbuf dy; im_buf dx;
    bool add;
} im_avgpool_bwd_args;

#define IM_KERNELS_NORMS(X) \
    X(groupnorm_bwd) X(layernorm_bwd) X(batchnorm) X(batchnorm_bwd) X(maxpool) X(maxpool_bwd) X(avgpool) X(avgpool_bwd)

/* ---------------------------------------------------------------- attention */

/* Recomputed from lse (batch, heads, tq), which is log2 sum exp of the scaled scores s_ij, as the forward pass saved it:
 *   p_ij = 2^(s_ij log2 e - lse_i)     ds_ij = p_ij (dout_i . v_j - dout_i . o_i)      masked: 0
 *   dv_j = sum_i p_ij dout_i           dq_i = scale sum_j ds_ij k_j                    dk_j = scale sum_i ds_ij q_i
 * each sum one chain of fused multiply-adds from 0, over ascending channels, keys or queries.
 * Gradients have the strides of what they belong to, dout those of o. Where they are one tensor, dq comes first, then dk,
 * then dv. */
typedef struct im_attention_bwd_args {
    int batch, heads, d;
    int tq, tk;
    float scale; bool causal;
    im_cbuf q; int64_t ldq, bsq;
    im_cbuf k; int64_t ldk, bsk;
    im_cbuf v; int64_t ldv, bsv;
    im_cbuf o, dout; int64_t ldo, bso;
    const float *lse;
    im_buf dq, dk, dv;                                                    /* each may have p NULL                   */
    bool add_dq, add_dk, add_dv;
} im_attention_bwd_args;

#define IM_KERNELS_ATTENTION(X) X(attention_bwd)

/* ---------------------------------------------------------------- elements, losses */

/* y (+)= s x: gradients; with s = 1 also a cast */
typedef struct im_accumulate_args { int64_t n; float s; im_cbuf x; im_buf y; bool add; } im_accumulate_args;

/* dx (+)= dy act'(x) */
typedef struct im_act_bwd_args { im_act act; int64_t n; im_cbuf x, dy; im_buf dx; bool add; } im_act_bwd_args;

/* y = v gelu(g), z = [v g] (rows, 2n); dz from dy (rows, n)                                                        */
typedef struct im_glu_args { int64_t rows; int n; im_cbuf z; im_buf y; } im_glu_args;
typedef struct im_glu_bwd_args { int64_t rows; int n; im_cbuf z, dy; im_buf dz; bool add; } im_glu_bwd_args;

/* dtable[ids[i]][:] += dy[i][:], i ascending for each row, in f32 from 0 or from what is there                      */
typedef struct im_embedding_bwd_args {
    int64_t n, rows; int channels;
    const int32_t *ids; const float *dy;
    float *dtable;
    bool add;
} im_embedding_bwd_args;

/* loss = mean over rows of (log sum exp(x) - x[label]); stats (rows, 2) keeps max x and sum exp(x - max x) of each row,
 * which lose less than log sum exp where logits are large. dx = dloss[0] / rows (softmax(x) - onehot(label)) */
typedef struct im_cross_entropy_args {
    int64_t rows; int classes;
    im_cbuf x; const int32_t *labels;
    float *loss, *stats;                                                  /* stats: NULL where nobody keeps them    */
} im_cross_entropy_args;
typedef struct im_cross_entropy_bwd_args {
    int64_t rows; int classes;
    im_cbuf x; const int32_t *labels; const float *stats, *dloss;
    im_buf dx;
    bool add;
} im_cross_entropy_bwd_args;

/* loss = sum_b weight[b] mean_i f(x[b][i] - t[b][i]) / batch,  f squares or absolute values; weight NULL: 1.
 * Backward: dx, and dt = -dx where wanted; dx may be dt: it is stored before dt is read. */
typedef enum { IM_LOSS_MSE, IM_LOSS_L1 } im_loss_kind;
typedef struct im_loss_args {
    im_loss_kind kind;
    int batch; int64_t n;
    im_cbuf x, t;                                                         /* (batch, n)                             */
    const float *weight;                                                  /* (batch) or NULL                        */
    float *loss;
} im_loss_args;
typedef struct im_loss_bwd_args {
    im_loss_kind kind;
    int batch; int64_t n;
    im_cbuf x, t; im_buf dx, dt;
    const float *weight, *dloss;
    bool add_dx, add_dt;
} im_loss_bwd_args;

/* y = x / max(|x|, eps) of each row (torch's F.normalize); norm (rows): |x|, NULL where nobody keeps it. The squares are
 * summed in f64: 16 lanes and the tree. Backward: dx = (dy - y (y . dy)) / |x|, dy / eps where |x| < eps. */
typedef struct im_normalize_args { int64_t rows; int n; float eps; im_cbuf x; im_buf y; float *norm; } im_normalize_args;
typedef struct im_normalize_bwd_args {
    int64_t rows; int n; float eps;
    im_cbuf y, dy; im_buf dx;
    const float *norm;
    bool add;
} im_normalize_bwd_args;

/* Diagonal Gaussian of the VAE: moments (rows, 2n) = [mean logvar], l = clamp(logvar, -30, 20), without a gradient where
 * clamped.  z = mean + exp(l / 2) noise;   kl = sum (mean^2 + exp(l) - 1 - l) / 2 / batch, over all rows
 * (terms in f32; a chunk is the whole rows that IM_MAP_CHUNK terms hold, at least one; column i into lane i % 16) */
typedef struct im_gaussian_args { int64_t rows; int n; im_cbuf moments, noise; im_buf z; } im_gaussian_args;
typedef struct im_gaussian_bwd_args {
    int64_t rows; int n;
    im_cbuf moments, noise, dz;
    im_buf dmoments;
    bool add;
} im_gaussian_bwd_args;
typedef struct im_kl_args { int batch; int64_t rows; int n; im_cbuf moments; float *kl; } im_kl_args;
typedef struct im_kl_bwd_args {
    int batch; int64_t rows; int n;
    im_cbuf moments; im_buf dmoments;
    const float *dkl;
    bool add;
} im_kl_bwd_args;

#define IM_KERNELS_ELEMENTS(X) X(accumulate) X(embedding_bwd) X(cross_entropy) X(cross_entropy_bwd) X(loss) X(loss_bwd) \
    X(normalize) X(normalize_bwd) X(gaussian) X(gaussian_bwd) X(kl) X(kl_bwd)

/* ---------------------------------------------------------------- optimisers: one call, all tensors */

/* One parameter. g NULL: it got no gradient, only its moving average goes on. m, v NULL: SGD and LARS without momentum. */
typedef struct im_slot {
    int64_t n;
    float *w; const float *g;
    float *m, *v, *ema;
    double decay;                                                         /* weight decay of this tensor            */
    bool adapt;                                                           /* LARS: scaled by trust                  */
} im_slot;

/* One step of every parameter: the formulas stand in ref/optimise.c. Numbers are f64 as in torch, and rounded to f32
 * where they meet a tensor. */
typedef struct im_optimise_args {
    im_optimiser_kind kind;
    int count; const im_slot *slots;
    double scale;                                                         /* of every gradient: clipping, accumulation */
    double lr, momentum; bool nesterov;
    double beta1, beta2, eps; int64_t step;                               /* AdamW, step from 1; eps: LARS as well  */
    double trust;                                                         /* LARS                                   */
    double ema_decay;                                                     /* of slots that have an average          */
    const struct im_step_gate *gate;     /* NULL, or on the device: scale is taken from there, and where it is shut
                                          * nothing moves                                                           */
} im_optimise_args;

/* sum: of the squares of all gradients; first_bad: the first slot with a NaN or an infinity in its gradient, or -1; both in
 * the device's memory */
typedef struct im_sumsq_args { int count; const im_slot *slots; double *sum; int32_t *first_bad; } im_sumsq_args;

#define IM_KERNELS_OPTIMISERS(X) X(optimise) X(sumsq)

/* ---------------------------------------------------------------- what steps need beside products: plain arithmetic
 * The same code and the same bits on every device in the host's memory (host_steps.c). */

/* y = (w[0] x[0] + w[1] x[1] + ...) / by, then into -limit .. limit (a NaN stays): each product, sum and quotient is
 * rounded to f32, in this order, nothing is fused. Where *unless is not 0 nothing is written. y may be one of the x. */
enum { IM_COMBINE_MAX = 6 };
typedef struct im_combine_args {
    int64_t n;
    int count;
    const float *x[IM_COMBINE_MAX]; float w[IM_COMBINE_MAX];
    float by, limit;
    float *y;
    const int32_t *unless;                                                /* on the device, or NULL                 */
} im_combine_args;

/* *mark = code, where x holds a NaN or an infinity and *mark is still 0: the first code stays                      */
typedef struct im_watch_args { int64_t n; const float *x; int32_t code; int32_t *mark; } im_watch_args;

/* z = (mean + exp(logvar / 2) noise) scaling in f32, logvar clamped to [-30, 20]; moments (rows, 2n) = [mean logvar] */
typedef struct im_draw_latent_args {
    int64_t rows; int n;
    float scaling;
    const float *moments, *noise; float *z;
} im_draw_latent_args;

/* right = rows whose first largest value is at their label                                                         */
typedef struct im_count_right_args { int64_t rows; int classes; im_cbuf x; const int32_t *labels; int64_t *right; }
    im_count_right_args;

/* gate->scale = mean min(1, clip / (mean sqrt(parts[count - 1].sumsq) + 1e-6)), clip 0: mean (torch's clip_grad_norm_ of
 * gradients summed over parts). A part that is not finite shuts the gate for good.                                 */
typedef struct im_step_gate { double scale; int32_t shut, unused; } im_step_gate;
typedef struct im_gate_args {
    int count; const im_step_part *parts;
    double mean, clip;
    im_step_gate *gate;
} im_gate_args;

#define IM_KERNELS_STEPS(X) X(combine) X(watch) X(draw_latent) X(count_right) X(gate)

#endif
