/* tape.c: reverse-mode differentiation (Linnainmaa 1970; Griewank & Walther 2008, chapter 3).
 *
 * The tape is an array of nodes in the order of execution, so no graph is searched: every consumer of a tensor stands
 * behind its producer. im_backward walks from the end; each node reads the gradient of its output, adds to the gradients
 * of its inputs, and lets go of what it kept.
 *
 * Who owns what: a node counts a reference on the storage of each input and output that its op names in `keeps`, and owns
 * what it saved. When a scope closes while a tape is open, the tape takes the headers and the scope's references are
 * dropped: data that no node needs is freed at once, though its header lives on, since gradients hang there. */
#include "tensor/tape.h"
#include "tensor/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct im_tape {
    im_node *nodes;
    int n, cap;
    im_scope tensors;                                          /* headers of closed scopes                             */
    struct im_tape *up;                                        /* im_recompute opens a tape inside backward            */
};

bool im_want_grad(im_ctx *c, im_tensor *t)
{
    if (!t || !im_ok(c))
        return false;
    if (t->packed || t->dtype != IM_F32 || !im_contiguous(t))
        return im_fail(c, "gradient of %s: found a %s %s tensor, wanted plain contiguous f32; load weights for training "
                       "unpacked in f32", t->name ? t->name : "a tensor", t->packed ? "packed" : "strided or plain",
                       im_dtype_name((im_dtype)t->dtype));
    t->wants_grad = 1;
    return true;
}

void im_zero_grad(im_tensor *t)
{
    if (t)
        t->grad_set = 0;
}

void im_set_compute_dtype(im_ctx *c, im_dtype t)
{
    c->dev.compute_dtype = t == IM_BF16 ? IM_BF16 : IM_F32;
}

im_dtype im_compute_dtype(const im_ctx *c)
{
    return c->dev.compute_dtype;
}

void im_on_tape(im_ctx *c, void (*fn)(void *arg, const im_tape_row *row), void *arg)
{
    c->tape_row = fn;
    c->tape_row_arg = arg;
}

void im_on_gradient(im_ctx *c, void (*fn)(void *arg, im_tensor *w), void *arg)
{
    c->gradient = fn;
    c->gradient_arg = arg;
}

/* ---------------------------------------------------------------- recording */

bool im_tape_begin(im_ctx *c)
{
    if (!im_ok(c))
        return false;
    if (c->mode != IM_EAGER)
        return im_fail(c, "tape: one is open already, or a plan is being recorded; call im_backward or im_tape_end first");
    im_tape *t = calloc(1, sizeof *t);
    if (!t)
        return im_fail(c, "out of memory while opening a tape");
    c->dev.reuse = true;
    t->up = c->tape;
    c->tape = t;
    c->mode = IM_TAPE;
    return true;
}

/* Every storage whose data the node's backward reads. */
static int kept(const im_node *n, im_storage *s[IM_MAX_IN + 1])
{
    int count = 0;
    for (int i = 0; i < n->op->n_in; i++)
        if (n->in[i] && n->kept & IM_KEEP(i))
            s[count++] = n->in[i]->storage;
    if (n->kept & IM_KEEP_OUT)
        s[count++] = n->out->storage;
    return count;
}

bool im_tape_push(im_ctx *c, const im_node *n)
{
    im_tape *t = c->tape;
    if (t->n == t->cap) {
        int cap = t->cap ? 2 * t->cap : 256;
        im_node *nodes = realloc(t->nodes, (size_t)cap * sizeof *nodes);
        if (!nodes)
            return im_fail(c, "out of memory for the tape");
        t->nodes = nodes;
        t->cap = cap;
    }
    im_node *node = &t->nodes[t->n++];
    *node = *n;
    node->kept = n->op->keeps & ~(n->in[1] && !n->in[1]->wants_grad ? n->op->keeps_for_w : 0);
    im_storage *s[IM_MAX_IN + 1];
    for (int i = kept(node, s) - 1; i >= 0; i--)
        s[i]->refs++;
    return true;
}

/* The header drops its reference; what a node keeps stays where it is, the rest is gone. */
static void let_go(im_tensor *t)
{
    if (t->on_tape)
        return;
    t->on_tape = 1;
    if (t->storage && t->storage->refs == 1) {
        im_storage_release(t->storage);
        t->storage = NULL;
    } else if (t->storage) {
        t->storage->refs--;
    }
}

void im_tape_adopt(im_ctx *c, im_scope *s)
{
    im_scope *open = c->scope;
    c->scope = &c->tape->tensors;
    int i = 0;
    for (; i < s->n && im_scope_add(c, s->v[i]); i++)
        let_go(s->v[i]);
    c->scope = open;
    int left = 0;                                              /* out of memory: the scope keeps, and frees, the rest  */
    for (; i < s->n; i++)
        s->v[left++] = s->v[i];
    s->n = left;
}

