/* test_halves.c: activations in f16, in bf16 and in a mix of f32 and both: every op, forward and backward, at the shapes of
 * its cases (cases.h: `acts` names the inputs that may be held so).
 *
 *   - ref: what it stores is, bit by bit, the rounding of what it computes in f32 from the same values, and gradients of
 *     parameters are the same: so 16 bits are a matter of storage, and the tests of f32 hold for them;
 *   - every instruction set beside ref, with products in f32 and in bf16; stored and added to what is there;
 *   - the same bits with one thread and two, and, but for bf16 dots, on all sets with fused multiply-add;
 *   - between canaries, and without what `keeps` does not name. */
#include <stdio.h>

#include "backward.h"
#include "op_devices.h"
#include "suite.h"
#include "tensor/host.h"
#include "tensor/tensor.h"

/* What the activations of a case are held in: input i in of[i % 3]. */
typedef struct { const char *name; im_dtype of[3]; } form;

static const form forms[] = {
    { "bf16", { IM_BF16, IM_BF16, IM_BF16 } }, { "f16", { IM_F16, IM_F16, IM_F16 } },
    { "mixed", { IM_F16, IM_F32, IM_BF16 } },                  /* x in f16, res of convolutions and norms f16 or f32   */
};

static im_dtype held_in(const im_case_table *t, const form *f, int input)
{
    return t->acts >> input & 1u ? f->of[input % 3] : IM_F32;
}

/* v[0]: the output, v[1 + i]: the gradient of input i, stored as t; NULL: none. */
enum { PARTS = IM_MAX_IN + 1 };
typedef struct { float *v[PARTS]; int64_t n[PARTS]; im_dtype t[PARTS]; } results;

static void free_results(results *r)
{
    for (int k = 0; k < PARTS; k++)
        free(r->v[k]);
    *r = (results){ 0 };
}

static float rounded(im_dtype t, float x)
{
    return t == IM_BF16 ? im_f32_from_bf16(im_bf16_from_f32(x)) : t == IM_F16 ? im_f32_from_f16(im_f16_from_f32(x)) : x;
}

static float read_as(im_dtype t, const void *x, int64_t i)
{
    return t == IM_BF16 ? im_f32_from_bf16(((const uint16_t *)x)[i]) : t == IM_F16
         ? im_f32_from_f16(((const uint16_t *)x)[i]) : ((const float *)x)[i];
}

static void keep_part(results *r, int k, const im_tensor *t)
{
    r->n[k] = im_numel(t);
    r->v[k] = malloc((size_t)r->n[k] * sizeof(float));
    r->t[k] = (im_dtype)t->dtype;
    for (int64_t i = 0; i < r->n[k]; i++)
        r->v[k][i] = read_as(r->t[k], im_data(t), i);
}

/* A contiguous tensor of these values, rounded to t, and held in it or in f32. */
static im_tensor *rounded_copy(im_ctx *c, const im_tensor *x, im_dtype t, bool held)
{
    im_tensor *whole = im_contiguous_copy(c, (im_tensor *)(uintptr_t)x);
    im_tensor *y = im_new(c, held ? t : IM_F32, x->ndim, x->shape);
    for (int64_t i = 0; whole && y && i < im_numel(y); i++) {
        float v = ((const float *)im_data(whole))[i];
        if (!held || t == IM_F32)
            ((float *)im_data(y))[i] = rounded(t, v);
        else
            ((uint16_t *)im_data(y))[i] = t == IM_BF16 ? im_bf16_from_f32(v) : im_f16_from_f32(v);
    }
    return y;
}

/* The inputs of a case, their values rounded as the form says, and held so or in f32; they want gradients. */
static bool make_inputs(im_ctx *c, const im_case_table *t, const im_case *cs, const form *f, bool held, im_tensor *in[])
{
    bool ok = case_inputs(c, t, cs, (weight_form){ IM_F32, false, t->grads & ~t->acts }, in);
    for (int i = 0; ok && i < IM_MAX_IN; i++) {
        if (!in[i] || !(t->acts >> i & 1u))
            continue;
        ok = (in[i] = rounded_copy(c, in[i], held_in(t, f, i), held)) != NULL;
        if (ok)
            in[i]->wants_grad = t->grads >> i & 1u;
    }
    return ok;
}

