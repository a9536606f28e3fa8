/* test_tokenizer.c: the CLIP tokenizer: every prompt of the goldens (made by transformers), the built-in vocabulary,
 * the text that is cut off, and what damaged files and texts get. */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "context.h"
#include "data/files/file.h"
#include "golden_json.h"
#include "imago.h"

/* ---------------------------------------------------------------- goldens */

/* Counts rows that differ, and prints the first few. */
static int compare(const im_tokenizer *t, const json_t *row, int length, int pad)
{
    const char *text = json_string_value(json_object_get(row, "text"));
    const json_t *want = json_object_get(row, "ids");
    json_int_t whole = json_integer_value(json_object_get(row, "whole"));
    int32_t *ids = calloc((size_t)length, sizeof *ids);
    char *cut = NULL;
    ck_assert_msg(im_tokenize(c, t, text, length, ids, &cut), "%s", im_error(c));
    int wrong = -1;
    for (int i = 0; i < length && wrong < 0; i++) {
        int w = i < (int)json_array_size(want) ? (int)json_integer_value(json_array_get(want, (size_t)i)) : pad;
        if (w != ids[i]) wrong = i;
    }
    ck_assert_msg((cut != NULL) == (whole > length), "\"%s\": cut is %s", text, cut ? cut : "NULL");
    if (wrong >= 0) fprintf(stderr, "\"%s\": id %d is %d\n", text, wrong, ids[wrong]);
    free(cut);
    free(ids);
    return wrong >= 0;
}

START_TEST(golden_full_vocabulary)
{
    json_t *j = golden_json("tests/golden/tokens.json.gz"), *row;
    im_tokenizer *t = im_tokenizer_open(c, NULL);
    ck_assert_msg(t != NULL, "%s", im_error(c));
    ck_assert_int_eq(im_tokenizer_size(t), 49408);
    size_t i;
    int wrong = 0, pad = (int)json_integer_value(json_object_get(j, "pad"));
    ck_assert_uint_ge(json_array_size(json_object_get(j, "rows")), 500);
    json_array_foreach(json_object_get(j, "rows"), i, row) wrong += compare(t, row, 77, pad);
    ck_assert_int_eq(wrong, 0);
    im_tokenizer_free(t);
    json_decref(j);
}
END_TEST

START_TEST(golden_small_vocabularies)
{
    json_t *j = golden_json("tests/golden/tokens_small.json.gz"), *row;
    const struct { const char *row, *folder; int length; } models[] = { { "a", "a", 77 }, { "b", "b", 32 },
                                                                        { "b", "b_resaved", 32 } };
    int wrong = 0, pad = (int)json_integer_value(json_object_get(j, "pad"));
    for (int m = 0; m < 3; m++) {
        int seen = 0;
        char folder[100];                                      /* the model's folder: its tokenizer/ is found         */
        snprintf(folder, sizeof folder, "tests/golden/models/%s", models[m].folder);
        im_tokenizer *t = im_tokenizer_open(c, folder);
        ck_assert_msg(t != NULL, "%s", im_error(c));
        size_t i;
        json_array_foreach(json_object_get(j, "rows"), i, row) {
            if (strcmp(json_string_value(json_object_get(row, "model")), models[m].row)) continue;
            wrong += compare(t, row, models[m].length, pad);
            seen++;
        }
        ck_assert_int_ge(seen, 40);
        im_tokenizer_free(t);
    }
    ck_assert_int_eq(wrong, 0);
    json_decref(j);
}
END_TEST

/* ---------------------------------------------------------------- texts */

START_TEST(known_ids_and_pieces)
{
    im_tokenizer *t = im_tokenizer_open(c, NULL);
    const int32_t want[] = { 49406, 320, 8853, 539, 550, 18376, 6765, 320, 4558, 49407, 49407, 49407 };
    int32_t ids[12];
    char *cut = (char *)"untouched";
    ck_assert(im_tokenize(c, t, "a photograph of an astronaut riding a horse", 12, ids, &cut));
    ck_assert_mem_eq(ids, want, sizeof want);
    ck_assert_ptr_null(cut);
    ck_assert_str_eq(im_token_piece(t, 4558), "horse</w>");
    ck_assert_str_eq(im_token_piece(t, 49406), "<|startoftext|>");
    ck_assert_str_eq(im_token_piece(t, 0), "!");
    ck_assert_ptr_null(im_token_piece(t, 49408));
    ck_assert_ptr_null(im_token_piece(t, -1));
    im_tokenizer_free(t);
}
END_TEST

