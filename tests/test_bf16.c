/* test_bf16.c: the ops that take activations in bf16, forward and backward, at the shapes of their cases (cases.h).
 *
 *   - ref: what it stores is, bit by bit, the rounding of what it computes in f32 from the same values, and gradients of
 *     parameters are the same: so bf16 is a matter of storage, and the tests of f32 hold for it;
 *   - every instruction set beside ref, with products in f32 and in bf16; stored and added to what is there;
 *   - the same bits with one thread and two, and, but for bf16 dots, on all sets with fused multiply-add;
 *   - between canaries, and without what `keeps` does not name. */
#include <stdio.h>

#include "backward.h"
#include "op_devices.h"
#include "suite.h"
#include "tensor/tensor.h"

/* Inputs in bf16; inputs that an op takes in f32 only, left out; this number of the case (i[]) must be zero, -1: none. */
typedef struct { const im_case_table *t; unsigned bf16, without; int zero; } subject;

static const subject subjects[] = {
    { &im_cases_conv2d, 1u << 0, 7u << 2, 5 },                 /* no bias, chan, res; nothing enlarged                */
    { &im_cases_linear, 1u << 0, 3u << 2, 0 },                 /* no bias, res; no activation                         */
    { &im_cases_batchnorm, 1u << 0 | 1u << 3, 0, -1 },
    { &im_cases_batchnorm_res, 1u << 0 | 1u << 3, 0, -1 },
    { &im_cases_maxpool, 1u << 0, 0, -1 },
    { &im_cases_avgpool, 1u << 0, 0, -1 },
    { &im_cases_cast, 1u << 0, 0, -1 },
};

/* v[0]: the output, v[1 + i]: the gradient of input i; NULL: none. bf16 bit k: v[k] was stored in bf16. */
enum { PARTS = IM_MAX_IN + 1 };
typedef struct { float *v[PARTS]; int64_t n[PARTS]; unsigned bf16; } results;

static void free_results(results *r)
{
    for (int k = 0; k < PARTS; k++)
        free(r->v[k]);
    *r = (results){ 0 };
}

static float rounded(float x)
{
    return im_f32_from_bf16(im_bf16_from_f32(x));
}

static void keep_part(results *r, int k, const im_tensor *t)
{
    r->n[k] = im_numel(t);
    r->v[k] = malloc((size_t)r->n[k] * sizeof(float));
    const void *x = im_data(t);
    bool bf16 = t->dtype == IM_BF16;
    r->bf16 |= bf16 ? 1u << k : 0;
    for (int64_t i = 0; i < r->n[k]; i++)
        r->v[k][i] = bf16 ? im_f32_from_bf16(((const uint16_t *)x)[i]) : ((const float *)x)[i];
}

/* A contiguous tensor of these values, rounded to bf16, and held in it or in f32. */
static im_tensor *rounded_copy(im_ctx *c, const im_tensor *x, im_dtype held)
{
    im_tensor *whole = im_contiguous_copy(c, (im_tensor *)(uintptr_t)x), *y = im_new(c, held, x->ndim, x->shape);
    for (int64_t i = 0; whole && y && i < im_numel(y); i++) {
        float v = ((const float *)im_data(whole))[i];
        if (held == IM_BF16)
            ((uint16_t *)im_data(y))[i] = im_bf16_from_f32(v);
        else
            ((float *)im_data(y))[i] = rounded(v);
    }
    return y;
}

/* The inputs of a case with those of the subject `held` so; they want gradients. */
static bool make_inputs(im_ctx *c, const subject *s, const im_case *cs, im_dtype held, im_tensor *in[])
{
    bool ok = case_inputs(c, s->t, cs, (weight_form){ IM_F32, false, s->t->grads & ~s->bf16 }, in);
    for (int i = 0; ok && i < IM_MAX_IN; i++) {
        if (s->without >> i & 1u)
            in[i] = NULL;
        if (!in[i] || !(s->bf16 >> i & 1u))
            continue;
        ok = (in[i] = rounded_copy(c, in[i], held)) != NULL;
        if (ok)
            in[i]->wants_grad = 1;
    }
    return ok;
}

