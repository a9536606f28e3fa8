/* program_run.c: runs a program (program.h) on a context, collects the numbers that it leaves, and prints it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"

/* ---------------------------------------------------------------- numbers */

void numbers_free(numbers *m)
{
    free(m->x);
    free(m->parts);
    *m = (numbers){ 0 };
}

/* All elements of t, whatever its strides and dtype, at the end of m. */
static bool see(numbers *m, int i, int step, bool gradient, const im_tensor *t)
{
    int64_t n = im_numel(t);
    if (m->n_parts == m->cap_parts) {
        int cap = m->cap_parts ? 2 * m->cap_parts : 64;
        seen *v = realloc(m->parts, (size_t)cap * sizeof *v);
        if (!v)
            return false;
        m->parts = v;
        m->cap_parts = cap;
    }
    if (m->n + n > m->cap) {
        int64_t cap = 2 * (m->n + n);
        float *x = realloc(m->x, (size_t)cap * sizeof *x);
        if (!x)
            return false;
        m->x = x;
        m->cap = cap;
    }
    m->parts[m->n_parts++] = (seen){ i, step, gradient, m->n, n };
    const void *data = im_data(t);
    for (int64_t k = 0; k < n; k++) {
        int64_t at = 0, rest = k;
        for (int a = t->ndim - 1; a >= 0; a--) {
            at += rest % t->shape[a] * t->stride[a];
            rest /= t->shape[a];
        }
        m->x[m->n++] = t->dtype == IM_BF16 ? im_f32_from_bf16(((const uint16_t *)data)[at]) : ((const float *)data)[at];
    }
    return true;
}

/* ---------------------------------------------------------------- leaves */

/* Sum of four uniforms of 16 bits, mean 0, deviation 1. */
static float nearly_normal(uint64_t h)
{
    double sum = 0;
    for (int part = 0; part < 4; part++)
        sum += (double)(h >> 16 * part & 0xffff);
    return (float)((sum - 2 * 65535.0) / (65536.0 * 0.57735026918962573));
}

static float value(const program *p, const way *w, int i, int64_t k)
{
    const var *v = &p->v[i];
    uint64_t h = program_hash(p->seed * 1000003u + (uint64_t)i * 65537u + (uint64_t)k);
    float x = nearly_normal(h);
    switch (v->fill) {
    case FILL_WEIGHT:   x /= sqrtf((float)v->limit); break;
    case FILL_POSITIVE: x = 0.5f + fabsf(x); break;
    case FILL_TIMES:    return (float)(h % 1000);
    default:            break;
    }
    double u = (double)(program_hash(h ^ w->noise_seed) >> 11) / 9007199254740992.0 * 2 - 1;
    return (float)((double)x * (1 + w->noise * u));
}

/* A weight in panels lives outside of scopes, as those of models do. */
static im_tensor *packed_leaf(im_ctx *c, const var *v, const float *x)
{
    const im_tensor *m = &v->meta;
    im_tensor *t = im_param_new(c, "packed", IM_F32, m->ndim, m->shape);
    im_weight_layout layout = { .dtype = (im_dtype)m->dtype, .packed = true, .geglu = m->geglu };
    if (!im_param_alloc(c, t, layout) || !im_param_load(c, t, x, IM_F32, false)) {
        im_param_free(c, t);
        return NULL;
    }
    return t;
}

static im_tensor *make_leaf(im_ctx *c, const program *p, const way *w, int i)
{
    const var *v = &p->v[i];
    int64_t n = im_numel(&v->meta);
    float *x = malloc((size_t)n * sizeof *x);
    int32_t *ids = malloc((size_t)n * sizeof *ids);
    uint16_t *halves = malloc((size_t)n * sizeof *halves);
    im_tensor *t = NULL;
    for (int64_t k = 0; x && ids && halves && k < n; k++) {
        x[k] = v->fill == FILL_IDS ? 0 : value(p, w, i, k);
        ids[k] = v->fill == FILL_IDS ? (int32_t)(program_hash(p->seed + (uint64_t)(i * 977 + k)) % (uint64_t)v->limit) : 0;
        halves[k] = v->meta.dtype == IM_F16 ? im_f16_from_f32(x[k]) : im_bf16_from_f32(x[k]);
    }
    const void *data = v->meta.dtype == IM_I32 ? (void *)ids : v->meta.dtype == IM_F32 ? (void *)x : (void *)halves;
    if (v->meta.packed)
        t = packed_leaf(c, v, x);
    else
        t = im_from(c, (im_dtype)v->meta.dtype, v->meta.ndim, v->meta.shape, data);
    if (t && v->grads && w->tape)
        im_want_grad(c, t);
    free(x);
    free(ids);
    free(halves);
    return t;
}

