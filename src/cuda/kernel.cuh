/* kernel.cuh: what every kernel of the plain path begins with: elements of activations in any dtype, the tree over 16
 * lanes, and how a host function launches.
 *
 * The plain path runs on every device from sm_75 on. It follows the order of sums that tensor/device.h and train_args.h
 * define, in f32 and f64 as the CPU does, without contraction (nvcc --fmad=false: each fused multiply-add is written), so
 * that its results have the CPU's bits, whatever the block sizes. */
#ifndef IM_CUDA_KERNEL_H
#define IM_CUDA_KERNEL_H

#include "cuda/ptx.cuh"
extern "C" {
#include "cuda/cuda.h"
}
#include "cuda/vmath.cuh"

enum { THREADS = 256 };          /* of a block where threads do not work together: 8 warps, enough for any SM to be full */

DEV float load(im_dtype t, const void *p, int64_t i)
{
    if (t == IM_F32)
        return ((const float *)p)[i];
    return t == IM_F16 ? f16_to_f32(((const uint16_t *)p)[i]) : bf16_to_f32(((const uint16_t *)p)[i]);
}
DEV float load(im_cbuf b, int64_t i) { return load(b.t, b.p, i); }
DEV float load(im_buf b, int64_t i) { return load(b.t, b.p, i); }

DEV void store(im_buf b, int64_t i, float x)
{
    if (b.t == IM_F32)
        ((float *)b.p)[i] = x;
    else
        ((uint16_t *)b.p)[i] = b.t == IM_F16 ? f32_to_f16(x) : f32_to_bf16(x);
}

/* b[i] = x, or += x */
DEV void put(im_buf b, int64_t i, float x, bool add) { store(b, i, add ? load(b, i) + x : x); }
/* A gradient of a parameter. */
DEV void put_sum(float *p, double x, bool add) { *p = (float)(add ? (double)*p + x : x); }

/* A factor of a product, rounded where im_set_compute_dtype asked for bf16. */
DEV float factor(bool round, float x) { return round ? bf16_to_f32(f32_to_bf16(x)) : x; }

/* This thread among all of the grid's x axis, and the first item of a loop that strides by all of them. */
DEV int64_t thread_of_grid() { return (int64_t)blockIdx.x * blockDim.x + threadIdx.x; }

/* The sum over 16 lanes side by side, in the order of device.h: lane j takes lane j + half. In lane 0 of the 16. */
template <class T> DEV T tree_sum(T v)
{
    for (int half = 8; half; half /= 2)
        v = v + shuffle_down(v, half, 16);
    return v;
}
/* From lane 0 of 16 to all of them. */
DEV float from_first(float v) { return shuffle(v, (int)(threadIdx.x % 32 / 16 * 16)); }

/* Launches on the device's stream; 0 if it was taken. */
#define RUN(dev, blocks, threads, kernel, ...) LAUNCH(im_cuda_stream(dev), blocks, threads, kernel, __VA_ARGS__)

#endif
