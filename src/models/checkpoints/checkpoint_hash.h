/* checkpoint_hash.h: what tells a model from another: see im_checkpoint_fingerprint in checkpoint.h. Called by
 * checkpoint.c. */
#ifndef IM_CHECKPOINT_HASH_H
#define IM_CHECKPOINT_HASH_H

#include "models/checkpoints/checkpoint.h"

bool im_checkpoint_hash(im_ctx *c, const im_checkpoint *k, char hex[65]);

#endif
