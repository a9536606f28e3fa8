/* config.c: reads the config.json files of a diffusers folder (config.h says what is kept of them).
 *
 * The defaults are those of the constructors of diffusers' UNet2DConditionModel and AutoencoderKL and of transformers'
 * CLIPTextConfig. Used by checkpoint.c, init_weights.c and convert.c. */
#include "models/checkpoints/config.h"
#include "data/files/json.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CHANNELS = 1 << 16, MAX_LAYERS = 64 };              /* beyond any real file: a typing error                */
enum { OLD_SAMPLE_SIZE = 64 };                                 /* of a latent of v1.x                                  */

/* A text field that must have one of two values (b may be NULL); absent counts as a. */
static bool want_text(im_ctx *c, const im_json *j, const char *key, const char *a, const char *b, const char **out)
{
    const char *got = a;
    if (!im_json_string(c, j, key, IM_MAY, &got))
        return false;
    if (out)
        *out = got;
    if (!strcmp(got, a) || (b && !strcmp(got, b)))
        return true;
    if (b)
        return im_fail(c, "%s: %s is \"%s\", but imago knows \"%s\" and \"%s\"", j->file, key, got, a, b);
    return im_fail(c, "%s: %s is \"%s\", but imago knows only \"%s\"", j->file, key, got, a);
}

/* Present and null, which for a few fields is not the same as absent. */
static bool is_null(const im_json *j, const char *key)
{
    return json_is_null(json_object_get(j->value, key));
}

/* Fields of features that no v1.x network uses: absent or null only. */
static bool want_absent(im_ctx *c, const im_json *j, const char *const keys[], int n)
{
    for (int i = 0; i < n; i++)
        if (im_json_has(j, keys[i]))
            return im_fail(c, "%s: %s is set, but imago runs Stable Diffusion v1.x networks, where it is null; this "
                           "checkpoint is of another kind", j->file, keys[i]);
    return im_ok(c);
}

/* Fields that must be false where they are present. */
static bool want_false(im_ctx *c, const im_json *j, const char *const keys[], int n)
{
    for (int i = 0; i < n; i++) {
        bool on = false;
        if (!im_json_bool(c, j, keys[i], IM_MAY, &on))
            return false;
        if (on)
            return im_fail(c, "%s: %s is true, which imago does not implement; in Stable Diffusion v1.x it is false",
                           j->file, keys[i]);
    }
    return im_ok(c);
}

static bool want_class(im_ctx *c, const im_json *j, const char *class)
{
    const char *got = class;
    if (!im_json_string(c, j, "_class_name", IM_MAY, &got))
        return false;
    return !strcmp(got, class) ||
           im_fail(c, "%s: _class_name is \"%s\", but \"%s\" was expected here", j->file, got, class);
}

static bool read_float(im_ctx *c, const im_json *j, const char *key, double min, double max, float *out)
{
    double x = *out;
    if (!im_json_float(c, j, key, IM_MAY, min, max, &x))
        return false;
    *out = (float)x;
    return true;
}

static bool read_groups(im_ctx *c, const im_json *j, int *out)
{
    if (is_null(j, "norm_num_groups"))
        return im_fail(c, "%s: norm_num_groups is null, but imago needs the number of groups", j->file);
    return im_json_int(c, j, "norm_num_groups", IM_MAY, 1, MAX_CHANNELS, out);
}

/* block_out_channels: fills out[] and returns their number, 0 after an error. */
static int read_channels(im_ctx *c, const im_json *j, const int missing[], int n_missing, int out[IM_MAX_LEVELS])
{
    int n = im_json_length(c, j, "block_out_channels", IM_MAY, 1, IM_MAX_LEVELS);
    if (n < 0)
        return 0;
    if (n == 0) {
        memcpy(out, missing, (size_t)n_missing * sizeof *out);
        return n_missing;
    }
    return im_json_ints(c, j, "block_out_channels", IM_MUST, 1, MAX_CHANNELS, out, n) ? n : 0;
}

