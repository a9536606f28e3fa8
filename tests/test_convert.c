/* test_convert.c: conversions lose nothing, weights from a seed are the same bytes on every machine and of the right
 * size, and neither leaves anything half-written. */
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/files/json.h"
#include "golden_json.h"
#include "models.h"
#include "models/nets/unet.h"
#include "models/nets/vae.h"
#include "tensor/tensor.h"

/* ---------------------------------------------------------------- conversions */

static bool same_file(const char *a, const char *b)
{
    size_t n, m;
    char *x = im_read_file(c, a, 1 << 26, &n), *y = im_read_file(c, b, 1 << 26, &m);
    no_error();
    bool same = n == m && !memcmp(x, y, n);
    free(x);
    free(y);
    return same;
}

/* Names, shapes, types and bytes of two files agree. */
static void same_tensors(const char *a, const char *b)
{
    im_safetensors *x = im_st_open(c, a), *y = im_st_open(c, b);
    no_error();
    ck_assert_int_eq(im_st_count(x), im_st_count(y));
    for (int i = 0; i < im_st_count(x); i++) {
        const im_st_entry *e = im_st_at(x, i), *f = im_st_find(y, e->name);
        ck_assert_msg(f != NULL, "%s is not in %s", e->name, b);
        ck_assert_str_eq(e->dtype_name, f->dtype_name);
        ck_assert_int_eq(e->ndim, f->ndim);
        ck_assert_msg(!memcmp(e->shape, f->shape, (size_t)e->ndim * sizeof e->shape[0]), "shape of %s", e->name);
        ck_assert_int_eq(memcmp(e->data, f->data, e->bytes), 0);
    }
    im_st_close(x);
    im_st_close(y);
}

/* A single file has the tensors of SINGLE_A, shapes included, and no others. */
static void is_single_a(const char *path)
{
    json_t *rows = golden_json(SINGLE_A), *size;
    im_safetensors *s = im_st_open(c, path);
    no_error();
    ck_assert_int_eq(im_st_count(s), (int)json_array_size(rows));
    for (int i = 0; i < im_st_count(s); i++)
        in_single_a(rows, im_st_at(s, i)->name, im_st_at(s, i));
    size_t i, axis;
    json_t *row;
    json_array_foreach(rows, i, row) {
        const im_st_entry *e = im_st_find(s, json_string_value(json_array_get(row, 0)));
        ck_assert_int_eq(e->ndim, (int)json_array_size(json_array_get(row, 2)));
        json_array_foreach(json_array_get(row, 2), axis, size)
            ck_assert_int_eq(e->shape[axis], json_integer_value(size));
    }
    json_decref(rows);
    im_st_close(s);
}

/* Folder -> single file -> folder: the single file is the one that the golden program wrote, the folder the first one
 * again, its small files byte for byte (model_index.json apart, which is written anew), and one fingerprint holds. */
START_TEST(there_and_back)
{
    ck_assert_msg(im_sd_convert(c, MODEL_A, at("a.safetensors"), -1, 0, false), "%s", im_error(c));
    is_single_a(at("a.safetensors"));
    ck_assert_msg(im_sd_convert(c, at("a.safetensors"), at("a"), -1, 0, false), "%s", im_error(c));
    same_tensors(at("a/unet/diffusion_pytorch_model.safetensors"),
                 MODEL_A "/unet/diffusion_pytorch_model.safetensors");
    same_tensors(at("a/vae/diffusion_pytorch_model.safetensors"), MODEL_A "/vae/diffusion_pytorch_model.safetensors");
    static const char *const small[] = { "unet/config.json", "vae/config.json", "text_encoder/config.json",
                                         "scheduler/scheduler_config.json", "tokenizer/vocab.json",
                                         "tokenizer/merges.txt", "tokenizer/tokenizer_config.json",
                                         "tokenizer/special_tokens_map.json" };
    for (size_t i = 0; i < sizeof small / sizeof *small; i++) {
        char there[256], back[256];
        snprintf(there, sizeof there, MODEL_A "/%s", small[i]);
        snprintf(back, sizeof back, "a/%s", small[i]);
        ck_assert_msg(same_file(there, at(back)), "%s differs", small[i]);
    }
    im_checkpoint *k[3] = { open_whole(MODEL_A), open_whole(at("a.safetensors")), open_whole(at("a")) };
    ck_assert_uint_eq(strlen(im_checkpoint_fingerprint(k[0])), 64);
    for (int i = 1; i < 3; i++)
        ck_assert_str_eq(im_checkpoint_fingerprint(k[0]), im_checkpoint_fingerprint(k[i]));
    ck_assert_ptr_null(im_checkpoint_folder(k[1]));
    for (int i = 0; i < 3; i++)
        im_checkpoint_close(k[i]);
}
END_TEST

