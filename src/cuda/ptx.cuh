/* ptx.cuh: what kernels of this backend say to the machine, as a few inline functions and macros. Kernels include this file
 * and nothing of CUDA, so that the simulator can stand in for it: g++ finds tests/sim/cuda/ptx.cuh under the same name
 * (docs/cuda.md). What a kernel may use beside these: threadIdx, blockIdx, blockDim, gridDim, fmaf, fabsf, sqrtf, rintf,
 * floorf and their kin of math.h. */
#ifndef IM_CUDA_PTX_H
#define IM_CUDA_PTX_H

#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <math.h>
#include <stdint.h>

extern "C" {
#include "cuda/cu.h"
}

/* A kernel of at most `threads` threads a block; a function that kernels call, one of a struct; the struct of a kernel's
 * arguments. */
#define KERNEL(threads) static __global__ void __launch_bounds__(threads)
#define DEV static __device__ __forceinline__
#define MEMBER __device__ __forceinline__
#define GRID const __grid_constant__

#define SHARED(type, name, n) __shared__ type name[n]
#define SHARED2(type, name, n, m) __shared__ type name[n][m]

DEV void sync_block() { __syncthreads(); }
DEV void sync_warp() { __syncwarp(); }
/* All 32 lanes take part in each of these. */
DEV float shuffle(float v, int lane) { return __shfl_sync(0xffffffffu, v, lane); }
DEV float shuffle_down(float v, int by, int width) { return __shfl_down_sync(0xffffffffu, v, by, width); }
DEV double shuffle_down(double v, int by, int width) { return __shfl_down_sync(0xffffffffu, v, by, width); }
DEV float shuffle_xor(float v, int by) { return __shfl_xor_sync(0xffffffffu, v, by); }
DEV uint32_t vote(bool p) { return __ballot_sync(0xffffffffu, p); }
DEV int atomic_add(int *p, int x) { return atomicAdd(p, x); }
DEV float atomic_add(float *p, float x) { return atomicAdd(p, x); }
DEV int atomic_max(int *p, int x) { return atomicMax(p, x); }
DEV int atomic_min(int *p, int x) { return atomicMin(p, x); }

DEV uint32_t bits_of(float x) { return __float_as_uint(x); }
DEV float float_of(uint32_t u) { return __uint_as_float(u); }
DEV float f16_to_f32(uint16_t h) { return __half2float(__ushort_as_half(h)); }
DEV uint16_t f32_to_f16(float x) { return __half_as_ushort(__float2half_rn(x)); }
DEV float bf16_to_f32(uint16_t h) { return __uint_as_float((uint32_t)h << 16); }
/* To nearest, ties to even; a NaN stays one (tensor/half.h). No instruction of sm_75 does it. */
DEV uint16_t f32_to_bf16(float x)
{
    uint32_t u = __float_as_uint(x), r = u + 0x7fffu + ((u >> 16) & 1u);
    return (uint16_t)(((u & 0x7fffffffu) > 0x7f800000u ? u | 0x400000u : r) >> 16);
}

/* cu.cu: its stream; looks whether the launch was taken, 0 if so, and keeps the kernel's name with the failure. */
extern "C" cudaStream_t im_cu_stream(im_cu *cu);
extern "C" int im_cu_launched(im_cu *cu, const char *kernel);
#define LAUNCH(cu, grid, block, kernel, ...) \
    (kernel<<<grid, block, 0, im_cu_stream(cu)>>>(__VA_ARGS__), im_cu_launched(cu, #kernel))

#endif
