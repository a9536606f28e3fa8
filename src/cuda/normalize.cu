/* normalize.cu: rows of length one: y = x / max(|x|, eps); dx = (dy - y (y . dy)) / |x|, dy / eps where |x| < eps. 16
 * threads a row, the lanes of its sum in f64. Called by ops/normalize.c. */
#include "cuda/kernel.cuh"

KERNEL(THREADS) normalize_kernel(GRID im_normalize_args p)
{
    int64_t row = thread_of_grid() / 16, at = row * p.n;
    int lane = (int)threadIdx.x % 16, n = row < p.rows ? p.n : 0;
    double sum = 0.0;
    for (int i = lane; i < n; i += 16) {
        double x = (double)load(p.x, at + i);
        sum = sum + x * x;
    }
    float norm = from_first((float)sqrt(tree_sum(sum))), divisor = norm < p.eps ? p.eps : norm;
    for (int i = lane; i < n; i += 16)
        store(p.y, at + i, load(p.x, at + i) / divisor);
    if (lane == 0 && n && p.norm)
        p.norm[row] = norm;
}

int im_cuda_normalize(im_device *dev, const im_normalize_args *p)
{
    return im_cuda_done(dev, RUN(dev, im_cuda_blocks(p->rows * 16, THREADS), THREADS, normalize_kernel, *p));
}

KERNEL(THREADS) normalize_bwd_kernel(GRID im_normalize_bwd_args p)
{
    int64_t row = thread_of_grid() / 16, at = row * p.n;
    int lane = (int)threadIdx.x % 16, n = row < p.rows ? p.n : 0;
    double sum = 0.0;
    for (int i = lane; i < n; i += 16)
        sum = sum + (double)load(p.y, at + i) * (double)load(p.dy, at + i);
    float along = from_first((float)tree_sum(sum)), norm = n ? p.norm[row] : 1.0f;
    bool clamped = norm < p.eps;
    for (int i = lane; i < n; i += 16)
        put(p.dx, at + i, fnma(clamped ? 0.0f : along, load(p.y, at + i), load(p.dy, at + i)) / (clamped ? p.eps : norm),
            p.add);
}

int im_cuda_normalize_bwd(im_device *dev, const im_normalize_bwd_args *p)
{
    return im_cuda_done(dev, RUN(dev, im_cuda_blocks(p->rows * 16, THREADS), THREADS, normalize_bwd_kernel, *p));
}
