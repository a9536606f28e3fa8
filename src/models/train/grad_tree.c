/* grad_tree.c: see grad_tree.h. A counter in binary: when part k has come, bit l of k says that a sum of 2^l parts waits at
 * level l; trailing ones are sums that are complete now. */
#include "models/train/grad_tree.h"

#include <math.h>
#include <stdlib.h>

enum { LEVELS = 31 };

typedef struct level { im_tensor **sum; bool *set; } level;    /* (n) each; NULL: not used yet                         */

struct im_grad_tree {
    im_ctx *c;
    im_tensor *const *w; int n;
    level level[LEVELS];
};

im_grad_tree *im_grad_tree_new(im_ctx *c, im_tensor *const *w, int n)
{
    im_grad_tree *t = im_ok(c) ? calloc(1, sizeof *t) : NULL;
    if (t)
        *t = (im_grad_tree){ .c = c, .w = w, .n = n };
    else
        im_fail(c, "out of memory for the sum of gradients");
    return t;
}

void im_grad_tree_free(im_grad_tree *t)
{
    for (int l = 0; t && l < LEVELS; l++) {
        for (int i = 0; t->level[l].sum && i < t->n; i++)
            im_param_free(t->c, t->level[l].sum[i]);
        free(t->level[l].sum);
        free(t->level[l].set);
    }
    free(t);
}

int im_grad_tree_sets(const im_grad_tree *t)
{
    int sets = 0;
    for (int l = 0; l < LEVELS; l++)
        sets += t->level[l].sum != NULL;
    return sets;
}

static bool open_level(im_grad_tree *t, level *l)
{
    if (l->sum)
        return true;
    l->sum = calloc((size_t)t->n + 1, sizeof *l->sum);
    l->set = calloc((size_t)t->n + 1, sizeof *l->set);
    return (l->sum && l->set) || im_fail(t->c, "out of memory for the sum of gradients");
}

/* Memory like w, outside every scope. */
static im_tensor *room_for(im_ctx *c, const im_tensor *w)
{
    im_tensor *t = im_param_new(c, w->name, IM_F32, w->ndim, w->shape);
    if (t && !im_param_alloc(c, t, (im_weight_layout){ .dtype = IM_F32 })) {
        im_param_free(c, t);
        t = NULL;
    }
    return t;
}

/* A parameter that the part did not use has no gradient, and none is put aside. */
static bool put_aside(im_grad_tree *t, level *l)
{
    if (!open_level(t, l))
        return false;
    for (int i = 0; i < t->n; i++) {
        im_tensor *w = t->w[i];
        l->set[i] = w->grad_set;
        if (w->grad_set && ((!l->sum[i] && !(l->sum[i] = room_for(t->c, w))) || !im_assign(t->c, l->sum[i], w->grad)))
            return false;
    }
    return true;
}

/* gradient = what waits + gradient */
static bool join(im_grad_tree *t, const level *l)
{
    for (int i = 0; i < t->n; i++) {
        im_tensor *w = t->w[i];
        im_combination sum = { .count = 2, .x = { l->sum[i], w->grad }, .w = { 1, 1 }, .by = 1, .limit = INFINITY };
        if (!l->set[i])
            continue;
        if (!(w->grad_set ? im_combine(t->c, w->grad, &sum) : im_assign(t->c, w->grad, l->sum[i])))
            return false;
        w->grad_set = 1;
    }
    return true;
}

bool im_grad_tree_add(im_grad_tree *t, int k, int parts)
{
    int l = 0;
    bool ok = im_ok(t->c), last = k + 1 == parts;
    for (; ok && (last ? k >> l : k >> l & 1); l++)            /* after the last part all that waits is joined         */
        ok = !(k >> l & 1) || join(t, &t->level[l]);
    return ok && (last || put_aside(t, &t->level[l]));
}