START_TEST(dtypes)
{
    ck_assert_msg(im_sd_convert(c, "tests/golden/models/c", at("h"), IM_F16, 0, false), "%s", im_error(c));
    ck_assert_msg(im_sd_convert(c, at("h"), at("f"), IM_F32, 0, false), "%s", im_error(c));
    im_checkpoint *k = open_whole("tests/golden/models/c"), *h = open_whole(at("h")), *f = open_whole(at("f"));
    for (int i = 0; i < im_checkpoint_count(k, IM_PART_UNET); i++) {
        const im_param *p;
        const im_st_entry *x = im_checkpoint_at(k, IM_PART_UNET, i, &p), *y = im_checkpoint_at(h, IM_PART_UNET, i, &p);
        const im_st_entry *z = im_checkpoint_at(f, IM_PART_UNET, i, &p);
        ck_assert_str_eq(y->dtype_name, "F16");
        ck_assert_str_eq(z->dtype_name, "F32");
        for (size_t j = 0; j < x->bytes / sizeof(float); j++) {
            uint16_t half = im_f16_from_f32(((const float *)x->data)[j]);
            ck_assert_int_eq(((const uint16_t *)y->data)[j], half);
            ck_assert(((const float *)z->data)[j] == im_f32_from_f16(half));
        }
    }
    ck_assert_str_ne(im_checkpoint_fingerprint(k), im_checkpoint_fingerprint(h));
    char *config = im_read_file(c, at("h/text_encoder/config.json"), 1 << 16, NULL);
    ck_assert_ptr_nonnull(config);
    ck_assert_ptr_nonnull(strstr(config, "\"dtype\": \"float32\""));     /* as diffusers loads the other parts          */
    free(config);
    im_checkpoint_close(k);
    im_checkpoint_close(h);
    im_checkpoint_close(f);
}
END_TEST

/* The values of a model's parameters, one by one, of integers too: every row within half of its scale. */
START_TEST(values_of_int8)
{
    static const char name[] = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight";
    ck_assert_msg(im_sd_convert(c, MODEL_A, at("i"), IM_INT8, 0, false), "%s", im_error(c));
    im_sd *wide = im_sd_open(c, MODEL_A, IM_F32), *narrow = im_sd_open(c, at("i"), IM_INT8);
    no_error();
    im_net_param p, q;
    float *x = im_sd_param_values(wide, IM_NET_UNET, name, &p), *y = im_sd_param_values(narrow, IM_NET_UNET, name, &q);
    no_error();
    ck_assert_int_eq(p.count, q.count);
    int64_t rows = p.shape[0], k = p.count / rows, others = 0;
    for (int64_t r = 0; r < rows; r++) {
        float most = 0;
        for (int64_t i = 0; i < k; i++)
            most = fmaxf(most, fabsf(x[r * k + i]));
        for (int64_t i = 0; i < k; i++) {
            float off = fabsf(x[r * k + i] - y[r * k + i]);
            ck_assert_msg(off <= most / 127 * 0.501f, "row %d: %g for %g", (int)r, (double)y[r * k + i],
                          (double)x[r * k + i]);
            others += off > 0;
        }
    }
    ck_assert_int_gt(others, 0);                               /* they were integers                                  */
    free(x);
    free(y);
    im_sd_free(wide);
    im_sd_free(narrow);
}
END_TEST

/* ---------------------------------------------------------------- weights from a seed */

