/* grad_tree.h: the order in which gradients are summed over the parts of a step.
 *
 *     sum(parts 0 .. P)  =  sum(0 .. H) + sum(H .. P),   H the largest power of two below P;  of one part: its gradient
 *
 *     P = 4:  (0 + 1) + (2 + 3)      P = 5:  ((0 + 1) + (2 + 3)) + 4      P = 7:  ((0 + 1) + (2 + 3)) + ((4 + 5) + 6)
 *
 * in f32, element by element. The gradient of a part begins at zero, whatever came before. So the parts of a range that is
 * a power of two long and begins at a multiple of that are a tree of their own, which another process can sum (ranks.h).
 * A part's gradient is rounded to f32 before it is added to another's: sums that a kernel makes in f64 (gamma and beta of
 * norms) or in one chain (rows of an embedding), and weights that a part uses several times, end with the part.
 *
 * Sums that wait for their other half: one set of gradients a level, log2(P) at most, whose memory serves every step.
 * Used by step_parts.c. */
#ifndef IM_GRAD_TREE_H
#define IM_GRAD_TREE_H

#include "imago.h"

typedef struct im_grad_tree im_grad_tree;
/* w[i]->grad is summed; w is borrowed. */
im_grad_tree *im_grad_tree_new(im_ctx *c, im_tensor *const *w, int n);
void im_grad_tree_free(im_grad_tree *t);

/* The gradients of part k of `parts` are there, k ascending from 0. What they are part of is put aside, and after the last
 * part the gradients are the sums. */
bool im_grad_tree_add(im_grad_tree *t, int k, int parts);
int im_grad_tree_sets(const im_grad_tree *t);                  /* sets of gradients put aside at most so far           */

#endif
