/* clip_pair.h: CLIP with both towers, out of a folder in the Hugging Face layout: config.json (CLIPModel),
 * model.safetensors, the tokenizer's files, preprocessor_config.json. Used by eval/zero_shot.c. */
#ifndef IM_CLIP_PAIR_H
#define IM_CLIP_PAIR_H

#include "imago.h"
#include "models/nets/clip_image.h"

typedef struct im_clip_pair im_clip_pair;
im_clip_pair *im_clip_pair_open(im_ctx *c, const char *folder);
void im_clip_pair_free(im_clip_pair *p);

const im_clip_image *im_clip_pair_image(const im_clip_pair *p);
int im_clip_pair_width(const im_clip_pair *p);                 /* of what both towers give                            */
int im_clip_pair_size(const im_clip_pair *p);                  /* side of the pictures                                */
const char *im_clip_pair_path(const im_clip_pair *p);          /* of the file of weights                              */
/* (3) each: of the colours */
void im_clip_pair_colours(const im_clip_pair *p, const float **mean, const float **deviation);
double im_clip_pair_scale(const im_clip_pair *p);              /* exp(logit_scale): of cosines, to logits             */

/* out (n, width): vectors of length 1. Texts that are too long are cut, with a warning. */
bool im_clip_pair_texts(im_ctx *c, im_clip_pair *p, const char *const texts[], int n, float *out);

#endif
