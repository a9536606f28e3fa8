/* test_added_tokens.c: tokens beside the vocabulary, in every layout that transformers has written; their ids are those of
 * transformers (added_tokens.json), and what its versions read differently is refused. */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "context.h"
#include "data/files/file.h"
#include "golden_json.h"
#include "want.h"

enum { MOST = 77 };

/* Applies {key: value} to a JSON file in dir, or removes it. */
static void edit(const char *file, const json_t *changes)
{
    const char *path = scratch_path(dir, file), *key;
    json_t *v;
    if (json_is_null(changes)) {
        ck_assert_int_eq(unlink(path), 0);
        return;
    }
    json_t *j = json_load_file(path, 0, NULL);
    if (!j)
        j = json_object();
    json_object_foreach((json_t *)(uintptr_t)changes, key, v) {
        if (*key == '+')
            ck_assert_int_eq(json_array_extend(json_object_get(j, key + 1), v), 0);
        else
            json_object_set(j, key, v);
    }
    ck_assert_int_eq(json_dump_file(j, path, 0), 0);
    json_decref(j);
}

static void copy_base(const char *base)
{
    char command[1400];
    snprintf(command, sizeof command, "rm -rf '%s'/* && cp tests/golden/%s/* '%s' && chmod u+w '%s'/*", dir, base, dir,
             dir);
    ck_assert_int_eq(system(command), 0);
}

/* Number of texts of the row whose ids differ. */
static int compare(const json_t *row)
{
    const char *name = json_string_value(json_object_get(row, "name")), *file;
    json_t *changes, *pair;
    size_t i;
    int wrong = 0, pad = (int)json_integer_value(json_object_get(row, "pad"));
    copy_base(json_string_value(json_object_get(row, "base")));
    json_object_foreach(json_object_get(row, "edits"), file, changes)
        edit(file, changes);
    im_tokenizer *t = im_tokenizer_open(c, dir);
    ck_assert_msg(t != NULL, "%s: %s", name, im_error(c));
    ck_assert_msg(im_tokenizer_size(t) == (int)json_integer_value(json_object_get(row, "size")), "%s: %d tokens", name,
                  im_tokenizer_size(t));
    json_array_foreach(json_object_get(row, "ids"), i, pair) {
        const char *text = json_string_value(json_array_get(pair, 0));
        const json_t *want = json_array_get(pair, 1);
        int32_t ids[MOST];
        ck_assert_int_le((int)json_array_size(want), MOST);
        ck_assert_msg(im_tokenize(c, t, text, MOST, ids, NULL), "%s", im_error(c));
        for (int k = 0; k < MOST; k++) {
            int w = k < (int)json_array_size(want) ? (int)json_integer_value(json_array_get(want, (size_t)k)) : pad;
            ck_assert_ptr_nonnull(im_token_piece(t, ids[k]));
            if (w == ids[k])
                continue;
            fprintf(stderr, "%s: \"%s\": id %d is %d, wanted %d\n", name, text, k, ids[k], w);
            wrong++;
            break;
        }
    }
    im_tokenizer_free(t);
    return wrong;
}

START_TEST(golden_layouts)
{
    json_t *j = golden_json("tests/golden/added_tokens.json.gz"), *row;
    size_t i;
    int wrong = 0;
    ck_assert_uint_ge(json_array_size(json_object_get(j, "rows")), 35);
    json_array_foreach(json_object_get(j, "rows"), i, row)
        wrong += compare(row);
    ck_assert_int_eq(wrong, 0);
    json_decref(j);
}
END_TEST

/* ---------------------------------------------------------------- what is refused */

