/* test_checkpoint.c: checkpoints in every layout are read, what does not fit is named, all of it at once, and files of
 * another kind are told apart. */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "data/files/file.h"
#include "golden_json.h"
#include "models.h"
#include "models/checkpoints/checkpoint_names.h"
#include "models/nets/unet.h"

/* ---------------------------------------------------------------- layouts */

START_TEST(folders_open)
{
    static const struct { const char *path; int tensors[IM_PART_COUNT]; } models[] = {
        { "tests/golden/models/a", { 52, 684, 248 } }, { "tests/golden/models/b", { 36, 0, 0 } },
        { "tests/golden/models/c", { 68, 0, 0 } },
    };
    im_checkpoint *k = open_whole(models[_i].path);
    for (int p = 0; p < IM_PART_COUNT; p++)
        if (models[_i].tensors[p])
            ck_assert_int_eq(im_checkpoint_count(k, (im_part)p), models[_i].tensors[p]);
    ck_assert_str_eq(im_checkpoint_folder(k), models[_i].path);
    im_checkpoint_close(k);
}
END_TEST

/* Every tensor of the folder is in the single file that diffusers' reader accepts, under our name for it. */
START_TEST(original_names)
{
    im_checkpoint *k = open_whole(MODEL_A);
    json_t *rows = golden_json(SINGLE_A);
    int tested = 0;
    for (int p = 0; p < IM_PART_COUNT; p++)
        for (int i = 0; i < im_checkpoint_count(k, (im_part)p); i++, tested++) {
            const im_param *param;
            char name[IM_NAME_BYTES];
            const im_st_entry *a = im_checkpoint_at(k, (im_part)p, i, &param);
            ck_assert(im_original_name(im_checkpoint_config(k), (im_part)p, param->t->name, name));
            in_single_a(rows, name, a);
        }
    ck_assert_int_eq(tested, (int)json_array_size(rows));
    json_decref(rows);
    im_checkpoint_close(k);
}
END_TEST

/* ---------------------------------------------------------------- weights that do not fit */

START_TEST(all_trouble_at_once)
{
    copy_model_a(at("m"));
    rewrite(at("m/unet/diffusion_pytorch_model.safetensors"), "conv_in.bias", "mid_block.resnets.0.norm1.weight", true,
            NULL);
    im_checkpoint *k = im_checkpoint_open(c, at("m"));
    ck_assert_msg(k != NULL, "%s", im_error(c));
    ck_assert(!im_checkpoint_check(k));
    WANT_ERROR("unet/diffusion_pytorch_model.safetensors", "1 missing: conv_in.bias", "1 unexpected: extra.weight",
               "1 of another shape: mid_block.resnets.0.norm1.weight is (1, 24), wanted (24)", "unet/config.json");
    im_unet *unet = im_unet_new(c, &im_checkpoint_config(k)->unet);
    ck_assert(!im_checkpoint_load(k, IM_PART_UNET, im_unet_params(unet), IM_F32));
    ck_assert_ptr_null(im_unet_params(unet)->v[0].t->storage);                           /* nothing was loaded   */
    im_unet_free(unet);
    im_checkpoint_close(k);
    im_clear_error(c);
}
END_TEST

START_TEST(long_lists_are_counted)
{
    copy_model_a(at("m"));
    rename(at("m/text_encoder/model.safetensors"), at("m/x"));
    ck_assert_int_eq(rename(at("m/unet/diffusion_pytorch_model.safetensors"),
                            at("m/text_encoder/model.safetensors")), 0);
    ck_assert_int_eq(rename(at("m/x"), at("m/unet/diffusion_pytorch_model.safetensors")), 0);
    im_checkpoint *k = im_checkpoint_open(c, at("m"));
    ck_assert(!im_checkpoint_check(k));
    WANT_ERROR("52 missing: text_model.embeddings.token_embedding.weight", "and 44 more", "684 unexpected",
               "and 676 more");
    im_checkpoint_close(k);
}
END_TEST

