/* vae_tiled.h: a large picture out of the decoder strip by strip, in little memory (vae_tiled.c). Used by sd_image.c. */
#ifndef IM_VAE_TILED_H
#define IM_VAE_TILED_H

#include "models/nets/vae.h"

/* z (1, h, w, latent_channels), already divided by scaling_factor  ->  picture (8h, 8w, 3) on the host. Differs from
 * im_vae_decode by rounding alone. rows: pixels of a strip; 0: as many as suit the width. False with an error. */
bool im_vae_decode_tiled(im_ctx *c, const im_vae *m, im_tensor *z, int rows, float *picture);
/* Bytes that it needs beside weights, z and picture; element: of an activation, 4 or 2. */
size_t im_vae_tiled_bytes(const im_vae_config *cfg, int h, int w, size_t element);

#endif
