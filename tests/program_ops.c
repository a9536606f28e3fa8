/* program_ops.c: draws one operation of a program, with operands that fit it: variables that are there, or new leaves. */
#include <string.h>

#include "program_draw.h"

/* ---------------------------------------------------------------- operands */

static int vector(draws *d, int64_t n)
{
    return leaf(d, IM_F32, chance(d, 70), FILL_NORMAL, 0, SHAPE(n));
}

static bool rows(const draws *d, const var *v)
{
    int64_t n, ld;
    return (is_f32(d, v) || held(d, v)) && im_rows(&v->meta, &n, &ld);
}
static bool f32_rows(const draws *d, const var *v) { return is_f32(d, v) && rows(d, v); }
static bool picture(const draws *d, const var *v) { return held(d, v) && v->meta.ndim == 4; }
static bool sequence(const draws *d, const var *v)
{
    return is_f32(d, v) && v->meta.ndim == 3 && (v->meta.stride[2] == 1 || v->meta.shape[2] == 1);
}
static bool two(const draws *d, const var *v) { return held(d, v) && v->meta.ndim >= 2; }
static bool three(const draws *d, const var *v) { return held(d, v) && v->meta.ndim >= 3; }
static bool f32_three(const draws *d, const var *v) { return plain_f32(d, v) && v->meta.ndim >= 3; }
static bool matrix(const draws *d, const var *v) { return plain_f32(d, v) && v->meta.ndim == 2; }
static bool even_last(const draws *d, const var *v)
{
    return plain_f32(d, v) && v->meta.ndim >= 2 && v->meta.shape[v->meta.ndim - 1] % 2 == 0;
}

static const im_tensor *meta(const draws *d, int i) { return &d->p->v[i].meta; }
static int64_t last(const im_tensor *t) { return t->shape[t->ndim - 1]; }

/* A contiguous f32 variable of this shape, or a leaf. */
static int of_shape(draws *d, int ndim, const int64_t shape[], bool may_want)
{
    for (int i = d->p->n_vars - 1; i >= 0; i--) {
        const var *v = &d->p->v[i];
        if (visible(d, i) && !v->moves && plain_f32(d, v) && v->meta.ndim == ndim && (may_want || !v->grads)
            && !memcmp(v->meta.shape, shape, (size_t)ndim * sizeof *shape) && chance(d, 60))
            return i;
    }
    return leaf(d, IM_F32, may_want && chance(d, 50), FILL_NORMAL, 0, ndim, shape);
}

/* A weight (n, ...) of rows of k values: mostly f32 that is trained; else 16 bits or packed, where x is not. */
static int weight(draws *d, int x, bool geglu, int ndim, const int64_t shape[])
{
    int64_t k = 1;
    for (int i = 1; i < ndim; i++)
        k *= shape[i];
    bool frozen = !d->p->v[x].grads && chance(d, 50);
    im_dtype t = frozen ? (im_dtype)draw(d, 3) : IM_F32;
    int w = leaf(d, t, !frozen && chance(d, 80), FILL_WEIGHT, (int)k, ndim, shape);
    bool wanted = d->p->v[w].grads;
    for (int i = 0; frozen && !wanted && i < d->p->n; i++)     /* packed: only where nobody else reads it              */
        for (int j = 0; j < MAX_KEPT; j++)
            wanted |= d->p->s[i].in[j] == w;
    if (frozen && !wanted && chance(d, 50) && w == d->p->n_vars - 1) {
        d->p->v[w].meta.packed = 1;
        d->p->v[w].meta.geglu = geglu;
    }
    return w;
}

/* ---------------------------------------------------------------- operations */

static int finish(draws *d, statement *s, const im_op *op, im_dtype t, int ndim, const int64_t shape[])
{
    bool grads = false;
    s->op = op;
    for (int i = 0; i < op->n_in; i++)
        grads |= s->in[i] >= 0 && d->p->v[s->in[i]].grads;
    s->out = new_var(d, t, ndim, shape);
    d->p->v[s->out].grads = grads && d->tape;
    return s->out;
}

