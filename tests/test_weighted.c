/* test_weighted.c: prompts in the syntax a1111 beside the rule written in Python (tests/golden/golden_weighted.py): ids and
 * weights of every chunk, states of transformers' text encoder, pictures of diffusers from them; chunks of long prompts;
 * words of textual inversion beside diffusers. */
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "data/text/chunks.h"
#include "golden_json.h"
#include "golden_tensors.h"
#include "imago.h"
#include "models/pipelines/sd.h"

static const char A[] = "tests/golden/models/a";
enum { TOKENS = 77, LATENTS = 4 * 32 * 32 };

static im_sd *sd;
static json_t *rows;

static void open_all(void)
{
    setup();
    sd = im_sd_open(c, A, IM_F32);
    ck_assert_msg(sd != NULL, "%s", im_error(c));
    json_t *file = golden_json("tests/golden/weighted.json.gz");
    rows = json_incref(json_object_get(file, "rows"));
    json_decref(file);
    ck_assert_int_eq(json_array_size(rows), 100);
}

static void close_all(void)
{
    json_decref(rows);
    im_sd_free(sd);
    teardown();
}

static const char *prompt_of(const json_t *row) { return json_string_value(json_object_get(row, "prompt")); }

START_TEST(chunks_are_those_of_the_rule)
{
    size_t i, k;
    json_t *row, *list;
    int many = 0;
    json_array_foreach(rows, i, row) {
        im_chunks got;
        const char *prompt = prompt_of(row);
        ck_assert_msg(im_chunks_of(c, im_sd_tokenizer(sd), (im_vector_words){ 0 }, prompt, IM_PROMPT_A1111, TOKENS,
                                   &got, NULL), "%s", im_error(c));
        ck_assert_msg((size_t)got.n == json_array_size(json_object_get(row, "ids")), "%s: %d chunks", prompt, got.n);
        many += got.n > 1;
        json_array_foreach(json_object_get(row, "ids"), k, list) {
            size_t n = json_array_size(list), at = 0, run;
            for (size_t t = 0; t < TOKENS; t++) {
                int32_t id = got.ids[k * TOKENS + t], want = t < n ? (int32_t)json_integer_value(json_array_get(list, t))
                                                                   : got.ids[TOKENS - 1];
                ck_assert_msg(id == want, "%s: id %zu of chunk %zu is %d, wanted %d", prompt, t, k, id, want);
            }
            json_t *pair;
            json_array_foreach(json_array_get(json_object_get(row, "weights"), k), run, pair) {
                float weight = (float)json_number_value(json_array_get(pair, 0));
                for (int64_t m = json_integer_value(json_array_get(pair, 1)); m > 0; m--, at++) {
                    float w = got.weight[k * TOKENS + at];
                    ck_assert_msg(fabsf(w - weight) <= 1e-6f * fabsf(weight), "%s: weight %zu of chunk %zu is %g, not %g",
                                  prompt, at, k, (double)w, (double)weight);
                }
            }
            for (; at < TOKENS; at++) ck_assert(got.weight[k * TOKENS + at] == 1);
        }
        im_chunks_free(&got);
    }
    ck_assert_int_ge(many, 20);
}
END_TEST

/* f32 sums over 77 states near 1, three layers beside torch's; the factor mean / mean' makes an error of the means larger
 * where weights bring the mean near 0, so the measure is the largest value of the text. */
