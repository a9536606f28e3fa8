/* pool.cu: largest value of windows, mean over pixels, and their gradients (ref/pool.c has the formulas). A thread an
 * element of the result; the gradient of a pixel asks every window around it whether its place won, so nothing is
 * scattered. Called by ops/pool.c. */
#include "cuda/kernel.cuh"

KERNEL(THREADS) maxpool_kernel(GRID im_maxpool_args p)
{
    int64_t i = thread_of_grid(), pixel = i / p.channels, c = i % p.channels;
    int ox = (int)(pixel % p.ow), oy = (int)(pixel / p.ow % p.oh), place = -1;
    int64_t b = pixel / p.ow / p.oh;
    if (b >= p.batch)
        return;
    float best = 0.0f;
    for (int k = 0; k < p.kernel * p.kernel; k++) {
        int iy = oy * p.stride + k / p.kernel - p.pad, ix = ox * p.stride + k % p.kernel - p.pad;
        if (iy < 0 || iy >= p.h || ix < 0 || ix >= p.w)
            continue;
        float x = load(p.x, ((b * p.h + iy) * p.w + ix) * p.channels + c);
        if (place < 0 || x > best || !(x == x)) {              /* a NaN wins                                           */
            best = x;
            place = k;
        }
    }
    store(p.y, i, best);
    if (p.won)
        p.won[i] = f32_to_f16((float)place);
}

int im_cuda_maxpool(im_device *dev, const im_maxpool_args *p)
{
    int64_t n = (int64_t)p->batch * p->oh * p->ow * p->channels;
    return im_cuda_done(dev, RUN(dev, im_cuda_blocks(n, THREADS), THREADS, maxpool_kernel, *p));
}

KERNEL(THREADS) maxpool_bwd_kernel(GRID im_maxpool_bwd_args p)
{
    int64_t i = thread_of_grid(), pixel = i / p.channels, c = i % p.channels;
    int ix = (int)(pixel % p.w), iy = (int)(pixel / p.w % p.h);
    int64_t b = pixel / p.w / p.h;
    if (b >= p.batch)
        return;
    int low_y = iy + p.pad - p.kernel + 1, low_x = ix + p.pad - p.kernel + 1;
    float sum = 0.0f;
    for (int oy = low_y > 0 ? (low_y + p.stride - 1) / p.stride : 0; oy < p.oh && oy * p.stride <= iy + p.pad; oy++)
        for (int ox = low_x > 0 ? (low_x + p.stride - 1) / p.stride : 0; ox < p.ow && ox * p.stride <= ix + p.pad; ox++) {
            int place = (iy + p.pad - oy * p.stride) * p.kernel + ix + p.pad - ox * p.stride;
            int64_t at = ((b * p.oh + oy) * p.ow + ox) * p.channels + c;
            if (f16_to_f32(p.won[at]) == (float)place)
                sum = sum + load(p.dy, at);
        }
    put(p.dx, i, sum, p.add);
}

int im_cuda_maxpool_bwd(im_device *dev, const im_maxpool_bwd_args *p)
{
    int64_t n = (int64_t)p->batch * p->h * p->w * p->channels;
    return im_cuda_done(dev, RUN(dev, im_cuda_blocks(n, THREADS), THREADS, maxpool_bwd_kernel, *p));
}

KERNEL(THREADS) avgpool_kernel(GRID im_avgpool_args p)
{
    int64_t i = thread_of_grid(), at = i / p.channels * p.pixels * p.channels + i % p.channels;
    if (i >= (int64_t)p.batch * p.channels)
        return;
    double sum = 0.0;
    for (int64_t q0 = 0; q0 < p.pixels; q0 += IM_SUM_CHUNK) {
        float s = 0.0f;
        for (int64_t q = q0; q < min_of(q0 + IM_SUM_CHUNK, p.pixels); q++)
            s = s + load(p.x, at + q * p.channels);
        sum = sum + (double)s;
    }
    store(p.y, i, (float)(sum / (double)p.pixels));
}

int im_cuda_avgpool(im_device *dev, const im_avgpool_args *p)
{
    int64_t n = (int64_t)p->batch * p->channels;
    return im_cuda_done(dev, RUN(dev, im_cuda_blocks(n, THREADS), THREADS, avgpool_kernel, *p));
}

KERNEL(THREADS) avgpool_bwd_kernel(GRID im_avgpool_bwd_args p)
{
    int64_t i = thread_of_grid(), image = i / (p.pixels * p.channels);
    if (image < p.batch)
        put(p.dx, i, load(p.dy, image * p.channels + i % p.channels) / (float)p.pixels, p.add);
}

int im_cuda_avgpool_bwd(im_device *dev, const im_avgpool_bwd_args *p)
{
    int64_t n = (int64_t)p->batch * p->pixels * p->channels;
    return im_cuda_done(dev, RUN(dev, im_cuda_blocks(n, THREADS), THREADS, avgpool_bwd_kernel, *p));
}
