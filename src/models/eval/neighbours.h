/* neighbours.h: how two sets of features reach into each other (compare.c). */
#ifndef IM_NEIGHBOURS_H
#define IM_NEIGHBOURS_H

#include "imago.h"

/* Fills precision, recall, density and coverage of a (na, d), the reference, and b (nb, d), which have more than k rows. */
bool im_prdc(im_ctx *c, const float *a, int64_t na, const float *b, int64_t nb, int d, int k, im_comparison *out);
/* exp of the entropy of the eigenvalues of the cosine kernel / n; NAN with an error. */
double im_vendi(im_ctx *c, const float *x, int64_t n, int d);

/* 1000 MMD^2 of rows of length 1 under a Gaussian kernel of deviation 10; pairs of a row with itself count, as in the
 * paper's program (Jayasumana et al. 2024, arXiv 2401.09603). NAN with an error. */
double im_cmmd(im_ctx *c, const float *a, int64_t na, const float *b, int64_t nb, int d);

#endif