START_TEST(states_are_transformers)
{
    im_safetensors *golden = golden_tensors(c, "tests/golden/weighted.safetensors.gz");
    int64_t width = sd->config->clip.hidden_size;
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        char name[24];
        snprintf(name, sizeof name, "%zu", i);
        const im_st_entry *e = im_st_find(golden, name);
        im_sd_args a = { .syntax = IM_PROMPT_A1111,
                         .clip_skip = (int)json_integer_value(json_object_get(row, "clip_skip")) };
        im_sd_text t = im_sd_text_of(&a, prompt_of(row));
        ck_assert_msg(e && im_sd_encode_texts(sd, &t, 1, i % 2), "%s", im_error(c));
        ck_assert_int_eq(t.chunks * width, (int64_t)(e->bytes / sizeof(float)));
        double worst = 0, largest = 0;
        for (int k = 0; k < t.chunks; k++)
            for (int64_t j = 0; j < width; j++) {
                double sum = 0, want = (double)((const float *)e->data)[k * width + j];
                for (int p = 0; p < TOKENS; p++)
                    sum += sin(1.7 * p + 0.3) * (double)t.states[(k * TOKENS + p) * width + j];
                worst = fmax(worst, fabs(sum - want));
                largest = fmax(largest, fabs(want));
            }
        ck_assert_msg(worst <= 2e-5 * fmax(largest, 1), "%s: off by %g of %g", t.text, worst, largest);
        free(t.states);
    }
    im_st_close(golden);
}
END_TEST

static im_sd_args args(const char *prompt, const char *negative)
{
    im_sd_args a = im_sd_defaults(sd);
    a.prompt = prompt;
    a.negative = negative;
    a.syntax = IM_PROMPT_A1111;
    a.steps = 4;
    a.seed = 42;
    a.width = a.height = 64;
    a.scheduler = "pndm";
    return a;
}

/* numerics.md's promise for latents. */
START_TEST(pictures_are_diffusers)
{
    char prompt[30 * 30] = "";
    for (int i = 0; i < 30; i++) strcat(prompt, "very, very (detailed:1.2) ");
    im_safetensors *golden = im_st_open(c, "tests/golden/weighted_pictures.safetensors");
    for (int i = 0; i < 4; i++) {
        float x[LATENTS];
        im_sd_args a = i % 2 ? args(prompt, "(bad:1.4) BREAK dog") : args("a (castle:1.3), [oil] on canvas", "blurry");
        a.clip_skip = i % 2 ? 2 : 1;
        a.latents_out = x;
        a.eager = i > 1;
        ck_assert_msg(im_sd_latents_batch(sd, &a, 1), "%s", im_error(c));
        const im_st_entry *e = im_st_find(golden, i % 2 ? "long.latents" : "short.latents");
        double worst = 0;
        for (size_t k = 0; k < e->bytes / sizeof(float); k++)
            worst = fmax(worst, fabs((double)x[k] - (double)((const float *)e->data)[k]));
        ck_assert_msg(worst <= 1e-3, "latents %d are off by %g", i, worst);
    }
    im_st_close(golden);
}
END_TEST

/* Texts of other lengths do not share an evaluation, and each picture is the one that it is alone. */
START_TEST(lengths_in_one_batch)
{
    im_sd_args a[4] = { args("a BREAK b", "c"), args("a", "b"), args("x", "c BREAK d"), args("a (b:1.2)", "") };
    float alone[4][LATENTS], x[4][LATENTS];
    for (int i = 0; i < 4; i++) {
        a[i].steps = 2;
        a[i].seed = (uint64_t)i;
        a[i].clip_skip = 1 + i / 2;
        a[i].latents_out = alone[i];
        ck_assert_msg(im_sd_latents_batch(sd, &a[i], 1), "%s", im_error(c));
    }
    for (int i = 0; i < 4; i++) a[i].latents_out = x[i];
    ck_assert_msg(im_sd_latents_batch(sd, a, 4), "%s", im_error(c));
    for (int i = 0; i < 4; i++) ck_assert_int_eq(memcmp(alone[i], x[i], 256 * sizeof(float)), 0);
    a[0].clip_skip = 4;
    ck_assert(!im_sd_latents_batch(sd, a, 1) && strstr(im_error(c), "clip skip: found 4, wanted 1 (the last layer) to 3"));
    im_clear_error(c);
}
END_TEST

