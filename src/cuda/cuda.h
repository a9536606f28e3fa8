/* cuda.h: what the files of this backend share on the host's side: the device behind im_device.impl, its workspace, and the
 * kernels that fill the table of tensor/device.h, one function a slot, in files that bear the names of the other
 * backends. */
#ifndef IM_CUDA_H
#define IM_CUDA_H

#include "cuda/cu.h"
#include "tensor/device.h"

#define X(name) IM_CUDA_SLOT_##name,
enum { IM_KERNELS(X) IM_CUDA_SLOTS };                          /* bits of a uint64_t                                   */
#undef X


typedef struct im_cuda im_cuda;                                /* device.c                                             */

static inline im_cuda *im_cuda_of(const im_device *dev) { return (im_cuda *)dev->impl; }
im_cu *im_cuda_stream(const im_device *dev);                   /* where kernels are launched                           */
bool im_cuda_winograd(const im_device *dev, bool *always);     /* IMAGO_WINOGRAD, as on the cpu (device.h)             */
/* What of tensor cores (cores.cuh): sm_75 has f16 alone. */
typedef enum im_cuda_cores { IM_CUDA_NO_CORES, IM_CUDA_F16_75, IM_CUDA_F16, IM_CUDA_BF16 } im_cuda_cores;
/* On which of them may this slot multiply factors in `half`, IM_F16 or IM_BF16? None: with IMAGO_CUDA=plain, or where a
 * check has found that it must not. */
im_cuda_cores im_cuda_mma(const im_device *dev, int slot, im_dtype half);
void im_cuda_keep_plain(im_device *dev, uint64_t slots);       /* these use their plain form from now on               */
uint64_t im_cuda_kept_plain(const im_device *dev);
im_ctx *im_cuda_context(const im_device *dev);                 /* where failures are told                              */
/* At least `bytes`, 256-byte aligned, until the next call from another slot: one workspace for all kernels, which run in
 * order. NULL: out of memory. */
void *im_cuda_workspace(im_device *dev, size_t bytes);
/* What a slot returns: failed is what LAUNCH gave, or the sum of several. A failure's words go to the context at once. */
int im_cuda_done(im_device *dev, int failed);
bool im_cuda_stopped(const im_device *dev);                    /* im_cancel was called: nothing is launched            */

static inline unsigned im_cuda_blocks(int64_t items, int64_t a_block)
{
    return (unsigned)((items + a_block - 1) / a_block);
}

#define X(name) int im_cuda_##name(im_device *dev, const im_##name##_args *p);
IM_KERNELS(X)
#undef X
/* load.cu: rows of a weight, raw as in its file at `raw` on the device, to p->dst. */
int im_cuda_convert(im_device *dev, const im_pack_args *p, const void *raw);

#endif
