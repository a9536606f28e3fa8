/* test_loader.c: what a loader hands out is a function of (seed, epoch, step) alone: the same for any number of threads,
 * any ring, any cache, from any starting point, whole or with broken pictures; and it ends cleanly at any time. */
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <jpeglib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/loader.h"
#include "data/order.h"
#include "data/picture.h"
#include "data/sha256.h"
#include "imago.h"
#include "scratch.h"

enum { PICTURES = 23, CLASSES = 3, BATCH = 5, STEPS = 5, EPOCHS = 3 };       /* 23 = 4 * 5 + 3                        */

static im_ctx *c;
static char dir[200], set_path[300];
static char warned[4000];
static im_dataset *d;
static im_recipe dino, plain;

static void on_warning(void *arg, const char *text)
{
    (void)arg;
    snprintf(warned, sizeof warned, "%s", text);
}

/* A picture of its own size and content, in class i % 3. */
static void put_picture(int i)
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

static im_dataset *open_set(void)
{
    im_dataset *s = im_dataset_open(c, &(im_dataset_args){ .path = set_path, .min_classes = 2 });
    ck_assert_msg(s != NULL, "%s", im_error(c));
    return s;
}

static void setup(void)
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

static void teardown(void)
{
    im_dataset_free(d);
    im_ctx_free(c);
    scratch_remove(dir);
}

static int number_of(int64_t i)                                /* of the picture that sample i is                    */
{
    return atoi(strrchr(d->samples[i].name, '/') + 1);
}

/* Cuts the file of sample i after n bytes. */
static void break_picture(int64_t i, long n)
{
    char path[700];
    snprintf(path, sizeof path, "%s/%s", set_path, d->samples[i].name);
    ck_assert_int_eq(truncate(path, n), 0);
    d->samples[i].bytes = (uint64_t)n;                         /* as if it had been so when the set was opened        */
}

static im_loader_args args_of(int threads)
{
    return (im_loader_args){ .data = d, .recipe = &dino, .batch = BATCH, .seed = 7, .shuffled = true, .bytes = true,
                             .threads = threads, .epochs = EPOCHS };
}

static im_loader *open_loader(im_loader_args a)
{
    im_loader *l = im_loader_open(c, &a);
    ck_assert_msg(l != NULL, "%s", im_error(c));
    return l;
}

/* Everything in a batch but the time it took. */
static void digest(const im_batch *b, int crops, char hex[65])
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
static int run_all(im_loader_args a, char hex[][65])
{
    im_loader *l = open_loader(a);
    int n = 0;
    for (const im_batch *b; (b = im_loader_next(c, l)); n++) digest(b, im_recipe_crops(a.recipe), hex[n]);
    ck_assert_msg(im_ok(c), "%s", im_error(c));
    im_loader_close(l);
    return n;
}

static char want[EPOCHS * STEPS][65], got[EPOCHS * STEPS][65];

static void expect_same(im_loader_args a, int from)
{
    int n = run_all(a, got);
    ck_assert_int_eq(n, EPOCHS * STEPS - from);
    for (int i = 0; i < n; i++) ck_assert_str_eq(got[i], want[from + i]);
}

/* ---------------------------------------------------------------- order */

START_TEST(orders)
{
    static uint32_t a[10000], b[10000];
    static uint8_t seen[10000];
    im_order_fill(a, 10000, false, 1, 2);
    for (int i = 0; i < 10000; i++) ck_assert_uint_eq(a[i], (uint32_t)i);
    for (int64_t n = 1; n <= 10000; n = n < 5 ? n + 1 : 3 * n - 5) {
        im_order_fill(a, n, true, 1, 2);
        memset(seen, 0, sizeof seen);
        for (int64_t i = 0; i < n; i++) seen[a[i]]++;
        for (int64_t i = 0; i < n; i++) ck_assert_uint_eq(seen[i], 1);
        im_order_fill(b, n, true, 1, 2);
        ck_assert_mem_eq(a, b, (size_t)n * sizeof *a);
    }
    const uint64_t other[][2] = { { 1, 3 }, { 2, 2 }, { 1 + (1ull << 40), 2 }, { 1, 2 + (1ull << 40) } };
    im_order_fill(a, 10000, true, 1, 2);
    for (int i = 0; i < 4; i++) {
        int same = 0;
        im_order_fill(b, 10000, true, other[i][0], other[i][1]);
        for (int k = 0; k < 10000; k++) same += a[k] == b[k];
        ck_assert_int_lt(same, 12);                            /* a random order meets 1 on average                   */
    }
}
END_TEST