static const struct { const char *file, *json, *error; } refused[] = {
    { "added_tokens.json", "{\"<cat>\": 1015}", "\"<cat>\" has the id 1015 there, but by its place it gets 1014" },
    { "added_tokens.json", "{\"<cat>\": 1014, \"<dog>\": 1016}",
      "\"<dog>\" has the id 1016 there, but by its place it gets" },
    { "added_tokens.json", "{\"the</w>\": 1014}", "\"the</w>\" has the id 1014 there, but by its place it gets " },
    { "added_tokens.json", "{\"<cat>\": -1}", "\"<cat>\" has no id from 0 to" },
    { "added_tokens.json", "{\"<cat>\": \"1014\"}", "\"<cat>\" has no id from 0 to" },
    { "added_tokens.json", "{\"<cat>\": 1014, \"<Cat>\": 1015}",
      "\"<cat>\" and \"<Cat>\" become the same text, \"<cat>\"" },
    { "added_tokens.json", "[1]", "added_tokens.json: holds no JSON object" },
    { "tokenizer_config.json", "{\"added_tokens_decoder\": {\"x\": {\"content\": \"<cat>\"}}}", "\"x\" is not an id" },
    { "tokenizer_config.json", "{\"added_tokens_decoder\": {\"1014\": {}}}", "added_tokens_decoder is not a token" },
    { "tokenizer_config.json",
      "{\"added_tokens_decoder\": {\"1014\": {\"content\": \"<a>\"}, \"1015\": {\"content\": \"<a>\"}}}",
      "\"<a>\" has the id 1015 there, but by its place it gets 1014" },
    { "tokenizer_config.json", "{\"eos_token\": \"\"}", "eos_token is empty" },
    { "tokenizer_config.json", "{\"padding_side\": \"left\"}", "the side of padding is \"left\"" },
    { "tokenizer_config.json", "{\"truncation_side\": \"left\"}", "the side of truncation is \"left\"" },
};

START_TEST(refused_files)
{
    copy_base("models/a/tokenizer");
    if (!strcmp(refused[_i].file, "tokenizer_config.json"))    /* the map would have the last word on roles           */
        ck_assert_int_eq(unlink(scratch_path(dir, "special_tokens_map.json")), 0);
    scratch_write(dir, refused[_i].file, refused[_i].json, strlen(refused[_i].json));
    ck_assert_ptr_null(im_tokenizer_open(c, dir));
    WANT_ERROR(refused[_i].error);
}
END_TEST

/* An id that the vocabulary uses although it counts fewer pieces. */
START_TEST(vocabulary_with_gaps)
{
    static const char vocab[] = "{\"a\": 0, \"a</w>\": 1, \"<|startoftext|>\": 2, \"<|endoftext|>\": 4}";
    scratch_write(dir, "vocab.json", vocab, strlen(vocab));
    scratch_write(dir, "merges.txt", "", 0);
    scratch_write(dir, "added_tokens.json", "{\"<cat>\": 4}", 12);
    ck_assert_ptr_null(im_tokenizer_open(c, dir));
    WANT_ERROR("\"<cat>\" gets the id 4, which is that of \"<|endoftext|>\"");
}
END_TEST

/* What does not fit is quoted as it was written, added tokens included. */
START_TEST(cut_text)
{
    copy_base("models/a/tokenizer");
    scratch_write(dir, "added_tokens.json", "{\"<cat-toy>\": 1014}", 19);
    im_tokenizer *t = im_tokenizer_open(c, dir);
    static const struct { const char *text; int length; const char *cut; } cases[] = {
        { "A <Cat-Toy> A A", 5, "A" }, { "A A <Cat-Toy> A", 4, "<Cat-Toy> A" },
        { "A  <CAT-TOY>  Caf\u00c9", 4, "Caf\u00c9" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int32_t ids[8];
        char *cut;
        ck_assert_msg(im_tokenize(c, t, cases[i].text, cases[i].length, ids, &cut), "%s", im_error(c));
        ck_assert_ptr_nonnull(cut);
        ck_assert_str_eq(cut, cases[i].cut);
        free(cut);
    }
    im_tokenizer_free(t);
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(golden_layouts), LOOP(refused_files, sizeof refused / sizeof *refused), ONCE(vocabulary_with_gaps),
        ONCE(cut_text),
    };
    return suite_run("added_tokens", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
