/* program_draw.c: draws a program (program.h) that the engine must be able to run: every operand fits its operation. Shapes
 * and strides are followed in im_tensor headers without storage. */
#include <stdlib.h>
#include <string.h>

#include "program_draw.h"

/* ---------------------------------------------------------------- numbers from a seed */

/* The finaliser of splitmix64 (Steele et al. 2014). */
uint64_t program_hash(uint64_t h)
{
    h += 0x9e3779b97f4a7c15u;
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
    h = (h ^ h >> 27) * 0x94d049bb133111ebu;
    return h ^ h >> 31;
}

int draw(draws *d, int n)                               /* 0 .. n-1                                             */
{
    d->state = program_hash(d->state);
    return (int)(d->state % (uint64_t)n);
}

bool chance(draws *d, int percent)
{
    return draw(d, 100) < percent;
}

int between(draws *d, int low, int high)
{
    return low + draw(d, high - low + 1);
}

/* ---------------------------------------------------------------- variables */

bool full(const draws *d)
{
    return d->p->n_vars > MAX_VARS - 12 || d->p->n > MAX_STATEMENTS - 24;
}

int new_var(draws *d, im_dtype t, int ndim, const int64_t shape[])
{
    var *v = &d->p->v[d->p->n_vars];
    *v = (var){ .alive = true, .root = -1, .depth = d->depth,
                .meta = { .dtype = (uint8_t)t, .ndim = (uint8_t)ndim } };
    memcpy(v->meta.shape, shape, (size_t)ndim * sizeof *shape);
    im_contiguous_strides(&v->meta);
    d->p->bf16 |= t == IM_BF16;
    d->p->f16 |= t == IM_F16;
    return d->p->n_vars++;
}

bool visible(const draws *d, int i)
{
    const var *v = &d->p->v[i];
    if (!v->alive)
        return false;
    if (v->leaf || d->block < 0 || i >= d->first_inner)
        return true;
    for (int k = 0; k < MAX_KEPT; k++)
        if (d->p->s[d->block].in[k] == i)
            return true;
    return false;
}

int leaf(draws *d, im_dtype t, bool grads, fill how, int limit, int ndim, const int64_t shape[])
{
    for (int i = 0; i < d->p->n_vars; i++) {
        const var *v = &d->p->v[i];
        if (v->leaf && !v->moves && v->meta.dtype == t && !v->meta.packed && v->grads == grads && v->fill == how
            && v->limit <= limit && v->meta.ndim == ndim && !memcmp(v->meta.shape, shape, (size_t)ndim * sizeof *shape)
            && chance(d, 50))
            return i;
    }
    int i = new_var(d, t, ndim, shape);
    var *v = &d->p->v[i];
    v->leaf = v->of_leaf = true;
    v->grads = grads;
    v->depth = 0;
    v->fill = how;
    v->limit = limit;
    return i;
}

statement *add_statement(draws *d, action what)
{
    statement *s = &d->p->s[d->p->n++];
    *s = (statement){ .what = what, .out = -1 };
    for (int i = 0; i < MAX_KEPT; i++)
        s->in[i] = -1;
    return s;
}

int pick(draws *d, test fits)
{
    int found = -1, n = 0;
    for (int i = d->p->n_vars - 1; i >= 0 && n < 8; i--)
        if (visible(d, i) && !d->p->v[i].moves && fits(d, &d->p->v[i])) {
            n++;
            if (draw(d, n) == 0)
                found = i;
        }
    return found;
}

bool is_f32(const draws *d, const var *v)
{
    (void)d;
    return v->meta.dtype == IM_F32 && !v->meta.packed && v->fill != FILL_TIMES && v->meta.ndim > 0;
}
bool plain_f32(const draws *d, const var *v) { return is_f32(d, v) && im_contiguous(&v->meta); }
bool held(const draws *d, const var *v)
{
    return plain_f32(d, v) || (v->meta.dtype == IM_BF16 && im_contiguous(&v->meta) && !v->leaf);
}
bool any_view(const draws *d, const var *v)
{
    return (is_f32(d, v) || (v->meta.dtype == IM_BF16 && !v->leaf)) && v->meta.ndim <= 4;
}
bool sliceable(const draws *d, const var *v) { return is_f32(d, v) || (v->meta.dtype == IM_BF16 && !v->leaf); }

int root_of(const draws *d, int i)
{
    return d->p->v[i].root >= 0 ? d->p->v[i].root : i;
}

/* ---------------------------------------------------------------- scopes, blocks, steps */

static void draw_body(draws *d, int ops, int nesting);

/* Up to n variables of the open scope, made since `first`, that go on living; past the end of a step no views of leaves,
 * which would get gradients in the next one, too. */
static int keep(draws *d, statement *s, int first, int n)
{
    int kept = 0;
    for (int i = d->p->n_vars - 1; i >= first && kept < n; i--) {
        var *v = &d->p->v[i];
        if (!v->leaf && v->alive && v->depth == d->depth && (d->depth > 1 || !v->of_leaf) && chance(d, 50)) {
            v->depth--;
            s->in[kept++] = i;
        }
    }
    return kept;
}

static void close_scope(draws *d, int first)
{
    for (int i = first; i < d->p->n_vars; i++) {
        var *v = &d->p->v[i];
        v->alive &= v->leaf || v->depth < d->depth;
    }
    d->depth--;
}

static void draw_scope(draws *d, int ops, int nesting)
{
    add_statement(d, DO_PUSH);
    d->depth++;
    int first = d->p->n_vars;
    draw_body(d, ops, nesting);
    keep(d, add_statement(d, DO_POP), first, 3);
    close_scope(d, first);
}

