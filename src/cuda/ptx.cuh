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

/* A kernel (threads of a block at most; where it is given: how many blocks an SM is to hold at once); a function that
 * kernels call, one of a struct; the struct of a kernel's arguments. */
#define KERNEL(...) static __global__ void __launch_bounds__(__VA_ARGS__)
#define DEV static __device__ __forceinline__
#define MEMBER __device__ __forceinline__
#define GRID const __grid_constant__

/* Before a loop whose count is a constant: sums in an array reach registers only if every place in it is one.  */
#define UNROLL _Pragma("unroll")
#define ROLLED _Pragma("unroll 1")                             /* seldom wanted, or long: less to compile              */
#define SHARED(type, name, n) __shared__ type name[n]
#define SHARED2(type, name, n, m) __shared__ type name[n][m]
#define SHARED16(type, name, n) __shared__ __align__(16) type name[n]  /* begins at a multiple of 16 bytes             */

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

/* ---- tensor cores (cores.cuh). PTX ISA 9.0, "cp.async", "Warp-level Matrix Load Instruction: ldmatrix", "Matrix Fragments
 * for mma.m16n8k8" and "... for mma.m16n8k16 with floating point type".
 *
 * Code for sm_75 and code for later ones are two: what FROM_80 says is not there in the former. CODE_FOR(sm_75): this
 * kernel is for sm_75 (else: for later ones); where it is not, it is empty and traps, and nobody launches it. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define FROM_80(...) __trap()
#define CODE_FOR(sm_75) do { if (!(sm_75)) { __trap(); return; } } while (0)
#else
#define FROM_80(...) __VA_ARGS__
#define CODE_FOR(sm_75) do { if (sm_75) { __trap(); return; } } while (0)
#endif
DEV uint32_t shared_at(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }
/* 16 bytes to shared memory, or zeros; there once a wait says so. */
DEV void copy_async(void *to, const void *from, bool in)
{
    FROM_80(asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_at(to)), "l"(from),
                         "r"(in ? 16 : 0) : "memory"));
}
DEV void copy_commit() { FROM_80(asm volatile("cp.async.commit_group;" ::: "memory")); }
/* All groups of this thread but the newest N are there. */
template <int N> DEV void copy_wait() { FROM_80(asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory")); }
/* Four 8x8 matrices of 16-bit numbers: lane l holds the address of row l % 8 of matrix l / 8; it gets numbers 2 (l % 4) and
 * 2 (l % 4) + 1 of row l / 4 of each. */
DEV void ldmatrix4(uint32_t r[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_at(row)) : "memory");
}
/* Each of them turned around: a lane gets numbers 2 (l % 4) and 2 (l % 4) + 1 of column l / 4. */
DEV void ldmatrix4_turned(uint32_t r[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_at(row)) : "memory");
}
/* d += a b, 16 x 8 by 8, in f16: g = lane / 4, t = lane % 4;  a: (g, 2t) (g + 8, 2t), two k each;  b: (2t, g);
 * d: as of mma16816. */
DEV void mma1688(float d[4], const uint32_t a[2], uint32_t b)
{
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(b));
}
/* d += a b, 16 x 8 by 16: g = lane / 4, t = lane % 4;  a: (g, 2t) (g + 8, 2t) (g, 2t + 8) (g + 8, 2t + 8), two k each;
 * b: (2t, g) (2t + 8, g);  d: (g, 2t) (g, 2t + 1) (g + 8, 2t) (g + 8, 2t + 1). */
template <bool BF16> DEV void mma16816(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    if (BF16)
        FROM_80(asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
                             "{%8, %9}, {%0, %1, %2, %3};"
                             : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])));
    else
        FROM_80(asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
                             "{%8, %9}, {%0, %1, %2, %3};"
                             : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])));
}

/* cu.cu: its stream; looks whether the launch was taken, 0 if so, and keeps the kernel's name with the failure. */
extern "C" cudaStream_t im_cu_stream(im_cu *cu);
extern "C" int im_cu_launched(im_cu *cu, const char *kernel);
#define LAUNCH(cu, grid, block, kernel, ...) \
    (kernel<<<grid, block, 0, im_cu_stream(cu)>>>(__VA_ARGS__), im_cu_launched(cu, #kernel))

#endif