static void old_vae_name(const char *name, char *out, size_t size)
{
    static const char *const pairs[][2] = { { "to_q", "query" }, { "to_k", "key" }, { "to_v", "value" },
                                            { "to_out.0", "proj_attn" } };
    for (int i = 0; i < 4; i++) {
        const char *p = strstr(name, pairs[i][0]);
        if (p)
            snprintf(out, size, "%.*s%s%s", (int)(p - name), name, pairs[i][1], p + strlen(pairs[i][0]));
    }
}

/* diffusers before 0.18 (and the real v1.4 folder) named the VAE's attention otherwise. */
START_TEST(older_names)
{
    copy_model_a(at("m"));
    rewrite(at("m/vae/diffusion_pytorch_model.safetensors"), NULL, NULL, false, old_vae_name);
    im_checkpoint *k = open_whole(at("m")), *a = open_whole(MODEL_A);
    ck_assert_str_eq(im_checkpoint_fingerprint(k), im_checkpoint_fingerprint(a));
    im_checkpoint_close(k);
    im_checkpoint_close(a);
}
END_TEST

/* ---------------------------------------------------------------- configurations that do not fit */

typedef struct edit { const char *file, *key, *json, *error; } edit;                     /* json NULL: removed   */

static const edit edits[] = {
    { "unet/config.json", "block_out_channels", "[16, 0, 24, 24]", "block_out_channels" },
    { "unet/config.json", "block_out_channels", "[16, 16, 24]", "down_block_types" },
    { "unet/config.json", "block_out_channels", "[16, 16, 20, 24]", "norm_num_groups 8 does not divide" },
    { "unet/config.json", "block_out_channels", "[16, 16, 99999999, 24]", "block_out_channels" },
    { "unet/config.json", "down_block_types",
      "[\"AttnDownBlock2D\", \"DownBlock2D\", \"DownBlock2D\", \"DownBlock2D\"]", "AttnDownBlock2D" },
    { "unet/config.json", "mid_block_type", "\"UNetMidBlock2DSimpleCrossAttn\"", "mid_block_type" },
    { "unet/config.json", "attention_head_dim", "7", "cannot be shared by 7 heads" },
    { "unet/config.json", "attention_head_dim", "[8, 8, 8]", "attention_head_dim" },
    { "unet/config.json", "attention_head_dim", "\"eight\"", "attention_head_dim" },
    { "unet/config.json", "layers_per_block", "0", "layers_per_block" },
    { "unet/config.json", "layers_per_block", "1e9", "layers_per_block" },
    { "unet/config.json", "in_channels", "7", "an upscaler" },
    { "unet/config.json", "cross_attention_dim", "64", "hidden_size is 48" },
    { "unet/config.json", "act_fn", "\"gelu\"", "act_fn is \"gelu\"" },
    { "unet/config.json", "class_embed_type", "\"timestep\"", "class_embed_type" },
    { "unet/config.json", "addition_embed_type", "\"text_time\"", "addition_embed_type" },
    { "unet/config.json", "resnet_time_scale_shift", "\"scale_shift\"", "resnet_time_scale_shift" },
    { "unet/config.json", "dual_cross_attention", "true", "dual_cross_attention" },
    { "unet/config.json", "norm_num_groups", "null", "norm_num_groups" },
    { "unet/config.json", "conv_in_kernel", "2", "must be odd" },
    { "unet/config.json", "_class_name", "\"UNet2DModel\"", "UNet2DModel" },
    { "vae/config.json", "_class_name", "\"AsymmetricAutoencoderKL\"", "AsymmetricAutoencoderKL" },
    { "vae/config.json", "latent_channels", "8", "latent_channels is 8" },
    { "vae/config.json", "down_block_types", "[\"DownEncoderBlock2D\"]", "down_block_types" },
    { "vae/config.json", "up_block_types", NULL, "up_block_types" },
    { "vae/config.json", "scaling_factor", "0", "scaling_factor" },
    { "vae/config.json", "latents_mean", "[0, 0, 0, 0]", "latents_mean" },
    { "text_encoder/config.json", "hidden_act", "\"relu\"", "hidden_act is \"relu\"" },
    { "text_encoder/config.json", "num_attention_heads", "5", "not a multiple" },
    { "text_encoder/config.json", "model_type", "\"t5\"", "model_type is \"t5\"" },
    { "text_encoder/config.json", "vocab_size", "-3", "vocab_size" },
    { "model_index.json", "_class_name", "\"StableDiffusionXLPipeline\"", "StableDiffusionXLPipeline" },
    { "model_index.json", "_class_name", NULL, "_class_name" },
    { "model_index.json", "unet", "[\"diffusers\", \"UNet3DConditionModel\"]", "UNet3DConditionModel" },
    { "model_index.json", "vae", NULL, "vae" },
};
enum { EDITS = sizeof edits / sizeof *edits };