static im_tensor *call(im_ctx *c, const im_case_table *t, const im_case *cs, const form *f, im_tensor *const in[])
{
    if (t->op != &im_op_cast)
        return t->call(c, cs, in);
    return im_cast(c, in[0], f->of[2] == f->of[0] ? IM_F32 : f->of[2]);          /* back to f32, or f16 to bf16        */
}

/* dy (values of no pattern), rounded to what the output is held in under the form. */
static im_tensor *make_dy(im_ctx *c, const im_tensor *y, im_dtype t)
{
    im_tensor *dy = im_new(c, IM_F32, y->ndim, y->shape);
    if (!dy)
        return NULL;
    fill_dy(im_data(dy), im_numel(dy));
    return rounded_copy(c, dy, t, y->dtype != IM_F32);
}

/* Forward and backward, `times` times over, so that the second adds. out: what the output is held in under the form. */
static results run(im_ctx *c, const im_case_table *t, const im_case *cs, const form *f, bool held, im_dtype out, int times)
{
    im_tensor *in[IM_MAX_IN];
    results r = { 0 };
    im_scope_push(c);
    bool ok = make_inputs(c, t, cs, f, held, in);
    for (int k = 0; ok && k < times; k++) {
        im_scope_push(c);
        ok = !t->grads || im_tape_begin(c);
        im_scope_push(c);                                      /* so that the tape has to hold what it needs          */
        im_tensor *y = im_keep(c, call(c, t, cs, f, in));
        im_scope_pop(c);
        if (y) {
            free(r.v[0]);
            keep_part(&r, 0, y);
        }
        im_tensor *dy = y && t->grads ? make_dy(c, y, held ? (im_dtype)y->dtype : out) : NULL;
        void *kept[IM_MAX_IN] = { 0 };
        poison(t, in, y, kept, false);
        ok = y && (!t->grads || im_backward_from(c, y, dy)) && ok;
        poison(t, in, y, kept, true);
        im_scope_pop(c);
    }
    for (int i = 0; ok && i < IM_MAX_IN; i++)
        if (in[i] && in[i]->wants_grad) {
            ck_assert_msg(in[i]->grad && in[i]->grad_set, "%s: input %d got no gradient", t->op->name, i);
            ck_assert_int_eq(in[i]->grad->dtype, in[i]->dtype);
            keep_part(&r, 1 + i, in[i]->grad);
        }
    im_scope_pop(c);
    return r;
}

/* ---------------------------------------------------------------- comparisons */

static int complain(const char *isa, const char *name, int part, const char *what, double got, double want)
{
    char text[60] = "the output";
    if (part)
        snprintf(text, sizeof text, "the gradient of input %d", part - 1);
    printf("%s: %s: %s: %s (%.9g beside %.9g)\n", isa, name, text, what, got, want);
    return 1;
}

/* How much more than the rounding of f32 a gradient may be away: where backward reads the output, that was rounded, and
 * what is made of it (o . do, y (y . dy)) is taken from numbers of its own size: two steps. */
static double output_read(const im_case_table *t, im_dtype out)
{
    double steps = t->op == &im_op_normalize ? 4 : 1;          /* of a row of two numbers little is left               */
    return t->op->keeps & IM_KEEP_OUT && t->op != &im_op_batchnorm_res ? steps * (out == IM_BF16 ? 0x1p-6 : 0x1p-9) : 0;
}

