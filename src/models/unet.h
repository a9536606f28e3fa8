/* unet.h: the noise predictor of Stable Diffusion v1.x, diffusers' UNet2DConditionModel (Rombach et al. 2022). */
#ifndef IM_UNET_H
#define IM_UNET_H

#include "models/config.h"
#include "models/nn.h"

typedef struct im_unet im_unet;
im_unet *im_unet_new(im_ctx *c, const im_unet_config *cfg);    /* shapes only: load im_unet_params next               */
void im_unet_free(im_unet *m);
im_params *im_unet_params(im_unet *m);

/* Keys and values of every attention over the text depend on the text alone, so they are computed once a picture and
 * handed to every evaluation: im_unet_context_count tensors kv[], keys and values in turn, each (B, T, channels of
 * its level). They belong to the open scope; a plan takes them as inputs. The bits are those of computing them anew.
 * text (B, T, cross_attention_dim) */
int im_unet_context_count(const im_unet *m);
bool im_unet_context(im_ctx *c, const im_unet *m, im_tensor *text, im_tensor *kv[]);

/* x (B, h, w, in_channels), t f32 (B): the time of each sample, kv of im_unet_context with the same B
 * ->  (B, h, w, out_channels). Any h and w. */
im_tensor *im_unet_forward(im_ctx *c, const im_unet *m, im_tensor *x, im_tensor *t, im_tensor *const kv[]);

#endif
