/* hopper.cuh for the simulator: the names of src/cuda/hopper.cuh, as g++ sees them. What they do: mbarrier.cc, bulk.cc and
 * wgmma.cc. */
#ifndef SIM_HOPPER_CUH
#define SIM_HOPPER_CUH

#include "cuda/hopper.h"
#include "cuda/ptx.cuh"

#define KERNEL_ALONE(threads) KERNEL(threads)
void *sim_shared_launch();
#define SHARED_LAUNCH(name) unsigned char *name = (unsigned char *)sim_shared_launch()

/* ---- threads and blocks (mbarrier.cc) */
void sim_sync_some(int barrier, int threads, int line);
void sim_arrive_some(int barrier, int threads, int line);
int sim_cluster_rank();
void sim_sync_cluster();
void sim_fence_async();
DEV void sync_some(int barrier, int threads, int line = __builtin_LINE()) { sim_sync_some(barrier, threads, line); }
DEV void arrive_some(int barrier, int threads, int line = __builtin_LINE()) { sim_arrive_some(barrier, threads, line); }
DEV int cluster_rank() { return sim_cluster_rank(); }
DEV void sync_cluster() { sim_sync_cluster(); }
DEV void fence_async() { sim_fence_async(); }
template <int N> DEV void registers_up() { static_assert(N >= 24 && N <= 256 && N % 8 == 0, "setmaxnreg"); }
template <int N> DEV void registers_down() { static_assert(N >= 24 && N <= 256 && N % 8 == 0, "setmaxnreg"); }

struct mbarrier { uint64_t word; };
void sim_mbar_init(void *b, int arrivals);
void sim_mbar_fence();
void sim_mbar_arrive(void *b, int block);                      /* -1: this one                                         */
void sim_mbar_expect(void *b, int bytes, bool arrives);
void sim_mbar_wait(void *b, int parity);
DEV void mbar_init(mbarrier *b, int arrivals) { sim_mbar_init(b, arrivals); }
DEV void mbar_fence() { sim_mbar_fence(); }
DEV void mbar_arrive(mbarrier *b) { sim_mbar_arrive(b, -1); }
DEV void mbar_arrive_at(mbarrier *b, int block) { sim_mbar_arrive(b, block); }
DEV void mbar_expect(mbarrier *b, int bytes) { sim_mbar_expect(b, bytes, false); }
DEV void mbar_arrive_expect(mbarrier *b, int bytes) { sim_mbar_expect(b, bytes, true); }
DEV void mbar_wait(mbarrier *b, int parity) { sim_mbar_wait(b, parity); }

/* ---- the copy engine (bulk.cc): a map as it is described, not as a device packs it */
struct tensor_map {
    char *p;
    int rank;
    uint32_t each;               /* bytes of an element                                                                */
    uint64_t size[5], stride[5]; /* stride: bytes                                                                      */
    uint32_t box[5], step[5];
    swizzle turn;
    bool is_windows;
    tensor_windows windows;
};
int sim_tensor_map(tensor_map *m, const tensor_shape *t, const uint32_t *box, const tensor_windows *w);
static inline int tensor_map_tiled(tensor_map *m, const tensor_shape *t, const uint32_t *box)
{
    return sim_tensor_map(m, t, box, NULL);
}
static inline int tensor_map_windows(tensor_map *m, const tensor_shape *t, const tensor_windows *w)
{
    return sim_tensor_map(m, t, NULL, w);
}

/* blocks 0: this one, without multicast */
void sim_tma_load(void *to, const tensor_map *m, void *b, int rank, const int *at, const uint16_t *offset, unsigned blocks);
void sim_tma_store(const tensor_map *m, const void *from, int rank, const int *at);
void sim_tma_commit();
void sim_tma_wait(int newest, bool only_read);
template <int RANK> DEV void tma_load(void *to, const tensor_map *m, mbarrier *b, const int (&at)[RANK])
{
    sim_tma_load(to, m, b, RANK, at, NULL, 0);
}
template <int RANK> DEV void tma_load(void *to, const tensor_map *m, mbarrier *b, const int (&at)[RANK], uint16_t blocks)
{
    sim_tma_load(to, m, b, RANK, at, NULL, blocks);
}
template <int RANK> DEV void tma_load_windows(void *to, const tensor_map *m, mbarrier *b, const int (&at)[RANK],
                                              const uint16_t (&offset)[RANK - 2])
{
    sim_tma_load(to, m, b, RANK, at, offset, 0);
}
template <int RANK> DEV void tma_load_windows(void *to, const tensor_map *m, mbarrier *b, const int (&at)[RANK],
                                              const uint16_t (&offset)[RANK - 2], uint16_t blocks)
{
    sim_tma_load(to, m, b, RANK, at, offset, blocks);
}
template <int RANK> DEV void tma_store(const tensor_map *m, const void *from, const int (&at)[RANK])
{
    sim_tma_store(m, from, RANK, at);
}
DEV void tma_commit() { sim_tma_commit(); }
template <int N> DEV void tma_wait_read() { sim_tma_wait(N, true); }
template <int N> DEV void tma_wait() { sim_tma_wait(N, false); }

/* ---- products of a warpgroup (wgmma.cc) */
uint32_t sim_shared_at(const void *p);
DEV uint64_t matrix(const void *p, int lead, int stride, swizzle s)
{
    return MATRIX_DESCRIPTOR(sim_shared_at(p), lead, stride, s);
}
struct sim_product { float *d; const uint32_t *a_registers; uint64_t a, b; int n; bool add, bf16, turn_a, turn_b; };
void sim_wgmma_fence();
void sim_wgmma(const sim_product &p, int line);
void sim_wgmma_commit(int line);
void sim_wgmma_wait(int newest, int line);
DEV void wgmma_fence() { sim_wgmma_fence(); }
DEV void wgmma_commit(int line = __builtin_LINE()) { sim_wgmma_commit(line); }
template <int N> DEV void wgmma_wait(int line = __builtin_LINE()) { sim_wgmma_wait(N, line); }
template <bool BF16, bool TURN_A = false, bool TURN_B = false, int R>
DEV void wgmma(float (&d)[R], uint64_t a, uint64_t b, bool add, int line = __builtin_LINE())
{
    sim_wgmma(sim_product{ d, NULL, a, b, 2 * R, add, BF16, TURN_A, TURN_B }, line);
}
template <bool BF16, bool TURN_B = false, int R>
DEV void wgmma(float (&d)[R], const uint32_t (&a)[4], uint64_t b, bool add, int line = __builtin_LINE())
{
    sim_wgmma(sim_product{ d, a, 0, b, 2 * R, add, BF16, false, TURN_B }, line);
}

#define LAUNCH_CLUSTER(cu, grid, block, cluster, bytes, kernel, ...) \
    sim_launch(cu, #kernel, grid, block, sim_cluster{ (unsigned)(cluster), bytes, true }, kernel, __VA_ARGS__)

#endif
