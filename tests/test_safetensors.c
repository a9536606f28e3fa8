/* test_safetensors.c: reading and writing safetensors files: files of the reference implementation come back byte for
 * byte, and every way in which a header, an index or a disk can be wrong has its message. */
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "context.h"
#include "data/files/file.h"
#include "data/files/safetensors.h"
#include "imago.h"
#include "warnings.h"

/* Writes a file of the header and `bytes` bytes of data, 0 1 2 ...; true length field unless `length` is given. */
static const char *write_st(const char *name, const char *header, size_t bytes)
{
    size_t n = strlen(header);
    uint8_t *file = malloc(8 + n + bytes);
    for (int i = 0; i < 8; i++) file[i] = (uint8_t)(n >> (8 * i));
    memcpy(file + 8, header, n);
    for (size_t i = 0; i < bytes; i++) file[8 + n + i] = (uint8_t)i;
    const char *path = scratch_write(dir, name, file, 8 + n + bytes);
    free(file);
    return path;
}

static void expect_error(const char *path, const char *part)
{
    im_safetensors *s = im_st_open(c, path);
    ck_assert_msg(!s, "%s was opened; wanted: %s", path, part);
    ck_assert_msg(strstr(im_error(c), part) && strstr(im_error(c), dir), "got: %s\nwanted: %s", im_error(c), part);
    ck_assert_ptr_null(im_st_open(c, path));                   /* nothing more after an error                         */
    im_clear_error(c);
}

/* ---------------------------------------------------------------- good files */

START_TEST(reads_entries)
{
    const char *path =
        write_st("a.safetensors",
                 "{\"__metadata__\":{\"format\":\"pt\",\"k\":\"v\"},"
                 "\"b\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[8,20]},\"a\":{\"dtype\":\"F32\",\"shape\":"
                 "[2],\"data_offsets\":[0,8]},"
                 "\"empty\":{\"dtype\":\"F32\",\"shape\":[0,9223372036854775807,4],\"data_offsets\":[8,8]},"
                 "\"scalar\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[20,28]}}        ",
                 28);
    im_safetensors *s = im_st_open(c, path);
    ck_assert_msg(s != NULL, "%s", im_error(c));
    ck_assert_int_eq(im_st_count(s), 4);
    const char *order[] = { "a", "empty", "b", "scalar" };     /* as they lie in the file                             */
    for (int i = 0; i < 4; i++) ck_assert_str_eq(im_st_at(s, i)->name, order[i]);
    const im_st_entry *b = im_st_find(s, "b"), *scalar = im_st_find(s, "scalar");
    ck_assert(b == im_st_at(s, 2) && b->dtype == IM_F16 && b->ndim == 2 && b->shape[1] == 3 && b->bytes == 12);
    ck_assert_str_eq(b->dtype_name, "F16");
    ck_assert_uint_eq(*(const uint8_t *)b->data, 8);
    ck_assert(scalar->dtype == -1 && scalar->ndim == 0 && scalar->bytes == 8 && *(const uint8_t *)scalar->data == 20);
    ck_assert_str_eq(scalar->dtype_name, "I64");
    ck_assert_ptr_null(im_st_find(s, "absent"));
    ck_assert_ptr_null(im_st_at(s, 4));
    ck_assert_ptr_null(im_st_at(s, -1));
    ck_assert_str_eq(im_st_metadata(s, "k"), "v");
    ck_assert_ptr_null(im_st_metadata(s, "absent"));
    im_st_close(s);
    im_st_close(NULL);
    ck_assert_ptr_null(im_st_find(NULL, "a"));
    ck_assert_int_eq(im_st_count(NULL), 0);
    s = im_st_open(c, write_st("null.safetensors", "{\"__metadata__\":null,\"t\":{\"dtype\":\"F32\",\"shape\":[1],"
                               "\"data_offsets\":[0,4]}}", 4));                 /* as the reference reads it       */
    ck_assert_msg(s != NULL, "%s", im_error(c));
    ck_assert_int_eq(im_st_count(s), 1);
    ck_assert_ptr_null(im_st_metadata(s, "k"));
    im_st_close(s);
}
END_TEST

