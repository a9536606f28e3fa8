/* vae_tiny.h: a tiny autoencoder for the latents of Stable Diffusion: TAESD, diffusers' AutoencoderTiny. One of the kinds
 * of vae.h; nobody else includes it. */
#ifndef IM_VAE_TINY_H
#define IM_VAE_TINY_H

#include "models/nets/nn.h"

typedef struct im_tiny_half_config { int channels, blocks[IM_MAX_LEVELS]; } im_tiny_half_config; /* in the order they run */
typedef struct im_tiny_config {          /* config.json: AutoencoderTiny                                              */
    int levels;                          /* 4: eight pixels a latent; 0: it is no tiny autoencoder                    */
    im_tiny_half_config encoder, decoder;
} im_tiny_config;

typedef struct im_tiny_half im_tiny_half;
/* Registers the half's parameters, "encoder.layers.*" or "decoder.layers.*". NULL with an error. */
im_tiny_half *im_tiny_encoder_new(im_params *p, const im_tiny_config *cfg, int in, int latent);
im_tiny_half *im_tiny_decoder_new(im_params *p, const im_tiny_config *cfg, int latent, int out);
void im_tiny_half_free(im_tiny_half *h);

/* picture (B, H, W, 3) in -1..1  ->  latents (B, H/8, W/8, latent): a value, not a distribution */
im_tensor *im_tiny_encode(im_ctx *c, const im_tiny_half *e, im_tensor *x);
/* latents (B, h, w, latent)  ->  picture (B, 8h, 8w, 3), near -1..1 */
im_tensor *im_tiny_decode(im_ctx *c, const im_tiny_half *d, im_tensor *z);

#endif
