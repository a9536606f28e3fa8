/* vae.h: the autoencoder of Stable Diffusion v1.x, diffusers' AutoencoderKL (Esser et al. 2021), or a tiny one in its
 * place, AutoencoderTiny (vae_tiny.h). */
#ifndef IM_VAE_H
#define IM_VAE_H

#include "models/nets/nn.h"
#include "models/nets/vae_tiny.h"

typedef struct im_vae_config {           /* vae/config.json: AutoencoderKL                                            */
    im_tiny_config tiny;                 /* levels > 0: AutoencoderTiny, of which the channels and levels below are   */
                                         /* the decoder's, and what only the other has is 0                           */
    int in_channels, out_channels, latent_channels;
    int levels;
    int channels[IM_MAX_LEVELS];         /* block_out_channels, from the finest                                       */
    int layers_per_block;
    int norm_num_groups;
    float scaling_factor;                /* 0.18215                                                                   */
    bool use_quant_conv, use_post_quant_conv;
    bool mid_block_add_attention;
    int sample_size;                     /* pixels; 512                                                               */
} im_vae_config;

static inline int im_vae_factor(const im_vae_config *v)        /* pixels a latent, 8 in v1.4                          */
{
    return 1 << (v->levels - 1);
}

static inline int im_vae_moments(const im_vae_config *v)       /* channels that come out of the encoder               */
{
    return v->tiny.levels ? v->latent_channels : 2 * v->latent_channels;
}

typedef enum { IM_VAE_DECODER, IM_VAE_ENCODER } im_vae_half;   /* loaded apart: text to image needs no encoder        */

typedef struct im_vae im_vae;
im_vae *im_vae_new(im_ctx *c, const im_vae_config *cfg);       /* shapes only: load im_vae_params of a half next      */
void im_vae_free(im_vae *m);
im_params *im_vae_params(im_vae *m, im_vae_half half);         /* decoder: decoder.*, post_quant_conv.*               */

/* z (B, h, w, latent_channels), already divided by scaling_factor  ->  picture (B, 8h, 8w, 3), near -1..1 */
im_tensor *im_vae_decode(im_ctx *c, const im_vae *m, im_tensor *z);
/* picture (B, H, W, 3) in -1..1  ->  moments (B, H/8, W/8, 2 latent_channels): mean, then log variance (not clamped); a
 * tiny one has no variance: (B, H/8, W/8, latent_channels) */
im_tensor *im_vae_encode(im_ctx *c, const im_vae *m, im_tensor *x);

#endif
