/* vae.c: the autoencoder (Esser et al. 2021; Rombach et al. 2022), as diffusers' AutoencoderKL. Pictures are eight
 * times as wide and high as latents.
 *
 *     encoder: conv_in, [2 resnets, downsample] x4 (the last without), mid, norm + SiLU, conv_out, quant_conv
 *     decoder: post_quant_conv, conv_in, mid, [3 resnets, upsample] x4 (the last without), norm + SiLU, conv_out
 *     mid:     resnet, attention with one head over all pixels, resnet
 *
 * Downsampling pads right and bottom only. All group norms have eps 1e-6. A tiny autoencoder goes its own way (vae_tiny.c)
 * behind the same functions. Used by sd.c. */
#include "models/nets/vae_parts.h"

#include <stdlib.h>

static const float vae_eps = 1e-6f;

/* ---------------------------------------------------------------- structure and names */

static void residual_init(im_params *p, im_residual_block *r, const im_vae_config *cfg, int i, int cin, int cout)
{
    size_t mark = im_path_push(p, "resnets.%d", i);
    im_residual_init(p, r, &(im_residual_shape){ .cin = cin, .cout = cout, .groups = cfg->norm_num_groups,
                   .eps = vae_eps, .scale = 1.0f });
    im_path_pop(p, mark);
}

static void mid_init(im_params *p, vae_mid *mid, const im_vae_config *cfg)
{
    int channels = cfg->channels[cfg->levels - 1];
    size_t mark = im_path_push(p, "mid_block");
    mid->path = im_path_name(p);
    residual_init(p, &mid->resnets[0], cfg, 0, channels, channels);
    if (cfg->mid_block_add_attention) {
        vae_attention *a = &mid->attention;
        size_t inner = im_path_push(p, "attentions.0");
        a->path = im_path_name(p);
        im_groupnorm_init(p, "group_norm", &a->norm, channels, cfg->norm_num_groups, vae_eps);
        im_linear_init(p, "to_q", &a->to_q, channels, channels, true);
        im_linear_init(p, "to_k", &a->to_k, channels, channels, true);
        im_linear_init(p, "to_v", &a->to_v, channels, channels, true);
        im_linear_init(p, "to_out.0", &a->to_out, channels, channels, true);
        im_path_pop(p, inner);
    }
    residual_init(p, &mid->resnets[1], cfg, 1, channels, channels);
    im_path_pop(p, mark);
}

/* resampler: "downsamplers" or "upsamplers", NULL for the last stage. */
static void stage_init(im_params *p, vae_stage *s, const im_vae_config *cfg, int layers, int cin, int cout,
                       const char *resampler, int stride)
{
    s->path = im_path_name(p);
    s->resnets = im_params_alloc(p, (size_t)layers, sizeof *s->resnets);
    s->layers = s->resnets ? layers : 0;
    for (int i = 0; i < s->layers; i++)
        residual_init(p, &s->resnets[i], cfg, i, i ? cout : cin, cout);
    if (!resampler)
        return;
    size_t mark = im_path_push(p, "%s.0", resampler);
    s->resample_path = im_path_name(p);
    im_conv_init(p, "conv", &s->resample, cout, cout, 3, stride, stride == 1);
    if (stride == 2)
        s->resample.at.pad_bottom = s->resample.at.pad_right = 1;
    im_path_pop(p, mark);
}

static void encoder_init(vae_half *e, const im_vae_config *cfg)
{
    im_params *p = &e->params;
    int last = cfg->levels - 1, moments = 2 * cfg->latent_channels;
    size_t root = im_path_push(p, "encoder");
    e->out_path = "encoder.conv_out";
    im_conv_init(p, "conv_in", &e->conv_in, cfg->in_channels, cfg->channels[0], 3, 1, 1);
    for (int i = 0; i <= last; i++) {
        size_t mark = im_path_push(p, "down_blocks.%d", i);
        stage_init(p, &e->stages[i], cfg, cfg->layers_per_block, cfg->channels[i ? i - 1 : 0], cfg->channels[i],
                   i < last ? "downsamplers" : NULL, 2);
        im_path_pop(p, mark);
    }
    mid_init(p, &e->mid, cfg);
    im_groupnorm_init(p, "conv_norm_out", &e->norm_out, cfg->channels[last], cfg->norm_num_groups, vae_eps);
    im_conv_init(p, "conv_out", &e->conv_out, cfg->channels[last], moments, 3, 1, 1);
    im_path_pop(p, root);
    if (cfg->use_quant_conv)
        im_pointwise_init(p, "quant_conv", &e->quant, moments, moments);
}

