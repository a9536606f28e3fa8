/* zero_shot.h: CLIP as a classifier of anything that has a name, and as a net of features. Used by evaluate.c, compare.c
 * and sieve.c. */
#ifndef IM_ZERO_SHOT_H
#define IM_ZERO_SHOT_H

#include "models/checkpoints/classifier_file.h"
#include "models/checkpoints/clip_pair.h"
#include "models/eval/run_set.h"

typedef struct im_zero_shot {
    im_clip_pair *pair;
    int classes; float *texts;                                 /* (classes, width), of length 1; NULL: features alone */
} im_zero_shot;

/* names: a list of classes (data/text/class_list.h), or NULL for features alone; form: one %s, the place of the name. info:
 * path and names of the classes, sorted, for im_fit_set. Both are to be freed in either case. */
bool im_zero_shot_open(im_ctx *c, const char *folder, const char *names, const char *form, im_zero_shot *out,
                       im_classifier_info *info);
void im_zero_shot_free(im_zero_shot *z);

/* As im_run_set: features (width), of length 1; logits (classes): cosines times exp(logit_scale). Pictures are resized
 * whole to the model's size. */
bool im_zero_shot_run(im_ctx *c, const im_zero_shot *z, const im_dataset *d, const im_run_args *a, im_seen_fn fn, void *arg,
                      int64_t *broken);

/* All features of a set (n, width), malloc'd; every picture must be whole. */
float *im_zero_shot_features(im_ctx *c, const im_zero_shot *z, const im_dataset *d, const im_run_args *a);

#endif
