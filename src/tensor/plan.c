/* plan.c: records the ops of a function once, gives every intermediate a place in one arena, and runs it as a loop.
 *
 * Diffusion runs one UNet 20 to 50 times on fixed shapes. Recording checks shapes and lists nodes, nothing is computed;
 * lifetimes follow from the list; placing takes the largest buffers first, each at the lowest offset that is free over
 * its whole life (greedy by size: Pisarchyk & Lee 2020, "Efficient Memory Management for Deep Neural Net Inference").
 * The same forward functions run in the same order as in eager mode, so results are bit-equal. */
#include "tensor/plan.h"
#include "tensor/tensor.h"

#include <limits.h>
#include <stdlib.h>

typedef struct {                                               /* one storage that the plan places                     */
    im_storage *storage;
    size_t bytes, offset;
    int born, dies;                                            /* node indices                                         */
    int alias;                                                 /* slot whose memory it takes over in place, or -1      */
} slot;

struct im_plan {
    im_node *nodes;
    int n_nodes, cap_nodes;
    slot *slots;
    int n_slots, cap_slots;
    im_scope tensors;                                          /* every header the nodes point to, but parameters      */
    im_tensor *out;
    char *arena;
    size_t arena_bytes;
    void *captured;                                            /* the device's own form of it (services.h)             */
};

/* The array v of n elements, moved where it has no room for one more; NULL: memory is out, and v as it was. */
static void *grown(im_ctx *c, void *v, int n, int *cap, size_t size)
{
    if (n < *cap)
        return v;
    int more = *cap ? 2 * *cap : 64;
    void *w = realloc(v, (size_t)more * size);
    if (w)
        *cap = more;
    else
        im_fail(c, "out of memory while recording a plan");
    return w;
}

/* A place for s, which lives in the node that is being pushed, until a later one reads it. */
static bool add_slot(im_ctx *c, im_plan *p, im_storage *s)
{
    slot *slots = grown(c, p->slots, p->n_slots, &p->cap_slots, sizeof *slots);
    if (!slots)
        return false;
    p->slots = slots;
    s->slot = p->n_slots;
    p->slots[p->n_slots++] = (slot){ .storage = s, .bytes = s->bytes, .born = p->n_nodes, .dies = p->n_nodes,
                                     .alias = -1 };
    return true;
}

bool im_plan_push(im_ctx *c, const im_node *n)
{
    im_plan *p = c->plan;
    im_node *nodes = grown(c, p->nodes, p->n_nodes, &p->cap_nodes, sizeof *nodes);
    if (!nodes)
        return false;
    p->nodes = nodes;
    for (int i = 0; i < n->op->n_in; i++)
        if (n->in[i] && n->in[i]->storage->slot >= 0)
            p->slots[n->in[i]->storage->slot].dies = p->n_nodes;
    bool ok = add_slot(c, p, n->out->storage);
    for (int i = 0; i < IM_MAX_SCRATCH; i++)
        ok = ok && (!n->scratch[i] || add_slot(c, p, n->scratch[i]->storage));
    if (ok)
        p->nodes[p->n_nodes++] = *n;
    return ok;
}

void im_plan_adopt(im_ctx *c, im_scope *s)
{
    im_scope *open = c->scope;
    c->scope = &c->plan->tensors;
    int i = 0;
    while (i < s->n && im_scope_add(c, s->v[i]))
        i++;
    c->scope = open;
    int left = 0;                                              /* out of memory: the scope keeps, and frees, the rest  */
    for (; i < s->n; i++)
        s->v[left++] = s->v[i];
    s->n = left;
}

/* An op that may work in place takes over its first input's memory where nobody reads that input later. */
static void share_in_place(im_plan *p)
{
    for (int i = 0; i < p->n_nodes; i++) {
        const im_node *n = &p->nodes[i];
        int from = n->op->inplace_ok ? n->in[0]->storage->slot : -1;
        if (from < 0)
            continue;
        while (p->slots[from].alias >= 0)
            from = p->slots[from].alias;
        slot *in = &p->slots[from], *out = &p->slots[n->out->storage->slot];
        bool others = false;
        for (int j = 1; j < n->op->n_in; j++)
            others |= n->in[j] && n->in[j]->storage == n->in[0]->storage;
        if (in->dies != i || in->bytes != out->bytes || n->in[0]->offset || others || !im_contiguous(n->in[0]))
            continue;
        out->alias = from;
        in->dies = out->dies;
    }
}

