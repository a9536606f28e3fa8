/* test_ops.c: every op at every shape of cases_*.c, on the cpu device under each instruction set that this machine has.
 *
 *   - within the tolerance of its table of what ref computes (plain loops, f64 sums);
 *   - the same bits: eager and as a plan (in place where the op may be), with 1 and 2 threads, each member of a batch
 *     alone, with the weight plain and packed, and on all instruction sets with fused multiply-add;
 *   - no byte written outside a tensor or a scratch, none used that was not written: memory comes filled with NaN
 *     between two canaries (the linker puts __wrap_im_pages_new in its place).
 *
 *     CK_RUN_CASE=conv2d build/tests/test_ops               one op
 *     build/tests/test_ops --bench [op [threads [dtype]]]   time in place of tests, under IMAGO_ISA */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "arithmetic.h"
#include "cases.h"
#include "op_devices.h"
#include "suite.h"
#include "tensor/host.h"
#include "tensor/tensor.h"

/* ---------------------------------------------------------------- one run of one case */

typedef struct { float *v; int64_t n, members; } values;       /* an output copied out; members: its first axis       */

static values copy_out(const im_tensor *t)
{
    values out = { 0 };
    if (!t)
        return out;
    out.n = im_numel(t);
    out.members = t->shape[0];
    out.v = malloc((size_t)out.n * sizeof(float));
    if (out.v)
        memcpy(out.v, im_data(t), (size_t)out.n * sizeof(float));
    return out;
}

typedef struct {
    const im_case_table *t;
    const im_case *cs;
    weight_form form;
    char name[400];
    int failures;
} trial;

static void complain(trial *r, const device *d, const char *what)
{
    if (r->failures++ < 5)
        printf("%s: %s: %s\n", d ? d->isa : "ref", r->name, what);
}

static values run_eager(const trial *r, im_ctx *c)
{
    im_tensor *in[IM_MAX_IN];
    im_scope_push(c);
    values out = { 0 };
    if (case_inputs(c, r->t, r->cs, r->form, in))
        out = copy_out(r->t->call(c, r->cs, in));
    im_scope_pop(c);
    return out;
}

/* Member m of the batch alone: the batched inputs cut to [m, m+1). */
static values run_member(const trial *r, im_ctx *c, int64_t m)
{
    im_tensor *in[IM_MAX_IN];
    im_scope_push(c);
    values out = { 0 };
    if (case_inputs(c, r->t, r->cs, r->form, in)) {
        for (int i = 0; i < IM_MAX_IN; i++)
            if (in[i] && r->t->batched >> i & 1u)
                in[i] = im_slice(c, in[i], 0, m, m + 1);
        out = copy_out(r->t->call(c, r->cs, in));
    }
    im_scope_pop(c);
    return out;
}

typedef struct { const trial *r; im_tensor **in; } recording;

/* The op as a plan's only node; where it may work in place, after a copy whose memory it can take. */
static im_tensor *record(im_ctx *c, void *arg, im_tensor *const plan_in[], int n)
{
    const recording *rec = arg;
    im_tensor *in[IM_MAX_IN];
    (void)n;
    memcpy(in, rec->in, sizeof in);
    in[0] = plan_in[0];
    if (rec->r->t->op->inplace_ok && in[0]->ndim <= 4)
        in[0] = im_contiguous_copy(c, in[0]);
    return rec->r->t->call(c, rec->r->cs, in);
}

static values run_plan(const trial *r, im_ctx *c)
{
    im_tensor *in[IM_MAX_IN];
    values out = { 0 };
    im_scope_push(c);
    if (case_inputs(c, r->t, r->cs, r->form, in)) {
        im_plan *p = im_plan_record(c, record, &(recording){ r, in }, in, 1);
        im_plan_run(c, p);                                     /* the second run finds the arena used                 */
        out = copy_out(im_plan_run(c, p));
        im_plan_free(c, p);
    }
    im_scope_pop(c);
    return out;
}

/* ---------------------------------------------------------------- comparisons */

/* Bits of got (and frees it) against n values at want; a NaN is a NaN. */
static void want_bits(trial *r, const device *d, values got, const float *want, int64_t n, const char *what)
{
    char text[200];
    int64_t i = 0;
    if (!got.v || got.n != n) {
        snprintf(text, sizeof text, "%s: failed: %s %s", what, im_error(d->one), im_error(d->two));
        complain(r, d, text);
    } else {
        while (i < n && same_float(got.v[i], want[i]))
            i++;
        if (i < n) {
            snprintf(text, sizeof text, "%s: element %lld: found %.9g, wanted the bits of %.9g", what, (long long)i,
                     (double)got.v[i], (double)want[i]);
            complain(r, d, text);
        }
    }
    free(got.v);
}

static double rms(const values *x)
{
    double sum = 0;
    int64_t n = 0;
    for (int64_t i = 0; i < x->n; i++)
        if (isfinite(x->v[i])) {
            sum += (double)x->v[i] * x->v[i];
            n++;
        }
    return n ? sqrt(sum / (double)n) : 0;
}

