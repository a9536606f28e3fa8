/* preview.h: what latents will look like, without the decoder: a linear map from the channels of a latent to red, green and
 * blue. The autoencoder's latents keep place and, nearly linearly, colour; detail they do not show. Used by sd_run.c and by
 * train_diffusion.c, which writes the map of its autoencoder beside it. */
#ifndef IM_PREVIEW_H
#define IM_PREVIEW_H

#include "models/nets/vae.h"
#include "imago.h"

#define IM_PREVIEW_FILE "vae/preview.json"

/* The map: (3, channels + 1), the last column is the constant; values in -1..1. Scaled latents, as the UNet sees them. */
/* Fitted by least squares on pictures of random shapes, whose latents the encoder makes: its weights are loaded. NULL with
 * an error. malloc'd. */
float *im_preview_fit(im_ctx *c, const im_vae *vae, const im_vae_config *cfg);
/* As the file has it, malloc'd; and read from it. */
char *im_preview_text(im_ctx *c, const float *map, int channels);
float *im_preview_read(im_ctx *c, const char *name, const char *text, int channels);
/* latents (h, w, channels), scaled -> a picture of w x h pixels */
im_image *im_preview_picture(im_ctx *c, const float *map, const float *latents, int channels, int w, int h);

#endif
