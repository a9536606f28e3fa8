/* test_picture_write.c: JPEG files beside Pillow's, byte for byte; comments in EXIF beside piexif's
 * (tests/golden/comments.json.gz); texts in PNG and JPEG written and read again; bad writing. */
#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "data/files/file.h"
#include "data/files/sha256.h"
#include "data/images/exif_comment.h"
#include "data/images/picture.h"
#include "golden_json.h"
#include "imago.h"
#include "suite.h"

static const char init[] = "tests/golden/init_83x70.png";

static json_t *load(const char *key)
{
    json_t *j = golden_json("tests/golden/comments.json.gz");
    json_t *rows = json_incref(json_object_get(j, key));
    json_decref(j);
    return rows;
}

static const char *text_of(const json_t *row, const char *key) { return json_string_value(json_object_get(row, key)); }

/* ---------------------------------------------------------------- JPEG */

/* Pillow's grey: (19595 r + 38470 g + 7471 b + 2^15) / 2^16. */
static im_image *grey_of(const im_image *i)
{
    im_image *out = im_image_new(c, i->width, i->height, 1);
    for (int k = 0; k < i->width * i->height; k++) {
        const uint8_t *p = i->pixels + 3 * k;
        out->pixels[k] = (uint8_t)((19595u * p[0] + 38470u * p[1] + 7471u * p[2] + 0x8000) >> 16);
    }
    return out;
}

START_TEST(golden_files)
{
    json_t *rows = load("files"), *row;
    im_image *rgb = im_picture_read(c, init), *grey = grey_of(rgb);
    size_t i;
    json_array_foreach(rows, i, row) {
        const char *path = scratch_path(dir, "a.jpg");
        im_picture_how how = { .format = IM_JPEG, .quality = (int)json_integer_value(json_object_get(row, "quality")) };
        if (how.quality == 95) how.quality = 0;                /* the default                                         */
        im_image *from = json_is_true(json_object_get(row, "grey")) ? grey : rgb;
        ck_assert_msg(im_picture_write(c, path, from, &how, true), "%s", im_error(c));
        size_t n;
        char hex[65], *file = im_read_file(c, path, 1 << 20, &n);
        ck_assert(file && im_sha256_of(c, file, n, hex));
        ck_assert_msg(!strcmp(hex, text_of(row, "sha256")), "quality %d, %d channels: %zu bytes, Pillow has %lld",
                      how.quality, from->channels, n, (long long)json_integer_value(json_object_get(row, "bytes")));
        im_image *again = im_picture_read(c, path), *as = im_picture_as_written(c, from, how.quality);
        ck_assert(again && as && !memcmp(again->pixels, as->pixels, 83 * 70 * 3));
        im_image_free(again);
        im_image_free(as);
        free(file);
    }
    ck_assert_int_eq(json_array_size(rows), 8);
    ck_assert_int_eq(scratch_count(dir), 1);
    im_image_free(rgb);
    im_image_free(grey);
    json_decref(rows);
}
END_TEST

START_TEST(endings)
{
    static const struct { const char *path; int format; } rows[] = {
        { "a.png", IM_PNG }, { "b/a.PNG", IM_PNG }, { "a.jpg", IM_JPEG }, { "a.Jpeg", IM_JPEG }, { ".jpg", IM_JPEG },
        { "a.webp", -1 }, { "jpg", -1 }, { "", -1 }, { "a.png/b", -1 }, { "a.png.", -1 }
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        im_picture_format f = IM_PNG;
        ck_assert_msg(im_picture_format_of(rows[i].path, &f) == (rows[i].format >= 0), "%s", rows[i].path);
        if (rows[i].format >= 0) ck_assert_int_eq((int)f, rows[i].format);
    }
}
END_TEST

/* ---------------------------------------------------------------- comments */

static uint8_t *unhex(const char *hex, size_t *n)
{
    *n = strlen(hex) / 2;
    uint8_t *out = malloc(*n ? *n : 1);
    for (size_t i = 0; i < *n; i++) {
        unsigned v;
        ck_assert_int_eq(sscanf(hex + 2 * i, "%2x", &v), 1);
        out[i] = (uint8_t)v;
    }
    return out;
}

/* Read as piexif reads them; and no block, cut anywhere, is read beyond its end. */
START_TEST(golden_blocks)
{
    json_t *rows = load("blocks"), *row;
    size_t i;
    json_array_foreach(rows, i, row) {
        size_t n;
        const char *want = text_of(row, "text");
        uint8_t *block = unhex(text_of(row, "block"), &n);
        char *got = im_exif_comment(c, block, n);
        ck_assert_msg(!got == !want && (!want || !strcmp(got, want)), "%s: %s", text_of(row, "name"), got);
        free(got);
        for (size_t k = 0; k < n; k++) {
            uint8_t *cut = malloc(k ? k : 1);
            memcpy(cut, block, k);
            free(im_exif_comment(c, cut, k));
            free(cut);
        }
        ck_assert(im_ok(c));
        free(block);
    }
    ck_assert_int_eq(json_array_size(rows), 18);
    json_decref(rows);
}
END_TEST

static const im_text texts[] = {
    { "imago", "{\"prompt\":\"a \\\"cat\\\", \xe7\x8c\xab\\n\"}" },
    { "parameters", "a cat, \"big\"\nNegative prompt: imago: \"x\"\nSteps: 2, Model: \"a, imago: b\", Version: imago 1" },
    { "Other", "line\nline \xf0\x9f\x90\xb4" }
};

