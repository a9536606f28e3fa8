/* unet.h: the noise predictor of Stable Diffusion v1.x, diffusers' UNet2DConditionModel (Rombach et al. 2022). */
#ifndef IM_UNET_H
#define IM_UNET_H

#include "models/nets/nn.h"

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
    int time_cond_proj_dim;              /* width of the embedding of the guidance (LCM); 0: has none                 */
    bool center_input_sample;
    int downsample_padding;              /* 1; 0: pads right and bottom only                                          */
    bool use_linear_projection;
    int conv_in_kernel, conv_out_kernel;
} im_unet_config;

typedef struct im_unet im_unet;
im_unet *im_unet_new(im_ctx *c, const im_unet_config *cfg);    /* shapes only: load im_unet_params next               */
void im_unet_free(im_unet *m);
im_params *im_unet_params(im_unet *m);

/* Keys and values of every attention over the text depend on the text alone, so they are computed once a picture and
 * handed to every evaluation: im_unet_context_count tensors kv[], keys and values in turn, each (B, T, channels of
 * its level). They belong to the open scope; a plan takes them as inputs. The bits are those of computing them anew.
 * text (B, T, cross_attention_dim) */
int im_unet_context_count(const im_unet *m);
bool im_unet_context(im_ctx *c, const im_unet *m, im_tensor *text, im_tensor *kv[]);

/* x (B, h, w, in_channels), t f32 (B): the time of each sample, kv of im_unet_context with the same B
 * ->  (B, h, w, out_channels). Any h and w. */
im_tensor *im_unet_forward(im_ctx *c, const im_unet *m, im_tensor *x, im_tensor *t, im_tensor *const kv[]);
/* The same where the network is told the guidance, too (Meng et al. 2023, arXiv 2210.03142): w f32 (B), 1000 (guidance - 1)
 * of each sample; NULL: it is not told. */
im_tensor *im_unet_forward_guided(im_ctx *c, const im_unet *m, im_tensor *x, im_tensor *t, im_tensor *w,
                                  im_tensor *const kv[]);

/* What the last layer of the way up reads from below changes little from step to step (DeepCache: Ma et al. 2023, arXiv
 * 2312.00858, branch 0). IM_UNET_KEEP gives it out, IM_UNET_REUSE takes it in and computes conv_in, that layer and conv_out
 * alone: about a tenth of the time.
 *     IM_UNET_KEEP     deep NULL                                 ->  (B, h, w, out_channels + C): the noise, then deep
 *     IM_UNET_REUSE    deep (B, h, w, C) of an earlier step      ->  (B, h, w, out_channels)
 * C: im_unet_deep_channels. */
typedef enum { IM_UNET_WHOLE, IM_UNET_KEEP, IM_UNET_REUSE } im_unet_depth;
int im_unet_deep_channels(const im_unet_config *cfg);
typedef struct im_unet_way {
    im_unet_depth depth; im_tensor *deep;
    float merge;                         /* share of the pixels of the finest level that attention over the picture   */
                                         /* sees merged with others (token_merging.c); 0: none                        */
} im_unet_way;
im_tensor *im_unet_forward_as(im_ctx *c, const im_unet *m, im_tensor *x, im_tensor *t, im_tensor *w,
                              im_tensor *const kv[], const im_unet_way *way);

#endif
