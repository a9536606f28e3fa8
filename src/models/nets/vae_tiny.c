/* vae_tiny.c: see vae_tiny.h: convolutions of 3x3 and ReLU alone, no norms and no attention (madebyollin/taesd; diffusers'
 * AutoencoderTiny). Levels are counted in the order they run.
 *
 *     block    x = relu(x + conv(relu(conv(relu(conv(x))))))
 *     encoder  (x + 1) / 2, conv_in, [blocks, convolution with stride 2] x3, blocks, conv_out
 *     decoder  3 tanh(z / 3), conv_in, relu, [blocks, twice as large, convolution] x3, blocks, conv_out, 2 y - 1
 *
 * The convolutions between blocks have no bias.
 *
 * Names count layers as torch.nn.Sequential does, those without parameters, too. */
#include "models/nets/vae_tiny.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct tiny_block {
    im_conv_layer conv[3];
    const im_params *of;                 /* whose `recompute` counts                                                  */
    const char *path;
} tiny_block;
typedef struct tiny_level {
    int n;
    tiny_block *blocks;
    im_conv_layer resample;              /* w NULL: the encoder's first level, the decoder's last                     */
    const char *resample_path;
} tiny_level;

struct im_tiny_half {
    im_params *params;
    int levels;
    im_conv_layer conv_in, conv_out;
    tiny_level level[IM_MAX_LEVELS];
    im_tensor *shift;                    /* (3): 1 of an encoder, -1 of a decoder                                     */
    const char *in_path, *out_path;
};

/* ---------------------------------------------------------------- structure and names */

static void block_init(im_params *p, tiny_block *b, int layer, int channels)
{
    size_t mark = im_path_push(p, "%d", layer);
    b->path = im_path_name(p);
    b->of = p;
    im_conv_init(p, "conv.0", &b->conv[0], channels, channels, 3, 1, 1);
    im_conv_init(p, "conv.2", &b->conv[1], channels, channels, 3, 1, 1);
    im_conv_init(p, "conv.4", &b->conv[2], channels, channels, 3, 1, 1);
    im_path_pop(p, mark);
}

/* The blocks of a level, from this layer on; returns the next layer. */
static int level_init(im_params *p, tiny_level *l, int layer, int blocks, int channels)
{
    l->blocks = im_params_alloc(p, (size_t)blocks + 1, sizeof *l->blocks);
    l->n = l->blocks ? blocks : 0;
    for (int i = 0; i < l->n; i++) block_init(p, &l->blocks[i], layer + i, channels);
    return layer + blocks;
}

/* The convolution that is this layer; path may be NULL. */
static void conv_init(im_params *p, int layer, im_conv_layer *l, int in, int out, int stride, bool bias, const char **path)
{
    size_t mark = im_path_push(p, "%d", layer);
    if (path) *path = im_path_name(p);
    im_path_pop(p, mark);
    char name[16];
    snprintf(name, sizeof name, "%d", layer);
    (bias ? im_conv_init : im_conv_plain_init)(p, name, l, in, out, 3, stride, 1);
}

static im_tiny_half *half_new(im_params *p, int levels, float shift)
{
    im_ctx *c = p->c;
    im_tiny_half *h = im_ok(c) ? calloc(1, sizeof *h) : NULL;
    if (!h) {
        if (im_ok(c)) im_fail(c, "out of memory for a tiny autoencoder");
        return NULL;
    }
    h->params = p;
    h->levels = levels;
    im_scope_push(c);
    h->shift = im_own(c, im_from(c, IM_F32, 1, (int64_t[]){ 3 }, (float[]){ shift, shift, shift }));
    im_scope_pop(c);
    return h;
}

static im_tiny_half *half_done(im_tiny_half *h)
{
    if (im_ok(h->params->c)) return h;
    im_tiny_half_free(h);
    return NULL;
}

im_tiny_half *im_tiny_encoder_new(im_params *p, const im_tiny_config *cfg, int in, int latent)
{
    im_tiny_half *h = half_new(p, cfg->levels, 1);
    if (!h) return NULL;
    const im_tiny_half_config *e = &cfg->encoder;
    size_t mark = im_path_push(p, "encoder.layers");
    conv_init(p, 0, &h->conv_in, in, e->channels, 1, true, &h->in_path);
    int layer = 1;
    for (int i = 0; i < cfg->levels; i++) {
        tiny_level *l = &h->level[i];
        if (i) conv_init(p, layer++, &l->resample, e->channels, e->channels, 2, false, &l->resample_path);
        layer = level_init(p, l, layer, e->blocks[i], e->channels);
    }
    conv_init(p, layer, &h->conv_out, e->channels, latent, 1, true, &h->out_path);
    im_path_pop(p, mark);
    return half_done(h);
}