START_TEST(cut_text)
{
    const struct { const char *text; int length; const char *cut; } cases[] = {
        { "one two three four five", 5, "four five" },      { "one two three", 5, NULL },
        { "One, TWO's  three ", 4, "TWO's  three" },        { "a b", 2, "a b" },
        { "cat <|endoftext|> dog", 3, "<|endoftext|> dog" }, { "x \xf0\x9f\x98\x80", 3, "\xf0\x9f\x98\x80" },
        { "cat  CAFE\u0301 Noir", 3, "CAFE\u0301 Noir" },   { "cat \u00c9t\u00c9 X", 3, "\u00c9t\u00c9 X" },
        { "\u0130n \u212b A  B", 8, "B" },                  { "one <|ENDOFTEXT|> Two", 4, "|ENDOFTEXT|> Two" },
        { "Deoxyribonucleic", 3, "oxyribonucleic" },
    };
    im_tokenizer *t = im_tokenizer_open(c, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int32_t ids[8];
        char *cut;
        ck_assert(im_tokenize(c, t, cases[i].text, cases[i].length, ids, &cut));
        ck_assert_int_eq(ids[0], 49406);
        ck_assert_int_eq(ids[cases[i].length - 1], 49407);
        if (cases[i].cut) ck_assert_str_eq(cut, cases[i].cut);
        else ck_assert_ptr_null(cut);
        free(cut);
        ck_assert(im_tokenize(c, t, cases[i].text, cases[i].length, ids, NULL));
    }
    im_tokenizer_free(t);
}
END_TEST

/* A cut through the bytes of one character leaves valid UTF-8. */
START_TEST(cut_inside_a_character)
{
    im_tokenizer *t = im_tokenizer_open(c, NULL);
    const char *text = "\xe1\x9a\xa0\xe1\x9a\xa1\xe1\x9a\xa2\xe1\x9a\xa3";             /* runes: 1 or 2 bytes a token */
    for (int length = 2; length < 16; length++) {
        int32_t ids[16];
        char *cut;
        ck_assert(im_tokenize(c, t, text, length, ids, &cut));
        if (cut) ck_assert_msg(*cut == 0 || ((uint8_t)*cut & 0xc0) != 0x80, "length %d", length);
        free(cut);
    }
    im_tokenizer_free(t);
}
END_TEST

START_TEST(not_utf8)
{
    const struct { const char *text, *error; } cases[] = {
        { "cat \xff", "prompt: byte 4 (0xff) is not UTF-8; write it as UTF-8" },
        { "\xc3", "prompt: byte 0 (0xc3) is not UTF-8; write it as UTF-8" },
        { "a\xed\xa0\x80", "prompt: byte 1 (0xed) is not UTF-8; write it as UTF-8" },
        { "ab\xc0\x80", "prompt: byte 2 (0xc0) is not UTF-8; write it as UTF-8" },
        { "\xf4\x90\x80\x80", "prompt: byte 0 (0xf4) is not UTF-8; write it as UTF-8" },
    };
    im_tokenizer *t = im_tokenizer_open(c, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int32_t ids[8];
        ck_assert(!im_tokenize(c, t, cases[i].text, 8, ids, NULL));
        ck_assert_str_eq(im_error(c), cases[i].error);
        im_clear_error(c);
    }
    int32_t one;
    ck_assert(!im_tokenize(c, t, "a", 1, &one, NULL));
    ck_assert_str_eq(im_error(c), "tokenize: asked for 1 ids per text; wanted at least 2 (start and end)");
    im_tokenizer_free(t);
}
END_TEST

/* One word of a million bytes: merging is n log n, not n squared (which would take hours). */
START_TEST(long_word)
{
    im_tokenizer *t = im_tokenizer_open(c, NULL);
    size_t n = 1000000;
    char *text = malloc(n + 1), *cut;
    for (size_t i = 0; i < n; i++) text[i] = (char)('a' + i * i % 26);
    text[n] = 0;
    int32_t ids[77];
    ck_assert(im_tokenize(c, t, text, 77, ids, &cut));
    ck_assert_uint_gt(strlen(cut), n - 77 * 20);
    free(cut);
    free(text);
    im_tokenizer_free(t);
}
END_TEST