START_TEST(config_errors)
{
    const edit *e = &edits[_i];
    char path[256];
    copy_model_a(at("m"));
    snprintf(path, sizeof path, "m/%s", e->file);
    json_t *j = json_load_file(at(path), 0, NULL);
    ck_assert_ptr_nonnull(j);
    if (e->json)
        json_object_set_new(j, e->key, json_loads(e->json, JSON_DECODE_ANY, NULL));
    else
        json_object_del(j, e->key);
    ck_assert_int_eq(json_dump_file(j, at(path), 0), 0);
    json_decref(j);
    ck_assert_ptr_null(im_checkpoint_open(c, at("m")));
    WANT_ERROR(e->error, e->file[0] == 'm' ? "model_index.json" : "m");
}
END_TEST

/* Without a middle block, with two transformers a block, with the text also in the first attention, with another scale:
 * the parameters are those of such a UNet. */
START_TEST(unusual_configs)
{
    im_checkpoint *k = im_checkpoint_open(c, MODEL_A);
    im_unet_config u = im_checkpoint_config(k)->unet;
    u.has_mid = false;
    u.level[0].transformer_layers = 2;
    u.level[1].only_cross_attention = true;
    u.center_input_sample = true;
    u.downsample_padding = 0;
    im_unet *m = im_unet_new(c, &u);
    no_error();
    const im_params *p = im_unet_params(m);
    ck_assert_ptr_null(im_params_find(p, "mid_block.resnets.0.conv1.weight"));
    ck_assert_ptr_nonnull(im_params_find(p, "up_blocks.3.attentions.2.transformer_blocks.1.attn2.to_v.weight"));
    const im_param *q = im_params_find(p, "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_k.weight");
    ck_assert_int_eq(q->t->shape[1], 48);
    /* pairs: level 0 has 2 + 3 transformers of 2 blocks, level 1 5 with two each, level 2 5 */
    ck_assert_int_eq(im_unet_context_count(m), 2 * (5 * 2 + 5 * 2 + 5));
    im_unet_free(m);
    im_checkpoint_close(k);
}
END_TEST

/* ---------------------------------------------------------------- files of another kind */

static void write_single(const char *path, const char *const names[], int n)
{
    im_st_entry e[8] = { 0 };
    float x = 0;
    for (int i = 0; i < n; i++)
        e[i] = (im_st_entry){ .name = names[i], .dtype = IM_F32, .ndim = 1, .shape = { 1 } };
    im_st_writer *w = im_st_create(c, path, e, n, NULL, 0);
    for (int i = 0; i < n; i++)
        im_st_put(c, w, i, &x, sizeof x);
    ck_assert_msg(im_st_finish(c, w), "%s", im_error(c));
}

