/* test_picture.c: JPEG and PNG in memory as Pillow decodes them (tests/golden/decode.json.gz): kinds of files, turned ones,
 * damaged ones; sizes, limits, shrinking, several threads at once, errors. */
#include <check.h>
#include <jansson.h>
#include <png.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/images/picture.h"
#include "data/files/sha256.h"
#include "golden_json.h"
#include "imago.h"
#include "scratch.h"
#include "suite.h"

static im_ctx *c;
static json_t *rows;

static void setup(void)
{
    c = im_ctx_new("ref", 1);
    json_t *j = golden_json("tests/golden/decode.json.gz");
    rows = json_incref(json_object_get(j, "rows"));
    json_decref(j);
}

static void teardown(void)
{
    json_decref(rows);
    im_ctx_free(c);
}

static const char *text_of(const json_t *row, const char *key) { return json_string_value(json_object_get(row, key)); }

/* The row's file, malloc'd: exactly its bytes, so that a sanitizer sees a step beyond. */
static uint8_t *file_of(const json_t *row, size_t *n)
{
    const char *hex = text_of(row, "file");
    *n = strlen(hex) / 2;
    uint8_t *out = malloc(*n ? *n : 1);
    ck_assert_ptr_nonnull(out);
    for (size_t i = 0; i < *n; i++) {
        unsigned v;
        ck_assert_int_eq(sscanf(hex + 2 * i, "%2x", &v), 1);
        out[i] = (uint8_t)v;
    }
    return out;
}

static bool same(im_ctx *ctx, const im_image *got, const json_t *pillow)
{
    char hex[65];
    const json_t *size = json_object_get(pillow, "size");
    return got->channels == 3 && got->width == json_integer_value(json_array_get(size, 0)) &&
           got->height == json_integer_value(json_array_get(size, 1)) &&
           im_sha256_of(ctx, got->pixels, 3 * (size_t)got->width * (size_t)got->height, hex) &&
           !strcmp(hex, text_of(pillow, "sha256"));
}

/* ---------------------------------------------------------------- values of Pillow */

static void check_kind(const char *kind, int want)
{
    size_t i;
    json_t *row;
    int seen = 0;
    json_array_foreach(rows, i, row) {
        if (strcmp(text_of(row, "kind"), kind)) continue;
        size_t n;
        uint8_t *file = file_of(row, &n);
        const char *name = text_of(row, "name");
        im_image *got = im_picture_decode(c, file, n, name, NULL);
        ck_assert_msg(got != NULL, "%s: %s", name, im_error(c));
        ck_assert_msg(same(c, got, json_object_get(row, "pillow")), "%s (%dx%d) differs from Pillow", name, got->width,
                      got->height);
        int w = 0, h = 0;
        ck_assert_msg(im_picture_size(c, file, n, name, NULL, &w, &h), "%s", im_error(c));
        ck_assert_msg(w == got->width && h == got->height, "%s: size %dx%d", name, w, h);
        im_image_free(got);
        free(file);
        seen++;
    }
    ck_assert_int_eq(seen, want);
}

START_TEST(golden_jpeg) { check_kind("jpeg", 29); }
END_TEST

START_TEST(golden_turned) { check_kind("turned", 82); }
END_TEST

/* What Pillow refuses is refused, with the name; what it reads though the end is missing is read. */
START_TEST(golden_damaged)
{
    size_t i;
    json_t *row;
    int seen = 0;
    json_array_foreach(rows, i, row) {
        if (strcmp(text_of(row, "kind"), "damaged")) continue;
        size_t n;
        uint8_t *file = file_of(row, &n);
        const char *name = text_of(row, "name");
        im_image *got = im_picture_decode(c, file, n, name, NULL);
        seen++;
        if (json_is_object(json_object_get(row, "pillow"))) {
            ck_assert_msg(got && same(c, got, json_object_get(row, "pillow")), "%s: %s", name, im_error(c));
            im_image_free(got);
            free(file);
            continue;
        }
        ck_assert_msg(got == NULL, "%s was read", name);
        ck_assert_msg(!strncmp(im_error(c), name, strlen(name)), "%s: %s", name, im_error(c));
        ck_assert_msg(strstr(im_error(c), "fetch or export it again") || n < 3, "%s", im_error(c));
        im_clear_error(c);
        free(file);
    }
    ck_assert_int_eq(seen, 31);
}
END_TEST

static bool listed(const json_t *ranges, size_t i)
{
    size_t k;
    json_t *range;
    bool in = false;
    json_array_foreach(ranges, k, range)
        in = in || ((size_t)json_integer_value(json_array_get(range, 0)) <= i &&
                    i <= (size_t)json_integer_value(json_array_get(range, 1)));
    return in;
}

/* PNG files cut at every byte, and with zeros in the place of their last chunk: read where Pillow reads them, to the same
 * pixels. The copies have exactly their bytes, so that a sanitizer sees a step beyond. */