static void decoder_init(vae_half *d, const im_vae_config *cfg)
{
    im_params *p = &d->params;
    int last = cfg->levels - 1;
    if (cfg->use_post_quant_conv)
        im_pointwise_init(p, "post_quant_conv", &d->quant, cfg->latent_channels, cfg->latent_channels);
    size_t root = im_path_push(p, "decoder");
    d->out_path = "decoder.conv_out";
    im_conv_init(p, "conv_in", &d->conv_in, cfg->latent_channels, cfg->channels[last], 3, 1, 1);
    mid_init(p, &d->mid, cfg);
    for (int i = 0; i <= last; i++) {                          /* up_blocks.0 is the coarsest                         */
        int level = last - i;
        size_t mark = im_path_push(p, "up_blocks.%d", i);
        stage_init(p, &d->stages[i], cfg, cfg->layers_per_block + 1, cfg->channels[i ? level + 1 : level],
                   cfg->channels[level], level ? "upsamplers" : NULL, 1);
        im_path_pop(p, mark);
    }
    im_groupnorm_init(p, "conv_norm_out", &d->norm_out, cfg->channels[0], cfg->norm_num_groups, vae_eps);
    im_conv_init(p, "conv_out", &d->conv_out, cfg->channels[0], cfg->out_channels, 3, 1, 1);
    im_path_pop(p, root);
}

im_vae *im_vae_new(im_ctx *c, const im_vae_config *cfg)
{
    if (!im_ok(c))
        return NULL;
    im_vae *m = calloc(1, sizeof *m);
    if (!m) {
        im_fail(c, "out of memory for the VAE");
        return NULL;
    }
    m->cfg = *cfg;
    im_params_init(&m->half[IM_VAE_DECODER].params, c);
    im_params_init(&m->half[IM_VAE_ENCODER].params, c);
    if (cfg->tiny.levels) {
        m->tiny[IM_VAE_DECODER] = im_tiny_decoder_new(&m->half[IM_VAE_DECODER].params, &cfg->tiny, cfg->latent_channels,
                                                      cfg->out_channels);
        m->tiny[IM_VAE_ENCODER] = im_tiny_encoder_new(&m->half[IM_VAE_ENCODER].params, &cfg->tiny, cfg->in_channels,
                                                      cfg->latent_channels);
    } else {
        decoder_init(&m->half[IM_VAE_DECODER], cfg);
        encoder_init(&m->half[IM_VAE_ENCODER], cfg);
    }
    if (!im_ok(c)) {
        im_vae_free(m);
        return NULL;
    }
    return m;
}

void im_vae_free(im_vae *m)
{
    if (!m)
        return;
    im_tiny_half_free(m->tiny[IM_VAE_DECODER]);
    im_tiny_half_free(m->tiny[IM_VAE_ENCODER]);
    im_params_free(&m->half[IM_VAE_DECODER].params);
    im_params_free(&m->half[IM_VAE_ENCODER].params);
    free(m);
}

im_params *im_vae_params(im_vae *m, im_vae_half half)
{
    return &m->half[half].params;
}

/* ---------------------------------------------------------------- forward */

/* x (B, H, W, C) -> (B, H, W, C) */
static im_tensor *attention_forward(im_ctx *c, const vae_attention *a, im_tensor *x)
{
    if (!x)
        return NULL;
    int64_t tokens[] = { x->shape[0], x->shape[1] * x->shape[2], x->shape[3] };          /* B, HW, C        */
    im_scope_push(c);
    im_tensor *skip = im_reshape(c, x, 3, tokens);                                       /* (B, HW, C)      */
    im_tensor *n = im_norm_forward(c, &a->norm, skip, false);                            /* (B, HW, C)      */
    im_tensor *q = im_linear_forward(c, &a->to_q, n, NULL, IM_ACT_NONE);                 /* (B, HW, C)      */
    im_tensor *k = im_linear_forward(c, &a->to_k, n, NULL, IM_ACT_NONE);                 /* (B, HW, C)      */
    im_tensor *v = im_linear_forward(c, &a->to_v, n, NULL, IM_ACT_NONE);                 /* (B, HW, C)      */
    im_dtype t = im_products_of(a->to_q.w);
    im_tensor *h = im_attention_beside(c, q, k, v, 1, false, t);                         /* (B, HW, C)      */
    h = im_linear_forward(c, &a->to_out, h, skip, IM_ACT_NONE);                          /* (B, HW, C)      */
    if (h)
        h = im_reshape(c, h, 4, x->shape);                                               /* (B, H, W, C)    */
    im_trace(c, a->path, h);
    return im_scope_leave(c, h);
}

static im_tensor *mid_forward(im_ctx *c, const vae_mid *m, im_tensor *h)                 /* (B, H, W, C)    */
{
    im_scope_push(c);
    h = im_residual_forward(c, &m->resnets[0], h, NULL);
    if (m->attention.norm.w)
        h = attention_forward(c, &m->attention, h);
    h = im_residual_forward(c, &m->resnets[1], h, NULL);
    im_trace(c, m->path, h);
    return im_scope_leave(c, h);
}

