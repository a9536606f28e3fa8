/* steps.cu: what steps need beside products (host_steps.c is the definition): sums of latents with weights, the watch for
 * values that are not finite, draws of latents, counts of right answers, and the gate of a training step. A thread an
 * element, or one block where a number comes out; none of them takes noticeable time.
 *
 * exp of a draw is the device's own expf: within 2 ulp of the host's, which no kernel needs to equal. */
#include "cuda/kernel.cuh"

/* Each product, sum and quotient rounded, nothing fused: the compiler is told so (--fmad=false). */
KERNEL(THREADS) combine_kernel(GRID im_combine_args p)
{
    int64_t i = thread_of_grid();
    if (i >= p.n || (p.unless && *p.unless))
        return;
    float sum = p.w[0] * p.x[0][i];
    for (int k = 1; k < p.count; k++)
        sum = sum + p.w[k] * p.x[k][i];
    if (p.by != 1.0f)
        sum = sum / p.by;
    p.y[i] = sum < -p.limit ? -p.limit : sum > p.limit ? p.limit : sum;
}

int im_cuda_combine(im_device *dev, const im_combine_args *p)
{
    return p->n ? im_cuda_done(dev, RUN(dev, im_cuda_blocks(p->n, THREADS), THREADS, combine_kernel, *p)) : IM_DONE;
}

/* How many of this block's threads say yes, in thread 0. */
DEV int count_block(int mine)
{
    SHARED(int, sum, 1);
    if (threadIdx.x == 0)
        sum[0] = 0;
    sync_block();
    if (mine)
        atomic_add(sum, mine);
    sync_block();
    return sum[0];
}

KERNEL(THREADS) watch_kernel(GRID im_watch_args p)
{
    int bad = 0;
    for (int64_t i = threadIdx.x; i < p.n; i += blockDim.x)
        bad |= !isfinite(p.x[i]);
    bad = count_block(bad);
    if (threadIdx.x == 0 && bad && !*p.mark)
        *p.mark = p.code;
}

int im_cuda_watch(im_device *dev, const im_watch_args *p)
{
    return im_cuda_done(dev, RUN(dev, 1, THREADS, watch_kernel, *p));
}

KERNEL(THREADS) draw_kernel(GRID im_draw_latent_args p)
{
    int64_t i = thread_of_grid();
    if (i >= p.rows * p.n)
        return;
    const float *m = p.moments + i / p.n * 2 * p.n + i % p.n;
    float logvar = m[p.n];
    logvar = logvar < -30.0f ? -30.0f : logvar > 20.0f ? 20.0f : logvar;
    p.z[i] = (m[0] + expf(0.5f * logvar) * p.noise[i]) * p.scaling;
}

int im_cuda_draw_latent(im_device *dev, const im_draw_latent_args *p)
{
    int64_t n = p->rows * p->n;
    return n ? im_cuda_done(dev, RUN(dev, im_cuda_blocks(n, THREADS), THREADS, draw_kernel, *p)) : IM_DONE;
}

/* One block: the rows of a batch are few. */
KERNEL(THREADS) right_kernel(GRID im_count_right_args p)
{
    int right = 0;
    for (int64_t row = threadIdx.x; row < p.rows; row += blockDim.x) {
        int64_t at = row * p.classes, best = 0;
        for (int64_t k = 1; k < p.classes; k++)
            if (load(p.x, at + k) > load(p.x, at + best))
                best = k;
        right += best == p.labels[row];
    }
    right = count_block(right);
    if (threadIdx.x == 0)
        *p.right = right;
}

int im_cuda_count_right(im_device *dev, const im_count_right_args *p)
{
    return im_cuda_done(dev, RUN(dev, 1, THREADS, right_kernel, *p));
}

KERNEL(32) gate_kernel(GRID im_gate_args p)
{
    if (threadIdx.x)
        return;
    for (int i = 0; i < p.count; i++)
        if (!isfinite(p.parts[i].loss) || p.parts[i].first_bad >= 0)
            p.gate->shut = 1;
    double norm = p.mean * sqrt(p.parts[p.count - 1].sumsq), share = p.clip / (norm + 1e-6);       /* torch's        */
    p.gate->scale = p.clip > 0 && share < 1 ? p.mean * share : p.mean;
}

int im_cuda_gate(im_device *dev, const im_gate_args *p)
{
    return im_cuda_done(dev, RUN(dev, 1, 32, gate_kernel, *p));
}
