/* sets.h: the real sets that a classifier of ImageNet is tested on, each in its own folder convention, and how their
 * classes become those of the classifier.
 *
 *     folder            class folders with the classifier's own classes
 *     imagenet          ILSVRC 2012's val, ImageNet-Sketch: folders named by wnid
 *     imagenet-v2       folders named 0 to 999: the rank of the sorted wnid
 *     imagenet-sketch   as imagenet
 *     imagenet-a, -r    200 wnid folders: of the logits only those of these 200 classes count
 *     imagenet-o        the same for ImageNet-O, whose pictures are of none of the 1000 classes: see im_eval_args
 * (Deng et al. 2009; Recht et al. 2019; Wang et al. 2019; Hendrycks et al. 2021 a, b). A classifier of fewer classes is
 * tested on those that both have: a classifier of ImageNet-100 on 15 of A, 19 of R, 18 of O. A classifier that does not
 * tell the names of its classes and has 1000 is taken for one of ImageNet.
 * Used by evaluate.c and compare.c. */
#ifndef IM_TEST_SETS_H
#define IM_TEST_SETS_H

#include "data/sets/dataset.h"
#include "models/checkpoints/classifier_file.h"

typedef struct im_fit {                                        /* a set beside a classifier                           */
    uint8_t *allowed;                                          /* (classifier's classes): count; NULL: all            */
    int in_common;                                             /* classes of the set that the classifier has          */
    int64_t left_out;                                          /* pictures of others                                  */
} im_fit;

/* Makes labels of d numbers of the classifier's classes, and takes pictures of other classes out of d. False with an error
 * where the folders are not those of the set; *out is to be freed in either case. */
bool im_fit_set(im_ctx *c, const char *set, im_dataset *d, const im_classifier_info *info, im_fit *out);
void im_fit_free(im_fit *f);

#endif
