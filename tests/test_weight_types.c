/* test_weight_types.c: weights of types that nothing here computes in. Their values are torch's (weight_types.safetensors),
 * networks and classifiers are read from them, and conversions keep them or make them f32, f16, bf16. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/files/safetensors.h"
#include "models.h"
#include "models/nets/unet.h"
#include "suite.h"
#include "tensor/tensor.h"

static const char *const types[] = { "f64", "f8_e4m3", "f8_e5m2" };
static const char *const stored[] = { "F64", "F8_E4M3", "F8_E5M2" };

/* ---------------------------------------------------------------- values */

/* NaN stay NaN; everything else has torch's bits. */
static bool same_value(const im_st_entry *want, im_dtype t, int64_t i, const void *got)
{
    float a, b;
    im_st_read_f32(want, i, 1, &a);
    im_st_entry e = { .dtype = t, .ndim = 1, .shape = { 1 }, .data = got };
    im_st_read_f32(&e, 0, 1, &b);
    if (isnan(a) || isnan(b))
        return isnan(a) && isnan(b);
    size_t size = im_dtype_size(t);
    return !memcmp((const char *)want->data + (size_t)i * size, got, size);
}

START_TEST(values_are_torchs)
{
    static const im_dtype to[] = { IM_F32, IM_F16, IM_BF16 };
    im_safetensors *s = im_st_open(c, "tests/golden/weight_types.safetensors");
    no_error();
    const im_st_entry *from = im_st_find(s, types[_i]);
    ck_assert_str_eq(from->dtype_name, stored[_i]);
    ck_assert(im_st_is_float(from) && from->dtype == -1);
    int64_t n = im_st_numel(from);
    ck_assert_int_ge(n, 256);
    char *out = malloc((size_t)n * 4);
    for (int k = 0; k < 3; k++) {
        char name[32];
        snprintf(name, sizeof name, "%s.%s", types[_i], im_dtype_name(to[k]));
        const im_st_entry *want = im_st_find(s, name);
        ck_assert_ptr_nonnull(want);
        im_st_cast(c, from, to[k], out);
        for (int64_t i = 0; i < n; i++)
            ck_assert_msg(same_value(want, to[k], i, out + (size_t)i * im_dtype_size(to[k])), "%s[%d]", name, (int)i);
    }
    free(out);
    im_st_close(s);
}
END_TEST

/* ---------------------------------------------------------------- models */

/* x as bytes of the type, for 8 bits the nearest of the 256 values. */
static size_t encode(int type, float x, unsigned char out[8])
{
    static float value[256];                                   /* of one type: a test runs in a process of its own    */
    static unsigned char codes[256];
    double d = x;
    if (type == 0) {
        memcpy(out, &d, 8);
        return 8;
    }
    if (!codes[255]) {
        im_st_entry e = { .dtype = -1, .ndim = 1, .shape = { 256 }, .data = codes };
        for (int i = 0; i < 256; i++)
            codes[i] = (unsigned char)i;
        snprintf(e.dtype_name, sizeof e.dtype_name, "%s", stored[type]);
        im_st_read_f32(&e, 0, 256, value);
    }
    *out = 0;
    for (int i = 1; i < 256; i++)
        if (fabsf(value[i] - x) < fabsf(value[*out] - x))
            *out = (unsigned char)i;
    return 1;
}

/* Writes file again with floating tensors of the type; plain (may be NULL): the same values in f32. */
static void rewrite_as(const char *file, int type, const char *to, const char *plain)
{
    im_safetensors *s = im_st_open(c, file);
    no_error();
    int n = im_st_count(s);
    im_st_entry *e = calloc((size_t)n, sizeof *e), *f = calloc((size_t)n, sizeof *f);
    for (int i = 0; i < n; i++) {
        e[i] = f[i] = *im_st_at(s, i);
        if (!im_st_is_float(&e[i]))
            continue;
        e[i].dtype = -1;
        snprintf(e[i].dtype_name, sizeof e[i].dtype_name, "%s", stored[type]);
        f[i].dtype = IM_F32;
    }
    im_st_writer *w = im_st_create(c, to, e, n, NULL, 0), *v = im_st_create(c, plain, f, n, NULL, 0);
    no_error();
    for (int i = 0; i < n; i++) {
        const im_st_entry *from = im_st_at(s, i);
        int64_t count = im_st_numel(from);
        unsigned char *bytes = malloc((size_t)count * 8 + 8);
        float *x = malloc((size_t)count * sizeof *x + 4);
        size_t used = 0;
        if (!im_st_is_float(from)) {
            im_st_put(c, w, i, from->data, from->bytes);
            im_st_put(c, v, i, from->data, from->bytes);
        } else {
            im_st_read_f32(from, 0, count, x);
            for (int64_t k = 0; k < count; k++)
                used += encode(type, x[k], bytes + used);
            e[i].data = bytes;
            im_st_read_f32(&e[i], 0, count, x);
            im_st_put(c, w, i, bytes, used);
            im_st_put(c, v, i, x, (size_t)count * sizeof *x);
        }
        free(x);
        free(bytes);
    }
    ck_assert_msg(im_st_finish(c, w) && im_st_finish(c, v), "%s", im_error(c));
    im_st_close(s);
    free(e);
    free(f);
}

