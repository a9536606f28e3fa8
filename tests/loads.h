/* loads.h: what the tests of loaders and caches share: a set of 23 pictures of different sizes, and digests of batches. */
#ifndef LOADS_H
#define LOADS_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/sets/loader.h"
#include "data/files/sha256.h"
#include "imago.h"
#include "scratch.h"

enum { PICTURES = 23, CLASSES = 3, BATCH = 5, STEPS = 5, EPOCHS = 3 };       /* 23 = 4 * 5 + 3                        */

static im_ctx *c;
static char dir[200], set_path[300];
static char warned[4000];
static im_dataset *d;
static im_recipe dino, plain;

static inline void on_warning(void *arg, const char *text)
{
    (void)arg;
    snprintf(warned, sizeof warned, "%s", text);
}

/* A picture of its own size and content, in class i % 3. */
static inline void put_picture(int i)
{
    char name[60];
    im_image *p = im_image_new(c, 20 + i, 50 - i, 3);
    uint32_t x = 12345u + (uint32_t)i;
    for (int k = 0; k < p->width * p->height * 3; k++) p->pixels[k] = (uint8_t)((x = x * 1664525u + 1013904223u) >> 24);
    snprintf(name, sizeof name, "set/%d", i % CLASSES);
    mkdir(scratch_path(dir, name), 0777);
    snprintf(name, sizeof name, "set/%d/%02d.png", i % CLASSES, i);
    ck_assert_msg(im_png_write(c, scratch_path(dir, name), p, NULL, 0, true), "%s", im_error(c));
    im_image_free(p);
}

static inline im_dataset *open_set(void)
{
    im_dataset *s = im_dataset_open(c, &(im_dataset_args){ .path = set_path, .min_classes = 2 });
    ck_assert_msg(s != NULL, "%s", im_error(c));
    return s;
}

static inline void setup(void)
{
    c = im_ctx_new("ref", 2);
    im_on_warning(c, on_warning, NULL);
    *warned = '\0';
    scratch_make(dir, sizeof dir);
    snprintf(set_path, sizeof set_path, "%s/set", dir);
    mkdir(set_path, 0777);
    for (int i = 0; i < PICTURES; i++) put_picture(i);
    d = open_set();
    ck_assert(im_recipe_named(c, "dino", 14, &dino) && im_recipe_named(c, "plain", 8, &plain));
    dino.crop[1].count = 2;
}

static inline void teardown(void)
{
    im_dataset_free(d);
    im_ctx_free(c);
    scratch_remove(dir);
}

static inline int number_of(int64_t i)                         /* of the picture that sample i is                   */
{
    return atoi(strrchr(d->samples[i].name, '/') + 1);
}

/* Cuts the file of sample i after n bytes. */
static inline void break_picture(int64_t i, long n)
{
    char path[700];
    snprintf(path, sizeof path, "%s/%s", set_path, d->samples[i].name);
    ck_assert_int_eq(truncate(path, n), 0);
    d->samples[i].bytes = (uint64_t)n;                         /* as if it had been so when the set was opened        */
}

static inline im_loader_args args_of(int threads)
{
    return (im_loader_args){ .data = d, .recipe = &dino, .batch = BATCH, .seed = 7, .shuffled = true, .bytes = true,
                             .threads = threads, .epochs = EPOCHS };
}

static inline im_loader *open_loader(im_loader_args a)
{
    im_loader *l = im_loader_open(c, &a);
    ck_assert_msg(l != NULL, "%s", im_error(c));
    return l;
}

/* Everything in a batch but the time it took. */
static inline void digest(const im_batch *b, int crops, char hex[65])
{
    im_sha256 *h = im_sha256_new(c);
    int64_t head[4] = { b->epoch, b->step, b->steps, b->n };
    im_sha256_add(c, h, head, sizeof head);
    for (int k = 0; k < b->kinds; k++) {
        size_t n = (size_t)b->n * (size_t)b->crops[k].count * (size_t)b->crops[k].size * (size_t)b->crops[k].size * 3;
        im_sha256_add(c, h, b->crops[k].u8, n);
    }
    im_sha256_add(c, h, b->labels, (size_t)b->n * sizeof *b->labels);
    im_sha256_add(c, h, b->indices, (size_t)b->n * sizeof *b->indices);
    im_sha256_add(c, h, b->meant, (size_t)b->n * sizeof *b->meant);
    for (int i = 0; i < b->n * crops; i++) {                   /* a draw has bytes between its fields: some of them   */
        const im_draw *w = &b->draws[i];
        const float f[] = { (float)w->x, (float)w->y,    (float)w->w,    (float)w->h,
                            w->sigma,    (float)w->flip, (float)w->width };
        im_sha256_add(c, h, f, sizeof f);
    }
    ck_assert(im_sha256_finish(c, h, hex));
}

/* The digests of all batches; n of them. */
static inline int run_all(im_loader_args a, char hex[][65])
{
    im_loader *l = open_loader(a);
    int n = 0;
    for (const im_batch *b; (b = im_loader_next(c, l)); n++) digest(b, im_recipe_crops(a.recipe), hex[n]);
    ck_assert_msg(im_ok(c), "%s", im_error(c));
    im_loader_close(l);
    return n;
}

static char want[EPOCHS * STEPS][65], got[EPOCHS * STEPS][65];

static inline void expect_same(im_loader_args a, int from)
{
    int n = run_all(a, got);
    ck_assert_int_eq(n, EPOCHS * STEPS - from);
    for (int i = 0; i < n; i++) ck_assert_str_eq(got[i], want[from + i]);
}

#endif
