/* attention.cuh: attention's calls as its kernels get them: the plain ones (attention.cu, attention_backward.cu) and those
 * on tensor cores. */
#ifndef IM_CUDA_ATTENTION_H
#define IM_CUDA_ATTENTION_H

#include "cuda/kernel.cuh"

struct attention_call { im_attention_args p; float factor; };  /* factor: scale * log2 e                               */
struct bwd_call { im_attention_bwd_args p; float factor; float *along; };      /* along (batch, heads, tq): do . o     */

extern "C" {
int im_cuda_attention_mma(im_device *dev, const attention_call &w, im_cuda_cores cores);       /* attention_mma.cu     */
int im_cuda_attention_bwd_mma(im_device *dev, const bwd_call &w, im_cuda_cores cores); /* attention_backward_mma.cu    */
}

#endif
