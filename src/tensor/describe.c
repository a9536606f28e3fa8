/* describe.c: says in words what the engine has and what it chose. Used by `imago info`. */
#include "tensor/tensor.h"

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

bool im_device_check(im_ctx *c, void (*row)(void *arg, const im_check_row *row), void *arg)
{
    if (!im_ok(c))
        return false;
    if (!c->dev.s.check)
        return im_fail(c, "the device %s does not check itself: its kernels are compared with ref by make check",
                       c->dev.name);
    return im_done(c, c->dev.s.check(&c->dev, row, arg), "the check of the device");
}