/* ---------------------------------------------------------------- statements */

typedef struct {
    im_ctx *c;
    const program *p;
    const way *w;
    numbers *out;
    int step;
    struct block *blocks; int n_blocks;
} run;

typedef struct block {                                         /* what im_recompute hands to its function              */
    run *r;
    int from, to;                                              /* statements                                           */
    im_tensor *v[MAX_VARS];                                    /* as they were when the block was met                  */
} block;

static bool exec(run *r, im_tensor *v[], int from, int to);

static im_tensor *run_block(im_ctx *c, void *arg, im_tensor *const in[], int n_in)
{
    block *b = arg;
    const program *p = b->r->p;
    im_tensor **v = malloc(MAX_VARS * sizeof *v);              /* the second run finds what the first one found        */
    if (!v)
        return NULL;
    memcpy(v, b->v, MAX_VARS * sizeof *v);
    for (int i = 0; i < n_in; i++)
        v[p->s[b->from].in[i]] = in[i];
    bool ok = exec(b->r, v, b->from + 1, b->to);
    im_tensor *y = ok && im_ok(c) ? v[p->s[b->to].in[0]] : NULL;
    free(v);
    return y;
}

/* The end of the block that begins at `at`. */
static int end_of(const program *p, int at)
{
    int open = 0;
    for (;; at++) {
        open += p->s[at].what == DO_BLOCK;
        open -= p->s[at].what == DO_END;
        if (!open)
            return at;
    }
}

static bool exec_block(run *r, im_tensor *v[], int at, int end)
{
    const statement *s = &r->p->s[at];
    im_tensor *in[MAX_KEPT];
    int n = 0;
    while (n < MAX_KEPT && s->in[n] >= 0) {
        in[n] = v[s->in[n]];
        n++;
    }
    block *b = &r->blocks[r->n_blocks++ % MAX_STATEMENTS];
    *b = (block){ .r = r, .from = at, .to = end };
    memcpy(b->v, v, MAX_VARS * sizeof *v);
    im_tensor *y = r->w->recompute ? im_recompute(r->c, run_block, b, in, n) : run_block(r->c, b, in, n);
    v[r->p->s[end].out] = y;
    return y != NULL;
}

static bool exec_burst(run *r, const statement *s)
{
    int64_t shape = s->a[1] / 4;
    im_scope_push(r->c);
    for (int i = 0; i < s->a[0]; i++) {
        im_tensor *t = im_new(r->c, IM_F32, 1, &shape);
        if (i % s->a[2] == 0)
            im_keep(r->c, t);
    }
    im_scope_pop(r->c);
    return im_ok(r->c);
}

/* The sum of losses of up to MAX_RESULTS tensors, each against its negative half. */
static bool exec_backward(run *r, im_tensor *v[], const statement *s)
{
    im_ctx *c = r->c;
    im_tensor *sum = NULL;
    for (int i = 0; i < MAX_RESULTS && s->in[i] >= 0; i++) {
        im_tensor *y = im_contiguous_copy(c, v[s->in[i]]);
        if (y && y->dtype == IM_BF16)
            y = im_cast(c, y, IM_F32);
        im_tensor *loss = im_mse(c, y, im_scale(c, y, -0.5f), NULL);
        sum = sum ? im_add(c, sum, loss) : loss;
    }
    if (sum && r->w->tape)
        return im_backward(c, sum);
    im_tape_end(c);
    return im_ok(c);
}

