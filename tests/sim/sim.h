/* sim.h: the simulator of a CUDA device, for machines without one. Kernels of src/cuda are compiled by g++ with
 * tests/sim/cuda/ptx.cuh in place of src/cuda/ptx.cuh, and run here: a grid block by block, the threads of a block as
 * fibers.
 *
 *     kernel.cu ---- g++ -fsanitize=thread ---> loads and stores call __tsan_read4 and its sisters (shadow.cc), which
 *                                               are ours: libtsan is not linked, kernels carry no instrumentation
 *     block.cc      runs a launch: fibers, __syncthreads, the order of threads, clusters of blocks, clocks
 *     warp.cc       lanes of a warp together: shuffles, votes, __syncwarp
 *     tensor.cc     cp.async, ldmatrix, mma and a tensor core's arithmetic
 *     mbarrier.cc   named barriers, barriers of a cluster, mbarriers        Hopper's: cuda/hopper.cuh
 *     bulk.cc       tensor maps and the copy engine (TMA)
 *     wgmma.cc      products of a warpgroup
 *     shadow.cc     memory, and for every two bytes of it who wrote and who read: races, what was never written,
 *                   what lies outside of buffers, alignment
 *     stream.cc     src/cuda/cu.h for this device: memory, a stream whose work is done late, graphs
 *
 * A fault is printed and counted by kind (sim_faults); the kernel goes on where it can. */
#ifndef SIM_H
#define SIM_H

#include <stddef.h>
#include <stdint.h>

#include <memory>

extern "C" {
#include "sim_settings.h"
}

typedef enum {
    SIM_RACE,                    /* two accesses, one of them a write, with nothing between them that orders them       */
    SIM_UNWRITTEN,               /* a read of memory that nobody has written                                           */
    SIM_OUTSIDE,                 /* an access outside of every buffer, or of memory that is not the device's           */
    SIM_MISALIGNED,
    SIM_BARRIER,                 /* a barrier that not all threads reach, or at which they meet from different lines   */
    SIM_WARP,                    /* a shuffle from a lane that takes no part; a warpgroup that does not do one thing   */
    SIM_DEADLOCK,
    SIM_LAUNCH,                  /* sizes that no device takes, instructions that this one does not have               */
    SIM_ASYNC,                   /* registers or memory of a product or copy that nobody has waited for                */
    SIM_PROXY,                   /* an engine uses what threads wrote, with no fence for engines in between            */
    SIM_KINDS
} sim_fault;

extern int sim_faults[SIM_KINDS];
void sim_report(sim_fault kind, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* How launches are run; tests set it. */
typedef struct sim_settings {
    bool checks;                 /* off: no shadow, and blocks on all cores (build/imago-sim)                          */
    int order;                   /* of the threads of a block: 0 ascending, 1 descending, 2 scattered                  */
    bool late;                   /* what is asked of a stream is done when somebody waits, not before                  */
    bool quiet;                  /* faults are counted and not printed (tests that plant them)                         */
} sim_settings;
extern sim_settings sim;

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

/* ---- block.cc: a launch. call(args) runs one thread. */
struct sim_body { void (*call)(void *args); std::shared_ptr<void> args; size_t bytes; };
/* Clusters of `blocks` side by side in x, each with `bytes` of shared memory that the launch asks for; hopper: engines may
 * be used, which costs clocks of their own. */
struct sim_cluster { unsigned blocks; size_t bytes; bool hopper; };
void sim_run(const char *kernel, dim3 grid, dim3 block, sim_cluster cluster, const sim_body &body);

/* ---- shadow.cc */
void *sim_memory_new(size_t bytes);                            /* of the device, between red zones; NULL: out of it    */
void sim_memory_free(void *p);
void sim_memory_wrote(const void *p, size_t bytes);            /* by a copy or a fill                                  */
void sim_memory_copied(void *dst, const void *src, size_t bytes);      /* what was never written stays so              */
bool sim_memory_holds(const void *p, size_t bytes);            /* whole, in one buffer                                 */
size_t sim_memory_used();
extern size_t sim_memory_limit;                                /* bytes that the device has                            */

struct sim_thread;                                             /* block.cc                                             */
/* The thread that runs, as shadow.cc asks for it. */
struct sim_where {
    const char *kernel;
    unsigned threads;            /* of the cluster, which is one block where nothing else is said                      */
    unsigned agents;             /* threads, and behind them what engines do, one operation each                       */
    unsigned slot;               /* of the thread, 0 .. threads-1; of an engine's operation, threads .. agents-1       */
    uint32_t *clock;             /* (agents): its vector clock; with engines (2 agents): behind it, how much of that
                                  * has passed its doer's fence for engines                                            */
    uint32_t stamp, first_stamp; /* of this cluster, of the first one of the launch                                    */
    const char *stack, *stack_end;
    const char *args, *args_end; /* of the launch: they can be read                                                    */
    char *shared; size_t shared_size, shared_each;             /* of the cluster; a block has shared_each              */
    char *mine;                  /* the shared memory of this thread's block                                           */
};
const sim_where *sim_here();                                   /* NULL outside of kernels                              */
/* All lanes of a warp meet and lay down up to 16 words; returns those of all, [lane][16], until the next such meeting. */
const uint32_t *sim_exchange(const uint32_t *words, int n, const char *what, int line);
void sim_shadow_begin_block(const sim_where *w);
void sim_shadow_shared(size_t at, size_t bytes);               /* these bytes of shared memory are a variable          */
void sim_shadow_poison(void *p, size_t bytes);                 /* shared memory: as if it had never been written       */
void sim_shadow_landed(void *p, size_t bytes);                 /* what was poisoned has been written, by its writer    */
void sim_shadow_mbarrier(const sim_where *w, void *p, const void *pc); /* eight bytes become one                       */
/* Any number of bytes, by the thread or the operation of an engine that w says. */
void sim_access_as(const sim_where *w, const void *p, size_t bytes, bool write, const void *pc);
void sim_tensor_begin_block(unsigned threads);                 /* tensor.cc: no copies are under way                   */
/* A sum of products as tensor cores form it: exact, aligned to the largest and cut off `bits` behind it, as is the sum. */
struct sim_factor { int32_t m; int e; float value; };          /* m 2^(e - 10)                                         */
sim_factor sim_factor_of(uint16_t h, bool bf16);
float sim_fused(const sim_factor *x, const sim_factor *y, int n, float c, int bits);
/* One number of an mma: of 16 products, of 8 in f16; of a wgmma. */
float sim_wgmma_dot(const uint16_t *a, const uint16_t *b, float c, bool bf16);
float sim_mma_dot(const uint16_t *a, const uint16_t *b, float c, bool bf16);
float sim_mma_dot8(const uint16_t *a, const uint16_t *b, float c);
int sim_capability();                                          /* stream.cc: 75, 80, 90                                */
/* wgmma.cc: a thread touches its own variables, which may be the registers of a product. */
void sim_registers_touched(const sim_where *w, const void *p, size_t bytes, bool write);
/* ---- count.cc: how much is asked of memory; sim_counting switches it on. */
struct sim_counts {
    int64_t global_requests, sectors, global_bytes, shared_requests, shared_turns, barriers;
    int64_t bulk_copies, bulk_sectors, bulk_bytes, products;   /* TMA: of global memory, into or out of shared; wgmma  */
};
extern bool sim_counting;
extern sim_counts sim_counted;
void sim_count_access(const sim_where *w, const void *p, size_t bytes, bool global, const void *pc);
void sim_count_end_block();

void sim_access(const void *p, size_t bytes, bool write, bool atomic, const void *pc);

#endif
