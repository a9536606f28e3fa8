/* test_optimise.c: the optimisers' steps. Trajectories of torch and timm (golden/optimisers.safetensors.gz) on ref and
 * on every instruction set; the same bits at any number of threads and on all sets with a fused multiply-add; parameters
 * without gradient; the norm of gradients, and which one is not finite; errors. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden_tensors.h"
#include "hashed.h"
#include "imago.h"
#include "suite.h"
#include "tensor/tensor.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

/* "ref", and every instruction set that IMAGO_ISA can choose here. */
static const char *const isas[] = { "ref", "portable", "neon", "avx2", "avx512", "avx512bf16", "avx512amx" };

/* NULL where this machine lacks it. */
static im_ctx *open_isa(const char *isa, int threads)
{
    bool ref = !strcmp(isa, "ref");
    if (!ref)
        setenv("IMAGO_ISA", isa, 1);
    im_ctx *c = im_ctx_new(ref ? "ref" : "cpu", threads);
    if (c && im_ok(c) && !strcmp(im_device_isa(c), isa))
        return c;
    im_ctx_free(c);
    return NULL;
}

/* ---------------------------------------------------------------- parameters to train */

enum { MAX_PARAMS = 6 };

typedef struct { im_trained p[MAX_PARAMS]; int n; } model;

static im_tensor *zeros(im_ctx *c, int64_t n)
{
    im_tensor *t = im_new(c, IM_F32, 1, &n);
    ck_assert_msg(t != NULL, "%s", im_error(c));
    memset(im_data(t), 0, (size_t)n * sizeof(float));
    return t;
}

static im_trained trained(im_ctx *c, const char *name, int64_t n, double decay, bool adapt)
{
    im_trained p = { .w = zeros(c, n), .m = zeros(c, n), .v = zeros(c, n), .ema = zeros(c, n), .decay = decay,
                     .adapt = adapt };
    hashed_fill(name, n, 1, 0, im_data(p.w));
    memcpy(im_data(p.ema), im_data(p.w), (size_t)n * sizeof(float));
    im_want_grad(c, p.w);
    return p;
}

/* As backward leaves it. */
static void set_grad(im_ctx *c, im_tensor *w, const char *name, float size)
{
    if (!w->grad)
        im_scope_take(c, w->grad = zeros(c, im_numel(w)));
    hashed_fill(name, im_numel(w), size, 0, im_data(w->grad));
    w->grad_set = 1;
}

/* ---------------------------------------------------------------- torch's trajectories */

static const struct {
    const char *name;
    double decay, clip;
    im_optimise_step s;
} cases[] = {
    { "sgd_plain", 0, 0, { .kind = IM_SGD, .lr = 0.1 } },
    { "sgd", 0.01, 0, { .kind = IM_SGD, .lr = 0.1, .momentum = 0.9 } },
    { "sgd_nesterov", 0.01, 0, { .kind = IM_SGD, .lr = 0.1, .momentum = 0.9, .nesterov = true } },
    { "sgd_clip", 0.01, 2, { .kind = IM_SGD, .lr = 0.1, .momentum = 0.9 } },
    { "adamw", 0.05, 0, { .kind = IM_ADAMW, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8 } },
    { "lars", 0.01, 0, { .kind = IM_LARS, .lr = 1, .momentum = 0.9, .trust = 0.02, .eps = 1e-8 } },
    { "lars_nesterov", 0.01, 0,
      { .kind = IM_LARS, .lr = 1, .momentum = 0.9, .nesterov = true, .trust = 0.02, .eps = 1e-8 } },
};

/* Relative L2 distance. torch's numbers are f64; here weights and averages are rounded to f32 (3e-8 rms) two to four times
 * a step (portable rounds multiply-adds twice), which over ten steps adds up to 3e-8 sqrt(40) to 3e-8 * 40. */
static void near_golden(const im_safetensors *golden, const char *isa, const char *kase, const char *what, im_tensor *t)
{
    char name[100];
    snprintf(name, sizeof name, "%s.%s", kase, what);
    const im_st_entry *e = im_st_find(golden, name);
    ck_assert_msg(e && e->bytes == (size_t)im_numel(t) * sizeof(float), "%s is not in optimisers.safetensors", name);
    const float *want = e->data, *got = im_data(t);
    double error = 0, size = 0;
    for (int64_t i = 0; i < im_numel(t); i++) {
        error += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        size += (double)want[i] * want[i];
    }
    ck_assert_msg(error <= 4e-7 * 4e-7 * size, "%s: %s: relative error %g", isa, name, sqrt(error / size));
}

