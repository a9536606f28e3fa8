/* checkpoint.h: opens a checkpoint, whichever way it is laid out, and loads networks from it.
 *
 *  - a diffusers folder: unet/diffusion_pytorch_model.safetensors (a variant of it, or shards with their index:
 *    weight_files.h), the same in vae/, text_encoder/model.safetensors;
 *  - a single .safetensors file in the original layout (model.diffusion_model.*, first_stage_model.*,
 *    cond_stage_model.transformer.*), whose names checkpoint_names.c translates.
 * Used by sd.c, init_weights.c, convert.c and the tests. */
#ifndef IM_CHECKPOINT_H
#define IM_CHECKPOINT_H

#include "models/checkpoints/config.h"
#include "models/checkpoints/int8_file.h"
#include "models/nets/nn.h"

typedef enum { IM_PART_CLIP, IM_PART_UNET, IM_PART_VAE, IM_PART_COUNT } im_part;
const char *im_part_name(im_part part);                        /* "text_encoder", "unet", "vae": the folder's name    */

typedef struct im_checkpoint im_checkpoint;
/* Reads and checks the configuration and maps the weight files; no tensor is read. NULL with the failure in c. */
im_checkpoint *im_checkpoint_open(im_ctx *c, const char *path);
void im_checkpoint_close(im_checkpoint *k);                    /* networks loaded from it go on living                */

const im_model_config *im_checkpoint_config(const im_checkpoint *k);
const char *im_checkpoint_path(const im_checkpoint *k);        /* as given to im_checkpoint_open                      */
const char *im_checkpoint_folder(const im_checkpoint *k);      /* the diffusers folder; NULL for a single file        */

/* Loads every parameter of p from the part's files into storage in `dtype` (vectors in f32), in parallel. Reports
 * all missing and misshapen tensors at once and then loads nothing. p may be a half of the part (VAE). */
bool im_checkpoint_load(im_checkpoint *k, im_part part, im_params *p, im_dtype dtype);
/* What is loaded from now on has these adapters (lora.h) in its weights; borrowed, NULL: none. */
struct im_lora;
void im_checkpoint_adapt(im_checkpoint *k, const struct im_lora *adapters);
/* Where a tensor of them did not fit into memory: the error says what all need and what helps. Returns false. */
bool im_checkpoint_no_room(const im_checkpoint *k, im_part which, const im_params *p, im_dtype dtype);

/* The same check without loading: does each of these networks find its tensors? What does not fit is told of all at once.
 * Tensors that no network of the checkpoint asks for are left out with one warning that counts them; under
 * im_weights_rules' strict they are an error. */
enum { IM_NEED_CLIP = 1, IM_NEED_UNET = 2, IM_NEED_DECODER = 4, IM_NEED_ENCODER = 8, IM_NEED_ALL = 15 };
bool im_checkpoint_need(im_checkpoint *k, unsigned networks);
bool im_checkpoint_check(im_checkpoint *k);                    /* all four                                            */
bool im_checkpoint_has(const im_checkpoint *k, unsigned network);                   /* the one network, whole         */
const char *im_checkpoint_weights(const im_checkpoint *k, im_part part);            /* path of its file or index      */

/* Walks the tensors of a part that belong to its network: param has the diffusers name and the shape as the networks
 * hold it, and is valid while k is open; the entry has the file's own name and shape. */
int im_checkpoint_count(const im_checkpoint *k, im_part part);
const im_st_entry *im_checkpoint_at(const im_checkpoint *k, im_part part, int i, const im_param **param);
/* What belongs to a tensor of integers (int8_file.h); of others, and in a single file, nothing. */
im_int8_parts im_checkpoint_int8(const im_checkpoint *k, im_part part, const im_st_entry *e);
bool im_checkpoint_is_int8(const im_checkpoint *k);            /* does it hold weights in int8?                       */
const im_safetensors *im_checkpoint_file(const im_checkpoint *k, im_part part);
void im_checkpoint_release(const im_checkpoint *k, im_part part, const im_st_entry *e);  /* its pages may go          */

/* 64 hex digits: SHA-256 over the parts in order, and in each over its tensors sorted by diffusers name: name, dtype,
 * shape without trailing ones and at most 4 KiB of the bytes (the first 1, the middle 2, the last 1 KiB). A folder and
 * the single file made from it agree, since names and shapes are the translated ones. NULL after a failure. */
const char *im_checkpoint_fingerprint(im_checkpoint *k);

#endif
