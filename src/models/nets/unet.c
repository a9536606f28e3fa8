/* unet.c: the noise predictor of Stable Diffusion v1.x (Rombach et al. 2022), as diffusers' UNet2DConditionModel.
 *
 *     x (B, 64, 64, 4)                                                            noise (B, 64, 64, 4)
 *       | conv_in                                                                   ^ conv_out, norm + SiLU
 *     level 0, 320   resnet, transformer  x2  ------------- skips ------------>  resnet, transformer  x3
 *       v stride 2                                                                  ^ twice as large
 *     level 1, 640   resnet, transformer  x2  ------------- skips ------------>  resnet, transformer  x3
 *       v                                                                           ^
 *     level 2, 1280  resnet, transformer  x2  ------------- skips ------------>  resnet, transformer  x3
 *       v                                                                           ^
 *     level 3, 1280  resnet               x2  ------------- skips ------------>  resnet               x3
 *       +----------------------> mid: resnet, transformer, resnet  -----------------+
 *
 * Every resnet is told the time, every transformer the text. The way down remembers each block's output; the way up
 * reads them back, last one first, as further channels of its input. Widths and counts are the configuration's.
 * Blocks: unet_blocks.c. Used by sd.c. */
#include "models/nets/unet.h"
#include "models/nets/unet_blocks.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct stage {                   /* one level of the way down or up                                           */
    int layers;
    im_residual_block *resnets;
    im_transformer *attentions;          /* NULL: a level without transformers                                        */
    im_conv_layer resample;              /* downsamplers.0.conv or upsamplers.0.conv; w NULL: the last level          */
    const char *path, *resample_path;
} stage;

struct im_unet {
    im_params params;
    im_unet_config cfg;
    im_linear_layer time_linear1, time_linear2;
    im_linear_layer cond_proj;           /* of the guidance; w NULL: none                                             */
    im_conv_layer conv_in, conv_out;
    im_norm_layer conv_norm_out;
    stage down[IM_MAX_LEVELS], up[IM_MAX_LEVELS];              /* up[0] is the coarsest                               */
    im_residual_block mid_resnets[2];
    im_transformer mid_attention;
    im_transformer **transformers;       /* all of them, in order                                                     */
    int n_transformers, n_kv;
    im_tensor **skips;                   /* room for the stack of one forward                                         */
    im_tensor *minus_one;                /* (in_channels) of -1, for center_input_sample; else NULL                   */
};

/* ---------------------------------------------------------------- structure and names */

static void residual_init(im_unet *m, im_residual_block *r, const char *name, int i, int cin, int cout, float scale)
{
    size_t mark = im_path_push(&m->params, "%s.%d", name, i);
    im_residual_init(&m->params, r, &(im_residual_shape){ .cin = cin, .cout = cout, .time = m->cfg.time_embed_dim,
                   .groups = m->cfg.norm_num_groups, .eps = m->cfg.norm_eps, .scale = scale });
    im_path_pop(&m->params, mark);
}

static void transformer_init(im_unet *m, im_transformer *t, int i, const im_unet_level *l, bool only_cross)
{
    size_t mark = im_path_push(&m->params, "attentions.%d", i);
    im_transformer_init(&m->params, t, &(im_transformer_shape){ .channels = l->channels, .heads = l->heads,
                        .layers = l->transformer_layers, .text = l->cross_attention_dim,
                        .groups = m->cfg.norm_num_groups, .linear_projection = m->cfg.use_linear_projection,
                        .only_cross_attention = only_cross }, &m->n_kv);
    im_path_pop(&m->params, mark);
    m->transformers[m->n_transformers++] = t;
}

static void resample_init(im_unet *m, stage *s, const char *name, int channels, int stride, int pad)
{
    size_t mark = im_path_push(&m->params, "%s.0", name);
    s->resample_path = im_path_name(&m->params);
    im_conv_init(&m->params, "conv", &s->resample, channels, channels, 3, stride, pad);
    im_path_pop(&m->params, mark);
}

static bool stage_lists(im_unet *m, stage *s, int layers, bool attention)
{
    s->path = im_path_name(&m->params);
    s->layers = layers;
    s->resnets = im_params_alloc(&m->params, (size_t)layers, sizeof *s->resnets);
    s->attentions = attention ? im_params_alloc(&m->params, (size_t)layers, sizeof *s->attentions) : NULL;
    return im_ok(m->params.c);
}

