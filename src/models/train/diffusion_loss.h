/* diffusion_loss.h: what the noise predictor and the autoencoders are trained on. Used by train_diffusion.c,
 * train_autoencoder.c, train_decoder.c and the tests. */
#ifndef IM_DIFFUSION_LOSS_H
#define IM_DIFFUSION_LOSS_H

#include "models/nets/clip.h"
#include "models/nets/unet.h"
#include "models/nets/vae.h"

/* x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise of each sample, in f32 as diffusers' add_noise (Ho et al. 2020, eq. 4).
 * x: x_0, and x_t afterwards; x, noise (batch, ...); t (batch) whole numbers below 1000, abar: im_scheduler_alphas */
bool im_noise_latents(im_ctx *c, im_tensor *x, im_tensor *noise, const int *t, const float *abar);

/* Weight of a sample at time t for networks that predict noise, with snr = abar / (1 - abar): where snr > gamma, gamma /
 * snr (Hang et al. 2023, arXiv 2303.09556; gamma 0: nowhere), else where snr < 1, snr^-power, else 1. Times snr it is
 * the weight of the error in x_0: power 1 is the "truncated SNR" of Salimans & Ho 2022 (arXiv 2202.00512), power 0 leaves
 * late times the weight 1. */
float im_snr_weight(float abar, float power, float gamma);

typedef struct im_diffusion_batch {
    im_tensor *x;                        /* (B, h, w, C) noised latents                                               */
    im_tensor *noise;                    /* (B, h, w, C) what is to be predicted                                      */
    im_tensor *t;                        /* (B) f32                                                                   */
    im_tensor *ids;                      /* (B, T) i32, or NULL: text is given                                        */
    im_tensor *text;                     /* (B, T, width) states of a frozen text encoder                             */
    im_tensor *weight;                   /* (B) or NULL: 1                                                            */
} im_diffusion_batch;

/* mean over samples of weight * mean (unet(x, t, text) - noise)^2  -> (1).  clip NULL: b->text is used. */
im_tensor *im_diffusion_loss(im_ctx *c, const im_unet *unet, const im_clip *clip, const im_diffusion_batch *b);

typedef struct im_autoencoder_weights { float gradient, kl; } im_autoencoder_weights;
/* (1) each; kl: NULL where the encoder has no part in it */
typedef struct im_autoencoder_loss { im_tensor *loss, *l1, *gradient, *kl; } im_autoencoder_loss;

/* x (B, H, W, 3) in -1..1, noise (B, h, w, latent channels):
 *     z = mean + exp(logvar / 2) noise of encode(x),  y = decode(z)
 *     loss = |y - x| + gradient (|dx y - dx x| + |dy y - dy x|) + kl KL,   |.| mean absolute values, dx and dy differences
 *     of neighbours, KL as im_kl (Kingma & Welling 2014). out (may be NULL) receives y. */
bool im_autoencoder_loss_of(im_ctx *c, const im_vae *vae, im_tensor *x, im_tensor *noise,
                            const im_autoencoder_weights *w, im_autoencoder_loss *out, im_tensor **y);

/* The same of the decoder alone: z (B, h, w, latent channels) given, no KL. */
bool im_decoder_loss_of(im_ctx *c, const im_vae *vae, im_tensor *x, im_tensor *z, const im_autoencoder_weights *w,
                        im_autoencoder_loss *out, im_tensor **y);
/* z = mean + exp(logvar / 2) noise of encode(x)  -> (B, h, w, latent channels) */
im_tensor *im_autoencoder_draw(im_ctx *c, const im_vae *vae, im_tensor *x, im_tensor *noise);

/* What a tiny autoencoder learns of a large one (train_decoder.c). */
typedef struct im_tiny_lesson {
    im_tensor *x, *y;                    /* (B, H, W, 3) a picture; what is to be decoded from z                      */
    im_tensor *z, *mean;                 /* (B, h, w, C) latents as a UNet has them; what is to be encoded from x     */
} im_tiny_lesson;
/* mean (decode(z) - y)^2 + mean (encode(x) - mean)^2  -> (1) */
im_tensor *im_tiny_loss(im_ctx *c, const im_vae *tiny, const im_tiny_lesson *l);

#endif
