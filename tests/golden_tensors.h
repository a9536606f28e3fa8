/* golden_tensors.h: golden values in safetensors files that are packed: by gzip, and before that the bytes of all values
 * turned into four planes, first bytes first (golden/golden_store.py, in_planes). Unpacked into a file without a name,
 * which has a path in /proc, since files are opened by paths. */
#ifndef GOLDEN_TENSORS_H
#define GOLDEN_TENSORS_H

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "imago.h"

/* The bytes of a packed file; malloc'd. */
static inline uint8_t *golden_bytes(const char *path, size_t *n)
{
    enum { PART = 1 << 16 };
    gzFile packed = gzopen(path, "rb");
    uint8_t *all = NULL;
    int got = 1;
    ck_assert_msg(packed != NULL, "%s cannot be read", path);
    for (*n = 0; got > 0; *n += (size_t)got) {
        all = realloc(all, *n + PART);
        ck_assert_ptr_nonnull(all);
        got = gzread(packed, all + *n, PART);
        ck_assert_msg(got >= 0, "%s is damaged", path);
    }
    ck_assert_msg(gzclose(packed) == Z_OK, "%s ends too early", path);
    return all;
}

static inline im_safetensors *golden_tensors(im_ctx *ctx, const char *path)
{
    size_t n;
    uint8_t *all = golden_bytes(path, &n);
    uint64_t head;
    char place[32];
    FILE *file = tmpfile();
    ck_assert_msg(file && n > 8, "%s is empty, or no temporary file can be made", path);
    memcpy(&head, all, 8);
    size_t begin = 8 + (size_t)head, count = (n - begin) / 4;
    fwrite(all, 1, begin, file);
    for (size_t i = 0; i < count; i++)
        for (int k = 0; k < 4; k++)
            fputc(all[begin + (size_t)k * count + i], file);
    fwrite(all + begin + 4 * count, 1, n - begin - 4 * count, file);
    ck_assert_int_eq(fflush(file), 0);
    snprintf(place, sizeof place, "/proc/self/fd/%d", fileno(file));
    im_safetensors *s = im_st_open(ctx, place);
    ck_assert_msg(s != NULL, "%s: %s", path, im_error(ctx));
    fclose(file);                                              /* it is mapped                                          */
    free(all);
    return s;
}

#endif