static bool check_groups(im_ctx *c, const im_json *j, int channels, int groups)
{
    return channels % groups == 0 ||
           im_fail(c, "%s: block_out_channels has %d, which norm_num_groups %d does not divide", j->file, channels,
                   groups);
}

/* ---------------------------------------------------------------- text encoder */

static im_clip_config clip_defaults(void)
{
    return (im_clip_config){ .vocab_size = 49408, .hidden_size = 512, .intermediate_size = 2048,
                             .num_hidden_layers = 12, .num_attention_heads = 8, .max_position_embeddings = 77,
                             .hidden_act = IM_ACT_QUICK_GELU, .layer_norm_eps = 1e-5f,
                             .bos_token_id = 49406, .eos_token_id = 49407, .pad_token_id = 1 };
}

static bool clip_fields(im_ctx *c, const im_json *j, im_clip_config *o)
{
    const char *act;
    if (!want_text(c, j, "hidden_act", "quick_gelu", "gelu", &act) ||
        !im_json_int(c, j, "vocab_size", IM_MAY, 3, 1 << 24, &o->vocab_size) ||
        !im_json_int(c, j, "hidden_size", IM_MAY, 1, MAX_CHANNELS, &o->hidden_size) ||
        !im_json_int(c, j, "intermediate_size", IM_MAY, 1, 4 * MAX_CHANNELS, &o->intermediate_size) ||
        !im_json_int(c, j, "num_hidden_layers", IM_MAY, 1, 1024, &o->num_hidden_layers) ||
        !im_json_int(c, j, "num_attention_heads", IM_MAY, 1, MAX_CHANNELS, &o->num_attention_heads) ||
        !im_json_int(c, j, "max_position_embeddings", IM_MAY, 3, 1 << 16, &o->max_position_embeddings) ||
        !im_json_int(c, j, "bos_token_id", IM_MAY, 0, 1 << 24, &o->bos_token_id) ||
        !im_json_int(c, j, "eos_token_id", IM_MAY, 0, 1 << 24, &o->eos_token_id) ||
        !im_json_int(c, j, "pad_token_id", IM_MAY, 0, 1 << 24, &o->pad_token_id) ||
        !read_float(c, j, "layer_norm_eps", 0, 1, &o->layer_norm_eps))
        return false;
    o->hidden_act = !strcmp(act, "gelu") ? IM_ACT_GELU : IM_ACT_QUICK_GELU;
    if (o->hidden_size % o->num_attention_heads)
        return im_fail(c, "%s: hidden_size %d is not a multiple of num_attention_heads %d", j->file, o->hidden_size,
                       o->num_attention_heads);
    return true;
}

/* whole: the name of a CLIPModel will do, too. */
static bool want_clip(im_ctx *c, const im_json *j, bool whole)
{
    const char *wanted = "clip_text_model", *kind = wanted;
    return im_json_string(c, j, "model_type", IM_MAY, &kind)
        && (!strcmp(kind, wanted) || (whole && !strcmp(kind, "clip"))
            || im_fail(c, "%s: model_type is \"%s\", but Stable Diffusion v1.x has a \"%s\"", j->file, kind, wanted));
}

/* The configuration of a whole CLIPModel holds that of its text model. transformers' CLIPTextModel reads that wherever it
 * is, whatever stands around it, and one without it as its own, whichever of the two it is named after. */
bool im_clip_config_read(im_ctx *c, const im_json *j, im_clip_config *out)
{
    im_json text = *j;
    bool whole = im_json_has(j, "text_config");
    bool flat = !json_object_get(j->value, "text_config");
    *out = clip_defaults();
    return want_clip(c, j, whole || flat) && (!whole || im_json_object(c, j, "text_config", IM_MUST, &text))
        && want_clip(c, &text, flat) && clip_fields(c, &text, out);
}

/* ---------------------------------------------------------------- CLIP, both towers */

