/* overlap.h: gradients go to the other ranks while backward still computes the rest of them (as in PyTorch DDP: Li et al.
 * 2020, arXiv 2006.15704, section 3.2.3, "gradient bucketing").
 *
 *     backward      conv5.weight  conv4.weight  conv3.weight ...          the order in which gradients are whole
 *     buckets       [ 0           | 1           | ...                     a row of floats, cut without regard to parameters
 *     second thread       sum 0 ........ sum 1 ....... sum 2              im_ranks_sum, the same order on every rank
 *
 * The sum of a float over ranks does not depend on where it stands (ranks.h), so this changes no bit. The order is that of
 * the first step, which is exchanged whole. Without it, the exchange begins when backward has ended: where im_recompute
 * hides the order, where a part has several backwards or a rank several parts (their tree wants all of one first), with
 * batch norms over all parts, and where MPI may be called by one thread only.
 *
 * MPI is called by the second thread alone between im_overlap_begin and im_overlap_end. Used by step_parts.c. */
#ifndef IM_OVERLAP_H
#define IM_OVERLAP_H

#include "models/train/ranks.h"

typedef struct im_overlap im_overlap;
/* w (n), borrowed: the parameters; flat: room for all their gradients, borrowed. */
im_overlap *im_overlap_new(im_ranks *ranks, im_tensor *const *w, int n, float *flat);
void im_overlap_free(im_overlap *o);

/* Before forward of a step's part: from now on backward is listened to. */
bool im_overlap_begin(im_overlap *o);
/* After backward, however it went. True: flat holds the sums over ranks, in im_overlap_at's order. False: nothing was
 * exchanged in this step, or the context says what has failed. *seconds: of all sums. */
bool im_overlap_end(im_overlap *o, double *seconds);
/* Where the gradient of w[i] lies in flat. */
float *im_overlap_at(const im_overlap *o, int i);

#endif
