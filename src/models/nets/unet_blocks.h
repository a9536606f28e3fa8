/* unet_blocks.h: the two blocks that the UNet is made of; the VAE uses the first one too. */
#ifndef IM_UNET_BLOCKS_H
#define IM_UNET_BLOCKS_H

#include "models/nets/nn.h"

/* Residual block (He et al. 2016, pre-activation), diffusers' ResnetBlock2D:
 *     h = conv1(silu(norm1(x))) + time_emb_proj(silu(time));   y = (conv2(silu(norm2(h))) + shortcut(x)) / scale */
typedef struct im_residual_block {
    im_norm_layer norm1, norm2;
    im_conv_layer conv1, conv2;          /* 3x3                                                                       */
    im_linear_layer time_emb_proj;       /* w NULL: a block without time (VAE)                                        */
    im_linear_layer conv_shortcut;       /* 1x1; w NULL: x itself, as Cin = Cout                                      */
    float scale;
    const char *path;
    const im_params *of;                 /* whose `recompute` counts                                                  */
} im_residual_block;

typedef struct im_residual_shape {
    int cin, cout, time;                 /* time: width of the time embedding, 0: none                                */
    int groups; float eps;
    float scale;
} im_residual_shape;
void im_residual_init(im_params *p, im_residual_block *r, const im_residual_shape *s); /* at the registry's path      */
/* x (B, H, W, Cin), time (B, time), already through SiLU, or NULL  ->  (B, H, W, Cout) */
im_tensor *im_residual_forward(im_ctx *c, const im_residual_block *r, im_tensor *x, im_tensor *time);

typedef struct im_attn {                 /* multi-head attention (Vaswani et al. 2017)                                */
    im_linear_layer to_q, to_k, to_v;    /* no bias                                                                   */
    im_linear_layer to_out;
    int kv;                              /* over the text: index of its keys among the transformer's; -1: over itself */
    const char *q_path, *k_path;         /* over the text: what its queries and keys are called when they are traced  */
} im_attn;

typedef struct im_transformer_block {    /* diffusers' BasicTransformerBlock                                          */
    im_norm_layer norm1, norm2, norm3;
    im_attn attn1, attn2;                /* over the picture, over the text                                           */
    im_linear_layer ff_in, ff_out;       /* GEGLU C -> 4C, linear 4C -> C                                             */
    const char *path;
} im_transformer_block;

typedef struct im_transformer {          /* diffusers' Transformer2DModel: pixels are the tokens                      */
    im_norm_layer norm;
    im_linear_layer proj_in, proj_out;
    im_transformer_block *blocks;
    int n_blocks, heads;
    int first_kv, n_kv;                  /* its keys and values among im_unet_context's                               */
    const char *path;
    const im_params *of;                 /* whose `recompute` counts, where it has at most IM_MAX_IN - 1 of them      */
} im_transformer;

typedef struct im_transformer_shape {
    int channels, heads, layers, text;   /* text: width of the text's states                                          */
    int groups;
    bool linear_projection;              /* proj_in, proj_out are stored as linear layers, not 1x1 convolutions       */
    bool only_cross_attention;           /* attn1 looks at the text too                                               */
} im_transformer_shape;
/* n_kv counts the tensors that im_transformer_context fills. */
void im_transformer_init(im_params *p, im_transformer *t, const im_transformer_shape *s, int *n_kv);
/* Fills this transformer's places of kv from text (B, T, width). */
void im_transformer_context(im_ctx *c, const im_transformer *t, im_tensor *text, im_tensor *kv[]);
/* x (B, H, W, C)  ->  (B, H, W, C). merge: share of the pixels that are merged for attention over the picture; 0: none. */
im_tensor *im_transformer_forward(im_ctx *c, const im_transformer *t, im_tensor *x, im_tensor *const kv[], float merge);

#endif