static bool image_fields(im_ctx *c, const im_json *j, im_clip_image_config *o)
{
    const char *act;
    int channels = 3;
    if (!want_text(c, j, "hidden_act", "quick_gelu", "gelu", &act) ||
        !im_json_int(c, j, "hidden_size", IM_MAY, 1, MAX_CHANNELS, &o->hidden_size) ||
        !im_json_int(c, j, "intermediate_size", IM_MAY, 1, 4 * MAX_CHANNELS, &o->intermediate_size) ||
        !im_json_int(c, j, "num_hidden_layers", IM_MAY, 1, 1024, &o->num_hidden_layers) ||
        !im_json_int(c, j, "num_attention_heads", IM_MAY, 1, MAX_CHANNELS, &o->num_attention_heads) ||
        !im_json_int(c, j, "image_size", IM_MAY, 1, 4096, &o->image_size) ||
        !im_json_int(c, j, "patch_size", IM_MAY, 1, 4096, &o->patch_size) ||
        !im_json_int(c, j, "num_channels", IM_MAY, 3, 3, &channels) ||
        !read_float(c, j, "layer_norm_eps", 0, 1, &o->layer_norm_eps))
        return false;
    o->hidden_act = !strcmp(act, "gelu") ? IM_ACT_GELU : IM_ACT_QUICK_GELU;
    if (o->hidden_size % o->num_attention_heads)
        return im_fail(c, "%s: hidden_size %d is not a multiple of num_attention_heads %d", j->file, o->hidden_size,
                       o->num_attention_heads);
    return o->patch_size <= o->image_size || im_fail(c, "%s: its patches of %d pixels are larger than its pictures of %d",
                                                     j->file, o->patch_size, o->image_size);
}

bool im_clip_pair_config_read(im_ctx *c, const im_json *j, im_clip_config *text, im_clip_image_config *image)
{
    const char *kind = "";
    im_json part = { 0 };
    *text = clip_defaults();
    *image = (im_clip_image_config){ .hidden_size = 768, .intermediate_size = 3072, .num_hidden_layers = 12,
                                     .num_attention_heads = 12, .image_size = 224, .patch_size = 32,
                                     .layer_norm_eps = 1e-5f, .projection_dim = 512 };
    if (!im_json_string(c, j, "model_type", IM_MUST, &kind))
        return false;
    if (strcmp(kind, "clip"))
        return im_fail(c, "%s: model_type is \"%s\"; wanted \"clip\", a model with both towers", j->file, kind);
    bool ok = im_json_int(c, j, "projection_dim", IM_MAY, 1, MAX_CHANNELS, &image->projection_dim) &&
              im_json_object(c, j, "text_config", IM_MUST, &part) && clip_fields(c, &part, text) &&
              im_json_object(c, j, "vision_config", IM_MUST, &part) && image_fields(c, &part, image);
    image->text_width = text->hidden_size;
    return ok;
}

/* ---------------------------------------------------------------- UNet */

static const char *const unet_absent[] = {
    "reverse_transformer_layers_per_block", "encoder_hid_dim", "encoder_hid_dim_type", "class_embed_type",
    "addition_embed_type", "num_class_embeds", "time_embedding_act_fn", "timestep_post_act",
    "cross_attention_norm", "num_attention_heads",
};
static const char *const unet_false[] = { "dual_cross_attention", "resnet_skip_time_act", "class_embeddings_concat" };

static bool unet_kinds(im_ctx *c, const im_json *j)
{
    float scale = 1.0f;
    if (!want_class(c, j, "UNet2DConditionModel") ||
        !want_absent(c, j, unet_absent, sizeof unet_absent / sizeof *unet_absent) ||
        !want_false(c, j, unet_false, sizeof unet_false / sizeof *unet_false) ||
        !want_text(c, j, "act_fn", "silu", "swish", NULL) ||
        !want_text(c, j, "resnet_time_scale_shift", "default", NULL, NULL) ||
        !want_text(c, j, "time_embedding_type", "positional", NULL, NULL) ||
        !want_text(c, j, "attention_type", "default", NULL, NULL) ||
        !read_float(c, j, "resnet_out_scale_factor", 0, 1e6, &scale))
        return false;
    return scale == 1.0f || im_fail(c, "%s: resnet_out_scale_factor is %g, but imago knows only 1", j->file,
                                    (double)scale);
}