static const char comment[] =
    "a cat, \"big\"\nNegative prompt: imago: \"x\"\nSteps: 2, Model: \"a, imago: b\", Version: imago 1, "
    "imago: \"{\\\"prompt\\\":\\\"a \\\\\\\"cat\\\\\\\", \xe7\x8c\xab\\\\n\\\"}\", "
    "Other: \"line\\nline \xf0\x9f\x90\xb4\"";

START_TEST(texts_of_both_formats)
{
    im_image *i = im_picture_read(c, init);
    for (int jpeg = 0; jpeg < 2; jpeg++) {
        const char *path = scratch_path(dir, jpeg ? "a.jpg" : "a.png");
        const im_picture_how how = { .format = jpeg ? IM_JPEG : IM_PNG, .texts = texts, .n_texts = 3 };
        ck_assert_msg(im_picture_texts_fit(c, path, &how) && im_picture_write(c, path, i, &how, false), "%s", im_error(c));
        for (int k = 0; k < 3; k++) {
            char *got = im_picture_text(c, path, texts[k].key);
            const char *want = jpeg && k == 1 ? comment : texts[k].value;
            ck_assert_msg(got && !strcmp(got, want), "%s: %s", texts[k].key, got ? got : im_error(c));
            free(got);
        }
        ck_assert_ptr_null(im_picture_text(c, path, "absent"));
        ck_assert_msg(im_ok(c), "%s", im_error(c));
    }
    im_image_free(i);
}
END_TEST

START_TEST(texts_in_comments)
{
    static const struct { const char *comment, *found; } rows[] = {
        { "imago: \"{}\"", "{}" }, { "a\nSteps: 1, imago:\"x\" , b: c", "x" }, { "imago: x", NULL },
        { "imago: \"x", NULL }, { "imago: \"x\"\nSteps: 1", NULL }, { "", NULL }, { ",,,:", NULL },
        { "a: \"imago: \\\"y\\\"\", imago: \"z\"", "z" },
        { "imagoo: \"x\", mago: \"y\"", NULL }, { "imago: \"\\ud83d\", imago: \"w\"", "w" }, { "imago: \"a\\", NULL }
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *got = im_comment_text(c, rows[i].comment, "imago");
        ck_assert_msg(!got == !rows[i].found && (!got || !strcmp(got, rows[i].found)), "%s: %s", rows[i].comment, got);
        free(got);
    }
    ck_assert(im_ok(c));
}
END_TEST

/* ---------------------------------------------------------------- bad writing */

static void unwritten(const char *path, const im_image *i, im_picture_how how, const char *error)
{
    int before = scratch_count(dir);
    ck_assert(!im_picture_write(c, path, i, &how, false));
    ck_assert_msg(strstr(im_error(c), error), "got: %s\nwanted: %s", im_error(c), error);
    ck_assert_int_eq(scratch_count(dir), before);
    im_clear_error(c);
}

START_TEST(bad_writing)
{
    im_image *i = im_picture_read(c, init);
    const char *path = scratch_path(dir, "a.jpg");
    char *novel = malloc(40001);
    memset(novel, 'x', 40000);
    novel[40000] = '\0';
    const im_text much = { "parameters", novel }, wrong = { "parameters", "ab\xff" }, other = { "imago", "ab\xff" };
    unwritten(path, NULL, (im_picture_how){ .format = IM_JPEG }, "there is no picture to write");
    unwritten(path, i, (im_picture_how){ .format = IM_JPEG, .quality = 101 }, "a.jpg: the quality is 101; wanted 1 to 100");
    unwritten(path, i, (im_picture_how){ .format = IM_JPEG, .texts = &much, .n_texts = 1 },
              "a.jpg: its metadata takes 80058 bytes, and a JPEG holds at most 65533; write a PNG");
    unwritten(path, i, (im_picture_how){ .format = IM_JPEG, .texts = &wrong, .n_texts = 1 }, "byte 2 (0xff) is not UTF-8");
    unwritten(path, i, (im_picture_how){ .format = IM_JPEG, .texts = &other, .n_texts = 1 }, "is not UTF-8");
    scratch_write(dir, "file", "", 0);
    unwritten(scratch_path(dir, "file/a.jpg"), i, (im_picture_how){ .format = IM_JPEG }, "file");
    ck_assert(!im_picture_texts_fit(c, path, &(im_picture_how){ .format = IM_JPEG, .texts = &much, .n_texts = 1 }));
    im_clear_error(c);
    ck_assert(im_picture_texts_fit(c, path, &(im_picture_how){ .format = IM_PNG, .texts = &much, .n_texts = 1 }));
    ck_assert(im_picture_write(c, path, i, &(im_picture_how){ .format = IM_JPEG }, false));
    unwritten(path, i, (im_picture_how){ .format = IM_JPEG }, "a.jpg: exists already and is kept; use --force");
    ck_assert_ptr_null(im_picture_text(c, path, "imago"));
    ck_assert_ptr_null(im_picture_text(c, scratch_write(dir, "x", "GIF89a", 6), "imago"));
    ck_assert_msg(strstr(im_error(c), "x: is a GIF; convert it"), "%s", im_error(c));
    free(novel);
    im_image_free(i);
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(golden_files), ONCE(endings), ONCE(golden_blocks), ONCE(texts_of_both_formats), ONCE(texts_in_comments),
        ONCE(bad_writing)
    };
    return suite_run("picture_write", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