/* ---------------------------------------------------------------- the backward half of an op */

im_tensor *im_save(im_ctx *c, im_node *n, int slot, int ndim, const int64_t shape[])
{
    im_tensor *t = im_new(c, IM_F32, ndim, shape);
    if (t)
        im_scope_take(c, t);                                   /* the node owns it now                                 */
    return n->saved[slot] = t;
}

const im_tensor *im_dout(const im_node *n)
{
    return n->out->grad;
}

/* The gradient of a whole tensor: made when first asked for, and owned by it. */
static im_tensor *own_grad(im_ctx *c, im_tensor *t)
{
    if (!t->grad && (t->grad = im_new(c, (im_dtype)t->dtype, t->ndim, t->shape)))
        im_scope_take(c, t->grad);
    return t->grad;
}

static im_tensor *root_of(im_tensor *t)
{
    return t->base ? t->base : t;
}

/* Where the gradient of t lies in that of its root: the same place as in the tensor. */
static im_tensor *grad_place(im_ctx *c, im_tensor *t, bool *add)
{
    im_tensor *root = root_of(t), *g = own_grad(c, root);
    if (!g)
        return NULL;
    bool whole = im_numel(t) == im_numel(root);
    if (!root->grad_set && !whole)                             /* a part: the rest of the gradient is zero so far      */
        im_fill(c, g, 0);
    *add = root->grad_set || !whole;
    root->grad_set = 1;
    if (t == root)
        return g;
    im_tensor view = *t;
    view.offset = t->offset - root->offset;
    view.wants_grad = view.grad_set = view.on_tape = 0;
    view.base = view.grad = NULL;
    g->storage->refs++;
    return im_tensor_over(c, g->storage, &view);
}

/* Another input has elements of t, but is not the same view of them. Kernels that make several gradients at once, in
 * parallel, may not meet in one element; where the views are one and the same they take care of that. */
static bool meets_another(const im_node *n, int input)
{
    im_tensor *t = n->in[input];
    for (int i = 0; i < n->op->n_in; i++)
        if (i != input && n->in[i] && n->in[i]->wants_grad && root_of(n->in[i]) == root_of(t) && n->in[i] != t
            && im_overlap(n->in[i], t) == IM_PARTLY)
            return true;
    return false;
}

/* Such a gradient is made by itself, with the strides of its tensor, and added when the node is done. */
static im_tensor *grad_apart(im_ctx *c, im_node *n, int input)
{
    im_tensor view = *n->in[input];
    int64_t span = 1;
    for (int i = 0; i < view.ndim; i++)
        span += (view.shape[i] - 1) * view.stride[i];
    im_tensor *room = im_new(c, (im_dtype)view.dtype, 1, &span);
    if (!room)
        return NULL;
    view.offset = 0;
    view.wants_grad = view.grad_set = view.on_tape = 0;
    view.base = view.grad = NULL;
    room->storage->refs++;
    return c->apart[input] = im_tensor_over(c, room->storage, &view);
}

static void add_apart(im_ctx *c, im_node *n)
{
    for (int i = 0; i < n->op->n_in; i++) {
        bool add;
        im_tensor *g = c->apart[i] && !c->failed ? grad_place(c, n->in[i], &add) : NULL;
        if (g && im_copy_tensor(c, c->apart[i], g, add))
            im_fail(c, "backward of %s: the copy kernel failed", n->op->name);
    }
}

im_tensor *im_grad_of(im_ctx *c, im_node *n, int input, bool *add)
{
    im_tensor *t = n->in[input];
    *add = false;
    if (!t || !t->wants_grad)
        return NULL;
    return meets_another(n, input) ? grad_apart(c, n, input) : grad_place(c, t, add);
}

im_buf im_grad_buf(im_ctx *c, im_node *n, int input, bool *add)
{
    return im_write_of(im_grad_of(c, n, input, add));
}

float *im_grad_f32(im_ctx *c, im_node *n, int input, bool *add)
{
    return im_grad_buf(c, n, input, add).p;
}

/* ---------------------------------------------------------------- walking back */

static bool grads_finite(im_ctx *c, const im_node *n)
{
    for (int i = 0; i < n->op->n_in; i++) {
        const im_tensor *t = n->in[i];
        const im_tensor *root = t && t->base ? t->base : t;
        if (root && root->grad_set && root->grad && !im_want_finite(c, n, root->grad, IM_FINITE_GRADIENT))
            return false;
    }
    return true;
}

