/* analysis.h: numbers about features and labels alone, wherever they come from (analyze.c). */
#ifndef IM_ANALYSIS_H
#define IM_ANALYSIS_H

#include "imago.h"

/* Fills sparsity, intra_class_distance, feature_redundancy, flat, coding_length, classes, count and class_distance;
 * class_top1 becomes NAN. x (n, d), labels (n) below classes. */
bool im_analyze_features(im_ctx *c, const float *x, const int32_t *labels, int64_t n, int d, int classes,
                         const im_analyze_args *a, im_analysis *out);

#endif
