/* test_clip.c: CLIP with both towers beside transformers' CLIPModel (golden_clip.py): the tower for pictures, texts, what a
 * folder must dtype, pictures as they are cut, names as classes. `test_clip --write FOLDER` makes such a folder,
 * FOLDER/clip, for the tests of the command line. */
#include "classifier.h"

#include <jansson.h>
#include <sys/stat.h>

#include "data/files/file.h"
#include "golden_tensors.h"
#include "models/checkpoints/clip_pair.h"
#include "models/checkpoints/config.h"
#include "data/files/json.h"
#include "scratch.h"

/* f32 sums over up to 96 values, two layers, beside torch's: 1e-6 of values near 1. */
#define CLOSE 2e-5

static char dir[200];
static json_t *about;

static void setup(void)
{
    open_ctx("", 2);
    scratch_make(dir, sizeof dir);
    golden = golden_tensors(c, "tests/golden/clip.safetensors.gz");
    about = json_load_file("tests/golden/clip.json", 0, NULL);
    ck_assert(golden && about);
}

static void teardown(void)
{
    json_decref(about);
    im_st_close(golden);
    im_ctx_free(c);
    scratch_remove(dir);
}

static void configs(im_clip_config *text, im_clip_image_config *image)
{
    char *said = json_dumps(json_object_get(about, "config"), 0);
    im_json j = { 0 };
    ck_assert(im_json_parse(c, &j, "config.json", said, strlen(said)));
    ck_assert_msg(im_clip_pair_config_read(c, &j, text, image), "%s", im_error(c));
    im_json_close(&j);
    free(said);
}

static void close_to(const char *what, const float *got, const im_st_entry *want, int64_t n)
{
    double d = distance(got, want->data, n);
    ck_assert_msg(d < CLOSE, "%s is %g away", what, d);
}

START_TEST(pictures_are_transformers)
{
    static const char *const devices[] = { "", "ref", "portable" };
    im_clip_config text;
    im_clip_image_config image;
    if (*devices[_i]) {
        im_ctx_free(c);
        open_ctx(devices[_i], 2);
    }
    configs(&text, &image);
    im_clip_image *m = im_clip_image_new(c, &image);
    ck_assert_msg(m != NULL, "%s", im_error(c));
    fill_hashed(im_clip_image_params(m), NULL);
    const im_st_entry *pixels = found("pixels"), *pooled = found("pooled"), *embeds = found("image_embeds");
    im_tensor *x = im_from(c, IM_F32, 4, pixels->shape, pixels->data);
    im_tensor *zeros = im_from(c, IM_I32, 2, (int64_t[]){ 2, 1 }, (int32_t[]){ 0, 0 });
    float *y = im_values(c, im_clip_image_pooled(c, m, x, zeros));
    no_error();
    close_to("pooled", y, pooled, im_numel(x) > 0 ? 2 * 48 : 0);
    free(y);
    y = im_values(c, im_normalize(c, im_clip_image_forward(c, m, x, zeros), 1e-12f));
    no_error();
    close_to("image_embeds", y, embeds, 2 * 24);
    free(y);
    x = im_new(c, IM_F32, 4, (int64_t[]){ 2, 40, 32, 3 });
    ck_assert(!im_clip_image_pooled(c, m, x, zeros) && strstr(im_error(c), "wanted 32"));
    im_clear_error(c);
    im_clip_image_free(m);
}
END_TEST

