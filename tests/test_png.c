/* test_png.c: reading PNG files as Pillow does, resizing bit for bit as Pillow does (tests/golden/images.json.gz), texts,
 * writing, and damaged files. */
#define _GNU_SOURCE                                            /* memmem */
#include <check.h>
#include <jansson.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "context.h"
#include "data/images/png.h"
#include "data/images/resize.h"
#include "data/files/sha256.h"
#include "golden_json.h"
#include "imago.h"

/* The bytes of hex digits, malloc'd. */
static uint8_t *unhex(const char *hex, size_t *n)
{
    *n = strlen(hex) / 2;
    uint8_t *out = malloc(*n + 1);
    ck_assert_ptr_nonnull(out);
    for (size_t i = 0; i < *n; i++) {
        unsigned v;
        ck_assert_int_eq(sscanf(hex + 2 * i, "%2x", &v), 1);
        out[i] = (uint8_t)v;
    }
    return out;
}

static const char *text_of(const json_t *row, const char *key) { return json_string_value(json_object_get(row, key)); }

static int number_of(const json_t *row, const char *key, size_t i)
{
    const json_t *v = json_object_get(row, key);
    return (int)json_integer_value(json_is_array(v) ? json_array_get(v, i) : v);
}

static json_t *load_rows(void)
{
    return golden_json("tests/golden/images.json.gz");
}

/* The row's PNG file, written to the scratch folder. */
static const char *write_png_of(const json_t *row)
{
    size_t n;
    uint8_t *file = unhex(text_of(row, "png"), &n);
    const char *path = scratch_write(dir, "a.png", file, n);
    free(file);
    return path;
}

/* ---------------------------------------------------------------- reading */

START_TEST(golden_reading)
{
    json_t *j = load_rows(), *row;
    size_t i;
    int seen = 0;
    json_array_foreach(json_object_get(j, "rows"), i, row) {
        if (strcmp(text_of(row, "kind"), "read")) continue;
        im_image *got = im_picture_read(c, write_png_of(row));
        ck_assert_msg(got != NULL, "%s: %s", text_of(row, "name"), im_error(c));
        size_t n;
        uint8_t *want = unhex(text_of(row, "rgb"), &n);
        ck_assert_int_eq(got->width, number_of(row, "size", 0));
        ck_assert_int_eq(got->height, number_of(row, "size", 1));
        ck_assert_int_eq(got->channels, 3);
        for (size_t k = 0; k < n; k++)
            ck_assert_msg(got->pixels[k] == want[k], "%s: byte %zu is %d, Pillow has %d", text_of(row, "name"), k,
                          got->pixels[k], want[k]);
        free(want);
        im_image_free(got);
        seen++;
    }
    ck_assert_int_eq(seen, 60);
    json_decref(j);
}
END_TEST

START_TEST(golden_texts)
{
    json_t *j = load_rows(), *row, *v;
    size_t i;
    const char *key;
    int seen = 0;
    json_array_foreach(json_object_get(j, "rows"), i, row) {
        if (strcmp(text_of(row, "kind"), "text")) continue;
        const char *path = write_png_of(row);
        json_object_foreach(json_object_get(row, "texts"), key, v) {
            char *got = im_picture_text(c, path, key);
            ck_assert_msg(got != NULL, "%s: %s", key, im_error(c));
            ck_assert_str_eq(got, json_string_value(v));
            free(got);
            seen++;
        }
        ck_assert_ptr_null(im_picture_text(c, path, "absent"));
        ck_assert(im_ok(c));
    }
    ck_assert_int_eq(seen, 6);
    json_decref(j);
}
END_TEST

/* ---------------------------------------------------------------- damage */

/* A good file to damage: 64x48 noise with a text, so that it has several rows of data. */
static uint8_t *good_file(size_t *n)
{
    im_image *i = im_image_new(c, 64, 48, 3);
    for (int k = 0; k < 64 * 48 * 3; k++) i->pixels[k] = (uint8_t)(k * k >> 3);
    const im_text t = { "parameters", "a cat" };
    const char *path = scratch_path(dir, "good.png");
    ck_assert_msg(im_png_write(c, path, i, &t, 1, true), "%s", im_error(c));
    im_image_free(i);
    FILE *f = fopen(path, "rb");
    uint8_t *file = malloc(100000);
    *n = fread(file, 1, 100000, f);
    fclose(f);
    ck_assert_uint_lt(*n, 100000);
    return file;
}