/* Where bf16 weights go through vdpbf16ps, activations are rounded to bf16 too: an error of up to 2^-9 of each product,
 * so c 2^-8 of the output whatever K. In tile registers f16 ones are split (arithmetic.h). */
static double lost_in_terms(const trial *r, const device *d)
{
    return r->t->weight == 1 ? lost(&d->one->dev, r->form.dtype) : 0;
}

static void want_near(trial *r, const device *d, const values *got, const values *want)
{
    const double eps = 0x1p-23;
    double unit = r->t->absolute ? 1 : rms(want), k = sqrt((double)r->t->terms(r->cs)), worst = 0;
    double c = r->t->c * (lost_in_terms(r, d) + eps * k);
    int64_t at = -1;
    for (int64_t i = 0; i < want->n; i++) {
        float a = got->v[i], b = want->v[i];
        if (same_float(a, b) || a == b)
            continue;
        double limit = c * (fabs((double)b) + unit), ratio = limit > 0 ? fabs((double)a - b) / limit : INFINITY;
        if (!(ratio <= worst)) {                               /* NaN on one side only comes here too                 */
            worst = isnan(ratio) ? INFINITY : ratio;
            at = i;
        }
    }
    if (worst > 1) {
        char text[300];
        snprintf(text, sizeof text, "element %lld: found %.9g, ref has %.9g: %.2f times the tolerance (c %g: %s)",
                 (long long)at, (double)got->v[at], (double)want->v[at], worst, r->t->c, r->t->why);
        complain(r, d, text);
    }
}

/* ---------------------------------------------------------------- all checks of one case in one form */

/* The batch, or 1 where an input of it has no such axis (a broadcast one). */
static int64_t batch_of(const trial *r)
{
    int64_t batch = 0;
    int ndim = 0;
    for (int i = 0; i < IM_MAX_IN; i++) {
        const case_in *in = &r->cs->in[i];
        if (!in->ndim || !(r->t->batched >> i & 1u))
            continue;
        if (batch && (in->shape[0] != batch || (r->t->op == &im_op_add && in->ndim != ndim)))
            return 1;
        batch = in->shape[0];
        ndim = in->ndim;
    }
    return batch;
}

/* chain: what an earlier device or form computed by fused chains, filled by the first. */
static void try_device(trial *r, const device *d, const values *ref, values *chain)
{
    im_host_of(&d->one->dev)->direct &= r->form.dtype != IM_INT8;       /* the rule that ref and all sets share (int8.h)  */
    im_host_of(&d->two->dev)->direct &= r->form.dtype != IM_INT8;
    values got = run_eager(r, d->one);
    if (!got.v || got.n != ref->n) {
        complain(r, d, im_ok(d->one) ? "another size than on ref" : im_error(d->one));
        im_clear_error(d->one);
        free(got.v);
        return;
    }
    want_near(r, d, &got, ref);
    want_bits(r, d, run_plan(r, d->one), got.v, got.n, "as a plan");
    want_bits(r, d, run_eager(r, d->two), got.v, got.n, "with 2 threads");
    int64_t batch = batch_of(r), part = got.n / got.members;
    for (int64_t m = 0; batch > 1 && m < batch; m += batch - 1)
        want_bits(r, d, run_member(r, d->one, m), got.v + m * part, part, "a member of the batch alone");
    if (!chain->v && strcmp(d->isa, "portable") && !lost_in_terms(r, d)) {
        *chain = got;
        return;
    }
    if (strcmp(d->isa, "portable") && !lost_in_terms(r, d))
        want_bits(r, d, got, chain->v, chain->n, "against the first instruction set (or the plain weight)");
    else
        free(got.v);
}

static int try_case(const im_case_table *t, const im_case *cs, im_ctx *ref_ctx, const device *d, int devices)
{
    static const weight_form forms[] = { { IM_F32, false, 0 }, { IM_F32, true, 0 }, { IM_F16, false, 0 },
                                         { IM_F16, true, 0 }, { IM_BF16, false, 0 }, { IM_BF16, true, 0 },
                                         { IM_INT8, true, 0 } };
    trial r = { .t = t, .cs = cs };
    values ref = { 0 }, chain = { 0 };
    for (int f = 0; f < (t->weight < 0 ? 1 : COUNT(forms)); f++) {
        if (forms[f].packed && !t->packs)
            continue;
        r.form = forms[f];
        case_name(t, cs, r.form, r.name, sizeof r.name);
        values now = run_eager(&r, ref_ctx);
        ck_assert_msg(now.v, "ref: %s: %s", r.name, im_error(ref_ctx));
        if (forms[f].packed && forms[f].dtype != IM_INT8) {    /* the same numbers in another order of storage        */
            want_bits(&r, &(device){ "ref", ref_ctx, ref_ctx }, now, ref.v, ref.n, "packed");
        } else {
            free(ref.v);
            free(chain.v);
            ref = now;
            chain = (values){ 0 };
        }
        for (int i = 0; i < devices; i++)
            try_device(&r, &d[i], &ref, &chain);
    }
    free(ref.v);
    free(chain.v);
    return r.failures;
}