START_TEST(reads_every_dtype)
{
    const struct { const char *name; int bytes, dtype; } types[] = {
        { "BOOL", 1, -1 },      { "U8", 1, -1 },      { "I8", 1, -1 },  { "F8_E4M3", 1, -1 },
        { "F8_E5M2", 1, -1 },   { "I16", 2, -1 },     { "U16", 2, -1 }, { "F16", 2, IM_F16 },
        { "BF16", 2, IM_BF16 }, { "I32", 4, IM_I32 }, { "U32", 4, -1 }, { "F32", 4, IM_F32 },
        { "F64", 8, -1 },       { "I64", 8, -1 },     { "U64", 8, -1 }, { "C64", 8, -1 },
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char header[200];
        snprintf(header, sizeof header, "{\"t\":{\"dtype\":\"%s\",\"shape\":[3,1],\"data_offsets\":[0,%d]}}",
                 types[i].name, 3 * types[i].bytes);
        im_safetensors *s = im_st_open(c, write_st("t", header, 3 * (size_t)types[i].bytes));
        ck_assert_msg(s != NULL, "%s", im_error(c));
        const im_st_entry *e = im_st_at(s, 0);
        ck_assert(e->dtype == types[i].dtype && e->bytes == 3 * (size_t)types[i].bytes &&
                  !strcmp(e->dtype_name, types[i].name));
        im_st_close(s);
    }
}
END_TEST

/* Headers of odd length: the tensors are still where their type may lie. */
START_TEST(aligns_tensors)
{
    char header[200];
    for (int pad = 0; pad < 9; pad++) {
        snprintf(header, sizeof header, "{\"x\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[0,20]},"
                 "\"y\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[20,23]},"
                 "\"z\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[23,31]}}%*s", pad, "");
        im_safetensors *s = im_st_open(c, write_st("odd", header, 31));
        ck_assert_msg(s != NULL, "%s", im_error(c));
        for (int i = 0; i < 3; i++) {
            const im_st_entry *e = im_st_at(s, i);
            const int first[] = { 0, 20, 23 };
            const size_t align[] = { 4, 1, 8 };
            ck_assert_uint_eq((uintptr_t)e->data % align[i], 0);
            im_st_release_pages(s, e);
            for (size_t k = 0; k < e->bytes; k++) ck_assert_int_eq(((const uint8_t *)e->data)[k], first[i] + (int)k);
        }
        im_st_close(s);
    }
}
END_TEST

START_TEST(empty_file_of_tensors)
{
    im_safetensors *s = im_st_open(c, write_st("none", "{}", 0));
    ck_assert_msg(s != NULL && im_st_count(s) == 0, "%s", im_error(c));
    im_st_close(s);
}
END_TEST

/* ---------------------------------------------------------------- bad headers */

#define DAMAGED "the header is damaged, fetch it again"

