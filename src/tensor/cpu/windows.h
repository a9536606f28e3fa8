/* windows.h: 3 x 3 convolutions in tile registers whose windows are read where the pixels lie; windows.c. */
#ifndef IM_WINDOWS_H
#define IM_WINDOWS_H

#include "tensor/cpu/product.h"

/* Whether this convolution is one of those: bf16, stride 1, a border of 1, whole groups of channels. */
bool IM_FN(im_windows_take)(const im_device *dev, const im_conv_args *c);
int IM_FN(im_windows_conv)(im_device *dev, const im_conv_args *c);

#endif