/* Forward and backward, `times` times over, so that the second adds. */
static results run(im_ctx *c, const subject *s, const im_case *cs, im_dtype held, int times)
{
    im_tensor *in[IM_MAX_IN];
    results r = { 0 };
    im_scope_push(c);
    bool ok = make_inputs(c, s, cs, held, in);
    for (int k = 0; ok && k < times; k++) {
        im_scope_push(c);
        ok = im_tape_begin(c);
        im_scope_push(c);                                      /* so that the tape has to hold what it needs          */
        im_tensor *y = im_keep(c, s->t->op == &im_op_cast ? im_cast(c, in[0], held == IM_BF16 ? IM_F32 : IM_BF16)
                                                          : s->t->call(c, cs, in));
        im_scope_pop(c);
        im_tensor *dy = y ? im_new(c, IM_F32, y->ndim, y->shape) : NULL;
        if (dy) {
            fill_dy(im_data(dy), im_numel(dy));
            dy = rounded_copy(c, dy, (im_dtype)y->dtype);
            free(r.v[0]);
            keep_part(&r, 0, y);
        }
        void *kept[IM_MAX_IN] = { 0 };
        poison(s->t, in, y, kept, false);
        ok = im_backward_from(c, y, dy) && ok;
        poison(s->t, in, y, kept, true);
        im_scope_pop(c);
    }
    for (int i = 0; ok && i < IM_MAX_IN; i++)
        if (in[i] && in[i]->wants_grad) {
            ck_assert_msg(in[i]->grad && in[i]->grad_set, "%s: input %d got no gradient", s->t->op->name, i);
            ck_assert_int_eq(in[i]->grad->dtype, in[i]->dtype);
            keep_part(&r, 1 + i, in[i]->grad);
        }
    im_scope_pop(c);
    return r;
}

