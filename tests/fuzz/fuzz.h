/* fuzz.h: what the fuzz targets share. Each target is one libFuzzer program over the library's own sources; it builds
 * with clang -g -O1 -std=gnu11 -Isrc -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined
 * tests/fuzz/NAME.c and the library. The code under test takes files, so the input becomes one, in memory. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "imago.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Traps when something is not as it must be. */
static inline void must(int ok)
{
    if (!ok) abort();
}

/* An error must have been said when a result is missing, and none when it is there. */
static inline void check_error(im_ctx *c, int have_result)
{
    must(have_result == im_ok(c));
    must(im_ok(c) == (*im_error(c) == 0));
}

/* The path of a file in memory with these bytes; *fd is closed by the caller. */
static inline const char *memory_file(const void *data, size_t size, int *fd)
{
    static char path[2][64];
    static unsigned turn;
    char *p = path[turn++ % 2];
    *fd = memfd_create("fuzz", 0);
    must(*fd >= 0 && write(*fd, data, size) == (ssize_t)size);
    snprintf(p, sizeof path[0], "/proc/self/fd/%d", *fd);
    return p;
}

#endif