static void down_init(im_unet *m, int level, int cin)
{
    const im_unet_level *l = &m->cfg.level[level];
    stage *s = &m->down[level];
    if (!stage_lists(m, s, l->layers, l->down_attention))
        return;
    for (int i = 0; i < s->layers; i++) {
        residual_init(m, &s->resnets[i], "resnets", i, i ? l->channels : cin, l->channels, 1.0f);
        if (s->attentions)
            transformer_init(m, &s->attentions[i], i, l, l->only_cross_attention);
    }
    if (level + 1 < m->cfg.levels) {
        resample_init(m, s, "downsamplers", l->channels, 2, m->cfg.downsample_padding);
        if (m->cfg.downsample_padding == 0)
            s->resample.at.pad_bottom = s->resample.at.pad_right = 1;
    }
}

/* cin: channels of what comes from below. The skips are, from the last: this level's blocks, then the output of the
 * level above (in the picture), which had that level's channels. */
static void up_init(im_unet *m, int level, int cin)
{
    const im_unet_level *l = &m->cfg.level[level];
    int finer = level ? m->cfg.level[level - 1].channels : l->channels;
    stage *s = &m->up[m->cfg.levels - 1 - level];
    if (!stage_lists(m, s, l->layers + 1, l->up_attention))
        return;
    for (int i = 0; i < s->layers; i++) {
        int below = i ? l->channels : cin, skip = i + 1 < s->layers ? l->channels : finer;
        residual_init(m, &s->resnets[i], "resnets", i, below + skip, l->channels, 1.0f);
        if (s->attentions)
            transformer_init(m, &s->attentions[i], i, l, l->only_cross_attention);
    }
    if (level)
        resample_init(m, s, "upsamplers", l->channels, 1, 1);
}

static void mid_init(im_unet *m)
{
    const im_unet_level *l = &m->cfg.level[m->cfg.levels - 1];
    float scale = m->cfg.mid_block_scale_factor;
    size_t mark = im_path_push(&m->params, "mid_block");
    residual_init(m, &m->mid_resnets[0], "resnets", 0, l->channels, l->channels, scale);
    transformer_init(m, &m->mid_attention, 0, l, false);
    residual_init(m, &m->mid_resnets[1], "resnets", 1, l->channels, l->channels, scale);
    im_path_pop(&m->params, mark);
}

static void make_minus_one(im_unet *m)
{
    im_ctx *c = m->params.c;
    int n = m->cfg.in_channels;
    float *values = malloc((size_t)n * sizeof *values);
    if (!values) {
        im_fail(c, "out of memory for the UNet");
        return;
    }
    for (int i = 0; i < n; i++)
        values[i] = -1.0f;
    m->minus_one = im_param_new(c, "center_input_sample", IM_F32, 1, (int64_t[]){ n });
    if (m->minus_one && im_param_alloc(c, m->minus_one, (im_weight_layout){ .dtype = IM_F32 }))
        im_param_load(c, m->minus_one, values, IM_F32, false);
    free(values);
}

static void build(im_unet *m)
{
    const im_unet_config *cfg = &m->cfg;
    im_params *p = &m->params;
    int finest = cfg->level[0].channels, levels = cfg->levels, blocks = 1;
    for (int i = 0; i < levels; i++)
        blocks += 2 * cfg->level[i].layers + 1;
    m->transformers = im_params_alloc(p, (size_t)blocks, sizeof *m->transformers);
    m->skips = im_params_alloc(p, (size_t)blocks, sizeof *m->skips);
    if (!im_ok(p->c))
        return;
    p->wide = true;                                            /* what the network sees, says and knows of time       */
    im_conv_init(p, "conv_in", &m->conv_in, cfg->in_channels, finest, cfg->conv_in_kernel, 1,
                 (cfg->conv_in_kernel - 1) / 2);
    im_linear_init(p, "time_embedding.linear_1", &m->time_linear1, finest, cfg->time_embed_dim, true);
    im_linear_init(p, "time_embedding.linear_2", &m->time_linear2, cfg->time_embed_dim, cfg->time_embed_dim, true);
    if (cfg->time_cond_proj_dim)
        im_linear_init(p, "time_embedding.cond_proj", &m->cond_proj, cfg->time_cond_proj_dim, finest, false);
    p->wide = false;
    for (int i = 0; i < levels; i++) {
        size_t mark = im_path_push(p, "down_blocks.%d", i);
        down_init(m, i, cfg->level[i ? i - 1 : 0].channels);
        im_path_pop(p, mark);
    }
    if (cfg->has_mid)
        mid_init(m);
    for (int i = levels - 1; i >= 0; i--) {
        size_t mark = im_path_push(p, "up_blocks.%d", levels - 1 - i);
        up_init(m, i, cfg->level[i + 1 < levels ? i + 1 : i].channels);
        im_path_pop(p, mark);
    }
    im_groupnorm_init(p, "conv_norm_out", &m->conv_norm_out, finest, cfg->norm_num_groups, cfg->norm_eps);
    p->wide = true;
    im_conv_init(p, "conv_out", &m->conv_out, finest, cfg->out_channels, cfg->conv_out_kernel, 1,
                 (cfg->conv_out_kernel - 1) / 2);
    if (cfg->center_input_sample)
        make_minus_one(m);
}

