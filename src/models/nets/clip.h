/* clip.h: the CLIP text encoder (Radford et al. 2021) of Stable Diffusion v1.x. */
#ifndef IM_CLIP_H
#define IM_CLIP_H

#include "models/nets/nn.h"

typedef struct im_clip_config {          /* text_encoder/config.json: CLIPTextModel                                   */
    int vocab_size, hidden_size, intermediate_size;
    int num_hidden_layers, num_attention_heads;
    int max_position_embeddings;         /* 77                                                                        */
    im_act hidden_act;                   /* quick_gelu or gelu                                                        */
    float layer_norm_eps;
    int bos_token_id, eos_token_id, pad_token_id;
} im_clip_config;

typedef struct im_clip im_clip;
im_clip *im_clip_new(im_ctx *c, const im_clip_config *cfg);    /* shapes only: load im_clip_params next               */
void im_clip_free(im_clip *m);
im_params *im_clip_params(im_clip *m);

/* Last hidden state after final_layer_norm, causal, no padding mask.
 * ids i32 (B, T), T <= max_position_embeddings  ->  (B, T, hidden_size) */
im_tensor *im_clip_forward(im_ctx *c, const im_clip *m, im_tensor *ids);
/* The same in two halves, for vectors that stand for no token, and without the last `skip` layers. */
im_tensor *im_clip_tokens(im_ctx *c, const im_clip *m, im_tensor *ids);             /* -> (B, T, hidden_size)         */
im_tensor *im_clip_encode(im_ctx *c, const im_clip *m, im_tensor *tokens, int skip);

#endif
