/* optimiser.c: groups, state and averages around im_optimise (imago.h; the formulas stand in tensor/ref/optimise.c).
 *
 * Weight decay acts on tensors with more than one dimension only: weights of convolutions and linear layers, not biases
 * and norms. LARS scales the same tensors by its trust ratio, as timm's does. The average of weights (Polyak & Juditsky
 * 1992) starts as the weights themselves: ema += (1 - d) (w - ema) after every step, where d may rise in the first ones;
 * running statistics of batch norm are averaged alike, or the averaged weights would be run with statistics of others.
 * Used by train_loop.c. */
#include "models/train/optimiser.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct slot {                                          /* beside im_trained of the same number                 */
    const im_param *param;
    const char *prefix;
    int part, index;
} slot;

struct im_optimiser {
    im_ctx *c;
    im_optimiser_args a;
    int n; im_trained *v; slot *slots;                         /* trained                                              */
    int n_buffers; im_trained *buffers; slot *buffer_slots;    /* running statistics, for their average                */
    int64_t steps;
};

im_optimiser_args im_optimiser_defaults(im_optimiser_kind kind)
{
    return (im_optimiser_args){ .kind = kind, .momentum = 0.9, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .trust = 1e-3,
                                .decay = kind == IM_ADAMW ? 1e-2 : 1e-4 };
}

bool im_optimiser_parse(im_ctx *c, const char *name, im_optimiser_kind *out)
{
    static const struct { const char *name; im_optimiser_kind kind; } known[] = {
        { "sgd", IM_SGD }, { "adamw", IM_ADAMW }, { "lars", IM_LARS }
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, known[i].name)) {
            *out = known[i].kind;
            return true;
        }
    return im_fail(c, "there is no optimiser \"%s\"; wanted sgd, adamw or lars", name);
}

/* Memory like w, outside every scope: zeros, or a copy of w. */
static im_tensor *like(im_ctx *c, const im_tensor *w, bool copy)
{
    im_tensor *t = im_param_new(c, w->name, IM_F32, w->ndim, w->shape);
    if (t && !im_param_alloc(c, t, (im_weight_layout){ .dtype = IM_F32 })) {
        im_param_free(c, t);
        return NULL;
    }
    if (t && copy)
        im_assign(c, t, w);
    else if (t)
        im_fill(c, t, 0);
    return t;
}

/* What add_param makes: m, v and the averages. */
double im_optimiser_bytes(const im_optimiser_args *a, const im_part_params *parts, int n)
{
    bool adamw = a->kind == IM_ADAMW;
    int of_weights = (adamw || a->momentum != 0) + adamw + (a->ema > 0), of_buffers = a->ema > 0;
    double bytes = 0;
    for (int k = 0; k < n; k++)
        for (int i = 0; i < parts[k].params->n; i++) {
            const im_param *q = &parts[k].params->v[i];
            bytes += 4.0 * (double)im_numel(q->t) * (q->kind == IM_PARAM_BUFFER ? of_buffers : of_weights);
        }
    return bytes;
}

static void add_param(im_optimiser *o, const im_param *q, slot s)
{
    im_ctx *c = o->c;
    if (q->kind == IM_PARAM_BUFFER) {
        im_trained *b = &o->buffers[o->n_buffers];
        o->buffer_slots[o->n_buffers++] = s;
        *b = (im_trained){ .w = q->t, .ema = o->a.ema > 0 ? like(c, q->t, true) : NULL };
        return;
    }
    bool adamw = o->a.kind == IM_ADAMW, whole = q->t->ndim > 1;
    im_trained *v = &o->v[o->n];
    o->slots[o->n++] = s;
    *v = (im_trained){ .w = q->t, .decay = whole ? o->a.decay : 0, .adapt = whole && o->a.decay > 0 };
    if (adamw || o->a.momentum != 0)
        v->m = like(c, q->t, false);
    if (adamw)
        v->v = like(c, q->t, false);
    if (o->a.ema > 0)
        v->ema = like(c, q->t, true);
}

