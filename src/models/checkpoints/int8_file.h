/* int8_file.h: weights in int8 in a model's folder: what `imago convert --dtype int8` writes and every reader of
 * checkpoints takes. Used by checkpoint.c, convert.c.
 *
 *     NAME         I8   as a checkpoint has it, (Cout, Cin, Kh, Kw) or (N, K): integers, within -127 .. 127
 *     NAME_scale   F32  (Cout): a weight is its integer times the scale of its row
 *     NAME_multiplier   F32  (Cin), of some: what `--calibrate` found. The weights of an input channel were divided by its
 *                  multiplier before they were rounded; what comes in is multiplied by it (tensor/int8.h). A weight is its
 *                  integer times both
 *
 * Only products of the UNet are written so (im_param_takes_int8); other tensors stay as they are. No other program
 * reads it. */
#ifndef IM_INT8_FILE_H
#define IM_INT8_FILE_H

#include "imago.h"
#include "models/nets/nn.h"

bool im_param_takes_int8(const im_param *p);                   /* is it int8 where a network is held in int8?          */

bool im_st_is_int8(const im_st_entry *e);
/* What belongs to a tensor of integers. scale NULL: it is none; multiplier NULL: there are none. */
typedef struct im_int8_parts { const im_st_entry *scale, *multiplier; } im_int8_parts;
/* Of e in its file; a scale that does not fit is as if it were not there. */
im_int8_parts im_int8_parts_of(const im_safetensors *s, const im_st_entry *e);
/* The values of a tensor, all of them, in f32: integers times what belongs to them, or, without a scale, as im_st_cast
 * reads them; in parallel. */
void im_st_floats(im_ctx *c, const im_st_entry *e, im_int8_parts parts, float *out);

/* Multipliers that are to be written, by the names of the weights (models/pipelines/calibrate.c). */
typedef struct im_multiplier { const char *name; const float *by; } im_multiplier;
typedef struct im_multipliers { int n; const im_multiplier *v; } im_multipliers;
const float *im_multipliers_find(const im_multipliers *m, const char *name);        /* (Cin), or NULL; m may be NULL   */
/* w (rows, cin, taps), each value divided by the multiplier of its channel. */
void im_multipliers_divide(const float *by, int64_t rows, int64_t cin, int64_t taps, float *w);
/* im_sd_convert to int8 with those. */
bool im_sd_convert_int8(im_ctx *c, const char *in, const char *out, const im_multipliers *m, uint64_t max_file, bool force);

#endif
