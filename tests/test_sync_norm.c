/* test_sync_norm.c: batch norms over the parts of a step (models/train/lockstep.h, tensor/ops/norm_sync.c): the parts of a
 * batch, side by side, give what the batch gives in one go, to rounding, in every dtype and on every device of this
 * machine, in im_recompute too; running statistics move once. A part that fails, or that has other norms, ends the step for
 * all. That torch's batch norm over the whole batch gives the same: test_resnet.c. Ranks: tests/cli/ranks.sh. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "hashed.h"
#include "models/train/lockstep.h"
#include "suite.h"

static im_ctx *c;

enum { ROWS = 13, CHANNELS = 21, PARTS = 3, ALL = PARTS * ROWS, X = ROWS * CHANNELS };

static const char *const devices[] = { "ref", "cpu", "far" };
static const im_dtype dtypes[] = { IM_F32, IM_F16, IM_BF16 };

/* y = relu(norm(relu(norm(x))) + r), and its mean of squares beside a target: both kinds of norms, one used twice. */
typedef struct net {
    im_tensor *gamma, *beta, *mean, *var;                      /* (CHANNELS)                                           */
    im_dtype t;
    bool again;                                                /* within im_recompute                                  */
    int bad;                                                   /* this part fails, or has a norm less; -1: none        */
    bool less;
    float *y, *dx, *dr;                                        /* (ALL, CHANNELS)                                      */
    double loss;
    float dgamma[CHANNELS], dbeta[CHANNELS];                   /* sums over parts                                      */
} net;

static void open_context(const char *device)
{
    ck_assert_ptr_nonnull(c = im_ctx_new(device, 2));
    ck_assert_msg(im_ok(c), "%s", im_error(c));
}

static im_tensor *vector(const char *name, float by, float plus)
{
    float v[CHANNELS];
    hashed_fill(name, CHANNELS, by, plus, v);
    im_tensor *t = im_param_new(c, name, IM_F32, 1, (int64_t[]){ CHANNELS });
    ck_assert(t && im_param_alloc(c, t, (im_weight_layout){ .dtype = IM_F32 }) && im_upload(c, t, v));
    return t;
}

static void open_net(net *n, im_dtype t)
{
    *n = (net){ .gamma = vector("gamma", 0.5f, 1), .beta = vector("beta", 0.5f, 0), .mean = vector("mean", 1, 0),
                .var = vector("var", 0.25f, 1), .t = t, .bad = -1 };
    n->y = calloc(3 * ALL * CHANNELS, sizeof *n->y);
    n->dx = n->y + ALL * CHANNELS;
    n->dr = n->dx + ALL * CHANNELS;
    ck_assert(im_want_grad(c, n->gamma) && im_want_grad(c, n->beta));
}

static void close_net(net *n)
{
    im_tensor *all[] = { n->gamma, n->beta, n->mean, n->var };
    for (int i = 0; i < 4; i++)
        im_param_free(c, all[i]);
    free(n->y);
}

static im_tensor *norms(im_ctx *ctx, void *arg, im_tensor *const in[], int n_in)
{
    const net *n = arg;
    im_batchnorm_attrs at = { .eps = 1e-5f, .momentum = 0.1f, .training = true, .relu = true };
    (void)n_in;
    im_tensor *y = im_batchnorm(ctx, in[0], n->gamma, n->beta, NULL, n->mean, n->var, &at);
    return im_batchnorm(ctx, y, n->gamma, n->beta, in[1], n->mean, n->var, &at);
}

/* Rows [from, from + count) of what `name` says, in t. */
static im_tensor *values(const char *name, int from, int count, im_dtype t)
{
    float v[ALL * CHANNELS];
    hashed_fill(name, ALL * CHANNELS, 2, 0.5f, v);
    im_tensor *x = im_from(c, IM_F32, 2, (int64_t[]){ count, CHANNELS }, v + from * CHANNELS);
    x = t == IM_F32 ? x : im_cast(c, x, t);
    ck_assert_msg(x != NULL, "%s", im_error(c));
    return x;
}

static void gradient(const im_tensor *x, float *out)
{
    im_scope_push(c);
    ck_assert_msg(x->grad && im_download(c, im_cast(c, x->grad, IM_F32), out), "%s", im_error(c));
    im_scope_pop(c);
}

/* Rows [from, from + count) through the net, forward and backward, on a loss that is the mean of all rows' squares. */
static bool through(net *n, int from, int count, float weight)
{
    im_scope_push(c);
    bool ok = im_tape_begin(c);
    im_tensor *x = values("x", from, count, IM_F32), *r = values("r", from, count, IM_F32);
    ck_assert(im_want_grad(c, x) && im_want_grad(c, r));
    im_tensor *in[] = { n->t == IM_F32 ? x : im_cast(c, x, n->t), n->t == IM_F32 ? r : im_cast(c, r, n->t) };
    im_tensor *y = n->again ? im_recompute(c, norms, n, in, 2) : norms(c, n, in, 2);
    im_tensor *flat = !y || n->t == IM_F32 ? y : im_cast(c, y, IM_F32);
    im_tensor *target = y ? values("t", from, count, IM_F32) : NULL;
    im_tensor *loss = im_scale(c, im_mse(c, flat, target, NULL), weight);
    if (loss) {
        n->loss += im_item(c, loss);
        im_download(c, flat, n->y + from * CHANNELS);
        im_backward(c, loss);
    } else {
        im_tape_end(c);
    }
    if (im_ok(c)) {
        gradient(x, n->dx + from * CHANNELS);
        gradient(r, n->dr + from * CHANNELS);
    }
    im_scope_pop(c);
    return ok && im_ok(c);
}

