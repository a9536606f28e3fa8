/* narrow.h: gradients of weights of convolutions with few input channels, see narrow_dw.c. Called by conv_dw.c. */
#ifndef IM_NARROW_H
#define IM_NARROW_H

#include "tensor/cpu/simd.h"
#include "tensor/host.h"

bool IM_FN(im_narrow_takes_dw)(const im_conv_dw_args *d);
int IM_FN(im_narrow_dw)(im_device *dev, const im_conv_dw_args *d);

#endif
