/* vae_parts.h: what an autoencoder is made of, as vae.c and vae_tiled.c share it. */
#ifndef IM_VAE_PARTS_H
#define IM_VAE_PARTS_H

#include "models/nets/unet_blocks.h"
#include "models/nets/vae.h"

typedef struct vae_attention {           /* y = x + to_out(attention(q, k, v of norm(x)))                             */
    im_norm_layer norm;
    im_linear_layer to_q, to_k, to_v, to_out;
    const char *path;
} vae_attention;

typedef struct vae_mid {
    im_residual_block resnets[2];
    vae_attention attention;             /* norm.w NULL: without                                                      */
    const char *path;
} vae_mid;

typedef struct vae_stage {
    int layers;
    im_residual_block *resnets;
    im_conv_layer resample;              /* w NULL: the last level                                                    */
    const char *path, *resample_path;
} vae_stage;

typedef struct vae_half {
    im_params params;
    im_conv_layer conv_in, conv_out;
    vae_mid mid;
    vae_stage stages[IM_MAX_LEVELS];     /* in the order they run                                                     */
    im_norm_layer norm_out;
    im_linear_layer quant;               /* encoder: quant_conv; decoder: post_quant_conv; w NULL: without            */
    const char *out_path;
} vae_half;

struct im_vae {
    im_vae_config cfg;
    vae_half half[2];                    /* [im_vae_half]; of a tiny one the parameters alone                         */
    im_tiny_half *tiny[2];
};

/* The decoder up to its first enlargement: z (B, h, w, latent) -> (B, h, w, C). Not of a tiny one. */
im_tensor *im_vae_decode_low(im_ctx *c, const im_vae *m, im_tensor *z);

#endif
