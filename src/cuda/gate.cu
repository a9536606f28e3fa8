/* gate.cu: slopes of the activations, and the gated linear unit of GEGLU in both directions (ref/gate.c has the
 * formulas). A thread an element. Called by ops/linear.c and ops/map.c. */
#include "cuda/kernel.cuh"

KERNEL(THREADS) act_bwd_kernel(GRID im_act_bwd_args p)
{
    int64_t i = thread_of_grid();
    if (i < p.n)
        put(p.dx, i, load(p.dy, i) * slope(p.act, load(p.x, i)), p.add);
}

int im_cuda_act_bwd(im_device *dev, const im_act_bwd_args *p)
{
    return im_cuda_done(dev, RUN(dev, im_cuda_blocks(p->n, THREADS), THREADS, act_bwd_kernel, *p));
}

KERNEL(THREADS) glu_kernel(GRID im_glu_args p)
{
    int64_t i = thread_of_grid(), v = i / p.n * 2 * p.n + i % p.n;
    if (i < p.rows * p.n)
        store(p.y, i, load(p.z, v) * gelu_erf(load(p.z, v + p.n)));
}

int im_cuda_glu(im_device *dev, const im_glu_args *p)
{
    return im_cuda_done(dev, RUN(dev, im_cuda_blocks(p->rows * p->n, THREADS), THREADS, glu_kernel, *p));
}

KERNEL(THREADS) glu_bwd_kernel(GRID im_glu_bwd_args p)
{
    int64_t i = thread_of_grid(), at = i / p.n * 2 * p.n + i % p.n;
    if (i >= p.rows * p.n)
        return;
    float v = load(p.z, at), g = load(p.z, at + p.n), dy = load(p.dy, i);
    put(p.dz, at, dy * gelu_erf(g), p.add);
    put(p.dz, at + p.n, dy * v * gelu_slope(g), p.add);
}

int im_cuda_glu_bwd(im_device *dev, const im_glu_bwd_args *p)
{
    return im_cuda_done(dev, RUN(dev, im_cuda_blocks(p->rows * p->n, THREADS), THREADS, glu_bwd_kernel, *p));
}
