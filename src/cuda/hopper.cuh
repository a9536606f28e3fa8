/* hopper.cuh: what only Hopper (sm_90a) has, as a few inline functions beside those of ptx.cuh: barriers in shared memory
 * that count arrivals and bytes (mbarrier), the copy engine (TMA), products of a warpgroup of 128 threads (wgmma),
 * clusters of blocks. The simulator's form is tests/sim/cuda/hopper.cuh.
 *
 * No kernel of the backend uses it so far: it is the place of the third path. tests/sim/hopper.cu has kernels that do.
 * They are compiled with -gencode=arch=compute_90a,code=sm_90a, whose code runs on no other device.
 *
 * Sources: PTX ISA 9.0, sections by their anchors. */
#ifndef IM_CUDA_HOPPER_CUH
#define IM_CUDA_HOPPER_CUH

#include <cuda.h>

#include "cuda/hopper.h"
#include "cuda/ptx.cuh"

/* A kernel of which an SM runs one block at a time: all registers are its own, so that registers_up can move them. */
#define KERNEL_ALONE(threads) static __global__ void __launch_bounds__(threads, 1)
/* The shared memory that a launch asks for, as bytes; begins at a multiple of 1024. */
#define SHARED_LAUNCH(name) extern __shared__ __align__(1024) unsigned char name[]

/* ---- threads of a block: some of them meet at a barrier 1 .. 15
 * (#parallel-synchronization-and-communication-instructions-bar); arrive_some does not wait. threads: of both kinds,
 * a multiple of 32. */
DEV void sync_some(int barrier, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory"); }
DEV void arrive_some(int barrier, int threads)
{
    asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

/* ---- blocks of a cluster: which of them this is; all threads of all of them meet, and what was written is seen. */
DEV int cluster_rank()
{
    uint32_t r;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
    return (int)r;
}
DEV void sync_cluster()
{
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

/* What this thread wrote, or has seen others write, the engines of TMA and wgmma see, too (#async-proxy). */
DEV void fence_async() { asm volatile("fence.proxy.async;" ::: "memory"); }

/* Registers of a thread, for all four warps of a warpgroup: a multiple of 8 in 24 .. 256. */
template <int N> DEV void registers_up() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N)); }
template <int N> DEV void registers_down() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N)); }

/* ---- mbarriers (#parallel-synchronization-and-communication-instructions-mbarrier): in shared memory. A phase ends when
 * all arrivals and all bytes that were expected have come; then the next one begins. */
struct mbarrier { uint64_t word; };
DEV void mbar_init(mbarrier *b, int arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_at(b)), "r"(arrivals) : "memory");
}
/* Behind mbar_init, before other blocks or the copy engine use them. */
DEV void mbar_fence() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
DEV void mbar_arrive(mbarrier *b)
{
    asm volatile("mbarrier.arrive.release.cta.shared::cta.b64 _, [%0];" ::"r"(shared_at(b)) : "memory");
}
/* At the same barrier of another block of the cluster. */
DEV void mbar_arrive_at(mbarrier *b, int block)
{
    asm volatile("{\n.reg .b32 at;\nmapa.shared::cluster.u32 at, %0, %1;\n"
                 "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [at];\n}"
                 ::"r"(shared_at(b)), "r"(block) : "memory");
}
/* So many bytes more belong to this phase; with and without an arrival. */
DEV void mbar_expect(mbarrier *b, int bytes)
{
    asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(shared_at(b)), "r"(bytes) : "memory");
}
DEV void mbar_arrive_expect(mbarrier *b, int bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 _, [%0], %1;" ::"r"(shared_at(b)), "r"(bytes)
                 : "memory");
}
/* Until the phase of this parity has ended: 0 is the first one, then 1, then 0. Parity 1 passes before the first ends. */
DEV void mbar_wait(mbarrier *b, int parity)
{
    asm volatile("{\n.reg .pred p;\nAGAIN%=:\nmbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%0], %1;\n"
                 "@!p bra AGAIN%=;\n}" ::"r"(shared_at(b)), "r"(parity) : "memory");
}

/* ---- the copy engine (#data-movement-and-conversion-instructions-cp-async-bulk-tensor). A map is an argument of the
 * kernel (GRID), `to` a multiple of 128 in shared memory, the bytes of the whole box are told to the barrier; what
 * lies outside of the tensor is zero. One thread asks. `blocks`: a bit for each block of the cluster that gets it, at
 * the same place, with the barrier at the same place there. */