/* All 24 orders of 4 equally often: chi squared of 23 degrees is above 49.7 in one case of a thousand. */
START_TEST(orders_are_uniform)
{
    int count[256] = { 0 };
    enum { TRIES = 24000 };
    double chi = 0;
    for (uint64_t e = 0; e < TRIES; e++) {
        uint32_t a[4];
        im_order_fill(a, 4, true, 99, e);
        count[a[0] << 6 | a[1] << 4 | a[2] << 2 | a[3]]++;
    }
    int kinds = 0;
    for (int i = 0; i < 256; i++)
        if (count[i]) {
            kinds++;
            chi += (count[i] - 1000.0) * (count[i] - 1000.0) / 1000;
        }
    ck_assert_int_eq(kinds, 24);
    ck_assert_msg(chi < 49.7, "chi squared %g", chi);
}
END_TEST

/* ---------------------------------------------------------------- what is handed out */

/* Crop by crop what the functions of augment.h make of the sample, told by order.h. */
START_TEST(hands_out_the_crops)
{
    im_loader_args a = args_of(2);
    a.epochs = 1;
    im_loader *l = open_loader(a);
    im_scratch *s = im_scratch_new();
    uint32_t order[PICTURES];
    im_order_fill(order, PICTURES, true, 7, 0);
    int64_t place = 0;
    ck_assert_int_eq(im_loader_steps(l), STEPS);
    for (const im_batch *b; (b = im_loader_next(c, l)); ) {
        ck_assert(b->epoch == 0 && b->step == place / BATCH && b->steps == STEPS && b->kinds == 2);
        ck_assert_int_eq(b->n, b->step == STEPS - 1 ? 3 : BATCH);
        for (int i = 0; i < b->n; i++, place++) {
            int64_t index = order[place];
            ck_assert(b->indices[i] == index && b->meant[i] == index && b->labels[i] == d->samples[index].label);
            size_t n;
            uint8_t *bytes = im_dataset_read(c, d, index, &n);
            im_image *p = im_picture_decode(c, bytes, n, "p", NULL);
            ck_assert(p != NULL);
            for (int k = 0; k < 3; k++) {
                uint8_t rgb[14 * 14 * 3];
                im_draw w;
                im_augment_draw(&dino, k, p->width, p->height, 7, 0, (uint64_t)index, &w);
                ck_assert(im_augment_apply(c, s, p, &dino, k, &w, rgb));
                const im_crops *kind = &b->crops[k ? 1 : 0];
                size_t one = (size_t)kind->size * (size_t)kind->size * 3, j = k ? (size_t)k - 1 : 0;
                ck_assert_int_eq(kind->size, k ? 6 : 14);
                ck_assert_int_eq(kind->count, k ? 2 : 1);
                ck_assert_mem_eq(kind->u8 + (j * (size_t)b->n + (size_t)i) * one, rgb, one);
                ck_assert(b->draws[i * 3 + k].x == w.x && b->draws[i * 3 + k].w == w.w);
            }
            im_image_free(p);
            free(bytes);
        }
    }
    ck_assert_msg(im_ok(c), "%s", im_error(c));
    ck_assert_int_eq(place, PICTURES);
    ck_assert_ptr_null(im_loader_next(c, l));                  /* over is over                                        */
    im_loader_stats r = im_loader_report(l);
    ck_assert(r.batches == STEPS && r.pictures == PICTURES && r.broken == 0 && r.waited > 0 && r.busy > 0);
    im_scratch_free(s);
    im_loader_close(l);
}
END_TEST

START_TEST(normalises)
{
    im_loader_args a = args_of(1);
    a.recipe = &plain;
    im_loader *bytes = open_loader(a);
    a.bytes = false;
    im_loader *reals = open_loader(a);
    static float f[BATCH * 8 * 8 * 3];
    for (int i = 0; i < STEPS; i++) {
        const im_batch *x = im_loader_next(c, bytes), *y = im_loader_next(c, reals);
        ck_assert(x && y && !x->crops[0].f32 && !y->crops[0].u8);
        im_normalise(x->crops[0].u8, (int64_t)x->n * 64, f);
        ck_assert_mem_eq(f, y->crops[0].f32, (size_t)x->n * 64 * 3 * sizeof *f);
    }
    im_loader_close(bytes);
    im_loader_close(reals);
}
END_TEST

