/* test_json.c: JSON configuration files (data/files/json.h) and files as such (data/files/file.h): values, messages. */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "context.h"
#include "data/files/file.h"
#include "data/files/json.h"
#include "data/files/names.h"
#include "imago.h"

static im_json parse(const char *text)
{
    im_json j;
    ck_assert_msg(im_json_parse(c, &j, "config.json", text, strlen(text)), "%s", im_error(c));
    return j;
}

static void expect(bool result, const char *error)
{
    ck_assert_msg(!result, "no error; wanted: %s", error);
    ck_assert_msg(!strcmp(im_error(c), error), "got: %s\nwanted: %s", im_error(c), error);
    im_clear_error(c);
}

static void expect_part(bool result, const char *part)
{
    ck_assert_msg(!result, "no error; wanted: %s", part);
    ck_assert_msg(strstr(im_error(c), part) != NULL, "got: %s\nwanted: %s", im_error(c), part);
    im_clear_error(c);
}

/* A byte order mark, which some editors write in front, is no part of a text; a CR by itself ends a line. */
START_TEST(byte_order_mark)
{
    static const char text[] = IM_BYTE_ORDER_MARK "{\"i\": 7}";
    im_json j = parse(text);
    int i = 0;
    ck_assert(im_json_int(c, &j, "i", IM_MUST, 0, 10, &i) && i == 7);
    im_json_close(&j);
    ck_assert_msg(im_json_load(c, &j, scratch_write(dir, "config.json", text, sizeof text - 1), 100), "%s", im_error(c));
    im_json_close(&j);
    size_t n;
    char *got = im_read_text(c, scratch_write(dir, "a.txt", IM_BYTE_ORDER_MARK "cat\n", 7), 100, &n);
    ck_assert(got && n == 4 && !strcmp(got, "cat\n"));
    free(got);
    got = im_read_text(c, scratch_write(dir, "a.txt", "a\rb\r\nc\r\r\nd\r", 11), 100, &n);
    ck_assert(got && n == 11 && !strcmp(got, "a\nb\r\nc\r\r\nd\n"));
    free(got);
    got = im_read_text(c, scratch_write(dir, "a.txt", "", 0), 100, &n);
    ck_assert(got && !n && !*got);
    free(got);
    expect_part(im_read_text(c, scratch_write(dir, "a.txt", "a\0b", 3), 100, &n), "a.txt: holds a zero byte; wanted text");
}
END_TEST

/* ---------------------------------------------------------------- JSON */

START_TEST(values)
{
    im_json j = parse(
        "{\"i\":7,\"f\":0.25,\"n\":null,\"b\":true,\"s\":\"text\",\"o\":{\"x\":-3},\"l\":[1,2,3],\"t\":[\"a\",\"b\"],"
        "\"bl\":[true,false],\"big\":1e30,\"whole\":5.0}");
    int i = -1, list[3] = { 0 };
    double f = -1, floats[3];
    bool b = false, bools[2];
    const char *s = NULL, *texts[2];
    im_json o;
    ck_assert(im_json_int(c, &j, "i", IM_MUST, 0, 10, &i) && i == 7);
    ck_assert(im_json_int(c, &j, "whole", IM_MUST, 0, 10, &i) && i == 5);
    ck_assert(im_json_float(c, &j, "f", IM_MUST, 0, 1, &f) && f == 0.25);
    ck_assert(im_json_float(c, &j, "i", IM_MUST, 0, 10, &f) && f == 7);
    ck_assert(im_json_float(c, &j, "big", IM_MUST, 0, 1e31, &f) && f == 1e30);
    ck_assert(im_json_bool(c, &j, "b", IM_MUST, &b) && b);
    ck_assert(im_json_string(c, &j, "s", IM_MUST, &s) && !strcmp(s, "text"));
    ck_assert(im_json_object(c, &j, "o", IM_MUST, &o) && im_json_int(c, &o, "x", IM_MUST, -3, -3, &i) && i == -3);
    ck_assert_int_eq(im_json_length(c, &j, "l", IM_MUST, 1, 3), 3);
    ck_assert(im_json_ints(c, &j, "l", IM_MUST, 1, 3, list, 3) && list[0] == 1 && list[1] == 2 && list[2] == 3);
    ck_assert(im_json_ints(c, &j, "i", IM_MUST, 1, 8, list, 3) && list[0] == 7 && list[1] == 7 && list[2] == 7);
    ck_assert(im_json_floats(c, &j, "l", IM_MUST, 1, 3, floats, 3) && floats[2] == 3);
    ck_assert(im_json_floats(c, &j, "f", IM_MUST, 0, 3, floats, 2) && floats[1] == 0.25);
    ck_assert(im_json_bools(c, &j, "bl", IM_MUST, bools, 2) && bools[0] && !bools[1]);
    ck_assert(im_json_bools(c, &j, "b", IM_MUST, bools, 2) && bools[0] && bools[1]);
    ck_assert(im_json_strings(c, &j, "t", IM_MUST, texts, 2) && !strcmp(texts[1], "b"));
    ck_assert(im_json_strings(c, &j, "s", IM_MUST, texts, 2) && !strcmp(texts[1], "text"));
    ck_assert(im_json_has(&j, "i") && !im_json_has(&j, "n") && !im_json_has(&j, "absent"));
    im_json_close(&j);
    im_json_close(&j);                                         /* a closed one may be closed again                    */
}
END_TEST