/* 16 bits beside f32 of the same op: the rounding of it where it was stored so, else its bits. */
static int is_rounding(const im_case_table *t, const results *half, const results *f32, const char *name)
{
    double loose = half->t[0] == IM_F32 ? 0 : output_read(t, half->t[0]);
    for (int k = 0; k < PARTS; k++) {
        double error = 0, size = 0;
        for (int64_t i = 0; i < half->n[k]; i++) {
            float want = rounded(half->t[k], f32->v[k][i]);
            if (same_float(half->v[k][i], want))               /* f16's infinities, too                                */
                continue;
            if (!k || !(loose > 0))
                return complain("ref", name, k, "not the rounding of f32", (double)half->v[k][i], (double)want);
            error += ((double)half->v[k][i] - want) * ((double)half->v[k][i] - want);
            size += (double)want * want;
        }
        if (k && !(sqrt(error) <= loose * sqrt(size) + 1e-30))
            return complain("ref", name, k, "relative rms error and what is allowed", sqrt(error / size), loose);
    }
    return 0;
}

/* Within `limit` (relative rms, elements within 30 times that). What is stored in 16 bits may be one step (2^-7, 2^-10; of
 * f16's subnormals 2^-24) away where a value lies near the middle of two; that is rare, so their rms is to stay well below
 * that of rounding itself: a sixteenth of a step, and one step somewhere. */
static int near(const char *isa, const results *got, const results *ref, const double limit[PARTS], bool absolute,
                const char *name)
{
    for (int k = 0; k < PARTS; k++) {
        double size = 0, error = 0, unit, step = ref->t[k] == IM_BF16 ? 0x1p-7 : ref->t[k] == IM_F16 ? 0x1p-10 : 0;
        double floor = ref->t[k] == IM_F16 ? 0x1p-24 : 0;
        for (int64_t i = 0; i < ref->n[k]; i++)
            size += isfinite(ref->v[k][i]) ? (double)ref->v[k][i] * ref->v[k][i] : 0;
        unit = sqrt(size / ((double)ref->n[k] + 1e-30)) + (k == 0 && absolute ? 1 : 1e-30);
        for (int64_t i = 0; i < ref->n[k]; i++) {
            double e = fabs((double)got->v[k][i] - ref->v[k][i]), most = fabs((double)ref->v[k][i]);
            if (same_float(got->v[k][i], ref->v[k][i]))
                continue;
            if (!(e <= step * most + floor + 30 * limit[k] * (most + unit)))
                return complain(isa, name, k, "too far from ref", (double)got->v[k][i], (double)ref->v[k][i]);
            error += e * e;
        }
        error = sqrt(error / ((double)ref->n[k] + 1e-30)) / unit;
        double once = (2 * step + floor / unit) / sqrt((double)ref->n[k] + 1e-30);
        double allowed = limit[k] + (step > 0 ? step / 16 + once : 0);
        if (!(error <= allowed))
            return complain(isa, name, k, "relative rms error and what is allowed", error, allowed);
    }
    return 0;
}

/* lost: where one set has bf16 dots, subnormals of bf16 become zero there (buffer.h). */
static int same(const char *isa, const results *a, const results *b, bool lost, const char *name, const char *what)
{
    for (int k = 0; k < PARTS; k++)
        for (int64_t i = 0; i < a->n[k]; i++)
            if (!same_float(a->v[k][i], b->v[k][i])
                && !(lost && fabsf(a->v[k][i]) < 0x1p-126f && fabsf(b->v[k][i]) < 0x1p-126f))
                return complain(isa, name, k, what, (double)a->v[k][i], (double)b->v[k][i]);
    return 0;
}

/* ---------------------------------------------------------------- the tests */

/* Forward as test_ops.c allows it, gradients as the table says. Sums behind products in bf16 meet ref's as in
 * test_grad_products.c: 1e-5; the gradient of weights with few channels is multiplied in f32, which is a rounding of both
 * factors away. Where backward reads an output in 16 bits, one step of it there is felt in all that follows. */
