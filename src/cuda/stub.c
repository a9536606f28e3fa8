/* stub.c: stands in for the CUDA backend in a build without it; `--device cuda` ends in one clear line.
 * Used by tensor/device.c. */
#include "tensor/device.h"

bool im_cuda_open(im_ctx *c, im_device *dev, const char *name)
{
    (void)dev;
    return im_fail(c, "device \"%s\": this build has no CUDA backend; use --device cpu", name);
}