static bool wanted(const subject *s, const im_case *cs)
{
    return usable(cs) && (s->zero < 0 || !cs->i[s->zero]);
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

/* bf16 beside f32 of the same op: the rounding of it where it was stored in bf16, else its bits. */
static int is_rounding(const results *bf16, const results *f32, const char *name)
{
    for (int k = 0; k < PARTS; k++)
        for (int64_t i = 0; i < bf16->n[k]; i++) {
            float want = bf16->bf16 >> k & 1u ? rounded(f32->v[k][i]) : f32->v[k][i];
            if (!same_float(bf16->v[k][i], want))
                return complain("ref", name, k, "not the rounding of f32", (double)bf16->v[k][i], (double)want);
        }
    return 0;
}

/* Within `limit` (relative rms, elements within 30 times that). What is stored in bf16 may be one step (2^-7) away where a
 * value lies near the middle of two; that is rare, so their rms is to stay well below that of rounding itself, 1.1e-3:
 * 5e-4, and one step somewhere. */
static int near(const char *isa, const results *got, const results *ref, const double limit[PARTS], const char *name)
{
    for (int k = 0; k < PARTS; k++) {
        double size = 0, error = 0, unit, step = ref->bf16 >> k & 1u ? 0x1p-7 : 0;
        for (int64_t i = 0; i < ref->n[k]; i++)
            size += (double)ref->v[k][i] * ref->v[k][i];
        unit = sqrt(size / ((double)ref->n[k] + 1e-30)) + 1e-30;
        for (int64_t i = 0; i < ref->n[k]; i++) {
            double e = fabs((double)got->v[k][i] - ref->v[k][i]), most = fabs((double)ref->v[k][i]);
            if (!(e <= step * most + 30 * limit[k] * (most + unit)))
                return complain(isa, name, k, "too far from ref", (double)got->v[k][i], (double)ref->v[k][i]);
            error += e * e;
        }
        error = sqrt(error / ((double)ref->n[k] + 1e-30)) / unit;
        double allowed = limit[k] + (step > 0 ? 5e-4 + 2 * step / sqrt((double)ref->n[k] + 1e-30) : 0);
        if (!(error <= allowed))
            return complain(isa, name, k, "relative rms error and what is allowed", error, allowed);
    }
    return 0;
}

static int same(const char *isa, const results *a, const results *b, const char *name, const char *what)
{
    for (int k = 0; k < PARTS; k++)
        for (int64_t i = 0; i < a->n[k]; i++)
            if (!same_float(a->v[k][i], b->v[k][i]))
                return complain(isa, name, k, what, (double)a->v[k][i], (double)b->v[k][i]);
    return 0;
}

/* ---------------------------------------------------------------- the tests */

/* Sums behind products in bf16 meet ref's as in test_grad_products.c: 1e-5; the gradient of weights with few channels is
 * multiplied in f32, which is a rounding of both factors away. */
static void limits(const subject *s, const im_case *cs, bool dots, double limit[PARTS])
{
    bool product = s->t->op == &im_op_conv2d || s->t->op == &im_op_linear;
    for (int k = 0; k < PARTS; k++)
        limit[k] = product && dots ? 1e-5 : s->t->grad_c;
    if (s->t->op == &im_op_conv2d && dots && cs->in[0].shape[3] <= 12)
        limit[1 + 1] = 4e-3;
}

/* of[dots][times - 1]: what ref has, with products in f32 and in bf16. */
typedef struct { results of[2][2]; } wants;

static int try_device(const subject *s, const im_case *cs, const device *d, const wants *ref, im_dtype products,
                      results *first, const char *name)
{
    bool dots = products == IM_BF16 && d->one->dev.bf16_dots;  /* without dots all is multiplied in f32               */
    double limit[PARTS];
    int failures = 0;
    limits(s, cs, dots, limit);
    im_set_products(d->one, products);
    im_set_products(d->two, products);
    d->one->dev.winograd = d->two->dev.winograd = !dots;       /* in f32 too                                          */
    for (int times = 1; times <= 2; times++) {
        results one = run(d->one, s, cs, IM_BF16, times), two = run(d->two, s, cs, IM_BF16, times);
        ck_assert_msg(im_ok(d->one) && im_ok(d->two), "%s: %s: %s%s", d->isa, name, im_error(d->one), im_error(d->two));
        failures += near(d->isa, &one, &ref->of[dots][times - 1], limit, name);
        failures += same(d->isa, &two, &one, name, "other bits with two threads");
        if (times == 1 && !dots && strcmp(d->isa, "portable")) {
            failures += first->n[0] ? same(d->isa, &one, first, name, "other bits than on the first instruction set") : 0;
            results old = *first;
            *first = one;
            one = old;
        }
        free_results(&one);
        free_results(&two);
    }
    return failures;
}

static int try_case(const subject *s, const im_case *cs, im_ctx *ref, const device d[], int devices, const char *name)
{
    wants w = { 0 };
    results first = { 0 };
    int failures = 0;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        im_set_products(ref, bf16 ? IM_BF16 : IM_F32);
        results f32 = run(ref, s, cs, IM_F32, 1);
        for (int times = 1; times <= 2; times++)
            w.of[bf16][times - 1] = run(ref, s, cs, IM_BF16, times);
        ck_assert_msg(im_ok(ref), "ref: %s: %s", name, im_error(ref));
        failures += s->t->op == &im_op_cast ? 0 : is_rounding(&w.of[bf16][0], &f32, name);
        free_results(&f32);
    }
    for (int k = 0; k < devices; k++)
        for (int bf16 = 0; bf16 < 2; bf16++)
            failures += try_device(s, cs, &d[k], &w, bf16 ? IM_BF16 : IM_F32, &first, name);
    for (int k = 0; k < 4; k++)
        free_results(&w.of[k / 2][k % 2]);
    free_results(&first);
    return failures;
}

