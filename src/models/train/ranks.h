/* ranks.h: several processes that train one network together: `mpirun -n 4 imago train ...` (docs/many-machines.md).
 *
 * The parts of a step (--accumulate) are dealt out in ranges, rank r of N computes parts [r P/N, (r+1) P/N), and the
 * gradients are summed over parts by the tree of grad_tree.h, whose upper levels are im_ranks_sum: every number of ranks
 * ends with the same bits.
 *
 *     im_ranks r;
 *     if (im_ranks_join(c, &r)) ... im_ranks_sum(&r, gradient, n) ...
 *     im_ranks_leave(&r);
 *
 * Messages go over MPI (rank_mpi.h), word of a death over TCP (rank_watch.h). Whatever waits for another rank ends, with an
 * error that names it, when any rank has died or failed. Where nobody has started several processes there is one rank and
 * nothing is loaded or opened.
 *
 * GPUs: every rank opens the device that --device names; `cuda` is cuda:K, K the number of the process on its machine
 * modulo the devices (cuda/device.c). Gradients travel by way of the host. */
#ifndef IM_RANKS_H
#define IM_RANKS_H

#include "imago.h"

typedef struct im_ranks {
    im_ctx *c;
    int rank, size;
    struct im_mpi *mpi;                                        /* NULL: one rank                                      */
    struct im_rank_watch *watch;
    struct im_rank_name *names;                                /* (size)                                              */
    uint64_t sent;                                             /* bytes so far                                        */
} im_ranks;

bool im_ranks_join(im_ctx *c, im_ranks *r);
/* c says how it went: after a failure the others are told, and those that wait for this one end. An error "stopped" that a
 * lost rank has caused becomes one that names it. */
void im_ranks_leave(im_ranks *r);
/* Nothing is said of ranks that end from now on: all know why. */
void im_ranks_rest(im_ranks *r);
/* Another thread may exchange, with a copy of r that has a context of its own, while this one does not. */
bool im_ranks_by_turns(const im_ranks *r);
const char *im_ranks_name(const im_ranks *r, int rank);        /* "rank 2 (node7, process 1234)"                      */

/* Calls that every rank makes. */
/* v[i] becomes the sum over ranks: the pairwise tree by rank, ((0 + 1) + (2 + 3)) + .., the same bits on all. Each rank
 * sums a share of the elements, which the others send it, and sends the sums round: 2 n (N - 1) / N floats out and in. */
bool im_ranks_sum(im_ranks *r, float *v, int64_t n);
/* blocks (size, bytes): each rank has filled its own, and gets those of the others. */
bool im_ranks_share(im_ranks *r, void *blocks, size_t bytes);
bool im_ranks_tell(im_ranks *r, void *v, size_t bytes);        /* rank 0 tells, the others get it                     */
/* complaint NULL or "": this rank agrees. Else all fail, with the complaint of the lowest rank that has one. */
bool im_ranks_agree(im_ranks *r, const char *complaint);
/* The same program on all: the same bytes of the file that runs. */
bool im_ranks_same_program(im_ranks *r);

#endif
