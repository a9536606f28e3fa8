/* measured.h: a set of pictures beside a classifier, with the features that it gives. Used by analyze.c, transfer.c and
 * compare.c. */
#ifndef IM_MEASURED_H
#define IM_MEASURED_H

#include "models/eval/features.h"
#include "models/eval/sets.h"

typedef struct im_lens {                                       /* the classifier                                      */
    im_classifier *m;
    im_classifier_info info;
    im_measure_args a;
} im_lens;
bool im_lens_open(im_ctx *c, const im_measure_args *a, im_lens *out);          /* out is to be freed in either case    */
void im_lens_free(im_lens *l);

typedef struct im_measured_args {
    const char *data, *set, *save_features;                    /* set, save_features: or NULL                         */
    int min_classes;                                           /* as im_dataset_args has it                           */
    bool whole;                                                /* how pictures are cut: im_run_args                   */
} im_measured_args;

typedef struct im_measured {
    im_dataset *d;
    im_fit fit;                                                /* where a set of ImageNet was named                   */
    im_feature_file f;                                         /* rows in the order of d                              */
    int size;                                                  /* side of the crop                                    */
} im_measured;
bool im_measure(im_ctx *c, im_lens *l, const im_measured_args *a, im_measured *out);      /* to be freed in either case */
void im_measured_free(im_measured *m);

/* The class of the largest of the logits that are allowed (NULL: all). */
int im_best_class(const float *logits, int classes, const uint8_t *allowed);
/* map[k]: the classifier's number of class k of the set, by name; by number where it knows no names and there are as many;
 * -1: none. Returns how many there are. */
int im_map_classes(const im_classifier_info *info, const im_dataset *d, int *map);

#endif
