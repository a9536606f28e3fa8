/* op.c: im_run, the one path that every operation takes, and the only function that knows the modes of a context:
 * run; run and record for backward; record only. */
#include "tensor/plan.h"
#include "tensor/tape.h"
#include "tensor/tensor.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

static void describe_inputs(const im_node *n, char *out, size_t size)
{
    size_t at = 0;
    out[0] = '\0';
    for (int i = 0; i < n->op->n_in && at < size; i++) {
        char shape[128] = "-";
        if (n->in[i])
            im_shape_text(n->in[i], shape, sizeof shape);
        at += (size_t)snprintf(out + at, size - at, "%s%s %s", i ? ", " : "", shape,
                               n->in[i] ? im_dtype_name((im_dtype)n->in[i]->dtype) : "");
    }
}

bool im_want(im_ctx *c, const im_node *n, bool ok, const char *wanted)
{
    if (ok)
        return true;
    char found[700];
    describe_inputs(n, found, sizeof found);
    return im_fail(c, "%s%s%s: found %s; wanted %s", n->op->name, n->layer ? " at " : "", n->layer ? n->layer : "",
                   found, wanted);
}

bool im_want_f32(im_ctx *c, const im_node *n, int input)
{
    const im_tensor *t = n->in[input];
    if (t->dtype == IM_F32 && im_contiguous(t) && !t->packed)
        return true;
    char wanted[64];
    snprintf(wanted, sizeof wanted, "input %d contiguous in f32", input);
    return im_want(c, n, false, wanted);
}

bool im_want_activation(im_ctx *c, const im_node *n, int input)
{
    const im_tensor *t = n->in[input];
    if (im_is_real((im_dtype)t->dtype) && im_contiguous(t) && !t->packed)
        return true;
    char wanted[64];
    snprintf(wanted, sizeof wanted, "input %d contiguous in f32, f16 or bf16", input);
    return im_want(c, n, false, wanted);
}

bool im_ask(im_ctx *c, im_node *n, int slot, int ndim, const int64_t shape[])
{
    im_tensor meta = { .dtype = IM_F32, .ndim = (uint8_t)ndim };
    memcpy(meta.shape, shape, (size_t)ndim * sizeof *shape);
    size_t bytes;
    if (!im_checked_bytes(c, &meta, &bytes))
        return false;
    im_contiguous_strides(&meta);
    n->scratch[slot] = im_tensor_over(c, im_storage_new(c, bytes, c->mode == IM_PLAN), &meta);
    return n->scratch[slot] != NULL;
}

/* Outside a plan, when forward has run. */
static void drop_scratch(im_ctx *c, im_node *n)
{
    for (int i = 0; i < IM_MAX_SCRATCH; i++) {
        if (!n->scratch[i])
            continue;
        im_scope_take(c, n->scratch[i]);
        im_tensor_free(n->scratch[i]);
        n->scratch[i] = NULL;
    }
}

bool im_like(im_ctx *c, im_node *n, int input)
{
    (void)c;
    const im_tensor *t = n->in[input];
    n->out->ndim = t->ndim;
    n->out->dtype = t->dtype;
    memcpy(n->out->shape, t->shape, sizeof t->shape);
    return true;
}

int im_no_backward(im_ctx *c, im_node *n)
{
    im_fail(c, "%s has no gradient: nothing that reaches it may want one", n->op->name);
    return IM_NO_KERNEL;
}

double im_node_bytes(const im_node *n)
{
    double sum = (double)im_numel(n->out) * (double)im_dtype_size((im_dtype)n->out->dtype);
    for (int i = 0; i < n->op->n_in; i++)
        if (n->in[i])
            sum += (double)im_numel(n->in[i]) * (double)im_dtype_size((im_dtype)n->in[i]->dtype);
    return sum;
}

int im_node_run(im_ctx *c, im_node *n)
{
    if (c->stop) {
        im_fail(c, "stopped");
        return IM_STOPPED;
    }
    bool timed = c->profile || (n->taped && c->tape_row);
    double start = timed ? im_seconds() : 0;
    int status = n->op->forward(c, n);
    n->seconds = timed ? im_seconds() - start : 0;
    if (im_done(c, status, n->op->name) && c->profile) {
        im_profile_row row = { .op = n->op->name, .layer = n->layer ? n->layer : "", .out = n->out,
                               .seconds = n->seconds, .flop = n->op->flop ? n->op->flop(n) : 0,
                               .bytes = im_node_bytes(n) };
        c->profile(c->profile_arg, &row);
    }
    if (c->check_finite && !status && !im_want_finite(c, n, n->out, IM_FINITE_OUTPUT))
        return IM_NO_KERNEL;
    return status;
}

/* A gradient has the dtype of its tensor, and kernels write those of parameters in f32. */
static bool grads_fit(im_ctx *c, const im_node *n)
{
    for (int i = 0; i < n->op->n_in; i++) {
        const im_tensor *t = n->in[i];
        char wanted[80];
        if (!t || !t->wants_grad || t->dtype == IM_F32 || !(n->op->f32_grads >> i & 1u))
            continue;
        snprintf(wanted, sizeof wanted, "input %d in f32, since it gets a gradient; im_cast makes it that", i);
        return im_want(c, n, false, wanted);
    }
    return true;
}

/* Kernels count along an axis in int. */
static bool axes_fit(im_ctx *c, const im_node *n, const im_tensor *t)
{
    for (int i = 0; t && i < t->ndim; i++)
        if (t->shape[i] > INT_MAX)
            return im_want(c, n, false, "axes of at most 2147483647");
    return true;
}

im_tensor *im_run(im_ctx *c, const im_op *op, im_tensor *const in[], const im_attrs *attrs)
{
    if (!im_ok(c))
        return NULL;
    im_tensor meta = { 0 };
    im_node n = { .op = op, .out = &meta };
    bool grad = false;
    for (int i = 0; i < op->n_in; i++) {
        if (!in[i] && !(op->optional >> i & 1u)) {
            im_fail(c, "%s: input %d is missing", op->name, i);
            return NULL;
        }
        n.in[i] = in[i];
        if (in[i] && !in[i]->storage) {
            im_fail(c, "%s: \"%s\" was used before it was loaded", op->name, in[i]->name ? in[i]->name : "a tensor");
            return NULL;
        }
        if (in[i] && !im_belongs(c, in[i], op->name))
            return NULL;
        if (!axes_fit(c, &n, in[i]))
            return NULL;
        if (in[i] && in[i]->name && !n.layer)
            n.layer = in[i]->name;
        grad |= in[i] && in[i]->wants_grad;
    }
    n.taped = grad && c->mode == IM_TAPE;
    grad &= n.taped || c->marking;
    if (attrs)
        n.attrs = *attrs;
    size_t bytes;
    if (!op->shape(c, &n) || !axes_fit(c, &n, &meta)                   /* the only place where shapes are checked      */
        || !im_checked_bytes(c, &meta, &bytes)
        || (grad && !grads_fit(c, &n)))
        return NULL;
    im_contiguous_strides(&meta);
    n.out = im_tensor_over(c, im_storage_new(c, bytes, c->mode == IM_PLAN), &meta);
    if (!n.out || (c->mode != IM_PLAN && im_node_run(c, &n)) || (c->mode == IM_PLAN && !im_plan_push(c, &n)))
        return NULL;
    if (c->mode != IM_PLAN)
        drop_scratch(c, &n);
    n.out->wants_grad = grad;
    return n.taped && !im_tape_push(c, &n) ? NULL : n.out;
}