typedef CUtensorMap tensor_map;
#define TMA_C1 "r"(at[0])
#define TMA_C2 TMA_C1, "r"(at[1])
#define TMA_C3 TMA_C2, "r"(at[2])
#define TMA_C4 TMA_C3, "r"(at[3])
#define TMA_C5 TMA_C4, "r"(at[4])
#define TMA_TILES(X) \
    X(1, "{%2}", "{%3}", "{%4}", TMA_C1) X(2, "{%2, %3}", "{%3, %4}", "{%4, %5}", TMA_C2) \
    X(3, "{%2, %3, %4}", "{%3, %4, %5}", "{%4, %5, %6}", TMA_C3) \
    X(4, "{%2, %3, %4, %5}", "{%3, %4, %5, %6}", "{%4, %5, %6, %7}", TMA_C4) \
    X(5, "{%2, %3, %4, %5, %6}", "{%3, %4, %5, %6, %7}", "{%4, %5, %6, %7, %8}", TMA_C5)
#define TMA_LOAD "d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
#define TMA_STORE "d.global.shared::cta.tile.bulk_group"
#define TMA_WINDOWS "d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes"
template <int RANK> DEV void tma_load(void *to, const tensor_map *m, mbarrier *b, const int (&at)[RANK])
{
#define X(rank, c2, c3, c4, c) \
    if constexpr (RANK == rank) \
        asm volatile("cp.async.bulk.tensor." #rank TMA_LOAD " [%0], [%1, " c3 "], [%2];" \
                     ::"r"(shared_at(to)), "l"(m), "r"(shared_at(b)), c : "memory");
    TMA_TILES(X)
#undef X
}
template <int RANK> DEV void tma_load(void *to, const tensor_map *m, mbarrier *b, const int (&at)[RANK], uint16_t blocks)
{
#define X(rank, c2, c3, c4, c) \
    if constexpr (RANK == rank) \
        asm volatile("cp.async.bulk.tensor." #rank TMA_LOAD ".multicast::cluster [%0], [%1, " c4 "], [%2], %3;" \
                     ::"r"(shared_at(to)), "l"(m), "r"(shared_at(b)), "h"(blocks), c : "memory");
    TMA_TILES(X)
#undef X
}
/* offset: of the filter's tap, along W, H, ...: 0 .. 255 for rank 4 */
#define TMA_TAPS(X) \
    X(3, "{%3, %4, %5}", "{%6}", "{%4, %5, %6}", "{%7}", TMA_C3, "h"(offset[0])) \
    X(4, "{%3, %4, %5, %6}", "{%7, %8}", "{%4, %5, %6, %7}", "{%8, %9}", TMA_C4, "h"(offset[0]), "h"(offset[1])) \
    X(5, "{%3, %4, %5, %6, %7}", "{%8, %9, %10}", "{%4, %5, %6, %7, %8}", "{%9, %10, %11}", TMA_C5, "h"(offset[0]), \
      "h"(offset[1]), "h"(offset[2]))
template <int RANK> DEV void tma_load_windows(void *to, const tensor_map *m, mbarrier *b, const int (&at)[RANK],
                                              const uint16_t (&offset)[RANK - 2])
{
#define X(rank, c3, o3, c4, o4, ...) \
    if constexpr (RANK == rank) \
        asm volatile("cp.async.bulk.tensor." #rank TMA_WINDOWS " [%0], [%1, " c3 "], [%2], " o3 ";" \
                     ::"r"(shared_at(to)), "l"(m), "r"(shared_at(b)), __VA_ARGS__ : "memory");
    TMA_TAPS(X)
#undef X
}
template <int RANK> DEV void tma_load_windows(void *to, const tensor_map *m, mbarrier *b, const int (&at)[RANK],
                                              const uint16_t (&offset)[RANK - 2], uint16_t blocks)
{
#define X(rank, c3, o3, c4, o4, ...) \
    if constexpr (RANK == rank) \
        asm volatile("cp.async.bulk.tensor." #rank TMA_WINDOWS ".multicast::cluster [%0], [%1, " c4 "], [%2], " o4 ", %3;" \
                     ::"r"(shared_at(to)), "l"(m), "r"(shared_at(b)), "h"(blocks), __VA_ARGS__ : "memory");
    TMA_TAPS(X)
#undef X
}
/* From shared memory; what lies outside of the tensor is not written. tma_wait_read: the sources of all groups of this
 * thread but the newest N have been read; tma_wait: and the tensor is written. */
template <int RANK> DEV void tma_store(const tensor_map *m, const void *from, const int (&at)[RANK])
{
#define X(rank, c2, c3, c4, c) \
    if constexpr (RANK == rank) \
        asm volatile("cp.async.bulk.tensor." #rank TMA_STORE " [%0, " c2 "], [%1];" \
                     ::"l"(m), "r"(shared_at(from)), c : "memory");
    TMA_TILES(X)
#undef X
}
DEV void tma_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
template <int N> DEV void tma_wait_read() { asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(N) : "memory"); }
template <int N> DEV void tma_wait() { asm volatile("cp.async.bulk.wait_group %0;" ::"n"(N) : "memory"); }

