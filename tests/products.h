/* products.h: what test_gemm.c and test_conv.c share: devices of every instruction set that this machine can run,
 * arrays that end at an unreadable page, weights in every form. Included once by each. */
#ifndef IM_TEST_PRODUCTS_H
#define IM_TEST_PRODUCTS_H

#define _GNU_SOURCE
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "imago.h"
#include "isa.h"
#include "suite.h"
#include "tensor/host.h"

#define COUNT(a) SUITE_COUNT(a)

/* Activations of a kernel's arguments, all f32 in these tests. */
static inline float *floats(const void *p)
{
    return (float *)(uintptr_t)p;
}

/* ---------------------------------------------------------------- devices */

enum { MAX_ISAS = 8 };
static im_device devices[MAX_ISAS];
static int n_devices;

static inline void open_device(im_device *dev, const char *isa, int threads)
{
    im_ctx *c = im_ctx_new("ref", 1);
    choose_isa(isa);
    ck_assert_msg(im_device_open(c, dev, "cpu", threads, NULL), "%s", im_error(c));
    choose_isa(NULL);
    im_ctx_free(c);
}

/* Each instruction set of this build; one that the machine lacks opens as a lower one and is left out. */
static inline void open_devices(void)
{
    static const char *const isas[] = { TEST_ISAS };
    n_devices = 0;
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(isas[i], "+"), isas[i]);
        if (!isa_wanted(isas[i]) || !strstr(im_cpu_isas(), name))
            continue;
        open_device(&devices[n_devices], isas[i], 1);
        if (!strcmp(devices[n_devices].isa, isas[i]))
            n_devices++;
        else
            im_device_close(&devices[n_devices]);
    }
}

static inline void close_devices(void)
{
    for (int i = 0; i < n_devices; i++)
        im_device_close(&devices[i]);
}

/* ---------------------------------------------------------------- memory: freed all at once by release_all */

typedef struct { void *map; size_t bytes; } region;
static region regions[4096];
static int n_regions;

/* `bytes` that end where an unreadable page begins (to the byte: alignment is whatever results). */
static inline void *guarded(size_t bytes)
{
    size_t page = 4096, body = (bytes + page - 1) / page * page;
    char *p = mmap(NULL, body + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(p, MAP_FAILED);
    ck_assert_int_eq(mprotect(p + body, page, PROT_NONE), 0);
    ck_assert_int_lt(n_regions, COUNT(regions));
    regions[n_regions++] = (region){ p, body + page };
    return p + body - bytes;
}

static inline void release_all(void)
{
    while (n_regions)
        n_regions--, munmap(regions[n_regions].map, regions[n_regions].bytes);
}

static uint32_t seed = 1;

static inline float uniform(void)                                     /* [-1, 1) */
{
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) * 0x1p-23f - 1.0f;
}

static inline float *random_floats(int64_t n, float size)
{
    float *p = guarded((size_t)n * sizeof *p);
    for (int64_t i = 0; i < n; i++)
        p[i] = size * uniform();
    return p;
}

/* What an output holds before a kernel writes it. */
static const float canary __attribute__((unused)) = 12345.5f;

static inline float *filled(int64_t n, float value)
{
    float *p = guarded((size_t)n * sizeof *p);
    for (int64_t i = 0; i < n; i++)
        p[i] = value;
    return p;
}

/* ---------------------------------------------------------------- weights */

static inline float rounded(float x, im_dtype t)
{
    return t == IM_F16 ? im_f32_from_f16(im_f16_from_f32(x)) : t == IM_BF16 ? im_f32_from_bf16(im_bf16_from_f32(x)) : x;
}

/* (n, k) rows in dtype t, every row `gap` elements apart from the next; values (n, k) are set to what is stored. */
static inline im_weight make_weight(float *values, int n, int k, im_dtype t, bool geglu, bool packed, int gap)
{
    int64_t ld = k + gap;
    char *plain = guarded((size_t)((n - 1) * ld + k) * im_dtype_size(t));
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < k; j++) {
            float *v = &values[i * k + j];
            int64_t at = i * ld + j;
            if (t == IM_F32)
                memcpy(plain + at * 4, v, 4);
            else {
                uint16_t h = t == IM_F16 ? im_f16_from_f32(*v) : im_bf16_from_f32(*v);
                memcpy(plain + at * 2, &h, 2);
            }
            *v = rounded(*v, t);
        }
    im_weight w = { .data = plain, .dtype = t, .geglu = geglu, .n = n, .k = k, .ld = ld };
    if (packed) {
        void *dst = guarded(im_packed_bytes(t, n, k, geglu));
        im_pack_args a = { .src = plain, .src_dtype = t, .dtype = t, .n = n, .geglu = geglu, .taps = 1, .cin = k,
                           .row_stride = ld, .cin_stride = 1, .dst = dst };
        im_pack_panels(&a, 0, im_pack_panel_count(n, geglu));
        w.data = dst;
        w.packed = true;
    }
    return w;
}

/* A chain of K roundings of partial sums of size s errs by a random walk: about eps s sqrt(K) / 2. Inputs are scaled so
 * that s stays near 1; bias, chan and res add a few units, activations (slope up to 1.13) a few eps: 8 covers them. */
static inline double tolerance(int k)
{
    return 8 * 0x1p-24 * (1 + sqrt(k));
}

#endif