static int like(draws *d, statement *s, const im_op *op)
{
    const im_tensor *x = meta(d, s->in[0]);
    int64_t shape[IM_MAX_DIMS];
    memcpy(shape, x->shape, sizeof shape);
    return finish(d, s, op, (im_dtype)x->dtype, x->ndim, shape);
}

static statement *with_input(draws *d, int x)
{
    statement *s = add_statement(d, DO_OP);
    s->in[0] = x;
    return s;
}

static int draw_linear(draws *d)
{
    int x = pick(d, rows);
    if (x < 0)
        return -1;
    const im_tensor *t = meta(d, x);
    bool bf16 = t->dtype == IM_BF16, gates = !bf16 && chance(d, 20);
    int64_t shape[IM_MAX_DIMS], n = between(d, 1, chance(d, 10) ? 70 : 12);
    memcpy(shape, t->shape, sizeof shape);
    shape[t->ndim - 1] = n;
    int w = weight(d, x, gates, SHAPE(gates ? 2 * n : n, last(t))), b = -1, res = -1;
    if (!bf16 && chance(d, 60) && !(gates && meta(d, w)->packed))     /* packed gates: not on a tape                      */
        b = vector(d, gates ? 2 * n : n);
    if (!bf16 && !gates && chance(d, 40))
        res = of_shape(d, t->ndim, shape, true);
    statement *s = with_input(d, x);
    s->in[1] = w;
    s->in[2] = b;
    s->in[3] = res;
    s->a[0] = bf16 || gates ? 0 : draw(d, IM_ACT_RELU);        /* without ReLU, whose kink magnifies rounding          */
    return finish(d, s, gates ? &im_op_geglu : &im_op_linear, (im_dtype)t->dtype, t->ndim, shape);
}

static int draw_conv(draws *d)
{
    int x = pick(d, picture);
    if (x < 0)
        return -1;
    const im_tensor *t = meta(d, x);
    bool bf16 = t->dtype == IM_BF16, wide = !bf16 && chance(d, 20);
    int kernel = between(d, 1, 3), at[7] = { between(d, 1, 2) };         /* stride, top, left, bottom, right, up h, w    */
    for (int i = 1; i < 5; i++)
        at[i] = draw(d, kernel + 1);
    if (wide) {
        at[5] = between(d, 1, 2 * (int)t->shape[1]);
        at[6] = between(d, 1, 2 * (int)t->shape[2]);
    }
    int64_t n = between(d, 1, chance(d, 10) ? 34 : 9), sides[2];
    for (int i = 0; i < 2; i++) {
        int64_t room = (wide ? at[5 + i] : t->shape[1 + i]) + at[1 + i] + at[3 + i] - kernel;
        if (room < 0)
            return -1;
        sides[i] = room / at[0] + 1;
    }
    int w = weight(d, x, false, SHAPE(n, kernel, kernel, t->shape[3])), b = -1, chan = -1, res = -1;
    if (!bf16 && chance(d, 60))
        b = vector(d, n);
    if (!bf16 && chance(d, 30))
        chan = of_shape(d, SHAPE(t->shape[0], n), true);
    if (!bf16 && chance(d, 30))
        res = of_shape(d, SHAPE(t->shape[0], sides[0], sides[1], n), true);
    statement *s = with_input(d, x);
    s->in[1] = w;
    s->in[2] = b;
    s->in[3] = chan;
    s->in[4] = res;
    memcpy(s->a, at, sizeof at);
    return finish(d, s, &im_op_conv2d, (im_dtype)t->dtype, SHAPE(t->shape[0], sides[0], sides[1], n));
}

