/* test_side_json.c: objects of JSON as Python writes them, beside what Python reads (golden/side_json.json.gz), and what
 * only we take: bytes that are not UTF-8, control characters, any depth. */
#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "data/files/side_json.h"
#include "golden_json.h"
#include "suite.h"

enum { FIELDS = 3 };
static im_side_field f[FIELDS];
static size_t at;

static bool read_object(const char *text, size_t n)
{
    static const char *const keys[FIELDS] = { "text", "label", "a key" };
    for (int i = 0; i < FIELDS; i++) f[i].key = keys[i];
    char *copy = malloc(n ? n : 1);                            /* exactly its bytes: a sanitizer sees a step beyond   */
    memcpy(copy, text, n);
    bool ok = im_side_json(c, copy, n, f, FIELDS, &at);
    ck_assert_msg(im_ok(c) && at <= n, "%s", im_error(c));
    free(copy);
    return ok;
}

static void done(void) { im_side_free(f, FIELDS); }

START_TEST(golden)
{
    static const char *const kinds[] = { "", "text", "whole", "other" };
    json_t *j = golden_json("tests/golden/side_json.json.gz"), *row;
    size_t i, refused = 0;
    json_array_foreach(json_object_get(j, "rows"), i, row) {
        const char *hex = json_string_value(json_object_get(row, "bytes"));
        const json_t *fields = json_object_get(row, "fields");
        size_t n = strlen(hex) / 2;
        char *text = malloc(n + 1);
        for (size_t k = 0; k < n; k++) {
            unsigned v;
            sscanf(hex + 2 * k, "%2x", &v);
            text[k] = (char)v;
        }
        text[n] = '\0';
        ck_assert_msg(read_object(text, n) == json_is_object(fields), "row %zu: %s (stopped at %zu)", i, text, at);
        refused += !json_is_object(fields);
        for (int k = 0; k < FIELDS && json_is_object(fields); k++) {
            const json_t *want = json_object_get(fields, f[k].key);
            const char *kind = json_is_null(want) ? "" : json_string_value(json_array_get(want, 0));
            const char *value = json_string_value(json_array_get(want, 1));
            ck_assert_msg(!strcmp(kinds[f[k].kind], kind), "row %zu: %s is %s, wanted %s: %s", i, f[k].key,
                          kinds[f[k].kind], kind, text);
            ck_assert_msg(!value || !strcmp(f[k].text, value), "row %zu: %s is %s, wanted %s", i, f[k].key, f[k].text,
                          value);
        }
        done();
        for (size_t k = 0; k < n && n < 400; k++) {            /* cut anywhere it is not an object                        */
            if (strspn(text + k, " \t\r\n") == n - k) continue;
            ck_assert_msg(!read_object(text, k) || !json_is_object(fields), "row %zu, %zu bytes", i, k);
            done();
        }
        free(text);
    }
    ck_assert_uint_eq(refused, 33);
    ck_assert_uint_gt(i, 180);
    json_decref(j);
}
END_TEST

static void expect(const char *text, size_t n, const char *want)
{
    ck_assert_msg(read_object(text, n), "stopped at %zu: %s", at, text);
    ck_assert_msg(f[0].kind == IM_SIDE_TEXT && !strcmp(f[0].text, want), "%s", f[0].text);
    done();
}

START_TEST(beyond_python)
{
    static const char zero[] = "{\"text\": \"a\0b\"}";
    static const char latin1[] = "{\"x\": \"\xff\xfe\", \"text\": \"a\", \"label\": \"caf\xe9\"}";
    static const char control[] = "{\"text\": \"a\nb\x01\"}";
    expect(zero, sizeof zero - 1, "a\xef\xbf\xbd" "b");
    expect(control, sizeof control - 1, "a\nb\x01");
    expect(latin1, sizeof latin1 - 1, "a");
    ck_assert(read_object(latin1, sizeof latin1 - 1));
    ck_assert_int_eq(f[1].kind, IM_SIDE_OTHER);
    ck_assert_str_eq(f[1].text, "\"caf\xe9\"");
    done();
    enum { DEEP = 8000 };
    char *deep = malloc(2 * DEEP + 100), *p = deep + sprintf(deep, "{\"x\": ");
    memset(p, '[', DEEP);
    memset(p + DEEP, ']', DEEP);
    strcpy(p + 2 * DEEP, ", \"text\": \"a\"}");
    expect(deep, strlen(deep), "a");
    memset(deep + 6, '[', DEEP);
    ck_assert(!read_object(deep, DEEP + 6));
    done();
    memset(deep, '[', 2 * DEEP + 99);                          /* deeper than is followed                             */
    memcpy(deep, "{\"x\":", 5);
    ck_assert(!read_object(deep, 2 * DEEP + 99));
    done();
    free(deep);
}
END_TEST

START_TEST(says_where_and_what)
{
    ck_assert(!read_object("{\"a\": tru}", 10));
    ck_assert_uint_eq(at, 9);
    done();
    static const char list[] = "{\"label\": [1, 2, \"a very long list of things that nobody reads\"], \"text\": NaN}";
    ck_assert(read_object(list, sizeof list - 1));
    ck_assert_int_eq(f[1].kind, IM_SIDE_OTHER);
    ck_assert_str_eq(f[1].text, "[1, 2, \"a very long list of things that ");
    ck_assert_str_eq(f[0].text, "NaN");
    done();
}
END_TEST

int main(void)
{
    const suite_test tests[] = { ONCE(golden), ONCE(beyond_python), ONCE(says_where_and_what) };
    return suite_run("side_json", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