START_TEST(golden_cut)
{
    size_t r;
    json_t *row;
    int seen = 0;
    json_array_foreach(rows, r, row) {
        if (strcmp(text_of(row, "kind"), "cut")) continue;
        size_t n;
        uint8_t *file = file_of(row, &n);
        for (int zeros = 0; zeros < 2; zeros++)
            for (size_t i = 0; i <= (zeros ? 12 : n); i++) {
                size_t left = n - i;
                uint8_t *cut = calloc(1, zeros ? n : left ? left : 1);
                memcpy(cut, file, left);
                im_image *got = im_picture_decode(c, cut, zeros ? n : left, text_of(row, "name"), NULL);
                bool want = listed(json_object_get(row, zeros ? "zeros" : "cuts"), i);
                ck_assert_msg(want == (got != NULL), "%s, %zu bytes less, zeros %d: %s", text_of(row, "name"), i, zeros,
                              got ? "was read" : im_error(c));
                ck_assert(!got || same(c, got, json_object_get(row, "pillow")));
                ck_assert_msg(got || left < 9 || strstr(im_error(c), "the file ends too early"), "%s", im_error(c));
                im_clear_error(c);
                im_image_free(got);
                free(cut);
            }
        free(file);
        seen++;
    }
    ck_assert_int_eq(seen, 7);
}
END_TEST

/* ---------------------------------------------------------------- 16 bits */

static char warned[2000];
static int warnings;

static void keep_warning(void *arg, const char *text)
{
    (void)arg;
    warnings++;
    snprintf(warned, sizeof warned, "%s", text);
}

/* 16-bit grey is clipped as Pillow clips it: said where a value is lost, with how many. */
START_TEST(sixteen_bits)
{
    static const uint8_t dark[] = { 0, 7, 0, 255 }, light[] = { 0, 7, 1, 0 };
    for (int i = 0; i < 2; i++) {
        char *bytes = NULL;
        size_t n = 0;
        FILE *f = open_memstream(&bytes, &n);
        png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
        png_infop info = png_create_info_struct(png);
        png_init_io(png, f);
        png_set_IHDR(png, info, 2, 1, 16, PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                     PNG_FILTER_TYPE_DEFAULT);
        png_write_info(png, info);
        png_write_row(png, i ? light : dark);
        png_write_end(png, info);
        png_destroy_write_struct(&png, &info);
        fclose(f);
        warnings = 0;
        im_on_warning(c, keep_warning, NULL);
        im_image *got = im_picture_decode(c, bytes, n, "a/grey.png", NULL);
        ck_assert(got && got->pixels[0] == 7 && got->pixels[3] == 255);
        ck_assert_int_eq(warnings, i);
        if (i) ck_assert_msg(strstr(warned, "a/grey.png: is grey with 16 bits per value, and read as Pillow reads it, so "
                                            "that the 50 % of its values above 255 are white"), "%s", warned);
        im_image_free(got);
        free(bytes);
    }
}
END_TEST

/* ---------------------------------------------------------------- the rest */

static char *photo(size_t *n)
{
    char *file = im_read_file(c, "tests/golden/photo.jpg", 1 << 24, n);
    ck_assert_msg(file != NULL, "%s", im_error(c));
    return file;
}

START_TEST(shrinking)
{
    size_t n;
    char *file = photo(&n);
    for (int s = 0; s <= 9; s++) {
        int want = s >= 8 ? 8 : s >= 4 ? 4 : s >= 2 ? 2 : 1;
        im_image *i = im_picture_decode(c, file, n, "photo", &(im_decode_args){ .shrink = s });
        ck_assert_msg(i != NULL, "%s", im_error(c));
        ck_assert_int_eq(i->width, (510 + want - 1) / want);
        ck_assert_int_eq(i->height, (381 + want - 1) / want);
        im_image_free(i);
    }
    free(file);
    size_t k;
    json_t *row;
    json_array_foreach(rows, k, row)                           /* 21 x 13, turned: not shrunk at all                  */
        if (!strcmp(text_of(row, "name"), "orientation 6")) {
            uint8_t *turned = file_of(row, &n);
            im_image *i = im_picture_decode(c, turned, n, "turned", &(im_decode_args){ .shrink = 8 });
            ck_assert(i && same(c, i, json_object_get(row, "pillow")));
            im_image_free(i);
            free(turned);
        }
}
END_TEST

static void refused(const void *bytes, size_t n, int64_t max_pixels, const char *why)
{
    im_decode_args args = { .max_pixels = max_pixels };
    int w, h;
    im_image *i = im_picture_decode(c, bytes, n, "a/b.jpg", &args);
    ck_assert_ptr_null(i);
    ck_assert_msg(!strncmp(im_error(c), "a/b.jpg: ", 9) && strstr(im_error(c), why), "%s; wanted %s", im_error(c), why);
    im_clear_error(c);
    ck_assert(!im_picture_size(c, bytes, n, "a/b.jpg", &args, &w, &h));
    ck_assert_msg(strstr(im_error(c), why), "%s; wanted %s", im_error(c), why);
    im_clear_error(c);
}

