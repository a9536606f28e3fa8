/* clip_image.h: CLIP's tower for pictures, and what brings both towers into one space (Radford et al. 2021). */
#ifndef IM_CLIP_IMAGE_H
#define IM_CLIP_IMAGE_H

#include "models/nets/nn.h"

typedef struct im_clip_image_config {    /* vision_config of config.json: CLIPVisionConfig                            */
    int hidden_size, intermediate_size, num_hidden_layers, num_attention_heads;
    int image_size, patch_size;          /* pixels                                                                    */
    im_act hidden_act;
    float layer_norm_eps;
    int projection_dim;                  /* of both towers                                                            */
    int text_width;                      /* hidden_size of the other tower                                            */
} im_clip_image_config;

typedef struct im_clip_image im_clip_image;
im_clip_image *im_clip_image_new(im_ctx *c, const im_clip_image_config *cfg);       /* shapes only                    */
void im_clip_image_free(im_clip_image *m);
im_params *im_clip_image_params(im_clip_image *m);

/* x (B, S, S, 3), normalised; zeros i32 (B, 1), the place of the class token in its table of one -> (B, projection_dim) */
im_tensor *im_clip_image_forward(im_ctx *c, const im_clip_image *m, im_tensor *x, im_tensor *zeros);
/* What stands before the projection: the class token behind post_layernorm, (B, hidden_size). */
im_tensor *im_clip_image_pooled(im_ctx *c, const im_clip_image *m, im_tensor *x, im_tensor *zeros);
/* A text's state at its last token, (B, text_width) -> (B, projection_dim) */
im_tensor *im_clip_text_project(im_ctx *c, const im_clip_image *m, im_tensor *states);

#endif
