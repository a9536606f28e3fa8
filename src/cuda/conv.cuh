/* conv.cuh: two-dimensional convolutions as products: rows are output pixels, k = (kh, kw, cin). Used forwards (conv.cu),
 * for the gradient of the input, which is convolutions again (conv_backward.cu), and by Winograd's way (winograd.cu). */
#ifndef IM_CUDA_CONV_H
#define IM_CUDA_CONV_H

#include "cuda/product.cuh"

/* im_conv_args, and where pixel (b, oy, ox) of the result lies: the gradient of a stride writes every s-th pixel. */
struct conv_call {
    int slot;                                                  /* of the kernel table, that this is for                */
    int batch, h, w, cin, cout, kh, kw, oh, ow;
    int stride, pad_top, pad_left, up_h, up_w;
    im_cbuf x;
    weight_view wt;
    epilogue e; int64_t ldchan;
    im_buf y;
    int64_t at, image, line, pixel;                            /* of the first pixel; from image to image, and so on   */
};

/* Row of x behind row u of the enlarged picture, -1 outside of it. */
DEV int source_of(int u, int size, int enlarged)
{
    return u < 0 || u >= enlarged ? -1 : enlarged == size ? u : (int)((int64_t)u * size / enlarged);
}

extern "C" {
int im_cuda_conv_run(im_device *dev, const conv_call *c);      /* conv.cu: directly                                    */
int im_cuda_winograd_run(im_device *dev, const conv_call *c);  /* winograd.cu: 3x3, stride 1                           */
int im_cuda_winograd_dw(im_device *dev, const im_conv_dw_args *p);
}

/* A gradient by Winograd pays: at least 64 channels on both sides, at most half of the multiplications (train_args.h). */
static inline bool winograd_pays(int cin, int cout, int oh, int ow)
{
    int64_t tiles = (int64_t)((oh + 3) / 4) * ((ow + 3) / 4), pixels = (int64_t)oh * ow;
    return cin >= 64 && cout >= 64 && pixels >= 16 && 8 * tiles <= pixels;
}

#endif
