/* lora_config.h: what PEFT's settings of a LoRA say of its scale: adapter_config.json beside the file or in its folder, or
 * the metadata that diffusers writes into the file (lora_adapter_metadata: "unet.lora_alpha" ...). Used by lora.c. */
#ifndef IM_LORA_CONFIG_H
#define IM_LORA_CONFIG_H

#include "data/files/safetensors.h"
#include "models/checkpoints/checkpoint.h"

typedef struct im_lora_config im_lora_config;
/* path: the file's. NULL: an error; settings that are absent are as PEFT has them. Adapters that are no plain LoRA or that
 * change the base weights as well (use_dora, init_lora_weights) are refused by name. */
im_lora_config *im_lora_config_open(im_ctx *c, const im_safetensors *file, const char *path);
void im_lora_config_free(im_lora_config *g);                   /* NULL: nothing                                       */
/* alpha of a module of rank r by its parameter's name: of the first key of alpha_pattern that it matches, else lora_alpha,
 * else r. */
double im_lora_config_alpha(const im_lora_config *g, im_part part, const char *name, double r);
/* use_rslora (Kalajdzievski 2023, arXiv 2312.03732): the scale is alpha / sqrt(r) */
bool im_lora_config_root(const im_lora_config *g, im_part part);

#endif
