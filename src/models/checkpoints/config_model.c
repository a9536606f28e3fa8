/* config_model.c: the configuration of a whole checkpoint: model_index.json, the three networks together, and the
 * values of Stable Diffusion v1.4 for files that carry none. Used by checkpoint.c and init_weights.c. */
#include "models/checkpoints/checkpoint_kind.h"
#include "models/checkpoints/config.h"
#include "data/files/file.h"
#include "data/files/json.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The values of CompVis/stable-diffusion-v1-4, as published. */
im_model_config im_model_config_v1(void)
{
    im_model_config m = {
        .clip = { .vocab_size = 49408, .hidden_size = 768, .intermediate_size = 3072, .num_hidden_layers = 12,
                  .num_attention_heads = 12, .max_position_embeddings = 77, .hidden_act = IM_ACT_QUICK_GELU,
                  .layer_norm_eps = 1e-5f, .bos_token_id = 49406, .eos_token_id = 49407, .pad_token_id = 1 },
        .unet = { .in_channels = 4, .out_channels = 4, .sample_height = 64, .sample_width = 64, .levels = 4,
                  .has_mid = true, .mid_block_scale_factor = 1.0f, .norm_num_groups = 32, .norm_eps = 1e-5f,
                  .flip_sin_to_cos = true, .time_embed_dim = 1280, .downsample_padding = 1, .conv_in_kernel = 3,
                  .conv_out_kernel = 3 },
        .vae = { .in_channels = 3, .out_channels = 3, .latent_channels = 4, .levels = 4,
                 .channels = { 128, 256, 512, 512 }, .layers_per_block = 2, .norm_num_groups = 32,
                 .scaling_factor = 0.18215f, .use_quant_conv = true, .use_post_quant_conv = true,
                 .mid_block_add_attention = true, .sample_size = 512 },
        .text_tokens = 77,
    };
    const int channels[] = { 320, 640, 1280, 1280 };
    for (int i = 0; i < 4; i++)
        m.unet.level[i] = (im_unet_level){ .channels = channels[i], .layers = 2, .down_attention = i < 3,
                                           .up_attention = i < 3, .heads = 8, .transformer_layers = 1,
                                           .cross_attention_dim = 768 };
    return m;
}

/* model_index.json: "unet": ["diffusers", "UNet2DConditionModel"] and so on. other: a class that will do, too, or NULL. */
static bool check_part(im_ctx *c, const im_json *j, const char *key, const char *class, const char *other)
{
    const char *got[2] = { "", "" };
    if (!im_json_strings(c, j, key, IM_MUST, got, 2))
        return false;
    return !strcmp(got[1], class) || (other && !strcmp(got[1], other)) ||
           im_fail(c, "%s: %s is a \"%s\", but imago runs Stable Diffusion v1.x, where it is a \"%s\"", j->file, key,
                   got[1], class);
}

/* Pipelines whose networks these are. Those of LCM keep the scheduler as its file has it (scheduler_file.h). */
static const struct { const char *class; bool as_written; } pipelines[] = {
    { "StableDiffusionPipeline", false },          { "StableDiffusionImg2ImgPipeline", false },
    { "StableDiffusionInpaintPipeline", false },   { "LatentConsistencyModelPipeline", true },
    { "LatentConsistencyModelImg2ImgPipeline", true },
};

static bool check_index(im_ctx *c, const im_json *j, im_model_config *out)
{
    const char *class = "";
    bool known = false;
    if (!im_json_string(c, j, "_class_name", IM_MUST, &class))
        return false;
    for (size_t i = 0; i < sizeof pipelines / sizeof *pipelines && !known; i++) {
        known = !strcmp(class, pipelines[i].class);
        out->scheduler_as_written = known && pipelines[i].as_written;
    }
    const char *kind = im_kind_of_pipeline(class);
    if (!known)
        return im_fail(c, "%s: the pipeline is a \"%s\"%s%s, but imago runs Stable Diffusion v1.x, a \"%s\"", j->file,
                       class, kind ? ": " : "", kind ? kind : "", pipelines[0].class);
    return check_part(c, j, "text_encoder", "CLIPTextModel", NULL) &&
           check_part(c, j, "unet", "UNet2DConditionModel", NULL) &&
           check_part(c, j, "vae", "AutoencoderKL", "AutoencoderTiny");
}

/* The class of its scheduler; a pipeline saved without one has [null, null]. */
static bool read_scheduler(im_ctx *c, const im_json *j, char *out, size_t size)
{
    const char *got[2] = { "", "" };
    if (json_is_null(json_array_get(json_object_get(j->value, "scheduler"), 1))) return im_ok(c);
    if (!im_json_strings(c, j, "scheduler", IM_MAY, got, 2)) return false;
    snprintf(out, size, "%s", got[1]);
    return true;
}