im_tiny_half *im_tiny_decoder_new(im_params *p, const im_tiny_config *cfg, int latent, int out)
{
    im_tiny_half *h = half_new(p, cfg->levels, -1);
    if (!h) return NULL;
    const im_tiny_half_config *d = &cfg->decoder;
    size_t mark = im_path_push(p, "decoder.layers");
    conv_init(p, 0, &h->conv_in, latent, d->channels, 1, true, &h->in_path);
    int layer = 2;                                             /* 1 is a ReLU                                         */
    for (int i = 0; i < cfg->levels; i++) {
        tiny_level *l = &h->level[i];
        layer = level_init(p, l, layer, d->blocks[i], d->channels);
        if (i < cfg->levels - 1) {                             /* layer: the enlargement                              */
            conv_init(p, layer + 1, &l->resample, d->channels, d->channels, 1, false, &l->resample_path);
            layer += 2;
        }
    }
    conv_init(p, layer, &h->conv_out, d->channels, out, 1, true, &h->out_path);
    im_path_pop(p, mark);
    return half_done(h);
}

void im_tiny_half_free(im_tiny_half *h)
{
    if (!h) return;
    im_param_free(h->params->c, h->shift);
    free(h);
}

/* ---------------------------------------------------------------- forward */

/* x (B, H, W, C) -> (B, H, W, C) */
static im_tensor *block_body(im_ctx *c, const tiny_block *b, im_tensor *x)
{
    im_scope_push(c);
    im_tensor *h = im_activate(c, im_conv_forward(c, &b->conv[0], x, NULL, NULL), IM_ACT_RELU);
    h = im_activate(c, im_conv_forward(c, &b->conv[1], h, NULL, NULL), IM_ACT_RELU);
    h = im_activate(c, im_conv_forward(c, &b->conv[2], h, NULL, x), IM_ACT_RELU);
    im_trace(c, b->path, h);
    return im_scope_leave(c, h);
}

static im_tensor *block_again(im_ctx *c, void *arg, im_tensor *const in[], int n_in)
{
    (void)n_in;
    return block_body(c, arg, in[0]);
}

static im_tensor *block_forward(im_ctx *c, const tiny_block *b, im_tensor *x)
{
    return b->of->recompute ? im_recompute(c, block_again, (void *)(uintptr_t)b, &x, 1) : block_body(c, b, x);
}

static im_tensor *blocks_forward(im_ctx *c, const tiny_level *l, im_tensor *h)
{
    im_scope_push(c);
    for (int i = 0; i < l->n; i++) h = block_forward(c, &l->blocks[i], h);
    return im_scope_leave(c, h);
}

/* (B, H, W, channels) in f32 */
static im_tensor *out_forward(im_ctx *c, const im_tiny_half *t, im_tensor *h)
{
    h = im_conv_forward(c, &t->conv_out, h, NULL, NULL);
    if (h && h->dtype != IM_F32) h = im_cast(c, h, IM_F32);
    im_trace(c, t->out_path, h);
    return h;
}

im_tensor *im_tiny_encode(im_ctx *c, const im_tiny_half *e, im_tensor *x)
{
    if (!e || !x) return NULL;
    im_scope_push(c);
    im_tensor *h = im_scale(c, im_add(c, x, e->shift), 0.5f);                            /* (B, H, W, 3)    */
    h = im_conv_forward(c, &e->conv_in, h, NULL, NULL);                                  /* (B, H, W, C)    */
    im_trace(c, e->in_path, h);
    h = im_as_activation(e->params, h);
    for (int i = 0; i < e->levels; i++) {
        const tiny_level *l = &e->level[i];
        if (l->resample.w) {
            h = im_conv_forward(c, &l->resample, h, NULL, NULL);                         /* half as large   */
            im_trace(c, l->resample_path, h);
        }
        h = blocks_forward(c, l, h);
    }
    return im_scope_leave(c, out_forward(c, e, h));                                      /* (B, h, w, 4)    */
}

im_tensor *im_tiny_decode(im_ctx *c, const im_tiny_half *d, im_tensor *z)
{
    if (!d || !z) return NULL;
    im_scope_push(c);
    im_tensor *h = im_scale(c, im_activate(c, im_scale(c, z, 1.0f / 3.0f), IM_ACT_TANH), 3);   /* (B, h, w, 4) */
    h = im_conv_forward(c, &d->conv_in, h, NULL, NULL);                                  /* (B, h, w, C)    */
    im_trace(c, d->in_path, h);
    h = im_activate(c, im_as_activation(d->params, h), IM_ACT_RELU);
    for (int i = 0; i < d->levels; i++) {
        const tiny_level *l = &d->level[i];
        h = blocks_forward(c, l, h);
        if (l->resample.w && h) {
            h = im_conv_forward_up(c, &l->resample, h, 2 * (int)h->shape[1], 2 * (int)h->shape[2]);
            im_trace(c, l->resample_path, h);
        }
    }
    h = im_scale(c, out_forward(c, d, h), 2);                                            /* (B, 8h, 8w, 3)  */
    return im_scope_leave(c, im_add(c, h, d->shift));
}