static void sha_of(const char *path, char hex[65])
{
    unsigned char sum[SHA256_DIGEST_LENGTH];
    size_t n;
    char *data = im_read_file(c, path, 1 << 26, &n);
    no_error();
    SHA256((unsigned char *)data, n, sum);
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i++)
        snprintf(hex + 2 * i, 3, "%02x", sum[i]);
    free(data);
}

START_TEST(same_seed_same_bytes)
{
    static const struct { im_dtype dtype; const char *sha; } cases[] = {                 /* of the VAE, seed 1   */
        { IM_F32, "6da7efd747e8459cb77c493f4701d4d39ed1bc68e19ea94545ab22fb0fdb011a" },
        { IM_F16, "57aa9aaf999695b7278601a619f299fd2f241b685e78e76675fe469949bf4e46" },
        { IM_BF16, "6488902925989352734fe6dca81096f7341550c8f727175fcb4fd9152410a73a" },
    };
    char a[65], b[65], d[65];
    const char *file = "/vae/diffusion_pytorch_model.safetensors";
    char name[64];
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "w%d", i);
        ck_assert_msg(im_sd_init_weights(c, MODEL_A, i ? 2 : 1, cases[_i].dtype, at(name), false), "%s", im_error(c));
        im_checkpoint_close(open_whole(at(name)));
    }
    im_ctx_free(c);
    c = im_ctx_new("cpu", 1);
    ck_assert_msg(im_sd_init_weights(c, MODEL_A, 1, cases[_i].dtype, at("again"), false), "%s", im_error(c));
    snprintf(name, sizeof name, "w0%s", file);
    sha_of(at(name), a);
    snprintf(name, sizeof name, "again%s", file);
    sha_of(at(name), b);
    snprintf(name, sizeof name, "w1%s", file);
    sha_of(at(name), d);
    ck_assert_str_eq(a, b);
    ck_assert_str_ne(a, d);
    ck_assert_str_eq(a, cases[_i].sha);
}
END_TEST

static double deviation(const im_tensor *t)
{
    const float *x = im_data(t);
    double sum = 0, square = 0, n = (double)im_numel(t);
    for (int64_t i = 0; i < im_numel(t); i++) {
        sum += x[i];
        square += (double)x[i] * x[i];
    }
    return sqrt(square / n - sum / n * (sum / n));
}

static im_tensor *noise(int ndim, const int64_t shape[])
{
    im_tensor *t = im_new(c, IM_F32, ndim, shape);
    im_rng *r = im_rng_new(c, IM_RNG_CPU, 7);
    im_randn(r, im_data(t), (size_t)im_numel(t));
    im_rng_free(r);
    return t;
}

/* Predicted noise and pictures have about the size that trained networks give them. */
START_TEST(random_weights_are_scaled)
{
    ck_assert_msg(im_sd_init_weights(c, MODEL_A, 3, IM_F32, at("w"), false), "%s", im_error(c));
    im_checkpoint *k = open_whole(at("w"));
    const im_model_config *m = im_checkpoint_config(k);
    im_unet *unet = im_unet_new(c, &m->unet);
    im_vae *vae = im_vae_new(c, &m->vae);
    im_checkpoint_load(k, IM_PART_UNET, im_unet_params(unet), IM_F32);
    im_checkpoint_load(k, IM_PART_VAE, im_vae_params(vae, IM_VAE_DECODER), IM_F32);
    no_error();
    im_tensor *x = noise(4, (int64_t[]){ 1, 8, 8, 4 }), *t = im_new(c, IM_F32, 1, (int64_t[]){ 1 }), *kv[64];
    *(float *)im_data(t) = 500;
    ck_assert_int_le(im_unet_context_count(unet), 64);
    im_unet_context(c, unet, noise(3, (int64_t[]){ 1, 77, 48 }), kv);
    im_tensor *e = im_unet_forward(c, unet, x, t, kv);
    im_tensor *picture = im_vae_decode(c, vae, im_scale(c, x, 1 / m->vae.scaling_factor));
    no_error();
    ck_assert_msg(deviation(e) > 0.5 && deviation(e) < 2, "noise has deviation %g", deviation(e));
    ck_assert_msg(deviation(picture) > 0.2 && deviation(picture) < 1, "picture has deviation %g", deviation(picture));
    im_unet_free(unet);
    im_vae_free(vae);
    im_checkpoint_close(k);
}
END_TEST

