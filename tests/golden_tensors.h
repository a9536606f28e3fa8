/* golden_tensors.h: golden values in safetensors files that are packed by gzip. Unpacked into a file without a name, which
 * has a path in /proc, since files are opened by paths. */
#ifndef GOLDEN_TENSORS_H
#define GOLDEN_TENSORS_H

#include <check.h>
#include <stdio.h>
#include <zlib.h>

#include "imago.h"

static inline im_safetensors *golden_tensors(im_ctx *ctx, const char *path)
{
    char part[1 << 14], place[32];
    gzFile packed = gzopen(path, "rb");
    FILE *file = tmpfile();
    ck_assert_msg(packed && file, "%s cannot be read, or no temporary file be made", path);
    int n;
    while ((n = gzread(packed, part, sizeof part)) > 0)
        ck_assert_uint_eq(fwrite(part, 1, (size_t)n, file), (size_t)n);
    ck_assert_msg(n == 0 && gzclose(packed) == Z_OK && fflush(file) == 0, "%s ends too early, or is damaged", path);
    snprintf(place, sizeof place, "/proc/self/fd/%d", fileno(file));
    im_safetensors *s = im_st_open(ctx, place);
    ck_assert_msg(s != NULL, "%s: %s", path, im_error(ctx));
    fclose(file);                                              /* it is mapped                                          */
    return s;
}

#endif
