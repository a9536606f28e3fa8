/* device_steps.c: what test_cuda.c tries beside ops, in the same two contexts, bit by bit: optimisers, steps of samplers
 * and of training, weights as files have them, large transfers. */
#include "device_steps.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sim_settings.h"
#include "tensor/tensor.h"

im_tensor *filled(im_ctx *c, int64_t n, uint32_t seed, float size)
{
    float *v = malloc((size_t)n * sizeof *v);
    im_tensor *t = im_new(c, IM_F32, 1, &n);
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        v[i] = ((float)(seed >> 8) / 16777216.0f - 0.5f) * size;
    }
    ck_assert_msg(im_upload(c, t, v), "%s", im_error(c));
    free(v);
    return t;
}

/* ---------------------------------------------------------------- optimisers */

enum { PARAMS = 37, STEPS = 3 };                               /* more than one launch takes                           */

static const im_optimise_step steps[] = {
    { .kind = IM_SGD, .lr = 0.1, .scale = 0.5 },
    { .kind = IM_SGD, .lr = 0.1, .momentum = 0.9, .nesterov = true, .scale = 1 },
    { .kind = IM_ADAMW, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .scale = 0.7 },
    { .kind = IM_LARS, .lr = 1, .momentum = 0.9, .trust = 0.02, .eps = 1e-8, .scale = 1 },
};

/* Parameter i: of 1 to 20,000 elements; every fifth has no gradient, every second an average. */
static void set_params(im_ctx *c, im_trained p[PARAMS])
{
    for (int i = 0; i < PARAMS; i++) {
        int64_t n = i == 3 ? 20000 : 1 + 37 * i % 301;
        uint32_t seed = (uint32_t)(100 * i);
        p[i] = (im_trained){ .w = filled(c, n, seed, 2), .m = filled(c, n, seed + 1, 0.1f), .v = filled(c, n, seed + 2, 0),
                             .ema = i % 2 ? filled(c, n, seed + 3, 2) : NULL, .decay = i % 3 ? 0.01 : 0, .adapt = i % 4 };
        im_want_grad(c, p[i].w);
        im_scope_take(c, p[i].w->grad = filled(c, n, seed + 4, 0.3f));
        p[i].w->grad_set = i % 5 != 4;
    }
}

static void same_values(const im_tensor *a, const im_tensor *b, const char *what, int i)
{
    if (!a)
        return;
    float *x = im_values(cuda, a), *y = im_values(cpu, b);
    ck_assert_msg(x && y && !memcmp(x, y, (size_t)im_numel(a) * sizeof *x), "%s of parameter %d: other bits", what, i);
    free(x);
    free(y);
}

START_TEST(optimisers_have_the_bits_of_cpu)
{
    im_trained a[PARAMS], b[PARAMS];
    double sum[2];
    int bad[2];
    sim_set(true, _i % 3, _i % 2);
    open_both();
    set_params(cuda, a);
    set_params(cpu, b);
    im_optimise_step s = steps[_i];
    s.count = PARAMS;
    s.ema_decay = 0.9;
    for (s.step = 1; s.step <= STEPS; s.step++) {
        ck_assert(im_sumsq(cuda, a, PARAMS, &sum[0], &bad[0]) && im_sumsq(cpu, b, PARAMS, &sum[1], &bad[1]));
        ck_assert(!memcmp(&sum[0], &sum[1], sizeof sum[0]) && bad[0] == -1 && bad[1] == -1);
        s.params = a;
        ck_assert_msg(im_optimise(cuda, &s), "%s", im_error(cuda));
        s.params = b;
        ck_assert_msg(im_optimise(cpu, &s), "%s", im_error(cpu));
    }
    for (int i = 0; i < PARAMS; i++) {
        same_values(a[i].w, b[i].w, "weight", i);
        same_values(a[i].m, b[i].m, "momentum", i);
        same_values(a[i].v, b[i].v, "second moment", i);
        same_values(a[i].ema, b[i].ema, "average", i);
    }
    im_fill(cuda, a[11].w->grad, INFINITY);
    im_fill(cuda, a[5].w->grad, NAN);                          /* the first is told                                    */
    ck_assert(im_sumsq(cuda, a, PARAMS, &sum[0], &bad[0]) && bad[0] == 5);
    ck_assert_int_eq(sim_all_faults(), 0);
    for (int i = 0; i < PARAMS; i++) {
        im_zero_grad(a[i].w);
        im_zero_grad(b[i].w);
    }
    close_both();
}
END_TEST

