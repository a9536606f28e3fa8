/* test_request.c: what a picture carries of its making: written, read back, compared; lists of prompts, names of files. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "data/files/file.h"
#include "imago.h"

static const char A[] = "tests/golden/models/a";

static im_request request(im_sd *sd)
{
    im_request q = { .args = im_sd_defaults(sd), .model_name = "a, \"model\"" };
    q.args.prompt = "a cat, \"asleep\"";
    q.args.negative = "dogs";
    q.args.seed = UINT64_MAX;
    q.args.steps = 7;
    q.args.guidance = 0.1f;
    q.args.scheduler = "euler_a";
    q.args.rng = IM_RNG_CUDA;
    return q;
}

static im_request_text *written(im_sd *sd, const im_request *q, const char *name)
{
    const char *path = scratch_path(dir, name);
    im_image *picture = im_image_new(c, 8, 8, 3);
    ck_assert_msg(im_request_write(sd, q, path, picture, true), "%s", im_error(c));
    im_image_free(picture);
    im_request_text *t = im_request_read(c, path, NULL, NULL);
    ck_assert_msg(t != NULL, "%s", im_error(c));
    return t;
}

START_TEST(there_and_back)
{
    im_sd *sd = im_sd_open(c, A, IM_F32);
    ck_assert_msg(sd != NULL, "%s", im_error(c));
    for (int jpeg = 0; jpeg < 2; jpeg++) {
        im_request q = request(sd);
        char what[400];
        q.quality = jpeg ? 81 : 0;
        if (jpeg) {
            q.init_sha256 = "ab";
            q.args.strength = 0.3f;
            q.latents_sha256 = "cd";
            q.latents_index = 4;
        }
        im_request_text *t = written(sd, &q, jpeg ? "a.jpg" : "a.png");
        const im_request *r = im_request_of(t);
        ck_assert_str_eq(r->args.prompt, q.args.prompt);
        ck_assert_str_eq(r->args.negative, "dogs");
        ck_assert_str_eq(r->args.scheduler, "euler_a");
        ck_assert_str_eq(r->model_name, q.model_name);
        ck_assert(r->args.seed == UINT64_MAX && r->args.steps == 7 && r->args.rng == IM_RNG_CUDA);
        ck_assert(r->args.guidance == 0.1f && r->quality == q.quality && r->args.width == q.args.width);
        ck_assert_int_eq(r->latents_index, jpeg ? 4 : -1);
        ck_assert(!jpeg || (r->args.strength == 0.3f && !strcmp(r->init_sha256, "ab") && !strcmp(r->latents_sha256, "cd")));
        ck_assert_str_eq(im_request_said(t, "dtype"), "f32");
        ck_assert_ptr_null(im_request_said(t, "nothing"));
        ck_assert(im_request_differences(sd, t, &q, what, sizeof what));
        ck_assert_str_eq(what, "");
        q.args.seed = 1;
        q.args.negative = NULL;
        ck_assert(im_request_differences(sd, t, &q, what, sizeof what));
        ck_assert_str_eq(what, "its negative prompt is \"dogs\", wanted \"\"; its seed is \"18446744073709551615\", "
                               "wanted 1");
        im_request_free(t);
    }
    im_sd_free(sd);
}
END_TEST

START_TEST(as_the_web_interface_writes_it)
{
    im_sd *sd = im_sd_open(c, A, IM_F32);
    im_request q = request(sd);
    q.init_sha256 = "ab";
    q.args.strength = 0.5f;
    q.args.width = q.args.height = 64;
    char *text = im_request_parameters(sd, &q), wanted[400];
    snprintf(wanted, sizeof wanted, "a cat, \"asleep\"\nNegative prompt: dogs\nSteps: 7, Sampler: Euler a, CFG scale: 0.1, "
             "Seed: 18446744073709551615, Size: 64x64, Model: \"a, \\\"model\\\"\", Denoising strength: 0.5, "
             "Version: imago %s", IM_VERSION);
    ck_assert_str_eq(text, wanted);
    free(text);
    static const char *const blank[][2] = { { " a", "Model: \" a\", " }, { "a ", "Model: \"a \", " },
                                            { "a b", "Model: a b, " } };
    for (int i = 0; i < 3; i++) {                              /* readers strip what is not quoted                    */
        q.model_name = blank[i][0];
        ck_assert_ptr_nonnull(text = im_request_parameters(sd, &q));
        ck_assert_msg(strstr(text, blank[i][1]) != NULL, "%s", text);
        free(text);
    }
    im_sd_free(sd);
}
END_TEST