START_TEST(same_for_any_threads)
{
    ck_assert_int_eq(run_all(args_of(1), want), EPOCHS * STEPS);
    for (int i = 1; i < EPOCHS * STEPS; i++) ck_assert_str_ne(want[i], want[0]);
    for (int threads = 1; threads <= 5; threads++)
        for (int ahead = 1; ahead < 9; ahead += 3) {
            im_loader_args a = args_of(threads);
            a.ahead = ahead;
            expect_same(a, 0);
        }
    im_loader_args a = args_of(2);
    a.seed = 8;
    run_all(a, got);
    ck_assert_str_ne(got[0], want[0]);
}
END_TEST

START_TEST(goes_on_where_it_was)
{
    run_all(args_of(2), want);
    for (int from = 0; from < EPOCHS * STEPS; from++) {
        im_loader_args a = args_of(2);
        a.first_epoch = from / STEPS;
        a.first_step = from % STEPS;
        expect_same(a, from);
    }
}
END_TEST

/* A ring that spans more epochs than one: a batch is the whole set. */
START_TEST(goes_through_short_epochs)
{
    im_loader_args a = args_of(3);
    a.batch = PICTURES;
    a.drop_last = true;
    a.ahead = 6;
    a.epochs = 12;
    a.recipe = &plain;
    im_loader *l = open_loader(a);
    for (int e = 0; e < 12; e++) {
        const im_batch *b = im_loader_next(c, l);
        uint32_t order[PICTURES];
        im_order_fill(order, PICTURES, true, 7, (uint64_t)e);
        ck_assert(b && b->epoch == e && b->step == 0 && b->n == PICTURES);
        for (int i = 0; i < PICTURES; i++) ck_assert_int_eq(b->indices[i], order[i]);
    }
    ck_assert_ptr_null(im_loader_next(c, l));
    im_loader_close(l);
}
END_TEST

START_TEST(drops_the_last)
{
    im_loader_args a = args_of(2);
    a.drop_last = true;
    a.shuffled = false;
    im_loader *l = open_loader(a);
    ck_assert_int_eq(im_loader_steps(l), 4);
    int64_t n = 0;
    for (const im_batch *b; (b = im_loader_next(c, l)); n++) {
        ck_assert_int_eq(b->n, BATCH);
        ck_assert_int_eq(b->indices[1], n % 4 * BATCH + 1);
    }
    ck_assert_int_eq(n, 4 * EPOCHS);
    im_loader_close(l);
}
END_TEST

/* ---------------------------------------------------------------- broken pictures */

START_TEST(replaces_broken_pictures)
{
    run_all(args_of(2), want);
    uint32_t order[PICTURES];
    im_order_fill(order, PICTURES, true, 7, 0);
    break_picture(order[3], 100);                              /* two that follow each other                          */
    break_picture(order[4], 60);
    break_picture(order[PICTURES - 1], 80);                    /* and the last one                                    */
    im_loader *l = open_loader(args_of(2));
    for (int64_t p = 0; p < PICTURES; ) {
        const im_batch *b = im_loader_next(c, l);
        ck_assert_msg(b != NULL, "%s", im_error(c));
        for (int i = 0; i < b->n; i++, p++) {
            int64_t shown = p == 3 || p == 4 ? order[5] : p == PICTURES - 1 ? order[0] : order[p];
            ck_assert(b->meant[i] == order[p] && b->indices[i] == shown && b->labels[i] == d->samples[shown].label);
            im_draw w;                                         /* of the place's own sample, on the other's size      */
            const im_draw *drawn = &b->draws[i * 3 + 1];
            im_augment_draw(&dino, 1, 20 + number_of(shown), 50 - number_of(shown), 7, 0, order[p], &w);
            ck_assert(drawn->x == w.x && drawn->y == w.y && drawn->w == w.w && drawn->h == w.h);
        }
        char hex[65];
        digest(b, 3, hex);                                     /* batches without broken ones are as they were        */
        if (b->step > 0 && b->step < STEPS - 1) ck_assert_str_eq(hex, want[b->step]);
    }
    int64_t n;
    const im_broken *list = im_loader_broken(c, l, &n);
    ck_assert_int_eq(n, 3);
    ck_assert_int_eq(im_loader_report(l).broken, 3);
    for (int i = 0; i < 3; i++) {
        if (i) ck_assert_str_lt(list[i - 1].name, list[i].name);
        ck_assert_msg(*list[i].reason && !strstr(list[i].reason, list[i].name), "%s", list[i].reason);
    }
    im_loader_close(l);
    ck_assert_int_eq(run_all(args_of(1), want), EPOCHS * STEPS);
    for (int threads = 2; threads < 5; threads++) expect_same(args_of(threads), 0);
    im_loader_args a = args_of(3);
    a.cache = IM_CACHE_RAM;
    expect_same(a, 0);
    a.cache = IM_CACHE_DISK;
    a.cache_folder = dir;
    expect_same(a, 0);
    a.first_epoch = 1;
    a.first_step = 3;
    expect_same(a, STEPS + 3);
}
END_TEST

