/* bench_jpegs.c: JPEGs for `imago bench train`, like those that bench/rivals/torch_train.py makes: a 16x16 field of colours
 * enlarged to 256x256, with noise of 8 levels, about 35 kB a file. */
#include "cli/bench_jpegs.h"

#include <stdio.h>

#include <errno.h>
#include <jpeglib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/files/file.h"

enum { SIDE = 256, FIELD = 16, QUALITY = 90, CLASSES = 2 };

static uint32_t next(uint32_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 17;
    return *s ^= *s << 5;                                      /* xorshift32, Marsaglia 2003                          */
}

static void draw(unsigned char *rgb, uint32_t seed)
{
    uint32_t s = seed * 2654435761u + 1;
    int field[FIELD + 1][FIELD + 1][3];
    for (int i = 0; i < (FIELD + 1) * (FIELD + 1) * 3; i++)
        (&field[0][0][0])[i] = (int)(next(&s) & 255);
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            for (int k = 0; k < 3; k++) {
                int step = SIDE / FIELD, i = y / step, j = x / step, v = y % step, u = x % step;
                int top = field[i][j][k] * (step - u) + field[i][j + 1][k] * u;
                int low = field[i + 1][j][k] * (step - u) + field[i + 1][j + 1][k] * u;
                uint32_t r = next(&s);
                int grain = (int)((r & 31) + (r >> 8 & 31)) - 31;
                int value = (top * (step - v) + low * v) / (step * step) + grain / 2;
                *rgb++ = (unsigned char)(value < 0 ? 0 : value > 255 ? 255 : value);
            }
}

/* The whole file in memory; libjpeg ends the program only for lack of memory, of which this takes little. */
static bool write_one(im_ctx *c, const char *path, uint32_t seed)
{
    struct jpeg_compress_struct j;
    struct jpeg_error_mgr errors;
    static unsigned char rgb[SIDE * SIDE * 3];
    unsigned char *out = NULL;
    unsigned long n = 0;
    draw(rgb, seed);
    j.err = jpeg_std_error(&errors);
    jpeg_create_compress(&j);
    jpeg_mem_dest(&j, &out, &n);
    j.image_width = j.image_height = SIDE;
    j.input_components = 3;
    j.in_color_space = JCS_RGB;
    jpeg_set_defaults(&j);
    jpeg_set_quality(&j, QUALITY, TRUE);
    jpeg_start_compress(&j, TRUE);
    for (JSAMPROW row = rgb; j.next_scanline < j.image_height; row += 3 * SIDE)
        jpeg_write_scanlines(&j, &row, 1);
    jpeg_finish_compress(&j);
    jpeg_destroy_compress(&j);
    bool ok = im_write_file(c, path, out, n, true);
    free(out);
    return ok;
}

static void name_of(const char *folder, int i, char *out, size_t size)
{
    snprintf(out, size, "%s/class%d/%04d.jpg", folder, i % CLASSES, i);
}

char *bench_jpegs_make(im_ctx *c, int count)
{
    char path[4200];
    const char *tmp = getenv("TMPDIR");
    char *folder = im_join(c, tmp && *tmp ? tmp : "/tmp", "imago-bench-XXXXXX");
    if (!folder)
        return NULL;
    if (!mkdtemp(folder)) {
        im_fail(c, "%s: %s; set TMPDIR to a folder that can be written", folder, strerror(errno));
        free(folder);
        return NULL;
    }
    for (int k = 0; k < CLASSES; k++) {
        snprintf(path, sizeof path, "%s/class%d", folder, k);
        mkdir(path, 0777);
    }
    for (int i = 0; i < count && im_ok(c); i++) {
        name_of(folder, i, path, sizeof path);
        write_one(c, path, (uint32_t)i + 1);
    }
    if (im_ok(c))
        return folder;
    bench_jpegs_remove(folder, count);
    return NULL;
}

void bench_jpegs_remove(char *folder, int count)
{
    char path[4200];
    for (int i = 0; folder && i < count; i++) {
        name_of(folder, i, path, sizeof path);
        unlink(path);
    }
    for (int k = 0; folder && k < CLASSES; k++) {
        snprintf(path, sizeof path, "%s/class%d", folder, k);
        rmdir(path);
    }
    if (folder)
        rmdir(folder);
    free(folder);
}
