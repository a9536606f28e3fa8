/* schedule.h: the learning rate of every step. */
#ifndef IM_SCHEDULE_H
#define IM_SCHEDULE_H

#include "imago.h"

typedef enum { IM_LR_COSINE, IM_LR_STEP, IM_LR_CONSTANT } im_schedule_kind;

typedef struct im_schedule {
    im_schedule_kind kind;
    double peak;                                               /* after the warm-up                                    */
    double floor;                                              /* cosine: where it ends, 1e-6                          */
    int64_t warmup, steps;                                     /* steps of the warm-up; of the whole run               */
    int64_t parts_an_epoch; int accumulate;                    /* step: batches of an epoch, and of a step             */
} im_schedule;

double im_schedule_lr(const im_schedule *s, int64_t step);     /* step from 0                                          */
bool im_schedule_parse(im_ctx *c, const char *name, im_schedule_kind *out);         /* "cosine", "step", "constant"    */

#endif
