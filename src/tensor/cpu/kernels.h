/* kernels.h: what the per-ISA files of tensor/cpu show one another: the kernels, name_<isa>, and their table. */
#ifndef IM_CPU_KERNELS_H
#define IM_CPU_KERNELS_H

#include "tensor/cpu/simd.h"
#include "tensor/host.h"

#define X(name) int IM_FN(im_cpu_##name)(im_device *dev, const im_##name##_args *args);
IM_KERNELS_OWN(X)
#undef X

void IM_FN(im_cpu_init)(im_kernels *k);  /* table.c: fills every slot */
struct im_peak_loops;
void IM_FN(im_cpu_peak_init)(struct im_peak_loops *l);                             /* peak.c */

/* vmath.c: y[i] = f(x[i]) with the function v_<name> of vmath.h; false where there is none. For tests. */
bool IM_FN(im_cpu_vmath)(const char *name, int64_t n, const float *x, float *y);

#endif
