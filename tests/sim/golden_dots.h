/* golden_dots.h: sums of 16 products of halves, bit by bit what MMA-Sim says that a tensor core computes. Used by
 * test_sim.cc and hopper/test_hopper.cc. */
#ifndef SIM_GOLDEN_DOTS_H
#define SIM_GOLDEN_DOTS_H

#include <check.h>
#include <cstdint>
#include <cstdio>
#include <cstring>

/* 320 records of the file, the first half in f16, the others in bf16. */
static inline void dots_are_golden(const char *path, float (*dot)(const uint16_t *a, const uint16_t *b, float c, bool bf16))
{
    struct { uint16_t a[16], b[16]; float c, d; } r;
    FILE *f = fopen(path, "rb");
    ck_assert_ptr_nonnull(f);
    int n = 0;
    for (; fread(&r, sizeof r, 1, f) == 1; n++) {
        float d = dot(r.a, r.b, r.c, n >= 160);
        ck_assert_msg(!memcmp(&d, &r.d, sizeof d), "record %d: found %.9g, wanted the bits of %.9g", n, d, r.d);
    }
    ck_assert_int_eq(n, 320);
    fclose(f);
}

#endif