/* The UNet of model a, in the folder `to`, in one of the types, and beside it in f32. */
static const char UNET[] = "unet/diffusion_pytorch_model.safetensors";
static void make_models(int type)
{
    copy_model_a(at("m"));
    copy_model_a(at("plain"));
    char m[300], plain[300];
    snprintf(m, sizeof m, "%s/%s", at("m"), UNET);
    snprintf(plain, sizeof plain, "%s/%s", at("plain"), UNET);
    remove(m);
    remove(plain);
    rewrite_as(MODEL_A "/unet/diffusion_pytorch_model.safetensors", type, m, plain);
}

static im_unet *load_unet(const char *path, im_dtype dtype)
{
    im_checkpoint *k = open_whole(path);
    im_unet *m = im_unet_new(c, &im_checkpoint_config(k)->unet);
    ck_assert_msg(im_checkpoint_load(k, IM_PART_UNET, im_unet_params(m), dtype), "%s", im_error(c));
    im_checkpoint_close(k);
    return m;
}

START_TEST(networks_hold_the_same_bits)
{
    make_models(_i);
    static const im_dtype holds[] = { IM_F32, IM_F16, IM_BF16 };
    for (int h = 0; h < 3; h++) {
        im_unet *a = load_unet(at("m"), holds[h]), *b = load_unet(at("plain"), holds[h]);
        const im_params *p = im_unet_params(a), *q = im_unet_params(b);
        for (int i = 0; i < p->n; i++) {
            const im_tensor *x = p->v[i].t, *y = q->v[i].t;
            ck_assert_int_eq(x->dtype, y->dtype);
            ck_assert_msg(!memcmp(im_data(x), im_data(y), (size_t)im_numel(x) * im_dtype_size((im_dtype)x->dtype)), "%s",
                          x->name);
        }
        im_unet_free(a);
        im_unet_free(b);
    }
}
END_TEST

static void want_types(const char *file, const char *type)
{
    im_safetensors *s = im_st_open(c, file);
    no_error();
    for (int i = 0; i < im_st_count(s); i++)
        ck_assert_str_eq(im_st_at(s, i)->dtype_name, type);
    im_st_close(s);
}

/* Kept as they are, the bytes are the same; made f32, they are the plain file's. In shards and in a single file as well. */
START_TEST(conversions)
{
    make_models(_i);
    char in[300], plain[300], kept[300], wide[300];
    snprintf(in, sizeof in, "%s/%s", at("m"), UNET);
    snprintf(plain, sizeof plain, "%s/%s", at("plain"), UNET);
    snprintf(kept, sizeof kept, "%s/%s", at("kept"), UNET);
    snprintf(wide, sizeof wide, "%s/%s", at("wide"), UNET);
    ck_assert_msg(im_sd_convert(c, at("m"), at("one.safetensors"), -1, 0, false), "%s", im_error(c));
    ck_assert_msg(im_sd_convert(c, at("one.safetensors"), at("kept"), -1, 0, false), "%s", im_error(c));
    ck_assert_msg(im_sd_convert(c, at("m"), at("wide"), IM_F32, 0, false), "%s", im_error(c));
    ck_assert_msg(im_sd_convert(c, at("m"), at("shards"), -1, 150 << 10, false), "%s", im_error(c));
    im_safetensors *a[2] = { im_st_open(c, in), im_st_open(c, plain) };
    im_safetensors *b[2] = { im_st_open(c, kept), im_st_open(c, wide) };
    no_error();
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < im_st_count(a[k]); i++) {
            const im_st_entry *x = im_st_at(a[k], i), *y = im_st_find(b[k], x->name);
            ck_assert_msg(y && !strcmp(x->dtype_name, y->dtype_name) && x->bytes == y->bytes &&
                          !memcmp(x->data, y->data, x->bytes), "%s", x->name);
        }
    for (int k = 0; k < 2; k++) {
        im_st_close(a[k]);
        im_st_close(b[k]);
    }
    want_types(kept, stored[_i]);
    im_checkpoint *m = open_whole(at("m")), *shards = open_whole(at("shards"));
    ck_assert_str_eq(im_checkpoint_fingerprint(m), im_checkpoint_fingerprint(shards));
    im_checkpoint_close(m);
    im_checkpoint_close(shards);
}
END_TEST

/* What is no weight stays refused, by name and type. */
START_TEST(other_types_are_refused)
{
    copy_model_a(at("m"));
    char path[300];
    snprintf(path, sizeof path, "%s/%s", at("m"), UNET);
    im_safetensors *s = im_st_open(c, path);
    int n = im_st_count(s);
    im_st_entry *e = calloc((size_t)n, sizeof *e);
    for (int i = 0; i < n; i++) {
        e[i] = *im_st_at(s, i);
        if (!strcmp(e[i].name, "conv_in.bias")) {
            e[i].dtype = -1;
            snprintf(e[i].dtype_name, sizeof e[i].dtype_name, "I16");
        }
    }
    im_st_writer *w = im_st_create(c, at("new"), e, n, NULL, 0);
    for (int i = 0; i < n; i++)
        im_st_put(c, w, i, e[i].data, e[i].bytes);
    ck_assert_msg(im_st_finish(c, w), "%s", im_error(c));
    im_st_close(s);
    free(e);
    ck_assert_int_eq(rename(at("new"), path), 0);
    im_checkpoint *k = im_checkpoint_open(c, at("m"));
    ck_assert(!im_checkpoint_check(k));
    WANT_ERROR("1 of a type that cannot be used: conv_in.bias (I16)");
    im_checkpoint_close(k);
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        LOOP(values_are_torchs, 3), LOOP(networks_hold_the_same_bits, 3), LOOP(conversions, 3),
        ONCE(other_types_are_refused),
    };
    return suite_run("weight_types", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
