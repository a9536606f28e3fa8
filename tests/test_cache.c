/* test_cache.c: a loader hands out the same batches with and without a cache in memory or on disk, and JPEGs shrunk while
 * they are decoded depend on the draws alone. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <jpeglib.h>
#include <sys/resource.h>

#include "loads.h"
#include "suite.h"

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

START_TEST(leaves_nothing_when_it_fails)
{
    char folder[700], file[700];
    struct rlimit old, small;
    snprintf(folder, sizeof folder, "%s/cache", dir);
    im_loader_args a = args_of(1);
    a.cache = IM_CACHE_DISK;
    a.cache_folder = folder;
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = 30000;
    signal(SIGXFSZ, SIG_IGN);
    ck_assert(!setrlimit(RLIMIT_FSIZE, &small));
    im_loader *l = im_loader_open(c, &a);
    setrlimit(RLIMIT_FSIZE, &old);
    ck_assert_ptr_null(l);
    ck_assert_msg(strstr(im_error(c), ".pictures: cannot write: File too large") != NULL, "%s", im_error(c));
    ck_assert_int_eq(cache_files(file, sizeof file), 0);
    im_clear_error(c);
    im_cancel(c);
    ck_assert_ptr_null(im_loader_open(c, &a));
    ck_assert_msg(strstr(im_error(c), "stopped") != NULL, "%s", im_error(c));
    ck_assert_int_eq(cache_files(file, sizeof file), 0);
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

int main(void)
{
    const suite_test tests[] = {
        ONCE(caches_in_memory), ONCE(reads_memory_not_files), ONCE(caches_on_disk),
        ONCE(leaves_nothing_when_it_fails), ONCE(shrinks_by_the_draws)
    };
    return suite_run("cache", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