START_TEST(digits_of_large_numbers)
{
    const char text[] = "[18446744073709551616, -9223372036854775809, 9223372036854775807, 1e999, "
                        "\"18446744073709551616\"]";
    char *plain = im_json_from_python(c, text, strlen(text), true);
    ck_assert_ptr_nonnull(plain);
    ck_assert_str_eq(plain, "[\"18446744073709551616\", \"-9223372036854775809\", 9223372036854775807, 1e308, "
                            "\"18446744073709551616\"]");
    free(plain);
}
END_TEST

/* What json.dumps of Python writes and RFC 8259 has not: read, and refused only where it is asked for. */
START_TEST(as_python_writes_it)
{
    im_json j = parse("{\"nan\":NaN,\"up\":Infinity,\"down\":[-Infinity, 1e400, -1e400],\"whole\":18446744073709551615,"
                      "\"long\":-123456789012345678901234567890,\"exact\":9007199254740993,\"half\":\"a\\ud83d\","
                      "\"pair\":\"\\ud83d\\ude00 NaN\",\"zero\":\"a\\u0000b\","
                      "\"quote\":\"\\\"Infinity\\\\\",\"low\\udc00\":1}");
    double f = 0, list[3];
    int64_t n = 0;
    const char *s = NULL;
    ck_assert(im_json_float(c, &j, "up", IM_MUST, -1e308, 1e308, &f) && f == 1e308);
    ck_assert(im_json_floats(c, &j, "down", IM_MUST, -1e308, 1e308, list, 3));
    ck_assert(list[0] == -1e308 && list[1] == 1e308 && list[2] == -1e308);
    ck_assert(im_json_float(c, &j, "whole", IM_MUST, 0, 1e30, &f) && f == 18446744073709551615.0);
    ck_assert(im_json_float(c, &j, "long", IM_MUST, -1e30, 0, &f) && f == -123456789012345678901234567890.0);
    ck_assert(im_json_long(c, &j, "exact", IM_MUST, 0, INT64_MAX, &n) && n == 9007199254740993);
    ck_assert(im_json_string(c, &j, "half", IM_MUST, &s) && !strcmp(s, "a\xef\xbf\xbd"));
    ck_assert(im_json_string(c, &j, "pair", IM_MUST, &s) && !strcmp(s, "\xf0\x9f\x98\x80 NaN"));
    ck_assert(im_json_string(c, &j, "zero", IM_MUST, &s) && !strcmp(s, "a\xef\xbf\xbd" "b"));
    ck_assert(im_json_string(c, &j, "quote", IM_MUST, &s) && !strcmp(s, "\"Infinity\\"));
    ck_assert(im_json_has(&j, "low\xef\xbf\xbd"));
    expect(im_json_float(c, &j, "nan", IM_MAY, 0, 1, &f), "config.json: \"nan\" is \"NaN\"; wanted a number from 0 to 1");
    expect(im_json_float(c, &j, "up", IM_MAY, 0, 1, &f), "config.json: \"up\" is 1e308; wanted a number from 0 to 1");
    expect(im_json_long(c, &j, "whole", IM_MAY, 0, 9, &n),
           "config.json: \"whole\" is 1.84467440737096e19; wanted a whole number from 0 to 9");
    im_json_close(&j);
    expect_part(im_json_parse(c, &j, "a", "{\"x\": NaN,\n \"y\": nan}", 21), "a:2: column ");
    expect_part(im_json_parse(c, &j, "a", "{\"x\": NaN, \"x\": 1}", 18), "duplicate object key");
    expect_part(im_json_parse(c, &j, "a", "{\"x\": NaN", 9), "is not valid JSON");
}
END_TEST

