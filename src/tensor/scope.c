/* scope.c: who owns tensors. Everything made between a push and its pop is released by the pop, but for tensors handed
 * to the scope around it by im_keep. While a plan is recorded nothing is released: the plan takes all of it; an open tape
 * takes the headers. */
#include "tensor/plan.h"
#include "tensor/tape.h"
#include "tensor/tensor.h"

#include <stdlib.h>

bool im_scope_add(im_ctx *c, im_tensor *t)
{
    im_scope *s = c->scope;
    if (s->n == s->cap) {
        int cap = s->cap ? 2 * s->cap : 16;
        im_tensor **v = realloc(s->v, (size_t)cap * sizeof *v);
        if (!v)
            return im_fail(c, "out of memory while keeping a list of tensors");
        s->v = v;
        s->cap = cap;
    }
    s->v[s->n++] = t;
    return true;
}

static bool remove_from(im_scope *s, const im_tensor *t)
{
    for (int i = s->n - 1; i >= 0; i--)                        /* results are young: look from the end                 */
        if (s->v[i] == t) {
            for (s->n--; i < s->n; i++)
                s->v[i] = s->v[i + 1];
            return true;
        }
    return false;
}

bool im_scope_holds(const im_ctx *c, const im_tensor *t)
{
    for (int i = c->scope->n - 1; i >= 0; i--)
        if (c->scope->v[i] == t)
            return true;
    return false;
}

void im_scope_take(im_ctx *c, im_tensor *t)
{
    for (im_scope *s = c->scope; s; s = s->up)
        if (remove_from(s, t))
            return;
}

void im_scope_list_free(im_scope *s)
{
    for (int i = 0; i < s->n; i++)
        im_tensor_free(s->v[i]);
    free(s->v);
    *s = (im_scope){ .up = s->up };
}

void im_scope_push(im_ctx *c)
{
    im_scope *s = calloc(1, sizeof *s);
    if (!s) {
        im_fail(c, "out of memory while opening a scope");
        c->lost_scopes++;                                      /* so that the matching pop pops nothing                */
        return;
    }
    s->up = c->scope;
    c->scope = s;
}

void im_scope_pop(im_ctx *c)
{
    if (c->lost_scopes > 0) {
        c->lost_scopes--;
        return;
    }
    im_scope *s = c->scope;
    if (!s->up)
        return;                                                /* the root scope goes with the context                 */
    c->scope = s->up;
    if (c->mode == IM_PLAN)
        im_plan_adopt(c, s);
    else if (c->mode == IM_TAPE)
        im_tape_adopt(c, s);
    im_scope_list_free(s);
    free(s);
}

/* From the innermost scope to the one around it; where memory is out it stays. */
static bool hand_out(im_ctx *c, im_tensor *t)
{
    im_scope *inner = c->scope;
    if (!remove_from(inner, t))
        return true;
    c->scope = inner->up;
    bool ok = im_scope_add(c, t);
    c->scope = inner;
    if (!ok)
        inner->v[inner->n++] = t;
    return ok;
}

/* The base of a view goes along: its gradient is the view's. */
im_tensor *im_keep(im_ctx *c, im_tensor *t)
{
    if (!t || !c->scope->up || c->lost_scopes > 0)
        return t;
    return (!t->base || hand_out(c, t->base)) && hand_out(c, t) ? t : NULL;
}

im_tensor *im_own(im_ctx *c, im_tensor *t)
{
    if (t)
        im_scope_take(c, t);
    return t;
}
