/* vae_file.h: an autoencoder in the place of a model's own, whatever it comes as (vae_file.c). Used by sd_vae.c. */
#ifndef IM_VAE_FILE_H
#define IM_VAE_FILE_H

#include "models/checkpoints/vae_folder.h"

/* A folder as vae_folder.h has it, or a .safetensors file:
 *     a VAE by itself, by diffusers' names or those of the original layout (vae-ft-mse-840000-ema-pruned.safetensors)
 *     a whole model in the original layout
 *     a tiny VAE: diffusers' AutoencoderTiny; or taesd_decoder.safetensors with taesd_encoder.safetensors beside it,
 *     either of them named
 * A file's configuration is that in its metadata ("vae/config.json"), else in the config.json beside it, else that of
 * v1.4's VAE, or of TAESD. NULL with an error. train: weights are held plain, in f32. */
im_vae *im_vae_any_open(im_ctx *c, const char *path, im_vae_config *cfg, bool train);

#endif
