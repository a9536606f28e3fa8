/* unet_blocks.c: the residual block and the transformer of the UNet (Rombach et al. 2022, appendix; Ho et al. 2020).
 * Formulas are in unet_blocks.h. Every skip connection is the `res` argument of the operation before it, so no sum is
 * a pass over memory of its own. Used by unet.c, the residual block by vae.c too. */
#include "models/nets/unet_blocks.h"
#include "models/nets/token_merging.h"

#include <stddef.h>

/* ---------------------------------------------------------------- residual block */

void im_residual_init(im_params *p, im_residual_block *r, const im_residual_shape *s)
{
    r->path = im_path_name(p);
    r->of = p;
    r->scale = s->scale;
    im_groupnorm_init(p, "norm1", &r->norm1, s->cin, s->groups, s->eps);
    im_conv_init(p, "conv1", &r->conv1, s->cin, s->cout, 3, 1, 1);
    p->wide = true;
    if (s->time)
        im_linear_init(p, "time_emb_proj", &r->time_emb_proj, s->time, s->cout, true);
    p->wide = false;
    im_groupnorm_init(p, "norm2", &r->norm2, s->cout, s->groups, s->eps);
    im_conv_init(p, "conv2", &r->conv2, s->cout, s->cout, 3, 1, 1);
    if (s->cin != s->cout)
        im_pointwise_init(p, "conv_shortcut", &r->conv_shortcut, s->cin, s->cout);
}

static im_tensor *residual_body(im_ctx *c, const im_residual_block *r, im_tensor *x, im_tensor *time)
{
    im_scope_push(c);
    /* The shortcut comes first: norm1 is then the last to read x and a plan lets it write over x. In the VAE at
     * 512 x 512 x 256 that is a quarter of a gigabyte. */
    im_tensor *skip = x;                                                                 /* (B, H, W, Cout) */
    if (r->conv_shortcut.w)
        skip = im_linear_forward(c, &r->conv_shortcut, x, NULL, IM_ACT_NONE);
    im_tensor *shift = NULL;                                                             /* (B, Cout)       */
    if (r->time_emb_proj.w)
        shift = im_linear_forward(c, &r->time_emb_proj, time, NULL, IM_ACT_NONE);

    im_tensor *h = im_norm_forward(c, &r->norm1, x, true);                               /* (B, H, W, Cin)  */
    h = im_conv_forward(c, &r->conv1, h, shift, NULL);                                   /* (B, H, W, Cout) */
    h = im_norm_forward(c, &r->norm2, h, true);                                          /* (B, H, W, Cout) */
    h = im_conv_forward(c, &r->conv2, h, NULL, skip);                                    /* (B, H, W, Cout) */
    if (r->scale != 1.0f)
        h = im_scale(c, h, 1.0f / r->scale);
    im_trace(c, r->path, h);
    return im_scope_leave(c, h);
}

static im_tensor *resnet_again(im_ctx *c, void *arg, im_tensor *const in[], int n_in)
{
    return residual_body(c, arg, in[0], n_in > 1 ? in[1] : NULL);
}

im_tensor *im_residual_forward(im_ctx *c, const im_residual_block *r, im_tensor *x, im_tensor *time)
{
    if (!r->of->recompute)
        return residual_body(c, r, x, time);
    return im_recompute(c, resnet_again, (void *)(uintptr_t)r, (im_tensor *[]){ x, time }, time ? 2 : 1);
}

/* ---------------------------------------------------------------- transformer */

static const char *path_of(im_params *p, const char *name)
{
    size_t mark = im_path_push(p, "%s", name);
    const char *path = im_path_name(p);
    im_path_pop(p, mark);
    return path;
}

static void attn_init(im_params *p, const char *name, im_attn *a, int channels, int text, int *n_kv)
{
    size_t mark = im_path_push(p, "%s", name);
    im_linear_init(p, "to_q", &a->to_q, channels, channels, false);
    im_linear_init(p, "to_k", &a->to_k, text ? text : channels, channels, false);
    im_linear_init(p, "to_v", &a->to_v, text ? text : channels, channels, false);
    im_linear_init(p, "to_out.0", &a->to_out, channels, channels, true);
    if (text) {
        a->q_path = path_of(p, "to_q");
        a->k_path = path_of(p, "to_k");
    }
    im_path_pop(p, mark);
    a->kv = text ? *n_kv : -1;
    if (text)
        *n_kv += 2;
}

