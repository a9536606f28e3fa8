/* config.h: reads the shapes of a Stable Diffusion v1.x checkpoint's networks (nets/clip.h, unet.h, vae.h) from its
 * config.json files.
 *
 * Fields carry diffusers' names; a missing field takes the default of the diffusers (transformers) class. A field that
 * asks for something that no v1.x network has is an error which names the file, the field, what it says and what is
 * supported: nothing is silently ignored. */
#ifndef IM_CONFIG_H
#define IM_CONFIG_H

#include "imago.h"
#include "models/nets/clip.h"
#include "models/nets/clip_image.h"
#include "models/nets/unet.h"
#include "models/nets/vae.h"

typedef struct im_model_config {
    im_clip_config clip;
    im_unet_config unet;
    im_vae_config vae;
    char scheduler[64];                                        /* its class in model_index.json; "": it names none    */
    int text_tokens;                                           /* ids of a text: 77, as many as the text encoder has  */
                                                               /* positions, or the tokenizer's model_max_length,     */
                                                               /* where that is less                                  */
    bool scheduler_as_written;                                 /* its pipeline does not mend that one's file          */
} im_model_config;

/* Each reads one config.json; false with the failure in c. */
struct im_json;
bool im_clip_config_read(im_ctx *c, const struct im_json *j, im_clip_config *out);
/* config.json of transformers' CLIPModel: both towers. */
bool im_clip_pair_config_read(im_ctx *c, const struct im_json *j, im_clip_config *text, im_clip_image_config *image);
bool im_unet_config_read(im_ctx *c, const struct im_json *j, im_unet_config *out);
bool im_vae_config_read(im_ctx *c, const struct im_json *j, im_vae_config *out);
bool im_vae_any_config_read(im_ctx *c, const struct im_json *j, im_vae_config *out);           /* AutoencoderTiny, too   */
im_vae_config im_tiny_config_default(void);                    /* TAESD                                               */
/* config.json of an AutoencoderTiny, as diffusers writes it: malloc'd; NULL with an error (config_tiny.c). */
char *im_tiny_config_text(im_ctx *c, const im_vae_config *v);
/* Reads model_index.json (kind of pipeline, classes of its parts) and the three config.json of a diffusers folder. */
bool im_model_config_read(im_ctx *c, const char *folder, im_model_config *out);
/* The same of a single file: `imago convert` writes the folder's files into its metadata, under their names. Other
 * single files carry no configuration and have that of v1.4. */
bool im_model_config_metadata(im_ctx *c, const im_safetensors *s, const char *path, im_model_config *out);
im_model_config im_model_config_v1(void);
/* What the networks must agree on: text width, latent channels. */
bool im_model_config_check(im_ctx *c, const im_model_config *m, const char *where);

#endif