/* down_block_types, up_block_types: with attention or without. */
static bool read_block_types(im_ctx *c, const im_json *j, bool up, int levels, bool attention[])
{
    const char *key = up ? "up_block_types" : "down_block_types", *types[IM_MAX_LEVELS];
    const char *with = up ? "CrossAttnUpBlock2D" : "CrossAttnDownBlock2D", *without = up ? "UpBlock2D" : "DownBlock2D";
    if (!im_json_has(j, key) && levels != 4)                   /* the defaults of the class have four                 */
        return im_fail(c, "%s: %s is missing; a list of %d blocks is needed", j->file, key, levels);
    for (int i = 0; i < levels; i++)
        types[i] = (up ? i > 0 : i < levels - 1) ? with : without;
    if (!im_json_strings(c, j, key, IM_MAY, types, levels))
        return false;
    for (int i = 0; i < levels; i++) {
        attention[i] = !strcmp(types[i], with);
        if (!attention[i] && strcmp(types[i], without))
            return im_fail(c, "%s: %s has \"%s\", but imago knows \"%s\" and \"%s\"", j->file, key, types[i], with,
                           without);
    }
    return true;
}

static bool unet_levels(im_ctx *c, const im_json *j, im_unet_config *o)
{
    int channels[IM_MAX_LEVELS], layers[IM_MAX_LEVELS], heads[IM_MAX_LEVELS], depth[IM_MAX_LEVELS];
    int text[IM_MAX_LEVELS];
    bool down[IM_MAX_LEVELS], up[IM_MAX_LEVELS], only[IM_MAX_LEVELS] = { 0 };
    int n = o->levels = read_channels(c, j, (int[]){ 320, 640, 1280, 1280 }, 4, channels);
    if (!n)
        return false;
    for (int i = 0; i < n; i++) {
        layers[i] = 2;
        heads[i] = 8;
        depth[i] = 1;
        text[i] = 1280;
    }
    if (!read_block_types(c, j, false, n, down) || !read_block_types(c, j, true, n, up) ||
        !im_json_ints(c, j, "layers_per_block", IM_MAY, 1, MAX_LAYERS, layers, n) ||
        !im_json_ints(c, j, "attention_head_dim", IM_MAY, 1, MAX_CHANNELS, heads, n) ||
        !im_json_ints(c, j, "transformer_layers_per_block", IM_MAY, 1, MAX_LAYERS, depth, n) ||
        !im_json_ints(c, j, "cross_attention_dim", IM_MAY, 1, MAX_CHANNELS, text, n) ||
        !im_json_bools(c, j, "only_cross_attention", IM_MAY, only, n))
        return false;
    for (int i = 0; i < n; i++) {
        o->level[i] = (im_unet_level){ .channels = channels[i], .layers = layers[i], .down_attention = down[i],
                                       .up_attention = up[n - 1 - i], .heads = heads[i],
                                       .transformer_layers = depth[i], .cross_attention_dim = text[i],
                                       .only_cross_attention = only[i] };
        bool attention = down[i] || up[n - 1 - i] || (i == n - 1 && o->has_mid);
        if (!check_groups(c, j, channels[i], o->norm_num_groups))
            return false;
        if (attention && channels[i] % heads[i])
            return im_fail(c, "%s: block_out_channels has %d, which cannot be shared by %d heads (attention_head_dim "
                           "is the number of heads in this class)", j->file, channels[i], heads[i]);
        if (text[i] != text[0])
            return im_fail(c, "%s: cross_attention_dim differs between levels (%d, %d), but there is one text",
                           j->file, text[0], text[i]);
    }
    return true;
}

/* Version 0.8 of diffusers and older: the major number is 0, the minor one below 9. */
static bool is_old(const char *version)
{
    char *end;
    long major = strtol(version, &end, 10), minor = *end == '.' ? strtol(end + 1, NULL, 10) : 0;
    return end > version && major == 0 && minor < 9;
}

/* The converter of diffusers before 0.9 wrote the size of the training configuration, 32, where v1.x has 64. As diffusers'
 * StableDiffusionPipeline does: one number below 64 in a file of such a version is taken for 64. */