static void limits(const im_case_table *t, const im_case *cs, bool dots, im_dtype out, double limit[PARTS])
{
    bool product = t->op == &im_op_conv2d || t->op == &im_op_linear || t->op == &im_op_geglu;
    for (int k = 0; k < PARTS; k++)
        limit[k] = k ? t->grad_c : fmax(t->grad_c, 2 * t->c * 0x1p-24 * sqrt((double)t->terms(cs)));
    for (int k = 0; product && dots && k < PARTS; k++)
        limit[k] = fmax(limit[k], 1e-5);
    for (int k = 1; out != IM_F32 && k < PARTS; k++)
        limit[k] = fmax(limit[k], output_read(t, out) / 16);
    if (t->op == &im_op_conv2d && dots && cs->in[0].shape[3] <= 12)
        limit[1 + 1] = 4e-3;
}

/* The other forms are tried once each, products in f32: ref takes its time. */
static bool full(const form *f)
{
    return f == forms;
}

static int rounds(const im_case_table *t, const form *f)
{
    return t->grads && full(f) ? 2 : 1;
}

/* of[dots][times - 1]: what ref has, with products in f32 and in bf16. */
typedef struct { results of[2][2]; } wants;

static int try_device(const im_case_table *t, const im_case *cs, const form *f, const device *d, const wants *ref,
                      im_dtype compute, results *first, const char *name)
{
    bool dots = compute == IM_BF16 && im_host_of(&d->one->dev)->compute[IM_BF16];      /* without: all in f32  */
    im_dtype out = ref->of[0][0].t[0];
    double limit[PARTS];
    int failures = 0;
    limits(t, cs, dots, out, limit);
    im_set_compute_dtype(d->one, compute);
    im_set_compute_dtype(d->two, compute);
    im_host_of(&d->one->dev)->winograd = im_host_of(&d->two->dev)->winograd = !dots;      /* in f32 too      */
    for (int times = 1; times <= rounds(t, f); times++) {
        results one = run(d->one, t, cs, f, true, out, times);
        ck_assert_msg(im_ok(d->one), "%s: %s: %s", d->isa, name, im_error(d->one));
        failures += near(d->isa, &one, &ref->of[dots][times - 1], limit, t->absolute, name);
        if (times == 1 && full(f)) {
            results two = run(d->two, t, cs, f, true, out, times);
            ck_assert_msg(im_ok(d->two), "%s: %s: %s", d->isa, name, im_error(d->two));
            failures += same(d->isa, &two, &one, false, name, "other bits with two threads");
            free_results(&two);
        }
        if (times == 1 && !dots && strcmp(d->isa, "portable")) {
            failures += !first->n[0] ? 0 : same(d->isa, &one, first, true, name,
                                                "other bits than on the first instruction set");
            results old = *first;
            *first = one;
            one = old;
        }
        free_results(&one);
    }
    return failures;
}

static int try_case(const im_case_table *t, const im_case *cs, const form *f, im_ctx *ref, const device d[], int devices,
                    const char *name)
{
    wants w = { 0 };
    results first = { 0 };
    bool product = t->weight >= 0 && full(f);
    int failures = 0;
    for (int bf16 = 0; bf16 <= product; bf16++) {
        im_set_compute_dtype(ref, bf16 ? IM_BF16 : IM_F32);
        for (int times = 1; times <= rounds(t, f); times++)
            w.of[bf16][times - 1] = run(ref, t, cs, f, true, IM_F32, times);
        results f32 = run(ref, t, cs, f, false, w.of[bf16][0].t[0], 1);
        ck_assert_msg(im_ok(ref), "ref: %s: %s", name, im_error(ref));
        failures += t->op == &im_op_cast ? 0 : is_rounding(t, &w.of[bf16][0], &f32, name);
        free_results(&f32);
    }
    for (int k = 0; k < devices; k++)
        for (int bf16 = 0; bf16 <= product; bf16++)
            failures += try_device(t, cs, f, &d[k], &w, bf16 ? IM_BF16 : IM_F32, &first, name);
    for (int k = 0; k < 4; k++)
        free_results(&w.of[k / 2][k % 2]);
    free_results(&first);
    return failures;
}

