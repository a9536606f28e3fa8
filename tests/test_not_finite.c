/* test_not_finite.c: what gives a NaN or an infinity is not a picture: the error says when, which network, and which layer
 * first. Others of a batch come out, with the bits that they have alone. */
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "models.h"
#include "poke.h"
#include "tensor/tensor.h"

static const char UNET[] = "m/unet/diffusion_pytorch_model.safetensors", TEXT[] = "m/text_encoder/model.safetensors";
static const char VAE[] = "m/vae/diffusion_pytorch_model.safetensors";
static const uint16_t HALF_NAN = 0x7e00, HALF_INF = 0x7c00;    /* model A is in f16                                   */

static void on_cpu(void)
{
    im_ctx_free(c);
    c = im_ctx_new("cpu", 1);
    no_error();
}

static im_sd *open_model(const char *path, im_dtype dtype)
{
    im_sd *sd = im_sd_open(c, path, dtype);
    ck_assert_msg(sd != NULL, "%s", im_error(c));
    return sd;
}

static im_sd_args small(im_sd *sd)
{
    im_sd_args a = im_sd_defaults(sd);
    a.prompt = "a horse";
    a.steps = 3;
    return a;
}

/* ---------------------------------------------------------------- which layer */

static const struct { const char *file, *tensor, *wanted[4]; } layers[] = {
    { UNET, "down_blocks.0.resnets.1.conv1.weight",
      { "evaluation 1 of 1 (time 1)", "the UNet", "unet down_blocks.0.resnets.1.conv1 (conv", "its own weights" } },
    { UNET, "up_blocks.3.attentions.2.transformer_blocks.0.ff.net.0.proj.weight",
      { "evaluation 1 of 1", "the UNet", "unet up_blocks.3.attentions.2.transformer_blocks.0.ff.net.0.proj (",
        "its own weights" } },
    { UNET, "mid_block.attentions.0.transformer_blocks.0.attn2.to_v.weight",          /* computed once a picture      */
      { "evaluation 1 of 1", "the UNet", "unet mid_block.attentions.0.transformer_blocks.0.attn2.to_v (",
        "its own weights" } },
    { UNET, "conv_norm_out.bias", { "the UNet", "unet conv_norm_out (groupnorm)", "conv_norm_out.bias", "is damaged" } },
    { TEXT, "text_model.encoder.layers.1.mlp.fc1.weight",
      { "before the first of 1 evaluations", "the text encoder",
        "text_encoder text_model.encoder.layers.1.mlp.fc1 (", "its own weights" } },
    { VAE, "decoder.up_blocks.1.resnets.0.conv2.weight",
      { "after the last of 1 evaluations", "the VAE decoder", "vae_decoder decoder.up_blocks.1.resnets.0.conv2 (",
        "its own weights" } },
    { VAE, "encoder.mid_block.attentions.0.to_q.weight",
      { "before the first of 4 evaluations", "the VAE encoder", "vae_encoder encoder.mid_block.attentions.0.to_q (",
        "its own weights" } },
};
enum { LAYERS = sizeof layers / sizeof *layers };

/* Recorded or op by op, packed (cpu) or plain weights (ref). */
START_TEST(layer_is_named)
{
    if (strcmp(layers[_i].file, TEXT)) on_cpu();               /* ref is slow: one network there will do                */
    copy_model_a(at("m"));
    poke(at(layers[_i].file), layers[_i].tensor, 4, &HALF_NAN, sizeof HALF_NAN);
    im_sd *sd = open_model(at("m"), IM_F32);
    im_image *init = !strncmp(layers[_i].tensor, "encoder.", 8) ? im_image_new(c, 64, 64, 3) : NULL;
    for (int eager = 0; eager < 2; eager++) {
        im_sd_args a = small(sd);
        a.eager = eager;
        a.width = a.height = 64;
        a.strength = 0.75f;
        if (init) {
            memset(init->pixels, 90, 64 * 64 * 3);
            a.init = init;
        }
        a.steps = init ? 4 : 1;
        ck_assert_ptr_null(im_sd_generate(sd, &a));
        const char *const *w = layers[_i].wanted;
        WANT_ERROR("not finite, so there is no picture", w[0], w[1], w[2], w[3]);
    }
    im_image_free(init);
    im_sd_free(sd);
}
END_TEST

/* The trace is for looking further: it is written whatever the values are. */
static void count_bad(void *arg, const char *name, const im_tensor *t)
{
    int *bad = arg;
    (void)name;
    const float *x = im_data(t);
    if (t->dtype == IM_F32 && im_contiguous(t)) *bad += !isfinite(x[0] + x[im_numel(t) - 1]);
}

START_TEST(trace_goes_on)
{
    on_cpu();
    copy_model_a(at("m"));
    poke(at(TEXT), "text_model.encoder.layers.1.mlp.fc1.bias", 0, &HALF_INF, sizeof HALF_INF);
    im_sd *sd = open_model(at("m"), IM_F32);
    im_sd_args a = small(sd);
    int bad = 0;
    im_on_trace(c, count_bad, &bad);
    ck_assert_msg(im_sd_trace(sd, &a), "%s", im_error(c));
    ck_assert_int_gt(bad, 10);                                 /* of the UNet, too                                    */
    im_on_trace(c, NULL, NULL);
    im_sd_free(sd);
}
END_TEST

/* ---------------------------------------------------------------- too large */

