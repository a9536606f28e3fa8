/* map.cu: elementwise functions: y = act(a), a + b with b repeated, s a; y (+)= s x for gradients and casts. A thread an
 * element: reads and writes of a warp lie side by side, and memory is what takes the time. */
#include "cuda/kernel.cuh"

KERNEL(THREADS) map_kernel(GRID im_map_args p)
{
    int64_t i = thread_of_grid();
    if (i >= p.n)
        return;
    float a = load(p.a, i);
    if (p.kind == IM_MAP_ADD)
        a = a + load(p.b, i % p.nb);
    else if (p.kind == IM_MAP_SCALE)
        a = p.s * a;
    else
        a = activate(p.act, a);
    store(p.y, i, a);
}

KERNEL(THREADS) accumulate_kernel(GRID im_accumulate_args p)
{
    int64_t i = thread_of_grid();
    if (i < p.n)
        store(p.y, i, p.add ? fmaf(p.s, load(p.x, i), load(p.y, i)) : p.s * load(p.x, i));
}

int im_cuda_map(im_device *dev, const im_map_args *p)
{
    return p->n ? im_cuda_done(dev, RUN(dev, im_cuda_blocks(p->n, THREADS), THREADS, map_kernel, *p)) : IM_DONE;
}

int im_cuda_accumulate(im_device *dev, const im_accumulate_args *p)
{
    return p->n ? im_cuda_done(dev, RUN(dev, im_cuda_blocks(p->n, THREADS), THREADS, accumulate_kernel, *p)) : IM_DONE;
}