/* ---------------------------------------------------------------- files */

/* Special tokens given as plain texts are looked for in the raw text; objects are looked for after lowering. */
START_TEST(raw_and_normalised_specials)
{
    const char *vocab = "{\"a\":0,\"a</w>\":1,\"X\":2,\"x</w>\":3,\"<s>\":4,\"<E>\":5,\"<</w>\":6}";
    scratch_write(dir, "vocab.json", vocab, strlen(vocab));
    scratch_write(dir, "merges.txt", "", 0);
    const char *roles =
        "{\"bos_token\":{\"content\":\"<s>\"},\"eos_token\":\"<E>\",\"unk_token\":\"X\",\"pad_token\":\"<E>\"%s}";
    const struct { const char *more, *text; int32_t want[6]; } cases[] = {
        { "", "a<S>a", { 4, 1, 4, 1, 5, 5 } }, /* <s> by its normalised form                          */
        { "", "<E>a<E>", { 4, 5, 1, 5, 5, 5 } },
        { "", "a<e", { 4, 1, 6, 2, 5, 5 } }, /* e is unknown                                        */
        { ",\"added_tokens_decoder\":{\"5\":{\"content\":\"<E>\"}}", "a<e>x", { 4, 1, 5, 3, 5, 5 } },
        { ",\"added_tokens_decoder\":{\"4\":{\"content\":\"<s>\",\"normalized\":false}}",
          "<s>x<",
          { 4, 4, 3, 6, 5, 5 } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char config[400];
        snprintf(config, sizeof config, roles, cases[i].more);
        scratch_write(dir, "tokenizer_config.json", config, strlen(config));
        im_tokenizer *t = im_tokenizer_open(c, dir);
        int32_t ids[6];
        ck_assert_msg(t && im_tokenize(c, t, cases[i].text, 6, ids, NULL), "%s", im_error(c));
        for (int k = 0; k < 6; k++) ck_assert_msg(ids[k] == cases[i].want[k], "case %zu: id %d is %d", i, k, ids[k]);
        im_tokenizer_free(t);
    }
}
END_TEST

#define VOCAB "{\"a\":0,\"b\":1,\"a</w>\":2,\"b</w>\":3,\"ab</w>\":4,\"!\":5,\"<|startoftext|>\":6,\"<|endoftext|>\":7}"

static im_tokenizer *open_with(const char *vocab, const char *merges, const char *config, const char *map)
{
    scratch_write(dir, "vocab.json", vocab, strlen(vocab));
    scratch_write(dir, "merges.txt", merges, strlen(merges));
    scratch_write(dir, "tokenizer_config.json", config ? config : "{}", config ? strlen(config) : 2);
    scratch_write(dir, "special_tokens_map.json", map ? map : "{}", map ? strlen(map) : 2);
    return im_tokenizer_open(c, dir);
}

static void check_ids(const im_tokenizer *t, const char *text, int n, const int32_t want[])
{
    int32_t ids[16];
    ck_assert_msg(t && im_tokenize(c, t, text, n, ids, NULL), "%s", im_error(c));
    for (int i = 0; i < n; i++) ck_assert_msg(ids[i] == want[i], "\"%s\": id %d is %d", text, i, ids[i]);
}

START_TEST(special_tokens_of_files)
{
    im_tokenizer *t = open_with(VOCAB, "#version: 0.2\na b</w>\n", NULL, NULL);
    check_ids(t, "AB z !", 7, (int32_t[]){ 6, 4, 7, 7, 7, 7, 7 });                      /* z and !</w> are unknown    */
    im_tokenizer_free(t);
    t = open_with("\xEF\xBB\xBF" VOCAB, "\xEF\xBB\xBF#version: 0.2\na b</w>\n", "\xEF\xBB\xBF{}", NULL);
    ck_assert_msg(t != NULL, "%s", im_error(c));               /* byte order marks                                    */
    im_tokenizer_free(t);
    t = open_with(VOCAB, "a b</w>\r\n\n", "{\"pad_token\":\"a\",\"unk_token\":{\"content\":\"b\"}}", NULL);
    check_ids(t, "ab z", 5, (int32_t[]){ 6, 0, 1, 1, 7 }); /* special tokens are kept whole */
    im_tokenizer_free(t);
    t = open_with(VOCAB, "a b</w>\n", "{\"pad_token\":\"a\"}", "{\"pad_token\":\"!\",\"bos_token\":{\"content\":\"b\"}}");
    check_ids(t, "a! a", 8, (int32_t[]){ 1, 2, 5, 2, 7, 5, 5, 5 });                    /* the map has the last word   */
    im_tokenizer_free(t);
    t = open_with(VOCAB, "", "{\"added_tokens_decoder\":{\"4\":{\"content\":\"ab</w>\"}},\"model_max_length\":1"
                  "000000000000000019884624838656}", NULL);
    check_ids(t, "aab</w>b", 6, (int32_t[]){ 6, 2, 4, 3, 7, 7 });
    im_tokenizer_free(t);
}
END_TEST

START_TEST(bad_files)
{
    const struct { const char *vocab, *merges, *config, *error; } cases[] = {
        { "[1]", "", NULL, "/vocab.json: holds no JSON object" },
        { "{\"a\":0", "", NULL, "/vocab.json:1: column " },
        { "{\"a\":0,\"a\":1}", "", NULL, "duplicate object key" },
        { "{\"a\":-1}", "", NULL, "/vocab.json: \"a\" has no id from 0 to 16777216; is it the right file?" },
        { "{\"a\":16777217}", "", NULL, "/vocab.json: \"a\" has no id from 0 to 16777216" },
        { "{\"a\":0.5}", "", NULL, "/vocab.json: \"a\" has no id from 0" },
        { "{\"a\":\"b\"}", "", NULL, "/vocab.json: \"a\" has no id from 0" },
        { "{\"a\":1,\"b\":1}", "", NULL, "/vocab.json: \"a\" and \"b\" have the same id 1; wanted each id once" },
        { "{}", "", NULL, ": the vocabulary has no \"<|startoftext|>\"; name the bos_token in tokenizer_config.json" },
        { VOCAB, "ab\n", NULL, "/merges.txt:1: is not a pair of pieces (\"ab\"); wanted two, with a space between" },
        { VOCAB, "#version: 0.2\na b</w>\na  b\n", NULL, "/merges.txt:3: is not a pair of pieces (\"a  b\")" },
        { VOCAB, "a b c\n", NULL, "/merges.txt:1: is not a pair of pieces (\"a b c\")" },
        { VOCAB, "a \n", NULL, "/merges.txt:1: is not a pair of pieces (\"a \")" },
        { VOCAB, "a b\n", NULL, "/merges.txt:1: the piece \"ab\" is not in the vocabulary" },
        { VOCAB, "", NULL, "/merges.txt: 1 pieces of the vocabulary, \"ab</w>\" the first, come from none of its 0 merges; "
          "the file is cut off or belongs to another vocabulary" },
        { VOCAB, "a zz\n", NULL, "/merges.txt:1: the piece \"zz\" is not in the vocabulary" },
        { VOCAB, "zz a\n", NULL, "/merges.txt:1: the piece \"zz\" is not in the vocabulary" },
        { VOCAB, "", "{\"bos_token\":5}", "/tokenizer_config.json: bos_token is not a token; wanted a text" },
        { VOCAB, "", "{\"added_tokens_decoder\":{\"9\":{\"content\":\"<new>\"}}}",
          "/tokenizer_config.json: the token \"<new>\" has the id 9 there, but by its place it gets 8" },
        { VOCAB, "", "{\"added_tokens_decoder\":{\"9\":{}}}", "added_tokens_decoder is not a token" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ck_assert_ptr_null(open_with(cases[i].vocab, cases[i].merges, cases[i].config, NULL));
        ck_assert_msg(strstr(im_error(c), cases[i].error) && strstr(im_error(c), dir), "case %zu: %s", i, im_error(c));
        im_clear_error(c);
    }
    ck_assert_ptr_null(open_with(VOCAB, "a\1b\n", NULL, NULL));
    im_clear_error(c);
    scratch_write(dir, "merges.txt", "a \0b\n", 5);
    ck_assert_ptr_null(im_tokenizer_open(c, dir));
    ck_assert_msg(strstr(im_error(c), "merges.txt: holds a zero byte"), "%s", im_error(c));
}
END_TEST

/* tokenizer.json, which transformers 5 writes alone. */
START_TEST(bad_whole_file)
{
    const struct { const char *text, *error; } cases[] = {
        { "{}", "\"model\" is missing; add it" },
        { "{\"model\":{\"type\":\"BPE\"}}", "\"vocab\" is missing" },
        { "{\"model\":{\"type\":\"Unigram\",\"vocab\":{},\"merges\":[]}}", "is a tokenizer of type \"Unigram\"" },
        { "{\"model\":{\"vocab\":{},\"merges\":[]}}", "words ending in \"\"; wanted CLIP's: BPE with \"</w>\"" },
        { "{\"model\":{\"end_of_word_suffix\":\"</w>\",\"vocab\":{\"a\":0}}}", "\"merges\" is missing" },
        { "{\"model\":{\"end_of_word_suffix\":\"</w>\",\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}",
          "merges[0] is not a pair" },
        { "{\"model\":{\"end_of_word_suffix\":\"</w>\",\"vocab\":{\"a\":0},\"merges\":[3]}}", "merges[0] is not a pair" },
        { "{\"model\":{\"end_of_word_suffix\":\"</w>\",\"vocab\":{\"a\":0},\"merges\":[\"a a\"]}}",
          "the piece \"aa\" is not" },
        { "{\"model\":{\"end_of_word_suffix\":\"</w>\",\"vocab\":{\"a\":0},\"merges\":[]}}",
          "the vocabulary has no \"<|startoftext|>\"" },
        { "{\"model\":{\"end_of_word_suffix\":\"</w>\",\"vocab\":{\"<|startoftext|>\":0,\"<|endoftext|>\":1},"
          "\"merges\":[]},\"added_tokens\":[1]}",
          "added_tokens is not a token" },
        { "{\"model\":{\"end_of_word_suffix\":\"</w>\",\"vocab\":{\"<|startoftext|>\":0,\"<|endoftext|>\":1},"
          "\"merges\":[]},\"padding\":{\"direction\":\"Left\"}}",
          "/tokenizer.json: the side of padding is \"Left\"" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        scratch_write(dir, "tokenizer.json", cases[i].text, strlen(cases[i].text));
        ck_assert_ptr_null(im_tokenizer_open(c, dir));
        ck_assert_msg(strstr(im_error(c), cases[i].error) && strstr(im_error(c), dir), "case %zu: %s", i, im_error(c));
        im_clear_error(c);
    }
}
END_TEST

START_TEST(missing_files)
{
    ck_assert_ptr_null(im_tokenizer_open(c, "no/such/folder"));
    ck_assert_str_eq(im_error(c), "no/such/folder: is not a folder; wanted one that holds vocab.json and merges.txt, or "
                     "tokenizer.json");
    ck_assert_ptr_null(im_tokenizer_open(c, dir));             /* after an error: nothing, and the message stays      */
    ck_assert_ptr_nonnull(strstr(im_error(c), "no/such/folder"));
    im_clear_error(c);
    ck_assert_ptr_null(im_tokenizer_open(c, dir));
    ck_assert_ptr_nonnull(strstr(im_error(c), "merges.txt: cannot open: No such file or directory"));
    im_clear_error(c);
    scratch_write(dir, "merges.txt", "", 0);
    ck_assert_ptr_null(im_tokenizer_open(c, dir));
    ck_assert_ptr_nonnull(strstr(im_error(c), "vocab.json: cannot open: No such file or directory"));
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(golden_full_vocabulary), ONCE(golden_small_vocabularies), ONCE(known_ids_and_pieces), ONCE(cut_text),
        ONCE(cut_inside_a_character), ONCE(not_utf8), ONCE(long_word), ONCE(special_tokens_of_files),
        ONCE(raw_and_normalised_specials), ONCE(bad_files), ONCE(bad_whole_file), ONCE(missing_files),
    };
    return suite_run("tokenizer", setup, teardown, 120, tests, SUITE_COUNT(tests));
}