START_TEST(errors)
{
    refused("", 0, 0, "is empty");
    refused("hello, world", 12, 0, "is not a picture; wanted a JPEG or PNG");
    refused("GIF89a......", 12, 0, "is a GIF; convert it");
    refused("RIFF....WEBPVP8 ", 16, 0, "is a WebP; convert it to JPEG or PNG first");
    refused("\0\0\0\x1c" "ftypavif\0\0\0\0", 16, 0, "is an AVIF; convert it");
    refused("\0\0\0\x18" "ftypheic\0\0\0\0", 16, 0, "is a HEIC; convert it");
    refused("\0\0\0\x18" "ftypmif1\0\0\0\0", 16, 0, "is a HEIC or AVIF; convert it");
    refused("RIFF....WAVEfmt ", 16, 0, "is not a picture");
    refused("<svg xmlns>", 11, 0, "an SVG");
    refused("\xff\xd8\xff", 3, 0, "ends too early");
    refused("\x89PNG\r\n\x1a\n", 8, 0, "ends too early");
    size_t n;
    char *file = photo(&n);
    refused(file, n, 510 * 381 - 1, "has 510x381 pixels, more than the 194309 that are read");
    im_image_free(im_picture_decode(c, file, n, "photo", &(im_decode_args){ .max_pixels = 510 * 381 }));
    ck_assert_msg(im_ok(c), "%s", im_error(c));
    for (size_t i = 0; i + 9 < n; i++)                         /* 65500 x 65500 in the header of a small file         */
        if ((uint8_t)file[i] == 0xff && (uint8_t)file[i + 1] == 0xc0) {
            memcpy(file + i + 5, "\xff\xdc\xff\xdc", 4);
            break;
        }
    refused(file, n, 0, "has 65500x65500 pixels, more than the 100000000 that are read");
    free(file);
    size_t k;
    json_t *row;
    json_array_foreach(rows, k, row)
        if (!strcmp(text_of(row, "name"), "PNG with alpha")) {
            uint8_t *png = file_of(row, &n);
            refused(png, n, 21 * 13 - 1, "has 21x13 pixels, more than the 272 that are read");
            free(png);
        }
}
END_TEST

/* A progressive file whose last scan comes 600 times: small, and long to decode. */
START_TEST(too_many_scans)
{
    size_t k;
    json_t *row;
    json_array_foreach(rows, k, row) {
        if (strcmp(text_of(row, "name"), "grey, progressive")) continue;
        size_t n, scan = 0;
        uint8_t *file = file_of(row, &n);
        for (size_t i = 0; i + 1 < n; i++)
            if (file[i] == 0xff && file[i + 1] == 0xda) scan = i;
        size_t part = n - 2 - scan;
        uint8_t *many = malloc(n + 600 * part);
        memcpy(many, file, n);
        for (size_t i = 0; i < 600; i++) memcpy(many + n - 2 + i * part, file + scan, part);
        memcpy(many + n - 2 + 600 * part, "\xff\xd9", 2);
        ck_assert_ptr_null(im_picture_decode(c, many, n + 600 * part, "many", NULL));
        ck_assert_str_eq(im_error(c), "many: is a JPEG of more than 500 scans; export it again");
        im_clear_error(c);
        free(many);
        free(file);
        return;
    }
    ck_abort_msg("no such row");
}
END_TEST

/* Four threads decode every file again and again, each with its own context. */
static void *work(void *arg)
{
    im_ctx *mine = im_ctx_new("ref", 1);
    size_t bad = 0, i;
    json_t *row;
    (void)arg;
    for (int round = 0; round < 3; round++)
        json_array_foreach(rows, i, row) {
            size_t n;
            uint8_t *file = file_of(row, &n);
            const json_t *pillow = json_object_get(row, "pillow");
            im_image *got = im_picture_decode(mine, file, n, text_of(row, "name"), NULL);
            if (json_is_object(pillow)) bad += !got || !same(mine, got, pillow);
            else bad += got != NULL;
            im_image_free(got);
            im_clear_error(mine);
            free(file);
        }
    im_ctx_free(mine);
    return bad ? rows : NULL;
}

START_TEST(threads)
{
    pthread_t t[4];
    for (int i = 0; i < 4; i++) ck_assert_int_eq(pthread_create(&t[i], NULL, work, NULL), 0);
    for (int i = 0; i < 4; i++) {
        void *bad;
        ck_assert_int_eq(pthread_join(t[i], &bad), 0);
        ck_assert_ptr_null(bad);
    }
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(golden_jpeg), ONCE(golden_turned), ONCE(golden_damaged), ONCE(golden_cut), ONCE(sixteen_bits),
        ONCE(shrinking), ONCE(errors),
        ONCE(too_many_scans), ONCE(threads)
    };
    return suite_run("picture", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