/* Absent and null keep what the caller had. */
START_TEST(optional_values)
{
    im_json j = parse("{\"n\":null}"), o = { 0 };
    const char *keys[] = { "n", "absent" };
    for (int k = 0; k < 2; k++) {
        int i = 42, list[2] = { 1, 2 };
        double f = 2.5;
        bool b = true;
        const char *s = "kept";
        ck_assert(im_json_int(c, &j, keys[k], IM_MAY, 0, 1, &i) && i == 42);
        ck_assert(im_json_float(c, &j, keys[k], IM_MAY, 0, 1, &f) && f == 2.5);
        ck_assert(im_json_bool(c, &j, keys[k], IM_MAY, &b) && b);
        ck_assert(im_json_string(c, &j, keys[k], IM_MAY, &s) && !strcmp(s, "kept"));
        ck_assert(im_json_object(c, &j, keys[k], IM_MAY, &o) && !o.value);
        ck_assert(im_json_ints(c, &j, keys[k], IM_MAY, 0, 1, list, 2) && list[1] == 2);
        ck_assert_int_eq(im_json_length(c, &j, keys[k], IM_MAY, 1, 2), 0);
    }
    im_json_close(&j);
}
END_TEST

START_TEST(wrong_values)
{
    im_json o,
        j = parse(
            "{\"i\":7,\"f\":0.5,\"n\":null,\"b\":true,\"s\":\"text\",\"o\":{},\"l\":[1,\"x\",3],\"huge\":99999999999}");
    int i = -1, list[3];
    double f;
    bool b;
    const char *s, *texts[3];
    expect(im_json_int(c, &j, "k", IM_MUST, 0, 1, &i), "config.json: \"k\" is missing; add it");
    expect(im_json_int(c, &j, "n", IM_MUST, 0, 1, &i), "config.json: \"n\" is null; add it");
    expect(im_json_int(c, &j, "i", IM_MUST, 8, 64, &i), "config.json: \"i\" is 7; wanted a whole number from 8 to 64");
    expect(im_json_int(c, &j, "i", IM_MAY, 1, 6, &i), "config.json: \"i\" is 7; wanted a whole number from 1 to 6");
    expect(im_json_int(c, &j, "i", IM_MAY, 2, 2, &i), "config.json: \"i\" is 7; wanted 2");
    expect(im_json_int(c, &j, "f", IM_MAY, 0, 6, &i), "config.json: \"f\" is 0.5; wanted a whole number from 0 to 6");
    expect(im_json_int(c, &j, "s", IM_MAY, 0, 6, &i),
           "config.json: \"s\" is \"text\"; wanted a whole number from 0 to 6");
    expect(im_json_int(c, &j, "b", IM_MAY, 0, 6, &i), "config.json: \"b\" is true; wanted a whole number from 0 to 6");
    expect(im_json_int(c, &j, "huge", IM_MAY, 0, 6, &i),
           "config.json: \"huge\" is 99999999999; wanted a whole number from 0 to 6");
    expect(im_json_float(c, &j, "i", IM_MAY, 0, 1, &f), "config.json: \"i\" is 7; wanted a number from 0 to 1");
    expect(im_json_float(c, &j, "l", IM_MAY, 0, 1, &f),
           "config.json: \"l\" is a list of 3; wanted a number from 0 to 1");
    expect(im_json_bool(c, &j, "i", IM_MAY, &b), "config.json: \"i\" is 7; wanted true or false");
    expect(im_json_string(c, &j, "o", IM_MAY, &s), "config.json: \"o\" is an object; wanted a text in quotes");
    expect(im_json_object(c, &j, "s", IM_MAY, &o), "config.json: \"s\" is \"text\"; wanted an object { ... }");
    expect(im_json_ints(c, &j, "l", IM_MAY, 0, 9, list, 3),
           "config.json: \"l[1]\" is \"x\"; wanted a whole number from 0 to 9");
    expect(im_json_ints(c, &j, "l", IM_MAY, 0, 9, list, 2),
           "config.json: \"l\" is a list of 3; wanted a list of 2 elements, or "
           "one value for all");
    expect(im_json_ints(c, &j, "s", IM_MAY, 0, 9, list, 2),
           "config.json: \"s\" is \"text\"; wanted a whole number from 0 to 9");
    expect(im_json_strings(c, &j, "l", IM_MAY, texts, 3), "config.json: \"l[0]\" is 1; wanted a text in quotes");
    ck_assert_int_eq(im_json_length(c, &j, "l", IM_MUST, 1, 2), -1);
    expect(false, "config.json: \"l\" is a list of 3; wanted a list of 1 to 2 elements");
    ck_assert_int_eq(im_json_length(c, &j, "i", IM_MUST, 1, 2), -1);
    expect(false, "config.json: \"i\" is 7; wanted a list of 1 to 2 elements");
    ck_assert_int_eq(i, -1);
    ck_assert(!im_fail(c, "earlier"));                         /* after an error: false, and nothing is touched       */
    ck_assert(!im_json_int(c, &j, "i", IM_MUST, 0, 10, &i) && i == -1);
    ck_assert_str_eq(im_error(c), "earlier");
    im_json_close(&j);
}
END_TEST

