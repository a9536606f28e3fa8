/* clip.c: the CLIP text encoder (Radford et al. 2021): a causal transformer over 77 tokens, pre-norm, as transformers'
 * CLIPTextModel computes it.
 *
 *     h = token[ids] + position
 *     each layer:  h += out(attention(q, k, v of norm1(h), causal));   h += fc2(quick_gelu(fc1(norm2(h))))
 *     states = final_layer_norm(h)
 *
 * Stable Diffusion v1.x takes all 77 states as the UNet's text. Used by sd.c. */
#include "models/nets/clip.h"

#include <stdlib.h>

typedef struct layer {
    im_norm_layer norm1, norm2;
    im_linear_layer q, k, v, out;        /* (C, C)                                                                    */
    im_linear_layer fc1, fc2;            /* (4C, C), (C, 4C)                                                          */
    const char *path;
} layer;

struct im_clip {
    im_params params;
    im_clip_config cfg;
    im_tensor *token, *position;         /* (V, C), (77, C)                                                           */
    layer *layers;
    im_norm_layer final_norm;
};

static void layer_init(im_params *p, layer *l, const im_clip_config *cfg)
{
    int width = cfg->hidden_size;
    l->path = im_path_name(p);
    im_linear_init(p, "self_attn.k_proj", &l->k, width, width, true);
    im_linear_init(p, "self_attn.v_proj", &l->v, width, width, true);
    im_linear_init(p, "self_attn.q_proj", &l->q, width, width, true);
    im_linear_init(p, "self_attn.out_proj", &l->out, width, width, true);
    im_layernorm_init(p, "layer_norm1", &l->norm1, width, cfg->layer_norm_eps);
    im_linear_init(p, "mlp.fc1", &l->fc1, width, cfg->intermediate_size, true);
    im_linear_init(p, "mlp.fc2", &l->fc2, cfg->intermediate_size, width, true);
    im_layernorm_init(p, "layer_norm2", &l->norm2, width, cfg->layer_norm_eps);
}

im_clip *im_clip_new(im_ctx *c, const im_clip_config *cfg)
{
    if (!im_ok(c))
        return NULL;
    im_clip *m = calloc(1, sizeof *m);
    if (!m) {
        im_fail(c, "out of memory for the text encoder");
        return NULL;
    }
    im_params *p = &m->params;
    im_params_init(p, c);
    m->cfg = *cfg;
    size_t root = im_path_push(p, "text_model");
    m->token = im_embedding_init(p, "embeddings.token_embedding", cfg->vocab_size, cfg->hidden_size);
    m->position = im_positions_init(p, "embeddings.position_embedding", cfg->max_position_embeddings,
                                    cfg->hidden_size);
    m->layers = im_params_alloc(p, (size_t)cfg->num_hidden_layers, sizeof *m->layers);
    for (int i = 0; m->layers && i < cfg->num_hidden_layers; i++) {
        size_t mark = im_path_push(p, "encoder.layers.%d", i);
        layer_init(p, &m->layers[i], cfg);
        im_path_pop(p, mark);
    }
    im_layernorm_init(p, "final_layer_norm", &m->final_norm, cfg->hidden_size, cfg->layer_norm_eps);
    im_path_pop(p, root);
    if (!im_ok(c)) {
        im_clip_free(m);
        return NULL;
    }
    return m;
}

void im_clip_free(im_clip *m)
{
    if (!m)
        return;
    im_params_free(&m->params);
    free(m);
}

im_params *im_clip_params(im_clip *m)
{
    return &m->params;
}

/* h (B, T, C) -> (B, T, C) */
static im_tensor *layer_forward(im_ctx *c, const layer *l, const im_clip_config *cfg, im_tensor *h)
{
    im_scope_push(c);
    im_tensor *n = im_norm_forward(c, &l->norm1, h, false);                              /* (B, T, C)  */
    im_tensor *q = im_linear_forward(c, &l->q, n, NULL, IM_ACT_NONE);                    /* (B, T, C)  */
    im_tensor *k = im_linear_forward(c, &l->k, n, NULL, IM_ACT_NONE);                    /* (B, T, C)  */
    im_tensor *v = im_linear_forward(c, &l->v, n, NULL, IM_ACT_NONE);                    /* (B, T, C)  */
    im_tensor *a = im_attention(c, q, k, v, cfg->num_attention_heads, true);             /* (B, T, C)  */
    h = im_linear_forward(c, &l->out, a, h, IM_ACT_NONE);                                /* (B, T, C)  */

    n = im_norm_forward(c, &l->norm2, h, false);                                         /* (B, T, C)  */
    n = im_linear_forward(c, &l->fc1, n, NULL, cfg->hidden_act);                         /* (B, T, 4C) */
    h = im_linear_forward(c, &l->fc2, n, h, IM_ACT_NONE);                                /* (B, T, C)  */
    im_trace(c, l->path, h);
    return im_scope_leave(c, h);
}

im_tensor *im_clip_forward(im_ctx *c, const im_clip *m, im_tensor *ids)
{
    if (!m || !ids)
        return NULL;
    int64_t tokens = ids->shape[ids->ndim - 1];
    if (tokens > m->cfg.max_position_embeddings) {
        im_fail(c, "text encoder: %lld tokens, but it has positions for %d", (long long)tokens,
                m->cfg.max_position_embeddings);
        return NULL;
    }
    im_scope_push(c);
    im_tensor *h = im_embedding(c, m->token, ids);                                       /* (B, T, C)  */
    h = im_add(c, h, im_slice(c, m->position, 0, 0, tokens));                            /* + (T, C)   */
    im_trace(c, "text_model.embeddings", h);
    for (int i = 0; i < m->cfg.num_hidden_layers; i++)
        h = layer_forward(c, &m->layers[i], &m->cfg, h);
    h = im_norm_forward(c, &m->final_norm, h, false);                                    /* (B, T, C)  */
    im_trace(c, "text_model.final_layer_norm", h);
    return im_scope_leave(c, h);
}
