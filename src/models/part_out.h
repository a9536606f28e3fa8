/* part_out.h: the weight files that imago writes: which tensors a network has, under which names, in which shapes.
 * Used by init_weights.c and convert.c. */
#ifndef IM_PART_OUT_H
#define IM_PART_OUT_H

#include "models/checkpoint.h"

/* "unet/diffusion_pytorch_model.safetensors" */
const char *im_part_file(im_part part);
/* Fills e with the parameter's diffusers name and the shape that diffusers gives it, and dtype. */
void im_part_entry(const im_param *p, im_dtype dtype, im_st_entry *e);

#endif