/* 1e6 is a weight in f32 and an infinity in f16. */
START_TEST(too_large_for_f16)
{
    const float large = 1e6f;
    char command[1500];
    snprintf(command, sizeof command, "cp -r tests/golden/models/c '%s' && chmod -R u+w '%s'", at("m"), at("m"));
    ck_assert_int_eq(system(command), 0);
    on_cpu();
    poke(at(VAE), "decoder.conv_in.weight", 8, &large, sizeof large);
    im_sd *sd = open_model(at("m"), IM_F32);
    im_sd_args a = small(sd);
    im_image *picture = im_sd_generate(sd, &a);
    ck_assert_msg(picture != NULL, "%s", im_error(c));
    im_image_free(picture);
    im_sd_free(sd);
    sd = open_model(at("m"), IM_F16);
    ck_assert_ptr_null(im_sd_generate(sd, &a));
    WANT_ERROR("vae_decoder decoder.conv_in (", "its own weights", "--dtype f32");
    im_sd_free(sd);
}
END_TEST

START_TEST(sums_too_large)
{
    float latents[4 * 8 * 8];
    on_cpu();
    im_sd *sd = open_model(MODEL_A, IM_F32);
    im_sd_args a = small(sd);
    for (int i = 0; i < 256; i++) latents[i] = i % 2 ? 3e38f : -3e38f;
    a.latents = latents;
    ck_assert_ptr_null(im_sd_generate(sd, &a));
    WANT_ERROR("evaluation 1 of 4", "unet conv_in (conv2d)", "from inputs and weights that are finite", "--scheduler");
    a.latents = NULL;
    a.guidance = 3e38f;
    ck_assert_ptr_null(im_sd_generate(sd, &a));
    WANT_ERROR("evaluation 2 of 4", "the UNet", "from inputs and weights that are finite", "a lower --guidance");
    latents[17] = NAN;
    a = small(sd);
    a.latents = latents;
    ck_assert_ptr_null(im_sd_generate(sd, &a));
    WANT_ERROR("the latents that were given hold values that are not finite");
    im_sd_free(sd);
}
END_TEST

/* diffusers' UniPC gives infinities there as well: with sigma 0 at the end, a last step of order 2 divides by ln 0. */
START_TEST(scheduler_is_named)
{
    copy_model_a(at("m"));
    json_t *j = json_load_file(at("m/scheduler/scheduler_config.json"), 0, NULL);
    json_object_set_new(j, "lower_order_final", json_false());
    ck_assert_int_eq(json_dump_file(j, at("m/scheduler/scheduler_config.json"), 0), 0);
    on_cpu();
    im_sd *sd = open_model(at("m"), IM_F32);
    im_sd_args a = small(sd);
    a.steps = 6;
    a.scheduler = "unipc";
    ck_assert_ptr_null(im_sd_generate(sd, &a));
    WANT_ERROR("evaluation 6 of 6", "the scheduler unipc", "lower_order_final false, final_sigmas_type zero",
               "another --scheduler");
    im_sd_free(sd);
    json_object_set_new(j, "final_sigmas_type", json_string("sigma_min"));
    ck_assert_int_eq(json_dump_file(j, at("m/scheduler/scheduler_config.json"), 0), 0);
    json_decref(j);
    sd = open_model(at("m"), IM_F32);
    im_image *picture = im_sd_generate(sd, &a);
    ck_assert_msg(picture != NULL, "%s", im_error(c));
    im_image_free(picture);
    im_sd_free(sd);
}
END_TEST

/* ---------------------------------------------------------------- the others of a batch */

static int32_t token_of(const char *word)
{
    int32_t ids[77];
    im_tokenizer *t = im_tokenizer_open(c, MODEL_A "/tokenizer");
    ck_assert_msg(t && im_tokenize(c, t, word, 77, ids, NULL), "%s", im_error(c));
    im_tokenizer_free(t);
    return ids[1];
}

START_TEST(others_come_out)
{
    const char *const prompts[] = { "castle", "horse", "" };
    im_image *out[3], *alone[3];
    on_cpu();
    copy_model_a(at("m"));
    poke(at(TEXT), "text_model.embeddings.token_embedding.weight", 2 * 48 * (size_t)token_of("horse") + 6, &HALF_INF,
         sizeof HALF_INF);
    im_sd *sd = open_model(at("m"), IM_F32);
    im_sd_args a[3];
    for (int i = 0; i < 3; i++) {
        a[i] = small(sd);
        a[i].prompt = prompts[i];
        a[i].seed = (uint64_t)i;
        if (i == 1) continue;
        alone[i] = im_sd_generate(sd, &a[i]);
        ck_assert_msg(alone[i] != NULL, "%s", im_error(c));
    }
    ck_assert(!im_sd_generate_batch(sd, a, 3, out));
    WANT_ERROR("the picture of \"horse\", seed 1: ", "text_encoder text_model.embeddings.token_embedding (embedding)");
    ck_assert_ptr_null(out[1]);
    for (int i = 0; i < 3; i += 2) {
        ck_assert_ptr_nonnull(out[i]);
        ck_assert_int_eq(memcmp(out[i]->pixels, alone[i]->pixels, 64 * 64 * 3), 0);
        im_image_free(out[i]);
        im_image_free(alone[i]);
    }
    im_sd_free(sd);
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        LOOP(layer_is_named, LAYERS), ONCE(trace_goes_on), ONCE(too_large_for_f16), ONCE(sums_too_large),
        ONCE(scheduler_is_named), ONCE(others_come_out),
    };
    return suite_run("not_finite", setup, teardown, 120, tests, SUITE_COUNT(tests));
}
