/* tar.h: writes tar files for tests: plain ustar members, one after the other (POSIX.1-1988). */
#ifndef TAR_H
#define TAR_H

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct tar { uint8_t *v; size_t n; } tar;

static inline void tar_bytes(tar *t, const void *data, size_t n)
{
    t->v = realloc(t->v, t->n + n + 1);
    ck_assert_ptr_nonnull(t->v);
    memcpy(t->v + t->n, data, n);
    t->n += n;
}

static inline void tar_zeros(tar *t, size_t n)
{
    static const uint8_t zeros[1024];
    tar_bytes(t, zeros, n);
}

static inline void tar_add(tar *t, const char *name, char type, const void *data, size_t n)
{
    char h[512] = "";
    snprintf(h, 100, "%.99s", name);
    snprintf(h + 100, 8, "0000644");
    snprintf(h + 108, 8, "0000000");
    snprintf(h + 116, 8, "0000000");
    snprintf(h + 124, 12, "%011o", (unsigned)n);
    snprintf(h + 136, 12, "%011o", 0);
    memset(h + 148, ' ', 8);
    h[156] = type;
    memcpy(h + 257, "ustar\00000", 8);
    unsigned sum = 0;
    for (int i = 0; i < 512; i++) sum += (unsigned char)h[i];
    snprintf(h + 148, 8, "%06o", sum);
    tar_bytes(t, h, sizeof h);
    tar_bytes(t, data, n);
    tar_zeros(t, (512 - n % 512) % 512);
}

static inline void tar_text(tar *t, const char *name, const char *text)
{
    tar_add(t, name, '0', text, strlen(text));
}

#endif