/* DIR/clip: a folder in the Hugging Face layout with the golden's weights. */
static const char *write_folder(void)
{
    const char *folder = scratch_path(dir, "clip");
    char path[400], *said = json_dumps(json_object_get(about, "config"), 0);
    static const char *const files[] = { "vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json" };
    im_clip_config text;
    im_clip_image_config image;
    configs(&text, &image);
    im_clip *t = im_clip_new(c, &text);
    im_clip_image *m = im_clip_image_new(c, &image);
    ck_assert(t && m && im_make_folder(c, folder));
    im_clip_params(t)->train = im_clip_image_params(m)->train = true;                   /* plain weights              */
    fill_hashed(im_clip_params(t), NULL);
    fill_hashed(im_clip_image_params(m), NULL);
    float scale = (float)json_number_value(json_object_get(about, "logit_scale"));
    im_params more;
    im_params_init(&more, c);
    more.train = true;
    im_vector_init(&more, "logit_scale", 1);
    ck_assert(im_params_store(&more, &more.v[0], IM_F32));
    im_param_load(c, more.v[0].t, &scale, IM_F32, false);
    im_state s = { .c = c };
    ck_assert(im_state_add(&s, "", im_clip_params(t)) && im_state_add(&s, "", im_clip_image_params(m)) &&
              im_state_add(&s, "", &more));
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    ck_assert_msg(im_state_write(&s, path, NULL, 0, false), "%s", im_error(c));
    im_state_free(&s);
    im_params_free(&more);
    snprintf(path, sizeof path, "%s/config.json", folder);
    ck_assert(im_write_file(c, path, said, strlen(said), true));
    for (int i = 0; i < 4; i++) {
        size_t n;
        char from[200];
        snprintf(from, sizeof from, "tests/golden/models/a/tokenizer/%s", files[i]);
        char *data = im_read_file(c, from, 1 << 24, &n);
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        ck_assert(data && im_write_file(c, path, data, n, true));
        free(data);
    }
    free(said);
    im_clip_free(t);
    im_clip_image_free(m);
    return folder;
}

START_TEST(texts_are_transformers)
{
    const char *texts[3];
    for (size_t i = 0; i < 3; i++)
        texts[i] = json_string_value(json_array_get(json_object_get(about, "texts"), i));
    im_clip_pair *p = im_clip_pair_open(c, write_folder());
    ck_assert_msg(p != NULL, "%s", im_error(c));
    float out[3 * 24];
    ck_assert_int_eq(im_clip_pair_width(p), 24);
    ck_assert(fabs(im_clip_pair_scale(p) - exp(3.5)) < 1e-6);
    ck_assert_msg(im_clip_pair_texts(c, p, texts, 3, out), "%s", im_error(c));
    close_to("text_embeds", out, found("text_embeds"), 3 * 24);
    im_clip_pair_free(p);
}
END_TEST

