/* norm_sync.h: what ops/batchnorm.c calls where im_norms_over_parts is set (ops/norm_sync.c). */
#ifndef IM_NORM_SYNC_H
#define IM_NORM_SYNC_H

#include "tensor/tensor.h"

/* a: as for a part alone. mean, var: inputs of n with the running ones. *total: rows of all parts. */
int im_sync_batchnorm(im_ctx *c, im_node *n, im_batchnorm_args a, int mean, int var, int64_t *total);
/* a: without dgamma and dbeta, the gradients of inputs `gamma` and `beta`, which are added here. */
int im_sync_batchnorm_bwd(im_ctx *c, im_node *n, im_batchnorm_bwd_args a, int gamma, int beta, const im_tensor *rstd,
                          int64_t total);

#endif