static bool part(void *arg, int k)
{
    net *n = arg;
    im_zero_grad(n->gamma);
    im_zero_grad(n->beta);
    if (k == n->bad && n->less)
        return true;
    if (k == n->bad)
        return im_fail(c, "part %d cannot", k);
    if (!im_ok(c))                                             /* one before it could not                              */
        return false;
    return through(n, k * ROWS, ROWS, 1.0f / PARTS);
}

static bool end(void *arg, int k)
{
    net *n = arg;
    float g[CHANNELS], b[CHANNELS];
    (void)k;
    gradient(n->gamma, g);
    gradient(n->beta, b);
    for (int i = 0; i < CHANNELS; i++) {
        n->dgamma[i] += g[i];
        n->dbeta[i] += b[i];
    }
    return true;
}

static void run(net *n, im_lockstep *l, int times)
{
    static im_ranks alone;
    alone = (im_ranks){ .c = c, .size = 1 };
    im_tensor *w[] = { n->gamma, n->beta };
    ck_assert(im_lockstep_open(l, &alone, w, 2, 0, PARTS, PARTS));
    for (int i = 0; i < times; i++) {
        n->loss = 0;
        memset(n->dgamma, 0, sizeof n->dgamma);
        memset(n->dbeta, 0, sizeof n->dbeta);
        ck_assert_msg(im_lockstep_run(l, part, end, n) == (n->bad < 0), "%s", im_error(c));
    }
    im_lockstep_close(l);
}

static void near(const char *what, const float *a, const float *b, int n, double tolerance)
{
    double off = 0, all = 0;
    for (int i = 0; i < n; i++) {
        off += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        all += (double)b[i] * b[i];
    }
    ck_assert_msg(sqrt(off / all) <= tolerance, "%s: off by %g, wanted at most %g", what, sqrt(off / all), tolerance);
}

static void running(const net *n, float v[2 * CHANNELS])
{
    ck_assert(im_download(c, n->mean, v) && im_download(c, n->var, v + CHANNELS));
}

/* Twice, since the memory of a step serves the next. f32: a few roundings of sums of 39 rows; 16 bits: each value is
 * rounded where it is stored, dx twice here. */
START_TEST(parts_are_the_batch)
{
    double tolerance = _i / 3 % 3 == 0 ? 2e-6 : _i / 3 % 3 == 1 ? 2e-3 : 2e-2;
    net whole, parts;
    float v[2][2 * CHANNELS];
    im_lockstep l;
    open_context(devices[_i % 3]);
    open_net(&whole, dtypes[_i / 3 % 3]);
    open_net(&parts, whole.t);
    whole.again = parts.again = _i / 9;
    for (int i = 0; i < 2; i++) {
        im_zero_grad(whole.gamma);
        im_zero_grad(whole.beta);
        ck_assert_msg(through(&whole, 0, ALL, 1), "%s", im_error(c));
    }
    gradient(whole.gamma, whole.dgamma);
    gradient(whole.beta, whole.dbeta);
    run(&parts, &l, 2);
    ck_assert_msg(fabs(parts.loss - whole.loss / 2) < tolerance * whole.loss, "%g, %g", parts.loss, whole.loss / 2);
    near("y", parts.y, whole.y, ALL * CHANNELS, tolerance);
    near("dx", parts.dx, whole.dx, ALL * CHANNELS, 2 * tolerance);
    near("dr", parts.dr, whole.dr, ALL * CHANNELS, 2 * tolerance);
    near("dgamma", parts.dgamma, whole.dgamma, CHANNELS, 2 * tolerance);
    near("dbeta", parts.dbeta, whole.dbeta, CHANNELS, 2 * tolerance);
    running(&whole, v[0]);
    running(&parts, v[1]);
    near("running statistics", v[1], v[0], 2 * CHANNELS, tolerance);
    close_net(&parts);
    close_net(&whole);
    im_ctx_free(c);
}
END_TEST

/* The others do not wait for it; the context can go on afterwards. */
START_TEST(one_part_ends_all)
{
    net n;
    im_lockstep l;
    open_context("cpu");
    open_net(&n, IM_F32);
    n.bad = _i % PARTS;
    n.less = _i / PARTS;
    run(&n, &l, 1);
    ck_assert_msg(strstr(im_error(c), n.less ? "2 of 3 parts" : "cannot"), "%s", im_error(c));
    im_clear_error(c);
    n.bad = -1;
    run(&n, &l, 1);
    ck_assert(n.loss > 0);
    close_net(&n);
    im_ctx_free(c);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { LOOP(parts_are_the_batch, 18), LOOP(one_part_ends_all, 2 * PARTS) };
    return suite_run("sync_norm", NULL, NULL, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