static void block_init(im_params *p, im_transformer_block *b, const im_transformer_shape *s, int *n_kv)
{
    b->path = im_path_name(p);
    im_layernorm_init(p, "norm1", &b->norm1, s->channels, 1e-5f);
    attn_init(p, "attn1", &b->attn1, s->channels, s->only_cross_attention ? s->text : 0, n_kv);
    im_layernorm_init(p, "norm2", &b->norm2, s->channels, 1e-5f);
    attn_init(p, "attn2", &b->attn2, s->channels, s->text, n_kv);
    im_layernorm_init(p, "norm3", &b->norm3, s->channels, 1e-5f);
    im_geglu_init(p, "ff.net.0.proj", &b->ff_in, s->channels, 4 * s->channels);
    im_linear_init(p, "ff.net.2", &b->ff_out, 4 * s->channels, s->channels, true);
}

static void projection_init(im_params *p, const char *name, im_linear_layer *l, const im_transformer_shape *s)
{
    if (s->linear_projection)
        im_linear_init(p, name, l, s->channels, s->channels, true);
    else
        im_pointwise_init(p, name, l, s->channels, s->channels);
}

void im_transformer_init(im_params *p, im_transformer *t, const im_transformer_shape *s, int *n_kv)
{
    t->path = im_path_name(p);
    t->of = p;
    t->heads = s->heads;
    t->first_kv = *n_kv;
    im_groupnorm_init(p, "norm", &t->norm, s->channels, s->groups, 1e-6f);
    projection_init(p, "proj_in", &t->proj_in, s);
    t->blocks = im_params_alloc(p, (size_t)s->layers, sizeof *t->blocks);
    t->n_blocks = t->blocks ? s->layers : 0;
    for (int i = 0; i < t->n_blocks; i++) {
        size_t mark = im_path_push(p, "transformer_blocks.%d", i);
        block_init(p, &t->blocks[i], s, &t->n_kv);
        im_path_pop(p, mark);
    }
    *n_kv += t->n_kv;
    projection_init(p, "proj_out", &t->proj_out, s);
}

/* Queries and keys over the text as (B, T, heads, C / heads): of these, and not of what attention gives, maps of words
 * are made. */
static void trace_heads(im_ctx *c, const char *path, im_tensor *t, int heads)
{
    if (t && im_tracing(c))
        im_trace(c, path, im_reshape(c, t, 4, (int64_t[]){ t->shape[0], t->shape[1], heads, t->shape[2] / heads }));
}

static void attn_context(im_ctx *c, const im_attn *a, int heads, im_tensor *text, im_tensor *kv[])
{
    if (a->kv < 0)
        return;
    kv[a->kv] = im_linear_forward(c, &a->to_k, text, NULL, IM_ACT_NONE);                 /* (B, T, C)       */
    kv[a->kv + 1] = im_linear_forward(c, &a->to_v, text, NULL, IM_ACT_NONE);             /* (B, T, C)       */
    trace_heads(c, a->k_path, kv[a->kv], heads);
}

void im_transformer_context(im_ctx *c, const im_transformer *t, im_tensor *text, im_tensor *kv[])
{
    for (int i = 0; i < t->n_blocks; i++) {
        attn_context(c, &t->blocks[i].attn1, t->heads, text, kv + t->first_kv);
        attn_context(c, &t->blocks[i].attn2, t->heads, text, kv + t->first_kv);
    }
}

/* h + to_out(attention of n = norm(h)).   h, n (B, HW, C) -> (B, HW, C) */
static im_tensor *attn_forward(im_ctx *c, const im_attn *a, int heads, im_tensor *n, im_tensor *h,
                               im_tensor *const kv[])
{
    im_tensor *q = im_linear_forward(c, &a->to_q, n, NULL, IM_ACT_NONE);                 /* (B, HW, C)      */
    im_tensor *k, *v;                                                                    /* (B, HW or T, C) */
    if (a->kv >= 0) {
        trace_heads(c, a->q_path, q, heads);
        k = kv[a->kv];
        v = kv[a->kv + 1];
    } else {
        k = im_linear_forward(c, &a->to_k, n, NULL, IM_ACT_NONE);
        v = im_linear_forward(c, &a->to_v, n, NULL, IM_ACT_NONE);
    }
    im_dtype t = im_products_of(a->to_q.w);
    im_tensor *o = im_attention_beside(c, q, k, v, heads, false, t);                     /* (B, HW, C)      */
    return im_linear_forward(c, &a->to_out, o, h, IM_ACT_NONE);
}

