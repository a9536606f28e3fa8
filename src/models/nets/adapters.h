/* adapters.h: low-rank adapters that are trained beside the frozen weights of a network (LoRA: Hu et al. 2021, arXiv
 * 2106.09685):
 *
 *     y = x W^T + b + (alpha / r) (x A^T) B^T        W (N, K) frozen, A (r, K), B (N, r) trained
 *
 * as PEFT computes it, without dropout. Used by train_adapters.c and nn.c; those that are merged into weights as they are
 * loaded are in checkpoints/lora.h. */
#ifndef IM_ADAPTERS_H
#define IM_ADAPTERS_H

#include "models/nets/nn.h"

typedef struct im_adapter {              /* of one linear layer without an activation                                 */
    im_tensor *a, *b;                    /* (r, K), (N, r)                                                            */
    float scale;                         /* alpha / r                                                                 */
} im_adapter;

/* y + scale (x A^T) B^T.   x (..., K)  y (..., N)  ->  (..., N) */
im_tensor *im_adapter_add(im_ctx *c, const im_adapter *a, im_tensor *x, im_tensor *y);

/* Gives an adapter to every linear layer of net whose name ends in one of ends[] (up to NULL), such as "to_q". Its two
 * parameters, "NAME.lora_A.weight" and "NAME.lora_B.weight", are out's, which has to outlive the network's use. */
bool im_adapters_attach(im_params *out, const im_params *net, const char *const ends[], int rank, float alpha);

#endif