START_TEST(other_kinds)
{
    static const struct { const char *name, *error; } kinds[] = {
        { "layer1.0.conv1.weight", "a ResNet" },
        { "conditioner.embedders.0.transformer.text_model.final_layer_norm.bias", "Stable Diffusion XL" },
        { "cond_stage_model.model.positional_embedding", "Stable Diffusion 2" },
        { "model.diffusion_model.double_blocks.0.img_attn.proj.bias", "Flux" },
        { "lora_unet_down_blocks_0.alpha", "a LoRA" },
        { "control_model.input_blocks.0.0.bias", "a ControlNet" },
        { "down_blocks.0.resnets.0.conv1.bias", "a single network" },
        { "something.weight", "no tensor named model.diffusion_model.*" },
    };
    write_single(at("x.safetensors"), &kinds[_i].name, 1);
    im_checkpoint *k = im_checkpoint_open(c, at("x.safetensors"));
    ck_assert(!im_checkpoint_check(k));
    WANT_ERROR("x.safetensors", kinds[_i].error);
    im_checkpoint_close(k);
}
END_TEST

/* A single file is taken for v1.4: a small one without its configuration does not fit, and says how. */
START_TEST(single_file_without_config)
{
    ck_assert_msg(im_sd_convert(c, MODEL_A, at("a.safetensors"), -1, 0, false), "%s", im_error(c));
    rewrite(at("a.safetensors"), NULL, NULL, false, NULL);     /* without metadata, where the configuration is        */
    im_checkpoint *k = im_checkpoint_open(c, at("a.safetensors"));
    ck_assert_msg(k != NULL, "%s", im_error(c));
    ck_assert(!im_checkpoint_check(k));
    WANT_ERROR("Stable Diffusion v1.x", "of another shape", "wanted (49408, 768)");
    im_checkpoint_close(k);
}
END_TEST

START_TEST(missing_files)
{
    ck_assert_ptr_null(im_checkpoint_open(c, at("nothing")));
    WANT_ERROR("nothing", "no such file or folder");
    ck_assert(im_make_folder(c, at("empty")));
    ck_assert_ptr_null(im_checkpoint_open(c, at("empty")));
    WANT_ERROR("empty", "model_index.json");
    copy_model_a(at("m"));
    ck_assert_int_eq(unlink(at("m/vae/diffusion_pytorch_model.safetensors")), 0);
    ck_assert_ptr_null(im_checkpoint_open(c, at("m")));
    WANT_ERROR("vae", "diffusion_pytorch_model.safetensors");
    ck_assert(im_write_file(c, at("m/vae/diffusion_pytorch_model.bin"), "PK\3\4 pickle", 11, false));
    ck_assert_ptr_null(im_checkpoint_open(c, at("m")));
    WANT_ERROR("diffusion_pytorch_model.bin", "pickle");
    ck_assert(im_write_file(c, at("model.ckpt"), "PK\3\4 pickle", 11, false));
    ck_assert_ptr_null(im_checkpoint_open(c, at("model.ckpt")));
    WANT_ERROR("model.ckpt", "pickle");
    ck_assert_int_eq(unlink(at("m/unet/config.json")), 0);
    ck_assert_ptr_null(im_checkpoint_open(c, at("m")));
    WANT_ERROR("unet/config.json");
}
END_TEST

/* fp16 variants and their names */
START_TEST(variants)
{
    copy_model_a(at("m"));
    ck_assert_int_eq(rename(at("m/unet/diffusion_pytorch_model.safetensors"),
                            at("m/unet/diffusion_pytorch_model.fp16.safetensors")), 0);
    ck_assert_int_eq(rename(at("m/text_encoder/model.safetensors"), at("m/text_encoder/model.fp16.safetensors")), 0);
    im_checkpoint_close(open_whole(at("m")));
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        LOOP(folders_open, 3), ONCE(original_names), ONCE(all_trouble_at_once), ONCE(long_lists_are_counted),
        ONCE(older_names), LOOP(config_errors, EDITS), ONCE(unusual_configs), LOOP(other_kinds, 8),
        ONCE(single_file_without_config), ONCE(missing_files), ONCE(variants),
    };
    return suite_run("checkpoint", setup, teardown, 60, tests, SUITE_COUNT(tests));
}
