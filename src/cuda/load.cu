/* load.cu: a weight from its file's layout and dtype to ours: rows of (tap, channel), of a source whose taps may be the
 * inner axis (OIHW). What is read is the raw array, uploaded as it is; a thread an element of the result. */
#include "cuda/kernel.cuh"

DEV float from_any(im_dtype t, const void *p, int64_t i)
{
    return t == IM_I32 ? (float)((const int32_t *)p)[i] : load(t, p, i);
}

KERNEL(THREADS) convert_kernel(GRID im_pack_args p, const void *raw, int64_t n)
{
    int64_t i = thread_of_grid(), k = (int64_t)p.taps * p.cin, row = i / k, at = i % k;
    if (i >= n)
        return;
    float x = from_any(p.src_dtype, raw, row * p.row_stride + at / p.cin * p.tap_stride + at % p.cin * p.cin_stride);
    if (p.dtype == IM_I32)
        ((int32_t *)p.dst)[i] = (int32_t)x;
    else
        store(im_buf{ p.dst, p.dtype }, i, x);
}

int im_cuda_convert(im_device *dev, const im_pack_args *p, const void *raw)
{
    int64_t n = (int64_t)p->n * p->taps * p->cin;
    if (p->packed)
        return IM_NO_KERNEL;
    return n ? im_cuda_done(dev, RUN(dev, im_cuda_blocks(n, THREADS), THREADS, convert_kernel, *p, raw, n)) : IM_DONE;
}
