/* clip_layer.c: a layer of CLIP, pre-norm (Radford et al. 2021), as transformers' CLIPEncoderLayer computes it:
 *
 *     h += out(attention(q, k, v of norm1(h)));   h += fc2(act(fc1(norm2(h))))
 *
 * causal for texts, not for pictures. Used by clip.c and clip_image.c. */
#include "models/nets/clip_layer.h"

static void layer_init(im_params *p, im_clip_layer *l, int width, int inner, float eps)
{
    l->path = im_path_name(p);
    im_linear_init(p, "self_attn.k_proj", &l->k, width, width, true);
    im_linear_init(p, "self_attn.v_proj", &l->v, width, width, true);
    im_linear_init(p, "self_attn.q_proj", &l->q, width, width, true);
    im_linear_init(p, "self_attn.out_proj", &l->out, width, width, true);
    im_layernorm_init(p, "layer_norm1", &l->norm1, width, eps);
    im_linear_init(p, "mlp.fc1", &l->fc1, width, inner, true);
    im_linear_init(p, "mlp.fc2", &l->fc2, inner, width, true);
    im_layernorm_init(p, "layer_norm2", &l->norm2, width, eps);
}

im_clip_layer *im_clip_layers_init(im_params *p, int n, const im_clip_layer *like, int width, int inner, float eps)
{
    im_clip_layer *v = im_params_alloc(p, (size_t)n, sizeof *v);
    for (int i = 0; v && i < n; i++) {
        size_t mark = im_path_push(p, "encoder.layers.%d", i);
        v[i] = *like;
        layer_init(p, &v[i], width, inner, eps);
        im_path_pop(p, mark);
    }
    return v;
}

im_tensor *im_clip_layer_forward(im_ctx *c, const im_clip_layer *l, im_tensor *h)
{
    im_scope_push(c);
    im_tensor *n = im_norm_forward(c, &l->norm1, h, false);                              /* (B, T, C)  */
    im_tensor *q = im_linear_forward(c, &l->q, n, NULL, IM_ACT_NONE);                    /* (B, T, C)  */
    im_tensor *k = im_linear_forward(c, &l->k, n, NULL, IM_ACT_NONE);                    /* (B, T, C)  */
    im_tensor *v = im_linear_forward(c, &l->v, n, NULL, IM_ACT_NONE);                    /* (B, T, C)  */
    im_tensor *a = im_attention(c, q, k, v, l->heads, l->causal);                        /* (B, T, C)  */
    h = im_linear_forward(c, &l->out, a, h, IM_ACT_NONE);                                /* (B, T, C)  */

    n = im_norm_forward(c, &l->norm2, h, false);                                         /* (B, T, C)  */
    n = im_linear_forward(c, &l->fc1, n, NULL, l->act);                                  /* (B, T, 4C) */
    h = im_linear_forward(c, &l->fc2, n, h, IM_ACT_NONE);                                /* (B, T, C)  */
    im_trace(c, l->path, h);
    return im_scope_leave(c, h);
}
