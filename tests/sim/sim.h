/* sim.h: the simulator of a CUDA device, for machines without one. Kernels of src/cuda are compiled by g++ with
 * tests/sim/cuda/ptx.cuh in place of src/cuda/ptx.cuh, and run here: a grid block by block, the threads of a block as
 * fibers.
 *
 *     kernel.cu ---- g++ -fsanitize=thread ---> loads and stores call __tsan_read4 and its sisters (shadow.cc), which
 *                                               are ours: libtsan is not linked, kernels carry no instrumentation
 *     block.cc      runs a launch: fibers, __syncthreads, warps, the order of threads
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
    SIM_WARP,                    /* a shuffle from a lane that takes no part                                           */
    SIM_DEADLOCK,
    SIM_LAUNCH,                  /* sizes that no device takes, instructions that this one does not have               */
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
void sim_run(const char *kernel, dim3 grid, dim3 block, const sim_body &body);

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
    unsigned threads;            /* of the block                                                                       */
    unsigned slot;               /* of the thread, 0 .. threads-1                                                      */
    uint32_t *clock;             /* (threads): its vector clock                                                        */
    uint32_t stamp, first_stamp; /* of this block, of the first block of the launch                                    */
    const char *stack, *stack_end;
    const char *args, *args_end; /* of the launch: they can be read                                                    */
    char *shared; size_t shared_size;                          /* of the block                                         */
};
const sim_where *sim_here();                                   /* NULL outside of kernels                              */
/* All lanes of a warp meet and lay down up to 16 words; returns those of all, [lane][16], until the next such meeting. */
const uint32_t *sim_exchange(const uint32_t *words, int n, const char *what, int line);
void sim_shadow_begin_block(const sim_where *w);
void sim_shadow_shared(size_t at, size_t bytes);               /* these bytes of shared memory are a variable          */
void sim_shadow_poison(void *p, size_t bytes);                 /* shared memory: as if it had never been written       */
void sim_tensor_begin_block(unsigned threads);                 /* tensor.cc: no copies are under way                   */
/* One number of an mma: of 16 products, of 8 in f16. */
float sim_mma_dot(const uint16_t *a, const uint16_t *b, float c, bool bf16);
float sim_mma_dot8(const uint16_t *a, const uint16_t *b, float c);
int sim_capability();                                          /* stream.cc: 75, 80                                    */
/* ---- count.cc: how much is asked of memory; sim_counting switches it on. */
struct sim_counts { int64_t global_requests, sectors, global_bytes, shared_requests, shared_turns, barriers; };
extern bool sim_counting;
extern sim_counts sim_counted;
void sim_count_access(const sim_where *w, const void *p, size_t bytes, bool global, const void *pc);
void sim_count_end_block();

void sim_access(const void *p, size_t bytes, bool write, bool atomic, const void *pc);

#endif