static im_tensor *call(run *r, im_tensor *v[], const statement *s)
{
    im_ctx *c = r->c;
    im_tensor *in[MAX_KEPT];
    const int *a = s->a;
    for (int i = 0; i < MAX_KEPT; i++)
        in[i] = s->in[i] >= 0 ? v[s->in[i]] : NULL;
    if (s->op == &im_op_batchnorm || s->op == &im_op_batchnorm_res)
        return im_batchnorm(c, in[0], in[1], in[2], in[3], in[4], in[5], &(im_batchnorm_attrs){
            .eps = s->f[0], .momentum = s->f[1], .training = a[0], .relu = a[1] });
    if (s->op == &im_op_conv2d)
        return im_conv2d(c, in[0], in[1], in[2], in[3], in[4],
                         &(im_conv_attrs){ a[0], a[1], a[2], a[3], a[4], a[5], a[6] });
    if (s->op == &im_op_attention)
        return im_attention(c, in[0], in[1], in[2], a[0], a[1]);
    if (s->op == &im_op_maxpool)
        return im_maxpool(c, in[0], a[0], a[1], a[2]);
    if (s->op == &im_op_timestep)
        return im_timestep_embedding(c, in[0], a[0], a[1], s->f[0]);
    im_attrs attrs = { .i = { a[0], a[1] }, .f = { s->f[0] } };          /* the others take theirs in this order       */
    return im_run(c, s->op, in, &attrs);
}

/* Values of all variables that live now; and the gradients of leaves, which later steps add to. */
static bool see_all(run *r, im_tensor *v[], const bool alive[], bool gradients)
{
    bool ok = true;
    for (int i = 0; i < r->p->n_vars && ok; i++) {
        const var *x = &r->p->v[i];
        if (!gradients && alive[i] && !x->leaf)
            ok = see(r->out, i, r->step, false, v[i]);
        if (gradients && x->leaf && v[i]->grad_set)
            ok = see(r->out, i, r->step, true, v[i]->grad);
        if (gradients && x->moves)
            ok = see(r->out, i, r->step, false, v[i]);
    }
    return ok;
}

static bool exec(run *r, im_tensor *v[], int from, int to)
{
    im_ctx *c = r->c;
    const program *p = r->p;
    bool ok = true;
    for (int at = from; at < to && ok && im_ok(c); at++) {
        const statement *s = &p->s[at];
        switch (s->what) {
        case DO_OP:      v[s->out] = call(r, v, s); break;
        case DO_SLICE:   v[s->out] = im_slice(c, v[s->in[0]], s->a[0], s->a[1], s->a[2]); break;
        case DO_RESHAPE: v[s->out] = im_reshape(c, v[s->in[0]], p->v[s->out].meta.ndim, p->v[s->out].meta.shape); break;
        case DO_PUSH:    im_scope_push(c); break;
        case DO_POP:
            for (int i = 0; i < MAX_KEPT && s->in[i] >= 0; i++)
                im_keep(c, v[s->in[i]]);
            im_scope_pop(c);
            break;
        case DO_BLOCK:   ok = exec_block(r, v, at, end_of(p, at)); at = end_of(p, at); break;
        case DO_END:     break;
        case DO_BURST:   ok = exec_burst(r, s); break;
        case DO_TAPE:    ok = !r->w->tape || im_tape_begin(c); break;
        case DO_BACKWARD:
            ok = see_all(r, v, p->alive_at[r->step], false) && exec_backward(r, v, s) && see_all(r, v, NULL, true);
            r->step++;
            break;
        }
        if (s->out >= 0 && s->what != DO_END && s->what != DO_BLOCK)
            ok &= v[s->out] != NULL;
    }
    return ok && im_ok(c);
}

static bool make_leaves(run *r, im_tensor *v[])
{
    for (int i = 0; i < r->p->n_vars; i++)
        if (r->p->v[i].leaf && !(v[i] = make_leaf(r->c, r->p, r->w, i)))
            return false;
    return true;
}

static void free_leaves(run *r, im_tensor *v[])
{
    for (int i = 0; i < r->p->n_vars; i++)
        if (r->p->v[i].leaf && r->p->v[i].meta.packed)
            im_param_free(r->c, v[i]);
    free(r->blocks);
}