START_TEST(bf16_is_storage)
{
    const subject *s = &subjects[_i];
    device d[MAX_DEVICES];
    int devices = open_devices(d), failures = 0;
    im_ctx *ref = im_ctx_new("ref", 2);
    for (int i = 0; i < s->t->n; i++) {
        const im_case *cs = &s->t->cases[i];
        char name[400];
        if (!wanted(s, cs))
            continue;
        case_name(s->t, cs, (weight_form){ IM_F32, false, 0 }, name, sizeof name);
        failures += try_case(s, cs, ref, d, devices, name);
    }
    im_ctx_free(ref);
    close_devices(d, devices);
    ck_assert_msg(spoilt == 0, "%s: %d bytes were written outside of a tensor or scratch", s->t->op->name, spoilt);
    ck_assert_msg(failures == 0, "%s: %d checks failed, see above", s->t->op->name, failures);
}
END_TEST

/* Values whose rounding is known: ties go to even; a NaN and infinities stay. */
START_TEST(casts)
{
    static const float x[] = { 1, 1 + 0x1p-8f, 1 + 0x1.8p-7f, -3.14159265f, 0x1p-126f, INFINITY, -INFINITY, NAN,
                               0x1.ffp127f };
    static const float want[] = { 1, 1, 1 + 0x1p-6f, -3.140625f, 0x1p-126f, INFINITY, -INFINITY, NAN, INFINITY };
    device d[MAX_DEVICES];
    int devices = open_devices(d);
    im_ctx *ref = im_ctx_new("ref", 1);
    for (int k = -1; k < devices; k++) {
        im_ctx *c = k < 0 ? ref : d[k].one;
        im_tensor *y = im_cast(c, im_from(c, IM_F32, 1, (int64_t[]){ COUNT(x) }, x), IM_BF16);
        im_tensor *back = im_cast(c, y, IM_F32);
        ck_assert_msg(back != NULL, "%s", im_error(c));
        ck_assert_int_eq(y->dtype, IM_BF16);
        for (int i = 0; i < COUNT(x); i++)
            ck_assert_msg(same_float(((float *)im_data(back))[i], want[i]), "%s: %.9g became %.9g, wanted %.9g",
                          im_device_isa(c), (double)x[i], (double)((float *)im_data(back))[i], (double)want[i]);
    }
    im_ctx_free(ref);
    close_devices(d, devices);
}
END_TEST

/* What an op does not take in bf16 it refuses by name. */
START_TEST(refusals)
{
    im_ctx *c = im_ctx_new("ref", 1);
    im_tensor *x = im_new(c, IM_BF16, 4, (int64_t[]){ 1, 2, 2, 3 }), *w = im_new(c, IM_F32, 4, (int64_t[]){ 4, 1, 1, 3 });
    im_tensor *b = im_new(c, IM_F32, 1, (int64_t[]){ 4 }), *flat = im_new(c, IM_F32, 2, (int64_t[]){ 4, 3 });
    im_tensor *res = im_new(c, IM_F32, 4, (int64_t[]){ 1, 2, 2, 3 }), *v = im_new(c, IM_F32, 1, (int64_t[]){ 3 });
    for (int i = 0; i < 6; i++) {
        im_tensor *y = i == 0 ? im_conv2d(c, x, w, b, NULL, NULL, &(im_conv_attrs){ .stride = 1 })
                     : i == 1 ? im_conv2d(c, x, w, NULL, NULL, NULL, &(im_conv_attrs){ .stride = 1, .up_h = 4, .up_w = 4 })
                     : i == 2 ? im_linear(c, x, flat, b, NULL, IM_ACT_NONE)
                     : i == 3 ? im_linear(c, x, flat, NULL, NULL, IM_ACT_RELU)
                     : i == 4 ? im_batchnorm(c, x, v, v, res, v, v, &(im_batchnorm_attrs){ .eps = 1, .training = true })
                              : im_cast(c, x, IM_F16);
        ck_assert_msg(!y && strstr(im_error(c), i == 4 ? "dtype" : "bf16"), "call %d: \"%s\"", i, im_error(c));
        im_clear_error(c);
    }
    im_ctx_free(c);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { LOOP(bf16_is_storage, COUNT(subjects)), ONCE(casts), ONCE(refusals) };
    return suite_run("bf16", NULL, NULL, 2 * SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