/* concat and stack want one dtype. */
static bool fits(const im_case_table *t, const form *f)
{
    return f->of[0] == f->of[1] || (t->op != &im_op_concat && t->op != &im_op_stack);
}

START_TEST(halves_are_storage)
{
    const im_case_table *t = im_all_cases[_i];
    device d[MAX_DEVICES];
    int devices = open_devices(d), failures = 0;
    im_ctx *ref = im_ctx_new("ref", 2);
    for (int i = 0; t->acts && i < t->n; i++)
        for (int k = 0; k < COUNT(forms); k++) {
            char name[400], whole[420];
            if (!usable(&t->cases[i]) || !fits(t, &forms[k]))
                continue;
            case_name(t, &t->cases[i], (weight_form){ IM_F32, false, 0 }, name, sizeof name);
            snprintf(whole, sizeof whole, "%s %s", name, forms[k].name);
            failures += try_case(t, &t->cases[i], &forms[k], ref, d, devices, whole);
        }
    im_ctx_free(ref);
    close_devices(d, devices);
    ck_assert_msg(spoilt == 0, "%s: %d bytes were written outside of a tensor or scratch", t->op->name, spoilt);
    ck_assert_msg(failures == 0, "%s: %d checks failed, see above", t->op->name, failures);
}
END_TEST

/* Values whose rounding is known: ties go to even; a NaN and infinities stay. */
START_TEST(casts)
{
    static const float x[] = { 1, 1 + 0x1p-8f, 1 + 0x1.8p-7f, -3.14159265f, 0x1p-126f, INFINITY, -INFINITY, NAN,
                               0x1.ffp127f, 65519, 65520, 0x1p-25f, 0x1.8p-25f };
    static const float bf16[] = { 1, 1, 1 + 0x1p-6f, -3.140625f, 0x1p-126f, INFINITY, -INFINITY, NAN, INFINITY, 65536,
                                  65536, 0x1p-25f, 0x1.8p-25f };
    static const float f16[] = { 1, 1 + 0x1p-8f, 1 + 0x1.8p-7f, -3.140625f, 0, INFINITY, -INFINITY, NAN, INFINITY, 65504,
                                 INFINITY, 0, 0x1p-24f };
    device d[MAX_DEVICES];
    int devices = open_devices(d);
    im_ctx *ref = im_ctx_new("ref", 1);
    for (int k = -1; k < devices; k++)
        for (int half = 0; half < 2; half++) {
            im_ctx *c = k < 0 ? ref : d[k].one;
            im_tensor *y = im_cast(c, im_from(c, IM_F32, 1, (int64_t[]){ COUNT(x) }, x), half ? IM_F16 : IM_BF16);
            im_tensor *back = im_cast(c, y, IM_F32);
            ck_assert_msg(back != NULL, "%s", im_error(c));
            ck_assert_int_eq(y->dtype, half ? IM_F16 : IM_BF16);
            for (int i = 0; i < COUNT(x); i++) {
                float want = half ? f16[i] : bf16[i], found = ((float *)im_data(back))[i];
                ck_assert_msg(same_float(found, want), "%s: %.9g became %.9g, wanted %.9g", im_device_isa(c), (double)x[i],
                              (double)found, (double)want);
            }
        }
    im_ctx_free(ref);
    close_devices(d, devices);
}
END_TEST

/* Every op with a gradient or a float input has inputs here, or a reason. */
START_TEST(none_is_forgotten)
{
    for (int i = 0; im_all_cases[i]; i++) {
        const im_case_table *t = im_all_cases[i];
        bool other = t->op == &im_op_embedding || t->op == &im_op_timestep;      /* a table's dtype; times, always f32 */
        ck_assert_msg(t->acts != 0 || other, "%s: no input is tried in 16 bits", t->op->name);
    }
}
END_TEST

int main(void)
{
    int n = 0;
    while (im_all_cases[n])
        n++;
    const suite_test tests[] = { LOOP(halves_are_storage, n), ONCE(casts), ONCE(none_is_forgotten) };
    return suite_run("halves", NULL, NULL, 4 * SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
