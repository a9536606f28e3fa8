/* model_files_v1.c: the configuration files of CompVis/stable-diffusion-v1-4 (the values of im_model_config_v1, with
 * the fields that diffusers and transformers want), and CLIP's tokenizer files, from the copy that imago carries.
 * Used by model_files.c. */
#include "models/checkpoints/model_files_v1.h"
#include "data/text/clip_merges.h"
#include "data/files/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char im_v1_index[] =
    "{\n"
    "  \"_class_name\": \"StableDiffusionPipeline\",\n"
    "  \"_diffusers_version\": \"0.21.0\",\n"
    "  \"feature_extractor\": [null, null],\n"
    "  \"requires_safety_checker\": false,\n"
    "  \"safety_checker\": [null, null],\n"
    "  \"scheduler\": [\"diffusers\", \"PNDMScheduler\"],\n"
    "  \"text_encoder\": [\"transformers\", \"CLIPTextModel\"],\n"
    "  \"tokenizer\": [\"transformers\", \"CLIPTokenizer\"],\n"
    "  \"unet\": [\"diffusers\", \"UNet2DConditionModel\"],\n"
    "  \"vae\": [\"diffusers\", \"AutoencoderKL\"]\n"
    "}\n";

const char im_v1_scheduler[] =
    "{\n"
    "  \"_class_name\": \"PNDMScheduler\",\n"
    "  \"_diffusers_version\": \"0.21.0\",\n"
    "  \"beta_end\": 0.012,\n"
    "  \"beta_schedule\": \"scaled_linear\",\n"
    "  \"beta_start\": 0.00085,\n"
    "  \"clip_sample\": false,\n"
    "  \"num_train_timesteps\": 1000,\n"
    "  \"set_alpha_to_one\": false,\n"
    "  \"skip_prk_steps\": true,\n"
    "  \"steps_offset\": 1,\n"
    "  \"trained_betas\": null\n"
    "}\n";

const char im_v1_text_encoder[] =
    "{\n"
    "  \"architectures\": [\"CLIPTextModel\"],\n"
    "  \"attention_dropout\": 0.0,\n"
    "  \"bos_token_id\": 49406,\n"
    "  \"eos_token_id\": 49407,\n"
    "  \"hidden_act\": \"quick_gelu\",\n"
    "  \"hidden_size\": 768,\n"
    "  \"initializer_factor\": 1.0,\n"
    "  \"initializer_range\": 0.02,\n"
    "  \"intermediate_size\": 3072,\n"
    "  \"layer_norm_eps\": 1e-05,\n"
    "  \"max_position_embeddings\": 77,\n"
    "  \"model_type\": \"clip_text_model\",\n"
    "  \"num_attention_heads\": 12,\n"
    "  \"num_hidden_layers\": 12,\n"
    "  \"pad_token_id\": 1,\n"
    "  \"projection_dim\": 768,\n"
    "  \"vocab_size\": 49408\n"
    "}\n";

const char im_v1_unet[] =
    "{\n"
    "  \"_class_name\": \"UNet2DConditionModel\",\n"
    "  \"_diffusers_version\": \"0.21.0\",\n"
    "  \"act_fn\": \"silu\",\n"
    "  \"attention_head_dim\": 8,\n"
    "  \"block_out_channels\": [320, 640, 1280, 1280],\n"
    "  \"center_input_sample\": false,\n"
    "  \"cross_attention_dim\": 768,\n"
    "  \"down_block_types\": [\"CrossAttnDownBlock2D\", \"CrossAttnDownBlock2D\", \"CrossAttnDownBlock2D\", "
    "\"DownBlock2D\"],\n"
    "  \"downsample_padding\": 1,\n"
    "  \"flip_sin_to_cos\": true,\n"
    "  \"freq_shift\": 0,\n"
    "  \"in_channels\": 4,\n"
    "  \"layers_per_block\": 2,\n"
    "  \"mid_block_scale_factor\": 1,\n"
    "  \"norm_eps\": 1e-05,\n"
    "  \"norm_num_groups\": 32,\n"
    "  \"out_channels\": 4,\n"
    "  \"sample_size\": 64,\n"
    "  \"up_block_types\": [\"UpBlock2D\", \"CrossAttnUpBlock2D\", \"CrossAttnUpBlock2D\", \"CrossAttnUpBlock2D\"]\n"
    "}\n";