static bool read_sample_size(im_ctx *c, const im_json *j, int sample[2])
{
    const char *version = "";
    if (!im_json_ints(c, j, "sample_size", IM_MAY, 1, 1 << 16, sample, 2) ||
        !im_json_string(c, j, "_diffusers_version", IM_MAY, &version))
        return false;
    if (!json_is_integer(json_object_get(j->value, "sample_size")) || sample[0] >= OLD_SAMPLE_SIZE || !is_old(version))
        return true;
    im_warn(c, "%s: sample_size is %d, as the converter of diffusers %s wrote it; taken for %d, as diffusers does; a width "
            "and height that are given count as always", j->file, sample[0], version, OLD_SAMPLE_SIZE);
    sample[0] = sample[1] = OLD_SAMPLE_SIZE;
    return true;
}

bool im_unet_config_read(im_ctx *c, const im_json *j, im_unet_config *o)
{
    int sample[2] = { 64, 64 };
    *o = (im_unet_config){ .in_channels = 4, .out_channels = 4, .has_mid = true, .mid_block_scale_factor = 1.0f,
                           .norm_num_groups = 32, .norm_eps = 1e-5f, .flip_sin_to_cos = true,
                           .downsample_padding = 1, .conv_in_kernel = 3, .conv_out_kernel = 3 };
    /* mid_block_type null means a UNet without one, and an absent key means the usual one. */
    o->has_mid = !is_null(j, "mid_block_type");
    if (!unet_kinds(c, j) || !want_text(c, j, "mid_block_type", "UNetMidBlock2DCrossAttn", NULL, NULL) ||
        !im_json_int(c, j, "in_channels", IM_MAY, 1, MAX_CHANNELS, &o->in_channels) ||
        !im_json_int(c, j, "out_channels", IM_MAY, 1, MAX_CHANNELS, &o->out_channels) ||
        !read_sample_size(c, j, sample) ||
        !read_groups(c, j, &o->norm_num_groups) ||
        !read_float(c, j, "norm_eps", 0, 1, &o->norm_eps) ||
        !read_float(c, j, "freq_shift", 0, 1e6, &o->freq_shift) ||
        !read_float(c, j, "mid_block_scale_factor", 1e-6, 1e6, &o->mid_block_scale_factor) ||
        !im_json_flag(c, j, "flip_sin_to_cos", &o->flip_sin_to_cos) ||
        !im_json_flag(c, j, "center_input_sample", &o->center_input_sample) ||
        !im_json_flag(c, j, "use_linear_projection", &o->use_linear_projection) ||
        !im_json_int(c, j, "downsample_padding", IM_MAY, 0, 1, &o->downsample_padding) ||
        !im_json_int(c, j, "conv_in_kernel", IM_MAY, 1, 31, &o->conv_in_kernel) ||
        !im_json_int(c, j, "conv_out_kernel", IM_MAY, 1, 31, &o->conv_out_kernel) || !unet_levels(c, j, o))
        return false;
    o->sample_height = sample[0];
    o->sample_width = sample[1];
    if (!is_null(j, "time_cond_proj_dim") &&
        !im_json_int(c, j, "time_cond_proj_dim", IM_MAY, 4, MAX_CHANNELS, &o->time_cond_proj_dim))
        return false;
    if (o->time_cond_proj_dim % 2)
        return im_fail(c, "%s: time_cond_proj_dim is %d, but imago knows even numbers only: half sines, half cosines",
                       j->file, o->time_cond_proj_dim);
    o->time_embed_dim = 4 * o->level[0].channels;
    if (!im_json_int(c, j, "time_embedding_dim", IM_MAY, 1, 8 * MAX_CHANNELS, &o->time_embed_dim))
        return false;
    if (o->conv_in_kernel % 2 == 0 || o->conv_out_kernel % 2 == 0)
        return im_fail(c, "%s: conv_in_kernel %d and conv_out_kernel %d must be odd, so that the picture keeps its "
                       "size", j->file, o->conv_in_kernel, o->conv_out_kernel);
    return true;
}

/* ---------------------------------------------------------------- VAE */