static void expect_error(const char *path, const char *part)
{
    ck_assert_ptr_null(im_picture_read(c, path));
    ck_assert_msg(strstr(im_error(c), part) && strstr(im_error(c), path), "got: %s\nwanted: %s", im_error(c), part);
    im_clear_error(c);
}

START_TEST(truncated_everywhere)
{
    size_t n;
    uint8_t *file = good_file(&n);
    for (size_t k = 8; k < n - 100; k += k < 200 ? 1 : 37)     /* near the end: test_picture.c, golden_cut            */
        expect_error(scratch_write(dir, "cut.png", file, k),
                     "is a damaged PNG: the file ends too early; fetch or export it");
    for (size_t k = 1; k < 8; k++) expect_error(scratch_write(dir, "cut.png", file, k), "is not a picture; wanted a JPEG");
    free(file);
}
END_TEST

/* Any one wrong byte is seen, or harms nothing, as in the last chunk, or in the checksum of pixels: the pixels have another
 * one of their own. */
START_TEST(damaged_everywhere)
{
    size_t n;
    uint8_t *file = good_file(&n);
    im_image *good = im_picture_read(c, scratch_path(dir, "good.png"));
    int harmless = 0;
    for (size_t k = 0; k < n; k += k < 200 || k > n - 30 ? 1 : 101) {
        file[k] ^= 0x10;
        im_image *i = im_picture_read(c, scratch_write(dir, "bad.png", file, n));
        ck_assert_msg(!i == !im_ok(c), "byte %zu", k);
        ck_assert_msg(!i || !memcmp(i->pixels, good->pixels, 64 * 48 * 3), "byte %zu", k);
        harmless += i != NULL;
        im_image_free(i);
        im_clear_error(c);
        file[k] ^= 0x10;
    }
    ck_assert_msg(harmless <= 16, "%d", harmless);
    im_image_free(good);
    free(file);
}
END_TEST

