/* test_config.c: config files of old diffusers versions, and fields that two programs would read in two ways. */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "models.h"
#include "models/checkpoints/config.h"

static int warnings;
static char warned[1000];
static void keep_warning(void *arg, const char *text)
{
    (void)arg;
    if (strstr(text, "position_ids"))                          /* a tensor that model A has too many                  */
        return;
    warnings++;
    snprintf(warned, sizeof warned, "%s", text);
}

/* Model A again with `value` (JSON) for `key` in a file of it; NULL removes the key. */
static void edit(const char *file, const char *key, const char *value)
{
    char path[256];
    snprintf(path, sizeof path, "m/%s", file);
    json_t *j = json_load_file(at(path), 0, NULL);
    ck_assert_ptr_nonnull(j);
    if (value) json_object_set_new(j, key, json_loads(value, JSON_DECODE_ANY, NULL));
    else json_object_del(j, key);
    ck_assert_int_eq(json_dump_file(j, at(path), 0), 0);
    json_decref(j);
}

/* StableDiffusionPipeline.__init__ of diffusers: one number below 64 beside a version below 0.9.0.dev0 becomes 64. The
 * VAE of model A shrinks by 8. */
START_TEST(sample_size_of_old_versions)
{
    static const struct { const char *size, *version; int pixels; } cases[] = {
        { "32", "\"0.8.0\"", 512 }, { "32", "\"0.2.4\"", 512 }, { "32", "\"0.8.0.dev0\"", 512 }, { "8", "\"0.0.1\"", 512 },
        { "32", "\"0.9.0\"", 256 }, { "32", "\"0.10.2\"", 256 }, { "32", "\"0.42.1\"", 256 }, { "32", NULL, 256 },
        { "32", "\"0.9.0.dev0\"", 256 }, { "32", "\"1.8.0\"", 256 }, { "[32, 32]", "\"0.8.0\"", 256 },
        { "64", "\"0.2.2\"", 512 }, { "96", "\"0.2.2\"", 768 }, { "32", "\"new\"", 256 },
    };
    copy_model_a(at("m"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        edit("unet/config.json", "sample_size", cases[i].size);
        edit("unet/config.json", "_diffusers_version", cases[i].version);
        warnings = 0;
        im_on_warning(c, keep_warning, NULL);
        im_sd *sd = im_sd_open(c, at("m"), IM_F32);
        ck_assert_msg(sd != NULL, "%s", im_error(c));
        im_sd_args a = im_sd_defaults(sd);
        bool taken = cases[i].pixels == 512 && strcmp(cases[i].size, "64");
        ck_assert_msg(a.width == cases[i].pixels && a.height == cases[i].pixels, "%s of %s: %dx%d", cases[i].size,
                      cases[i].version ? cases[i].version : "no version", a.width, a.height);
        ck_assert_msg(warnings == taken, "%s of %s: %d warnings", cases[i].size,
                      cases[i].version ? cases[i].version : "no version", warnings);
        ck_assert(!taken || (strstr(warned, "sample_size") && strstr(warned, "unet/config.json")));
        im_sd_free(sd);
    }
}
END_TEST

/* Neither drawn with it nor without it and silently: StableDiffusionPipeline does not look at the field. */
START_TEST(shift_factor)
{
    copy_model_a(at("m"));
    edit("vae/config.json", "shift_factor", "0.1159");
    ck_assert_ptr_null(im_sd_open(c, at("m"), IM_F32));
    WANT_ERROR("vae/config.json", "shift_factor is 0.1159", "set it to null");
    static const char *const none[] = { "0", "0.0", "null", NULL };
    for (int i = 0; i < 4; i++) {
        edit("vae/config.json", "shift_factor", none[i]);
        im_sd *sd = im_sd_open(c, at("m"), IM_F32);
        ck_assert_msg(sd != NULL, "%s", im_error(c));
        im_sd_free(sd);
    }
}
END_TEST

/* StableDiffusionPipeline fills texts up to model_max_length. One that is larger than the text encoder's 77 places, as it
 * is where no length was said when a tokenizer was saved, ends in an error there. */
START_TEST(length_of_texts)
{
    static const struct { const char *length; int tokens; } cases[] = {
        { "20", 20 }, { "20.0", 20 }, { "2", 2 }, { "77", 77 }, { "512", 77 }, { "1e30", 77 }, { "null", 77 },
        { NULL, 77 },
    };
    copy_model_a(at("m"));
    im_model_config m;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        edit("tokenizer/tokenizer_config.json", "model_max_length", cases[i].length);
        ck_assert_msg(im_model_config_read(c, at("m"), &m), "%s", im_error(c));
        ck_assert_int_eq(m.text_tokens, cases[i].tokens);
    }
    edit("tokenizer/tokenizer_config.json", "model_max_length", "1");
    ck_assert(!im_model_config_read(c, at("m"), &m));
    WANT_ERROR("tokenizer/tokenizer_config.json", "model_max_length is 1", "wanted 2");
}
END_TEST

int main(void)
{
    const suite_test tests[] = { ONCE(sample_size_of_old_versions), ONCE(shift_factor), ONCE(length_of_texts) };
    return suite_run("config", setup, teardown, 60, tests, SUITE_COUNT(tests));
}
