/* blur.h: Pillow's ImageFilter.GaussianBlur(radius = sigma) of one plane of 8 bits (blur.c). Used by augment.c. */
#ifndef IM_BLUR_H
#define IM_BLUR_H

#include "imago.h"

/* Blurs plane (height, width) in place. scratch: im_blur_bytes bytes, aligned to 4. */
size_t im_blur_bytes(int width, int height, float sigma);
void im_blur(uint8_t *plane, int width, int height, float sigma, uint8_t *scratch);

#endif