bool im_model_config_check(im_ctx *c, const im_model_config *m, const char *where)
{
    int text = m->unet.level[0].cross_attention_dim, latent = m->vae.latent_channels;
    if (text != m->clip.hidden_size)
        return im_fail(c, "%s: the UNet's cross_attention_dim is %d, but the text encoder's hidden_size is %d; they "
                       "belong to different models", where, text, m->clip.hidden_size);
    if (m->unet.out_channels != latent)
        return im_fail(c, "%s: the UNet's out_channels is %d, but the VAE's latent_channels is %d; they belong to "
                       "different models", where, m->unet.out_channels, latent);
    const char *kind = latent == 4 ? im_kind_of_channels(m->unet.in_channels) : NULL;
    if (m->unet.in_channels != latent && (latent != 4 || m->unet.in_channels != 9))        /* 9: sd_mask.c              */
        return im_fail(c, "%s: the UNet's in_channels is %d, but the VAE's latent_channels is %d: %s, which imago does not "
                       "run", where, m->unet.in_channels, latent, kind ? kind : "a model with further inputs");
    return im_ok(c);
}

/* Reads one JSON file of a folder, or of a single file's metadata. */
static bool load_json(im_ctx *c, im_json *j, const char *where, const im_safetensors *s, const char *name)
{
    char *path = im_join(c, where, name);
    const char *text = s ? im_st_metadata(s, name) : NULL;
    bool ok = path != NULL;
    if (ok && s && !text)
        ok = im_fail(c, "%s: its metadata has no %s beside the other configuration files; convert it again", where,
                     name);
    ok = ok && (s ? im_json_parse(c, j, path, text, strlen(text)) : im_json_load(c, j, path, IM_JSON_CONFIG_BYTES));
    free(path);
    return ok;
}

/* diffusers fills a text up, and cuts it, to model_max_length; where the text encoder has fewer places, it stops. */
static bool read_text_tokens(im_ctx *c, const char *where, const im_safetensors *s, im_model_config *out)
{
    static const char name[] = "tokenizer/tokenizer_config.json";
    im_json j = { 0 };
    char *path = im_join(c, where, name);
    bool there = path && (s ? im_st_metadata(s, name) != NULL : im_is_file(path));
    free(path);
    out->text_tokens = out->clip.max_position_embeddings;
    if (!im_ok(c) || (there && !load_json(c, &j, where, s, name)))
        return false;
    const json_t *most = json_object_get(j.value, "model_max_length");
    double n = json_is_number(most) ? json_number_value(most) : out->text_tokens;
    if (n < 2)
        im_fail(c, "%s/%s: model_max_length is %g; wanted 2 at least, as start and end are counted", where, name, n);
    else if (n < out->text_tokens)
        out->text_tokens = (int)n;
    im_json_close(&j);
    return im_ok(c);
}

static bool read_all(im_ctx *c, const char *where, const im_safetensors *s, im_model_config *out)
{
    im_json index = { 0 }, clip = { 0 }, unet = { 0 }, vae = { 0 };
    memset(out, 0, sizeof *out);
    bool ok = load_json(c, &index, where, s, "model_index.json") && check_index(c, &index, out) &&
              read_scheduler(c, &index, out->scheduler, sizeof out->scheduler) &&
              load_json(c, &clip, where, s, "text_encoder/config.json") &&
              im_clip_config_read(c, &clip, &out->clip) && read_text_tokens(c, where, s, out) &&
              load_json(c, &unet, where, s, "unet/config.json") &&
              im_unet_config_read(c, &unet, &out->unet) && load_json(c, &vae, where, s, "vae/config.json") &&
              im_vae_any_config_read(c, &vae, &out->vae) && im_model_config_check(c, out, where);
    im_json_close(&index);
    im_json_close(&clip);
    im_json_close(&unet);
    im_json_close(&vae);
    return ok;
}

bool im_model_config_read(im_ctx *c, const char *folder, im_model_config *out)
{
    char *index = im_join(c, folder, "model_index.json");
    if (index && !im_is_file(index))
        im_fail(c, "%s has no model_index.json; a diffusers folder with model_index.json, text_encoder, unet and vae, "
                "or a single .safetensors file, was expected", folder);
    free(index);
    return im_ok(c) && read_all(c, folder, NULL, out);
}

bool im_model_config_metadata(im_ctx *c, const im_safetensors *s, const char *path, im_model_config *out)
{
    if (im_st_metadata(s, "unet/config.json"))
        return read_all(c, path, s, out);
    *out = im_model_config_v1();
    return im_ok(c);
}