START_TEST(stops_when_strict)
{
    uint32_t order[PICTURES];
    im_order_fill(order, PICTURES, true, 7, 0);
    break_picture(order[2 * BATCH + 1], 100);
    break_picture(order[2 * BATCH + 3], 100);
    for (int threads = 1; threads < 4; threads++) {
        im_loader_args a = args_of(threads);
        a.strict = true;
        im_loader *l = open_loader(a);
        ck_assert(im_loader_next(c, l) && im_loader_next(c, l));                    /* those before it are handed out */
        ck_assert_ptr_null(im_loader_next(c, l));
        ck_assert_msg(strstr(im_error(c), d->samples[order[2 * BATCH + 1]].name) != NULL, "%s", im_error(c));
        ck_assert_ptr_null(im_loader_next(c, l));
        im_loader_close(l);
        im_clear_error(c);
    }
}
END_TEST

START_TEST(says_when_nothing_is_left)
{
    for (int i = 0; i < PICTURES; i++) break_picture(i, 50);
    im_loader *l = open_loader(args_of(3));
    ck_assert_ptr_null(im_loader_next(c, l));
    ck_assert_msg(strstr(im_error(c), "none of its 23 pictures can be decoded") != NULL, "%s", im_error(c));
    im_loader_close(l);
}
END_TEST

START_TEST(knows_the_pixel_limit)
{
    im_loader_args a = args_of(2);
    a.max_pixels = 20 * 50 + 20;
    im_loader *l = open_loader(a);
    ck_assert(im_loader_next(c, l) && im_loader_next(c, l) && im_loader_next(c, l) && im_loader_next(c, l));
    int64_t n;
    ck_assert(im_loader_broken(c, l, &n) && n > 0);
    im_loader_close(l);
}
END_TEST

/* ---------------------------------------------------------------- caches */

static int cache_files(char *name, size_t size)
{
    int n = 0;
    DIR *f = opendir(scratch_path(dir, "cache"));
    for (struct dirent *e; f && (e = readdir(f)); )
        if (e->d_name[0] != '.') {
            snprintf(name, size, "%s/cache/%s", dir, e->d_name);
            n++;
        }
    if (f) closedir(f);
    return n;
}

START_TEST(caches_in_memory)
{
    run_all(args_of(2), want);
    im_loader_args a = args_of(2);
    a.cache = IM_CACHE_RAM;
    expect_same(a, 0);
    ck_assert_str_eq(warned, "");
    a.cache_bytes = 20000;                                     /* 23 pictures have about 70 kB                        */
    expect_same(a, 0);
    ck_assert_msg(strstr(warned, "the cache is full: ") && strstr(warned, "of 23 pictures"), "%s", warned);
    a.cache_bytes = 1;
    expect_same(a, 0);
    ck_assert_msg(strstr(warned, "full: 0 of 23") != NULL, "%s", warned);
    a.cache_bytes = 0;
    im_loader *l = open_loader(a);                             /* files are not asked for again                       */
    for (int i = 0; i < STEPS; i++) ck_assert(im_loader_next(c, l));
    im_loader_report(l);
    im_loader_close(l);
}
END_TEST