static void one_trajectory(im_ctx *c, const im_safetensors *golden, const char *isa, int k)
{
    static const char *const names[] = { "weight", "bias" };
    char name[100];
    im_optimise_step s = cases[k].s;
    im_scope_push(c);
    im_trained p[2] = { trained(c, "optimisers.weight", 315, cases[k].decay, true),
                        trained(c, "optimisers.bias", 33, 0, false) };
    s.params = p;
    s.count = 2;
    s.ema_decay = 0.9;
    for (int step = 0; step < 10; step++) {
        double sum, norm;
        int bad;
        for (int i = 0; i < 2; i++) {
            snprintf(name, sizeof name, "optimisers.%s.%d", names[i], step);
            set_grad(c, p[i].w, name, 0.3f);
        }
        ck_assert_msg(im_sumsq(c, p, 2, &sum, &bad) && bad == -1, "%s", im_error(c));
        norm = sqrt(sum) + 1e-6;                               /* as torch.nn.utils.clip_grad_norm_                   */
        s.scale = cases[k].clip > 0 && cases[k].clip < norm ? cases[k].clip / norm : 1;
        s.step = step + 1;
        ck_assert_msg(im_optimise(c, &s), "%s", im_error(c));
        for (int i = 0; i < 2; i++) {
            snprintf(name, sizeof name, "%s.first", names[i]);
            if (step == 0)
                near_golden(golden, isa, cases[k].name, name, p[i].w);
        }
    }
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s.ema", names[i]);
        near_golden(golden, isa, cases[k].name, names[i], p[i].w);
        near_golden(golden, isa, cases[k].name, name, p[i].ema);
        im_zero_grad(p[i].w);
    }
    im_scope_pop(c);
}

START_TEST(trajectories_are_those_of_torch)
{
    for (int i = 0; i < COUNT(isas); i++) {
        im_ctx *c = open_isa(isas[i], 2);
        if (!c)
            continue;
        im_safetensors *golden = golden_tensors(c, "tests/golden/optimisers.safetensors.gz");
        ck_assert_msg(golden != NULL, "%s", im_error(c));
        one_trajectory(c, golden, isas[i], _i);
        im_st_close(golden);
        im_ctx_free(c);
    }
}
END_TEST

/* ---------------------------------------------------------------- bits */

/* Sizes around vectors and chunks; one without gradient, one without average. */
static const int64_t sizes[MAX_PARAMS] = { 1, 17, 16384, 50001, 40, 32769 };

static model many(im_ctx *c)
{
    model m = { .n = MAX_PARAMS };
    for (int i = 0; i < m.n; i++) {
        char name[30];
        snprintf(name, sizeof name, "p%d", i);
        m.p[i] = trained(c, name, sizes[i], i % 2 * 0.05, i % 3 != 1);
        if (i == 3)
            m.p[i].ema = NULL;
    }
    return m;
}

static void three_steps(im_ctx *c, model *m, im_optimise_step s)
{
    s.params = m->p;
    s.count = m->n;
    s.scale = 0.7;
    s.ema_decay = 0.99;
    for (s.step = 1; s.step <= 3; s.step++) {
        for (int i = 0; i < m->n; i++) {
            char name[30];
            snprintf(name, sizeof name, "g%d.%d", i, (int)s.step);
            if (i != 4)
                set_grad(c, m->p[i].w, name, 0.1f);
        }
        ck_assert_msg(im_optimise(c, &s), "%s", im_error(c));
    }
}

static int differ(const im_tensor *a, const im_tensor *b)
{
    return a && memcmp(im_data(a), im_data(b), (size_t)im_numel(a) * sizeof(float)) != 0;
}

START_TEST(bits_are_the_same_everywhere)
{
    im_ctx *first = NULL;
    model want = { .n = 0 };
    for (int i = 1; i < COUNT(isas); i++) {
        im_ctx *one = open_isa(isas[i], 1), *three = open_isa(isas[i], 3);
        if (!one)
            continue;
        model a = many(one), b = many(three);
        three_steps(one, &a, cases[_i].s);
        three_steps(three, &b, cases[_i].s);
        if (!want.n && strcmp(isas[i], "portable")) {          /* portable rounds a multiply-add twice                */
            want = a;
            first = one;
        }
        for (int k = 0; k < a.n; k++) {
            const im_trained *x = &a.p[k], *y = &b.p[k], *z = want.n ? &want.p[k] : x;
            ck_assert_msg(!differ(x->w, y->w) && !differ(x->m, y->m) && !differ(x->v, y->v) && !differ(x->ema, y->ema),
                          "%s: %s: parameter %d depends on the number of threads", cases[_i].name, isas[i], k);
            ck_assert_msg(!differ(x->w, z->w) && !differ(x->m, z->m) && !differ(x->v, z->v) && !differ(x->ema, z->ema),
                          "%s: %s: parameter %d has other bits than on the first set", cases[_i].name, isas[i], k);
        }
        if (one != first)
            im_ctx_free(one);
        im_ctx_free(three);
    }
    im_ctx_free(first);
}
END_TEST

/* ---------------------------------------------------------------- no gradient, norms, errors */

static im_ctx *c;

static void open_cpu(void)
{
    unsetenv("IMAGO_ISA");
    ck_assert_ptr_nonnull(c = im_ctx_new("cpu", 2));
}

static void close_cpu(void)
{
    im_ctx_free(c);
}

