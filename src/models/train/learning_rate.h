/* learning_rate.h: the learning rate of every step. */
#ifndef IM_LEARNING_RATE_H
#define IM_LEARNING_RATE_H

#include "imago.h"

typedef enum { IM_LR_COSINE, IM_LR_STEP, IM_LR_CONSTANT } im_learning_rate_kind;

typedef struct im_learning_rate {
    im_learning_rate_kind kind;
    double peak;                                               /* after the warm-up                                    */
    double floor;                                              /* cosine: where it ends, 1e-6                          */
    int64_t warmup, steps;                                     /* steps of the warm-up; of the whole run               */
    int64_t parts_an_epoch; int accumulate;                    /* step: batches of an epoch, and of a step             */
} im_learning_rate;

double im_learning_rate_at(const im_learning_rate *s, int64_t step); /* step from 0                                    */
bool im_learning_rate_parse(im_ctx *c, const char *name, im_learning_rate_kind *out); /* "cosine", "step", "constant"  */

#endif
