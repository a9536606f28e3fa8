/* product.h: the blocked matrix product under gemm.c and conv.c.
 *
 *     c[i][j] = act(sum_k A[i][k] B[j][k] + bias[j] + chan[i / chan_rows][j]) + res[i][j]
 *
 * B comes from packed panels. A is whatever the packer writes: rows of a matrix, or windows of a picture (implicit
 * GEMM). The loops are those of Goto & van de Geijn 2008 ("Anatomy of High-Performance Matrix Multiplication"); see
 * product.c. */
#ifndef IM_PRODUCT_H
#define IM_PRODUCT_H

#include "tensor/cpu/multiply.h"
#include "tensor/cpu/tile.h"

/* Steps of k in a packed block, and the distance of packed rows of A. A step is 4 bytes (tensor/compute.h). A strip of B,
 * 32 columns by 240 steps, is 30 KiB and a tile of 14 rows 13 KiB: together they stay in an L1 of 48 KiB. */
enum { IM_PITCH = 240, IM_STRIP = 2 * IM_PANEL };

/* What a packer does with rows row .. row+rows-1 of A, columns k0 .. k1-1: write them to dst as factors of that im_compute,
 * each row IM_PITCH steps behind the last, or only bring them into L2 for a later call. It may write up to 16 values behind
 * a row's end (and so into the next row, which comes later). */
enum { IM_PACK_FETCH = IM_COMPUTE_COUNT };
typedef int im_pack_mode;                        /* an im_compute, or IM_PACK_FETCH                                  */
typedef struct im_product im_product;
typedef void im_packer(const im_product *p, float *dst, int64_t row, int rows, int k0, int k1, im_pack_mode mode);

/* Rows of c that do not follow one another: row i is pixel i of pictures of down x across pixels, at these distances. */
typedef struct im_grid { int across, down; int64_t pixel, line, image; } im_grid;

/* Windows of a picture that tile registers read where its pixels lie (windows.c). Pixels of the pictures stand in one row,
 * with a zero between lines and a line of zeros between pictures; row i of A is `runs` runs of `run` steps from pixels i,
 * i + 1, .. on, and as many from i + line, .. on. Rows whose window lies across lines or pictures are left out of c. */
typedef struct im_windows {
    im_packer *pack;                             /* pixels row .. row+rows-1 of that row, k1 values from one to the next */
    int lines, runs, run;
    int line, beyond;                            /* pixels: from line to line; behind the first of a group's last row */
    int across, down;                            /* windows of a line, lines of a picture: of c                     */
} im_windows;
enum {
    IM_WINDOW_BYTES = 1 << 20,                   /* of a group's pixels: half of the L2 of processors with tile registers */
    IM_SPLIT_BYTES = 1400 << 10,                 /* of pixels that are split (split.h): twice as many a pixel         */
};

struct im_product {
    int64_t m;
    int n, k;                                    /* n: columns of c                                                  */
    im_packer *pack;
    const void *args;                            /* the packer's                                                     */
    im_cbuf a; int64_t lda;                      /* A where it lies in memory as rows (m, k), to be read in place, or */
                                                 /* p NULL: pack writes it, from values in a.t. Read in place: where */
                                                 /* a.t is the dtype that is multiplied                              */
    im_weight b;                                 /* packed after im_product_run has seen to it                       */
    const float *bias;                           /* or NULL                                                          */
    im_cbuf chan, res;                           /* each may have p NULL                                             */
    int64_t chan_rows, ldchan, ldres;
    im_buf c;
    int64_t ldc;
    const float *scales;                         /* int8: of rows of A (int8.c); else NULL                            */
    const im_grid *grid;                         /* where rows of c and res stand in place of ldc and ldres; or NULL */
    const im_windows *windows;                   /* or NULL: then pack and a say what A is. Only with tile registers; */
                                                 /* lda: values of a pixel                                           */
    im_act act;
    bool geglu;
};

int IM_FN(im_product_run)(im_device *dev, im_product *p);

/* micro.c: the tiles (tile.h) of one instruction set. */
typedef void im_micro(const im_tile *t);
typedef struct { im_micro *tile[IM_NV][IM_MR]; } im_micros;    /* [panels - 1][rows - 1] */
const im_micros *IM_FN(im_micro_tiles)(im_compute how);
/* Those of int8 for cpu.c, as it hands them to product.c through im_host; *flip: what they want every byte of A xored
 * with. */
const void *IM_FN(im_int8_tiles)(uint8_t *flip);

/* X(id, name, rows, panels) of every tile of every im_compute, and of those that gradients use: for the tables of micro.c
 * and micro_outer.c. */
#define IM_ALL_TILES(X) IM_COMPUTES(IM_TILES_OF, X)
#define IM_REAL_TILES(X) IM_COMPUTES_REAL(IM_TILES_OF, X)
#define IM_TILES_OF(id, name, factors, per_step, words, X) IM_TILES(IM_TILE_OF, X, id, name)
#define IM_TILE_OF(rows, panels, X, id, name) X(id, name, rows, panels)

/* epilogue.c: rows row .. row+rows-1 of one strip, from sums (rows, IM_STRIP) to c. */
void IM_FN(im_epilogue)(const im_product *p, int strip, int64_t row, int rows, const float *sums);

/* For packers, which inline them with a constant mode: n values of src to element `at` of a packed row, and n zeros. */
IM_INLINE void im_pack_copy(float *row, int at, im_dtype t, const void *src, int n, im_pack_mode mode)
{
    im_dtype to = mode == IM_PACK_FETCH ? t : im_factors_of((im_compute)mode);
    int step = mode == IM_PACK_FETCH ? line_of(t) : 16;
    for (int i = 0; i < n; i += step) {
        int left = n - i < 16 ? n - i : 16;
        if (mode == IM_PACK_FETCH)
            prefetch_l2_as(t, src, i);
        else if (t == to && left == 16)
            copy_as(to, row, at + i, src, i, 16);
        else
            store_as(to, row, at + i, load_as(t, src, i, left), 16);
    }
}

IM_INLINE void im_pack_zero(float *row, int at, int n, im_pack_mode mode)
{
    for (int i = 0; i < n && mode != IM_PACK_FETCH; i += 16)
        store_as(im_factors_of((im_compute)mode), row, at + i, v_zero(), 16);
}

#endif