static int draw_norm(draws *d)
{
    bool group = chance(d, 50);
    int x = pick(d, group ? f32_three : f32_rows), groups = 1;
    if (x < 0)
        return -1;
    int64_t channels = last(meta(d, x));
    if (group)
        do
            groups = between(d, 1, (int)channels);
        while (channels % groups);
    int gamma = vector(d, channels), beta = vector(d, channels);
    statement *s = with_input(d, x);
    s->in[1] = gamma;
    s->in[2] = beta;
    s->a[0] = groups;
    s->a[1] = draw(d, 2);
    s->f[0] = 0.05f;                                           /* rows of equal numbers stay harmless                  */
    return like(d, s, group ? &im_op_groupnorm : &im_op_layernorm);
}

static int moving(draws *d, int64_t channels, fill how)
{
    int i = new_var(d, IM_F32, 1, &channels);
    d->p->v[i].leaf = d->p->v[i].moves = true;
    d->p->v[i].depth = 0;
    d->p->v[i].fill = how;
    return i;
}

static int draw_batchnorm(draws *d)
{
    int x = pick(d, two);
    if (x < 0)
        return -1;
    const im_tensor *t = meta(d, x);
    int64_t channels = last(t);
    bool training = chance(d, 60) && im_numel(t) > channels, res = chance(d, 40);
    int in[6] = { x, vector(d, channels), vector(d, channels), -1, moving(d, channels, FILL_NORMAL),
                  moving(d, channels, FILL_POSITIVE) };
    if (res && t->dtype == IM_F32)
        in[3] = of_shape(d, t->ndim, t->shape, true);
    else if (res)
        in[3] = x;
    statement *s = add_statement(d, DO_OP);
    memcpy(s->in, in, sizeof in);
    s->a[0] = training;
    s->a[1] = chance(d, 30);
    s->f[0] = 0.05f;
    s->f[1] = 0.1f;
    d->p->trains_norms |= training;
    return like(d, s, in[3] >= 0 && s->a[1] ? &im_op_batchnorm_res : &im_op_batchnorm);
}

static int draw_pool(draws *d)
{
    bool largest = chance(d, 60);
    int x = pick(d, largest ? picture : three);
    if (x < 0)
        return -1;
    const im_tensor *t = meta(d, x);
    if (!largest) {
        statement *s = with_input(d, x);
        return finish(d, s, &im_op_avgpool, IM_F32, SHAPE(t->shape[0], last(t)));
    }
    int kernel = between(d, 1, 3), stride = between(d, 1, 3), pad = draw(d, kernel / 2 + 1);
    if (t->shape[1] + 2 * pad < kernel || t->shape[2] + 2 * pad < kernel)
        return -1;
    statement *s = with_input(d, x);
    s->a[0] = kernel;
    s->a[1] = stride;
    s->a[2] = pad;
    return finish(d, s, &im_op_maxpool, (im_dtype)t->dtype,
                  SHAPE(t->shape[0], (t->shape[1] + 2 * pad - kernel) / stride + 1,
                        (t->shape[2] + 2 * pad - kernel) / stride + 1, t->shape[3]));
}

static int slice(draws *d, int x, int axis, int64_t from, int64_t to)
{
    statement *s = add_statement(d, DO_SLICE);
    s->in[0] = x;
    s->a[0] = axis;
    s->a[1] = (int)from;
    s->a[2] = (int)to;
    var *v = &d->p->v[x];
    s->out = new_var(d, (im_dtype)v->meta.dtype, v->meta.ndim, v->meta.shape);
    var *y = &d->p->v[s->out];
    y->meta = v->meta;
    y->meta.shape[axis] = to - from;
    y->grads = v->grads;
    y->of_leaf = v->of_leaf;
    y->root = root_of(d, x);
    return s->out;
}

