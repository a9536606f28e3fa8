/* train_resnet.h: training a classifier: what `imago train resnet` and `imago bench train` share. */
#ifndef IM_TRAIN_RESNET_H
#define IM_TRAIN_RESNET_H

#include "data/sets/loader.h"
#include "models/nets/resnet.h"
#include "models/train/train_loop.h"

/* The loss (1) of one batch, on an open tape; *r is told. Every kind of crop is one pass of the encoder; the features
 * of all crops are stacked, go through the head together, and share one mean loss. keep < 1: two pictures each are mixed,
 * and their losses (see train_resnet.c). */
im_tensor *im_classifier_loss(im_ctx *c, const im_classifier *m, const im_batch *b, float keep, im_loop_result *r);
/* Forward and backward of one batch: gradients are added to. */
bool im_classifier_part(im_ctx *c, const im_classifier *m, const im_batch *b, float keep, im_loop_result *r);

#endif