START_TEST(reads_memory_not_files)
{
    im_loader_args a = args_of(2);
    a.cache = IM_CACHE_RAM;
    im_loader *l = open_loader(a);
    for (int i = 0; i < STEPS; i++) ck_assert(im_loader_next(c, l));
    for (int i = 0; i < PICTURES; i++) break_picture(i, 0);    /* read ahead or not, all were decoded in epoch 0      */
    for (int i = 0; i < 2 * STEPS; i++) ck_assert_msg(im_loader_next(c, l) != NULL, "%s", im_error(c));
    ck_assert_int_eq(im_loader_report(l).broken, 0);
    im_loader_close(l);
}
END_TEST

START_TEST(caches_on_disk)
{
    char file[700], other[700];
    struct stat first, later;
    run_all(args_of(2), want);
    im_loader_args a = args_of(2);
    a.cache = IM_CACHE_DISK;
    a.cache_folder = scratch_path(dir, "cache");
    char folder[700];
    snprintf(folder, sizeof folder, "%s", a.cache_folder);
    a.cache_folder = folder;
    expect_same(a, 0);                                         /* made                                                */
    ck_assert_int_eq(cache_files(file, sizeof file), 1);
    ck_assert_int_eq(stat(file, &first), 0);
    expect_same(a, 0);                                         /* used                                                */
    ck_assert_int_eq(stat(file, &later), 0);
    ck_assert(first.st_ino == later.st_ino && first.st_mtim.tv_nsec == later.st_mtim.tv_nsec);
    ck_assert_str_eq(warned, "");
    ck_assert_int_eq(truncate(file, first.st_size - 1), 0);    /* damaged                                             */
    expect_same(a, 0);
    ck_assert_msg(strstr(warned, "it is made again") != NULL, "%s", warned);
    ck_assert(!stat(file, &later) && later.st_size == first.st_size);
    int fd = open(file, O_WRONLY);                             /* of another set: one digit of the hash               */
    ck_assert(fd >= 0 && pwrite(fd, "x", 1, 20) == 1 && !close(fd));
    *warned = '\0';
    expect_same(a, 0);
    ck_assert_msg(strstr(warned, "it is made again") != NULL, "%s", warned);
    put_picture(0);                                            /* a picture is written again: another time, another file */
    struct timespec times[2] = { { 5, 0 }, { 5, 0 } };
    ck_assert_int_eq(utimensat(AT_FDCWD, scratch_path(dir, "set/0/00.png"), times, 0), 0);
    im_dataset_free(d);
    a.data = d = open_set();
    expect_same(a, 0);
    ck_assert_int_eq(cache_files(other, sizeof other), 2);
}
END_TEST

/* ---------------------------------------------------------------- shrinking */

/* A JPEG of 640x480, smooth, through libjpeg. */
static void put_jpeg(const char *name)
{
    FILE *f = fopen(scratch_path(dir, name), "wb");
    struct jpeg_compress_struct j;
    struct jpeg_error_mgr e;
    ck_assert_ptr_nonnull(f);
    j.err = jpeg_std_error(&e);
    jpeg_create_compress(&j);
    jpeg_stdio_dest(&j, f);
    j.image_width = 640;
    j.image_height = 480;
    j.input_components = 3;
    j.in_color_space = JCS_RGB;
    jpeg_set_defaults(&j);
    jpeg_start_compress(&j, TRUE);
    for (int y = 0; y < 480; y++) {
        uint8_t row[640 * 3], *rows[] = { row };
        for (int x = 0; x < 640 * 3; x++) row[x] = (uint8_t)(x / 12 + y / 6 * (x % 3));
        jpeg_write_scanlines(&j, rows, 1);
    }
    jpeg_finish_compress(&j);
    jpeg_destroy_compress(&j);
    fclose(f);
}

static void set_of_jpegs(void)
{
    char name[60];
    for (int i = 0; i < PICTURES; i++) {
        snprintf(name, sizeof name, "set/%d/%02d.png", i % CLASSES, i);             /* a JPEG by content               */
        put_jpeg(name);
    }
    im_dataset_free(d);
    d = open_set();
}

/* Crops of 8 pixels from a JPEG of 640x480: decoded at 1/8 where that is allowed, which changes values a little, and is a
 * function of the draws alone. With `exact`, or a cache, it does not happen. */
