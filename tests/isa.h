/* isa.h: chooses what the next context on cpu computes with. */
#ifndef TEST_ISA_H
#define TEST_ISA_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every set, the slowest first, and bf16 dots (IMAGO_COMPUTE) on a set without an instruction for them. */
#define TEST_ISAS "portable", "neon", "neon+bf16", "avx2", "avx2+bf16", "avx512", "avx512bf16", "avx512amx"

/* "avx2", or "avx2+bf16", as im_device_isa has it; NULL: whatever the machine and the build give. */
static inline void choose_isa(const char *name)
{
    char isa[32];
    size_t n = name ? strcspn(name, "+") : 0;
    snprintf(isa, sizeof isa, "%.*s", (int)n, name ? name : "");
    setenv("IMAGO_ISA", isa, 1);
    setenv("IMAGO_COMPUTE", name && name[n] ? name + n + 1 : "", 1);
}

/* TEST_ISA names the only set that tests walk: the sanitizers take long, and threads meet in the same loops on all sets. */
static inline bool isa_wanted(const char *name)
{
    const char *only = getenv("TEST_ISA");
    return !only || !*only || !strcmp(only, name);
}

#endif
