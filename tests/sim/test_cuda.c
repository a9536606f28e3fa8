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
#include "device_steps.h"
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

im_ctx *cpu, *cuda;

/* A set of the cpu with fused multiply-adds and without bf16 dots, whose bits device.h defines. */
void open_both(void)
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

void close_both(void)
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
    };
    suite_case(s, "device", NULL, NULL, SUITE_SECONDS, more, SUITE_COUNT(more));
    device_steps(s);
    if (sim_is_real())
        setenv("CK_FORK", "no", 1);                            /* opening a device takes longer than a case            */
    int failed = suite_end(s), missing = print_table();
    snprintf(command, sizeof command, "rm -rf %s", cache);
    return system(command) || failed || (missing && !getenv("CK_RUN_CASE"));
}