static int larger_first(const void *a, const void *b)
{
    const slot *x = *(slot *const *)a, *y = *(slot *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->born - y->born;
}

static size_t place(slot *s[], int n)
{
    size_t top = 0;
    for (int i = 0; i < n; i++) {
        size_t at = 0;
        for (bool moved = true; moved; ) {
            moved = false;
            for (int j = 0; j < i; j++) {
                bool alive = s[j]->born <= s[i]->dies && s[i]->born <= s[j]->dies;
                bool cover = at < s[j]->offset + s[j]->bytes && s[j]->offset < at + s[i]->bytes;
                if (alive && cover) {
                    at = s[j]->offset + s[j]->bytes;
                    moved = true;
                }
            }
        }
        s[i]->offset = at;
        if (at + s[i]->bytes > top)
            top = at + s[i]->bytes;
    }
    return top;
}

static bool place_all(im_ctx *c, im_plan *p)
{
    slot **order = malloc((size_t)(p->n_slots ? p->n_slots : 1) * sizeof *order);
    if (!order)
        return im_fail(c, "out of memory while placing a plan");
    int n = 0;
    share_in_place(p);
    for (int i = 0; i < p->n_slots; i++) {
        p->slots[i].bytes = (p->slots[i].bytes + 63) / 64 * 64;                   /* vectors start on a cache line     */
        if (p->slots[i].alias < 0)
            order[n++] = &p->slots[i];
    }
    qsort(order, (size_t)n, sizeof *order, larger_first);
    p->arena_bytes = place(order, n);
    free(order);
    return true;
}

/* The arena is had at the first run, so that a plan can be described before memory is spent. */
static bool fill_arena(im_ctx *c, im_plan *p)
{
    if (p->arena)
        return true;
    if (!(p->arena = c->dev.s.alloc(&c->dev, p->arena_bytes)))
        return im_fail_memory(c, "out of memory: a plan needs %zu bytes for its intermediates; use a smaller batch or "
                              "picture", p->arena_bytes);
    c->dev.counts.blocks++;
    c->dev.held[IM_HELD_PLANS] += p->arena_bytes;
    for (int i = 0; i < p->n_slots; i++) {
        int root = i;
        while (p->slots[root].alias >= 0)
            root = p->slots[root].alias;
        p->slots[i].storage->data = p->arena + p->slots[root].offset;
    }
    return true;
}

im_plan *im_plan_record(im_ctx *c, im_plan_fn fn, void *arg, im_tensor *const in[], int n_in)
{
    if (!im_ok(c))
        return NULL;
    bool whole = fn && n_in >= 0 && (in || !n_in);
    for (int i = 0; whole && i < n_in; i++)
        whole = in[i] != NULL;
    if (!whole || c->mode == IM_PLAN) {
        im_fail(c, whole ? "plan: one is being recorded already" : "plan: found no function, or an input that is missing");
        return NULL;
    }
    for (int i = 0; i < n_in; i++)
        if (!im_belongs(c, in[i], "plan"))
            return NULL;
    im_plan *p = calloc(1, sizeof *p);
    if (!p) {
        im_fail(c, "out of memory while recording a plan");
        return NULL;
    }
    im_mode before = c->mode;
    im_scope_push(c);
    c->mode = IM_PLAN;
    c->plan = p;
    for (int i = 0; i < n_in && im_ok(c); i++) {               /* the plan owns its inputs from here on                */
        im_scope_take(c, in[i]);
        if (!im_scope_add(c, in[i]))
            im_tensor_free(in[i]);
    }
    if (im_ok(c))
        p->out = fn(c, arg, in, n_in);
    im_scope_pop(c);
    c->mode = before;
    c->plan = NULL;
    if (p->out && p->out->storage->slot >= 0)
        p->slots[p->out->storage->slot].dies = INT_MAX;
    if (!im_ok(c) || !p->out || !place_all(c, p)) {
        im_plan_free(c, p);
        return NULL;
    }
    c->dev.counts.plans++;
    return p;
}

im_tensor *im_plan_run(im_ctx *c, im_plan *p)
{
    if (!p || !im_ok(c) || !fill_arena(c, p))
        return NULL;
    if (c->stop && !im_fail(c, "stopped"))
        return NULL;
    bool seen = c->profile || c->check_finite;                 /* somebody looks at every node: they run one by one    */
    bool run = true;
    int status = seen ? IM_DONE : c->dev.s.plan_begin(&c->dev, &p->captured, &run);
    for (int i = 0; run && i < p->n_nodes && !status; i++)
        status = im_node_run(c, &p->nodes[i]);
    if (!seen && run && c->dev.s.plan_end(&c->dev, &p->captured, !status) && !status)
        status = IM_NO_MEMORY;
    return im_done(c, status, "a plan") && im_ok(c) ? p->out : NULL;
}

bool im_work_begin(im_ctx *c)
{
    if (!im_ok(c) || !c->dev.s.hold || c->profile || c->check_finite)
        return im_ok(c);
    return im_done(c, c->dev.s.hold(&c->dev), "work that is held back");
}

bool im_work_end(im_ctx *c)
{
    bool ok = im_ok(c);
    return (!c->dev.s.hand_over || im_done(c, c->dev.s.hand_over(&c->dev, ok), "work that was held back")) && ok;
}

/* What was captured names places in the arena, and goes with it. */
void im_plan_rest(im_ctx *c, im_plan *p)
{
    if (!p)
        return;
    c->dev.s.plan_free(&c->dev, p->captured);
    c->dev.s.free(&c->dev, p->arena, p->arena_bytes);
    c->dev.held[IM_HELD_PLANS] -= p->arena ? p->arena_bytes : 0;
    for (int i = 0; p->arena && i < p->n_slots; i++)
        p->slots[i].storage->data = NULL;
    p->captured = p->arena = NULL;
}

void im_plan_free(im_ctx *c, im_plan *p)
{
    if (!p)
        return;
    im_plan_rest(c, p);
    im_scope_list_free(&p->tensors);
    free(p->nodes);
    free(p->slots);
    free(p);
}

im_plan_info im_plan_describe(const im_plan *p)
{
    im_plan_info d = { 0 };
    if (p)
        d = (im_plan_info){ .nodes = p->n_nodes, .arena_bytes = p->arena_bytes };
    for (int i = 0; i < d.nodes; i++) {
        const im_node *n = &p->nodes[i];
        d.flop += n->op->flop ? n->op->flop(n) : 0;
        d.bytes += im_node_bytes(n);
        d.sum_bytes += n->out->storage->bytes;
    }
    return d;
}
