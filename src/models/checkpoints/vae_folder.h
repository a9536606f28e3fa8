/* vae_folder.h: an autoencoder by itself, as diffusers' AutoencoderKL.from_pretrained and save_pretrained know it:
 * config.json and diffusion_pytorch_model.safetensors. Used by training. */
#ifndef IM_VAE_FOLDER_H
#define IM_VAE_FOLDER_H

#include "models/checkpoints/folder_out.h"
#include "models/nets/vae.h"

/* FOLDER/config.json, or FOLDER/vae/config.json. */
bool im_vae_folder_config(im_ctx *c, const char *folder, im_vae_config *out);
char *im_vae_folder_text(im_ctx *c, const char *folder);       /* its text, malloc'd                                  */

/* Reads the weights of both halves: as they are used (train false), or to go on training. folder as above. */
im_vae *im_vae_folder_open(im_ctx *c, const char *folder, im_vae_config *cfg, bool train);
im_vae *im_vae_folder_any(im_ctx *c, const char *folder, im_vae_config *cfg, bool train);      /* AutoencoderTiny, too   */

/* Both halves as one list; the array is the caller's to free, NULL with an error. */
im_params im_vae_all_params(im_ctx *c, im_vae *m);
bool im_vae_of_model(im_ctx *c, const char *path, im_vae *m);  /* the weights of the VAE of a whole model             */

/* SHA-256 of the weights of both halves, opened to train: is it the autoencoder of then? */
bool im_vae_folder_hash(im_ctx *c, im_vae *m, char hex[65]);

/* Writes config.json, `config` (the text of one) with scaling_factor put in (0: as it is), and the weights: f32. To a
 * folder that is replaced, or under `in` ("vae/", "") of one that is being written. */
bool im_vae_folder_write(im_folder_out *f, im_vae *m, const char *in, const char *config, double scaling_factor);
bool im_vae_folder_save(im_ctx *c, im_vae *m, const char *folder, const char *config, double scaling_factor);

#endif
