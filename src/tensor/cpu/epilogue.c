/* epilogue.c: what happens to finished sums on their way into c, while they are still in L1.
 *
 *     c = act(sum + bias + chan) + res          GEGLU: c = (v + bias_v) * gelu(g + bias_g) + res
 * each + one rounded addition, in this order (device.h). */
#include "tensor/cpu/product.h"
#include "tensor/cpu/vmath.h"

/* 16 columns from col on, of which n exist; gate (GEGLU) holds the sums of the second half. */
typedef struct { const float *sums, *gate; int col, n; } part;

IM_INLINE v16 load(const float *p, int n)
{
    return n == IM_PANEL ? v_load(p) : v_load_n(p, n);
}

/* Distance of c's row from its first. */
static int64_t place_of(const im_product *p, int64_t row)
{
    const im_grid *g = p->grid;
    if (!g)
        return row * p->ldc;
    int64_t line = row / g->across;
    return row % g->across * g->pixel + line % g->down * g->line + line / g->down * g->image;
}

typedef struct { im_dtype chan, res, c; } kinds;               /* what they are held in                               */
#define UNIFORM(t) ((kinds){ t, t, t })

IM_INLINE void columns(const im_product *p, kinds t, part q, int64_t row, int rows, im_act act, bool geglu, int n)
{
    v16 bias = p->bias ? load(p->bias + q.col, n) : v_zero();
    v16 bias_gate = geglu && p->bias ? load(p->bias + p->n + q.col, n) : v_zero();
    const void *chan = p->chan.p, *res = p->res.p;
    int64_t at = chan ? row / p->chan_rows : 0, left = chan ? (at + 1) * p->chan_rows - row : 0;
    for (int i = 0; i < rows; i++) {
        v16 y = v_load(q.sums + i * IM_STRIP);
        if (p->bias)
            y = v_add(y, bias);
        if (chan) {
            if (left-- == 0) {
                at++;
                left = p->chan_rows - 1;
            }
            y = v_add(y, load_as(t.chan, chan, at * p->ldchan + q.col, n));
        }
        if (geglu) {
            v16 g = v_load(q.gate + i * IM_STRIP);
            y = v_mul(y, v_gelu_erf(p->bias ? v_add(g, bias_gate) : g));
        } else {
            y = v_activate(act, y);
        }
        if (res)
            y = v_add(y, load_as(t.res, res, (p->grid ? place_of(p, row + i) : (row + i) * p->ldres) + q.col, n));
        store_as(t.c, p->c.p, place_of(p, row + i) + q.col, y, n);
    }
}

/* Whole and cut panels. */
IM_INLINE void widths(const im_product *p, kinds t, part q, int64_t row, int rows, im_act act, bool geglu)
{
    if (q.n == IM_PANEL)
        columns(p, t, q, row, rows, act, geglu, IM_PANEL);
    else
        columns(p, t, q, row, rows, act, geglu, q.n);
}

/* A copy for each kind of epilogue, so that the loop inside sees constants. */
static void finish_f32(const im_product *p, part q, int64_t row, int rows)
{
    const kinds t = UNIFORM(IM_F32);
    if (p->geglu) {
        widths(p, t, q, row, rows, IM_ACT_NONE, true);
        return;
    }
    switch (p->act) {
    case IM_ACT_NONE: widths(p, t, q, row, rows, IM_ACT_NONE, false); break;
    case IM_ACT_SILU: widths(p, t, q, row, rows, IM_ACT_SILU, false); break;
    case IM_ACT_GELU: widths(p, t, q, row, rows, IM_ACT_GELU, false); break;
    case IM_ACT_GELU_TANH: widths(p, t, q, row, rows, IM_ACT_GELU_TANH, false); break;
    case IM_ACT_QUICK_GELU: widths(p, t, q, row, rows, IM_ACT_QUICK_GELU, false); break;
    case IM_ACT_RELU: widths(p, t, q, row, rows, IM_ACT_RELU, false); break;
    case IM_ACT_TANH: columns(p, t, q, row, rows, IM_ACT_TANH, false, q.n); break;       /* rare: no copies of its own */
    }
}

/* In 16 bits copies only for what most layers are: GEGLU, and nothing but sums. */
IM_INLINE void finish_half(const im_product *p, kinds t, part q, int64_t row, int rows)
{
    if (p->geglu)
        widths(p, t, q, row, rows, IM_ACT_NONE, true);
    else if (p->act == IM_ACT_NONE)
        widths(p, t, q, row, rows, IM_ACT_NONE, false);
    else
        columns(p, t, q, row, rows, p->act, false, q.n);
}

static void finish(const im_product *p, part q, int64_t row, int rows)
{
    im_dtype c = p->c.t;
    switch (same3(p->chan.p ? p->chan.t : c, p->res.p ? p->res.t : c, c)) {
    case IM_F32:  finish_f32(p, q, row, rows); break;
    case IM_F16:  finish_half(p, UNIFORM(IM_F16), q, row, rows); break;
    case IM_BF16: finish_half(p, UNIFORM(IM_BF16), q, row, rows); break;
    default:      columns(p, (kinds){ p->chan.t, p->res.t, c }, q, row, rows, p->act, p->geglu, q.n);
    }
}

void IM_FN(im_epilogue)(const im_product *p, int strip, int64_t row, int rows, const float *sums)
{
    int width = p->geglu ? IM_PANEL : IM_STRIP;
    for (int at = 0; at < width && strip * width + at < p->n; at += IM_PANEL) {
        int col = strip * width + at, n = p->n - col < IM_PANEL ? p->n - col : IM_PANEL;
        finish(p, (part){ sums + at, sums + IM_PANEL, col, n }, row, rows);
    }
}