static bool all_but_steps(void *arg, const char *key)
{
    (void)arg;
    return strcmp(key, "steps") != 0;
}

/* A text that was changed is refused by the key; what the caller has is not looked at. */
START_TEST(changed_texts)
{
    const struct { const char *json, *error; } cases[] = {
        { "{\"prompt\": \"a\"}", "\"scheduler\"" },
        { "{\"prompt\": 1}", "\"prompt\" is 1" },
        { "[1]", "b.png: its text `imago`: holds no JSON object" },
        { "{\"prompt\": ", "b.png: its text `imago`:1: column " },
    };
    im_image *picture = im_image_new(c, 8, 8, 3);
    const char *path = scratch_path(dir, "b.png");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const im_text text = { "imago", cases[i].json };
        ck_assert(im_png_write(c, path, picture, &text, 1, true));
        ck_assert_ptr_null(im_request_read(c, path, NULL, NULL));
        ck_assert_msg(strstr(im_error(c), cases[i].error) != NULL, "got %s, wanted %s", im_error(c), cases[i].error);
        im_clear_error(c);
    }
    const im_text text = { "imago", "{\"prompt\": 1, \"steps\": 3}" };
    ck_assert(im_png_write(c, path, picture, &text, 1, true));
    im_request_text *t = im_request_read(c, path, all_but_steps, NULL);
    ck_assert_msg(t && im_request_of(t)->args.steps == 3, "%s", im_error(c));
    im_request_free(t);
    ck_assert(im_png_write(c, path, picture, NULL, 0, true));
    ck_assert(!im_request_read(c, path, NULL, NULL) && im_ok(c));
    im_image_free(picture);
}
END_TEST

START_TEST(lists_and_names)
{
    static const char lines[] = IM_BYTE_ORDER_MARK "a cat\n\n{\"prompt\": \"a dog\", \"negative\": \"n\", \"seed\": 5}\r\n"
                                "{\"prompt\": \"a cow\", \"seed\": \"18446744073709551615\"}\n";
    static const char *const names[] = { "f/5-p1.png", "f/6-p1.png", "f/5-p3.png", "f/6-p3.png",
                                         "f/18446744073709551615.png", "f/0.png" };
    im_prompt_list l = { 0 };
    uint64_t seed = 5;
    int shared = 0;
    char *out[6] = { NULL };
    ck_assert_msg(im_prompt_list_read(c, &l, scratch_write(dir, "p.txt", lines, sizeof lines - 1), "none", 2, &seed), "%s",
                  im_error(c));
    ck_assert(l.n == 6 && seed == 7 && !strcmp(l.v[0].prompt, "a cat") && !strcmp(l.v[0].negative, "none"));
    ck_assert(!strcmp(l.v[2].negative, "n") && l.v[2].seed == 5 && l.v[2].number == 3);
    ck_assert(im_prompt_list_names(c, &l, "f/", IM_PNG, out, &shared) && shared == 2);
    for (int i = 0; i < 6; i++) {
        ck_assert_str_eq(out[i], names[i]);
        free(out[i]);
    }
    ck_assert(im_prompt_list_add(c, &l, "typed", "", 1, &seed) && l.v[6].number == 5 && l.v[6].seed == 7 && seed == 8);
    ck_assert(!im_prompt_list_add(c, &l, "\xff", "", 1, &seed));
    im_clear_error(c);
    im_prompt_list_free(&l);
    ck_assert(!im_prompt_list_read(c, &l, scratch_write(dir, "p.txt", "{\"seed\": 1}\n", 12), "", 1, &seed));
    ck_assert_msg(strstr(im_error(c), "p.txt, line 1: has no \"prompt\"") != NULL, "%s", im_error(c));
    im_clear_error(c);
    im_prompt_list_free(&l);
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(there_and_back), ONCE(as_the_web_interface_writes_it), ONCE(changed_texts), ONCE(lists_and_names),
    };
    return suite_run("request", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