/* ---- products of a warpgroup (#asynchronous-warpgroup-level-matrix-instructions). d (64, N) += a (64, 16) b (16, N),
 * or = a b: thread t of 128, g = t % 32 / 4: d[4 j + 2 h + e] is row 16 (t / 32) + 8 h + g, column 8 j + 2 (t % 4) +
 * e. a in registers: as of mma16816, rows 16 (t / 32) on. TURN: in shared memory rows lie side by side, not k.
 * Neither d nor what it reads may be touched until a wait; wgmma_fence stands between other uses of d, or of a in
 * registers, and the first product. N: the rows of the table below, more as they are wanted. */
DEV uint64_t matrix(const void *p, int lead, int stride, swizzle s)
{
    return MATRIX_DESCRIPTOR(shared_at(p), lead, stride, s);
}
DEV void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEV void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> DEV void wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory"); }

#define WG_T0 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9"
#define WG_T(t) ", %" #t "0, %" #t "1, %" #t "2, %" #t "3, %" #t "4, %" #t "5, %" #t "6, %" #t "7, %" #t "8, %" #t "9"
#define WG_R2(t) ", %" #t "0, %" #t "1"
#define WG_R4(t) WG_R2(t) ", %" #t "2, %" #t "3"
#define WG_R6(t) WG_R4(t) ", %" #t "4, %" #t "5"
#define WG_R8(t) WG_R6(t) ", %" #t "6, %" #t "7"
#define WG_D2(i) "+f"(d[i]), "+f"(d[i + 1])
#define WG_D4(i) WG_D2(i), WG_D2(i + 2)
#define WG_D8(i) WG_D4(i), WG_D4(i + 4)
#define WG_D16(i) WG_D8(i), WG_D8(i + 8)
#define WG_D32(i) WG_D16(i), WG_D16(i + 16)
#define WG_D64(i) WG_D32(i), WG_D32(i + 32)
/* N, its registers as text and as operands, and the numbers of the operands behind them */
#define WG_ROWS(X) \
    X(8, "%0, %1, %2, %3", (WG_D4(0)), 4, 5, 6, 7, 8, 9, 10) \
    X(16, "%0, %1, %2, %3, %4, %5, %6, %7", (WG_D8(0)), 8, 9, 10, 11, 12, 13, 14) \
    X(32, WG_T0 WG_R6(1), (WG_D16(0)), 16, 17, 18, 19, 20, 21, 22) \
    X(40, WG_T0 WG_T(1), (WG_D16(0), WG_D4(16)), 20, 21, 22, 23, 24, 25, 26) \
    X(64, WG_T0 WG_T(1) WG_T(2) WG_R2(3), (WG_D32(0)), 32, 33, 34, 35, 36, 37, 38) \
    X(80, WG_T0 WG_T(1) WG_T(2) WG_T(3), (WG_D32(0), WG_D8(32)), 40, 41, 42, 43, 44, 45, 46) \
    X(128, WG_T0 WG_T(1) WG_T(2) WG_T(3) WG_T(4) WG_T(5) WG_R4(6), (WG_D64(0)), 64, 65, 66, 67, 68, 69, 70) \
    X(160, WG_T0 WG_T(1) WG_T(2) WG_T(3) WG_T(4) WG_T(5) WG_T(6) WG_T(7), (WG_D64(0), WG_D16(64)), 80, 81, 82, 83, 84, 85, \
      86) \
    X(256, WG_T0 WG_T(1) WG_T(2) WG_T(3) WG_T(4) WG_T(5) WG_T(6) WG_T(7) WG_T(8) WG_T(9) WG_T(10) WG_T(11) WG_R8(12), \
      (WG_D64(0), WG_D64(64)), 128, 129, 130, 131, 132, 133, 134)
