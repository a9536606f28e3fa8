/* outer.h: products whose factors both lie row by row, summed over the rows: the gradients of weights.
 *
 *     c[i][j] (+)= sum_m A[m][i] B[m][j]
 *
 * A is a matrix, B a matrix or what a packer writes: the windows that output pixel m was made from (conv_dw.c). Nothing is
 * transposed, and matrices are read where they are. See outer.c. */
#ifndef IM_OUTER_H
#define IM_OUTER_H

#include "tensor/cpu/product.h"

/* Columns j0 .. j1-1 of rows m0 .. m0+rows-1 of a factor, in groups of `width` (at most 16) columns: group g begins at
 * dst + g * apart, 16 floats a row, columns behind the matrix zero; what stands behind `width` is never read. Where a
 * step has more values of k (compute.h), as many rows become one. Or only brings these rows into L2 (dst NULL). */
enum { IM_OUTER_ROWS = 256 };                    /* rows at most in one call                                            */
typedef struct im_outer_pack { int64_t m0; int rows, j0, j1, width; float *dst; size_t apart; } im_outer_pack;
typedef void im_outer_packer(const void *args, const im_outer_pack *q, im_pack_mode mode);

typedef struct im_outer_rows { im_cbuf x; int64_t ld; } im_outer_rows;

typedef struct im_outer {
    int64_t m;
    int ni, nj;
    im_outer_rows a, b;
    im_outer_packer *pack_b;                     /* writes B, if b.x.p is NULL                                           */
    const void *args;                            /* the packer's                                                       */
    float *c; int64_t ldc;
    bool add;
} im_outer;

int IM_FN(im_outer_run)(im_device *dev, const im_outer *p);

/* micro_outer.c: one tile: out[i][0..15] = in[i][0..15] + sum_s a[s * lda + i] b[0][s * ldb ..], columns 16 to 31 from
 * b[1]; rows of in and out are IM_STRIP apart. */
typedef struct im_outer_tile {
    int steps;
    const float *a; int64_t lda;
    const float *b[2]; int64_t ldb;
    const float *in;                             /* NULL: zero                                                         */
    float *out;
} im_outer_tile;
typedef void im_outer_micro(const im_outer_tile *t);
typedef struct { im_outer_micro *tile[IM_NV][IM_MR]; } im_outer_micros;  /* [panels - 1][rows - 1] */
const im_outer_micros *IM_FN(im_outer_tiles)(im_compute how);

#endif
