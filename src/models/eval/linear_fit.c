/* linear_fit.c: see linear_fit.h. */
#include "models/eval/linear_fit.h"

#include <lbfgs.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/sets/order.h"

enum { PARTS = 16, ITERATIONS = 2000, MEMORY = 10 };           /* of a sum; of L-BFGS                                 */
static const double MOMENTUM = 0.9, WORTH_THREADS = 1e6;

/* ---------------------------------------------------------------- loss and gradient */

typedef struct pass {
    const im_feature_rows *r;
    const double *w;                                           /* (d + 1, classes)                                    */
    const double *mean;                                        /* (d): taken off every row; NULL: nothing is          */
    const int64_t *index; int64_t n;                           /* rows of this pass                                   */
    double *x, *y;                                             /* (PARTS, d), (PARTS, classes)                        */
    double *loss, *dw;                                         /* (PARTS), (PARTS, d + 1, classes); dw NULL: none     */
    int32_t *named;                                            /* (n), or NULL                                        */
} pass;

static void read_row(const im_feature_rows *r, int64_t at, const double *mean, double *x)
{
    double squares = 0;
    for (int j = 0; j < r->d; j++) {
        x[j] = r->x[at * r->d + j];
        squares += x[j] * x[j];
    }
    for (int j = 0; r->unit && squares > 0 && j < r->d; j++) x[j] /= sqrt(squares);
    for (int j = 0; mean && j < r->d; j++) x[j] -= mean[j];
}

/* y = x w + b */
static void logits_of(const im_feature_rows *r, const double *w, const double *x, double *y)
{
    int k_max = r->classes;
    memcpy(y, w + (int64_t)r->d * k_max, (size_t)k_max * sizeof *y);
    for (int j = 0; j < r->d; j++) {
        double by = x[j];
        const double *row = w + (int64_t)j * k_max;
        for (int k = 0; k < k_max; k++) y[k] += by * row[k];
    }
}

/* Logits become their gradient, softmax less 1 at the label; returns the cross entropy. */
static double entropy(double *y, int classes, int label)
{
    double most = y[0], sum = 0, own = y[label];
    for (int k = 1; k < classes; k++) most = y[k] > most ? y[k] : most;
    for (int k = 0; k < classes; k++) sum += y[k] = exp(y[k] - most);
    for (int k = 0; k < classes; k++) y[k] /= sum;
    y[label] -= 1;
    return log(fmax(sum, 1)) + most - own;                     /* the largest of them is 1                            */
}

static void add_outer(const im_feature_rows *r, const double *x, const double *dy, double *dw)
{
    int k_max = r->classes;
    for (int j = 0; j <= r->d; j++) {
        double by = j < r->d ? x[j] : 1, *row = dw + (int64_t)j * k_max;
        for (int k = 0; k < k_max; k++) row[k] += by * dy[k];
    }
}

static void pass_part(void *arg, int part, int thread)
{
    const pass *p = arg;
    const im_feature_rows *r = p->r;
    int64_t size = (int64_t)(r->d + 1) * r->classes;
    double *x = p->x + (int64_t)part * r->d, *y = p->y + (int64_t)part * r->classes;
    double *dw = p->dw ? p->dw + part * size : NULL;
    (void)thread;
    p->loss[part] = 0;
    if (dw) memset(dw, 0, (size_t)size * sizeof *dw);
    for (int64_t i = p->n * part / PARTS; i < p->n * (part + 1) / PARTS; i++) {
        read_row(r, p->index[i], p->mean, x);
        logits_of(r, p->w, x, y);
        int best = 0;
        for (int k = 1; p->named && k < r->classes; k++)
            if (y[k] > y[best]) best = k;
        if (p->named) p->named[i] = best;
        if (dw) {
            p->loss[part] += entropy(y, r->classes, r->labels[p->index[i]]);
            add_outer(r, x, y, dw);
        }
    }
}

static bool pass_open(im_ctx *c, const im_feature_rows *r, bool gradients, pass *p)
{
    size_t d = (size_t)r->d, k = (size_t)r->classes;
    *p = (pass){ .r = r, .index = r->index, .n = r->n };
    p->x = malloc(PARTS * d * sizeof *p->x);
    p->y = malloc(PARTS * k * sizeof *p->y);
    p->loss = malloc(PARTS * sizeof *p->loss);
    p->dw = gradients ? malloc(PARTS * (d + 1) * k * sizeof *p->dw) : NULL;
    return (p->x && p->y && p->loss && (p->dw || !gradients)) ||
           im_fail(c, "out of memory for a linear classifier of %d classes on %d features", r->classes, r->d);
}

