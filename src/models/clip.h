/* clip.h: the CLIP text encoder (Radford et al. 2021) of Stable Diffusion v1.x. */
#ifndef IM_CLIP_H
#define IM_CLIP_H

#include "models/config.h"
#include "models/nn.h"

typedef struct im_clip im_clip;
im_clip *im_clip_new(im_ctx *c, const im_clip_config *cfg);    /* shapes only: load im_clip_params next               */
void im_clip_free(im_clip *m);
im_params *im_clip_params(im_clip *m);

/* Last hidden state after final_layer_norm, causal, no padding mask.
 * ids i32 (B, T), T <= max_position_embeddings  ->  (B, T, hidden_size) */
im_tensor *im_clip_forward(im_ctx *c, const im_clip *m, im_tensor *ids);

#endif