#define WG_LIST(...) __VA_ARGS__
#define WG_HEAD(add) "{\n.reg .pred p;\nsetp.ne.b32 p, %" #add ", 0;\nwgmma.mma_async.sync.aligned.m64n"
#define X(n, ...) || R == n / 2
template <int R> struct wgmma_has { static const bool row = false WG_ROWS(X); };
#undef X
template <bool BF16, bool TURN_A = false, bool TURN_B = false, int R>
DEV void wgmma(float (&d)[R], uint64_t a, uint64_t b, bool add)
{
    static_assert(wgmma_has<R>::row, "wgmma: this N has no row in WG_ROWS");
#define ONE(n, type, regs, ops, i0, i1, i2, i3, i4) \
    asm volatile(WG_HEAD(i2) #n "k16.f32." type "." type " {" regs "}, %" #i0 ", %" #i1 ", p, 1, 1, %" #i3 ", %" #i4 \
                 ";\n}" : WG_LIST ops : "l"(a), "l"(b), "r"((int)add), "n"(TURN_A), "n"(TURN_B))
#define X(n, regs, ops, i0, i1, i2, i3, i4, i5, i6) \
    if constexpr (R == n / 2 && BF16) \
        ONE(n, "bf16", regs, ops, i0, i1, i2, i3, i4); \
    if constexpr (R == n / 2 && !BF16) \
        ONE(n, "f16", regs, ops, i0, i1, i2, i3, i4);
    WG_ROWS(X)
#undef X
#undef ONE
}
template <bool BF16, bool TURN_B = false, int R>
DEV void wgmma(float (&d)[R], const uint32_t (&a)[4], uint64_t b, bool add)
{
    static_assert(wgmma_has<R>::row, "wgmma: this N has no row in WG_ROWS");
#define ONE(n, type, regs, ops, i0, i1, i2, i3, i4, i5, i6) \
    asm volatile(WG_HEAD(i5) #n "k16.f32." type "." type " {" regs "}, {%" #i0 ", %" #i1 ", %" #i2 ", %" #i3 "}, %" #i4 \
                 ", p, 1, 1, %" #i6 ";\n}" : WG_LIST ops \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)add), "n"(TURN_B))
#define X(n, regs, ops, i0, i1, i2, i3, i4, i5, i6) \
    if constexpr (R == n / 2 && BF16) \
        ONE(n, "bf16", regs, ops, i0, i1, i2, i3, i4, i5, i6); \
    if constexpr (R == n / 2 && !BF16) \
        ONE(n, "f16", regs, ops, i0, i1, i2, i3, i4, i5, i6);
    WG_ROWS(X)
#undef X
#undef ONE
}

/* ---- the host's side: maps, by the driver's own functions, which are asked for by name so that a program starts
 * without a driver. 0: made; else the driver's error. box: up to 256 elements a dimension, its innermost bytes a
 * multiple of 16. */
static inline int tensor_map_encode(tensor_map *m, const tensor_shape *t, const uint32_t *box, const tensor_windows *w)
{
    void *f = NULL;
    cudaDriverEntryPointQueryResult found;
    const CUtensorMapDataType types[] = { CU_TENSOR_MAP_DATA_TYPE_FLOAT16, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                                          CU_TENSOR_MAP_DATA_TYPE_FLOAT32 };
    const CUtensorMapSwizzle turns[] = { CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_SWIZZLE_64B,
                                         CU_TENSOR_MAP_SWIZZLE_32B };
    const char *name = w ? "cuTensorMapEncodeIm2col" : "cuTensorMapEncodeTiled";
    if (cudaGetDriverEntryPointByVersion(name, &f, 12000, cudaEnableDefault, &found) != cudaSuccess || !f)
        return CUDA_ERROR_NOT_FOUND;
    if (w)
        return (int)((decltype(&cuTensorMapEncodeIm2col))f)(
            m, types[t->type], (uint32_t)t->rank, t->p, t->size, t->stride, w->low, w->high, w->channels, w->pixels,
            t->step, CU_TENSOR_MAP_INTERLEAVE_NONE, turns[t->turn], CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return (int)((decltype(&cuTensorMapEncodeTiled))f)(
        m, types[t->type], (uint32_t)t->rank, t->p, t->size, t->stride, box, t->step, CU_TENSOR_MAP_INTERLEAVE_NONE,
        turns[t->turn], CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}
static inline int tensor_map_tiled(tensor_map *m, const tensor_shape *t, const uint32_t *box)
{
    return tensor_map_encode(m, t, box, NULL);
}
static inline int tensor_map_windows(tensor_map *m, const tensor_shape *t, const tensor_windows *w)
{
    return tensor_map_encode(m, t, NULL, w);
}

/* A launch of clusters of `cluster` blocks side by side in x (the grid's x is a multiple of it), `bytes` of SHARED_LAUNCH
 * each; as LAUNCH of ptx.cuh. */
template <class... P, class... A>
int launch_cluster(im_cu *cu, const char *name, dim3 grid, dim3 block, unsigned cluster, size_t bytes, void (*kernel)(P...),
                   A... args)
{
    cudaLaunchConfig_t c = {};
    cudaLaunchAttribute of[1];
    of[0].id = cudaLaunchAttributeClusterDimension;
    of[0].val.clusterDim.x = cluster;
    of[0].val.clusterDim.y = of[0].val.clusterDim.z = 1;
    c.gridDim = grid;
    c.blockDim = block;
    c.dynamicSmemBytes = bytes;
    c.stream = im_cu_stream(cu);
    c.attrs = of;
    c.numAttrs = 1;
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
    cudaLaunchKernelEx(&c, kernel, P(args)...);
    return im_cu_launched(cu, name);
}
#define LAUNCH_CLUSTER(cu, grid, block, cluster, bytes, kernel, ...) \
    launch_cluster(cu, #kernel, grid, block, cluster, bytes, kernel, __VA_ARGS__)

#endif