START_TEST(bad_headers)
{
#define T(dtype, shape, from, to)                                                                                      \
    "{\"t\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":[" #from "," #to "]}}"
    const struct { const char *header; size_t bytes; const char *error; } cases[] = {
        { "{\"t\":", 0, "m.safetensors (header):1: column 5: is not valid JSON" },
        { "{\"t\":{},\"t\":{}}", 0, "duplicate object key" },
        { "[]", 0,
          "does not begin like a safetensors file (header of 2 bytes; wanted at most 100000000, starting with '{')" },
        { "{\"t\":5}", 0, "m.safetensors: tensor t: has no text \"dtype\"; " DAMAGED },
        { "{\"t\":{\"dtype\":3}}", 0, "tensor t: has no text \"dtype\"; " DAMAGED },
        { T("\"Q7\"", "[1]", 0, 4), 4, "tensor t: has the unknown dtype \"Q7\"; convert it to F32, F16 or BF16" },
        { T("\"F32\"", "3", 0, 4), 4, "tensor t: has no list \"shape\"; " DAMAGED },
        { T("\"F32\"", "[1,-1]", 0, 4), 4, "tensor t: shape[1] is not a whole number >= 0; " DAMAGED },
        { T("\"F32\"", "[1.0]", 0, 4), 4, "tensor t: shape[0] is not a whole number >= 0; " DAMAGED },
        { T("\"F32\"", "[1,1,1,1,1,1,1,1,1]", 0, 4), 4, "tensor t: has 9 axes; wanted at most 8" },
        { T("\"F32\"", "[4294967296,4294967296]", 0, 4), 4,
          "tensor t: its shape has more elements than can be counted" },
        { T("\"F32\"", "[9223372036854775807]", 0, 4), 4, "tensor t: its shape has more elements than can be counted" },
        { T("\"F4\"", "[3]", 0, 1), 1, "tensor t: its shape has more elements than can be counted" },
        { T("\"F32\"", "[2]", 0, 4), 4, "tensor t: has 4 bytes, but its shape and dtype F32 need 8; " DAMAGED },
        { T("\"F16\"", "[2]", 0, 8), 8, "tensor t: has 8 bytes, but its shape and dtype F16 need 4; " DAMAGED },
        { T("\"F32\"", "[1]", 4, 0), 4, "\"data_offsets\" is not [begin, end] with 0 <= begin <= end" },
        { T("\"F32\"", "[1]", -4, 0), 4, "\"data_offsets\" is not [begin, end] with 0 <= begin <= end" },
        { T("\"F32\"", "[1]", 0.0, 4), 4, "\"data_offsets\" is not [begin, end] with 0 <= begin <= end" },
        { "{\"t\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "\"data_offsets\" is not [begin, end]" },
        { "{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4,
          "\"data_offsets\" is not [begin, end]" },
        { T("\"F32\"", "[2]", 0, 8), 4,
          "m.safetensors: is truncated: its tensors need 8 bytes, 4 are there; fetch it again" },
        { T("\"F32\"", "[1]", 0, 4), 6, "has 2 bytes after its last tensor; wanted none: the file is damaged" },
        { T("\"F32\"", "[1]", 4, 8), 8, "bytes 0 to 4, before tensor t, belong to no tensor; " DAMAGED },
        { T("\"U8\"", "[9223372036854775807]", 0, 9223372036854775807), 4, "more elements than can be counted" },
        { T("\"U8\"", "[1152921504606846975]", 0, 1152921504606846975), 4,
          "its tensors need 1152921504606846975 bytes, 4 are" },
        { T("\"U8\"", "[1]", 9223372036854775806, 9223372036854775807), 4,
          "its tensors need 9223372036854775807 bytes, 4 are" },
        { T("\"U8\"", "[1]", 0, 18446744073709551615), 4, "\"data_offsets\" is not [begin, end]" },
        { "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_"
          "offsets\":[2,5]}}",
          5, "tensors a and b overlap (at byte 2); " DAMAGED },
        { "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_"
          "offsets\":[1,3]}}",
          4, "tensors a and b overlap (at byte 1)" },
        { "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_"
          "offsets\":[6,8]}}",
          8, "bytes 4 to 6, before tensor b, belong to no tensor" },
        { "{}", 3, "has 3 bytes after its last tensor" },
        { "{\"__metadata__\":3}", 0, "\"__metadata__\" is not an object of texts" },
        { "{\"__metadata__\":{\"a\":1}}", 0, "__metadata__: \"a\" is not a text" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_error(write_st("m.safetensors", cases[i].header, cases[i].bytes), cases[i].error);
}
END_TEST

START_TEST(bad_lengths)
{
    const char *good = "{\"t\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}";
    char file[100] = { 0 };
    size_t n = strlen(good);
    memcpy(file + 8, good, n);
    for (size_t cut = 0; cut < 8 + n + 4; cut++) {             /* every shorter file is an error                      */
        file[0] = (char)n;
        const char *path = scratch_write(dir, "cut.safetensors", file, cut);
        expect_error(path, cut < 8       ? "which is too short for a safetensors file; fetch it again"
                           : cut < 8 + n ? "the file is truncated or damaged, fetch it again"
                                         : "is truncated: its tensors need 4 bytes");
    }
    const uint64_t lengths[] = { 0, 100000001, 1000000, UINT64_MAX, (uint64_t)1 << 63 };
    const char *errors[] = { "has a header of 0 bytes",
                             "does not begin like a safetensors file (header of 100000001 bytes",
                             "has a header of 1000000 bytes, but 57 bytes follow",
                             "(header of 18446744073709551615 bytes", "(header of 9223372036854775808 bytes" };
    for (int i = 0; i < 5; i++) {
        memcpy(file, &lengths[i], 8);
        expect_error(scratch_write(dir, "l.safetensors", file, 8 + n + 4), errors[i]);
    }
}
END_TEST

START_TEST(other_files)
{
    expect_error(
        scratch_write(dir, "model.ckpt", "PK\3\4 archive ....", 17),
        "model.ckpt: is a PyTorch pickle, which can run any "
        "program when it is read; convert it with: python3 -c \"import torch, safetensors.torch as s; d = torch.load(");
    expect_error(scratch_write(dir, "a.safetensors", "PK\3\4 archive ....", 17), "is a PyTorch pickle");
    expect_error(scratch_write(dir, "b.bin", "\x80\2}q\1X\2\0\0\0\0", 11), "is a PyTorch pickle");
    expect_error(scratch_write(dir, "b.pt", "something else, long", 20), "is a PyTorch pickle");
    expect_error(scratch_write(dir, "lfs.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0", 55),
                 "is a Git LFS pointer, not the file itself; fetch it with: git lfs pull");
    expect_error(scratch_write(dir, "x.safetensors", "<!DOCTYPE html><html></html>", 28),
                 "does not begin like a safetensors file");
    expect_error(scratch_path(dir, "absent.safetensors"), "cannot open: No such file or directory; check the path");
    expect_error(dir, "is a folder; wanted a file");
    im_safetensors *s =
        im_st_open(c, write_st("named.bin", "{\"t\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4));
    ck_assert_msg(s != NULL, "%s", im_error(c));               /* what counts is what the file is                     */
    im_st_close(s);
}
END_TEST

/* ---------------------------------------------------------------- shards */

START_TEST(reads_shards)
{
    im_safetensors *s = im_st_open(c, "tests/golden/models/c/unet/diffusion_pytorch_model.safetensors.index.json");
    ck_assert_msg(s != NULL, "%s", im_error(c));
    int total = 0;
    for (int i = 1; i <= 4; i++) {
        char path[200];
        snprintf(path, sizeof path, "tests/golden/models/c/unet/diffusion_pytorch_model-%05d-of-00004.safetensors", i);
        im_safetensors *shard = im_st_open(c, path);
        for (int k = 0; k < im_st_count(shard); k++) {
            const im_st_entry *a = im_st_at(shard, k), *b = im_st_find(s, a->name);
            ck_assert(b && a->bytes == b->bytes && a->ndim == b->ndim && !memcmp(a->data, b->data, a->bytes));
            im_st_release_pages(s, b);
            ck_assert(!memcmp(a->data, b->data, a->bytes));
        }
        total += im_st_count(shard);
        im_st_close(shard);
    }
    ck_assert_int_eq(total, im_st_count(s));
    ck_assert_int_gt(total, 100);
    im_st_close(s);
}
END_TEST

static void expect_index_error(const char *text, const char *part)
{
    expect_error(scratch_write(dir, "m.safetensors.index.json", text, strlen(text)), part);
}

START_TEST(bad_shards)
{
    write_st("1.safetensors", "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
    write_st("2.safetensors", "{\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
    write_st("3.safetensors", "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
    const char *good = "{\"metadata\":{\"total_size\":8,\"format\":\"pt\"},\"weight_map\":{\"a\":\"1.safetensors\","
                       "\"b\":\"./2.safetensors\"}}";
    im_safetensors *s = im_st_open(c, scratch_write(dir, "m.json", good, strlen(good)));
    ck_assert_msg(s && im_st_count(s) == 2 && !strcmp(im_st_metadata(s, "format"), "pt"), "%s", im_error(c));
    ck_assert_ptr_null(im_st_metadata(s, "total_size"));
    im_st_close(s);
    s = im_st_open(c, scratch_write(dir, "m.json", "{\"weight_map\":{}}", 17));
    ck_assert(s && im_st_count(s) == 0 && !im_st_metadata(s, "format"));
    im_st_close(s);
    expect_index_error("{}", "has no object \"weight_map\", so it is no index of shards; wanted one, a .safetensors file");
    expect_index_error("{\"weight_map\":{\"a\":3}}", "weight_map: \"a\" is not a text; wanted the name of a shard");
    expect_index_error("{\"weight_map\":{\"a\":\"4.safetensors\"}}", "4.safetensors: is missing, though ");
    expect_index_error("{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"3.safetensors\"}}",
                       "3.safetensors: tensor a is also in ");
    write_st("4.safetensors",
             "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"x\":{\"dtype\":\"U8\",\"shape\":[2],"
             "\"data_offsets\":[2,4]}}",
             4);
    const char *escapes[] = { "../1.safetensors", "/etc/passwd", "", "..", "a/../../1.safetensors", "a/.." };
    for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++) {
        char text[200];
        snprintf(text, sizeof text, "{\"weight_map\":{\"a\":\"%s\"}}", escapes[i]);
        expect_index_error(text, "weight_map: tensor a is said to be in \"");
    }
    expect_index_error("{\"weight_map\":{\"a\":\"1.safetensors\",\"a\":\"1.safetensors\"}}", "duplicate object key");
    expect_index_error("{\"weight_map\"", "is not valid JSON");
}
END_TEST

/* The reference, and diffusers, read all shards that an index names and nothing else of it. */
START_TEST(shards_are_believed)
{
    static const struct { const char *map; int n; const char *first; } cases[] = {
        { "\"b\":\"1.safetensors\"", 1, "2 tensors it does not say which shard holds them, the first is b;" },
        { "\"a\":\"2.safetensors\",\"b\":\"1.safetensors\"", 3, "3 tensors it does not say which shard" },
        { "\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"", 3, "1 tensors it does not say which shard" },
        { "\"a\":\"1.safetensors\",\"b\":\"2.safetensors\",\"x\":\"2.safetensors\"", 3, NULL },
    };
    write_st("1.safetensors", "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4],\"x\":1}}", 4);
    im_on_warning(c, on_warning, NULL);
    write_st("2.safetensors", "{\"b\":{\"dtype\":\"F8_E4M3FNUZ\",\"shape\":[2],\"data_offsets\":[0,2]},\"x\":{\"dtype\":"
             "\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}", 4);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[200];
        snprintf(text, sizeof text, "{\"weight_map\":{%s}}", cases[i].map);
        warnings[0] = '\0';
        im_safetensors *s = im_st_open(c, scratch_write(dir, "m.json", text, strlen(text)));
        ck_assert_msg(s && im_st_count(s) == cases[i].n, "%s: %s", text, im_error(c));
        ck_assert_msg(cases[i].first ? strstr(warnings, cases[i].first) != NULL : !*warnings, "%s: %s", text, warnings);
        im_st_close(s);
    }
    im_on_warning(c, NULL, NULL);
}
END_TEST

/* ---------------------------------------------------------------- writing */

static void expect_same_file(const char *a, const char *b)
{
    im_map x, y;
    ck_assert(im_map_open(c, &x, a) && im_map_open(c, &y, b));
    ck_assert_msg(x.bytes == y.bytes && !memcmp(x.data, y.data, x.bytes), "%s and %s differ", a, b);
    im_map_close(&x);
    im_map_close(&y);
}

/* Files written by the reference implementation, read and written again, are the same byte for byte. */
START_TEST(writes_as_the_reference)
{
    const char *paths[] = { "tests/golden/models/a/text_encoder/model.safetensors", "tests/golden/measures.safetensors",
                            "tests/golden/models/a/vae/diffusion_pytorch_model.safetensors",
                            "tests/golden/models/b/unet/diffusion_pytorch_model.safetensors" };
    for (size_t k = 0; k < sizeof paths / sizeof *paths; k++) {
        im_safetensors *s = im_st_open(c, paths[k]);
        ck_assert_msg(s != NULL, "%s", im_error(c));
        int n = im_st_count(s);
        im_st_entry *e = malloc((size_t)n * sizeof *e);
        for (int i = 0; i < n; i++) e[n - 1 - i] = *im_st_at(s, i);
        const char *format = im_st_metadata(s, "format"), *const meta[] = { "format", format };
        const char *path = scratch_path(dir, "again.safetensors");
        im_st_writer *w = im_st_create(c, path, e, n, meta, format != NULL);
        for (int i = 0; i < n; i++) ck_assert_msg(im_st_put(c, w, i, e[i].data, e[i].bytes), "%s", im_error(c));
        ck_assert_msg(im_st_finish(c, w), "%s", im_error(c));
        expect_same_file(paths[k], path);
        free(e);
        im_st_close(s);
    }
}
END_TEST

START_TEST(writes_odd_things)
{
    const im_st_entry e[] = {
        { .name = "u8 \"quoted\" \xc3\xa4\n", .dtype = -1, .dtype_name = "U8", .ndim = 1, .shape = { 3 } },
        { .name = "none", .dtype = IM_F32, .ndim = 2, .shape = { 0, 7 } },
        { .name = "f64", .dtype = -1, .dtype_name = "F64", .ndim = 0 },
        { .name = "", .dtype = IM_BF16, .ndim = 8, .shape = { 1, 1, 1, 1, 1, 1, 1, 2 } }
    };
    const double d = 2.5;
    const char *const meta[] = { "a", "1", "b", "line\n\"x\"" }, *path = scratch_path(dir, "odd.safetensors");
    im_st_writer *w = im_st_create(c, path, e, 4, meta, 2);
    ck_assert_msg(w != NULL, "%s", im_error(c));
    ck_assert(im_st_put(c, w, 2, &d, 8) && im_st_put(c, w, 0, "abc", 3) && im_st_put(c, w, 3, "wxyz", 4));
    ck_assert_msg(im_st_finish(c, w), "%s", im_error(c));      /* the tensor without bytes needs no put               */
    im_safetensors *s = im_st_open(c, path);
    ck_assert_msg(s != NULL, "%s", im_error(c));
    ck_assert(*(const double *)im_st_find(s, "f64")->data == 2.5 && !memcmp(im_st_find(s, e[0].name)->data, "abc", 3));
    ck_assert(!memcmp(im_st_find(s, "")->data, "wxyz", 4) && im_st_find(s, "")->shape[7] == 2 &&
              im_st_find(s, "none")->bytes == 0);
    ck_assert_str_eq(im_st_metadata(s, "b"), "line\n\"x\"");
    im_st_close(s);
    ck_assert_int_eq(scratch_count(dir), 1);
}
END_TEST

static void expect_no_writer(const im_st_entry *e, int n, const char *const meta[], int pairs, const char *path,
                             const char *part)
{
    int before = scratch_count(dir);
    im_st_writer *w = im_st_create(c, path, e, n, meta, pairs);
    ck_assert_msg(!w && strstr(im_error(c), part) != NULL, "got: %s\nwanted: %s", im_error(c), part);
    ck_assert(!im_st_put(c, w, 0, "x", 1) && !im_st_finish(c, w));                     /* NULL is fine                */
    im_st_abandon(w);
    im_clear_error(c);
    ck_assert_int_eq(scratch_count(dir), before);
}

START_TEST(bad_writers)
{
    const char *path = scratch_path(dir, "w.safetensors");
    const im_st_entry good = { .name = "t", .dtype = IM_F32, .ndim = 1, .shape = { 1 } };
    im_st_entry two[2] = { good, good }, e;
    expect_no_writer(two, 2, NULL, 0, path, "tensor \"t\": is given twice, or its name is not UTF-8");
    e = good, e.name = NULL;
    expect_no_writer(&e, 1, NULL, 0, path, "tensor 0 has no name that a safetensors file can hold");
    e = good, e.name = "__metadata__";
    expect_no_writer(&e, 1, NULL, 0, path, "tensor 0 has no name that a safetensors file can hold");
    e = good, e.name = "\xff";
    expect_no_writer(&e, 1, NULL, 0, path, "is given twice, or its name is not UTF-8");
    e = good, e.dtype = 17;
    expect_no_writer(&e, 1, NULL, 0, path, "tensor t: cannot be written as dtype 17");
    e = good, e.dtype = -1;
    expect_no_writer(&e, 1, NULL, 0, path, "tensor t: cannot be written as dtype -1");
    e = good, e.ndim = 9;
    expect_no_writer(&e, 1, NULL, 0, path, "tensor t: has 9 axes; wanted 0 to 8");
    e = good, e.shape[0] = INT64_MAX;
    expect_no_writer(&e, 1, NULL, 0, path, "tensor t: has more elements than can be counted");
    e = good, e.shape[0] = -1;
    expect_no_writer(&e, 1, NULL, 0, path, "tensor t: has more elements than can be counted");
    expect_no_writer(&good, 1, (const char *const[]){ "k", "\xff" }, 1, path, "metadata \"k\": is not UTF-8 text");
    expect_no_writer(&good, 1, NULL, 0, "/proc/no/w", "/proc/no: cannot make the folder");
    expect_no_writer(&good, 1, NULL, 0, dir, "is a folder; wanted the name of a file to write");
}
END_TEST

START_TEST(unfinished_writers)
{
    const char *path = scratch_write(dir, "w.safetensors", "old", 3);
    const im_st_entry e[] = { { .name = "a", .dtype = IM_F32, .ndim = 1, .shape = { 1 } },
                              { .name = "b", .dtype = IM_F16, .ndim = 1, .shape = { 3 } } };
    im_st_writer *w = im_st_create(c, path, e, 2, NULL, 0);
    ck_assert(im_st_put(c, w, 0, "1234", 4));
    ck_assert(!im_st_finish(c, w));
    ck_assert_ptr_nonnull(strstr(im_error(c), "w.safetensors: tensor b was never written"));
    im_clear_error(c);
    w = im_st_create(c, path, e, 2, NULL, 0);
    ck_assert(im_st_put(c, w, 0, "1234", 4) && !im_st_put(c, w, 1, "1234", 4));
    ck_assert_ptr_nonnull(strstr(im_error(c), "w.safetensors: tensor b: was given 4 bytes; wanted 6"));
    im_clear_error(c);
    ck_assert(!im_st_put(c, w, 1, "123456", 6) && !im_st_finish(c, w));                /* it stays failed             */
    im_clear_error(c);
    w = im_st_create(c, path, e, 2, NULL, 0);
    ck_assert(!im_st_put(c, w, 2, "1234", 4));
    ck_assert_ptr_nonnull(strstr(im_error(c), "there is no tensor 2; wanted 0 to 1"));
    im_clear_error(c);
    im_st_abandon(w);
    size_t n;
    char *text = im_read_file(c, path, 100, &n);
    ck_assert_str_eq(text, "old");
    free(text);
    ck_assert_int_eq(scratch_count(dir), 1);
}
END_TEST

/* A limit on file sizes stands in for a full disk: it is known before any tensor was computed. */
START_TEST(full_disk)
{
    struct rlimit old, small = { 4096, 4096 };
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    const im_st_entry e = { .name = "t", .dtype = IM_F32, .ndim = 1, .shape = { 2000 } };
    ck_assert(!setrlimit(RLIMIT_FSIZE, &small));
    im_st_writer *w = im_st_create(c, scratch_path(dir, "w"), &e, 1, NULL, 0);
    setrlimit(RLIMIT_FSIZE, &old);
    ck_assert_ptr_null(w);
    ck_assert_ptr_nonnull(strstr(im_error(c), "/w: cannot write: File too large"));
    ck_assert_int_eq(scratch_count(dir), 0);
}
END_TEST

enum { THREADS = 8, EACH = 50, FLOATS = 1000 };
typedef struct job { im_st_writer *w; int from; bool ok; } job;

static void *put_some(void *arg)
{
    job *j = arg;
    float x[FLOATS];
    for (int i = j->from; i < j->from + EACH; i++) {
        for (int k = 0; k < FLOATS; k++) x[k] = (float)(i * FLOATS + k);
        j->ok = im_st_put(c, j->w, i, x, sizeof x) && j->ok;
    }
    return NULL;
}

START_TEST(threads_put_at_once)
{
    static im_st_entry e[THREADS * EACH];
    static char names[THREADS * EACH][12];
    for (int i = 0; i < THREADS * EACH; i++) {
        snprintf(names[i], sizeof names[i], "%d", i);
        e[i] = (im_st_entry){ .name = names[i], .dtype = IM_F32, .ndim = 1, .shape = { FLOATS } };
    }
    const char *path = scratch_path(dir, "threads");
    im_st_writer *w = im_st_create(c, path, e, THREADS * EACH, NULL, 0);
    pthread_t threads[THREADS];
    job jobs[THREADS];
    for (int t = 0; t < THREADS; t++) {
        jobs[t] = (job){ w, t * EACH, true };
        ck_assert(!pthread_create(&threads[t], NULL, put_some, &jobs[t]));
    }
    for (int t = 0; t < THREADS; t++) ck_assert(!pthread_join(threads[t], NULL) && jobs[t].ok);
    ck_assert_msg(im_st_finish(c, w), "%s", im_error(c));
    im_safetensors *s = im_st_open(c, path);
    for (int i = 0; i < THREADS * EACH; i++)
        for (int k = 0; k < FLOATS; k++)
            ck_assert(((const float *)im_st_find(s, names[i])->data)[k] == (float)(i * FLOATS + k));
    im_st_close(s);
}
END_TEST

/* Released pages leave memory and come back from the file when read again; the neighbours stay. */
START_TEST(releases_pages)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = 64;
    const im_st_entry e[] = { { .name = "a", .dtype = IM_F32, .ndim = 1, .shape = { 100 } },
                              { .name = "b", .dtype = IM_F32, .ndim = 1, .shape = { (int64_t)(pages * page / 4) } },
                              { .name = "c", .dtype = IM_F32, .ndim = 1, .shape = { 100 } } };
    uint8_t *bytes = malloc(pages * page);
    for (size_t i = 0; i < pages * page; i++) bytes[i] = (uint8_t)(i * 31 >> 3);
    const char *path = scratch_path(dir, "p");
    im_st_writer *w = im_st_create(c, path, e, 3, NULL, 0);
    for (int i = 0; i < 3; i++) ck_assert(im_st_put(c, w, i, bytes, (size_t)e[i].shape[0] * 4));
    ck_assert_msg(im_st_finish(c, w), "%s", im_error(c));
    im_safetensors *s = im_st_open(c, path);
    for (int i = 0; i < 3; i++) {
        const im_st_entry *x = im_st_find(s, e[i].name);
        ck_assert(!memcmp(x->data, bytes, x->bytes));
        im_st_release_pages(s, x);
        im_st_release_pages(s, x);
        ck_assert(!memcmp(x->data, bytes, x->bytes));
    }
    im_st_release_pages(s, NULL);
    im_st_close(s);
    free(bytes);
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(reads_entries), ONCE(reads_every_dtype), ONCE(aligns_tensors), ONCE(empty_file_of_tensors),
        ONCE(bad_headers), ONCE(bad_lengths), ONCE(other_files), ONCE(reads_shards), ONCE(bad_shards),
        ONCE(shards_are_believed),
        ONCE(writes_as_the_reference), ONCE(writes_odd_things), ONCE(bad_writers), ONCE(unfinished_writers),
        ONCE(full_disk), ONCE(threads_put_at_once), ONCE(releases_pages),
    };
    return suite_run("safetensors", setup, teardown, 60, tests, SUITE_COUNT(tests));
}
