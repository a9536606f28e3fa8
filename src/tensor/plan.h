/* plan.h: the recording half of plans, called by im_run and by scopes. */
#ifndef IM_PLAN_H
#define IM_PLAN_H

#include "tensor/ctx.h"

bool im_plan_push(im_ctx *c, const im_node *n);                /* one more node; its output and scratch get slots      */
void im_plan_adopt(im_ctx *c, im_scope *s);                    /* the plan keeps the tensors of a scope that closes    */
double im_node_bytes(const im_node *n);                        /* inputs and output, each once                         */

#endif
