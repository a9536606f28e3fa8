/* finite.c: where the first value that is not finite comes from. A loop over the outputs and gradients of every operation
 * while it runs: far too slow for every step, so it is switched on when a cheap check of a result has found something,
 * and what gave that result runs once more (im_find_not_finite). Used by training and generation. */
#include "tensor/tape.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check_finite(im_ctx *c, bool on)
{
    c->check_finite = on;
    c->last_layer = NULL;
}

static float value_at(const void *x, im_dtype t, int64_t i)
{
    switch (t) {
    case IM_F16:  return im_f32_from_f16(((const uint16_t *)x)[i]);
    case IM_BF16: return im_f32_from_bf16(((const uint16_t *)x)[i]);
    case IM_I32:  return 0;
    default:      return ((const float *)x)[i];
    }
}

/* The first of n values that is not finite; n when all are. x comes from the device and goes. value: that value. */
static int64_t first_bad(void *x, im_dtype t, int64_t n, float *value)
{
    int64_t i = 0;
    while (x && i < n && isfinite(*value = value_at(x, t, i)))
        i++;
    free(x);
    return x ? i : n;
}

/* A weight's memory, in panels or plain: padding is zero, so that all of it may be looked at. */
static const char *bad_weight(im_ctx *c, const im_node *n)
{
    float value;
    for (int i = 0; i < n->op->n_in; i++) {
        const im_tensor *w = n->in[i];
        if (!w || !w->name || !w->storage || !w->storage->data)
            continue;
        int64_t values = (int64_t)(w->storage->bytes / im_dtype_size((im_dtype)w->dtype));
        if (first_bad(im_storage_values(c, w->storage), (im_dtype)w->dtype, values, &value) < values)
            return w->name;
    }
    return NULL;
}

/* "down_blocks.0.resnets.1.conv1 (conv2d)"; without weights of its own: "mid_block.attentions.0.norm, then attention" */
static void name_node(const im_ctx *c, const im_node *n, char *out, size_t size)
{
    const char *layer = n->layer ? n->layer : c->last_layer, *end = layer ? strrchr(layer, '.') : NULL;
    int length = !layer ? 0 : end && (!strcmp(end, ".weight") || !strcmp(end, ".bias")) ? (int)(end - layer)
                                                                                         : (int)strlen(layer);
    if (n->layer)
        snprintf(out, size, "%.*s (%s)", length, layer, n->op->name);
    else
        snprintf(out, size, "%.*s%s%s", length, layer ? layer : "", layer ? ", then " : "", n->op->name);
}

bool im_want_finite(im_ctx *c, const im_node *n, const im_tensor *t, im_finite_of what)
{
    int64_t count = t && im_contiguous(t) && !t->packed ? im_numel(t) : 0;
    float x = 0;
    int64_t i = count ? first_bad(im_values(c, t), (im_dtype)t->dtype, count, &x) : 0;
    if (what == IM_FINITE_OUTPUT && n->layer)
        c->last_layer = n->layer;
    if (i == count)
        return im_ok(c);
    char node[400];
    name_node(c, n, node, sizeof node);
    double value = isnan(x) ? NAN : (double)x;                 /* without its sign                                     */
    if (what == IM_FINITE_GRADIENT)
        return im_fail(c, "%s: element %lld of the gradient of an input is %g", node, (long long)i, value);
    const char *weight = bad_weight(c, n);
    c->bad_weights = weight != NULL;
    return weight ? im_fail(c, "%s: its own weights, %s, hold values that are not finite", node, weight)
                  : im_fail(c, "%s: element %lld of its output is %g, from inputs and weights that are finite", node,
                            (long long)i, value);
}

bool im_find_not_finite(im_ctx *c, bool (*again)(void *arg), void *arg, char *out, size_t size, bool *weights)
{
    bool found = false;
    out[0] = '\0';
    *weights = c->bad_weights = false;
    if (!im_ok(c) || c->stop)
        return false;
    check_finite(c, true);
    if (!again(arg) || !im_ok(c)) {
        snprintf(out, size, "%s", im_error(c));
        found = true;
        *weights = c->bad_weights;
    }
    check_finite(c, false);
    if (!c->stop)                                              /* "stopped" is no finding                              */
        im_clear_error(c);
    return found && !c->stop;
}