static void pass_close(pass *p)
{
    free(p->x);
    free(p->y);
    free(p->loss);
    free(p->dw);
}

/* The same parts, whether threads are worth waking or not. */
static void run_parts(im_ctx *c, pass *p)
{
    if ((double)p->n * p->r->d * p->r->classes > WORTH_THREADS)
        im_parallel(c, PARTS, pass_part, p);
    else
        for (int part = 0; part < PARTS; part++) pass_part(p, part, 0);
}

/* Mean loss; g: its gradient. */
static double mean_loss(im_ctx *c, pass *p, double *g)
{
    int64_t size = (int64_t)(p->r->d + 1) * p->r->classes;
    double loss = 0;
    run_parts(c, p);
    memset(g, 0, (size_t)size * sizeof *g);
    for (int part = 0; part < PARTS; part++) {
        loss += p->loss[part];
        for (int64_t i = 0; i < size; i++) g[i] += p->dw[part * size + i];
    }
    for (int64_t i = 0; i < size; i++) g[i] /= (double)p->n;
    return loss / (double)p->n;
}

/* ---------------------------------------------------------------- L-BFGS */

typedef struct objective { im_ctx *c; pass *p; double ridge; int iterations; } objective;

/* (C sum of losses + 1/2 |w|^2) / (C n): numbers near 1 for every C. */
static lbfgsfloatval_t evaluate(void *arg, const lbfgsfloatval_t *w, lbfgsfloatval_t *g, const int n, lbfgsfloatval_t step)
{
    objective *o = arg;
    int weights = o->p->r->d * o->p->r->classes;
    double squares = 0;
    (void)n;
    (void)step;
    o->p->w = w;
    double loss = mean_loss(o->c, o->p, g);
    for (int i = 0; i < weights; i++) {
        squares += w[i] * w[i];
        g[i] += o->ridge * w[i];
    }
    return loss + 0.5 * o->ridge * squares;
}

static int count(void *arg, const lbfgsfloatval_t *w, const lbfgsfloatval_t *g, const lbfgsfloatval_t f,
                 const lbfgsfloatval_t length, const lbfgsfloatval_t g_length, const lbfgsfloatval_t step, int n, int k,
                 int tries)
{
    (void)w, (void)g, (void)f, (void)length, (void)g_length, (void)step, (void)n, (void)tries;
    ((objective *)arg)->iterations = k;
    return 0;
}

/* Where to end: |gradient| beside max(1, |w|). The curvature is that of the ridge at least, so that a gradient of 1e-6
 * ridge leaves an error of 1e-6 |w|; what f64 cannot reach is not asked for. roughly: to be compared with others. */
static double small_gradient(double ridge, bool roughly)
{
    return roughly ? 1e-5 : fmax(1e-10, fmin(1e-6, 1e-6 * ridge));
}

/* The mean of the rows, as they are read; malloc'd. */
static double *mean_of(im_ctx *c, const im_feature_rows *r)
{
    double *mean = calloc(2 * (size_t)r->d, sizeof *mean), *x = mean ? mean + r->d : NULL;
    if (!mean) im_fail(c, "out of memory for the mean of %d features", r->d);
    for (int64_t i = 0; mean && i < r->n; i++) {
        read_row(r, r->index[i], NULL, x);
        for (int j = 0; j < r->d; j++) mean[j] += x[j] / (double)r->n;
    }
    return mean;
}

/* b of rows less their mean becomes that of the rows as they are (sign -1), or the other way round (1). */
static void move_bias(const im_feature_rows *r, const double *mean, double sign, double *w)
{
    for (int j = 0; j < r->d; j++)
        for (int k = 0; k < r->classes; k++)
            w[(int64_t)r->d * r->classes + k] += sign * mean[j] * w[(int64_t)j * r->classes + k];
}