void im_optimiser_free(im_optimiser *o)
{
    if (!o)
        return;
    for (int i = 0; i < o->n; i++) {
        im_param_free(o->c, o->v[i].m);
        im_param_free(o->c, o->v[i].v);
        im_param_free(o->c, o->v[i].ema);
    }
    for (int i = 0; i < o->n_buffers; i++)
        im_param_free(o->c, o->buffers[i].ema);
    free(o->v);
    free(o->slots);
    free(o->buffers);
    free(o->buffer_slots);
    free(o);
}

im_optimiser *im_optimiser_new(im_ctx *c, const im_part_params *parts, int n, const im_optimiser_args *a)
{
    if (!im_ok(c))
        return NULL;
    size_t all = 1;
    for (int k = 0; k < n; k++)
        all += (size_t)parts[k].params->n;
    im_optimiser *o = calloc(1, sizeof *o);
    if (o)
        *o = (im_optimiser){ .c = c, .a = *a, .v = calloc(all, sizeof *o->v), .slots = calloc(all, sizeof *o->slots),
                             .buffers = calloc(all, sizeof *o->buffers),
                             .buffer_slots = calloc(all, sizeof *o->buffer_slots) };
    if (!o || !o->v || !o->slots || !o->buffers || !o->buffer_slots) {
        im_fail(c, "out of memory for the state of the optimiser");
        im_optimiser_free(o);
        return NULL;
    }
    for (int k = 0; k < n; k++)
        for (int i = 0; im_ok(c) && i < parts[k].params->n; i++) {
            const im_param *q = &parts[k].params->v[i];
            add_param(o, q, (slot){ .param = q, .prefix = parts[k].prefix, .part = k, .index = i });
        }
    if (im_ok(c))
        return o;
    im_optimiser_free(o);
    return NULL;
}

bool im_optimiser_norm(im_optimiser *o, double scale, double *norm, const char **bad)
{
    double sum;
    int first;
    *bad = NULL;
    *norm = 0;
    if (!im_sumsq(o->c, o->v, o->n, &sum, &first))
        return false;
    *norm = scale * sqrt(sum);
    if (first >= 0)
        *bad = o->v[first].w->name;
    return true;
}

bool im_optimiser_note(im_optimiser *o, im_ledger *l, int part)
{
    return im_ledger_norm(o->c, l, part, o->v, o->n);
}

const char *im_optimiser_name(const im_optimiser *o, int param)
{
    return o->v[param].w->name;
}

im_tensor **im_optimiser_weights(const im_optimiser *o, int *n)
{
    im_tensor **w = malloc(((size_t)o->n + 1) * sizeof *w);
    if (!w)
        im_fail(o->c, "out of memory for the list of %d parameters", o->n);
    for (int i = 0; w && i < o->n; i++)
        w[i] = o->v[i].w;
    *n = o->n;
    return w;
}

/* Decay of the averages in the step after o->steps of them, as TensorFlow's and torch_ema's num_updates has it. */
static double ema_decay(const im_optimiser *o)
{
    double n = (double)(o->steps + 1), young = (1 + n) / (10 + n);
    return o->a.ema_rises && young < o->a.ema ? young : o->a.ema;
}

bool im_optimiser_step(im_optimiser *o, double lr, double scale, const im_ledger *ledger)
{
    const im_optimiser_args *a = &o->a;
    double decay = ema_decay(o);
    im_optimise_step s = { .kind = a->kind, .params = o->v, .count = o->n, .scale = scale, .lr = lr,
                           .momentum = a->momentum, .nesterov = a->nesterov, .beta1 = a->beta1, .beta2 = a->beta2,
                           .eps = a->eps, .step = o->steps + 1, .trust = a->trust, .ema_decay = decay,
                           .ledger = ledger };
    if (!im_optimise(o->c, &s))
        return false;
    o->steps++;
    s.params = o->buffers;                                     /* without gradients: only their averages move          */
    s.count = o->n_buffers;
    return a->ema <= 0 || im_optimise(o->c, &s);
}

void im_optimiser_zero(im_optimiser *o)
{
    for (int i = 0; i < o->n; i++)
        im_zero_grad(o->v[i].w);
}

int64_t im_optimiser_steps(const im_optimiser *o) { return o->steps; }

