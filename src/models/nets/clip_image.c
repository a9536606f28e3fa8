/* clip_image.c: CLIP's tower for pictures: a vision transformer (Dosovitskiy et al. 2021) as transformers' CLIPVisionModel
 * computes it, and the projections of CLIPModel.
 *
 *     h = [class token, patches of x] + position;   h = pre_layrnorm(h);   the layers of clip_layer.c, not causal
 *     picture = visual_projection(post_layernorm(h of the class token))       text = text_projection(state of its end)
 *
 * Used by clip_pair.c. */
#include "models/nets/clip_image.h"

#include <stdlib.h>

#include "models/nets/clip_layer.h"

struct im_clip_image {
    im_params params;
    im_clip_image_config cfg;
    im_tensor *token, *position;         /* (C), (1 + N, C)                                                           */
    im_conv_layer patch;                 /* (C, P, P, 3), stride P                                                    */
    im_norm_layer before, after;
    im_clip_layer *layers;
    im_linear_layer picture, text;       /* (D, C), (D, text_width)                                                   */
};

im_clip_image *im_clip_image_new(im_ctx *c, const im_clip_image_config *cfg)
{
    if (!im_ok(c))
        return NULL;
    im_clip_image *m = calloc(1, sizeof *m);
    if (!m) {
        im_fail(c, "out of memory for the picture encoder");
        return NULL;
    }
    im_params *p = &m->params;
    int width = cfg->hidden_size, side = cfg->image_size / cfg->patch_size;
    im_params_init(p, c);
    m->cfg = *cfg;
    size_t root = im_path_push(p, "vision_model");
    m->token = im_vector_init(p, "embeddings.class_embedding", width);
    im_conv_plain_init(p, "embeddings.patch_embedding", &m->patch, 3, width, cfg->patch_size, cfg->patch_size, 0);
    m->position = im_positions_init(p, "embeddings.position_embedding", 1 + side * side, width);
    im_layernorm_init(p, "pre_layrnorm", &m->before, width, cfg->layer_norm_eps);      /* written so in checkpoints   */
    im_clip_layer like = { .heads = cfg->num_attention_heads, .act = cfg->hidden_act };
    m->layers = im_clip_layers_init(p, cfg->num_hidden_layers, &like, width, cfg->intermediate_size, cfg->layer_norm_eps);
    im_layernorm_init(p, "post_layernorm", &m->after, width, cfg->layer_norm_eps);
    im_path_pop(p, root);
    im_linear_init(p, "visual_projection", &m->picture, width, cfg->projection_dim, false);
    im_linear_init(p, "text_projection", &m->text, cfg->text_width, cfg->projection_dim, false);
    if (im_ok(c))
        return m;
    im_clip_image_free(m);
    return NULL;
}

void im_clip_image_free(im_clip_image *m)
{
    if (!m)
        return;
    im_params_free(&m->params);
    free(m);
}

im_params *im_clip_image_params(im_clip_image *m)
{
    return &m->params;
}

im_tensor *im_clip_image_pooled(im_ctx *c, const im_clip_image *m, im_tensor *x, im_tensor *zeros)
{
    if (!m || !x || !zeros)
        return NULL;
    int64_t batch = x->shape[0], width = m->cfg.hidden_size, side = m->cfg.image_size / m->cfg.patch_size;
    int64_t tokens = 1 + side * side;
    if (x->shape[1] != m->cfg.image_size || x->shape[2] != m->cfg.image_size) {
        im_fail(c, "picture encoder: a picture of %lldx%lld; wanted %d", (long long)x->shape[2], (long long)x->shape[1],
                m->cfg.image_size);
        return NULL;
    }
    im_scope_push(c);
    im_tensor *h = im_conv_forward(c, &m->patch, x, NULL, NULL);                         /* (B, side, side, C) */
    h = im_reshape(c, h, 2, (int64_t[]){ batch, (tokens - 1) * width });
    im_tensor *first = im_embedding(c, im_reshape(c, m->token, 2, (int64_t[]){ 1, width }), zeros);     /* (B, 1, C)  */
    first = im_reshape(c, first, 2, (int64_t[]){ batch, width });
    h = im_reshape(c, im_concat(c, first, h), 3, (int64_t[]){ batch, tokens, width });
    h = im_add(c, h, m->position);                                                       /* (B, T, C)  */
    h = im_norm_forward(c, &m->before, h, false);
    im_trace(c, "vision_model.pre_layrnorm", h);
    for (int i = 0; i < m->cfg.num_hidden_layers; i++)
        h = im_clip_layer_forward(c, &m->layers[i], h);
    h = im_slice(c, im_reshape(c, h, 2, (int64_t[]){ batch, tokens * width }), 1, 0, width);
    return im_scope_leave(c, im_norm_forward(c, &m->after, h, false));                   /* (B, C)     */
}

im_tensor *im_clip_image_forward(im_ctx *c, const im_clip_image *m, im_tensor *x, im_tensor *zeros)
{
    im_tensor *h = im_clip_image_pooled(c, m, x, zeros);
    return h ? im_linear_forward(c, &m->picture, h, NULL, IM_ACT_NONE) : NULL;           /* (B, D)     */
}

im_tensor *im_clip_text_project(im_ctx *c, const im_clip_image *m, im_tensor *states)
{
    return im_linear_forward(c, &m->text, states, NULL, IM_ACT_NONE);                    /* (B, D)     */
}