/* ---------------------------------------------------------------- steps of samplers and of training */

enum { VALUES = 7 };

/* A sampler's sum, a draw of latents, the mark of what is not finite, and a training step of two parts behind the gate. */
static void take_steps(im_ctx *c, float out[VALUES], im_step_part parts[2])
{
    enum { N = 1000, ROWS = 30, CLASSES = 17 };
    im_tensor *x = filled(c, N, 1, 4), *y = filled(c, N, 2, 4), *z = filled(c, N, 3, 4);
    im_tensor *mark = im_new(c, IM_I32, 1, (int64_t[]){ 1 });
    im_combination sum = { .count = 3, .x = { x, y, z }, .w = { 0.3f, -1.7f, 2 }, .by = 0.7f, .limit = INFINITY };
    ck_assert_msg(im_combine(c, z, &sum), "%s", im_error(c));
    sum.limit = 1;
    ck_assert(im_combine(c, y, &sum) && im_watch(c, y, 3, mark));
    out[0] = (float)im_item(c, im_slice(c, z, 0, 700, 701));
    out[1] = (float)im_item(c, im_slice(c, y, 0, 701, 702));
    im_tensor *moments = im_reshape(c, filled(c, 80, 4, 3), 2, (int64_t[]){ 10, 8 });
    im_tensor *latent = im_new(c, IM_F32, 2, (int64_t[]){ 10, 4 });
    ck_assert_msg(im_draw_latent(c, latent, moments, filled(c, 40, 5, 2), 0.18f), "%s", im_error(c));
    out[2] = (float)im_item(c, im_slice(c, im_reshape(c, latent, 1, (int64_t[]){ 40 }), 0, 33, 34));
    int32_t bad;
    ck_assert(im_download(c, mark, &bad) && bad == 0);
    im_fill(c, im_slice(c, x, 0, 999, 1000), NAN);
    ck_assert(im_watch(c, x, 7, mark) && im_watch(c, x, 8, mark) && im_download(c, mark, &bad) && bad == 7);
    sum.unless = mark;                                         /* marked: nothing is written                           */
    ck_assert(im_combine(c, z, &sum));
    out[3] = (float)im_item(c, im_slice(c, z, 0, 702, 703));

    im_trained p[3];
    for (int i = 0; i < 3; i++) {
        p[i] = (im_trained){ .w = filled(c, 301, 6 + (uint32_t)i, 2) };
        im_want_grad(c, p[i].w);
        im_scope_take(c, p[i].w->grad = filled(c, 301, 16 + (uint32_t)i, 3));
        p[i].w->grad_set = 1;
    }
    int32_t named[ROWS];
    for (int i = 0; i < ROWS; i++)
        named[i] = i % CLASSES;
    im_tensor *labels = im_new(c, IM_I32, 1, (int64_t[]){ ROWS });
    ck_assert(im_upload(c, labels, named));
    im_tensor *logits = im_reshape(c, filled(c, ROWS * CLASSES, 9, 5), 2, (int64_t[]){ ROWS, CLASSES });
    im_ledger *l = im_ledger_new(c, 2);
    for (int k = 0; k < 2; k++)
        ck_assert_msg(im_ledger_loss(c, l, k, filled(c, 1, 20 + (uint32_t)k, 3)) && im_ledger_right(c, l, k, logits, labels)
                      && im_ledger_norm(c, l, k, p, 3), "%s", im_error(c));
    ck_assert(im_ledger_end(c, l, 0.5, 1));
    im_optimise_step s = { .kind = IM_SGD, .lr = 0.1, .count = 3, .params = p, .step = 1, .scale = 1, .ledger = l };
    ck_assert_msg(im_optimise(c, &s) && im_ledger_read(c, l, parts), "%s", im_error(c));
    out[4] = (float)im_item(c, im_slice(c, p[1].w, 0, 200, 201));
    im_step_part more[2], shut[2];                             /* below the limit: nothing is clipped                  */
    ck_assert(im_ledger_norm(c, l, 0, p, 3) && im_ledger_norm(c, l, 1, p, 3) && im_ledger_end(c, l, 0.5, 1e6));
    ck_assert_msg(im_optimise(c, &s) && im_ledger_read(c, l, more), "%s", im_error(c));
    out[5] = (float)im_item(c, im_slice(c, p[1].w, 0, 200, 201));
    ck_assert(out[5] != out[4]);
    im_fill(c, p[2].w->grad, INFINITY);                        /* the gate is shut: nothing moves                      */
    ck_assert(im_ledger_norm(c, l, 0, p, 3) && im_ledger_norm(c, l, 1, p, 3) && im_ledger_end(c, l, 0.5, 1));
    ck_assert(im_optimise(c, &s) && im_ledger_read(c, l, shut) && shut[1].first_bad == 2);
    out[6] = (float)im_item(c, im_slice(c, p[1].w, 0, 200, 201));
    ck_assert(out[6] == out[5]);
    im_ledger_free(l);
    for (int i = 0; i < 3; i++)
        im_zero_grad(p[i].w);
}