static size_t release(im_node *n)
{
    im_storage *s[IM_MAX_IN + 1];
    size_t bytes = 0;
    for (int i = kept(n, s) - 1; i >= 0; i--) {
        bytes += s[i]->bytes;
        im_storage_release(s[i]);
    }
    for (int i = 0; i < IM_MAX_SAVED; i++) {
        if (n->saved[i])
            bytes += n->saved[i]->storage->bytes;
        im_tensor_free(n->saved[i]);
        n->saved[i] = NULL;
    }
    im_tensor_free(n->out->grad);                              /* all who read it have: only leaves keep gradients     */
    n->out->grad = NULL;
    n->out->grad_set = 0;
    n->out->wants_grad = 0;                                    /* whoever read it has run backward before              */
    return bytes;
}

static bool run_backward(im_ctx *c, im_node *n, int index)
{
    double start = c->tape_row ? im_seconds() : 0;
    if (n->out->grad_set && !c->failed) {
        im_tensor *apart[IM_MAX_IN] = { 0 }, **outer = c->apart;
        im_scope_push(c);
        c->apart = apart;
        int status = c->stop ? IM_STOPPED : n->op->backward(c, n);
        if (!status)
            add_apart(c, n);
        c->apart = outer;
        if (status) {
            char what[300];
            snprintf(what, sizeof what, "backward of %s%s%s", n->op->name, n->layer ? " at " : "",
                     n->layer ? n->layer : "");
            im_done(c, status, what);
        }
        im_scope_pop(c);
        if (c->check_finite && !c->failed)
            grads_finite(c, n);
    }
    double seconds = c->tape_row ? im_seconds() - start : 0;
    size_t bytes = release(n);
    if (c->tape_row && !c->failed)
        c->tape_row(c->tape_row_arg, &(im_tape_row){ .index = index, .op = n->op->name, .layer = n->layer ? n->layer : "",
                    .out = n->out, .kept_bytes = bytes, .forward_seconds = n->seconds, .backward_seconds = seconds });
    return !c->failed;
}

/* What a tape made and a scope still holds is a constant from now on; so is a view of it, whose base may go. */
static void forget_bases(im_scope *s)
{
    for (; s; s = s->up)
        for (int i = 0; i < s->n; i++)
            if (s->v[i]->base && !s->v[i]->base->wants_grad) {
                s->v[i]->base = NULL;
                s->v[i]->wants_grad = 0;
            }
}

void im_tape_end(im_ctx *c)
{
    im_tape *t = c->tape;
    if (!t)
        return;
    c->mode = IM_EAGER;
    for (int i = t->n - 1; i >= 0; i--)
        release(&t->nodes[i]);
    c->tape = t->up;
    forget_bases(c->scope);
    im_scope_list_free(&t->tensors);
    free(t->nodes);
    free(t);
}

/* ---------------------------------------------------------------- gradients that are whole */

typedef struct whole { im_tensor *w; int at; } whole;          /* the input, counted through all nodes, that adds last   */
enum { MADE = -1 };                                            /* what a node has made is no parameter                 */

static int by_tensor(const void *a, const void *b)
{
    const whole *x = a, *y = b;
    return x->w != y->w ? ((uintptr_t)x->w < (uintptr_t)y->w ? -1 : 1) : (x->at > y->at) - (x->at < y->at);
}

static int from_the_end(const void *a, const void *b)
{
    const whole *x = a, *y = b;
    return (x->at < y->at) - (x->at > y->at);
}

/* Every parameter on the tape, in the order in which backward has their gradients: the first node that reads one is the
 * last that adds to it. *n of them; NULL where nobody asks, or im_recompute hides some. */
static whole *find_whole(const im_ctx *c, const im_tape *t, int *n)
{
    int found = 0;
    whole *v = c->gradient && !t->up ? malloc((size_t)t->n * (IM_MAX_IN + 1) * sizeof *v) : NULL;
    for (int k = 0; v && k < t->n; k++) {
        const im_node *node = &t->nodes[k];
        if (node->fn) {
            free(v);
            return NULL;
        }
        for (int i = 0; i < node->op->n_in; i++)
            if (node->in[i] && root_of(node->in[i])->wants_grad)
                v[found++] = (whole){ root_of(node->in[i]), k * IM_MAX_IN + i };
        v[found++] = (whole){ node->out, MADE };
    }
    if (!v)
        return NULL;
    qsort(v, (size_t)found, sizeof *v, by_tensor);
    *n = 0;
    for (int i = 0; i < found; i++)
        if ((!i || v[i].w != v[i - 1].w) && v[i].at != MADE)
            v[(*n)++] = v[i];
    qsort(v, (size_t)*n, sizeof *v, from_the_end);
    return v;
}