/* Did it end where it should? A line search that cannot better the last digit has arrived as well. */
static bool arrived(int rc)
{
    return rc == LBFGS_SUCCESS || rc == LBFGS_ALREADY_MINIMIZED || rc == LBFGSERR_ROUNDING_ERROR ||
           rc == LBFGSERR_MINIMUMSTEP || rc == LBFGSERR_WIDTHTOOSMALL || rc == LBFGSERR_MAXIMUMLINESEARCH;
}

/* Features have a large mean in common, which makes the problem badly conditioned: it is taken off. b is free, so that the
 * minimum is the same. */
bool im_logreg_fit(im_ctx *c, const im_feature_rows *r, double cost, bool roughly, double *w, int *iterations,
                   bool *converged)
{
    pass p;
    int size = (r->d + 1) * r->classes;
    if (!im_ok(c)) return false;
    bool ok = pass_open(c, r, true, &p);
    double *mean = ok ? mean_of(c, r) : NULL;
    lbfgsfloatval_t *x = mean ? lbfgs_malloc(size) : NULL;
    if (ok && !x) ok = im_fail(c, "out of memory for a linear classifier of %d classes on %d features", r->classes, r->d);
    if (ok) {
        objective o = { .c = c, .p = &p, .ridge = 1 / (cost * (double)r->n) };
        lbfgs_parameter_t how;
        lbfgs_parameter_init(&how);
        how.m = MEMORY;
        how.epsilon = small_gradient(o.ridge, roughly);
        how.max_iterations = ITERATIONS;
        p.mean = mean;
        memcpy(x, w, (size_t)size * sizeof *w);
        move_bias(r, mean, 1, x);
        int rc = lbfgs(size, x, NULL, evaluate, count, &o, &how);
        move_bias(r, mean, -1, x);
        memcpy(w, x, (size_t)size * sizeof *w);
        *converged = arrived(rc);
        *iterations = o.iterations;
        if (!*converged && rc != LBFGSERR_MAXIMUMITERATION)
            ok = im_fail(c, "logistic regression with C = %g failed (liblbfgs: %d); are all features finite?", cost, rc);
    }
    lbfgs_free(x);
    free(mean);
    pass_close(&p);
    return ok;
}

/* ---------------------------------------------------------------- SGD */

bool im_sgd_fit(im_ctx *c, const im_feature_rows *r, const im_sgd_settings *s, double *w)
{
    pass p;
    int64_t size = (int64_t)(r->d + 1) * r->classes, batches = (r->n + s->batch - 1) / s->batch;
    if (!im_ok(c)) return false;
    bool ok = pass_open(c, r, true, &p);
    double *g = calloc((size_t)size, sizeof *g), *velocity = calloc((size_t)size, sizeof *velocity);
    uint32_t *order = malloc(((size_t)r->n + 1) * sizeof *order);
    int64_t *rows = malloc(((size_t)r->n + 1) * sizeof *rows);
    if (ok && (!g || !velocity || !order || !rows))
        ok = im_fail(c, "out of memory for a linear classifier of %d classes on %d features", r->classes, r->d);
    p.w = w;
    for (int e = 0; ok && e < s->epochs; e++) {
        im_order_fill(order, r->n, true, s->seed, (uint64_t)e);
        for (int64_t i = 0; i < r->n; i++) rows[i] = r->index[order[i]];
        for (int64_t b = 0; b < batches; b++) {
            double lr = s->lr * 0.5 * (1 + cos(M_PI * (double)(e * batches + b) / (double)(s->epochs * batches)));
            p.index = rows + b * s->batch;
            p.n = b + 1 < batches ? s->batch : r->n - b * s->batch;
            mean_loss(c, &p, g);
            for (int64_t i = 0; i < size; i++) {
                velocity[i] = MOMENTUM * velocity[i] + (g[i] + s->decay * w[i]);
                w[i] -= lr * velocity[i];
            }
        }
    }
    free(g);
    free(velocity);
    free(order);
    free(rows);
    pass_close(&p);
    return ok;
}

bool im_linear_name(im_ctx *c, const im_feature_rows *r, const double *w, int32_t *named)
{
    pass p;
    if (!im_ok(c)) return false;
    bool ok = pass_open(c, r, false, &p);
    p.w = w;
    p.named = named;
    if (ok) run_parts(c, &p);
    pass_close(&p);
    return ok;
}