/* What is there is kept, and a failure leaves nothing. */
START_TEST(nothing_half_written)
{
    ck_assert(im_make_folder(c, at("full")));
    ck_assert(im_write_file(c, at("full/mine.txt"), "mine", 4, false));
    ck_assert(!im_sd_init_weights(c, MODEL_A, 1, IM_F32, at("full"), false));
    WANT_ERROR("full", "not empty");
    ck_assert(!im_sd_convert(c, MODEL_A, at("full"), -1, 0, false));
    WANT_ERROR("full", "not empty");
    ck_assert(!im_sd_convert(c, MODEL_A, at("full/mine.txt/x.safetensors"), -1, 0, false));
    WANT_ERROR("mine.txt");
    ck_assert(!im_sd_init_weights(c, at("full"), 1, IM_F32, at("new"), false));
    WANT_ERROR("model_index.json");
    ck_assert(!im_sd_init_weights(c, "sd-v9", 1, IM_F32, at("new"), false));
    WANT_ERROR("sd-v9", "sd-v1-4");
    ck_assert(!im_sd_init_weights(c, MODEL_A, 1, IM_I32, at("new"), false));
    WANT_ERROR("i32");
    copy_model_a(at("m"));
    rewrite(at("m/vae/diffusion_pytorch_model.safetensors"), "quant_conv.bias", NULL, false, NULL);
    ck_assert(!im_sd_convert(c, at("m"), at("new"), -1, 0, false));
    WANT_ERROR("1 missing: quant_conv.bias");
    ck_assert(im_make_folder(c, at("new/unet/diffusion_pytorch_model.safetensors")));    /* a folder in the way  */
    ck_assert(!im_sd_init_weights(c, MODEL_A, 1, IM_F32, at("new"), true));
    WANT_ERROR("diffusion_pytorch_model.safetensors");
    ck_assert_int_eq(scratch_count(at("new")), 1);
    ck_assert_int_eq(scratch_count(at("new/unet")), 1);
    ck_assert_int_eq(scratch_count(at("full")), 1);
    im_cancel(c);
    ck_assert(!im_sd_init_weights(c, MODEL_A, 1, IM_F32, at("stopped"), false));
    ck_assert(!im_is_folder(at("stopped")));
}
END_TEST

/* Writing with force over model c, whose UNet is in shards, leaves neither shards nor index; other files stay. */
START_TEST(no_stale_shards)
{
    static const char *const others[] = { "diffusion_pytorch_model-00001-of-00002.safetensors.bak", "mine.txt",
                                          "diffusion_pytorch_model_ema-00001-of-00002.safetensors" };
    char command[600], folder[400];
    snprintf(folder, sizeof folder, "%s", at("m/unet"));
    snprintf(command, sizeof command, "cp -r tests/golden/models/c '%s' && chmod -R u+w '%s'", at("m"), at("m"));
    ck_assert_int_eq(system(command), 0);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        scratch_write(folder, others[i], "x", 1);
    ck_assert_msg(_i ? im_sd_init_weights(c, MODEL_A, 1, IM_F32, at("m"), true)
                     : im_sd_convert(c, MODEL_A, at("m"), -1, 0, true), "%s", im_error(c));
    ck_assert_int_eq(scratch_count(folder), 5);          /* config.json, the weights, the others                */
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        ck_assert(im_is_file(scratch_path(folder, others[i])));
    im_checkpoint_close(open_whole(at("m")));
}
END_TEST

/* ---------------------------------------------------------------- several files */

#define WEIGHTS "diffusion_pytorch_model"
#define INDEX WEIGHTS ".safetensors.index.json"

/* Files of weights in a folder, none larger than `most`. */
static int weight_files(const char *folder, size_t most)
{
    int n = 0;
    DIR *d = opendir(folder);
    ck_assert_ptr_nonnull(d);
    for (struct dirent *e; (e = readdir(d)); ) {
        const char *dot = strrchr(e->d_name, '.');
        if (!dot || strcmp(dot, ".safetensors"))
            continue;
        struct stat st;
        ck_assert_int_eq(stat(scratch_path(folder, e->d_name), &st), 0);
        ck_assert_msg((size_t)st.st_size <= most, "%s has %lld bytes, at most %zu were asked for", e->d_name,
                      (long long)st.st_size, most);
        n++;
    }
    closedir(d);
    return n;
}

