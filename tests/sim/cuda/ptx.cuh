/* ptx.cuh for the simulator: the names of src/cuda/ptx.cuh, as g++ sees them. tests/sim stands before src in its search
 * path, so that `#include "cuda/ptx.cuh"` of a kernel finds this file, and nvcc the other one. */
#ifndef SIM_PTX_H
#define SIM_PTX_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <tuple>

#include "../sim.h"
extern "C" {
#include "cuda/cu.h"
#include "tensor/half.h"
}

#define KERNEL(...) static void
#define DEV static inline
#define MEMBER inline
#define GRID const
#define UNROLL                                                 /* nothing to be had here but a long compilation        */
#define ROLLED

/* ---- where a thread is: constant for a thread, so that the compiler need not ask again */
dim3 sim_thread_index() __attribute__((const));
dim3 sim_block_index() __attribute__((const));
dim3 sim_block_size() __attribute__((const));
dim3 sim_grid_size() __attribute__((const));
#define threadIdx sim_thread_index()
#define blockIdx sim_block_index()
#define blockDim sim_block_size()
#define gridDim sim_grid_size()

/* ---- shared memory: every thread of a block asks in the same order and gets the same place */
void *sim_shared(size_t bytes, size_t align);
#define SHARED(type, name, n) type *name = (type *)sim_shared(sizeof(type) * (n), alignof(type))
#define SHARED2(type, name, n, m) type (*name)[m] = (type (*)[m])sim_shared(sizeof(type) * (n) * (m), alignof(type))

#define SHARED16(type, name, n) type *name = (type *)sim_shared(sizeof(type) * (n), 16)

/* ---- threads among each other. line: of the call */
void sim_sync_block(int line);
void sim_sync_warp(int line);
uint32_t sim_shuffle(uint32_t mask, uint32_t value, int lane, int line);
uint32_t sim_ballot(uint32_t mask, bool p, int line);
DEV void sync_block(int line = __builtin_LINE()) { sim_sync_block(line); }
DEV void sync_warp(int line = __builtin_LINE()) { sim_sync_warp(line); }
DEV float shuffle(float v, int lane, int line = __builtin_LINE())
{
    return im_from_bits(sim_shuffle(0xffffffffu, im_bits(v), lane & 31, line));
}
/* From lane + by of the same group of `width`; from the last ones, their own. */
DEV float shuffle_down(float v, int by, int width, int line = __builtin_LINE())
{
    int lane = (int)(threadIdx.x % 32), from = lane % width + by < width ? lane + by : lane;
    return im_from_bits(sim_shuffle(0xffffffffu, im_bits(v), from, line));
}
DEV double shuffle_down(double v, int by, int width, int line = __builtin_LINE())
{
    int lane = (int)(threadIdx.x % 32), from = lane % width + by < width ? lane + by : lane;
    uint64_t u;
    memcpy(&u, &v, sizeof u);
    uint64_t low = sim_shuffle(0xffffffffu, (uint32_t)u, from, line);
    u = low | (uint64_t)sim_shuffle(0xffffffffu, (uint32_t)(u >> 32), from, line) << 32;
    memcpy(&v, &u, sizeof v);
    return v;
}
DEV float shuffle_xor(float v, int by, int line = __builtin_LINE())
{
    return im_from_bits(sim_shuffle(0xffffffffu, im_bits(v), (int)(threadIdx.x % 32) ^ by, line));
}
DEV uint32_t vote(bool p, int line = __builtin_LINE()) { return sim_ballot(0xffffffffu, p, line); }

int sim_atomic_add(int *p, int x);
float sim_atomic_add(float *p, float x);
int sim_atomic_max(int *p, int x);
int sim_atomic_min(int *p, int x);
DEV int atomic_add(int *p, int x) { return sim_atomic_add(p, x); }
DEV float atomic_add(float *p, float x) { return sim_atomic_add(p, x); }
DEV int atomic_max(int *p, int x) { return sim_atomic_max(p, x); }
DEV int atomic_min(int *p, int x) { return sim_atomic_min(p, x); }

/* ---- numbers */
DEV uint32_t bits_of(float x) { return im_bits(x); }
DEV float float_of(uint32_t u) { return im_from_bits(u); }
DEV float f16_to_f32(uint16_t h) { return im_half_to_f32(h); }
DEV uint16_t f32_to_f16(float x) { return im_half_from_f32(x); }
DEV float bf16_to_f32(uint16_t h) { return im_bhalf_to_f32(h); }
DEV uint16_t f32_to_bf16(float x) { return im_bhalf_from_f32(x); }

/* ---- tensor cores (tensor.cc) */
#define CODE_FOR(sm_75)
void sim_copy_async(void *to, const void *from, bool in);
void sim_copy_commit();
void sim_copy_wait(int newest);
void sim_ldmatrix4(uint32_t r[4], const void *row, bool turned, int line);
void sim_mma1688(float d[4], const uint32_t a[2], uint32_t b, int line);
void sim_mma16816(float d[4], const uint32_t a[4], const uint32_t b[2], bool bf16, int line);
DEV void copy_async(void *to, const void *from, bool in) { sim_copy_async(to, from, in); }
DEV void copy_commit() { sim_copy_commit(); }
template <int N> DEV void copy_wait() { sim_copy_wait(N); }
DEV void ldmatrix4(uint32_t r[4], const void *row, int line = __builtin_LINE()) { sim_ldmatrix4(r, row, false, line); }
DEV void ldmatrix4_turned(uint32_t r[4], const void *row, int line = __builtin_LINE())
{
    sim_ldmatrix4(r, row, true, line);
}
DEV void mma1688(float d[4], const uint32_t a[2], uint32_t b, int line = __builtin_LINE()) { sim_mma1688(d, a, b, line); }
template <bool BF16> DEV void mma16816(float d[4], const uint32_t a[4], const uint32_t b[2], int line = __builtin_LINE())
{
    sim_mma16816(d, a, b, BF16, line);
}

/* ---- a launch on the stream of cu (cuda/cu.h): 0, or what im_cu_failed says. The arguments are copied once, as a driver
 * does, and every thread reads them there. */
int sim_enqueue(im_cu *cu, const char *kernel, dim3 grid, dim3 block, sim_cluster cluster, void (*call)(void *),
                const void *args, size_t bytes);
template <class... P, class... A>
int sim_launch(im_cu *cu, const char *name, dim3 grid, dim3 block, sim_cluster cluster, void (*kernel)(P...), A... args)
{
    struct pack { void (*kernel)(P...); std::tuple<P...> args; } p = { kernel, std::tuple<P...>(args...) };
    auto call = [](void *arg) { std::apply(((pack *)arg)->kernel, ((pack *)arg)->args); };
    return sim_enqueue(cu, name, grid, block, cluster, call, &p, sizeof p);
}
#define LAUNCH(cu, grid, block, kernel, ...) \
    sim_launch(cu, #kernel, grid, block, sim_cluster{ 1, 0, false }, kernel, __VA_ARGS__)

#endif
