/* measures.h: numbers about sets of pictures: how far their features lie apart, how near a picture is to the nearest one of
 * another set, how alike two pictures are. All sums are f64. Rows of features are (n, d), f32. */
#ifndef IM_MEASURES_H
#define IM_MEASURES_H

#include "imago.h"

/* Rows become vectors of length 1; rows of zeros stay. */
void im_unit_rows(float *x, int64_t n, int d);

/* Mean distance (L2) of all pairs of the n rows that index names; NAN for fewer than two. */
double im_mean_distance(const float *x, int d, const int64_t *index, int64_t n);

/* Frechet distance of the two normal distributions that have the sets' means and covariances (frechet.c); NAN with an
 * error when memory is out or a set has fewer than two rows. */
double im_frechet(im_ctx *c, const float *a, int64_t na, const float *b, int64_t nb, int d);
/* Eigenvalues of a symmetric matrix m (d, d), which is overwritten, in ascending order; vectors (d, d) or NULL: one a
 * column (eigen.c). */
bool im_symmetric_eigen(im_ctx *c, double *m, int d, double *values, double *vectors);

void im_mean_row(const float *x, int64_t n, int d, double *mean);
/* out (d, d): the sum over rows of r r^T, r the row less mean (NULL: as it is), of length 1 where `unit` is set (zeros
 * stay). The order of every sum is that of the rows, whatever the threads. */
bool im_gram(im_ctx *c, const float *x, int64_t n, int d, const double *mean, bool unit, double *out);

/* The eigenvalues of z^T z, z the rows of x with length 1, but for those that are 0 where n < d: malloc'd, *side of them;
 * NULL with an error (spectrum.c). */
double *im_unit_spectrum(im_ctx *c, const float *x, int64_t n, int d, int *side);

/* 10 log10(255^2 / mean of squared differences), in dB; 100 for equal pictures and what is as near. */
double im_psnr(const uint8_t *a, const uint8_t *b, int64_t n);

/* Area under precision and recall, summed by steps of recall, as scikit-learn's average_precision_score: the pictures with
 * `is` are to have the higher scores; equal scores count as one step. NAN without any of them. */
double im_average_precision(const double *score, const uint8_t *is, int64_t n);

/* The q-quantile with linear interpolation, as numpy.quantile; values are sorted in place; NAN without any. */
double im_quantile(double *values, int64_t n, double q);

/* ---------------------------------------------------------------- nearest pictures */

typedef struct im_looks {                                      /* a set as it is compared                             */
    int64_t n;
    int d; const float *features;                              /* (n, d), of length 1                                 */
    int size; const uint8_t *rgb;                              /* (n, size, size, 3)                                  */
} im_looks;

typedef struct im_near {                                       /* a picture of the other set                          */
    int64_t at;
    double features;                                           /* distance of the features                            */
    double pixels;                                             /* root of the mean square of differences, of 255; the */
                                                               /* smaller one of it and its mirror image              */
} im_near;

typedef struct im_nearest { im_near by_features, by_pixels; } im_nearest;

/* For every picture of `of` the nearest one of `among` by features, and by pixels (the first of equals). */
bool im_find_nearest(im_ctx *c, const im_looks *of, const im_looks *among, im_nearest *out);

/* A near copy: one of the two is within both limits. */
bool im_near_copy(const im_nearest *v, double features, double pixels);

#endif
