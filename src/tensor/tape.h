/* tape.h: the recording half of gradients, called by im_run and by scopes. */
#ifndef IM_TAPE_H
#define IM_TAPE_H

#include "tensor/ctx.h"

typedef struct im_tape im_tape;

bool im_tape_push(im_ctx *c, const im_node *n);                /* one more node; it holds what its backward reads      */
void im_tape_adopt(im_ctx *c, im_scope *s);                    /* the tape keeps the headers of a scope that closes    */
/* finite.c: fails, naming layer, op and element, where t, the node's output or the gradient of an input of it, holds a NaN
 * or an infinity. */
typedef enum { IM_FINITE_OUTPUT, IM_FINITE_GRADIENT } im_finite_of;
bool im_want_finite(im_ctx *c, const im_node *n, const im_tensor *t, im_finite_of what);

#endif
