/* linear_fit.h: linear classifiers on rows of features, in f64: logits = x w + b.
 *
 *     logreg   minimises  C sum of cross entropies + 1/2 |w|^2,  b free: scikit-learn's LogisticRegression; L-BFGS
 *              (liblbfgs), at most 2000 iterations
 *     sgd      momentum .9, decay of w and b, the rate along a cosine by step: torch's SGD
 * Both begin with zeros. Sums are taken over parts of fixed size, so that bits do not depend on the threads.
 * Used by transfer.c. */
#ifndef IM_LINEAR_FIT_H
#define IM_LINEAR_FIT_H

#include "imago.h"

typedef struct im_feature_rows {                               /* those that index names                              */
    const float *x; int d;                                     /* (.., d)                                             */
    const int32_t *labels;                                     /* (..)                                                */
    const int64_t *index; int64_t n;
    int classes;
    bool unit;                                                 /* rows are brought to length 1                        */
} im_feature_rows;

/* w: (d + 1, classes), b in the last row. In: where to begin; out: the result. roughly: as far as settings are compared. */
bool im_logreg_fit(im_ctx *c, const im_feature_rows *r, double cost, bool roughly, double *w, int *iterations,
                   bool *converged);

typedef struct im_sgd_settings { double lr, decay; int epochs, batch; uint64_t seed; } im_sgd_settings;
bool im_sgd_fit(im_ctx *c, const im_feature_rows *r, const im_sgd_settings *s, double *w);

/* named (r->n): the class of the largest logit. */
bool im_linear_name(im_ctx *c, const im_feature_rows *r, const double *w, int32_t *named);

#endif
