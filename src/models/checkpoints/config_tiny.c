/* config_tiny.c: the config.json of an AutoencoderTiny, as diffusers' save_pretrained writes it. Used by
 * train_decoder.c. */
#include <jansson.h>

#include "models/checkpoints/config.h"

/* levels times the same number */
static json_t *widths(const im_vae_config *v, int channels)
{
    json_t *list = json_array();
    for (int i = 0; i < v->tiny.levels; i++)
        json_array_append_new(list, json_integer(channels));
    return list;
}

static json_t *counts(const im_vae_config *v, const int blocks[])
{
    json_t *list = json_array();
    for (int i = 0; i < v->tiny.levels; i++)
        json_array_append_new(list, json_integer(blocks[i]));
    return list;
}

char *im_tiny_config_text(im_ctx *c, const im_vae_config *v)
{
    const im_tiny_half_config *e = &v->tiny.encoder, *d = &v->tiny.decoder;
    json_t *decoder = widths(v, d->channels);
    json_t *j = json_pack("{s:s, s:s, s:s, s:O, s:o, s:o, s:b, s:i, s:i, s:i, s:f, s:o, s:o, s:i, s:f, s:f, s:s, s:i}",
                          "_class_name", "AutoencoderTiny", "_diffusers_version", "0.42.1", "act_fn", "relu",
                          "block_out_channels", decoder, "decoder_block_out_channels", decoder,
                          "encoder_block_out_channels", widths(v, e->channels), "force_upcast", 0,
                          "in_channels", v->in_channels, "latent_channels", v->latent_channels,
                          "latent_magnitude", 3, "latent_shift", 0.5, "num_decoder_blocks", counts(v, d->blocks),
                          "num_encoder_blocks", counts(v, e->blocks), "out_channels", v->out_channels,
                          "scaling_factor", (double)v->scaling_factor, "shift_factor", 0.0, "upsample_fn", "nearest",
                          "upsampling_scaling_factor", 2);
    char *text = j ? json_dumps(j, JSON_INDENT(2)) : NULL;
    json_decref(j);
    if (!text)
        im_fail(c, "out of memory for the configuration of a tiny autoencoder");
    return text;
}