START_TEST(long_text_is_cut_visibly)
{
    im_json j = parse("{\"s\":\"0123456789012345678901234567890123456789012345678901234567890123456789\"}");
    bool b;
    expect(im_json_bool(c, &j, "s", IM_MAY, &b),
           "config.json: \"s\" is \"01234567890123456789012345678901234567890123456789012345678"
           " ...; wanted true or false");
    im_json_close(&j);
}
END_TEST

START_TEST(bad_json)
{
    const struct { const char *text, *error; } cases[] = {
        { "", "x.json:1: column 0: is not valid JSON" },
        { "{", "x.json:1: column 1: is not valid JSON" },
        { "{\n \"a\": 1,\n \"b\": }", "x.json:3: column 7: is not valid JSON" },
        { "{\"a\":1,\"a\":2}", "duplicate object key" },
        { "[1,2]", "x.json: holds no JSON object; wanted { \"key\": value, ... }" },
        { "{} x", "is not valid JSON" },
        { "{\"a\":nan}", "is not valid JSON" },
        { "{\"a\":+1}", "is not valid JSON" },
        { "{\"a\":\"\xff\"}", "is not valid JSON" },
        { "{\"a\":\"\\u00g0\"}", "is not valid JSON" },
        { "{\"a\":01}", "is not valid JSON" },
        { "{'a':1}", "is not valid JSON" },
    };
    im_json j;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_part(im_json_parse(c, &j, "x.json", cases[i].text, strlen(cases[i].text)), cases[i].error);
        ck_assert_ptr_null(j.value);
        const char *path = scratch_write(dir, "x.json", cases[i].text, strlen(cases[i].text));
        expect_part(im_json_load(c, &j, path, 1000), cases[i].error);
    }
    expect_part(im_json_load(c, &j, scratch_write(dir, "big.json", "{\"a\":1234}", 10), 9),
                "big.json: has 10 bytes; wanted at most 9");
    expect_part(im_json_load(c, &j, scratch_path(dir, "absent.json"), 9),
                "absent.json: cannot open: No such file or directory");
    expect_part(im_json_parse(c, &j, "zero", "{}\0", 3), "zero: is not valid JSON: byte 2 is zero");
    expect_part(im_json_parse(c, &j, "zero", "{\"a\":1\0}", 8), "zero: is not valid JSON: byte 6 is zero");
    char *deep = malloc(200001);
    memset(deep, '[', 100000);
    memset(deep + 100000, ']', 100000);
    expect_part(im_json_parse(c, &j, "deep", deep, 200000), "is not valid JSON: maximum parsing depth reached");
    free(deep);
}
END_TEST

