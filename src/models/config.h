/* config.h: the architecture of a Stable Diffusion v1.x checkpoint, as its config.json files give it.
 *
 * Fields carry diffusers' names; a missing field takes the default of the diffusers (transformers) class. A field that
 * asks for something that no v1.x network has is an error which names the file, the field, what it says and what is
 * supported: nothing is silently ignored. */
#ifndef IM_CONFIG_H
#define IM_CONFIG_H

#include "imago.h"

enum { IM_MAX_LEVELS = 12 };             /* resolutions of a UNet or VAE (4 in v1.4); more is an error                */

typedef struct im_clip_config {          /* text_encoder/config.json: CLIPTextModel                                   */
    int vocab_size, hidden_size, intermediate_size;
    int num_hidden_layers, num_attention_heads;
    int max_position_embeddings;         /* 77                                                                        */
    im_act hidden_act;                   /* quick_gelu or gelu                                                        */
    float layer_norm_eps;
    int bos_token_id, eos_token_id, pad_token_id;
} im_clip_config;

typedef struct im_unet_level {           /* one resolution, from the finest (0)                                       */
    int channels;                        /* block_out_channels                                                        */
    int layers;                          /* layers_per_block: resnets on the way down; one more on the way up         */
    bool down_attention, up_attention;   /* CrossAttnDownBlock2D / DownBlock2D, CrossAttnUpBlock2D / UpBlock2D        */
    int heads;                           /* attention_head_dim, which in this class means the number of heads         */
    int transformer_layers;
    int cross_attention_dim;
    bool only_cross_attention;
} im_unet_level;

typedef struct im_unet_config {          /* unet/config.json: UNet2DConditionModel                                    */
    int in_channels, out_channels;
    int sample_height, sample_width;     /* latent size that the model was trained for; 64, 64                        */
    int levels;
    im_unet_level level[IM_MAX_LEVELS];
    bool has_mid;                        /* mid_block_type UNetMidBlock2DCrossAttn; null: none                        */
    float mid_block_scale_factor;
    int norm_num_groups;
    float norm_eps;
    bool flip_sin_to_cos;                /* true: cosines first                                                       */
    float freq_shift;
    int time_embed_dim;                  /* 4 * block_out_channels[0] unless time_embedding_dim says otherwise        */
    bool center_input_sample;
    int downsample_padding;              /* 1; 0: pads right and bottom only                                          */
    bool use_linear_projection;
    int conv_in_kernel, conv_out_kernel;
} im_unet_config;

typedef struct im_vae_config {           /* vae/config.json: AutoencoderKL                                            */
    int in_channels, out_channels, latent_channels;
    int levels;
    int channels[IM_MAX_LEVELS];         /* block_out_channels, from the finest                                       */
    int layers_per_block;
    int norm_num_groups;
    float scaling_factor, shift_factor;  /* 0.18215, 0                                                                */
    bool use_quant_conv, use_post_quant_conv;
    bool mid_block_add_attention;
    int sample_size;                     /* pixels; 512                                                               */
} im_vae_config;

typedef struct im_model_config {
    im_clip_config clip;
    im_unet_config unet;
    im_vae_config vae;
} im_model_config;

/* Each reads one config.json; false with the failure in c. */
struct im_json;
bool im_clip_config_read(im_ctx *c, const struct im_json *j, im_clip_config *out);
bool im_unet_config_read(im_ctx *c, const struct im_json *j, im_unet_config *out);
bool im_vae_config_read(im_ctx *c, const struct im_json *j, im_vae_config *out);
/* Reads model_index.json (kind of pipeline, classes of its parts) and the three config.json of a diffusers folder. */
bool im_model_config_read(im_ctx *c, const char *folder, im_model_config *out);
/* The same of a single file: `imago convert` writes the folder's files into its metadata, under their names. Other
 * single files carry no configuration and have that of v1.4. */
bool im_model_config_metadata(im_ctx *c, const im_safetensors *s, const char *path, im_model_config *out);
im_model_config im_model_config_v1(void);
/* What the networks must agree on: text width, latent channels. */
bool im_model_config_check(im_ctx *c, const im_model_config *m, const char *where);

static inline int im_vae_factor(const im_vae_config *v)        /* pixels a latent, 8 in v1.4                          */
{
    return 1 << (v->levels - 1);
}

#endif
