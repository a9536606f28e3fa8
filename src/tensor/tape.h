/* tape.h: the recording half of gradients, called by im_run and by scopes. */
#ifndef IM_TAPE_H
#define IM_TAPE_H

#include "tensor/ctx.h"

typedef struct im_tape im_tape;

bool im_tape_push(im_ctx *c, const im_node *n);                /* one more node; it holds what its backward reads      */
void im_tape_adopt(im_ctx *c, im_scope *s);                    /* the tape keeps the headers of a scope that closes    */
/* Fails, naming op, layer and element, where t holds a NaN or an infinity; what: "output", "gradient of input 1". */
bool im_want_finite(im_ctx *c, const im_node *n, const im_tensor *t, const char *what);

#endif