/* ---------------------------------------------------------------- files */

START_TEST(paths)
{
    const struct { const char *folder, *name, *joined; } cases[] = {
        { "a", "b", "a/b" }, { "a/", "b", "a/b" }, { "a//", "b", "a/b" },
        { "/", "b", "/b" },  { "", "b", "b" },     { ".", "b/c", "./b/c" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *p = im_join(c, cases[i].folder, cases[i].name);
        ck_assert_str_eq(p, cases[i].joined);
        free(p);
    }
    const struct {
        const char *path, *name, *joined;
    } beside[] = { { "a/b", "c", "a/c" }, { "b", "c", "c" }, { "/b", "c", "/c" } };
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
        char *p = im_join_beside(c, beside[i].path, beside[i].name);
        ck_assert_str_eq(p, beside[i].joined);
        free(p);
    }
}
END_TEST

START_TEST(folders)
{
    const char *deep = scratch_path(dir, "a/b//c/");
    ck_assert_msg(im_make_folder(c, deep), "%s", im_error(c));
    ck_assert(im_is_folder(deep) && !im_is_file(deep));
    ck_assert(im_make_folder(c, deep));                        /* again: no error                                     */
    ck_assert(im_make_folder(c, "/"));
    const char *file = scratch_write(dir, "file", "x", 1);
    ck_assert(im_is_file(file) && !im_is_folder(file));
    expect_part(im_make_folder(c, file), "file: cannot make the folder: a file of this name is in the way; remove it");
    expect_part(im_make_folder(c, scratch_path(dir, "file/x")), "file/x: cannot make the folder: ");
    char astray[300];                                          /* what mkdir says counts, not what stat says after it */
    snprintf(astray, sizeof astray, "%s", scratch_path(dir, "astray"));
    ck_assert_int_eq(symlink("nowhere", astray), 0);
    expect_part(im_make_folder(c, astray), "astray: cannot make the folder: a file of this name is in the way; remove it");
    expect(im_make_folder(c, ""), "cannot make a folder of an empty name; name a folder");
}
END_TEST

START_TEST(reading)
{
    size_t n;
    char *text = im_read_file(c, scratch_write(dir, "f", "ab\0c", 4), 4, &n);
    ck_assert(text && n == 4 && !memcmp(text, "ab\0c\0", 5));
    free(text);
    im_map m;
    ck_assert(im_map_open(c, &m, scratch_path(dir, "f")) && m.bytes == 4 && m.data[3] == 'c');
    im_map_close(&m);
    im_map_close(&m);
    ck_assert(im_map_open(c, &m, scratch_write(dir, "e", "", 0)) && !m.data && !m.bytes);
    ck_assert(!mkfifo(scratch_path(dir, "pipe"), 0600));
    ck_assert_ptr_null(im_read_file(c, scratch_path(dir, "f"), 3, &n));
    expect_part(false, "f: has 4 bytes; wanted at most 3: is it the right file?");
    expect_part(im_map_open(c, &m, dir), "is a folder; wanted a file");
    expect_part(im_map_open(c, &m, scratch_path(dir, "pipe")), "pipe: is not a regular file; wanted a file");
    expect_part(im_map_open(c, &m, scratch_path(dir, "f/x")), "f/x: cannot open: Not a directory; check the path");
}
END_TEST

static int mode_of(const char *path)
{
    struct stat st;
    ck_assert(!stat(path, &st));
    return st.st_mode & 0777;
}

