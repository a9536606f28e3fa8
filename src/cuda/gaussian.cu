/* gaussian.cu: the VAE's diagonal Gaussian (ref/gaussian.c has the formulas). A thread an element; the divergence by 16
 * threads a chunk of whole rows, in f64, and one thread for the chunks. Called by ops/gaussian.c. */
#include "cuda/kernel.cuh"

DEV float clamped(float logvar) { return max_of(-30.0f, min_of(20.0f, logvar)); }        /* a NaN stays                */
DEV float deviation(float logvar) { return exp_of(0.5f * clamped(logvar)); }
/* d where the clamp lets through, else 0 */
DEV float where_inside(float logvar, float d) { return logvar < -30.0f || logvar > 20.0f ? 0.0f : d; }

KERNEL(THREADS) gaussian_kernel(GRID im_gaussian_args p)
{
    int64_t i = thread_of_grid(), mean = i / p.n * 2 * p.n + i % p.n;
    if (i < p.rows * p.n)
        store(p.z, i, fmaf(deviation(load(p.moments, mean + p.n)), load(p.noise, i), load(p.moments, mean)));
}

int im_cuda_gaussian(im_device *dev, const im_gaussian_args *p)
{
    return im_cuda_done(dev, RUN(dev, im_cuda_blocks(p->rows * p->n, THREADS), THREADS, gaussian_kernel, *p));
}

KERNEL(THREADS) gaussian_bwd_kernel(GRID im_gaussian_bwd_args p)
{
    int64_t i = thread_of_grid(), mean = i / p.n * 2 * p.n + i % p.n;
    if (i >= p.rows * p.n)
        return;
    float dz = load(p.dz, i), e = load(p.noise, i), l = load(p.moments, mean + p.n);
    put(p.dmoments, mean, dz, p.add);
    put(p.dmoments, mean + p.n, where_inside(l, dz * e * (0.5f * deviation(l))), p.add);
}

int im_cuda_gaussian_bwd(im_device *dev, const im_gaussian_bwd_args *p)
{
    return im_cuda_done(dev, RUN(dev, im_cuda_blocks(p->rows * p->n, THREADS), THREADS, gaussian_bwd_kernel, *p));
}

/* Twice the terms: (mean^2 + (exp(l) - 1)) - l */
KERNEL(THREADS) kl_chunks(GRID im_kl_args p, int64_t rows, int64_t chunks, double *sums)
{
    int64_t chunk = thread_of_grid() / 16, last = min_of((chunk + 1) * rows, p.rows);
    int lane = (int)threadIdx.x % 16;
    double sum = 0.0;
    for (int64_t r = chunk * rows; r < last; r++)
        for (int i = lane; i < p.n; i += 16) {
            float m = load(p.moments, 2 * r * p.n + i), l = clamped(load(p.moments, 2 * r * p.n + p.n + i));
            sum = sum + (double)(fmaf(m, m, exp_of(l) - 1.0f) - l);
        }
    sum = tree_sum(sum);
    if (lane == 0 && chunk < chunks)
        sums[chunk] = sum;
}

KERNEL(1) kl_sum(GRID im_kl_args p, int64_t chunks, const double *sums)
{
    double sum = 0.0;
    for (int64_t i = 0; i < chunks; i++)
        sum = sum + sums[i];
    p.kl[0] = (float)(0.5 * sum / p.batch);
}

int im_cuda_kl(im_device *dev, const im_kl_args *p)
{
    int64_t rows = p->n < IM_MAP_CHUNK ? IM_MAP_CHUNK / p->n : 1, chunks = (p->rows + rows - 1) / rows;
    double *sums = (double *)im_cuda_workspace(dev, (size_t)chunks * sizeof(double));
    if (!sums)
        return IM_NO_MEMORY;
    int failed = RUN(dev, im_cuda_blocks(chunks * 16, THREADS), THREADS, kl_chunks, *p, rows, chunks, sums);
    return im_cuda_done(dev, failed || RUN(dev, 1, 1, kl_sum, *p, chunks, sums));
}

KERNEL(THREADS) kl_bwd_kernel(GRID im_kl_bwd_args p)
{
    int64_t i = thread_of_grid(), mean = i / p.n * 2 * p.n + i % p.n;
    if (i >= p.rows * p.n)
        return;
    float s = p.dkl[0] / (float)p.batch, l = load(p.moments, mean + p.n);
    put(p.dmoments, mean, s * load(p.moments, mean), p.add);
    put(p.dmoments, mean + p.n, where_inside(l, 0.5f * s * (exp_of(clamped(l)) - 1.0f)), p.add);
}

int im_cuda_kl_bwd(im_device *dev, const im_kl_bwd_args *p)
{
    return im_cuda_done(dev, RUN(dev, im_cuda_blocks(p->rows * p->n, THREADS), THREADS, kl_bwd_kernel, *p));
}