static const char *const vae_absent[] = { "latents_mean", "latents_std" };

/* Newer pipelines of diffusers take latents as (z - shift) * scaling. StableDiffusionPipeline does not look at the field,
 * so its pictures of such a VAE are one thing and what the VAE was trained for is another: no picture passes for either. */
static bool want_no_shift(im_ctx *c, const im_json *j)
{
    double shift = 0;
    if (!im_json_float(c, j, "shift_factor", IM_MAY, -1e9, 1e9, &shift))
        return false;
    return shift == 0 ||
           im_fail(c, "%s: shift_factor is %g, but in Stable Diffusion v1.x it is null or 0, and diffusers' "
                   "StableDiffusionPipeline draws without it; if the UNet was trained without it, set it to null",
                   j->file, shift);
}

static bool vae_blocks(im_ctx *c, const im_json *j, const char *key, const char *type, int levels)
{
    const char *types[IM_MAX_LEVELS];
    if (!im_json_has(j, key) && levels != 1)                   /* the default of the class is one                     */
        return im_fail(c, "%s: %s is missing; a list of %d blocks is needed", j->file, key, levels);
    for (int i = 0; i < levels; i++)
        types[i] = type;
    if (!im_json_strings(c, j, key, IM_MAY, types, levels))
        return false;
    for (int i = 0; i < levels; i++)
        if (strcmp(types[i], type))
            return im_fail(c, "%s: %s has \"%s\", but imago knows only \"%s\"", j->file, key, types[i], type);
    return true;
}

/* One number, or a list, of which diffusers takes the first (AutoencoderKL.__init__). */
static bool read_vae_size(im_ctx *c, const im_json *j, int *size)
{
    int sizes[8] = { *size }, n = 1;
    if (json_is_array(json_object_get(j->value, "sample_size")))
        n = im_json_length(c, j, "sample_size", IM_MAY, 1, (int)(sizeof sizes / sizeof *sizes));
    if (n < 0 || !im_json_ints(c, j, "sample_size", IM_MAY, 1, 1 << 20, sizes, n))
        return false;
    *size = sizes[0];
    return true;
}

bool im_vae_config_read(im_ctx *c, const im_json *j, im_vae_config *o)
{
    *o = (im_vae_config){ .in_channels = 3, .out_channels = 3, .latent_channels = 4, .layers_per_block = 1,
                          .norm_num_groups = 32, .scaling_factor = 0.18215f, .use_quant_conv = true,
                          .use_post_quant_conv = true, .mid_block_add_attention = true, .sample_size = 32 };
    o->levels = read_channels(c, j, (int[]){ 64 }, 1, o->channels);
    if (!o->levels || !want_class(c, j, "AutoencoderKL") ||
        !want_absent(c, j, vae_absent, sizeof vae_absent / sizeof *vae_absent) || !want_no_shift(c, j) ||
        !want_text(c, j, "act_fn", "silu", "swish", NULL) ||
        !vae_blocks(c, j, "down_block_types", "DownEncoderBlock2D", o->levels) ||
        !vae_blocks(c, j, "up_block_types", "UpDecoderBlock2D", o->levels) ||
        !im_json_int(c, j, "in_channels", IM_MAY, 3, 3, &o->in_channels) ||
        !im_json_int(c, j, "out_channels", IM_MAY, 3, 3, &o->out_channels) ||
        !im_json_int(c, j, "latent_channels", IM_MAY, 1, MAX_CHANNELS, &o->latent_channels) ||
        !im_json_int(c, j, "layers_per_block", IM_MAY, 1, MAX_LAYERS, &o->layers_per_block) ||
        !read_groups(c, j, &o->norm_num_groups) ||
        !read_vae_size(c, j, &o->sample_size) ||
        !read_float(c, j, "scaling_factor", 1e-9, 1e9, &o->scaling_factor) ||
        !im_json_flag(c, j, "use_quant_conv", &o->use_quant_conv) ||
        !im_json_flag(c, j, "use_post_quant_conv", &o->use_post_quant_conv) ||
        !im_json_flag(c, j, "mid_block_add_attention", &o->mid_block_add_attention))
        return false;
    for (int i = 0; i < o->levels; i++)
        if (!check_groups(c, j, o->channels[i], o->norm_num_groups))
            return false;
    return true;
}