typedef struct merging { int height, width; float ratio; } merging;       /* of the picture; ratio 0: nothing is merged */

/* The same over the picture, of which a share of tokens is merged meanwhile.   h (B, HW, C) -> (B, HW, C) */
static im_tensor *merged_forward(im_ctx *c, const im_transformer_block *b, int heads, im_tensor *h, im_tensor *const kv[],
                                 const merging *merge)
{
    im_tokens t = im_tokens_match(c, h, merge->height, merge->width, merge->ratio);
    im_tensor *n = im_tokens_merge(c, t, im_norm_forward(c, &b->norm1, h, false));           /* (B, left, C) */
    if (!t.row) return attn_forward(c, &b->attn1, heads, n, h, kv);
    im_tensor *o = im_tokens_spread(c, t, attn_forward(c, &b->attn1, heads, n, NULL, kv));   /* (B, HW, C)  */
    return o ? im_add(c, o, h) : NULL;
}

/* h (B, HW, C) -> (B, HW, C) */
static im_tensor *block_forward(im_ctx *c, const im_transformer_block *b, int heads, im_tensor *h,
                                im_tensor *const kv[], const merging *merge)
{
    im_scope_push(c);
    h = merged_forward(c, b, heads, h, kv, merge);                                           /* (B, HW, C)  */
    h = attn_forward(c, &b->attn2, heads, im_norm_forward(c, &b->norm2, h, false), h, kv);   /* (B, HW, C)  */
    im_tensor *f = im_geglu_forward(c, &b->ff_in, im_norm_forward(c, &b->norm3, h, false));  /* (B, HW, 4C) */
    h = im_linear_forward(c, &b->ff_out, f, h, IM_ACT_NONE);                                 /* (B, HW, C)  */
    im_trace(c, b->path, h);
    return im_scope_leave(c, h);
}

/* kv: its own */
static im_tensor *transformer_body(im_ctx *c, const im_transformer *t, im_tensor *x, im_tensor *const kv[], float ratio)
{
    if (!x)
        return NULL;
    int64_t tokens[] = { x->shape[0], x->shape[1] * x->shape[2], x->shape[3] };          /* B, HW, C        */
    const merging merge = { (int)x->shape[1], (int)x->shape[2], ratio };
    im_scope_push(c);
    im_tensor *skip = im_reshape(c, x, 3, tokens);                                       /* (B, HW, C)      */
    im_tensor *h = im_norm_forward(c, &t->norm, skip, false);                            /* (B, HW, C)      */
    h = im_linear_forward(c, &t->proj_in, h, NULL, IM_ACT_NONE);                         /* (B, HW, C)      */
    for (int i = 0; i < t->n_blocks; i++)
        h = block_forward(c, &t->blocks[i], t->heads, h, kv, &merge);
    h = im_linear_forward(c, &t->proj_out, h, skip, IM_ACT_NONE);                        /* (B, HW, C)      */
    if (h)
        h = im_reshape(c, h, 4, x->shape);                                               /* (B, H, W, C)    */
    im_trace(c, t->path, h);
    return im_scope_leave(c, h);
}

static im_tensor *transformer_again(im_ctx *c, void *arg, im_tensor *const in[], int n_in)
{
    (void)n_in;
    return transformer_body(c, arg, in[0], in + 1, 0);
}

im_tensor *im_transformer_forward(im_ctx *c, const im_transformer *t, im_tensor *x, im_tensor *const kv[], float merge)
{
    im_tensor *in[IM_MAX_IN] = { x };
    if (!t->of->recompute || 1 + t->n_kv > IM_MAX_IN || merge > 0)
        return transformer_body(c, t, x, kv + t->first_kv, merge);
    for (int i = 0; i < t->n_kv; i++)
        in[1 + i] = kv[t->first_kv + i];
    return im_recompute(c, transformer_again, (void *)(uintptr_t)t, in, 1 + t->n_kv);
}
