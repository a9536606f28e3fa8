/* int8.h: products whose weights are int8; see int8.c. Called by gemm.c and conv.c. */
#ifndef IM_CPU_INT8_H
#define IM_CPU_INT8_H

#include "tensor/cpu/simd.h"
#include "tensor/host.h"

int IM_FN(im_int8_gemm)(im_device *dev, const im_gemm_args *g);
/* rows: the picture is the matrix (1x1, stride 1, no padding). */
int IM_FN(im_int8_conv)(im_device *dev, const im_conv_args *c, bool rows);

#endif