bool program_run(im_ctx *c, const program *p, const way *w, numbers *out)
{
    im_tensor *v[MAX_VARS] = { 0 };
    run r = { .c = c, .p = p, .w = w, .out = out, .blocks = malloc(MAX_STATEMENTS * sizeof(block)) };
    im_set_compute_dtype(c, p->compute_dtype);
    im_scope_push(c);
    bool ok = r.blocks && make_leaves(&r, v) && exec(&r, v, 0, p->n);
    im_tape_end(c);
    im_scope_pop(c);
    free_leaves(&r, v);
    im_set_compute_dtype(c, IM_F32);
    return ok;
}

/* ---------------------------------------------------------------- as a plan */

typedef struct { run r; im_tensor **v; } recording;

/* The plan's own inputs are the first leaves; what else it reads lives outside. */
static im_tensor *first_step(im_ctx *c, void *arg, im_tensor *const in[], int n_in)
{
    recording *q = arg;
    (void)in;
    (void)n_in;
    bool ok = exec(&q->r, q->v, 0, q->r.p->plan_end);
    im_tensor *y = ok ? im_keep(c, q->v[q->r.p->plan_out]) : NULL;
    im_scope_pop(c);                                           /* of the step                                          */
    return y;
}

bool program_run_plan(im_ctx *c, const program *p, int times, numbers *out)
{
    im_tensor *v[MAX_VARS] = { 0 }, *in[2], *y = NULL;
    way w = { .recompute = true };
    recording q = { .r = { .c = c, .p = p, .w = &w, .blocks = malloc(MAX_STATEMENTS * sizeof(block)) }, .v = v };
    im_set_compute_dtype(c, p->compute_dtype);
    im_scope_push(c);
    bool ok = q.r.blocks && make_leaves(&q.r, v);
    in[0] = v[0];
    in[1] = v[1];
    im_plan *plan = ok ? im_plan_record(c, first_step, &q, in, 2) : NULL;
    for (int i = 0; i < times && plan; i++)
        y = im_plan_run(c, plan);
    ok = y && see(out, p->plan_out, 0, false, y);
    im_plan_free(c, plan);
    im_scope_pop(c);
    free_leaves(&q.r, v);
    im_set_compute_dtype(c, IM_F32);
    return ok;
}

/* ---------------------------------------------------------------- in words */

static void print_var(FILE *f, const program *p, int i)
{
    char shape[160];
    im_shape_text(&p->v[i].meta, shape, sizeof shape);
    fprintf(f, "v%d %s %s%s%s", i, shape, im_dtype_name((im_dtype)p->v[i].meta.dtype), p->v[i].meta.packed ? " packed" : "",
            p->v[i].grads && p->v[i].leaf ? " grad" : "");
}

void program_print(FILE *f, const program *p)
{
    static const char *const words[] = { "", "slice", "reshape", "push", "pop, keep", "block of", "end", "burst", "tape",
                                         "backward from" };
    int depth = 0;
    fprintf(f, "program %llu%s\n", (unsigned long long)p->seed, p->compute_dtype == IM_BF16 ? ", products in bf16" : "");
    for (int i = 0; i < p->n_vars; i++)
        if (p->v[i].leaf) {
            fprintf(f, "leaf ");
            print_var(f, p, i);
            fprintf(f, "\n");
        }
    for (int i = 0; i < p->n; i++) {
        const statement *s = &p->s[i];
        depth -= s->what == DO_POP || s->what == DO_END;
        fprintf(f, "%*s", 2 * depth + 2, "");
        depth += s->what == DO_PUSH || s->what == DO_BLOCK;
        if (s->out >= 0) {
            print_var(f, p, s->out);
            fprintf(f, " = ");
        }
        fprintf(f, "%s", s->what == DO_OP ? s->op->name : words[s->what]);
        for (int k = 0; k < MAX_KEPT; k++)
            if (s->in[k] >= 0)
                fprintf(f, " v%d", s->in[k]);
            else if (s->what == DO_OP && k < s->op->n_in)
                fprintf(f, " -");
        for (int k = 0; k < 8 && (s->what == DO_OP || s->what == DO_SLICE || s->what == DO_BURST); k++)
            fprintf(f, "%s%d", k ? "," : "  ", s->a[k]);
        fprintf(f, "\n");
    }
    if (p->plan_out >= 0)
        fprintf(f, "  as a plan: the first %d statements give v%d\n", p->plan_end, p->plan_out);
}
