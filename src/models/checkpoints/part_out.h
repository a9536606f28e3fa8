/* part_out.h: the weight files that imago writes: which tensors a network has, under which names, in which shapes, and how
 * they are dealt to several files where one would be too large. Used by init_weights.c, convert.c and train_diffusion.c. */
#ifndef IM_PART_OUT_H
#define IM_PART_OUT_H

#include "models/checkpoints/checkpoint.h"
#include "models/checkpoints/folder_out.h"

/* "unet/diffusion_pytorch_model.safetensors" */
const char *im_part_file(im_part part);
/* Fills e with the parameter's diffusers name and the shape that diffusers gives it, and dtype. */
void im_part_entry(const im_param *p, im_dtype dtype, im_st_entry *e);

/* Deals tensors in their order to files of at most max_file bytes, header included: ends[i] is one past the last tensor of
 * file i. Returns how many files; 0 with an error, which names `file`, where a tensor does not fit by itself. ends: room
 * for n. */
int im_part_split(im_ctx *c, const char *file, const im_st_entry *e, int n, uint64_t max_file, int *ends);
/* "unet/diffusion_pytorch_model-00001-of-00002.safetensors", malloc'd; i from 0. */
char *im_part_shard(im_ctx *c, im_part part, int i, int count);
/* "unet/diffusion_pytorch_model.safetensors.index.json", malloc'd */
char *im_part_index(im_ctx *c, im_part part);
/* Writes the index: the sum of the tensors' bytes, and the shard of each. Last, when the shards are there. */
bool im_part_write_index(im_folder_out *f, im_part part, const im_st_entry *e, const int *ends, int count);

#endif
