/* test_weight_cache.c: weights that are not loaded anew. --cache-weights keeps them packed in a file, which the next start
 * maps: the same picture; what is damaged, cut or stale is made again; where the model's folder cannot be written the
 * user's cache has them. Plain weights of a file that has the device's type are used where they are. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "models.h"
#include "models/pipelines/sd.h"
#include "poke.h"
#include "tensor/tensor.h"

static void on(const char *device)
{
    im_ctx_free(c);
    c = im_ctx_new(device, 2);
    no_error();
}

/* A picture of m with the option on; mapped: the UNet came out of the file. */
static im_image *draw(im_dtype dtype, bool *mapped)
{
    im_sd *sd = im_sd_open(c, at("m"), dtype);
    ck_assert_msg(sd != NULL, "%s", im_error(c));
    im_sd_cache_weights(sd, true);
    im_sd_args a = im_sd_defaults(sd);
    a.prompt = "a horse";
    a.steps = 2;
    im_image *picture = im_sd_generate(sd, &a);
    ck_assert_msg(picture != NULL, "%s", im_error(c));
    *mapped = sd->maps[IM_NET_UNET].data != NULL;
    im_sd_free(sd);
    return picture;
}

/* The picture is that of the model itself. */
static void want_picture(im_dtype dtype, bool from_file)
{
    bool mapped;
    im_sd *sd = im_sd_open(c, at("m"), dtype);
    im_sd_args a = im_sd_defaults(sd);
    a.prompt = "a horse";
    a.steps = 2;
    im_image *own = im_sd_generate(sd, &a), *got = draw(dtype, &mapped);
    ck_assert_msg(own != NULL, "%s", im_error(c));
    ck_assert_int_eq(mapped, from_file);
    ck_assert_int_eq(memcmp(own->pixels, got->pixels, (size_t)own->width * (size_t)own->height * 3), 0);
    im_image_free(own);
    im_image_free(got);
    im_sd_free(sd);
}

static void cached(char *out, size_t size, const char *folder, const char *front)
{
    snprintf(out, size, "%s/%sunet-%s-%s.weights", at(folder), front, "f16", im_device_isa(c));
}

static void spoil(const char *path, long from_end, bool cut)
{
    FILE *f = fopen(path, "r+b");
    ck_assert_msg(f != NULL, "%s is not there", path);
    ck_assert_int_eq(fseek(f, -from_end, SEEK_END), 0);
    if (cut)
        ck_assert_int_eq(ftruncate(fileno(f), ftell(f)), 0);
    else
        fputs("\x13\x57", f);
    fclose(f);
}

START_TEST(kept_and_mapped)
{
    char path[600];
    on("cpu");
    copy_model_a(at("m"));
    want_picture(IM_F16, false);
    cached(path, sizeof path, "m/imago-cache", "");
    want_picture(IM_F16, true);
    spoil(path, 66, false);                                    /* the last tensor's end, or near it                    */
    spoil(path, 200, true);
    want_picture(IM_F16, false);
    want_picture(IM_F16, true);                                /* made again                                           */
    FILE *f = fopen(path, "r+b");
    fputs("imago weights 0", f);
    fclose(f);
    want_picture(IM_F16, false);
    want_picture(IM_F32, false);                               /* held otherwise: another file                         */
    want_picture(IM_F32, true);
    want_picture(IM_F16, true);
    const uint16_t half = 0x3c00;
    poke(at("m/unet/diffusion_pytorch_model.safetensors"), "conv_in.bias", 0, &half, sizeof half);
    want_picture(IM_F16, false);                               /* stale                                                */
    want_picture(IM_F16, true);
}
END_TEST

static void keep_text(void *out, const char *text) { snprintf(out, 400, "%s", text); }

START_TEST(in_the_users_cache)
{
    char warning[400] = "";
    on("cpu");
    copy_model_a(at("m"));
    fclose(fopen(at("m/imago-cache"), "w"));                   /* a file where the folder would be                     */
    setenv("XDG_CACHE_HOME", at("cache"), 1);
    want_picture(IM_F16, false);
    want_picture(IM_F16, true);
    ck_assert_int_eq(access(at("cache/imago/weights"), F_OK), 0);
    setenv("XDG_CACHE_HOME", at("m/imago-cache"), 1);          /* nor there                                            */
    im_on_warning(c, keep_text, warning);
    want_picture(IM_F32, false);
    ck_assert_msg(strstr(warning, "packed weights could not be kept"), "\"%s\"", warning);
    want_picture(IM_F32, false);
}
END_TEST

/* Of model c, in f32: norms, biases and embeddings stay in the file on the host's devices; nothing does on far. */
START_TEST(plain_weights_stay_in_the_file)
{
    static const char *const devices[] = { "cpu", "ref", "far" };
    on(devices[_i]);
    im_sd *sd = im_sd_open(c, "tests/golden/models/c", IM_F32);
    ck_assert_msg(sd && im_sd_need(sd, IM_NET_CLIP), "%s", im_error(c));
    const im_params *p = im_clip_params(sd->nets.clip);
    int mapped = 0, own = 0;
    for (int i = 0; i < p->n; i++) {
        bool here = !p->v[i].t->storage->owned;
        bool plain = p->v[i].kind == IM_PARAM_VECTOR || p->v[i].kind == IM_PARAM_EMBEDDING || _i == 1;
        ck_assert_msg(here == (plain && _i < 2), "%s", p->v[i].t->name);
        mapped += here;
        own += !here;
    }
    ck_assert(_i == 2 ? !mapped : mapped > 5 && (_i == 1 || own > 5));
    im_sd_free(sd);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { ONCE(kept_and_mapped), ONCE(in_the_users_cache), LOOP(plain_weights_stay_in_the_file, 3) };
    return suite_run("weight_cache", setup, teardown, 120, tests, SUITE_COUNT(tests));
}