START_TEST(writing)
{
    const char *path = scratch_path(dir, "out");
    size_t n;
    umask(022);
    ck_assert(im_may_write(c, path, false));
    ck_assert(im_write_file(c, path, "one", 3, false));
    ck_assert_int_eq(mode_of(path), 0644);
    expect_part(im_may_write(c, path, false),
                "out: exists already and is kept; use --force to replace it, or another name");
    expect_part(im_write_file(c, path, "two", 3, false), "out: exists already and is kept");
    ck_assert(im_write_file(c, path, "three", 5, true));
    char *text = im_read_file(c, path, 100, &n);
    ck_assert_str_eq(text, "three");
    free(text);
    ck_assert_int_eq(scratch_count(dir), 1);
}
END_TEST

/* Folders that are missing are made with the file, not when it is only asked whether it may be written, and go again where
 * it cannot be. */
START_TEST(folders_are_made)
{
    const char *path = scratch_path(dir, "a/b/c");
    ck_assert(im_may_write(c, path, false));
    ck_assert_int_eq(scratch_count(dir), 0);
    im_out o;
    ck_assert(im_out_open(c, &o, path, false));
    im_out_abandon(&o);
    ck_assert_int_eq(scratch_count(dir), 0);
    ck_assert(im_make_folder(c, scratch_path(dir, "a")));
    ck_assert(im_out_open(c, &o, path, false));
    im_out_abandon(&o);
    ck_assert_int_eq(scratch_count(scratch_path(dir, "a")), 0);
    ck_assert(im_write_file(c, path, "one", 3, false) && im_write_file(c, scratch_path(dir, "x//y"), "two", 3, false));
    ck_assert(im_is_file(path) && im_is_file(scratch_path(dir, "x/y")));
    expect_part(im_may_write(c, scratch_path(dir, "a/b/c/d/e"), false), "a/b/c/d/e: cannot write: Not a directory");
    scratch_write(dir, "link", "", 0);
    ck_assert(!unlink(scratch_path(dir, "link")) && !symlink("nowhere", scratch_path(dir, "link")));
    expect_part(im_may_write(c, scratch_path(dir, "link/file"), false), "link/file: cannot ");
}
END_TEST

/* As somebody who may not write there: known before the work, with the folder that is in the way. */
START_TEST(folders_that_cannot_be_written_in)
{
    char path[400], new[400];
    snprintf(path, sizeof path, "%s", scratch_path(dir, "closed/there"));
    snprintf(new, sizeof new, "%s", scratch_path(dir, "closed/new/file"));
    ck_assert(im_write_file(c, path, "x", 1, false));
    ck_assert(!chmod(scratch_path(dir, "closed"), 0555) && !chmod(dir, 0755));
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        if (!geteuid() && (setgid(65534) || setuid(65534))) _exit(2);
        bool there = im_may_write(c, path, true);
        bool says = strstr(im_error(c), "closed: Permission denied");
        im_clear_error(c);
        bool made = im_may_write(c, new, false);
        _exit(there || made || !says || !strstr(im_error(c), "closed: Permission denied"));
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status) && !WEXITSTATUS(status));
    ck_assert_int_eq(chmod(scratch_path(dir, "closed"), 0755), 0);
}
END_TEST

/* What stands there while writing is the old file; an abandoned or failed output leaves it so. */
START_TEST(writing_is_atomic)
{
    const char *path = scratch_write(dir, "out", "old", 3);
    im_out o;
    ck_assert(im_out_open(c, &o, path, true) && im_out_write(c, &o, "new", 3));
    ck_assert_int_eq(scratch_count(dir), 2);
    im_out_abandon(&o);
    ck_assert_int_eq(scratch_count(dir), 1);
    ck_assert(im_out_open(c, &o, path, true) && im_out_write(c, &o, "new", 3));
    ck_assert(!im_fail(c, "something else failed"));
    ck_assert(!im_out_finish(c, &o));
    im_clear_error(c);
    size_t n;
    char *text = im_read_file(c, path, 100, &n);
    ck_assert_str_eq(text, "old");
    free(text);
    ck_assert_int_eq(scratch_count(dir), 1);
    ck_assert(im_out_open(c, &o, scratch_path(dir, "late"), false) && im_out_write(c, &o, "new", 3));
    scratch_write(dir, "late", "somebody else's", 15);
    expect_part(im_out_finish(c, &o), "late: exists already and is kept; use --force");
    ck_assert_int_eq(scratch_count(dir), 2);
}
END_TEST

