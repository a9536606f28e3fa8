/* head.h: what turns the features of an encoder into a logit a class. */
#ifndef IM_HEAD_H
#define IM_HEAD_H

#include "models/nets/nn.h"

typedef enum { IM_HEAD_LINEAR, IM_HEAD_COSINE } im_head_kind;

enum { IM_HEAD_HIDDEN = 2048, IM_HEAD_OUT = 256, IM_HEAD_MAX_LAYERS = 8 };

typedef struct im_head {
    im_head_kind kind;
    im_linear_layer fc;                                        /* linear: (K, width), (K)                             */
    int layers;                                                /* cosine: hidden layers                               */
    im_linear_layer hidden[IM_HEAD_MAX_LAYERS];                /* (2048, width or 2048)                               */
    im_batchnorm_layer norm[IM_HEAD_MAX_LAYERS];               /* (2048)                                              */
    im_linear_layer out, classes;                              /* (256, 2048 or width), (K, 256)                      */
} im_head;

void im_head_init(im_params *p, im_head *h, im_head_kind kind, int layers, int width, int classes);
im_tensor *im_head_forward(im_ctx *c, const im_head *h, im_tensor *features);       /* (B, width) -> (B, K)           */

#endif
