/* lora.h: low-rank adapters (LoRA: Hu et al. 2021, arXiv 2106.09685), added to weights as they are loaded:
 *
 *     W' = W + w (alpha / r) B A        W (N, K)  A, "down" (r, K)  B, "up" (N, r)
 *
 * of convolutions with K = cin kh kw. w is the user's weight, alpha the file's (r where it has none). Merged weights cost
 * nothing later; to take an adapter off again the network is loaded anew. Used by sd_lora.c, checkpoint.c
 * and train_adapters.c.
 *
 * Files: diffusers (unet.*.lora_A.weight, older *.lora.down.weight, *.processor.to_q_lora.down.weight and, in the text
 * encoder, *.self_attn.to_q_lora.down.weight), PEFT (base_model.model.*, with adapter_config.json beside the file or in the
 * folder: lora_config.h), kohya (lora_unet_*, lora_te_*). */
#ifndef IM_LORA_H
#define IM_LORA_H

#include "models/checkpoints/checkpoint.h"

typedef struct im_lora im_lora;
extern const char *const im_lora_files[];                      /* one of which lies in a LoRA's folder; NULL at the end */
/* path: a .safetensors file, or a folder with adapter_model.safetensors or pytorch_lora_weights.safetensors. Modules that
 * no network of k has are left out with one warning; where none is known the file is refused, as are other kinds of
 * adapters (DoRA, LoHa, LoKr, PiSSA ...) by their names. Its weight is 1 and none is before it. */
im_lora *im_lora_open(im_ctx *c, im_checkpoint *k, const char *path);
void im_lora_free(im_lora *l);                                 /* this one; NULL: nothing                             */
/* l, added `weight` times, behind those that came before; next NULL: alone. */
void im_lora_link(im_lora *l, float weight, im_lora *next);
/* Is the file (or the folder's) that was opened still the one at this path? */
bool im_lora_is_of(const im_lora *l, const char *path);

/* Does one of them change this parameter? */
bool im_lora_changes(const im_lora *l, im_part part, const im_param *p);
/* Adds what they change; values: the parameter in f32, in the order of the file. False: c has failed. */
bool im_lora_add(im_ctx *c, const im_lora *l, im_part part, const im_param *p, float *values);

/* What this file alone has, to be trained on: how many modules; the rank of that of a parameter, 0: it has none; its
 * factors a (r, K) and b (N, r), b with alpha / r in it. */
int im_lora_modules(const im_lora *l);
int im_lora_rank(const im_lora *l, im_part part, const im_param *p);
bool im_lora_factors(im_ctx *c, const im_lora *l, im_part part, const im_param *p, float *a, float *b);

im_lora *im_lora_next(const im_lora *l);                       /* the one before it; NULL: none                       */
const char *im_lora_name(const im_lora *l);                    /* of its file, without folder and ending              */
const char *im_lora_hash(const im_lora *l);                    /* SHA-256 of the file, hex                            */
float im_lora_weight(const im_lora *l);

#endif
