/* clip_layer.h: one layer of CLIP's transformers, of texts and of pictures. Used by clip.c and clip_image.c. */
#ifndef IM_CLIP_LAYER_H
#define IM_CLIP_LAYER_H

#include "models/nets/nn.h"

typedef struct im_clip_layer {
    im_norm_layer norm1, norm2;
    im_linear_layer q, k, v, out;        /* (C, C)                                                                    */
    im_linear_layer fc1, fc2;            /* (4C, C), (C, 4C)                                                          */
    int heads; bool causal; im_act act;
    const char *path;
} im_clip_layer;

/* n layers under "encoder.layers.I"; memory of the registry, NULL with the failure in the context. */
im_clip_layer *im_clip_layers_init(im_params *p, int n, const im_clip_layer *like, int width, int inner, float eps);
/* h (B, T, C) -> (B, T, C) */
im_tensor *im_clip_layer_forward(im_ctx *c, const im_clip_layer *l, im_tensor *h);

#endif
