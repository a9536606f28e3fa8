/* table.c: the kernel table of one ISA. cpu.c picks one of these tables when a device is opened. */
#include "tensor/cpu/kernels.h"

void IM_FN(im_cpu_init)(im_kernels *k)
{
#define X(name) k->name = IM_FN(im_cpu_##name);
    IM_KERNELS_OWN(X)
#undef X
    im_host_kernels(k);
}