/* numerics.md's promise for latents; pictures from diffusers' load_textual_inversion. */
START_TEST(words_of_textual_inversion)
{
    im_safetensors *golden = im_st_open(c, "tests/golden/embeddings.safetensors");
    float x[LATENTS], y[LATENTS];
    const char *name, *sha256;
    int vectors;
    ck_assert_msg(im_sd_add_embedding(sd, "tests/golden/embeddings"), "%s", im_error(c));
    ck_assert(im_sd_embedding(sd, 0, &name, &sha256, &vectors) == 2 && vectors == 3 && !strcmp(name, "<blob>"));
    ck_assert_int_eq(im_sd_embedding(sd, 0, NULL, NULL, NULL), 2);
    ck_assert(im_sd_embedding(sd, 1, &name, &sha256, &vectors) == 2 && vectors == 1 && !strcmp(name, "wool"));
    for (int i = 0; i < 4; i++) {
        im_sd_args a = i % 2 ? args("a castle", "wool <blob> wool") : args("a <blob> house, made of wool", "dog");
        a.syntax = i > 1 ? IM_PROMPT_A1111 : IM_PROMPT_PLAIN;
        a.latents_out = x;
        ck_assert_msg(im_sd_latents_batch(sd, &a, 1), "%s", im_error(c));
        const im_st_entry *e = im_st_find(golden, i % 2 ? "negative.latents" : "plain.latents");
        double worst = 0;
        for (size_t k = 0; k < e->bytes / sizeof(float); k++)
            worst = fmax(worst, fabs((double)x[k] - (double)((const float *)e->data)[k]));
        ck_assert_msg(worst <= 1e-3, "latents %d are off by %g", i, worst);
    }
    const struct { const char *prompt, *like; bool same; } cases[] = {
        { "a castle WOOL", "a castle wool", true }, { "woolly", "wool ly", false }, { "a wool,", "a wool ,", true },
        { "a<BLOB>b", "a <blob> b", true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        im_sd_args a = args(cases[i].prompt, ""), b = args(cases[i].like, "");
        a.latents_out = x;
        b.latents_out = y;
        ck_assert(im_sd_latents_batch(sd, &a, 1) && im_sd_latents_batch(sd, &b, 1));
        ck_assert_msg((memcmp(x, y, 256 * sizeof *x) == 0) == cases[i].same, "%s", cases[i].prompt);
    }
    ck_assert(!im_sd_add_embedding(sd, "tests/golden/embeddings/wool.safetensors"));
    ck_assert_msg(strstr(im_error(c), "there is an embedding \"wool\" already") != NULL, "%s", im_error(c));
    im_clear_error(c);
    im_st_close(golden);
}
END_TEST

/* A word of several vectors is never parted between two chunks; in plain text it is cut like all else. */
START_TEST(vectors_stay_together)
{
    const im_vector_word word = { .name = "blob", .first = 0, .n = 3 };
    char prompt[400] = "";
    im_chunks k;
    for (int i = 0; i < 74; i++) strcat(prompt, "a ");
    strcat(prompt, "blob b");
    const im_vector_words words = { &word, 1 };
    ck_assert(im_chunks_of(c, im_sd_tokenizer(sd), words, prompt, IM_PROMPT_A1111, TOKENS, &k, NULL));
    ck_assert(k.n == 2 && k.ids[74] >= 0 && k.ids[TOKENS + 1] == -1 && k.ids[TOKENS + 3] == -3);
    im_chunks_free(&k);
    char *cut;
    ck_assert(im_chunks_of(c, im_sd_tokenizer(sd), words, prompt, IM_PROMPT_PLAIN, TOKENS, &k, &cut));
    ck_assert(k.n == 1 && k.ids[75] == -1 && k.ids[76] >= 0);
    ck_assert_str_eq(cut, "blob b");
    free(cut);
    im_chunks_free(&k);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { ONCE(words_of_textual_inversion), ONCE(vectors_stay_together),
                                 ONCE(chunks_are_those_of_the_rule), ONCE(states_are_transformers),
                                 ONCE(pictures_are_diffusers), ONCE(lengths_in_one_batch) };
    return suite_run("weighted", open_all, close_all, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