static im_tensor *resnets_forward(im_ctx *c, const vae_stage *s, im_tensor *h)           /* (B, H, W, C)    */
{
    for (int i = 0; i < s->layers; i++)
        h = im_residual_forward(c, &s->resnets[i], h, NULL);                             /* (B, H, W, C')   */
    return h;
}

/* h (B, H, W, C) -> (B, 2H, 2W, C) where up, else (B, H/2, W/2, C); of the last stage itself */
static im_tensor *resample_forward(im_ctx *c, const vae_stage *s, im_tensor *h, bool up)
{
    if (s->resample.w && h) {
        h = up ? im_conv_forward_up(c, &s->resample, h, 2 * (int)h->shape[1], 2 * (int)h->shape[2])
               : im_conv_forward(c, &s->resample, h, NULL, NULL);
        im_trace(c, s->resample_path, h);
    }
    im_trace(c, s->path, h);
    return h;
}

static im_tensor *stage_forward(im_ctx *c, const vae_stage *s, im_tensor *h, bool up)
{
    im_scope_push(c);
    return im_scope_leave(c, resample_forward(c, s, resnets_forward(c, s, h), up));
}

static im_tensor *out_forward(im_ctx *c, const vae_half *v, im_tensor *h)
{
    h = im_norm_forward(c, &v->norm_out, h, true);                                       /* (B, H, W, C)    */
    h = im_conv_forward(c, &v->conv_out, h, NULL, NULL);
    if (h && h->dtype != IM_F32)
        h = im_cast(c, h, IM_F32);       /* behind it: in f32 the layer's input is the largest of all                 */
    im_trace(c, v->out_path, h);
    return h;
}

im_tensor *im_vae_decode_low(im_ctx *c, const im_vae *m, im_tensor *z)
{
    const vae_half *d = &m->half[IM_VAE_DECODER];
    im_scope_push(c);
    im_tensor *h = z;                                                                    /* (B, h, w, 4)    */
    if (d->quant.w) {
        h = im_linear_forward(c, &d->quant, h, NULL, IM_ACT_NONE);                       /* (B, h, w, 4)    */
        im_trace(c, "post_quant_conv", h);
    }
    h = im_conv_forward(c, &d->conv_in, h, NULL, NULL);                                  /* (B, h, w, 512)  */
    im_trace(c, "decoder.conv_in", h);
    h = im_as_activation(&d->params, h);
    h = mid_forward(c, &d->mid, h);                                                      /* (B, h, w, 512)  */
    return im_scope_leave(c, resnets_forward(c, &d->stages[0], h));
}

im_tensor *im_vae_decode(im_ctx *c, const im_vae *m, im_tensor *z)
{
    if (!m || !z)
        return NULL;
    if (m->tiny[IM_VAE_DECODER])
        return im_tiny_decode(c, m->tiny[IM_VAE_DECODER], z);
    const vae_half *d = &m->half[IM_VAE_DECODER];
    im_scope_push(c);
    im_tensor *h = resample_forward(c, &d->stages[0], im_vae_decode_low(c, m, z), true); /* (B, 2h, 2w, 512) */
    for (int i = 1; i < m->cfg.levels; i++)
        h = stage_forward(c, &d->stages[i], h, true);
    h = out_forward(c, d, h);                                                            /* (B, 8h, 8w, 3)  */
    return im_scope_leave(c, h);
}

im_tensor *im_vae_encode(im_ctx *c, const im_vae *m, im_tensor *x)
{
    if (!m || !x)
        return NULL;
    if (m->tiny[IM_VAE_ENCODER])
        return im_tiny_encode(c, m->tiny[IM_VAE_ENCODER], x);
    const vae_half *e = &m->half[IM_VAE_ENCODER];
    im_scope_push(c);
    im_tensor *h = im_conv_forward(c, &e->conv_in, x, NULL, NULL);                       /* (B, H, W, 128)  */
    im_trace(c, "encoder.conv_in", h);
    h = im_as_activation(&e->params, h);
    for (int i = 0; i < m->cfg.levels; i++)
        h = stage_forward(c, &e->stages[i], h, false);
    h = mid_forward(c, &e->mid, h);                                                      /* (B, H/8, W/8, 512) */
    h = out_forward(c, e, h);                                                            /* (B, H/8, W/8, 8) */
    if (e->quant.w) {
        h = im_linear_forward(c, &e->quant, h, NULL, IM_ACT_NONE);                       /* (B, H/8, W/8, 8) */
        im_trace(c, "quant_conv", h);
    }
    return im_scope_leave(c, h);
}
