/* op_devices.h: what test_ops.c and test_grad.c try every op on: each instruction set of this machine, with memory between
 * canaries (link with -Wl,--wrap=im_pages_new -Wl,--wrap=im_pages_free). */
#ifndef IM_TESTS_OP_DEVICES_H
#define IM_TESTS_OP_DEVICES_H

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"
#include "isa.h"

/* ---------------------------------------------------------------- memory between canaries */

static int spoilt;

void *__wrap_im_pages_new(size_t bytes);
void __wrap_im_pages_free(void *p, size_t bytes);

/* AddressSanitizer has red zones of its own, to the byte, and sees what is read outside, too. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
enum { GUARD = 0 };
#else
enum { GUARD = 64 };
#endif
static const unsigned char mark = 0xa5;

void *__wrap_im_pages_new(size_t bytes)
{
    void *block;
    if (posix_memalign(&block, 64, bytes + 2 * GUARD))
        return NULL;
    char *p = block;
    memset(p, mark, bytes + 2 * GUARD);
    return memset(p + GUARD, 0xff, bytes);                     /* 0xff..ff is a NaN in f32, f16 and bf16               */
}

void __wrap_im_pages_free(void *p, size_t bytes)
{
    if (!p)
        return;
    unsigned char *before = (unsigned char *)p - GUARD, *after = (unsigned char *)p + bytes;
    for (int i = 0; i < GUARD; i++)
        spoilt += (before[i] != mark) + (after[i] != mark);
    free(before);
}

/* ---------------------------------------------------------------- devices under test */

typedef struct { const char *isa; im_ctx *one, *two; } device; /* contexts with 1 and 2 threads                       */

enum { MAX_DEVICES = 8 };

/* Every instruction set that IMAGO_ISA can choose on this machine, the slowest first; TEST_ISA names the only one. */
static int open_devices(device d[MAX_DEVICES])
{
    static const char *const names[] = { TEST_ISAS };
    int n = 0;
    for (int i = 0; i < COUNT(names); i++) {
        if (!isa_wanted(names[i]))
            continue;
        choose_isa(names[i]);
        im_ctx *one = im_ctx_new("cpu", 1);
        if (!one || !im_ok(one) || strcmp(im_device_isa(one), names[i])) {
            im_ctx_free(one);
            continue;
        }
        d[n++] = (device){ names[i], one, im_ctx_new("cpu", 2) };
    }
    choose_isa(NULL);
    ck_assert_msg(n > 0, "no instruction set can be chosen by IMAGO_ISA");
    return n;
}

static void close_devices(device d[], int n)
{
    for (int i = 0; i < n; i++) {
        im_ctx_free(d[i].one);
        im_ctx_free(d[i].two);
    }
}

static bool same_float(float a, float b)
{
    return (isnan(a) && isnan(b)) || !memcmp(&a, &b, sizeof a);
}

#endif
