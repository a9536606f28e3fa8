/* train_adapters.h: a LoRA as `imago train diffusion --lora` trains it: the adapters of a UNet and, where asked for, of a
 * text encoder, beside frozen weights. Used by train_diffusion.c. */
#ifndef IM_TRAIN_ADAPTERS_H
#define IM_TRAIN_ADAPTERS_H

#include "models/checkpoints/lora.h"
#include "models/nets/adapters.h"
#include "models/nets/clip.h"
#include "models/nets/unet.h"
#include "models/train/optimiser.h"

typedef struct im_trained_lora {
    im_params unet, clip;                                      /* factors; clip: none without --lora-text             */
    float scale;                                               /* alpha / rank                                        */
} im_trained_lora;

/* --lora, --lora-text and --lora-alpha fit each other and the rest? What they decide is written into a. */
bool im_trained_lora_settle(im_ctx *c, im_train_diffusion_args *a);

/* Gives adapters to the projections of the attention, as diffusers' train_text_to_image_lora.py does: A normal with
 * deviation 1 / r, B zero, so that the first step begins with the model as it is. The networks are frozen from here on, and
 * are loaded afterwards. */
bool im_trained_lora_open(im_ctx *c, im_trained_lora *l, const im_train_diffusion_args *a, im_unet *unet, im_clip *clip);
/* Begins with the adapters of a file, any that `generate --lora` reads, in the place of those: the networks' layers that
 * are trained and no others must have one, of this rank. */
bool im_trained_lora_load(im_ctx *c, im_trained_lora *l, im_checkpoint *k, const char *path, im_unet *unet, im_clip *clip);
void im_trained_lora_close(im_trained_lora *l);

/* The file that diffusers, PEFT's readers and `generate --lora` take, averaged where o keeps averages. alpha / rank is
 * multiplied into B: a reader takes alpha for the rank where nobody tells it. */
bool im_trained_lora_write(im_ctx *c, const im_trained_lora *l, const im_optimiser *o, const char *path);

#endif
