/* optimise.c: one step of an optimiser over all parameters of a model in one kernel call, and the norm of their gradients.
 * No operation: nothing is recorded. The formulas stand in ref/optimise.c; schedules and groups in models/. */
#include "tensor/tensor.h"

#include <stdlib.h>

static bool fits(const im_tensor *t, const im_tensor *w)
{
    return t && t->storage && t->dtype == IM_F32 && !t->packed && im_contiguous(t) && im_numel(t) == im_numel(w);
}

/* s NULL: only the gradient is looked at. */
static bool complete(im_ctx *c, const im_trained *p, const im_optimise_step *s)
{
    const im_tensor *w = p->w;
    const char *name = w && w->name ? w->name : "a parameter";
    if (!w || !fits(w, w))
        return im_fail(c, "optimise: %s: wanted plain contiguous f32 with data", name);
    const im_tensor *all[] = { w, w->grad, p->m, p->v, p->ema };
    for (int i = 0; i < 5; i++)
        if (all[i] && !im_belongs(c, all[i], "optimise"))
            return false;
    if (s && w->wants_grad && (s->kind == IM_ADAMW ? !p->m || !p->v : s->momentum != 0 && !p->m))
        return im_fail(c, "optimise: %s: the optimiser's state is missing (momentum%s)", name,
                       s->kind == IM_ADAMW ? " and second moment" : "");
    if (s && ((p->m && !fits(p->m, w)) || (p->v && !fits(p->v, w)) || (p->ema && !fits(p->ema, w))))
        return im_fail(c, "optimise: %s: state or average is not f32, contiguous and of its size", name);
    return true;
}

static float *data_of(const im_tensor *t)
{
    return t ? im_data(t) : NULL;
}

/* The kernel's view of n parameters, malloc'd; NULL with an error. */
static im_slot *slots_of(im_ctx *c, const im_trained *p, int n, const im_optimise_step *s)
{
    if (n < 0 || (n && !p))
        im_fail(c, "optimise: found %d parameters%s", n, p ? "" : " and no list of them");
    for (int i = 0; i < n; i++)
        if (c->failed || !complete(c, &p[i], s))
            return NULL;
    im_slot *slots = c->failed ? NULL : malloc(((size_t)n + 1) * sizeof *slots);
    if (!slots && !c->failed)
        im_fail(c, "out of memory for the list of %d parameters", n);
    for (int i = 0; slots && i < n; i++) {
        const im_tensor *w = p[i].w;
        slots[i] = (im_slot){ .n = im_numel(w), .w = im_data(w), .g = w->grad_set ? data_of(w->grad) : NULL,
                              .m = data_of(p[i].m), .v = data_of(p[i].v), .ema = data_of(p[i].ema),
                              .decay = p[i].decay, .adapt = p[i].adapt };
    }
    return slots;
}

bool im_optimise(im_ctx *c, const im_optimise_step *s)
{
    if (!im_ok(c))
        return false;
    if (!s || s->kind < IM_SGD || s->kind > IM_LARS)
        return im_fail(c, "optimise: found no step, or an optimiser that is not SGD, AdamW or LARS");
    if (s->kind == IM_ADAMW && s->step < 1)
        im_fail(c, "optimise: step %lld of AdamW, whose first is 1", (long long)s->step);
    im_slot *slots = slots_of(c, s->params, s->count, s);
    if (!slots)
        return false;
    int status = c->dev.k.optimise(&c->dev, &(im_optimise_args){
        .kind = s->kind, .count = s->count, .slots = slots, .scale = s->scale, .lr = s->lr, .momentum = s->momentum,
        .nesterov = s->nesterov, .beta1 = s->beta1, .beta2 = s->beta2, .eps = s->eps, .step = s->step,
        .trust = s->trust, .ema_decay = s->ema_decay, .gate = im_ledger_gate(s->ledger) });
    free(slots);
    for (int i = 0; i < s->count; i++) {
        im_storage_changed(s->params[i].w->storage);
        if (s->params[i].ema)
            im_storage_changed(s->params[i].ema->storage);
    }
    return im_done(c, status, "optimise");
}

bool im_sumsq_into(im_ctx *c, const im_trained *params, int count, double *sum, int32_t *bad)
{
    im_slot *slots = slots_of(c, params, count, NULL);
    if (!slots)
        return false;
    int status = c->dev.k.sumsq(&c->dev, &(im_sumsq_args){ .count = count, .slots = slots, .sum = sum, .first_bad = bad });
    free(slots);
    return im_done(c, status, "sumsq");
}

bool im_sumsq(im_ctx *c, const im_trained *params, int count, double *sum, int *bad)
{
    if (!im_ok(c))
        return false;
    if (!sum || !bad)
        return im_fail(c, "sumsq: found no place for the sum or for the first bad parameter");
    im_step_part part = { .first_bad = -1 };
    im_ledger *l = im_ledger_new(c, 1);
    if (im_ledger_norm(c, l, 0, params, count) && im_ledger_end(c, l, 1, 0))
        im_ledger_read(c, l, &part);
    im_ledger_free(l);
    *sum = part.sumsq;
    *bad = part.first_bad;
    return im_ok(c);
}
