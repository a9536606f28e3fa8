/* lockstep.h: the parts of a step side by side, for what needs values of all parts in the middle of a part: batch norms
 * over the whole of a step's pictures (--sync-batchnorm).
 *
 *     im_lockstep l;
 *     if (im_lockstep_open(&l, ranks, w, n, first, mine, parts)) ...
 *     im_lockstep_run(&l, part, end, arg)      part(arg, k), forward and backward, of every part of this rank; each goes on
 *                                              up to a batch norm, where it waits until all are there, those of the other
 *                                              ranks too; when all have ended, end(arg, k), ascending, each with the
 *                                              gradients of its part in w[i]->grad
 *     im_lockstep_close(&l);
 *
 * Every part has a stack, scopes, a tape and gradients of its own; one runs at a time: the context has one thread as ever.
 * Activations of all parts of a rank are held at once: --accumulate saves no memory then.
 * Used by step_parts.c. */
#ifndef IM_LOCKSTEP_H
#define IM_LOCKSTEP_H

#include "models/train/ranks.h"

typedef struct im_lockstep {
    im_ctx *c;
    im_ranks *ranks;
    im_tensor *const *w; int n;                                /* borrowed                                            */
    int first, mine, parts;
    struct im_fiber *fibers;                                   /* (mine)                                              */
    int running;                                               /* which of them                                       */
    struct { double *v; int64_t cap; } shared[2];              /* (parts, n) of a norm, and of the one after it       */
    int64_t met, count;                                        /* norms so far; numbers that each part gave to this   */
    bool (*part)(void *arg, int k), (*end)(void *arg, int k);
    void *arg;
    im_norm_parts norms;
} im_lockstep;

bool im_lockstep_open(im_lockstep *l, im_ranks *ranks, im_tensor *const *w, int n, int first, int mine, int parts);
bool im_lockstep_run(im_lockstep *l, bool (*part)(void *arg, int k), bool (*end)(void *arg, int k), void *arg);
void im_lockstep_close(im_lockstep *l);

#endif