START_TEST(steps_have_the_bits_of_cpu)
{
    float a[VALUES], b[VALUES];
    im_step_part at_a[2], at_b[2];
    sim_set(true, _i % 3, _i % 2);
    open_both();
    take_steps(cuda, a, at_a);
    take_steps(cpu, b, at_b);
    ck_assert_int_eq(sim_all_faults(), 0);
    for (int i = 0; i < VALUES; i++)
        ck_assert_msg(!memcmp(&a[i], &b[i], sizeof *a), "value %d: %.9g on cuda, %.9g on cpu", i, (double)a[i],
                      (double)b[i]);
    for (int i = 0; i < 2; i++)
        ck_assert_msg(at_a[i].loss == at_b[i].loss && at_a[i].sumsq == at_b[i].sumsq && at_a[i].right == at_b[i].right
                      && at_a[i].first_bad == at_b[i].first_bad && at_a[i].right > 0, "part %d of the ledger differs", i);
    close_both();
}
END_TEST

/* ---------------------------------------------------------------- the device */

/* Weights of files, of a size that fills no block: (N, C, kh, kw) or ours, every dtype into every other. */
START_TEST(weights_load_as_on_the_cpu)
{
    static const im_dtype kinds[] = { IM_F32, IM_F16, IM_BF16 };
    int64_t shape[] = { 7, 3, 3, 5 }, n = 7 * 3 * 3 * 5;
    im_dtype from = kinds[_i % 3], to = kinds[_i / 3 % 3];
    bool oihw = _i < 9;
    sim_set(true, _i % 3, _i % 2);
    open_both();
    im_tensor *raw = im_cast(cpu, filled(cpu, n, 9, 4), from);
    void *file = im_values(cpu, raw), *got[2];
    im_ctx *on[] = { cuda, cpu };
    for (int i = 0; i < 2; i++) {
        im_tensor *w = im_param_new(on[i], "w", to, 4, shape);
        ck_assert_msg(im_param_alloc(on[i], w, (im_weight_layout){ .dtype = to })
                      && im_param_load(on[i], w, file, from, oihw), "%s", im_error(on[i]));
        got[i] = im_values(on[i], w);
    }
    ck_assert(got[0] && got[1] && !memcmp(got[0], got[1], (size_t)n * (to == IM_F32 ? 4 : 2)));
    ck_assert_int_eq(sim_all_faults(), 0);
    for (int i = 0; i < 2; i++)
        free(got[i]);
    free(file);
    close_both();
}
END_TEST

/* More than the rings of pinned memory hold, to and fro, with a stream that is late. */
START_TEST(large_transfers_arrive)
{
    int64_t n = 3 * 1000 * 1000;
    sim_set(true, 0, _i);
    im_ctx *c = im_ctx_new("cuda", 1);
    float *v = malloc((size_t)n * sizeof *v), *back = calloc((size_t)n, sizeof *v);
    im_tensor *x = im_new(c, IM_F32, 1, &n);
    for (int k = 0; k < 3; k++) {
        for (int64_t i = 0; i < n; i++)
            v[i] = (float)(i * 7 + k);
        ck_assert_msg(im_upload(c, x, v), "%s", im_error(c));
    }
    ck_assert_msg(im_download(c, x, back), "%s", im_error(c));
    ck_assert(!memcmp(v, back, (size_t)n * sizeof *v));
    free(v);
    free(back);
    im_ctx_free(c);
}
END_TEST

void device_steps(Suite *s)
{
    const suite_test tests[] = {
        LOOP(optimisers_have_the_bits_of_cpu, (int)(sizeof steps / sizeof *steps)), LOOP(steps_have_the_bits_of_cpu, 6),
        LOOP(weights_load_as_on_the_cpu, 18), LOOP(large_transfers_arrive, 2),
    };
    suite_case(s, "steps", NULL, NULL, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
