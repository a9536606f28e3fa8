/* sets.h: what the tests of data sets share: a scratch folder, files that begin as pictures do, and opening a set that must
 * be good or bad. */
#ifndef SETS_H
#define SETS_H

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/sets/dataset.h"
#include "imago.h"
#include "scratch.h"

static im_ctx *c;
static char dir[200];
static char warned[4000];

static inline void on_warning(void *arg, const char *text)
{
    (void)arg;
    snprintf(warned, sizeof warned, "%s", text);
}

static inline void setup(void)
{
    c = im_ctx_new("ref", 2);
    im_on_warning(c, on_warning, NULL);
    *warned = '\0';
    scratch_make(dir, sizeof dir);
}

static inline void teardown(void)
{
    im_ctx_free(c);
    scratch_remove(dir);
}

#define JPEG "\xFF\xD8\xFF\xE0 a jpeg"
#define PNG "\x89PNG\r\n\x1A\n a png"

/* A file of dir, its folder with it; bytes NULL: something that begins as a JPEG and ends in its own name. */
static inline void put(const char *name, const char *bytes)
{
    char path[600], own[700];
    for (const char *p = strchr(name, '/'); p; p = strchr(p + 1, '/')) {
        snprintf(path, sizeof path, "%s/%.*s", dir, (int)(p - name), name);
        mkdir(path, 0777);
    }
    int n = snprintf(own, sizeof own, JPEG "%s", name);
    scratch_write(dir, name, bytes ? bytes : own, bytes ? strlen(bytes) : (size_t)n);
}

static inline im_dataset *open_at(const char *below, im_dataset_args a)
{
    static char path[700];
    snprintf(path, sizeof path, "%s%s%s", dir, *below ? "/" : "", below);
    a.path = path;
    return im_dataset_open(c, &a);
}

static inline im_dataset *good(const char *below, im_dataset_args a)
{
    im_dataset *d = open_at(below, a);
    ck_assert_msg(d != NULL, "%s", im_error(c));
    return d;
}

/* Every part must be in the message. */
static inline void bad(const char *below, im_dataset_args a, const char *const parts[])
{
    im_dataset *d = open_at(below, a);
    ck_assert_msg(!d, "was opened; wanted: %s", parts[0]);
    for (int i = 0; parts[i]; i++)
        ck_assert_msg(strstr(im_error(c), parts[i]) != NULL, "got: %s\nwanted: %s", im_error(c), parts[i]);
    im_clear_error(c);
}
#define PARTS(...) (const char *const[]){ __VA_ARGS__, NULL }
#define ARGS(...) ((im_dataset_args){ .path = NULL, __VA_ARGS__ })
#define NO_ARGS ((im_dataset_args){ .path = NULL })

static inline void expect_sample(const im_dataset *d, int64_t i, const char *name, int label, const char *caption)
{
    ck_assert_int_lt(i, d->count);
    ck_assert_str_eq(d->samples[i].name, name);
    ck_assert_int_eq(d->samples[i].label, label);
    if (!caption) ck_assert_ptr_null(d->samples[i].caption);
    else ck_assert_str_eq(d->samples[i].caption, caption);
}

static inline void expect_bytes(const im_dataset *d, int64_t i, const char *text)
{
    size_t n;
    uint8_t *b = im_dataset_read(c, d, i, &n);
    ck_assert_msg(b != NULL, "%s", im_error(c));
    ck_assert_uint_eq(n, strlen(text));
    ck_assert_mem_eq(b, text, n);
    free(b);
}

#endif