/* ---------------------------------------------------------------- tiny VAE */

im_vae_config im_tiny_config_default(void)
{
    im_vae_config v = { .in_channels = 3, .out_channels = 3, .latent_channels = 4, .levels = 4, .sample_size = 512,
                        .channels = { 64, 64, 64, 64 }, .scaling_factor = 1 };
    v.tiny = (im_tiny_config){ .levels = 4, .encoder = { 64, { 1, 3, 3, 3 } }, .decoder = { 64, { 3, 3, 3, 1 } } };
    return v;
}

/* The convolutions between levels keep the number of channels: all of a half have the same (diffusers' EncoderTiny). */
static bool read_tiny_half(im_ctx *c, const im_json *j, const char *widths, const char *blocks, im_tiny_half_config *h,
                           int *levels)
{
    int n = im_json_length(c, j, widths, IM_MAY, 1, IM_MAX_LEVELS), channels[IM_MAX_LEVELS] = { h->channels };
    if (n < 0 || (n && !im_json_ints(c, j, widths, IM_MUST, 1, MAX_CHANNELS, channels, n)))
        return false;
    *levels = n ? n : 4;
    for (int i = 1; i < n; i++)
        if (channels[i] != channels[0])
            return im_fail(c, "%s: %s has %d and %d; an AutoencoderTiny runs with equal ones only", j->file, widths,
                           channels[0], channels[i]);
    h->channels = channels[0];
    if (!im_json_has(j, blocks) && *levels != 4)
        return im_fail(c, "%s: %s is missing; a list of %d numbers is needed", j->file, blocks, *levels);
    return im_json_ints(c, j, blocks, IM_MAY, 0, MAX_LAYERS, h->blocks, *levels);
}

static bool tiny_config_read(im_ctx *c, const im_json *j, im_vae_config *o)
{
    int levels = 0, twice = 2;
    *o = im_tiny_config_default();
    if (!read_tiny_half(c, j, "encoder_block_out_channels", "num_encoder_blocks", &o->tiny.encoder, &levels) ||
        !read_tiny_half(c, j, "decoder_block_out_channels", "num_decoder_blocks", &o->tiny.decoder, &o->levels) ||
        !want_text(c, j, "act_fn", "relu", NULL, NULL) || !want_text(c, j, "upsample_fn", "nearest", NULL, NULL) ||
        !want_no_shift(c, j) || !im_json_int(c, j, "upsampling_scaling_factor", IM_MAY, 2, 2, &twice) ||
        !im_json_int(c, j, "in_channels", IM_MAY, 3, 3, &o->in_channels) ||
        !im_json_int(c, j, "out_channels", IM_MAY, 3, 3, &o->out_channels) ||
        !im_json_int(c, j, "latent_channels", IM_MAY, 1, MAX_CHANNELS, &o->latent_channels) ||
        !read_float(c, j, "scaling_factor", 1e-9, 1e9, &o->scaling_factor))
        return false;
    if (levels != o->levels)
        return im_fail(c, "%s: the encoder has %d levels and the decoder %d; wanted as many", j->file, levels, o->levels);
    o->tiny.levels = levels;
    for (int i = 0; i < levels; i++)
        o->channels[i] = o->tiny.decoder.channels;
    return true;
}

bool im_vae_any_config_read(im_ctx *c, const im_json *j, im_vae_config *out)
{
    const char *class = "AutoencoderKL";
    if (!im_json_string(c, j, "_class_name", IM_MAY, &class))
        return false;
    if (!strcmp(class, "AutoencoderTiny"))
        return tiny_config_read(c, j, out);
    if (strcmp(class, "AutoencoderKL") != 0)
        return im_fail(c, "%s: _class_name is \"%s\", but imago knows \"AutoencoderKL\" and \"AutoencoderTiny\"", j->file,
                       class);
    return im_vae_config_read(c, j, out);
}