START_TEST(shrinks_by_the_draws)
{
    set_of_jpegs();
    im_loader_args a = args_of(2), b = a;
    a.recipe = b.recipe = &plain;
    b.exact = true;
    im_loader *x = open_loader(a), *y = open_loader(b);
    int64_t differ = 0, n = 0;
    for (const im_batch *p, *q; (p = im_loader_next(c, x)) && (q = im_loader_next(c, y)); )
        for (int i = 0; i < p->n * 8 * 8 * 3; i++, n++) differ += p->crops[0].u8[i] != q->crops[0].u8[i];
    ck_assert_int_eq(n, (int64_t)EPOCHS * PICTURES * 8 * 8 * 3);
    ck_assert_int_gt(differ, 0);
    im_loader_close(x);
    im_loader_close(y);
    run_all(a, want);
    for (int threads = 1; threads < 4; threads++) {
        a.threads = threads;
        expect_same(a, 0);
    }
    run_all(b, want);
    a.cache = IM_CACHE_RAM;
    a.cache_bytes = 3 * 640 * 480 * 3 + 1000;                  /* room for three                                      */
    expect_same(a, 0);
    a.cache = IM_CACHE_DISK;
    a.cache_folder = dir;
    expect_same(a, 0);
}
END_TEST

/* ---------------------------------------------------------------- ends */

START_TEST(ends_at_any_time)
{
    for (int n = 0; n < 7; n++)
        for (int threads = 1; threads < 4; threads++) {
            im_loader *l = open_loader(args_of(threads));
            for (int i = 0; i < n; i++) ck_assert(im_loader_next(c, l));
            im_loader_close(l);
        }
    im_loader_close(NULL);
}
END_TEST

START_TEST(can_be_stopped)
{
    im_loader *l = open_loader(args_of(1));
    ck_assert(im_loader_next(c, l));
    im_cancel(c);
    const im_batch *b = NULL;
    for (int i = 0; i < EPOCHS * STEPS && im_ok(c); i++) b = im_loader_next(c, l);
    ck_assert(!b || im_ok(c));                                 /* batches that were ready may still come              */
    im_loader_close(l);
}
END_TEST

START_TEST(refuses_arguments)
{
    im_loader_args cases[6];
    const char *const parts[] = { "holds 23 pictures and a batch has 24",
                                  "the batch has 0",
                                  "step 5 of epoch 0; an epoch has "
                                  "steps 0 to 4",
                                  "999 threads",
                                  "needs a folder",
                                  "augmentation" };
    im_recipe odd = dino;
    odd.crop[0].p_flip = 2;
    for (int i = 0; i < 6; i++) cases[i] = args_of(1);
    cases[0].batch = 24;
    cases[0].drop_last = true;
    cases[1].batch = 0;
    cases[2].first_step = 5;
    cases[3].threads = 999;
    cases[4].cache = IM_CACHE_DISK;
    cases[5].recipe = &odd;
    for (int i = 0; i < 6; i++) {
        ck_assert_ptr_null(im_loader_open(c, &cases[i]));
        ck_assert_msg(strstr(im_error(c), parts[i]) != NULL, "got: %s\nwanted: %s", im_error(c), parts[i]);
        im_clear_error(c);
    }
    cases[0].drop_last = false;                                /* without it, a batch of all                          */
    im_loader *l = open_loader(cases[0]);
    ck_assert_int_eq(im_loader_next(c, l)->n, PICTURES);
    im_loader_close(l);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("loader");
    TCase *t = tcase_create("loader");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, orders);
    tcase_add_test(t, orders_are_uniform);
    tcase_add_test(t, hands_out_the_crops);
    tcase_add_test(t, normalises);
    tcase_add_test(t, same_for_any_threads);
    tcase_add_test(t, goes_on_where_it_was);
    tcase_add_test(t, goes_through_short_epochs);
    tcase_add_test(t, drops_the_last);
    tcase_add_test(t, replaces_broken_pictures);
    tcase_add_test(t, stops_when_strict);
    tcase_add_test(t, says_when_nothing_is_left);
    tcase_add_test(t, knows_the_pixel_limit);
    tcase_add_test(t, caches_in_memory);
    tcase_add_test(t, reads_memory_not_files);
    tcase_add_test(t, caches_on_disk);
    tcase_add_test(t, shrinks_by_the_draws);
    tcase_add_test(t, ends_at_any_time);
    tcase_add_test(t, can_be_stopped);
    tcase_add_test(t, refuses_arguments);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
