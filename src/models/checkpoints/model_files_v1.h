/* model_files_v1.h: the small files of Stable Diffusion v1.4, for single files (they carry none) and init_weights.c. */
#ifndef IM_MODEL_FILES_V1_H
#define IM_MODEL_FILES_V1_H

#include "imago.h"

extern const char im_v1_index[], im_v1_scheduler[], im_v1_text_encoder[], im_v1_unet[], im_v1_vae[];
extern const char im_v1_tokenizer_config[], im_v1_special_tokens[];
char *im_v1_merges(im_ctx *c);                                 /* merges.txt and vocab.json of CLIP, malloc'd         */
char *im_v1_vocab(im_ctx *c);

#endif
