/* conv.h: windows of pictures as rows of a product; conv.c makes them, conv_dx.c uses them too. */
#ifndef IM_CONV_H
#define IM_CONV_H

#include "tensor/cpu/product.h"

/* The im_packer of windows; p->args is an im_conv_args, of which the geometry and x count. */
void IM_FN(im_conv_pack)(const im_product *p, float *dst, int64_t row, int rows, int k0, int k1, im_pack_mode mode);

#endif