/* The index says what diffusers' own index of the same weights says, but for where its limit makes it cut. */
static void same_index(const char *ours, const char *theirs)
{
    im_json a, b;
    ck_assert(im_json_load(c, &a, ours, 1 << 20) && im_json_load(c, &b, theirs, 1 << 20));
    ck_assert(json_equal(json_object_get(a.value, "metadata"), json_object_get(b.value, "metadata")));
    json_t *x = json_object_get(a.value, "weight_map"), *y = json_object_get(b.value, "weight_map"), *v;
    const char *key;
    ck_assert_uint_eq(json_object_size(a.value), 2);
    ck_assert_uint_eq(json_object_size(x), json_object_size(y));
    json_object_foreach(y, key, v)
        ck_assert_msg(json_is_string(json_object_get(x, key)), "%s is not in the index", key);
    im_json_close(&a);
    im_json_close(&b);
}

/* Model c, whose UNet diffusers has split, with and without splitting, over what is there and anew. */
START_TEST(several_files)
{
    static const char *const model = "tests/golden/models/c", *const whole = WEIGHTS ".safetensors";
    static const struct { size_t most; int unet, vae; } rounds[] = {
        { 200 << 10, 5, 3 }, { 150 << 10, 7, 3 }, { 0, 1, 1 }, { 150 << 10, 7, 3 }, { 1 << 20, 1, 1 }
    };
    im_checkpoint *k = open_whole(model);
    for (size_t i = 0; i < sizeof rounds / sizeof *rounds; i++) {
        size_t most = rounds[i].most;
        ck_assert_msg(im_sd_convert(c, model, at("m"), -1, most, true), "%s", im_error(c));
        const struct { const char *folder; int files; } parts[] = { { "m/unet", rounds[i].unet },
                                                                    { "m/vae", rounds[i].vae } };
        for (int p = 0; p < 2; p++) {
            char folder[300];
            snprintf(folder, sizeof folder, "%s/%s", dir, parts[p].folder);
            ck_assert_int_eq(weight_files(folder, most ? most : SIZE_MAX), parts[p].files);
            ck_assert(im_is_file(scratch_path(folder, INDEX)) == (parts[p].files > 1));
            ck_assert(im_is_file(scratch_path(folder, whole)) == (parts[p].files == 1));
            /* config.json beside them, and nothing left of the round before */
            ck_assert_int_eq(scratch_count(folder), parts[p].files + 1 + (parts[p].files > 1));
        }
        if (rounds[i].unet > 1) {
            same_index(at("m/unet/" INDEX), "tests/golden/models/c/unet/" INDEX);
            same_tensors("tests/golden/models/c/unet/" INDEX, at("m/unet/" INDEX));
            same_tensors("tests/golden/models/c/vae/" WEIGHTS ".safetensors", at("m/vae/" INDEX));
        }
        im_checkpoint *m = open_whole(at("m"));
        ck_assert_str_eq(im_checkpoint_fingerprint(k), im_checkpoint_fingerprint(m));
        im_checkpoint_close(m);
    }
    im_checkpoint_close(k);
    ck_assert(!im_sd_convert(c, model, at("new"), -1, 100 << 10, false));
    WANT_ERROR("text_model.embeddings.token_embedding.weight", "more than 102400", "--max-file");
    ck_assert(!im_is_folder(at("new")));
    ck_assert(!im_sd_convert(c, model, at("new.safetensors"), -1, 1 << 20, false));
    WANT_ERROR("new.safetensors", "cannot be split");
    ck_assert(!im_is_file(at("new.safetensors")));
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(there_and_back), ONCE(dtypes), ONCE(values_of_int8), LOOP(same_seed_same_bytes, 3),
        ONCE(random_weights_are_scaled),
        ONCE(nothing_half_written), LOOP(no_stale_shards, 2), ONCE(several_files),
    };
    return suite_run("convert", setup, teardown, 60, tests, SUITE_COUNT(tests));
}