/* q, k and v are often parts of one tensor, side by side, and may overlap. */
static int draw_attention(draws *d)
{
    int x = pick(d, sequence);
    if (x < 0 || full(d))
        return -1;
    const im_tensor *t = meta(d, x);
    int in[3] = { x, x, x }, heads;
    int64_t channels = t->shape[2];
    if (channels >= 3 && chance(d, 60)) {
        int64_t part = channels / 3;
        for (int i = 0; i < 3; i++) {
            int64_t from = chance(d, 70) ? i * part : draw(d, (int)(channels - part + 1));
            in[i] = slice(d, x, 2, from, from + part);
        }
        channels = part;
    } else if (chance(d, 50)) {
        int64_t keys[] = { t->shape[0], between(d, 1, 9), channels };
        in[1] = of_shape(d, 3, keys, true);
        in[2] = of_shape(d, 3, keys, true);
    }
    do
        heads = between(d, 1, (int)channels);
    while (channels % heads);
    statement *s = add_statement(d, DO_OP);
    memcpy(s->in, in, sizeof in);
    s->a[0] = heads;
    s->a[1] = chance(d, 30);
    return like(d, s, &im_op_attention);
}

static int draw_element(draws *d)
{
    int x = pick(d, plain_f32), kind = draw(d, 4);
    if (x < 0)
        return -1;
    const im_tensor *t = meta(d, x);
    int other = -1;
    if (kind == 1) {
        int skip = chance(d, 50) ? 0 : draw(d, t->ndim);
        other = of_shape(d, t->ndim - skip, t->shape + skip, true);
    }
    statement *s = with_input(d, x);
    s->in[1] = other;
    s->a[0] = draw(d, IM_ACT_RELU);
    s->f[0] = kind == 2 ? (float)between(d, -3, 3) / 2 : 0.1f;
    return like(d, s, kind == 0 ? &im_op_activate : kind == 1 ? &im_op_add : kind == 2 ? &im_op_scale : &im_op_normalize);
}

static int draw_joined(draws *d)
{
    int x = pick(d, plain_f32);
    if (x < 0 || im_numel(meta(d, x)) > 4000)
        return -1;
    const im_tensor *t = meta(d, x);
    int64_t shape[IM_MAX_DIMS];
    bool first = chance(d, 50);
    int axis = first ? 0 : t->ndim - 1;
    memcpy(shape, t->shape, sizeof shape);
    shape[axis] = between(d, 1, 5);
    int y = chance(d, 40) ? x : of_shape(d, t->ndim, shape, true);
    statement *s = with_input(d, x);
    s->in[1] = y;
    shape[axis] = t->shape[axis] + meta(d, y)->shape[axis];
    return finish(d, s, first ? &im_op_stack : &im_op_concat, IM_F32, t->ndim, shape);
}

static int draw_cast(draws *d)
{
    int x = pick(d, held);
    if (x < 0)
        return -1;
    const im_tensor *t = meta(d, x);
    statement *s = with_input(d, x);
    s->a[0] = t->dtype == IM_F32 || chance(d, 10) ? IM_BF16 : IM_F32;
    return finish(d, s, &im_op_cast, (im_dtype)s->a[0], t->ndim, t->shape);
}

/* Often of a 16-bit tensor, often twice. */
static int draw_copy(draws *d)
{
    int x = pick(d, any_view);
    if (x < 0)
        return -1;
    for (int i = d->p->n_vars - 1; i >= 0; i--)
        if (visible(d, i) && d->p->v[i].meta.dtype == IM_BF16 && any_view(d, &d->p->v[i]) && chance(d, 50))
            x = i;
    return like(d, with_input(d, x), &im_op_copy);
}

static int draw_ids(draws *d)
{
    int64_t n = between(d, 1, 7), channels = between(d, 1, 20), table = between(d, 1, 9);
    bool trained = chance(d, 60);
    if (chance(d, 20)) {
        int t = leaf(d, IM_F32, false, FILL_TIMES, 0, 1, &n);
        statement *s = with_input(d, t);
        s->a[0] = between(d, 4, 20);
        s->a[1] = draw(d, 2);
        s->f[0] = (float)draw(d, 2);
        return finish(d, s, &im_op_timestep, IM_F32, SHAPE(n, s->a[0]));
    }
    int w = leaf(d, trained ? IM_F32 : (im_dtype)draw(d, 3), trained, FILL_NORMAL, 0, SHAPE(table, channels));
    int ids = leaf(d, IM_I32, false, FILL_IDS, (int)table, SHAPE(between(d, 1, 3), n));
    statement *s = with_input(d, w);
    s->in[1] = ids;
    return finish(d, s, &im_op_embedding, IM_F32, SHAPE(meta(d, ids)->shape[0], n, channels));
}

