/* test_cuda.c: the kernels of src/cuda in the simulator (sim.h), every op of cases.h forwards and backwards, beside the cpu
 * device bit by bit: the plain path follows the order of sums of tensor/device.h, in f32 and in 16 bits as well. Each case
 * in a process of its own, in f32, bf16, f16 and a mix of them; threads in three orders; the stream early and late; once
 * as a plan. Any fault that the simulator sees fails the case. Products on tensor cores have bits of their own, and are
 * compared with ref.
 *
 * The last lines are a table: how often each slot of the kernel table was called in which form; none may be missing.
 *
 *     CK_RUN_CASE=conv2d build/tests/test_cuda       one op */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cuda/cuda.h"
#include "device_case.h"
#include "sim_settings.h"
#include "suite.h"
#include "tensor/tensor.h"

static const device_form forms[] = {
    { "f32", { IM_F32, IM_F32, IM_F32 }, IM_F32 },
    { "bf16", { IM_BF16, IM_BF16, IM_BF16 }, IM_BF16 },
    { "f16", { IM_F16, IM_F16, IM_F16 }, IM_F16 },
    { "mixed", { IM_F16, IM_F32, IM_BF16 }, IM_F32 },
    { "bf16 by f32", { IM_BF16, IM_BF16, IM_BF16 }, IM_F32 },  /* training: weights stay in f32                        */
};

/* ---------------------------------------------------------------- which slots were called */

#define X(name) SLOT_##name,
enum { IM_KERNELS(X) SLOTS };
#undef X

enum { PLAIN, MMA, MMA_K8, PATHS };                            /* IMAGO_CUDA=plain; sm_80; sm_75                       */
static const struct { const char *name; int sm; } paths[PATHS] = { { "plain", 75 }, { "mma", 80 }, { "mma k8", 75 } };
static int (*called)[PATHS][COUNT(forms)];                     /* [SLOTS]: shared with the processes of the cases      */
static int form_now, path_now;
static im_kernels own;

