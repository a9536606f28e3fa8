/* evaluate.h: how well a classifier names the pictures of a set. */
#ifndef IM_EVALUATE_H
#define IM_EVALUATE_H

#include "imago.h"
#include "models/eval/run_set.h"

typedef struct im_judged {                                     /* which classes count                                 */
    int classes;                                               /* of the classifier                                   */
    const uint8_t *allowed;                                    /* (classes): may win; NULL: all                       */
} im_judged;

/* Fills pictures, broken, classes, top1, top5, loss, confusion and top5_hits; each picture counts once, broken ones not.
 * Labels of the set are numbers of the classifier's classes, all of them allowed ones. also, also_arg: called for every
 * picture, too, or NULL. */
bool im_classify_set(im_ctx *c, im_classifier *m, const im_judged *j, const im_dataset *d, const im_run_args *a,
                     im_seen_fn also, void *also_arg, im_eval_result *out);

/* The set's classes must be the model's, by number and, where the model knows them, by name. Where it does not, and folders
 * that are numbers would stand otherwise as texts, a warning says so. */
bool im_same_classes(im_ctx *c, const char *model, int classes, char *const names[], int n_names, const im_dataset *d);

#endif