const char im_v1_vae[] =
    "{\n"
    "  \"_class_name\": \"AutoencoderKL\",\n"
    "  \"_diffusers_version\": \"0.21.0\",\n"
    "  \"act_fn\": \"silu\",\n"
    "  \"block_out_channels\": [128, 256, 512, 512],\n"
    "  \"down_block_types\": [\"DownEncoderBlock2D\", \"DownEncoderBlock2D\", \"DownEncoderBlock2D\", "
    "\"DownEncoderBlock2D\"],\n"
    "  \"in_channels\": 3,\n"
    "  \"latent_channels\": 4,\n"
    "  \"layers_per_block\": 2,\n"
    "  \"norm_num_groups\": 32,\n"
    "  \"out_channels\": 3,\n"
    "  \"sample_size\": 512,\n"
    "  \"scaling_factor\": 0.18215,\n"
    "  \"up_block_types\": [\"UpDecoderBlock2D\", \"UpDecoderBlock2D\", \"UpDecoderBlock2D\", "
    "\"UpDecoderBlock2D\"]\n"
    "}\n";

#define TOKEN(content, type) \
    "{\n" type "    \"content\": \"" content "\",\n    \"lstrip\": false,\n    \"normalized\": true,\n" \
    "    \"rstrip\": false,\n    \"single_word\": false\n  }"
#define ADDED "    \"__type\": \"AddedToken\",\n"
#define START "<|startoftext|>"
#define STOP "<|endoftext|>"

const char im_v1_tokenizer_config[] =
    "{\n"
    "  \"add_prefix_space\": false,\n"
    "  \"bos_token\": " TOKEN(START, ADDED) ",\n"
    "  \"do_lower_case\": true,\n"
    "  \"eos_token\": " TOKEN(STOP, ADDED) ",\n"
    "  \"errors\": \"replace\",\n"
    "  \"model_max_length\": 77,\n"
    "  \"pad_token\": \"" STOP "\",\n"
    "  \"tokenizer_class\": \"CLIPTokenizer\",\n"
    "  \"unk_token\": " TOKEN(STOP, ADDED) "\n"
    "}\n";

const char im_v1_special_tokens[] =
    "{\n"
    "  \"bos_token\": " TOKEN(START, "") ",\n"
    "  \"eos_token\": " TOKEN(STOP, "") ",\n"
    "  \"pad_token\": \"" STOP "\",\n"
    "  \"unk_token\": " TOKEN(STOP, "") "\n"
    "}\n";

char *im_v1_merges(im_ctx *c)
{
    size_t bytes = (size_t)(im_clip_merges_end - im_clip_merges);
    return im_copy_text(c, im_clip_merges, bytes);
}

/* Writes text as a JSON string; out has room for twice its bytes and the quotes. Returns the end. */
static char *put_quoted(char *out, const char *text)
{
    *out++ = '"';
    for (; *text; text++) {                                    /* pieces have no control characters                   */
        if (*text == '"' || *text == '\\')
            *out++ = '\\';
        *out++ = *text;
    }
    *out++ = '"';
    return out;
}

char *im_v1_vocab(im_ctx *c)
{
    im_tokenizer *t = im_tokenizer_open(c, NULL);
    int n = t ? im_tokenizer_size(t) : 0;
    size_t room = 8;
    for (int i = 0; i < n; i++)
        room += 2 * strlen(im_token_piece(t, i)) + 16;
    char *text = n ? malloc(room) : NULL, *end = text;
    if (text) {
        *end++ = '{';
        for (int i = 0; i < n; i++) {
            if (i)
                *end++ = ',';
            end = put_quoted(end, im_token_piece(t, i));
            end += snprintf(end, 16, ":%d", i);
        }
        memcpy(end, "}\n", 3);
    } else {
        im_fail(c, "out of memory for the vocabulary");
    }
    im_tokenizer_free(t);
    return text;
}
