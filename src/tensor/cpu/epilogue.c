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

IM_INLINE void columns(const im_product *p, im_dtype held, part q, int64_t row, int rows, im_act act, bool geglu, int n)
{
    v16 bias = p->bias ? load(p->bias + q.col, n) : v_zero();
    v16 bias_gate = geglu && p->bias ? load(p->bias + p->n + q.col, n) : v_zero();
    int64_t at = p->chan ? row / p->chan_rows : 0, left = p->chan ? (at + 1) * p->chan_rows - row : 0;
    for (int i = 0; i < rows; i++) {
        v16 y = v_load(q.sums + i * IM_STRIP);
        if (p->bias)
            y = v_add(y, bias);
        if (p->chan) {
            if (left-- == 0) {
                at++;
                left = p->chan_rows - 1;
            }
            y = v_add(y, load(p->chan + at * p->ldchan + q.col, n));
        }
        if (geglu) {
            v16 g = v_load(q.gate + i * IM_STRIP);
            y = v_mul(y, v_gelu_erf(p->bias ? v_add(g, bias_gate) : g));
        } else {
            y = v_activate(act, y);
        }
        if (p->res)
            y = v_add(y, held_load(held, p->res, (p->grid ? place_of(p, row + i) : (row + i) * p->ldres) + q.col, n));
        held_store(held, p->c, place_of(p, row + i) + q.col, y, n);
    }
}

/* A copy for each kind of epilogue, and for whole and cut panels: the loop inside sees constants. */
static void finish(const im_product *p, part q, int64_t row, int rows)
{
#define CASE(act, geglu) \
    q.n == IM_PANEL ? columns(p, IM_F32, q, row, rows, act, geglu, IM_PANEL) \
                    : columns(p, IM_F32, q, row, rows, act, geglu, q.n)
    if (p->held == IM_BF16 && q.n == IM_PANEL && p->act == IM_ACT_NONE && !p->geglu) {
        columns(p, IM_BF16, q, row, rows, IM_ACT_NONE, false, IM_PANEL);
        return;
    }
    if (p->held == IM_BF16) {
        columns(p, IM_BF16, q, row, rows, p->act, p->geglu, q.n);
        return;
    }
    if (p->geglu) {
        CASE(IM_ACT_NONE, true);
        return;
    }
    switch (p->act) {
    case IM_ACT_NONE: CASE(IM_ACT_NONE, false); break;
    case IM_ACT_SILU: CASE(IM_ACT_SILU, false); break;
    case IM_ACT_GELU: CASE(IM_ACT_GELU, false); break;
    case IM_ACT_GELU_TANH: CASE(IM_ACT_GELU_TANH, false); break;
    case IM_ACT_QUICK_GELU: CASE(IM_ACT_QUICK_GELU, false); break;
    case IM_ACT_RELU: CASE(IM_ACT_RELU, false); break;
    }
#undef CASE
}

void IM_FN(im_epilogue)(const im_product *p, int strip, int64_t row, int rows, const float *sums)
{
    int width = p->geglu ? IM_PANEL : IM_STRIP;
    for (int at = 0; at < width && strip * width + at < p->n; at += IM_PANEL) {
        int col = strip * width + at, n = p->n - col < IM_PANEL ? p->n - col : IM_PANEL;
        finish(p, (part){ sums + at, sums + IM_PANEL, col, n }, row, rows);
    }
}