static int draw_loss(draws *d)
{
    int kind = draw(d, 4), x = pick(d, kind == 0 ? matrix : kind == 1 ? plain_f32 : even_last), other = -1, weights = -1;
    if (x < 0)
        return -1;
    const im_tensor *t = meta(d, x);
    int64_t shape[IM_MAX_DIMS], batch = t->shape[0];
    memcpy(shape, t->shape, sizeof shape);
    if (kind == 0)
        other = leaf(d, IM_I32, false, FILL_IDS, (int)t->shape[1], 1, &batch);
    else if (kind == 1) {
        other = of_shape(d, t->ndim, shape, true);
        weights = chance(d, 40) ? leaf(d, IM_F32, false, FILL_POSITIVE, 0, 1, &batch) : -1;
    } else if (kind == 2) {
        shape[t->ndim - 1] /= 2;
        other = of_shape(d, t->ndim, shape, false);
    }
    statement *s = with_input(d, x);
    s->in[1] = other;
    s->in[2] = weights;
    if (kind == 2)
        return finish(d, s, &im_op_gaussian_sample, IM_F32, t->ndim, shape);
    return finish(d, s, kind == 0 ? &im_op_cross_entropy : kind == 3 ? &im_op_kl : chance(d, 80) ? &im_op_mse : &im_op_l1,
                  IM_F32, SHAPE(1));
}

static int draw_view(draws *d)
{
    if (chance(d, 50)) {
        int x = pick(d, sliceable);
        if (x < 0)
            return -1;
        const im_tensor *t = meta(d, x);
        int axis = chance(d, 50) ? t->ndim - 1 : draw(d, t->ndim);
        int64_t from = draw(d, (int)t->shape[axis]), to = between(d, (int)from + 1, (int)t->shape[axis]);
        return slice(d, x, axis, from, to);
    }
    int x = pick(d, held);
    if (x < 0)
        return -1;
    const im_tensor *t = meta(d, x);
    int64_t left = im_numel(t), shape[IM_MAX_DIMS];
    int ndim = between(d, 2, 4);
    for (int i = ndim - 1; i > 0; i--) {                       /* divisors, mostly those that are there                */
        int64_t size = i < t->ndim && chance(d, 50) ? t->shape[t->ndim - ndim + i < 0 ? 0 : t->ndim - ndim + i] : 1;
        for (int tries = 0; tries < 6 && (left % size || size == 1); tries++)
            size = between(d, 1, 9);
        shape[i] = left % size ? 1 : size;
        left /= shape[i];
    }
    shape[0] = left;
    statement *s = add_statement(d, DO_RESHAPE);
    s->in[0] = x;
    s->out = new_var(d, (im_dtype)t->dtype, ndim, shape);
    d->p->v[s->out].grads = d->p->v[x].grads;
    d->p->v[s->out].of_leaf = d->p->v[x].of_leaf;
    d->p->v[s->out].root = root_of(d, x);
    return s->out;
}

int draw_op(draws *d)
{
    static int (*const kinds[])(draws *) = {
        draw_linear, draw_linear, draw_conv, draw_conv, draw_norm, draw_batchnorm, draw_pool, draw_attention,
        draw_attention, draw_element, draw_element, draw_element, draw_joined, draw_cast, draw_copy, draw_ids, draw_loss,
        draw_view, draw_view, draw_view,
    };
    return kinds[draw(d, (int)(sizeof kinds / sizeof *kinds))](d);
}