START_TEST(op_meets_ref)
{
    const im_case_table *t = im_all_cases[_i];
    device d[MAX_DEVICES];
    int devices = open_devices(d), failures = 0;
    im_ctx *ref = im_ctx_new("ref", 1);
    ck_assert(im_ok(ref));
    ck_assert_int_gt(t->n, 0);
    for (int i = 0; i < t->n; i++)
        if (case_is_tried(&t->cases[i]))
            failures += try_case(t, &t->cases[i], ref, d, devices);
    im_ctx_free(ref);
    close_devices(d, devices);
    ck_assert_msg(spoilt == 0, "%s: %d bytes were written outside of a tensor or scratch", t->op->name, spoilt);
    ck_assert_msg(failures == 0, "%s: %d checks failed, see above", t->op->name, failures);
}
END_TEST

static void want_kernels(const char *device_name, const char *isa, const im_kernels *k)
{
#define X(name) ck_assert_msg(k->name != NULL, "%s %s has no kernel \"" #name "\"", device_name, isa);
    IM_KERNELS(X)
#undef X
}

START_TEST(no_kernel_is_missing)
{
    device d[MAX_DEVICES];
    int devices = open_devices(d);
    im_ctx *ref = im_ctx_new("ref", 1);
    want_kernels("ref", "", &ref->dev.k);
    im_ctx_free(ref);
    for (int i = 0; i < devices; i++)
        want_kernels("cpu", d[i].isa, &d[i].one->dev.k);
    close_devices(d, devices);
}
END_TEST

/* ---------------------------------------------------------------- timing */

static double cpu_seconds(int threads)
{
    struct timespec t;
    clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void keep_row(void *arg, const im_profile_row *row)
{
    *(im_profile_row *)arg = *row;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void time_case(im_ctx *c, const im_case_table *t, const im_case *cs, im_dtype dtype)
{
    char name[400];
    weight_form form = { dtype, t->weight >= 0 && t->packs, 0 };
    im_profile_row row = { 0 };
    double ms[25], total = 0;
    int n = 0;
    im_tensor *in[IM_MAX_IN];
    case_name(t, cs, form, name, sizeof name);
    im_scope_push(c);
    case_inputs(c, t, cs, form, in);
    im_on_profile(c, keep_row, &row);
    for (int i = -1; i < COUNT(ms) && (i < 3 || total < 0.4) && im_ok(c); i++) {          /* -1 warms up              */
        im_scope_push(c);
        double start = cpu_seconds(im_threads(c));
        t->call(c, cs, in);
        double seconds = cpu_seconds(im_threads(c)) - start;
        im_scope_pop(c);
        if (i < 0)
            continue;
        ms[n++] = 1e3 * seconds;
        total += seconds;
    }
    im_scope_pop(c);
    qsort(ms, (size_t)n, sizeof *ms, by_size);
    if (!im_ok(c) || !n)
        printf("%s: %s\n", name, im_error(c));
    else
        printf("%9.3f ms best %9.3f median %8.1f GFLOP/s %7.1f GB/s  %s\n", ms[0], ms[n / 2], 1e-6 * row.flop / ms[0],
               1e-6 * row.bytes / ms[0], name);
    fflush(stdout);
    im_clear_error(c);
}

static int bench(int argc, char **argv)
{
    im_dtype dtype = IM_F32;
    im_ctx *c = im_ctx_new("cpu", argc > 3 ? atoi(argv[3]) : 1);
    if (!im_ok(c) || (argc > 4 && !im_dtype_parse(argv[4], &dtype))) {
        fprintf(stderr, "%s\nusage: test_ops --bench [op [threads [f32|f16|bf16|int8]]]\n", im_error(c));
        return 2;
    }
    printf("cpu %s, %d thread(s), shapes of Stable Diffusion\n", im_device_isa(c), im_threads(c));
    for (int i = 0; im_all_cases[i]; i++)
        for (int j = 0; j < im_all_cases[i]->n; j++)
            if (im_all_cases[i]->cases[j].bench && (argc < 3 || !strcmp(argv[2], im_all_cases[i]->op->name)))
                time_case(c, im_all_cases[i], &im_all_cases[i]->cases[j], dtype);
    im_ctx_free(c);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--bench"))
        return bench(argc, argv);
    Suite *s = suite_create("ops");
    TCase *kernels = tcase_create("kernels");
    tcase_add_test(kernels, no_kernel_is_missing);
    suite_add_tcase(s, kernels);
    for (int i = 0; im_all_cases[i]; i++) {
        TCase *tc = tcase_create(im_all_cases[i]->op->name);
        tcase_add_loop_test(tc, op_meets_ref, i, i + 1);
        tcase_set_timeout(tc, 300);                            /* a sanitizer or an emulator may be underneath        */
        suite_add_tcase(s, tc);
    }
    return suite_end(s);
}
