/* device.cc: the device of the ladders: what src/cuda/cuda.h says that kernels may ask of theirs, and no more. The real
 * one is src/cuda/device.c, which would bring transfers, plans and a check of all kernels along. */
#include "ladder.cuh"

struct im_cuda { im_cu *cu; bool tensor_cores, winograd; void *space; size_t bytes; };
static im_cuda mine;

void ladder_device_open(im_device *dev, im_cu *cu)
{
    mine.cu = cu;
    dev->impl = &mine;
    dev->compute_dtype = IM_F32;
}

void ladder_device_use(im_device *dev, bool tensor_cores, bool winograd)
{
    im_cuda_of(dev)->tensor_cores = tensor_cores;
    im_cuda_of(dev)->winograd = winograd;
}

extern "C" {

im_cu *im_cuda_stream(const im_device *dev) { return im_cuda_of(dev)->cu; }
im_cuda_cores im_cuda_mma(const im_device *dev, int, im_dtype)
{
    return im_cuda_of(dev)->tensor_cores ? IM_CUDA_F16 : IM_CUDA_NO_CORES;         /* nothing here is in bf16          */
}

bool im_cuda_stopped(const im_device *) { return false; }
int im_cuda_done(im_device *, int failed) { return failed ? IM_NO_KERNEL : IM_DONE; }

bool im_cuda_winograd(const im_device *dev, bool *always)
{
    *always = true;
    return im_cuda_of(dev)->winograd;
}

/* Workspace is as if nobody had ever written it, as it is the first time. */
void *im_cuda_workspace(im_device *dev, size_t bytes)
{
    im_cuda *d = im_cuda_of(dev);
    if (bytes > d->bytes) {
        im_cu_lasting_free(d->cu, d->space);
        d->space = im_cu_lasting(d->cu, bytes);
        d->bytes = bytes;
    }
    return d->space;
}

}
