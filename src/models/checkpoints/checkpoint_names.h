/* checkpoint_names.h: the names of a network's tensors in the original Stable Diffusion layout and in older files. */
#ifndef IM_CHECKPOINT_NAMES_H
#define IM_CHECKPOINT_NAMES_H

#include "models/checkpoints/checkpoint.h"

enum { IM_NAME_BYTES = 256 };            /* longer than any name a configuration can make                             */

/* "down_blocks.0.resnets.1.conv1.weight" -> "model.diffusion_model.input_blocks.2.0.in_layers.2.weight".
 * False for a name that is none of this configuration's. */
bool im_original_name(const im_model_config *m, im_part part, const char *name, char out[IM_NAME_BYTES]);

/* The i-th other spelling of a diffusers name (original false) or of an original one, or false when there is none:
 * a text encoder without "text_model.", a VAE with query, key, value, proj_attn. */
bool im_alias_name(im_part part, const char *name, bool original, int i, char out[IM_NAME_BYTES]);

/* The network of a single file that a name belongs to by its beginning, or -1. */
int im_original_part(const char *name);

#endif
