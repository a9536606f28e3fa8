/* describe.c: says in words what the engine has and what it chose. Used by `imago info`. */
#include "tensor/ctx.h"

bool im_op_describe(int i, const char **name, const char **formula)
{
    static const im_op *const ops[] = {
#define IM_OP(op, text) &im_op_##op,
#include "tensor/ops.def"
#undef IM_OP
    };
    if (i < 0 || i >= (int)(sizeof ops / sizeof *ops))
        return false;
    *name = ops[i]->name;
    *formula = ops[i]->formula;
    return true;
}

const char *im_device_kernel(const im_ctx *c, im_dtype weights)
{
    return c->dev.s.product ? c->dev.s.product(&c->dev, weights) : "none";
}