void im_optimiser_steps_are(im_optimiser *o, int64_t steps) { o->steps = steps; }

const im_tensor *im_optimiser_average(const im_optimiser *o, int part, int i)
{
    if (o->a.ema <= 0)
        return NULL;
    for (int k = 0; k < o->n; k++)
        if (o->slots[k].part == part && o->slots[k].index == i)
            return o->v[k].ema;
    for (int k = 0; k < o->n_buffers; k++)
        if (o->buffer_slots[k].part == part && o->buffer_slots[k].index == i)
            return o->buffers[k].ema;
    return NULL;
}

static void swap_all(im_ctx *c, im_trained *v, int n)
{
    for (int k = 0; k < n && im_ok(c); k++) {
        im_scope_push(c);
        im_tensor *w = im_new(c, IM_F32, v[k].w->ndim, v[k].w->shape);
        if (w && im_assign(c, w, v[k].w) && im_assign(c, v[k].w, v[k].ema))
            im_assign(c, v[k].ema, w);
        im_scope_pop(c);
    }
}

void im_optimiser_swap(im_optimiser *o)
{
    if (o->a.ema <= 0)
        return;
    swap_all(o->c, o->v, o->n);
    swap_all(o->c, o->buffers, o->n_buffers);
}

/* ---------------------------------------------------------------- in a checkpoint */

enum { FIRST, SECOND, AVERAGE, KINDS };

static const char *head_of(const im_optimiser *o, int kind)
{
    if (kind == AVERAGE)
        return "ema.";
    if (kind == SECOND)
        return "optimizer.exp_avg_sq.";
    return o->a.kind == IM_ADAMW ? "optimizer.exp_avg." : "optimizer.momentum.";
}

static im_tensor *state_of(const im_trained *v, int kind)
{
    return kind == FIRST ? v->m : kind == SECOND ? v->v : v->ema;
}

/* Calls fn for everything that is kept of v[0 .. n). */
static bool each(const im_optimiser *o, const im_trained *v, const slot *slots, int n,
                 bool (*fn)(void *arg, const char *prefix, const im_param *q, im_tensor *t), void *arg)
{
    for (int i = 0; i < n; i++)
        for (int kind = 0; kind < KINDS; kind++) {
            im_tensor *t = state_of(&v[i], kind);
            char prefix[96];
            snprintf(prefix, sizeof prefix, "%s%s", head_of(o, kind), slots[i].prefix);
            if (t && !fn(arg, prefix, slots[i].param, t))
                return false;
        }
    return true;
}

static bool save_one(void *arg, const char *prefix, const im_param *q, im_tensor *t)
{
    return im_state_add_one(arg, prefix, q, t);
}

bool im_optimiser_each(const im_optimiser *o, bool (*fn)(void *arg, const char *prefix, const im_param *q, im_tensor *t),
                       void *arg)
{
    return each(o, o->v, o->slots, o->n, fn, arg) && each(o, o->buffers, o->buffer_slots, o->n_buffers, fn, arg);
}

bool im_optimiser_save(const im_optimiser *o, im_state *s)
{
    return im_optimiser_each(o, save_one, s);
}

typedef struct source { im_ctx *c; const im_safetensors *file; const char *path; } source;

static bool load_one(void *arg, const char *prefix, const im_param *q, im_tensor *t)
{
    const source *s = arg;
    char name[512];
    snprintf(name, sizeof name, "%s%s", prefix, q->t->name);
    const im_st_entry *e = im_st_find(s->file, name);
    if (!e || e->dtype != IM_F32 || e->bytes != (size_t)im_numel(q->t) * sizeof(float))
        return im_fail(s->c, "%s: has no tensor %s of the right size; it is a checkpoint of another optimiser or network",
                       s->path, name);
    return im_param_load(s->c, t, e->data, IM_F32, q->kind == IM_PARAM_CONV);
}

bool im_optimiser_load(im_optimiser *o, const im_safetensors *s, const char *path, int64_t steps)
{
    source from = { o->c, s, path };
    o->steps = steps;
    return im_optimiser_each(o, load_one, &from);
}
