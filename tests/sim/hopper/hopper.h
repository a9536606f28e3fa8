/* hopper.h: the calls of hopper.cu, as its test makes them. Pointers are the device's, maps are made by the call. */
#ifndef SIM_HOPPER_H
#define SIM_HOPPER_H

#include "cuda/cu.h"
#include "cuda/hopper.h"

/* c (m, n) = a (m, k) w (n, k)^T + bias: in_c = k, taps 1. Windows: a (images, in_h, in_w, in_c), w (n, taps taps, in_c),
 * m = images out_h out_w. k, in_c and n: multiples of 8. */
typedef struct {
    void *a, *w, *c;             /* f16 or bf16                                                                        */
    const float *bias;           /* (n)                                                                                */
    bool bf16, windows, wide;    /* wide: tiles of 160 columns, not 64                                                 */
    int m, n, in_c, cluster, blocks;                           /* blocks: of the grid, a multiple of cluster           */
    int blocks_k, blocks_c;      /* of 64: of a sum; of in_c                                                           */
    int taps, in_w, in_h, out_w, out_h, step, pad;
} hopper_products;

enum { HOPPER_IMAGE = 16384 };   /* bytes of a matrix in shared memory                                                 */
typedef struct {
    const uint32_t *a, *b;       /* (HOPPER_IMAGE / 4); a in registers: (128, 4)                                       */
    float *d;                    /* (n / 2, 128): register, thread                                                     */
    bool in_registers, add;
    int lead_a, stride_a, lead_b, stride_b;
    swizzle turn_a, turn_b;
} hopper_one;

typedef struct {
    uint32_t *out;               /* (bytes / 4)                                                                        */
    int bytes, at[5], offset[3];
    bool windows;
} hopper_box;

int hopper_run_products(im_cu *cu, const hopper_products *p);
int hopper_run_chain(im_cu *cu, void *q, void *k, void *v, float *o, int m, int keys, bool bf16);
int hopper_run_one(im_cu *cu, const hopper_one *p, bool bf16, bool turn_a, bool turn_b, int n);
int hopper_run_box(im_cu *cu, const tensor_shape *from, const tensor_shape *back, const uint32_t *box,
                   const tensor_windows *w, const hopper_box *p);

#endif