/* A chunk to `to`; wrong: so is its CRC. Returns what is behind it. */
static uint8_t *put_chunk(uint8_t *to, const char *kind, const void *data, size_t n, bool wrong)
{
    memcpy(to + 4, kind, 4);
    memcpy(to + 8, data, n);
    uint32_t crc = (uint32_t)crc32(0, to + 4, (uInt)(4 + n)) ^ wrong;
    for (int i = 0; i < 4; i++) {
        to[i] = (uint8_t)(n >> (24 - 8 * i));
        to[8 + n + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
    }
    return to + 12 + n;
}

enum { SIDE = 40 };                                            /* of the picture that parts() puts together            */

typedef struct parts {                                         /* what is odd about a file                            */
    const char *before, *behind;                               /* kind of a chunk before and behind the pixels         */
    bool wrong_before, wrong_behind, wrong_idat, damaged;      /* their CRCs; and a byte of the pixels                */
    int cut, window;                                           /* bytes missing from zlib's end; bits that it claims   */
    bool animated;                                             /* frames: more than one, and the file ends in the next */
} parts;

static const char *put_parts(const parts *k, uint8_t pixels[3 * SIDE * SIDE])
{
    static uint8_t raw[SIDE * (1 + 3 * SIDE)], packed[20000], file[40000];
    uLongf n = sizeof packed;
    uint32_t state = 1;
    for (int y = 0; y < SIDE; y++) {
        uint8_t *row = raw + y * (1 + 3 * SIDE);
        for (int i = 0; i < 3 * SIDE; i++) row[1 + i] = y < SIDE / 2 ? (state = state * 1664525 + 1013904223) >> 24 :
                                           raw[(y - SIDE / 2) * (1 + 3 * SIDE) + 1 + i];      /* matches of 2420 bytes */
        memcpy(pixels + 3 * SIDE * y, row + 1, 3 * SIDE);
    }
    ck_assert_int_eq(compress(packed, &n, raw, sizeof raw), Z_OK);
    if (k->window) {
        packed[0] = (uint8_t)((k->window - 8) << 4 | 8);
        packed[1] = (uint8_t)(31 - packed[0] * 256 % 31);
    }
    if (k->damaged) packed[n / 2] ^= 1;
    memcpy(file, "\x89PNG\r\n\x1a\n", 8);
    uint8_t *to = put_chunk(file + 8, "IHDR", (uint8_t[]){ 0, 0, 0, SIDE, 0, 0, 0, SIDE, 8, 2, 0, 0, 0 }, 13, false);
    if (k->animated) to = put_chunk(to, "acTL", (uint8_t[]){ 0, 0, 0, 2, 0, 0, 0, 0 }, 8, false);
    if (k->before) to = put_chunk(to, k->before, "key\0text", 8, k->wrong_before);
    to = put_chunk(to, "IDAT", packed, n - (size_t)k->cut, k->wrong_idat);
    if (k->behind) to = put_chunk(to, k->behind, "key\0text", 8, k->wrong_behind);
    if (k->animated) to = put_chunk(put_chunk(to, "fcTL", raw, 26, false), "fdAT", packed, 900, false) - 100;
    else to = put_chunk(to, "IEND", "", 0, false);
    return scratch_write(dir, "parts.png", file, (size_t)(to - file));
}

/* Pillow 13 reads these to the same pixels, and refuses those below. */
START_TEST(odd_but_whole)
{
    static uint8_t want[3 * SIDE * SIDE];
    const parts whole[] = {
        { .before = "tEXt" }, { .behind = "tEXt", .wrong_behind = true }, { .behind = "vpAg", .wrong_behind = true },
        { .wrong_idat = true }, { .cut = 4 }, { .cut = 1 }, { .window = 8 }, { .window = 10 }, { .before = "ABCD" },
        { .behind = "ABCD" }, { .animated = true }, { .behind = "PLTE" },
    };
    for (size_t k = 0; k < sizeof whole / sizeof *whole; k++) {
        im_image *i = im_picture_read(c, put_parts(&whole[k], want));
        ck_assert_msg(i != NULL, "%zu: %s", k, im_error(c));
        ck_assert_msg(!memcmp(i->pixels, want, sizeof want), "%zu: other pixels", k);
        im_image_free(i);
    }
    expect_error(put_parts(&(parts){ .before = "tEXt", .wrong_before = true }, want), "the checksum of its tEXt is wrong");
    expect_error(put_parts(&(parts){ .before = "ABCD", .wrong_before = true }, want), "the checksum of its ABCD is wrong");
    expect_error(put_parts(&(parts){ .wrong_idat = true, .damaged = true }, want), "the checksum of its IDAT is wrong");
    expect_error(put_parts(&(parts){ .wrong_idat = true, .cut = 40 }, want), "the checksum of its IDAT is wrong");
    expect_error(put_parts(&(parts){ .cut = 40 }, want), "is a damaged PNG");
}
END_TEST

START_TEST(not_a_png)
{
    expect_error(scratch_write(dir, "x", "\xff\xd8\xff\xe0 JFIF", 10), "is a damaged JPEG: the file ends too early");
    expect_error(scratch_write(dir, "x", "GIF89a..", 8), "is a GIF; convert it to JPEG or PNG first");
    expect_error(scratch_write(dir, "x", "RIFF....WEBP", 12), "is a WebP; convert it");
    expect_error(scratch_write(dir, "x", "hello, world", 12), "is not a picture; wanted a JPEG or PNG");
    expect_error(scratch_write(dir, "x", "", 0), "is empty; wanted a JPEG or PNG");
    expect_error(scratch_path(dir, "absent.png"), "cannot open: No such file or directory; check the path");
    expect_error(dir, "is a folder; wanted a file");
    ck_assert_ptr_null(im_picture_text(c, scratch_path(dir, "absent.png"), "parameters"));
    ck_assert(!im_ok(c));
}
END_TEST

/* A header that promises more pixels than are read is refused before memory is asked for. */
START_TEST(too_many_pixels)
{
    size_t n;
    uint8_t *file = good_file(&n);
    const uint32_t width = 20000, height = 20000;
    for (int k = 0; k < 4; k++) {
        file[16 + k] = (uint8_t)(width >> (24 - 8 * k));
        file[20 + k] = (uint8_t)(height >> (24 - 8 * k));
    }
    uint32_t crc = 0xffffffff;                                 /* of type and data of IHDR                            */
    for (int k = 12; k < 29; k++) {
        crc ^= file[k];
        for (int b = 0; b < 8; b++) crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
    }
    for (int k = 0; k < 4; k++) file[29 + k] = (uint8_t)(~crc >> (24 - 8 * k));
    expect_error(scratch_write(dir, "big.png", file, n),
                 "has 20000x20000 pixels, more than the 178956970 that are read");
    free(file);
}
END_TEST

/* ---------------------------------------------------------------- writing */

START_TEST(write_and_read_again)
{
    const im_text texts[] = { { "parameters", "a caf\xc3\xa9\nSteps: 50, Sampler: x" },
                              { "imago", "{\"prompt\": \"\xe7\x8c\xab\"}" },
                              { "empty", "" } };
    for (int channels = 1; channels <= 3; channels += 2) {
        im_image *i = im_image_new(c, 7, 5, channels);
        for (int k = 0; k < 7 * 5 * channels; k++) i->pixels[k] = (uint8_t)(k * 37);
        const char *path = scratch_path(dir, channels == 1 ? "grey.png" : "rgb.png");
        ck_assert_msg(im_png_write(c, path, i, texts, 3, false), "%s", im_error(c));
        im_image *again = im_picture_read(c, path);
        for (int k = 0; k < 7 * 5 * 3; k++)
            ck_assert_int_eq(again->pixels[k], i->pixels[channels == 1 ? k / 3 : k]);
        for (int k = 0; k < 3; k++) {
            char *text = im_picture_text(c, path, texts[k].key);
            ck_assert_msg(text && !strcmp(text, texts[k].value), "%s: %s", texts[k].key, text ? text : im_error(c));
            free(text);
        }
        im_image_free(again);
        im_image_free(i);
    }
    ck_assert_int_eq(scratch_count(dir), 2);
}
END_TEST

/* tEXt where Latin-1 can hold the text, else iTXt: other programs read the first kind best. */
START_TEST(kinds_of_text)
{
    im_image *i = im_image_new(c, 1, 1, 1);
    const im_text latin = { "k", "caf\xc3\xa9" }, wide = { "k", "\xe7\x8c\xab" };
    char file[1000];
    for (int k = 0; k < 2; k++) {
        const char *path = scratch_path(dir, "t.png");
        ck_assert(im_png_write(c, path, i, k ? &wide : &latin, 1, true));
        FILE *f = fopen(path, "rb");
        size_t n = fread(file, 1, sizeof file, f);
        fclose(f);
        ck_assert_int_eq(memmem(file, n, "tEXtk\0caf\xe9", 10) != NULL, !k);
        ck_assert_int_eq(memmem(file, n, "iTXtk\0\0\0\0\0\xe7\x8c\xab", 13) != NULL, k);
    }
    im_image_free(i);
}
END_TEST

static void expect_unwritten(const char *path, const im_image *i, const im_text *t, bool force, const char *error)
{
    int before = scratch_count(dir);
    ck_assert(!im_png_write(c, path, i, t, t != NULL, force));
    ck_assert_msg(strstr(im_error(c), error), "got: %s\nwanted: %s", im_error(c), error);
    ck_assert_int_eq(scratch_count(dir), before);
    ck_assert(!im_png_write(c, path, i, NULL, 0, true));       /* nothing happens after an error                      */
    ck_assert_int_eq(scratch_count(dir), before);
    im_clear_error(c);
}

START_TEST(bad_writing)
{
    im_image *i = im_image_new(c, 300, 300, 3);
    for (int k = 0; k < 300 * 300 * 3; k++) i->pixels[k] = (uint8_t)(rand() >> 7);     /* does not compress           */
    const char *path = scratch_path(dir, "a.png");
    char *long_name = malloc(402);
    snprintf(long_name, 402, "%.100s/%0300d", dir, 7);
    expect_unwritten("/dev/null/no/a.png", i, NULL, false, "cannot write: Not a directory");
    expect_unwritten(dir, i, NULL, true, "is a folder; wanted the name of a file to write");
    expect_unwritten("/dev/null", i, NULL, true, "/dev/null: is not a regular file; wanted the name of a file to write");
    expect_unwritten("", i, NULL, true, "cannot write a file of an empty name; name a file");
    expect_unwritten(long_name, i, NULL, true, "cannot write: File name too long; choose a shorter name");
    expect_unwritten(path, NULL, NULL, false, "a.png: there is no picture to write");
    expect_unwritten(path, i, &(im_text){ "", "x" }, false,
                     "\"\" cannot be the name of a text in a PNG; wanted 1 to 79");
    expect_unwritten(path, i, &(im_text){ "a  b", "x" }, false, "\"a  b\" cannot be the name");
    expect_unwritten(path, i, &(im_text){ "a\xc3\xa9", "x" }, false, "cannot be the name of a text");
    expect_unwritten(path, i, &(im_text){ "a", "ab\xff" }, false, "a.png: text \"a\": byte 2 (0xff) is not UTF-8");
    ck_assert(im_png_write(c, path, i, NULL, 0, false));
    expect_unwritten(path, i, NULL, false,
                     "a.png: exists already and is kept; use --force to replace it, or another name");
    ck_assert(im_png_write(c, path, i, NULL, 0, true));
    free(long_name);
    im_image_free(i);
}
END_TEST

START_TEST(bad_pictures)
{
    ck_assert_ptr_null(im_image_new(c, 0, 5, 3));
    ck_assert_ptr_nonnull(strstr(im_error(c), "cannot make a picture of 0x5 with 3 channels; wanted at least 1x1"));
    im_clear_error(c);
    ck_assert_ptr_null(im_image_new(c, 5, 5, 4));
    im_clear_error(c);
    im_image *i = im_image_new(c, 2, 2, 3);
    ck_assert_ptr_null(im_resize(c, i, 0, 7, IM_FILTER_BOX));
    ck_assert_ptr_nonnull(strstr(im_error(c), "cannot resize a picture to 0x7; wanted at least 1x1"));
    im_image_free(i);
    im_image_free(NULL);
}
END_TEST

/* ---------------------------------------------------------------- resizing */

/* The same noise as in golden_images.py. */
static im_image *noise(int width, int height, int channels)
{
    im_image *i = im_image_new(c, width, height, channels);
    uint32_t state = 1;
    for (int k = 0; k < width * height * channels; k++) {
        state = state * 1664525 + 1013904223;
        i->pixels[k] = (uint8_t)(state >> 24);
    }
    return i;
}

START_TEST(golden_resizing)
{
    const char *const names[] = { "box", "bilinear", "bicubic", "lanczos" };
    json_t *j = load_rows(), *row;
    size_t r;
    int seen = 0;
    json_array_foreach(json_object_get(j, "rows"), r, row) {
        if (strcmp(text_of(row, "kind"), "resize")) continue;
        int filter = 0;
        while (strcmp(names[filter], text_of(row, "filter"))) filter++;
        im_image *in = noise(number_of(row, "from", 0), number_of(row, "from", 1), number_of(row, "channels", 0));
        int width = number_of(row, "to", 0), height = number_of(row, "to", 1);
        im_image *out = im_resize(c, in, width, height, (im_filter)filter);
        ck_assert_msg(out != NULL, "%s", im_error(c));
        ck_assert(out->width == width && out->height == height && out->channels == in->channels);
        char hex[65];
        ck_assert(im_sha256_of(c, out->pixels, (size_t)width * (size_t)height * (size_t)out->channels, hex));
        ck_assert_msg(!strcmp(hex, text_of(row, "sha256")), "%s: %dx%dx%d to %dx%d", names[filter], in->width,
                      in->height, in->channels, width, height);
        im_image_free(in);
        im_image_free(out);
        seen++;
    }
    ck_assert_int_eq(seen, 13 * 2 * 4);
    json_decref(j);
}
END_TEST

/* FIPS 180-4 examples, and the file and streaming forms. */
START_TEST(sha256_known)
{
    char hex[65];
    ck_assert(im_sha256_of(c, "abc", 3, hex));
    ck_assert_str_eq(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    ck_assert(im_sha256_file(c, scratch_write(dir, "empty", "", 0), hex));
    ck_assert_str_eq(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    im_sha256 *s = im_sha256_new(c);
    for (int k = 0; k < 1000; k++) ck_assert(im_sha256_add(c, s, "aaaaaaaaaa", 10));
    ck_assert(im_sha256_finish(c, s, hex));
    ck_assert_str_eq(hex, "27dd1f61b867b6a0f6e9d8a41c43231de52107e53ae424de8f847b821db4b711");
    ck_assert(!im_sha256_file(c, scratch_path(dir, "absent"), hex));
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(golden_reading), ONCE(golden_texts), ONCE(truncated_everywhere), ONCE(damaged_everywhere),
        ONCE(odd_but_whole), ONCE(not_a_png), ONCE(too_many_pixels), ONCE(write_and_read_again), ONCE(kinds_of_text),
        ONCE(bad_writing), ONCE(bad_pictures), ONCE(golden_resizing), ONCE(sha256_known),
    };
    return suite_run("png", setup, teardown, 120, tests, SUITE_COUNT(tests));
}
