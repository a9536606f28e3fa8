/* host.h: what the devices in the host's own memory (cpu, ref, far) share: threads, memory, scratch. Seen by src/tensor's
 * own files and by ref/ and cpu/ only. */
#ifndef IM_HOST_H
#define IM_HOST_H

#include "tensor/device.h"

typedef struct im_host {         /* im_device.impl                                                                  */
    int threads;
    im_compute compute[IM_INT8 + 1];                                      /* cpu: how weights of each dtype are     */
                                 /* multiplied (chosen from CPUID and a table)                                      */
    const void *int8_tiles;      /* cpu: the micro-kernels of int8 that this processor is best at (cpu/product.h),  */
    uint8_t int8_flip;           /* and what they want every byte of A xored with                                   */
    const struct im_amx *amx;    /* cpu: tile registers (cpu/tile.h) for products in bf16 and int8; NULL: none       */
    bool split;                  /* cpu: f16 weights are multiplied in tile registers, as sums of bf16 (cpu/split.h) */
    bool direct;                 /* cpu: 3x3 convolutions in 16 bits are direct sums: with tile registers, unless       */
                                 /* IMAGO_WINOGRAD is there                                                         */
    int winograd;                /* cpu: 1: where it pays; IMAGO_WINOGRAD=0 in the environment when the device is   */
                                 /* opened: never; 2: in every 3x3 convolution of stride 1 (for tests)              */
    struct im_memory_pool *pool; /* once im_device.reuse is set: blocks given back and asked for again; else NULL   */
    void **scratch; size_t *scratch_bytes;                                /* one a thread, grown on demand          */
} im_host;

static inline im_host *im_host_of(const im_device *dev) { return (im_host *)dev->impl; }
static inline int im_threads_of(const im_device *dev) { return im_host_of(dev)->threads; }

/* At least `bytes` of 64-byte aligned memory private to `thread` (0 .. threads) until its next call; NULL when out.
 * Slot `threads` (one past the last thread) belongs to the calling kernel itself, shared by all its threads. */
void *im_scratch(im_device *dev, int thread, size_t bytes);

int im_host_load(im_device *dev, const im_pack_args *p);       /* host_load.c: the service `load`                      */

#endif
