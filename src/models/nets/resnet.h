/* resnet.h: classifiers: a ResNet as torchvision has it (He et al. 2016, version 1.5), and a head on top.
 *
 * Names and shapes of parameters are torchvision's: conv1.weight, bn1.*, layer1.0.conv1.weight,
 * layer1.0.downsample.0.weight, fc.weight.
 * Version 1.5: the stride of a bottleneck sits in its 3x3 convolution (Goyal et al. 2017).
 *
 *     im_classifier *m = im_classifier_new(c, &(im_classifier_config){ .arch = "resnet50", .classes = 1000 });
 *     im_params *p = im_classifier_params(m);
 *     p->train = p->batch_statistics = true;                   // to train it; leave both off to run it
 *     im_init_params(p, seed);                                 // or im_state_read(p, ...) of state_dict.h
 *     im_tensor *y = im_classifier_logits(c, m, im_classifier_features(c, m, x)); */
#ifndef IM_CLASSIFIER_H
#define IM_CLASSIFIER_H

#include "models/nets/head.h"

typedef struct im_classifier_config {
    const char *arch;                                          /* "resnet18", 34, 50, 101                             */
    int classes;
    int width;                                                 /* channels of the first stage; 0: 64; others in step  */
    bool small_stem;                                           /* 3x3 convolution of stride 1, no pooling             */
    im_head_kind head;
    int head_layers;                                           /* of the cosine head                                  */
} im_classifier_config;

typedef struct im_classifier im_classifier;
im_classifier *im_classifier_new(im_ctx *c, const im_classifier_config *cfg);       /* shapes only                    */
void im_classifier_free(im_classifier *m);
im_params *im_classifier_params(im_classifier *m);
int im_classifier_width(const im_classifier *m);               /* of the features: 512 or 2048 where cfg->width is 64 */

/* x (B, H, W, 3), normalised -> (B, width): means over the pixels of the last block. Any H and W. */
im_tensor *im_classifier_features(im_ctx *c, const im_classifier *m, im_tensor *x);
im_tensor *im_classifier_logits(im_ctx *c, const im_classifier *m, im_tensor *features);            /* -> (B, classes) */

/* Random weights, the same on every machine: see init_params.c. Buffers become a mean of 0 and a variance of 1. */
bool im_init_params(im_params *p, uint64_t seed);
typedef enum {
    IM_INIT_RESNET,
    IM_INIT_TORCH, IM_INIT_ZERO_ENDS,                          /* for diffusion                                       */
    IM_INIT_LORA                                               /* for adapters (adapters.h)                           */
} im_init_kind;
bool im_init_params_as(im_params *p, uint64_t seed, im_init_kind kind);

#endif