bool im_backward_from(im_ctx *c, im_tensor *y, const im_tensor *dy)
{
    im_tape *t = c->tape;
    if (!t)
        return im_fail(c, "backward: no tape is open; call im_tape_begin before the forward pass");
    if (!c->failed && (!y || !dy))
        im_fail(c, "backward: found no %s", y ? "gradient to begin with" : "result to begin at");
    if (!c->failed && !y->wants_grad)
        im_fail(c, "backward: nothing that led to this result wants a gradient; call im_want_grad on the parameters");
    if (!c->failed && (y->base || im_numel(y) != im_numel(dy) || !im_contiguous(dy) || dy->dtype != y->dtype))
        im_fail(c, "backward: found a view, or a gradient of another size or dtype; wanted the result of an operation and "
                   "a contiguous gradient of its shape and dtype");
    im_tensor *g = c->failed ? NULL : own_grad(c, y);
    c->mode = IM_EAGER;
    if (g) {
        y->grad_set = im_assign(c, g, dy);
        int n_whole = 0, told = 0;
        whole *w = find_whole(c, t, &n_whole);
        while (t->n > 0 && run_backward(c, &t->nodes[t->n - 1], t->n - 1))
            for (t->n--; told < n_whole && w[told].at / IM_MAX_IN == t->n; told++)
                c->gradient(c->gradient_arg, w[told].w);
        free(w);
        if (t->n > 0)
            t->n--;                                            /* the failed one has let go already                    */
    }
    im_tape_end(c);
    return !c->failed;
}

bool im_backward(im_ctx *c, im_tensor *loss)
{
    if (!c->failed && loss && im_numel(loss) != 1) {
        char shape[160];
        im_shape_text(loss, shape, sizeof shape);
        im_fail(c, "backward: the loss must be one number, found shape %s; use im_backward_from", shape);
    }
    im_scope_push(c);
    c->mode = c->mode == IM_TAPE ? IM_EAGER : c->mode;         /* the one below belongs to no tape                     */
    const float one = 1;
    im_tensor *dy = im_from(c, IM_F32, 1, (int64_t[]){ 1 }, &one);
    bool ok = im_backward_from(c, loss, dy);
    im_scope_pop(c);
    return ok;
}

/* ---------------------------------------------------------------- computing again instead of keeping */

/* What fn makes: with a gradient of its own, so what fn hands through (an input, a weight) or cuts out is copied. It may be
 * a view of the whole of something that fn made. */
static im_tensor *call(im_ctx *c, im_recompute_fn fn, void *arg, im_tensor *const in[], int n_in)
{
    im_tensor *y = fn(c, arg, in, n_in), *root = y ? root_of(y) : NULL;
    bool own = y && im_contiguous(y) && im_numel(root) == im_numel(y) && im_scope_holds(c, root);
    return own ? y : im_contiguous_copy(c, y);
}

/* Forward again on a tape of its own, then back through it. The inputs are the tensors themselves, views and all, so every
 * operation adds to the gradients that it would have added to without im_recompute, in the same order: the same bits. */
static int recompute_backward(im_ctx *c, im_node *n)
{
    bool was = c->recomputing;
    if (!im_tape_begin(c))
        return IM_NO_MEMORY;
    c->recomputing = true;
    im_tensor *y = call(c, n->fn, n->arg, n->in, n->attrs.i[0]);
    c->recomputing = was;
    im_backward_from(c, y ? root_of(y) : NULL, im_dout(n));
    return IM_DONE;                                            /* a failure is in the context already                  */
}

static const im_op op_recompute = { .name = "recompute", .formula = "y = fn(x)", .n_in = IM_MAX_IN,
    .optional = (1u << IM_MAX_IN) - 1, .backward = recompute_backward, .keeps = (1u << IM_MAX_IN) - 1 };

im_tensor *im_recompute(im_ctx *c, im_recompute_fn fn, void *arg, im_tensor *const in[], int n_in)
{
    if (!im_ok(c))
        return NULL;
    if (n_in < 0 || n_in > IM_MAX_IN || !fn || (n_in && !in)) {
        im_fail(c, "recompute: found %d inputs%s, wanted 0 to %d and a function", n_in, fn ? "" : " and no function",
                IM_MAX_IN);
        return NULL;
    }
    if (c->mode != IM_TAPE)
        return fn(c, arg, in, n_in);
    im_node n = { .op = &op_recompute, .taped = true, .fn = fn, .arg = arg, .attrs.i = { n_in } };
    for (int i = 0; i < n_in; i++)
        n.in[i] = in[i];
    bool outer = c->marking;
    c->marking = true;
    c->mode = IM_EAGER;
    im_scope_push(c);
    double start = c->tape_row ? im_seconds() : 0;
    n.out = im_keep(c, call(c, fn, arg, in, n_in));
    n.seconds = c->tape_row ? im_seconds() - start : 0;
    im_scope_pop(c);
    c->mode = IM_TAPE;
    c->marking = outer;
    if (!n.out || c->failed)
        return NULL;
    n.out->base = NULL;
    return n.out->wants_grad && !im_tape_push(c, &n) ? NULL : n.out;
}
