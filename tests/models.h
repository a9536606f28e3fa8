/* models.h: what test_checkpoint.c and test_convert.c share: errors that must say something, and copies of a model that may
 * be damaged. */
#ifndef TEST_MODELS_H
#define TEST_MODELS_H

#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "data/files/sha256.h"
#include "models/checkpoints/checkpoint.h"
#include "want.h"

#define MODEL_A "tests/golden/models/a"
/* Model a as a single file that diffusers' reader accepts: a row [name, dtype, shape, SHA-256 of the bytes (32 digits)] for
 * each tensor. */
#define SINGLE_A "tests/golden/models/a_single_file.json.gz"

static inline const char *at(const char *name)
{
    return scratch_path(dir, name);
}

static inline void no_error(void)
{
    ck_assert_msg(im_ok(c), "%s", im_error(c));
}

/* The row of SINGLE_A with this name; its shape and bytes are those of e. */
static inline void in_single_a(const json_t *rows, const char *name, const im_st_entry *e)
{
    size_t i, axis;
    const json_t *row, *size;
    char hex[65];
    json_array_foreach(rows, i, row) {
        if (strcmp(json_string_value(json_array_get(row, 0)), name))
            continue;
        ck_assert_str_eq(e->dtype_name, json_string_value(json_array_get(row, 1)));
        int64_t values = 1, wanted = 1;
        json_array_foreach(json_array_get(row, 2), axis, size)
            wanted *= json_integer_value(size);
        for (int k = 0; k < e->ndim; k++)
            values *= e->shape[k];
        ck_assert_msg(values == wanted, "%s: %lld values, wanted %lld", name, (long long)values, (long long)wanted);
        ck_assert(im_sha256_of(c, e->data, e->bytes, hex));
        ck_assert_msg(!strncmp(hex, json_string_value(json_array_get(row, 3)), 32), "%s: other bytes", name);
        return;
    }
    ck_abort_msg("%s is not in %s", name, SINGLE_A);
}

static inline im_checkpoint *open_whole(const char *path)
{
    im_checkpoint *k = im_checkpoint_open(c, path);
    ck_assert_msg(k && im_checkpoint_check(k), "%s: %s", path, im_error(c));
    return k;
}

/* Model a as files that may be changed: diffusers' own folder, copied. */
static inline void copy_model_a(const char *to)
{
    char command[1500];
    snprintf(command, sizeof command, "cp -r %s '%s' && chmod -R u+w '%s'", MODEL_A, to, to);
    ck_assert_int_eq(system(command), 0);
}

/* Writes a safetensors file again without tensor `drop`, with `twist` in another shape, and with "extra.weight" where
 * asked; rename_to (may be NULL) gives tensors other names. */
static inline void rewrite(const char *file, const char *drop, const char *twist, bool extra,
                    void (*rename_to)(const char *name, char *out, size_t size))
{
    im_safetensors *s = im_st_open(c, file);
    no_error();
    int n = im_st_count(s), used = 0;
    im_st_entry *e = calloc((size_t)n + 1, sizeof *e);
    char (*names)[256] = calloc((size_t)n + 1, sizeof *names);
    ck_assert(e && names);
    for (int i = 0; i < n; i++) {
        if (drop && !strcmp(im_st_at(s, i)->name, drop))
            continue;
        e[used] = *im_st_at(s, i);
        snprintf(names[used], sizeof names[used], "%s", e[used].name);
        if (rename_to)
            rename_to(e[used].name, names[used], sizeof names[used]);
        e[used].name = names[used];
        if (twist && !strcmp(names[used], twist)) {
            e[used].ndim = 2;
            e[used].shape[0] = 1;
            e[used].shape[1] = (int64_t)(e[used].bytes / im_dtype_size((im_dtype)e[used].dtype));
        }
        used++;
    }
    if (extra) {
        e[used] = e[0];
        e[used++].name = "extra.weight";
    }
    char copy[700];
    snprintf(copy, sizeof copy, "%s.new", file);
    im_st_writer *w = im_st_create(c, copy, e, used, NULL, 0);
    for (int i = 0; i < used; i++)
        im_st_put(c, w, i, e[i].data, e[i].bytes);
    ck_assert_msg(im_st_finish(c, w), "%s", im_error(c));
    im_st_close(s);
    ck_assert_int_eq(rename(copy, file), 0);
    free(e);
    free(names);
}

#endif
