/* clip.c: the CLIP text encoder (Radford et al. 2021): a causal transformer over 77 tokens, pre-norm, as transformers'
 * CLIPTextModel computes it.
 *
 *     h = token[ids] + position
 *     each layer (clip_layer.c), causal
 *     states = final_layer_norm(h)
 *
 * Stable Diffusion v1.x takes all 77 states as the UNet's text; CLIP itself that of the last token. Used by sd.c and
 * clip_pair.c. */
#include "models/nets/clip.h"

#include <stdlib.h>

#include "models/nets/clip_layer.h"

struct im_clip {
    im_params params;
    im_clip_config cfg;
    im_tensor *token, *position;         /* (V, C), (77, C)                                                           */
    im_clip_layer *layers;
    im_norm_layer final_norm;
};

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
    im_clip_layer like = { .heads = cfg->num_attention_heads, .causal = true, .act = cfg->hidden_act };
    m->layers = im_clip_layers_init(p, cfg->num_hidden_layers, &like, cfg->hidden_size, cfg->intermediate_size,
                                    cfg->layer_norm_eps);
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

im_tensor *im_clip_tokens(im_ctx *c, const im_clip *m, im_tensor *ids)
{
    return m && ids ? im_embedding(c, m->token, ids) : NULL;
}

im_tensor *im_clip_encode(im_ctx *c, const im_clip *m, im_tensor *x, int skip)
{
    if (!m || !x)
        return NULL;
    int64_t tokens = x->shape[x->ndim - 2];
    if (tokens > m->cfg.max_position_embeddings) {
        im_fail(c, "text encoder: %lld tokens, but it has positions for %d", (long long)tokens,
                m->cfg.max_position_embeddings);
        return NULL;
    }
    im_scope_push(c);
    im_tensor *h = im_add(c, x, im_slice(c, m->position, 0, 0, tokens));                 /* (B, T, C) + (T, C) */
    im_trace(c, "text_model.embeddings", h);
    for (int i = 0; i < m->cfg.num_hidden_layers - skip; i++)
        h = im_clip_layer_forward(c, &m->layers[i], h);
    h = im_norm_forward(c, &m->final_norm, h, false);                                    /* (B, T, C)  */
    im_trace(c, "text_model.final_layer_norm", h);
    return im_scope_leave(c, h);
}

im_tensor *im_clip_forward(im_ctx *c, const im_clip *m, im_tensor *ids)
{
    im_scope_push(c);
    return im_scope_leave(c, im_clip_encode(c, m, im_clip_tokens(c, m, ids), 0));
}
