/* train_memory.h: the memory of a training, before it is asked for: what is certain to be needed and does not fit is an
 * error, what probably does not fit is a warning, both with what would help. Used by train_resnet.c, train_diffusion.c,
 * train_autoencoder.c, train_decoder.c. */
#ifndef IM_TRAIN_MEMORY_H
#define IM_TRAIN_MEMORY_H

#include "models/train/train_loop.h"

/* How a step is done: by so many ranks; together: all parts of a rank at once (lockstep.h). */
typedef struct im_train_way {
    int ranks; bool together;
    double frozen;                                             /* bytes of weights still to be loaded that stay as they */
} im_train_way;                                                /* are                                                  */

typedef struct im_train_need {                                 /* bytes                                                */
    double weights;                                            /* of networks that are not loaded yet                  */
    double gradients, state;                                   /* of what is trained; state: the optimiser's           */
    double sums;                                               /* gradients of other parts: those that wait in the     */
                                                               /* tree, those that are exchanged                       */
    double activations;                                        /* about: what a part, or all of them, keeps for backward */
    double recomputed;                                         /* what that would be with --recompute                  */
} im_train_need;

/* Without activations. The networks know their shapes; they are loaded or not. */
im_train_need im_train_need_of(im_ctx *c, const im_train_common *a, im_train_way way, const im_part_params parts[], int n);

/* Before the networks are loaded: do they fit, with gradients and state? */
bool im_train_weights_fit(im_ctx *c, const im_train_common *a, im_train_way way, const im_part_params parts[], int n);
/* Before the first step, the networks being loaded: an error where gradients and state do not fit, a warning where a step
 * may not. forward is one part of it on inputs in[], whose values do not matter: it is recorded, not run. */
bool im_train_step_fits(im_ctx *c, const im_train_common *a, im_train_way way, const im_part_params parts[], int n,
                        im_plan_fn forward, void *arg, im_tensor *const in[], int n_in);

/* What the two say of `available` bytes: an error; a warning. */
bool im_train_certain(im_ctx *c, const im_train_common *a, const im_train_need *need, double available);
void im_train_probable(im_ctx *c, const im_train_common *a, im_train_way way, const im_train_need *need, double available);

#endif