START_TEST(without_gradient_only_the_average_moves)
{
    im_trained p = trained(c, "still", 100, 0.1, true);
    float w[100], *ema = im_data(p.ema);
    memcpy(w, im_data(p.w), sizeof w);
    memset(ema, 0, sizeof w);
    im_optimise_step s = cases[_i].s;
    s.params = &p;
    s.count = 1;
    s.scale = s.step = 1;
    s.ema_decay = 0.75;
    ck_assert(im_optimise(c, &s));
    ck_assert_mem_eq(w, im_data(p.w), sizeof w);
    for (int i = 0; i < 100; i++)
        ck_assert_float_eq(ema[i], 0.25f * w[i]);
}
END_TEST

START_TEST(momentum_may_have_no_memory)
{
    im_trained p = trained(c, "bare", 50, 0, false);
    float w[50];
    memcpy(w, im_data(p.w), sizeof w);
    p.m = p.v = p.ema = NULL;
    set_grad(c, p.w, "bare.g", 1);
    ck_assert(im_optimise(c, &(im_optimise_step){ .kind = IM_SGD, .params = &p, .count = 1, .scale = 1, .lr = 0.5 }));
    for (int i = 0; i < 50; i++)
        ck_assert_float_eq(((float *)im_data(p.w))[i], w[i] - 0.5f * ((float *)im_data(p.w->grad))[i]);
}
END_TEST

/* 2^20 gradients of 1e-3 and one of 1e30, whose square no f32 holds. */
START_TEST(squares_are_summed_in_f64)
{
    im_trained p[2] = { trained(c, "a", 1 << 20, 0, false), trained(c, "b", 3, 0, false) };
    double sum, want = 0;
    int bad;
    for (int i = 0; i < 2; i++)
        set_grad(c, p[i].w, "zero", 0);
    float *a = im_data(p[0].w->grad), *b = im_data(p[1].w->grad);
    for (int i = 0; i < 1 << 20; i++) {
        a[i] = 1e-3f * (float)(1 + i % 3);
        want += (double)a[i] * a[i];
    }
    ck_assert(im_sumsq(c, p, 2, &sum, &bad));
    ck_assert_int_eq(bad, -1);
    ck_assert_double_eq_tol(sum, want, 1e-11 * want);
    b[1] = 1e30f;
    ck_assert(im_sumsq(c, p, 2, &sum, &bad));
    ck_assert_int_eq(bad, -1);
    ck_assert_double_eq_tol(sum, (double)b[1] * b[1], 1e46);
    im_zero_grad(p[1].w);
    ck_assert(im_sumsq(c, p, 2, &sum, &bad));
    ck_assert_double_eq_tol(sum, want, 1e-11 * want);
}
END_TEST

START_TEST(the_first_bad_gradient_is_named)
{
    const float values[] = { NAN, INFINITY, -INFINITY };
    im_trained p[3] = { trained(c, "a", 20, 0, false), trained(c, "b", 20000, 0, false), trained(c, "c", 5, 0, false) };
    double sum;
    int bad;
    for (int i = 0; i < 3; i++)
        set_grad(c, p[i].w, "g", 1);
    ((float *)im_data(p[1].w->grad))[19999] = values[_i];
    ((float *)im_data(p[2].w->grad))[0] = NAN;
    ck_assert(im_sumsq(c, p, 3, &sum, &bad));
    ck_assert_int_eq(bad, 1);
    ck_assert(!isfinite(sum));
}
END_TEST

START_TEST(errors_name_the_parameter)
{
    im_trained p = trained(c, "a", 20, 0, false);
    p.w->name = "conv1.weight";
    p.v = NULL;
    ck_assert(!im_optimise(c, &(im_optimise_step){ .kind = IM_ADAMW, .params = &p, .count = 1, .step = 1 }));
    ck_assert_msg(strstr(im_error(c), "conv1.weight") && strstr(im_error(c), "second moment"), "%s", im_error(c));
    im_clear_error(c);
    ck_assert(!im_optimise(c, &(im_optimise_step){ .kind = IM_ADAMW, .params = &p, .count = 1 }));
    ck_assert_msg(strstr(im_error(c), "step 0"), "%s", im_error(c));
    im_clear_error(c);
    p.m = zeros(c, 19);
    ck_assert(!im_optimise(c, &(im_optimise_step){ .kind = IM_SGD, .params = &p, .count = 1, .momentum = 0.9 }));
    ck_assert_msg(strstr(im_error(c), "conv1.weight") && strstr(im_error(c), "size"), "%s", im_error(c));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("optimise");
    const suite_test whole[] = { LOOP(trajectories_are_those_of_torch, COUNT(cases)),
                                 LOOP(bits_are_the_same_everywhere, COUNT(cases)) };
    const suite_test small[] = {
        LOOP(without_gradient_only_the_average_moves, COUNT(cases)), ONCE(momentum_may_have_no_memory),
        ONCE(squares_are_summed_in_f64), LOOP(the_first_bad_gradient_is_named, 3), ONCE(errors_name_the_parameter),
    };
    suite_case(s, "whole", NULL, NULL, SUITE_SECONDS, whole, SUITE_COUNT(whole));
    suite_case(s, "small", open_cpu, close_cpu, SUITE_SECONDS, small, SUITE_COUNT(small));
    return suite_end(s);
}
