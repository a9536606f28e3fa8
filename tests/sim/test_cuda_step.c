/* test_cuda_step.c: a step of training as one graph (src/cuda/held.c, im_work_begin), in the simulator: the bits of
 * the same steps without it, on weights, averages and ledger, early and late; one graph and no kernel by itself a
 * step; two where the host waits for a number in between, as LARS does, or a large batch is uploaded when kernels have
 * begun; memory that was had before and is given back within; a step that fails is dropped; plans
 * within a step. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sim_settings.h"
#include "suite.h"
#include "tensor/tensor.h"

enum { STEPS = 5, ROWS = 12, IN = 40, HIDDEN = 24, CLASSES = 10, WEIGHTS = 2 };

typedef struct run {
    im_ctx *c;
    im_trained p[WEIGHTS];
    im_ledger *l;
    bool held;                   /* steps are graphs                                                                   */
    im_optimiser_kind kind;
    int late_upload;             /* of so many floats, behind the first kernel                                         */
    bool item;                   /* the host asks for the loss                                                         */
    long graphs[STEPS], launches[STEPS];
    im_step_part parts[STEPS];
    float w[WEIGHTS][HIDDEN * IN], ema[WEIGHTS][HIDDEN * IN];
} run;

static const int64_t shapes[WEIGHTS][2] = { { HIDDEN, IN }, { CLASSES, HIDDEN } };

static im_tensor *drawn(im_ctx *c, const int64_t shape[2], uint32_t seed)
{
    float v[HIDDEN * IN];
    for (int64_t i = 0; i < shape[0] * shape[1]; i++) {
        seed = seed * 1664525u + 1013904223u;
        v[i] = (float)(seed >> 8) / 16777216.0f - 0.5f;
    }
    return im_from(c, IM_F32, 2, shape, v);
}

static void open_run(run *r)
{
    r->c = im_ctx_new("cuda", 1);
    ck_assert_msg(im_ok(r->c), "%s", im_error(r->c));
    r->l = im_ledger_new(r->c, 1);
    for (int i = 0; i < WEIGHTS; i++) {
        im_tensor *t[4];
        for (int k = 0; k < 4; k++) {
            t[k] = drawn(r->c, shapes[i], 7 + (uint32_t)i);
            if (k == 1 || k == 2)
                im_fill(r->c, t[k], 0);
        }
        r->p[i] = (im_trained){ .w = t[0], .m = t[1], .v = t[2], .ema = t[3], .decay = 0.01, .adapt = true };
        im_want_grad(r->c, t[0]);
    }
}

/* loss and gradients of a batch that is drawn from the step's number */
static void part(run *r, int step)
{
    im_ctx *c = r->c;
    int32_t named[ROWS];
    int64_t rows = ROWS;
    for (int i = 0; i < ROWS; i++)
        named[i] = (i * 3 + step) % CLASSES;
    im_scope_push(c);
    im_tensor *labels = im_from(c, IM_I32, 1, &rows, named);
    im_tensor *x = drawn(c, (int64_t[]){ ROWS, IN }, 100 + (uint32_t)step);
    ck_assert(im_tape_begin(c));
    im_tensor *h = im_linear(c, x, r->p[0].w, NULL, NULL, IM_ACT_SILU);
    if (r->late_upload) {
        float *v = calloc((size_t)r->late_upload, sizeof *v);
        int64_t n = r->late_upload;
        im_tensor *more = im_from(c, IM_F32, 1, &n, v);
        free(v);
        h = im_add(c, h, im_reshape(c, im_slice(c, more, 0, 0, ROWS * HIDDEN), 2, (int64_t[]){ ROWS, HIDDEN }));
    }
    im_tensor *logits = im_linear(c, h, r->p[1].w, NULL, NULL, IM_ACT_NONE), *loss = im_cross_entropy(c, logits, labels);
    ck_assert_msg(im_ok(c), "%s", im_error(c));
    if (r->item)
        ck_assert(isfinite(im_item(c, loss)));
    ck_assert(im_ledger_loss(c, r->l, 0, loss) && im_ledger_right(c, r->l, 0, logits, labels) && im_backward(c, loss));
    im_scope_pop(c);
}

static void train(run *r)
{
    im_ctx *c = r->c;
    for (int i = 0; i < STEPS; i++) {
        sim_stream_counts before = sim_asked;
        if (r->held)
            ck_assert(im_work_begin(c));
        for (int k = 0; k < WEIGHTS; k++)
            im_zero_grad(r->p[k].w);
        part(r, i);
        im_optimise_step s = { .kind = r->kind, .params = r->p, .count = WEIGHTS, .scale = 1, .lr = 0.1 / (i + 1),
                               .momentum = 0.9, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .step = i + 1, .trust = 0.01,
                               .ema_decay = 0.5, .ledger = r->l };
        ck_assert_msg(im_ledger_norm(c, r->l, 0, r->p, WEIGHTS) && im_ledger_end(c, r->l, 1, 1) && im_optimise(c, &s), "%s",
                      im_error(c));
        if (r->held)
            ck_assert_msg(im_work_end(c), "%s", im_error(c));
        r->graphs[i] = sim_asked.graphs - before.graphs;
        r->launches[i] = sim_asked.launches - before.launches;
        if (im_ledger_open(r->l) > im_ledger_lag(r->l))
            ck_assert_msg(im_ledger_read(c, r->l, &r->parts[i - im_ledger_lag(r->l)]), "%s", im_error(c));
    }
    for (int left = im_ledger_open(r->l); left > 0; left--)
        ck_assert(im_ledger_read(c, r->l, &r->parts[STEPS - left]));
    for (int k = 0; k < WEIGHTS; k++)
        ck_assert_msg(im_download(c, r->p[k].w, r->w[k]) && im_download(c, r->p[k].ema, r->ema[k]), "%s", im_error(c));
}

