/* scheduler_unipc.c: UniPC (Zhao et al. 2023, arXiv 2302.04867), a predictor and a corrector of one form.
 *
 * With lambda = ln(alpha / sigma), h the step in lambda, m0 the newest guess (x0, or the noise), D_i = (m_i - m0) / r_i
 * the slopes to earlier guesses at r_i = (lambda_i - lambda_0) / h, and B(h) = e^hh - 1 (bh2) or hh (bh1), hh = -h:
 *     x' = sigma'/sigma x - alpha' (e^hh - 1) m0 - alpha' B(h) sum_i rho_i D_i
 * where rho solves sum_i rho_i r_i^(k-1) = k! phi_(k+1)(hh) hh / B(h). The corrector is the same step taken again once
 * the network has been asked at its end: the newest guess joins the sum with r = 1. It costs no evaluation. */
#include "models/schedulers/scheduler_parts.h"

#include <math.h>

enum { ORDERS = 3, FROM = 3, GUESS = 4 };                    /* buf[0..2]: guesses; start of the last step; new guess */

/* Solves m y = b for the n unknowns (n <= ORDERS) by elimination with row exchange; b becomes y. */
static void solve(double m[ORDERS][ORDERS], double b[ORDERS], int n)
{
    for (int k = 0; k < n; k++) {
        int best = k;
        for (int i = k + 1; i < n; i++)
            if (fabs(m[i][k]) > fabs(m[best][k])) best = i;
        for (int j = 0; j < n; j++) {
            double t = m[k][j];
            m[k][j] = m[best][j];
            m[best][j] = t;
        }
        double t = b[k];
        b[k] = b[best];
        b[best] = t;
        for (int i = k + 1; i < n; i++) {
            double by = m[i][k] / m[k][k];
            for (int j = k; j < n; j++) m[i][j] -= by * m[k][j];
            b[i] -= by * b[k];
        }
    }
    for (int i = n - 1; i >= 0; i--) {
        for (int j = i + 1; j < n; j++) b[i] -= m[i][j] * b[j];
        b[i] /= m[i][i];
    }
}

typedef struct {
    int slopes;                                                /* to earlier guesses                                  */
    float x_by, m0_by, sum_by;                                 /* x' = x_by x - m0_by m0 - sum_by (sum)               */
    float r[ORDERS], rho[ORDERS];
} step;

/* The step from level `from` to level from + 1 (indices into sigmas) of the given order. */
static step make_step(const im_scheduler *s, int from, int order, bool corrector)
{
    im_vp a = im_vp_at(s->sigmas[from]), b = im_vp_at(s->sigmas[from + 1]);
    float h = b.lambda - a.lambda, hh = s->cfg.predict_x0 ? -h : h;
    float e1 = (float)expm1((double)hh), phi = e1 / hh - 1, big_b = s->cfg.solver_bh1 ? hh : e1;
    step t = { .slopes = order - 1 };
    t.r[order - 1] = 1;
    for (int i = 1; i < order; i++) t.r[i - 1] = (im_vp_at(s->sigmas[from - i]).lambda - a.lambda) / h;
    double m[ORDERS][ORDERS], rhs[ORDERS];
    int factorial = 1;
    for (int k = 0; k < order; k++) {
        for (int j = 0; j < order; j++) m[k][j] = k == 0 ? 1 : k == 1 ? t.r[j] : t.r[j] * t.r[j];
        rhs[k] = phi * (float)factorial / big_b;
        factorial *= k + 2;
        phi = phi / hh - (float)(1.0 / factorial);
    }
    int unknowns = corrector ? order : order - 1;
    if (corrector ? order == 1 : order == 2) {
        t.rho[0] = 0.5f;                                       /* the lowest order needs no solving                   */
    } else {
        solve(m, rhs, unknowns);
        for (int i = 0; i < unknowns; i++) t.rho[i] = (float)rhs[i];
    }
    bool x0 = s->cfg.predict_x0;
    float scale = x0 ? b.alpha : b.sigma;
    t.x_by = x0 ? b.sigma / a.sigma : b.alpha / a.alpha;
    t.m0_by = scale * e1;
    t.sum_by = scale * big_b;
    return t;
}

/* sum += rho (m - m0) / r */
static bool add_slope(const im_scheduler *s, im_tensor *sum, const im_tensor *m, float r, float rho)
{
    im_tensor *d = s->work[2];
    return IM_MIX_BY(s, d, r, { m, 1 }, { s->buf[0], -1 }) && IM_MIX(s, sum, { sum, 1 }, { d, rho });
}

/* Applies a step to x; fresh (corrector): the guess at the end of the step. */
static bool apply(const im_scheduler *s, const step *t, const im_tensor *x, const im_tensor *fresh, im_tensor *out)
{
    im_tensor *y = s->work[0], *sum = s->work[1];
    bool ok = IM_MIX(s, y, { x, t->x_by }, { s->buf[0], -t->m0_by }) && im_fill(s->c, sum, 0);
    for (int k = 0; ok && k < t->slopes; k++) ok = add_slope(s, sum, s->buf[k + 1], t->r[k], t->rho[k]);
    if (fresh) ok = ok && add_slope(s, sum, fresh, 1, t->rho[t->slopes]);
    return ok && IM_MIX(s, out, { y, 1 }, { sum, -t->sum_by });
}

static bool corrects(const im_scheduler *s)
{
    if (s->done == 0) return false;
    for (int i = 0; i < s->cfg.n_disable_corrector; i++)
        if (s->cfg.disable_corrector[i] == im_step_index(s) - 1) return false;
    return true;
}

bool im_step_unipc(im_scheduler *s, const im_tensor *e, im_tensor *x, im_noise noise)
{
    (void)noise;
    int index = im_step_index(s), left = s->count - index;
    if (!im_vp_convert(s, e, x, s->cfg.predict_x0, s->buf[GUESS])) return false;
    if (corrects(s)) {
        step back = make_step(s, index - 1, s->last_order, true);
        if (!apply(s, &back, s->buf[FROM], s->buf[GUESS], x)) return false;
    }
    int had = s->kept;
    im_history_push(s, ORDERS);
    int order = s->cfg.solver_order;
    if (s->cfg.lower_order_final && order > left) order = left;
    if (order > had + 1) order = had + 1;
    s->last_order = order;
    step ahead = make_step(s, index, order, false);
    return im_assign(s->c, s->buf[0], s->buf[GUESS]) && im_assign(s->c, s->buf[FROM], x)
        && apply(s, &ahead, x, NULL, x);
}
