/* evaluate.h: how well a classifier names the pictures of a set. */
#ifndef IM_EVALUATE_H
#define IM_EVALUATE_H

#include "data/sets/dataset.h"
#include "models/nets/resnet.h"

typedef struct im_classify_args {
    int batch, size;
    int workers;                                               /* decoding threads; 0: one a processor                */
    bool strict;
    void (*progress)(void *arg, int64_t done, int64_t total); void *arg;
} im_classify_args;

/* Fills pictures, broken, classes, top1, top5, loss, confusion and top5_hits; each picture counts once, broken ones not.
 * Pictures are resized (shorter side size * 8 / 7, bilinear as Pillow), cut in the centre and normalised. The mode of m's
 * batch norms is put back afterwards. */
bool im_classify_set(im_ctx *c, im_classifier *m, int classes, const im_dataset *d, const im_classify_args *a,
                     im_eval_result *out);

/* The set's classes must be the model's, by number and, where the model knows them, by name. */
bool im_same_classes(im_ctx *c, const char *model, int classes, char *const names[], int n_names, const im_dataset *d);

#endif
