/* int8_file.h: weights in int8 in a model's folder: what `imago convert --dtype int8` writes and every reader of
 * checkpoints takes. Used by checkpoint.c, convert.c.
 *
 *     NAME         I8   as a checkpoint has it, (Cout, Cin, Kh, Kw) or (N, K): integers, within -127 .. 127
 *     NAME_scale   F32  (Cout): a weight is its integer times the scale of its row
 *
 * Only products of the UNet are written so (im_param_takes_int8); other tensors stay as they are. No other program
 * reads it. */
#ifndef IM_INT8_FILE_H
#define IM_INT8_FILE_H

#include "imago.h"
#include "models/nets/nn.h"

bool im_param_takes_int8(const im_param *p);                   /* is it int8 where a network is held in int8?          */

bool im_st_is_int8(const im_st_entry *e);
/* Are these integers and the scales of their rows? scale NULL: no. */
bool im_int8_pair(const im_st_entry *e, const im_st_entry *scale);
/* The values of a tensor, all of them, in f32: integers times the scales of their rows, or, with scale NULL, as im_st_cast
 * reads them; in parallel. */
void im_st_floats(im_ctx *c, const im_st_entry *e, const im_st_entry *scale, float *out);

#endif
