/* checkpoint_kind.h: what a file is that is no Stable Diffusion v1.x, for the line that refuses it.
 * Used by checkpoint.c and config_model.c. */
#ifndef IM_CHECKPOINT_KIND_H
#define IM_CHECKPOINT_KIND_H

#include "imago.h"

/* "Stable Diffusion XL", "an inpainting model ...": what a single file seems to be that does not fit, or NULL. */
const char *im_other_kind(const im_safetensors *s);
/* The same by the UNet alone, in the names of either layout. */
const char *im_other_unet(const im_safetensors *s);
/* What a UNet with so many input channels is for, where the latents have four; NULL: not known. */
const char *im_kind_of_channels(int channels);
/* What a pipeline of diffusers is, by its class; NULL: not known. */
const char *im_kind_of_pipeline(const char *class_name);

/* A tensor that says how others have to be read (a scale beside 8-bit weights): leaving it out would make noise of them. */
bool im_scales_others(const char *name);

#endif