START_TEST(folders_that_are_refused)
{
    static const struct { const char *file, *text, *says; } bad[] = {
        { "config.json", "{\"model_type\": \"siglip\"}", "wanted \"clip\"" },
        { "config.json", "{\"model_type\": \"clip\", \"text_config\": {}}", "vision_config" },
        { "model.safetensors", "x", "model.safetensors" },
        { "preprocessor_config.json", "{\"image_mean\": [1, 2]}", "image_mean" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *folder = write_folder();
        char path[400];
        snprintf(path, sizeof path, "%s/%s", folder, bad[i].file);
        ck_assert(im_write_file(c, path, bad[i].text, strlen(bad[i].text), true));
        ck_assert(!im_clip_pair_open(c, folder));
        ck_assert_msg(strstr(im_error(c), bad[i].says), "\"%s\" is not in: %s", bad[i].says, im_error(c));
        im_clear_error(c);
        remove(path);
    }
}
END_TEST

/* Twelve pictures of golden_clip.py in class folders, asked for three names. Its processor resizes by torchvision, whose
 * bicubic filter rounds otherwise than Pillow's: pixels differ by a level here and there. */
#define RESIZED 1e-3

static void write_pictures(const char *root)
{
    static const char *const names[] = { "cat", "strawberry", "tree" };
    for (int number = 0; number < 12; number++) {
        char name[40], path[500];
        im_image *p = im_image_new(c, 48, 40, 3);
        snprintf(name, sizeof name, "eval.%d", number);
        uint64_t block = hashed_seed(name);
        snprintf(name, sizeof name, "eval.%d.noise", number);
        uint64_t noise = hashed_seed(name);
        for (int i = 0; i < 40 * 48 * 3; i++)
            p->pixels[i] = (uint8_t)((hashed_bits(block, (i / 144 / 8 * 6 + i / 3 % 48 / 8) * 3 + i % 3) >> 8) % 200 +
                                     hashed_bits(noise, i) % 56);
        snprintf(path, sizeof path, "%s/%s", root, names[number % 3]);
        ck_assert(im_make_folder(c, path));
        snprintf(path, sizeof path, "%s/%s/%02d.png", root, names[number % 3], number);
        ck_assert_msg(im_png_write(c, path, p, NULL, 0, true), "%s", im_error(c));
        im_image_free(p);
    }
}

START_TEST(names_are_classes)
{
    const json_t *want = json_object_get(about, "zero_shot");
    const char *folder = write_folder(), *data = scratch_path(dir, "pictures"), *list = scratch_path(dir, "names.txt");
    write_pictures(data);
    ck_assert(im_write_file(c, list, "tree\nstrawberry | fruit\ncat\n", 27, true));
    im_eval_args a = im_eval_defaults();
    im_eval_result r;
    a.model = folder;
    a.data = data;
    a.zero_shot = list;
    a.batch = 5;
    a.save_features = scratch_path(dir, "f.safetensors");
    ck_assert_msg(im_eval_classifier(c, &a, &r, NULL, NULL), "%s", im_error(c));
    ck_assert(r.pictures == 12 && r.classes == 3 && !strcmp(r.names[0], "cat") && r.size == 32);
    ck_assert_double_eq_tol(r.top1, json_number_value(json_object_get(want, "top1")), 1e-9);
    double loss = json_number_value(json_object_get(want, "loss"));
    ck_assert_msg(fabs(r.loss - loss) < RESIZED * loss, "loss is %.9g, wanted %.9g", r.loss, loss);
    im_safetensors *s = im_st_open(c, a.save_features);
    const im_st_entry *e = s ? im_st_find(s, "features") : NULL, *f = found("zero_shot");
    ck_assert(e && e->shape[0] == 12 && e->shape[1] == 24);
    for (int i = 0; i < 12; i++) {                             /* in the order of the folders                         */
        double d = distance((const float *)e->data + i * 24, (const float *)f->data + (i % 4 * 3 + i / 4) * 24, 24);
        ck_assert_msg(d < RESIZED, "picture %d is %g away", i, d);
    }
    im_st_close(s);
    im_eval_result_free(&r);
    a.form = "a photo";
    ck_assert(!im_eval_classifier(c, &a, &r, NULL, NULL) && strstr(im_error(c), "wanted one %s in it"));
    im_clear_error(c);
    a.form = "%s";
    ck_assert(im_write_file(c, list, "tree\ncat\n", 9, true));
    ck_assert(!im_eval_classifier(c, &a, &r, NULL, NULL) && strstr(im_error(c), "has 3 classes"));
    im_clear_error(c);
}
END_TEST

static const char *place;                                      /* of --write                                          */

START_TEST(folder_is_written)
{
    char made[200];
    snprintf(made, sizeof made, "%s", dir);
    snprintf(dir, sizeof dir, "%s", place);
    write_folder();
    snprintf(dir, sizeof dir, "%s", made);                     /* what is removed at the end                          */
}
END_TEST

int main(int argc, char **argv)
{
    const suite_test writing[] = { ONCE(folder_is_written) };
    if (argc == 3 && !strcmp(argv[1], "--write")) {
        place = argv[2];
        return suite_run("clip", setup, teardown, SUITE_SECONDS, writing, 1);
    }
    const suite_test tests[] = { LOOP(pictures_are_transformers, 3), ONCE(texts_are_transformers),
                                 ONCE(folders_that_are_refused), ONCE(names_are_classes) };
    return suite_run("clip", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