static void close_run(run *r)
{
    for (int k = 0; k < WEIGHTS; k++)
        im_zero_grad(r->p[k].w);
    im_ledger_free(r->l);
    im_ctx_free(r->c);
}

/* Both ways; what the graphs of a step should be. */
static void compare(im_optimiser_kind kind, int late_upload, bool item, int graphs)
{
    static run a, b;
    run *both[2] = { &a, &b };
    for (int i = 0; i < 2; i++) {
        *both[i] = (run){ .held = i, .kind = kind, .late_upload = late_upload, .item = item };
        open_run(both[i]);
        train(both[i]);
        close_run(both[i]);
    }
    ck_assert_int_eq(sim_all_faults(), 0);
    ck_assert(!memcmp(a.w, b.w, sizeof a.w) && !memcmp(a.ema, b.ema, sizeof a.ema));
    for (int i = 0; i < STEPS; i++) {
        ck_assert(!memcmp(&a.parts[i], &b.parts[i], sizeof a.parts[i]));
        ck_assert(isfinite(a.parts[i].loss) && a.parts[i].sumsq > 0);
        ck_assert_msg(!a.graphs[i] && a.launches[i] > 10, "step %d: %ld graphs, %ld kernels", i, a.graphs[i],
                      a.launches[i]);
        ck_assert_msg(b.graphs[i] == graphs && !b.launches[i], "step %d: %ld graphs, %ld kernels", i, b.graphs[i],
                      b.launches[i]);
    }
    ck_assert(memcmp(a.w, a.ema, sizeof a.w));                 /* they have moved                                      */
}

START_TEST(steps_are_graphs)
{
    static const im_optimiser_kind kinds[] = { IM_SGD, IM_ADAMW };
    sim_set(true, _i % 3, _i % 2);
    compare(kinds[_i / 2 % 2], 0, false, 1);
}
END_TEST

START_TEST(waits_make_two_graphs)
{
    sim_set(true, _i % 3, _i % 2);
    if (_i < 2)
        compare(IM_LARS, 0, false, 2);
    else if (_i < 4)
        compare(IM_SGD, 0, true, 2);
    else
        compare(IM_SGD, 300000, false, 2);                     /* more than the pinned memory of a step                */
}
END_TEST

START_TEST(small_uploads_stay_within)
{
    sim_set(true, 0, _i);
    compare(IM_ADAMW, 1000, false, 1);
}
END_TEST

/* Memory from before goes behind the graph; a step that fails leaves nothing that is captured. */
START_TEST(a_failed_step_is_dropped)
{
    static run r;
    sim_set(true, 0, _i);
    r = (run){ .kind = IM_SGD };
    open_run(&r);
    im_ctx *c = r.c;
    im_scope_push(c);
    im_tensor *old = drawn(c, (int64_t[]){ ROWS, IN }, 1);
    ck_assert(im_work_begin(c));
    im_scope_push(c);
    im_tensor *y = im_add(c, old, old);
    float v[ROWS * IN], w[ROWS * IN];
    ck_assert_msg(im_download(c, y, v) && im_download(c, old, w), "%s", im_error(c));
    for (int i = 0; i < ROWS * IN; i++)
        ck_assert_float_eq(v[i], 2 * w[i]);
    im_scope_pop(c);
    im_add(c, old, old);
    im_scope_pop(c);                                           /* while it is captured                                 */
    long graphs = sim_asked.graphs;
    im_fail(c, "wanted for a test");
    ck_assert(!im_work_end(c) && sim_asked.graphs == graphs && !strcmp(im_error(c), "wanted for a test"));
    im_clear_error(c);
    train(&r);
    close_run(&r);
    ck_assert_int_eq(sim_all_faults(), 0);
}
END_TEST

static im_tensor *twice(im_ctx *c, void *arg, im_tensor *const in[], int n_in)
{
    (void)arg;
    (void)n_in;
    return im_add(c, im_scale(c, in[0], 1), in[0]);
}

/* A plan that is first run outside of a step, or within one, and then in the other place; its input changes each time. */
START_TEST(plans_run_within)
{
    const int64_t n = 100;
    float v[100], got[100];
    sim_set(true, 0, _i % 2);
    im_ctx *c = im_ctx_new("cuda", 1);
    im_tensor *x = im_new(c, IM_F32, 1, &n);
    im_plan *p = im_plan_record(c, twice, NULL, (im_tensor *[]){ x }, 1);
    ck_assert_msg(p != NULL, "%s", im_error(c));
    for (int turn = 0; turn < 6; turn++) {
        bool within = turn % 2 == _i / 2;
        for (int i = 0; i < n; i++)
            v[i] = (float)(100 * turn + i);
        ck_assert(!within || im_work_begin(c));
        im_tensor *y = im_upload(c, x, v) ? im_plan_run(c, p) : NULL;
        ck_assert_msg(y && im_download(c, y, got), "%s", im_error(c));
        ck_assert(!within || im_work_end(c));
        for (int i = 0; i < n; i++)
            ck_assert_float_eq(got[i], 2 * v[i]);
    }
    im_plan_free(c, p);
    im_ctx_free(c);
    ck_assert_int_eq(sim_all_faults(), 0);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { LOOP(steps_are_graphs, 6), LOOP(waits_make_two_graphs, 6),
                                 LOOP(small_uploads_stay_within, 2), LOOP(a_failed_step_is_dropped, 2),
                                 LOOP(plans_run_within, 4) };
    return suite_run("cuda_step", NULL, NULL, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
