/* peak.h: loops that do nothing but what one kind of instruction can do at most. Used by bench/peak.c. */
#ifndef IM_PEAK_H
#define IM_PEAK_H

#include "tensor/compute.h"

enum { IM_PEAK_BUFFER = 2048 };          /* values of the widening loops: 4 KiB in, 8 KiB out, in L1 */

typedef struct im_peak_loops {           /* each returns a sum, so that nothing is optimised away */
    int steps[IM_COMPUTE_COUNT];         /* of a round: independent sums x lanes */
    float (*multiply[IM_COMPUTE_COUNT])(int64_t rounds); /* rounds * steps * im_per_step multiply-adds; or NULL */
    void (*widen_f16)(const uint16_t *src, float *dst);  /* IM_PEAK_BUFFER values */
    void (*widen_bf16)(const uint16_t *src, float *dst);
    float (*read)(const float *p, int64_t n);            /* n: a multiple of 128 */
} im_peak_loops;

bool im_cpu_peak_loops(const char *isa, im_peak_loops *out);   /* cpu.c; false: no such ISA in this build */

#endif
