/* features.h: what a classifier sees in the pictures of a set, and what it takes them for. */
#ifndef IM_FEATURES_H
#define IM_FEATURES_H

#include "data/sets/dataset.h"
#include "models/nets/resnet.h"

typedef struct im_features {                                   /* in the order of the set                             */
    int64_t n;
    int width; float *features;                                /* (n, width), as they come out of the encoder         */
    int classes; float *logits;                                /* (n, classes)                                        */
    int32_t *named;                                            /* (n): the class of the largest logit                 */
} im_features;

typedef struct im_features_args {
    int batch, size;                                           /* pictures at once; side of the crop, as evaluate.h   */
    void (*progress)(void *arg, int64_t done, int64_t total); void *arg;
} im_features_args;

/* Every picture must be whole. False with an error; *out is to be freed in either case. */
bool im_features_of(im_ctx *c, im_classifier *m, int classes, const im_dataset *d, const im_features_args *a,
                    im_features *out);
void im_features_free(im_features *f);

#endif