im_unet *im_unet_new(im_ctx *c, const im_unet_config *cfg)
{
    if (!im_ok(c))
        return NULL;
    im_unet *m = calloc(1, sizeof *m);
    if (!m) {
        im_fail(c, "out of memory for the UNet");
        return NULL;
    }
    im_params_init(&m->params, c);
    m->cfg = *cfg;
    build(m);
    if (!im_ok(c)) {
        im_unet_free(m);
        return NULL;
    }
    return m;
}

void im_unet_free(im_unet *m)
{
    if (!m)
        return;
    if (m->minus_one)
        im_param_free(m->params.c, m->minus_one);
    im_params_free(&m->params);
    free(m);
}

im_params *im_unet_params(im_unet *m)
{
    return &m->params;
}

/* ---------------------------------------------------------------- the text's part */

int im_unet_context_count(const im_unet *m)
{
    return m->n_kv;
}

bool im_unet_context(im_ctx *c, const im_unet *m, im_tensor *text, im_tensor *kv[])
{
    text = im_as_activation(&m->params, text);
    for (int i = 0; i < m->n_transformers; i++)
        im_transformer_context(c, m->transformers[i], text, kv);
    return im_ok(c);
}

/* ---------------------------------------------------------------- forward */

/* silu(linear_2(silu(linear_1(sinusoids of t + cond_proj(sinusoids of w))))).   t, w (B) -> (B, 1280). Every resnet wants
 * it after SiLU: done once. w NULL: without. The sinusoids of w are those of diffusers' get_guidance_scale_embedding. */
static im_tensor *time_forward(im_ctx *c, const im_unet *m, im_tensor *t, im_tensor *w)
{
    im_scope_push(c);
    im_tensor *e = im_timestep_embedding(c, t, m->cfg.level[0].channels, m->cfg.flip_sin_to_cos, m->cfg.freq_shift);
    if (w && m->cond_proj.w) {
        im_tensor *g = im_timestep_embedding(c, w, m->cfg.time_cond_proj_dim, false, 1);
        e = im_linear_forward(c, &m->cond_proj, g, e, IM_ACT_NONE);                      /* (B, 320)        */
    }
    e = im_linear_forward(c, &m->time_linear1, e, NULL, IM_ACT_SILU);                    /* (B, 1280)       */
    e = im_linear_forward(c, &m->time_linear2, e, NULL, IM_ACT_NONE);                    /* (B, 1280)       */
    im_trace(c, "time_embedding", e);
    return im_scope_leave(c, im_activate(c, e, IM_ACT_SILU));
}

/* What one evaluation carries along. */
typedef struct run {
    im_ctx *c;
    im_tensor *time;                     /* (B, 1280)                                                                 */
    im_tensor *const *kv;
    im_tensor **skips;                   /* a stack                                                                   */
    int n_skips;
    float merge;                         /* share of tokens merged at the finest level, which has `pixels` of them    */
    int64_t pixels;
} run;

static float merge_of(const run *u, const im_tensor *h)
{
    return h && h->shape[1] * h->shape[2] == u->pixels ? u->merge : 0;
}

/* h (B, H, W, C) -> the next level's (B, H/2, W/2, C') */
static im_tensor *down_forward(run *u, const stage *s, im_tensor *h)
{
    for (int i = 0; i < s->layers; i++) {
        h = im_residual_forward(u->c, &s->resnets[i], h, u->time);                       /* (B, H, W, C')   */
        if (s->attentions)
            h = im_transformer_forward(u->c, &s->attentions[i], h, u->kv, merge_of(u, h));   /* (B, H, W, C') */
        u->skips[u->n_skips++] = h;
    }
    if (s->resample.w) {
        h = im_conv_forward(u->c, &s->resample, h, NULL, NULL);                          /* (B, H/2, W/2, C') */
        im_trace(u->c, s->resample_path, h);
        u->skips[u->n_skips++] = h;
    }
    im_trace(u->c, s->path, h);
    return h;
}

/* Layers [from, to) of a level; behind its last one, h (B, H, W, C) becomes the next level's (B, 2H, 2W, C'), or one less
 * where the way down had an odd size. */
