/* step_parts.h: the parts of a step (--accumulate): which of them this rank computes, and how what they give becomes one:
 * gradients by the tree of grad_tree.h; losses, counts and statistics of batch norms in the order of the parts. With one
 * rank and with many the same bits.
 *
 *     im_step_parts_run(&p, l, part, arg);                    // part(arg, k): forward and backward of part k
 *     im_step_parts_join(&p, l, step, &told);                 // every rank has all sums now
 *
 * Batch norm: statistics are those of a part; the running ones are moved by part 0, then by part 1, ... of the step. Or,
 * `together`, statistics of all parts, which run side by side then (lockstep.h) and move the running ones once.
 * Used by train_loop.c. */
#ifndef IM_STEP_PARTS_H
#define IM_STEP_PARTS_H

#include "models/train/grad_tree.h"
#include "models/train/lockstep.h"
#include "models/train/optimiser.h"
#include "models/train/overlap.h"
#include "models/train/ranks.h"

/* What is no sum of floats: of this rank's parts, then of all. */
typedef struct im_step_told { int64_t pictures, judged; bool stop; } im_step_told;

typedef struct im_step_parts {
    im_ctx *c;
    im_ranks *ranks;
    im_optimiser *optimiser;
    int parts, first, mine;                                    /* of a step; of this rank                             */
    im_tensor **w; int n;                                      /* what has gradients                                  */
    im_grad_tree *tree;
    im_norm_log *log;                                          /* with several ranks                                  */
    bool together; im_lockstep lockstep;                       /* batch norms over all parts                          */
    im_ledger *ledger; bool (*part)(void *arg, int k); void *arg;          /* while a step is under way               */
    double *seen; int64_t seen_a_part;                         /* (mine, seen_a_part) of the step under way           */
    float *flat;                                               /* all gradients in a row: what is exchanged           */
    im_overlap *overlap;                                       /* NULL: only after backward                           */
    double norm;                                               /* square of the last step's gradient                  */
    int64_t steps; double waited, exchanged;                   /* so far; seconds from the end of backward until all  */
                                                               /* ranks were there, and of sums of gradients          */
    int64_t overlapped;                                        /* steps whose sums began during backward              */
} im_step_parts;

/* Every rank has as many parts, a power of two of them: a subtree. Else an error that says what would do. */
bool im_step_parts_check(im_ctx *c, int parts, int ranks);

bool im_step_parts_open(im_step_parts *p, im_ranks *ranks, im_optimiser *o, int parts, bool together);
void im_step_parts_close(im_step_parts *p);
bool im_step_parts_run(im_step_parts *p, im_ledger *l, bool (*part)(void *arg, int k), void *arg);
bool im_step_parts_join(im_step_parts *p, im_ledger *l, int64_t step, im_step_told *told);

#endif
