/* block.h: what block.cc lends to the files whose instructions make threads wait or engines work: mbarrier.cc, bulk.cc
 * and wgmma.cc; and what these let block.cc call. Threads and blocks are those of the cluster that runs. */
#ifndef SIM_BLOCK_H
#define SIM_BLOCK_H

#include "sim.h"

#include <vector>

enum { SIM_WARP_THREADS = 32, SIM_WARPGROUP = 128 };

/* ---- block.cc */
unsigned sim_blocks();                                         /* of the cluster                                       */
unsigned sim_threads_each();                                   /* of a block                                           */
bool sim_block_ended(unsigned block);
void sim_give_way(const char *what);                           /* until somebody wakes this thread                     */
void sim_wake(unsigned slot);
uint32_t *sim_clock_of(unsigned agent);                        /* sim_clock_words() of them                            */
unsigned sim_clock_words();
void sim_clock_join(uint32_t *to, const uint32_t *from);       /* no-op without checks                                 */
void sim_clocks_meet(unsigned from, unsigned to, uint32_t mask);       /* of threads from .. to-1, or some of a warp   */
void sim_clock_tick();                                         /* what this thread does from now on is new             */
void sim_wants_hopper(const char *what);                       /* a fault where the device or the launch has none      */
/* One operation of an engine, which happens behind what `clock` has seen: an agent for it, and how shadow.cc is to see
 * it. */
sim_where sim_engine(const uint32_t *clock);
/* The running thread has seen operation `time` of an agent end. */
struct sim_done { unsigned agent; uint32_t time; };
sim_done sim_done_of(const sim_where &w);
void sim_clock_see(uint32_t *clock, const sim_done &done);
uint32_t sim_random();                                         /* the same in every run                                */

/* ---- warp.cc */
void sim_warps_begin(unsigned threads);

/* ---- mbarrier.cc */
void sim_barriers_begin(unsigned blocks);
bool sim_barriers_explain();                                   /* in a deadlock: which of them wait for what           */
void sim_barriers_end();                                       /* of a cluster: what nobody has waited for             */
struct sim_mbarrier;
sim_mbarrier *sim_mbarrier_at(const void *p, bool engine, const char *what);   /* NULL, and a fault                    */
void sim_mbarrier_bytes(sim_mbarrier *b, int64_t bytes, const sim_done &done); /* of a copy that has landed            */

/* ---- bulk.cc */
void sim_bulk_begin(unsigned threads);
bool sim_bulk_land(bool must);                                 /* some copy that is under way, or perhaps none         */
void sim_bulk_end();

/* ---- wgmma.cc */
void sim_products_begin(unsigned threads);
void sim_products_end();

#endif