static void draw_block(draws *d, int ops, int nesting)
{
    draws outer = *d;
    int given[MAX_KEPT], n = 0, most = between(d, 1, 5);
    for (int i = d->p->n_vars - 1; i >= 0 && n < most; i--)
        if (visible(d, i) && !d->p->v[i].leaf && chance(d, 40))
            given[n++] = i;
    statement *s = add_statement(d, DO_BLOCK);
    memcpy(s->in, given, (size_t)n * sizeof *given);
    d->block = d->p->n - 1;
    d->block_depth = d->depth;
    d->first_inner = d->p->n_vars;
    draw_body(d, ops, nesting);
    int y = -1;
    for (int i = d->p->n_vars - 1; i >= 0 && y < 0; i--) {     /* the result: seldom an input handed through           */
        const var *v = &d->p->v[i];
        bool inner = i >= d->first_inner && !v->leaf && v->alive && v->depth == d->depth;
        if ((inner || (visible(d, i) && chance(d, 3))) && sliceable(d, v) && !v->moves && chance(d, 80))
            y = i;
    }
    for (int i = d->p->n_vars - 1; i >= 0 && y < 0; i--)       /* none: any                                            */
        if (visible(d, i) && sliceable(d, &d->p->v[i]) && !d->p->v[i].moves)
            y = i;
    s = add_statement(d, DO_END);
    s->in[0] = y;
    int first_inner = d->first_inner;
    d->block = outer.block;
    d->block_depth = outer.block_depth;
    d->first_inner = outer.first_inner;
    for (int i = first_inner; i < d->p->n_vars; i++)
        d->p->v[i].alive &= d->p->v[i].leaf;
    im_tensor shape = d->p->v[y].meta;
    s->out = new_var(d, (im_dtype)shape.dtype, shape.ndim, shape.shape);
    d->p->v[s->out].meta = shape;
    d->p->v[s->out].grads = d->p->v[y].grads && d->tape;
    d->p->v[s->out].of_leaf = d->p->v[y].of_leaf;
    d->p->hands_through |= d->p->v[y].of_leaf || root_of(d, y) < first_inner;
}

static void draw_burst(draws *d)
{
    statement *s = add_statement(d, DO_BURST);
    s->a[0] = between(d, 3, 500);
    s->a[1] = (1 << 20) + 4 * draw(d, 1 << 17);
    s->a[2] = between(d, 2, 4);
}

static void draw_body(draws *d, int ops, int nesting)
{
    for (int i = 0; i < ops && !full(d); i++) {
        if (nesting > 0 && chance(d, 10))
            draw_scope(d, between(d, 1, 6), nesting - 1);
        else if (nesting > 0 && chance(d, 12))
            draw_block(d, between(d, 1, 6), nesting - 1);
        else if (nesting > 0 && d->block < 0 && chance(d, 1))
            draw_burst(d);
        else
            for (int tries = 0; tries < 8 && draw_op(d) < 0; tries++)
                ;
    }
}

/* Results of a step: what wants a gradient and lives in the scope of the step. */
static void draw_backward(draws *d)
{
    int n = 0;
    statement *s = add_statement(d, DO_BACKWARD);
    bool dropped = chance(d, 5) || !d->tape;
    for (int i = d->p->n_vars - 1; i >= 0 && n < MAX_RESULTS && !dropped; i--)
        if (d->p->v[i].alive && !d->p->v[i].leaf && d->p->v[i].grads && any_view(d, &d->p->v[i]) && (!n || chance(d, 40)))
            s->in[n++] = i;
    d->tape = false;
    for (int i = 0; i < d->p->n_vars; i++)
        d->p->alive_at[d->p->steps][i] = d->p->v[i].alive;
    d->p->steps++;
    for (int i = 0; i < d->p->n_vars; i++)
        d->p->v[i].grads &= d->p->v[i].leaf;
}

static void draw_step(draws *d, bool first_step)
{
    add_statement(d, DO_PUSH);
    d->depth++;
    int first = d->p->n_vars;
    d->tape = chance(d, 90);
    if (d->tape)
        add_statement(d, DO_TAPE);
    draw_body(d, between(d, 3, 22), 3);
    if (first_step) {
        for (int i = d->p->n_vars - 1; i >= 0 && d->p->plan_out < 0; i--)
            if (d->p->v[i].alive && !d->p->v[i].leaf)
                d->p->plan_out = i;
        d->p->plan_end = d->p->n;
    }
    draw_backward(d);
    keep(d, add_statement(d, DO_POP), first, 3);
    close_scope(d, first);
}

void program_draw(program *p, uint64_t seed)
{
    *p = (program){ .seed = seed, .plan_out = -1 };
    draws d = { .p = p, .state = seed, .block = -1 };
    p->compute_dtype = chance(&d, 15) ? IM_BF16 : IM_F32;
    p->bf16 = p->compute_dtype == IM_BF16;
    int64_t wide = chance(&d, 8) ? 64 : between(&d, 1, 9);     /* 64 channels: Winograd                                */
    int64_t side = wide == 64 ? 7 : between(&d, 1, 9);
    leaf(&d, IM_F32, chance(&d, 60), FILL_NORMAL, 0, SHAPE(between(&d, 1, 3), side, between(&d, (int)side, 9), wide));
    leaf(&d, IM_F32, chance(&d, 80), FILL_NORMAL, 0, SHAPE(between(&d, 1, 3), between(&d, 1, 12), 3 * between(&d, 1, 8)));
    leaf(&d, IM_F32, chance(&d, 80), FILL_NORMAL, 0, SHAPE(between(&d, 1, 9), between(&d, 1, 40)));
    for (int step = 0, steps = between(&d, 1, MAX_STEPS); step < steps && !full(&d); step++)
        draw_step(&d, step == 0);
}