#define X(name) \
    static int count_##name(im_device *dev, const struct im_##name##_args *p) \
    { \
        __atomic_fetch_add(&called[SLOT_##name][path_now][form_now], 1, __ATOMIC_RELAXED); \
        return own.name(dev, p); \
    }
IM_KERNELS(X)
#undef X

static void count_calls(im_ctx *c)
{
    own = c->dev.k;
#define X(name) c->dev.k.name = count_##name;
    IM_KERNELS(X)
#undef X
}

static int print_table(void)
{
    static const char *const names[] = {
#define X(name) #name,
        IM_KERNELS(X)
#undef X
    };
    int missing = 0;
    printf("\nslot                 path       f32   bf16    f16  mixed  bf16 by f32 (calls in the simulator)\n");
    for (int s = 0; s < SLOTS; s++)
        for (int path = 0; path < (sim_is_real() ? MMA_K8 : PATHS); path++) {
            int sum = 0;
            for (int f = 0; f < COUNT(forms); f++)
                sum += called[s][path][f];
            bool cores = s == SLOT_gemm || s == SLOT_conv || s == SLOT_conv_dx || s == SLOT_outer || s == SLOT_conv_dw ||
                         s == SLOT_attention || s == SLOT_attention_bwd;
            if (path && !cores)                                /* the plain kernel serves there, too                   */
                continue;
            printf("%-20s %-6s ", names[s], paths[path].name);
            for (int f = 0; f < COUNT(forms); f++)
                printf("%6d ", called[s][path][f]);
            printf("%s\n", sum ? "" : " <- missing");
            missing += !sum;
        }
    printf("%d slots, %d missing\n", (int)SLOTS, missing);
    return missing;
}

/* ---------------------------------------------------------------- contexts */

static im_ctx *cpu, *cuda;

/* A set of the cpu with fused multiply-adds and without bf16 dots, whose bits device.h defines. */
static void open_both(void)
{
    static const char *const isas[] = { "avx2", "neon" };
    for (int i = 0; i < COUNT(isas) && !cpu; i++) {
        setenv("IMAGO_ISA", isas[i], 1);
        cpu = im_ctx_new("cpu", 1);
        if (!im_ok(cpu) || strcmp(im_device_isa(cpu), isas[i])) {
            im_ctx_free(cpu);
            cpu = NULL;
        }
    }
    ck_assert_msg(cpu != NULL, "this machine has no instruction set with fused multiply-adds");
    setenv("IMAGO_CUDA", path_now ? "" : "plain", 1);
    sim_set_capability(paths[path_now].sm);
    cuda = im_ctx_new("cuda", 1);
    ck_assert_msg(im_ok(cuda), "%s", im_error(cuda));
    /* A kernel that its first check found wrong would be replaced, and its results be right all the same. */
    ck_assert_msg(!im_cuda_kept_plain(&cuda->dev), "its first check replaced kernels on tensor cores");
    count_calls(cuda);
}

static void close_both(void)
{
    im_ctx_free(cuda);
    im_ctx_free(cpu);
    cuda = cpu = NULL;
}

/* ---------------------------------------------------------------- cases */

static const struct { int order; bool late, planned; } ways[] = {
    { 0, false, false }, { 1, true, false }, { 2, false, false }, { 2, true, true },
};

static void try_form(const im_case_table *t, const im_case *cs, const device_form *f)
{
    char name[500], text[300];
    device_case_name(t, cs, f, name, sizeof name);
    for (int planned = 0; planned < 2; planned++) {
        device_results want = device_run(&(device_way){ cpu, cpu, f, 2, planned }, t, cs);
        ck_assert_msg(want.v[0] != NULL, "%s: cpu: %s", name, im_error(cpu));
        for (int i = 0; i < COUNT(ways); i++) {
            if (ways[i].planned != planned || (i && f != forms && i < 3))        /* 16 bits: in one order */
                continue;
            sim_set(true, ways[i].order, ways[i].late);
            device_results got = device_run(&(device_way){ cuda, cpu, f, 2, planned }, t, cs);
            ck_assert_msg(got.v[0] != NULL, "%s: %s", name, im_error(cuda));
            ck_assert_msg(sim_all_faults() == 0, "%s: %d faults in order %d", name, sim_all_faults(), ways[i].order);
            ck_assert_msg(device_same(&got, &want, text, sizeof text), "%s: order %d%s%s: %s", name, ways[i].order,
                          ways[i].late ? ", late" : "", planned ? ", planned" : "", text);
            device_free(&got);
        }
        device_free(&want);
    }
}

static bool small(const im_case *cs, bool wanted)
{
    setenv("TEST_SMALL", "1", 1);
    bool is = case_is_tried(cs);
    unsetenv("TEST_SMALL");
    return is == wanted && case_is_tried(cs);
}

static bool differs(const im_case_table *t, int form)
{
    return form == 0 || (form < 4 ? t->acts || t->weight >= 0 : t->acts && t->weight >= 0);
}

START_TEST(cuda_has_the_bits_of_cpu)
{
    const im_case_table *t = im_all_cases[_i >> 16];
    const im_case *cs = &t->cases[_i & 0xffff];
    sim_set(true, 0, false);                                   /* before memory is asked for                          */
    open_both();
    for (form_now = 0; form_now < COUNT(forms); form_now++)
        if (small(cs, true) && differs(t, form_now))
            try_form(t, cs, &forms[form_now]);
    close_both();
}
END_TEST

/* Sizes of several tiles and chunks, in f32 and one order; and the same of convolutions that Winograd takes everywhere. */
enum { MOST = 400000 };

static int64_t work_of(const im_case_table *t, const im_case *cs)
{
    int64_t n = 0;
    for (int i = 0; i < IM_MAX_IN; i++) {
        int64_t elements = cs->in[i].ndim ? 1 : 0;
        for (int a = 0; a < cs->in[i].ndim; a++)
            elements *= cs->in[i].shape[a];
        n += i == 0 || i == t->weight ? elements : 0;
    }
    return n;
}

static void try_once(const im_case_table *t, const im_case *cs)
{
    char name[500], text[300];
    device_case_name(t, cs, forms, name, sizeof name);
    device_results want = device_run(&(device_way){ cpu, cpu, forms, 1, false }, t, cs);
    device_results got = device_run(&(device_way){ cuda, cpu, forms, 1, false }, t, cs);
    ck_assert_msg(got.v[0] && want.v[0], "%s: %s%s", name, im_error(cuda), im_error(cpu));
    ck_assert_msg(sim_all_faults() == 0, "%s: %d faults", name, sim_all_faults());
    ck_assert_msg(device_same(&got, &want, text, sizeof text), "%s: %s", name, text);
    device_free(&want);
    device_free(&got);
}

START_TEST(larger_ones_too)
{
    const im_case_table *t = im_all_cases[_i >> 16];
    const im_case *cs = &t->cases[_i & 0xffff];
    if (!small(cs, false) || work_of(t, cs) > MOST)
        return;
    sim_set(true, 2, false);
    open_both();
    try_once(t, cs);
    close_both();
}
END_TEST

START_TEST(winograd_everywhere)
{
    const im_case *cs = &im_cases_conv2d.cases[_i];
    if (!small(cs, true))
        return;
    setenv("IMAGO_WINOGRAD", "2", 1);
    sim_set(true, 2, false);
    open_both();
    try_once(&im_cases_conv2d, cs);
    close_both();
    unsetenv("IMAGO_WINOGRAD");
}
END_TEST

/* ---------------------------------------------------------------- tensor cores */

/* Products of factors in 16 bits, and attention, on a device that says it is sm_80, or sm_75, which has them in f16: near
 * what ref makes of the same numbers. Each 8 products are cut off 24 bits behind the largest, so a chain of K errs by K/8
 * steps of at most 6.5 eps of its size. An output in 16 bits is rounded once; activations in f32, and gradients on their
 * way back through an activation, are rounded before they are multiplied, as are attention's weights and their gradients:
 * at random, which five deviations of one such rounding cover. */
static const device_form mma_forms[] = {
    { "bf16", { IM_BF16, IM_BF16, IM_BF16 }, IM_BF16 }, { "f16", { IM_F16, IM_F16, IM_F16 }, IM_F16 },
    { "f32 by bf16", { IM_F32, IM_F32, IM_F32 }, IM_BF16 }, { "f32 by f16", { IM_F32, IM_F32, IM_F32 }, IM_F16 },
    { "bf16 by f32", { IM_BF16, IM_BF16, IM_BF16 }, IM_F32 }, { "f16 by f32", { IM_F16, IM_F16, IM_F16 }, IM_F32 },
};

static const im_case_table *const multiplying[] = {
    &im_cases_linear, &im_cases_geglu, &im_cases_conv2d, &im_cases_attention,
};

static void near_ref(const device_results *got, const device_results *ref, const device_form *f, double terms, int k,
                     const char *name)
{
    bool bf16 = f->weight == IM_BF16 || f->acts[0] == IM_BF16, once = f->acts[0] != IM_F32 && terms <= 0;
    double half = bf16 ? 0x1p-8 : 0x1p-11;                     /* rounding of one number                               */
    for (int p = 0; p <= IM_MAX_IN; p++) {
        double unit = 0;
        ck_assert_msg(got->n[p] == ref->n[p], "%s: part %d: %lld values, wanted %lld", name, p, (long long)got->n[p],
                      (long long)ref->n[p]);
        for (int64_t i = 0; i < ref->n[p]; i++)
            unit += (double)ref->v[p][i] * ref->v[p][i] / (double)ref->n[p];
        unit = sqrt(unit) + terms;                             /* of attention's gradients: they may cancel to nothing */
        for (int64_t i = 0; i < ref->n[p]; i++) {
            double a = got->v[p][i], b = ref->v[p][i], size = fabs(b) + unit;
            double limit = (k / 8 + 2) * 6.5 * 0x1p-23 * size + (once && !p ? 1.01 : 5) * half * size;
            ck_assert_msg(fabs(a - b) <= limit, "%s: part %d, element %lld: found %.9g, ref has %.9g", name, p,
                          (long long)i, a, b);
        }
    }
}

static bool on_tensor_cores(const im_case *cs)
{
    for (int i = 0; i < IM_MAX_IN; i++)
        if (cs->in[i].fill == BROKEN || cs->in[i].fill == TINY)        /* f16 has no 1e-20                            */
            return false;
    return small(cs, true);
}

/* As sm_75, then as sm_80: the same bits (cuda/cores.cuh). */
static void same_on_sm_80(const im_case_table *t, const im_case *cs, const device_form *f, const device_results *want,
                          const char *name)
{
    char text[300];
    im_ctx *turing = cuda;
    sim_set_capability(80);
    cuda = im_ctx_new("cuda", 1);
    device_results got = device_run(&(device_way){ cuda, cpu, f, 1, false }, t, cs);
    ck_assert_msg(device_same(&got, want, text, sizeof text), "%s: as sm_80: %s%s", name, im_error(cuda), text);
    device_free(&got);
    im_ctx_free(cuda);
    cuda = turing;
    sim_set_capability(75);
}

enum { AS_SM_75 = 1 << 15 };                                   /* of the test's number                                 */

START_TEST(tensor_cores_are_near_ref)
{
    const im_case_table *t = multiplying[_i >> 16];
    const im_case *cs = &t->cases[_i & (AS_SM_75 - 1)];
    if (!on_tensor_cores(cs))
        return;
    sim_set(true, _i % 3, false);
    path_now = _i & AS_SM_75 ? MMA_K8 : MMA;
    im_ctx *ref = im_ctx_new("ref", 1);
    open_both();
    for (int k = 0; k < COUNT(mma_forms); k++) {
        static const int column[] = { 1, 2, 1, 2, 4, 3 };      /* of the table                                         */
        const device_form *f = &mma_forms[k];
        form_now = column[k];
        if ((t->weight < 0 && k > 1) || (path_now == MMA_K8 && f->weight != IM_F16 && f->acts[0] != IM_F16))
            continue;                                          /* nothing is in other types than the activations       */
        char name[500], text[300];
        device_case_name(t, cs, f, name, sizeof name);
        device_results want = device_run(&(device_way){ ref, cpu, f, 1, false }, t, cs);
        device_results got = device_run(&(device_way){ cuda, cpu, f, 1, false }, t, cs);
        ck_assert_msg(got.v[0] && want.v[0], "%s: %s%s", name, im_error(cuda), im_error(ref));
        /* One key: terms of size 1. Keys with a mean of -4: their weights' gradients add up to 0, and each is rounded. */
        double terms = t != &im_cases_attention ? 0 : cs->in[1].fill == BELOW ? 1 : 0x1p-8;
        near_ref(&got, &want, f, terms, t->terms(cs) + (int)cs->in[1].shape[0] * 9, name);
        sim_set(true, (_i + 1) % 3, true);
        device_results again = device_run(&(device_way){ cuda, cpu, f, 1, false }, t, cs);
        ck_assert_msg(device_same(&again, &got, text, sizeof text), "%s: in another order: %s", name, text);
        if (path_now == MMA_K8)
            same_on_sm_80(t, cs, f, &got, name);
        ck_assert_msg(sim_all_faults() == 0, "%s: %d faults", name, sim_all_faults());
        device_free(&want);
        device_free(&got);
        device_free(&again);
    }
    im_ctx_free(ref);
    close_both();
    path_now = 0;
}
END_TEST

static im_tensor *filled(im_ctx *c, int64_t n, uint32_t seed, float size)
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

/* Pictures from .. to - 1 of three through one layer; the last picture's numbers, which have its bits in any batch. */
static void last_of(int layer, im_dtype half, int64_t from, int64_t to, float *out, int64_t n)
{
    static const int64_t shapes[][4] = { { 3, 50, 1, 72 }, { 3, 7, 7, 16 }, { 3, 70, 1, 80 } };
    im_tensor *in[3];
    for (int i = 0; i < 3; i++) {
        bool weight = i && layer < 2;
        int64_t shape[] = { weight ? 40 : 3, weight && layer ? 3 : shapes[layer][1], weight && layer ? 3 : shapes[layer][2],
                            shapes[layer][3] };
        shape[1] = weight && !layer ? 1 : shape[1];
        im_tensor *f = filled(cuda, shape[0] * shape[1] * shape[2] * shape[3], (uint32_t)i, 2);
        im_tensor *t = im_reshape(cuda, im_cast(cuda, f, half), layer == 1 ? 4 : weight ? 2 : 3,
                                  layer == 1 ? shape : (int64_t[]){ shape[0], weight ? shape[3] : shape[1], shape[3] });
        in[i] = weight ? t : im_contiguous_copy(cuda, im_slice(cuda, t, 0, from, to));
    }
    im_conv_attrs same = { .stride = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1 };
    im_tensor *y = layer == 0 ? im_linear(cuda, in[0], in[1], NULL, NULL, IM_ACT_NONE)
                 : layer == 1 ? im_conv2d(cuda, in[0], in[1], NULL, NULL, NULL, &same)
                              : im_attention(cuda, in[0], in[1], in[2], 2, false);
    ck_assert_msg(y != NULL, "%s", im_error(cuda));
    uint16_t *all = im_values(cuda, y);
    int64_t each = im_numel(y) / (to - from);
    ck_assert(each <= n);
    for (int64_t i = 0; i < each; i++)
        out[i] = all[(to - from - 1) * each + i];
    free(all);
}

START_TEST(a_picture_has_its_bits_in_any_batch)
{
    static float alone[8000], among[8000];
    im_dtype half = _i < 3 ? IM_BF16 : IM_F16;
    sim_set(true, _i % 3, false);
    path_now = _i < 3 ? MMA : MMA_K8;
    form_now = _i < 3 ? 1 : 2;
    open_both();
    im_scope_push(cuda);
    last_of(_i % 3, half, 2, 3, alone, COUNT(alone));
    last_of(_i % 3, half, 0, 3, among, COUNT(among));
    im_scope_pop(cuda);
    ck_assert(!memcmp(alone, among, sizeof alone) && alone[7] != alone[8]);
    ck_assert_int_eq(sim_all_faults(), 0);
    close_both();
    path_now = 0;
}
END_TEST

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
    im_fill(cuda, a[5].w->grad, NAN);
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

/* A sampler's sum, a draw of latents, the mark of what is not finite, and a training step of two parts behind the gate. */
static void take_steps(im_ctx *c, float out[6], im_step_part parts[2])
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
    im_fill(c, p[2].w->grad, INFINITY);                        /* the gate is shut: nothing moves                      */
    im_step_part shut[2];
    ck_assert(im_ledger_norm(c, l, 0, p, 3) && im_ledger_norm(c, l, 1, p, 3) && im_ledger_end(c, l, 0.5, 1));
    ck_assert(im_optimise(c, &s) && im_ledger_read(c, l, shut) && shut[1].first_bad == 2);
    out[5] = (float)im_item(c, im_slice(c, p[1].w, 0, 200, 201));
    ck_assert(out[5] == out[4]);
    im_ledger_free(l);
    for (int i = 0; i < 3; i++)
        im_zero_grad(p[i].w);
}

START_TEST(steps_have_the_bits_of_cpu)
{
    float a[6], b[6];
    im_step_part at_a[2], at_b[2];
    sim_set(true, _i % 3, _i % 2);
    open_both();
    take_steps(cuda, a, at_a);
    take_steps(cpu, b, at_b);
    ck_assert_int_eq(sim_all_faults(), 0);
    for (int i = 0; i < 6; i++)
        ck_assert_msg(!memcmp(&a[i], &b[i], sizeof *a), "value %d: %.9g on cuda, %.9g on cpu", i, (double)a[i],
                      (double)b[i]);
    for (int i = 0; i < 2; i++)
        ck_assert_msg(at_a[i].loss == at_b[i].loss && at_a[i].sumsq == at_b[i].sumsq && at_a[i].right == at_b[i].right
                      && at_a[i].first_bad == at_b[i].first_bad && at_a[i].right > 0, "part %d of the ledger differs", i);
    close_both();
}
END_TEST

/* ---------------------------------------------------------------- the device */

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

int main(void)
{
    char cache[] = "/tmp/imago-cuda-XXXXXX", command[100];
    Suite *s = suite_create("cuda");
    called = mmap(NULL, SLOTS * sizeof *called, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (called == MAP_FAILED || !mkdtemp(cache))
        return 2;
    setenv("XDG_CACHE_HOME", cache, 1);                        /* the device checks itself once in all of this         */
    for (int i = 0; im_all_cases[i]; i++) {
        TCase *tc = tcase_create(im_all_cases[i]->op->name);
        tcase_set_timeout(tc, SUITE_SECONDS);
        tcase_add_loop_test(tc, cuda_has_the_bits_of_cpu, i << 16, (i << 16) + im_all_cases[i]->n);
        tcase_add_loop_test(tc, larger_ones_too, i << 16, (i << 16) + im_all_cases[i]->n);
        suite_add_tcase(s, tc);
    }
    for (int i = 0; i < COUNT(multiplying); i++) {
        TCase *tc = tcase_create("mma");
        tcase_set_timeout(tc, SUITE_SECONDS);
        for (int from = i << 16, k = 0; k < (sim_is_real() ? 1 : 2); k++, from += AS_SM_75)
            tcase_add_loop_test(tc, tensor_cores_are_near_ref, from, from + multiplying[i]->n);
        suite_add_tcase(s, tc);
    }
    const suite_test more[] = {
        LOOP(a_picture_has_its_bits_in_any_batch, 6), LOOP(winograd_everywhere, im_cases_conv2d.n),
        LOOP(optimisers_have_the_bits_of_cpu, COUNT(steps)),
        LOOP(steps_have_the_bits_of_cpu, 6), LOOP(large_transfers_arrive, 2),
    };
    suite_case(s, "device", NULL, NULL, SUITE_SECONDS, more, SUITE_COUNT(more));
    if (sim_is_real())
        setenv("CK_FORK", "no", 1);                            /* opening a device takes longer than a case            */
    int failed = suite_end(s), missing = print_table();
    snprintf(command, sizeof command, "rm -rf %s", cache);
    return system(command) || failed || (missing && !getenv("CK_RUN_CASE"));
}