/* Two outputs of one name and process do not meet; a name at the limit of 255 can be written; links stay links. */
START_TEST(names_of_outputs)
{
    char name[256];
    memset(name, 'n', 255);
    name[255] = 0;
    ck_assert_msg(im_write_file(c, scratch_path(dir, name), "x", 1, false), "%s", im_error(c));
    im_out a, b;
    ck_assert(im_out_open(c, &a, scratch_path(dir, "two"), true) && im_out_open(c, &b, scratch_path(dir, "two"), true));
    ck_assert(im_out_write(c, &a, "a", 1) && im_out_write(c, &b, "b", 1));
    ck_assert(im_out_finish(c, &a) && im_out_finish(c, &b));
    ck_assert(!symlink("two", scratch_path(dir, "link")));
    ck_assert(im_write_file(c, scratch_path(dir, "link"), "through", 7, true));
    size_t n;
    char *text = im_read_file(c, scratch_path(dir, "two"), 100, &n), target[10];
    ck_assert_str_eq(text, "through");
    ck_assert_int_eq(readlink(scratch_path(dir, "link"), target, 10), 3);
    free(text);
    ck_assert_int_eq(scratch_count(dir), 3);
}
END_TEST

/* A limit on file sizes stands in for a full disk: the error names it, nothing stays. */
START_TEST(full_disk)
{
    struct rlimit old, small = { 4096, 4096 };
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    char *big = calloc(1, 10000);
    ck_assert(!setrlimit(RLIMIT_FSIZE, &small));
    bool ok = im_write_file(c, scratch_path(dir, "big"), big, 10000, false);
    im_out o;
    char first[500];
    snprintf(first, sizeof first, "%s", im_error(c));
    im_clear_error(c);
    bool opened = im_out_open(c, &o, scratch_path(dir, "big"), false), reserved = im_out_reserve(c, &o, 10000);
    im_out_abandon(&o);
    setrlimit(RLIMIT_FSIZE, &old);
    ck_assert(!ok && opened && !reserved);
    ck_assert_msg(
        strstr(first,
               "big: cannot write: File too large; the file system or a limit (ulimit -f) allows no file of this "
               "size (nothing was left behind)"),
        "%s", first);
    ck_assert_ptr_nonnull(strstr(im_error(c), "big: cannot write: File too large"));
    ck_assert_int_eq(scratch_count(dir), 0);
    free(big);
}
END_TEST

/* A table of names holds whatever it is given, growing as it goes. */
START_TEST(names_table)
{
    im_names m;
    char keys[3000][12];
    ck_assert(im_names_init(c, &m, 0));
    for (int i = 0; i < 3000; i++) {
        int n = snprintf(keys[i], sizeof keys[i], "%d", i);
        ck_assert_int_eq(im_names_find(&m, keys[i], (size_t)n), -1);
        ck_assert(im_names_add(c, &m, keys[i], (size_t)n, i));
    }
    for (int i = 0; i < 3000; i++) ck_assert_int_eq(im_names_find(&m, keys[i], strlen(keys[i])), i);
    ck_assert_int_eq(im_names_find(&m, "", 0), -1);
    im_names_free(&m);
    ck_assert_int_eq(im_names_find(&m, "1", 1), -1);
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(byte_order_mark), ONCE(values), ONCE(as_python_writes_it), ONCE(digits_of_large_numbers),
        ONCE(optional_values), ONCE(wrong_values), ONCE(long_text_is_cut_visibly), ONCE(bad_json),
        ONCE(paths), ONCE(folders), ONCE(reading), ONCE(writing),
        ONCE(folders_are_made), ONCE(folders_that_cannot_be_written_in), ONCE(writing_is_atomic),
        ONCE(names_of_outputs), ONCE(full_disk), ONCE(names_table),
    };
    return suite_run("json", setup, teardown, 30, tests, SUITE_COUNT(tests));
}
