/* movement.cu: what moves numbers without computing: strided copies (added for gradients), rows of an embedding table and
 * their gradient, the sinusoidal embedding of time (ref/movement.c, ref/map.c). A thread an element, the innermost axis
 * first. */
#include "cuda/kernel.cuh"

KERNEL(THREADS) copy_kernel(GRID im_copy_args p, int64_t n)
{
    int64_t i = thread_of_grid(), s = 0, d = 0, rest = i;
    if (i >= n)
        return;
    for (int axis = 3; axis >= 0; axis--) {
        int64_t at = rest % p.shape[axis];
        rest /= p.shape[axis];
        s += at * p.ss[axis];
        d += at * p.ds[axis];
    }
    if (p.add)
        put(im_buf{ p.dst, p.dtype }, d, load(p.dtype, p.src, s), true);
    else if (p.dtype == IM_F32 || p.dtype == IM_I32)
        ((uint32_t *)p.dst)[d] = ((const uint32_t *)p.src)[s];
    else
        ((uint16_t *)p.dst)[d] = ((const uint16_t *)p.src)[s];
}

int im_cuda_copy(im_device *dev, const im_copy_args *p)
{
    int64_t n = p->shape[0] * p->shape[1] * p->shape[2] * p->shape[3];
    return n ? im_cuda_done(dev, RUN(dev, im_cuda_blocks(n, THREADS), THREADS, copy_kernel, *p, n)) : IM_DONE;
}

KERNEL(THREADS) embedding_kernel(GRID im_embedding_args p)
{
    int64_t i = thread_of_grid();
    if (i < p.n * p.channels)
        p.y[i] = load(p.dtype, p.table, (int64_t)p.ids[i / p.channels] * p.channels + i % p.channels);
}

int im_cuda_embedding(im_device *dev, const im_embedding_args *p)
{
    return im_cuda_done(dev, RUN(dev, im_cuda_blocks(p->n * p->channels, THREADS), THREADS, embedding_kernel, *p));
}

/* A thread an element of the table: it looks through all ids, so that its sum is one chain in their order. */
KERNEL(THREADS) embedding_bwd_kernel(GRID im_embedding_bwd_args p)
{
    int64_t i = thread_of_grid(), row = i / p.channels, c = i % p.channels;
    if (row >= p.rows)
        return;
    float sum = p.add ? p.dtable[i] : 0.0f;
    bool any = false;
    for (int64_t k = 0; k < p.n; k++)
        if (p.ids[k] == row) {
            sum = sum + p.dy[k * p.channels + c];
            any = true;
        }
    if (any || !p.add)
        p.dtable[i] = sum;
}

int im_cuda_embedding_bwd(im_device *dev, const im_embedding_bwd_args *p)
{
    return im_cuda_done(dev, RUN(dev, im_cuda_blocks(p->rows * p->channels, THREADS), THREADS, embedding_bwd_kernel, *p));
}

/* The frequencies as torch has them: every step rounded to f32, the exponential (in f64) correctly. */
KERNEL(THREADS) timestep_kernel(GRID im_timestep_args p)
{
    int64_t k = thread_of_grid();
    int half = p.dim / 2, i = (int)(k % (half + 1));
    int64_t b = k / (half + 1), y = b * p.dim;
    if (b >= p.batch)
        return;
    if (i == half) {                                           /* an odd dim ends in a zero                            */
        if (p.dim % 2)
            p.y[y + p.dim - 1] = 0.0f;
        return;
    }
    float power = -9.21034037197618f * (float)i / ((float)half - p.shift), f = (float)exp((double)power);
    float angle = p.t[b] * f;
    p.y[y + i + (p.cos_first ? 0 : half)] = cos_of(angle);
    p.y[y + i + (p.cos_first ? half : 0)] = sin_of(angle);
}

int im_cuda_timestep(im_device *dev, const im_timestep_args *p)
{
    int64_t n = (int64_t)p->batch * (p->dim / 2 + 1);
    return im_cuda_done(dev, RUN(dev, im_cuda_blocks(n, THREADS), THREADS, timestep_kernel, *p));
}