static im_tensor *up_forward(run *u, const stage *s, im_tensor *h, int from, int to)
{
    im_scope_push(u->c);
    for (int i = from; i < to; i++) {
        h = im_concat(u->c, h, u->skips[--u->n_skips]);                                  /* (B, H, W, C + Cskip) */
        h = im_residual_forward(u->c, &s->resnets[i], h, u->time);                       /* (B, H, W, C')   */
        if (s->attentions)
            h = im_transformer_forward(u->c, &s->attentions[i], h, u->kv, merge_of(u, h));   /* (B, H, W, C') */
    }
    if (to == s->layers && s->resample.w && im_ok(u->c)) {
        const im_tensor *next = u->skips[u->n_skips - 1];                                /* (B, 2H, 2W, ..) */
        h = im_conv_forward_up(u->c, &s->resample, h, (int)next->shape[1], (int)next->shape[2]);
        im_trace(u->c, s->resample_path, h);
    }
    if (to == s->layers) im_trace(u->c, s->path, h);
    return im_scope_leave(u->c, h);
}

static im_tensor *mid_forward(run *u, const im_unet *m, im_tensor *h)                    /* (B, H, W, C)    */
{
    im_scope_push(u->c);
    h = im_residual_forward(u->c, &m->mid_resnets[0], h, u->time);
    h = im_transformer_forward(u->c, &m->mid_attention, h, u->kv, merge_of(u, h));
    h = im_residual_forward(u->c, &m->mid_resnets[1], h, u->time);
    im_trace(u->c, "mid_block", h);
    return im_scope_leave(u->c, h);
}

im_tensor *im_unet_forward(im_ctx *c, const im_unet *m, im_tensor *x, im_tensor *t, im_tensor *const kv[])
{
    return im_unet_forward_guided(c, m, x, t, NULL, kv);
}

im_tensor *im_unet_forward_guided(im_ctx *c, const im_unet *m, im_tensor *x, im_tensor *t, im_tensor *w,
                                  im_tensor *const kv[])
{
    return im_unet_forward_as(c, m, x, t, w, kv, &(im_unet_way){ .depth = IM_UNET_WHOLE });
}

int im_unet_deep_channels(const im_unet_config *cfg)
{
    bool from_below = cfg->level[0].layers == 0 && cfg->levels > 1;
    return cfg->level[from_below ? 1 : 0].channels;
}

/* h = conv_in(x) (B, H, W, 320) -> what the last layer of the way up reads from below, (B, H, W, C) */
static im_tensor *deep_forward(run *u, const im_unet *m, im_tensor *h)
{
    const stage *last = &m->up[m->cfg.levels - 1];
    for (int i = 0; i < m->cfg.levels; i++)
        h = down_forward(u, &m->down[i], h);
    if (m->cfg.has_mid)
        h = mid_forward(u, m, h);
    for (const stage *s = m->up; s < last; s++)
        h = up_forward(u, s, h, 0, s->layers);
    return up_forward(u, last, h, 0, last->layers - 1);
}

static im_tensor *as_f32(im_ctx *c, im_tensor *h)
{
    return h && h->dtype != IM_F32 ? im_cast(c, h, IM_F32) : h;
}

im_tensor *im_unet_forward_as(im_ctx *c, const im_unet *m, im_tensor *x, im_tensor *t, im_tensor *w,
                              im_tensor *const kv[], const im_unet_way *way)
{
    if (!m || !x || !t)
        return NULL;
    const stage *last = &m->up[m->cfg.levels - 1];
    im_scope_push(c);
    run u = { .c = c, .kv = kv, .skips = m->skips, .time = time_forward(c, m, t, w), .merge = way->merge,
              .pixels = x->shape[1] * x->shape[2] };
    if (m->minus_one)
        x = im_add(c, im_scale(c, x, 2.0f), m->minus_one);                               /* (B, H, W, 4)    */
    im_trace(c, "sample", x);
    im_tensor *h = im_conv_forward(c, &m->conv_in, x, NULL, NULL);                       /* (B, H, W, 320)  */
    im_trace(c, "conv_in", h);
    h = im_as_activation(&m->params, h);
    u.skips[u.n_skips++] = h;
    im_tensor *deep = way->depth == IM_UNET_REUSE ? im_as_activation(&m->params, way->deep) : deep_forward(&u, m, h);
    h = up_forward(&u, last, deep, last->layers - 1, last->layers);
    h = im_norm_forward(c, &m->conv_norm_out, h, true);                                  /* (B, H, W, 320)  */
    h = im_conv_forward(c, &m->conv_out, as_f32(c, h), NULL, NULL);                      /* (B, H, W, 4)    */
    im_trace(c, "conv_out", h);                                                          /* not rounded     */
    if (way->depth == IM_UNET_KEEP)
        h = im_concat(c, h, as_f32(c, deep));
    return im_scope_leave(c, h);
}
