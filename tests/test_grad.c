/* test_grad.c: the backward half of every op, at the shapes of its cases (cases.h): on ref by central differences, on every
 * instruction set against ref, with one and two threads bit by bit, added to what is there, between canaries,
 * and without what `keeps` does not name. A table
 * whose `grads` is 0 must be an op that says by name that it has no gradient. */
#include <stdio.h>

#include "backward.h"
#include "op_devices.h"
#include "suite.h"
#include "tensor/tensor.h"

enum { DIFFERENCES = 12 };       /* elements of each input that are moved                                             */

typedef struct { float *v[IM_MAX_IN]; int64_t n[IM_MAX_IN]; } grads;

static void free_grads(grads *g)
{
    for (int i = 0; i < IM_MAX_IN; i++)
        free(g->v[i]);
    *g = (grads){ 0 };
}

/* Gradients of sum(dy * y), `times` times over; empty with an error in c where that failed. */
static grads run(im_ctx *c, const im_case_table *t, const im_case *cs, int times)
{
    im_tensor *in[IM_MAX_IN];
    grads g = { 0 };
    im_scope_push(c);
    bool ok = case_inputs(c, t, cs, (weight_form){ IM_F32, false, t->grads }, in);
    for (int k = 0; ok && k < times; k++) {
        im_scope_push(c);
        ok = im_tape_begin(c);
        im_scope_push(c);                                      /* so that the tape has to hold what it needs          */
        im_tensor *y = im_keep(c, t->call(c, cs, in));
        im_scope_pop(c);
        im_tensor *dy = y ? im_new(c, IM_F32, y->ndim, y->shape) : NULL;
        if (dy)
            fill_dy(im_data(dy), im_numel(dy));
        void *kept[IM_MAX_IN] = { 0 };
        poison(t, in, y, kept, false);
        ok = im_backward_from(c, y, dy) && ok;
        poison(t, in, y, kept, true);
        im_scope_pop(c);
    }
    for (int i = 0; ok && i < IM_MAX_IN; i++) {
        im_tensor *r = in[i] && t->grads >> i & 1u ? root(in[i]) : NULL;
        if (!r)
            continue;
        ck_assert_msg(r->grad && r->grad_set, "%s: input %d got no gradient", t->op->name, i);
        g.n[i] = im_numel(r);
        g.v[i] = malloc((size_t)g.n[i] * sizeof(float));
        memcpy(g.v[i], im_data(r->grad), (size_t)g.n[i] * sizeof(float));
    }
    im_scope_pop(c);
    return g;
}

static double rms(const float *v, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)v[i] * v[i];
    return sqrt(sum / (double)n);
}

/* ---------------------------------------------------------------- ref by differences */

static double weighted(im_ctx *c, const im_case_table *t, const im_case *cs, im_tensor *const in[])
{
    im_scope_push(c);
    im_tensor *y = t->call(c, cs, in);
    ck_assert_msg(y != NULL, "%s: %s", t->op->name, im_error(c));
    int64_t n = im_numel(y);
    float *dy = malloc((size_t)n * sizeof *dy), *v = im_data(y);
    double sum = 0;
    fill_dy(dy, n);
    for (int64_t i = 0; i < n; i++)
        sum += (double)dy[i] * v[i];
    free(dy);
    im_scope_pop(c);
    return sum;
}

static int differences(im_ctx *c, const im_case_table *t, const im_case *cs, const grads *g, const char *name)
{
    im_tensor *in[IM_MAX_IN];
    int failures = 0;
    im_scope_push(c);
    case_inputs(c, t, cs, (weight_form){ IM_F32, false, t->grads }, in);
    double noise = 3e-7 * (1 + fabs(weighted(c, t, cs, in)));
    for (int i = 0; i < IM_MAX_IN; i++) {
        if (!g->v[i])
            continue;
        float *x = im_data(root(in[i]));
        double unit = rms(g->v[i], g->n[i]);
        int64_t step = g->n[i] / DIFFERENCES + 1;
        for (int64_t k = step / 2; k < g->n[i]; k += step) {
            if (isnan(x[k]))                                   /* outside of the view: it must have no gradient       */
                continue;
            float old = x[k], h = 0.01f * (1 + fabsf(old));
            double mid = weighted(c, t, cs, in);
            x[k] = old + h;
            double up = weighted(c, t, cs, in), h_up = (double)x[k] - old;
            x[k] = old - h;
            double down = weighted(c, t, cs, in), h_down = (double)old - x[k];
            x[k] = old;
            double numeric = (up - down) / (h_up + h_down), left = (mid - down) / h_down, right = (up - mid) / h_up;
            double limit = 4e-3 * (fabs(numeric) + unit) + 8 * noise / h;
            if (fabs(numeric - g->v[i][k]) <= limit || fabs(left - right) > 0.2 * (fabs(numeric) + unit))
                continue;                                      /* the second: a kink lies within the step             */
            printf("%s: input %d, element %lld: backward says %.9g, differences %.9g\n", name, i, (long long)k,
                   (double)g->v[i][k], numeric);
            failures++;
        }
    }
    im_scope_pop(c);
    return failures;
}

/* ---------------------------------------------------------------- devices against ref */

static int near(const im_case_table *t, const char *isa, const grads *got, const grads *ref, double times, const char *name)
{
    int failures = 0;
    for (int i = 0; i < IM_MAX_IN; i++) {
        if (!ref->v[i])
            continue;
        double unit = rms(ref->v[i], ref->n[i]), sum = 0, worst = 0;
        for (int64_t k = 0; k < ref->n[i]; k++) {
            double e = fabs(got->v[i][k] / times - ref->v[i][k]);
            e = isnan(e) ? INFINITY : e;
            sum += e * e;
            e /= fabs((double)ref->v[i][k]) + unit + 1e-30;
            worst = e > worst ? e : worst;
        }
        double error = sqrt(sum / (double)ref->n[i]) / (unit + 1e-30);
        if (!(error <= t->grad_c) || !(worst <= 30 * t->grad_c)) {
            printf("%s: %s: gradient of input %d, %g times: relative error %.3g rms, %.3g at worst; wanted %.3g\n", isa,
                   name, i, times, error, worst, t->grad_c);
            failures++;
        }
    }
    return failures;
}

static int same(const char *isa, const grads *a, const grads *b, const char *name, const char *what)
{
    for (int i = 0; i < IM_MAX_IN; i++)
        for (int64_t k = 0; k < a->n[i]; k++)
            if (!same_float(a->v[i][k], b->v[i][k])) {
                printf("%s: %s: gradient of input %d, element %lld: %.9g, but %.9g %s\n", isa, name, i, (long long)k,
                       (double)a->v[i][k], (double)b->v[i][k], what);
                return 1;
            }
    return 0;
}

static int try_device(const im_case_table *t, const im_case *cs, const device *d, const grads *ref, grads *first,
                      const char *name)
{
    grads one = run(d->one, t, cs, 1), two = run(d->two, t, cs, 1), twice = run(d->one, t, cs, 2);
    ck_assert_msg(im_ok(d->one) && im_ok(d->two), "%s: %s: %s%s", d->isa, name, im_error(d->one), im_error(d->two));
    int failures = near(t, d->isa, &one, ref, 1, name) + near(t, d->isa, &twice, ref, 2, name);
    failures += same(d->isa, &two, &one, name, "with one thread");
    free_grads(&two);
    free_grads(&twice);
    if (strcmp(d->isa, "portable") && first->v[0] == NULL && first->v[1] == NULL)
        *first = one;
    else {
        if (strcmp(d->isa, "portable"))
            failures += same(d->isa, &one, first, name, "on the first instruction set");
        free_grads(&one);
    }
    return failures;
}

START_TEST(gradient_is_right)
{
    const im_case_table *t = im_all_cases[_i];
    device d[MAX_DEVICES];
    ck_assert_msg(t->op->backward != NULL, "%s has no backward; im_no_backward says that there is none", t->op->name);
    int devices = open_devices(d), failures = 0;
    im_ctx *ref = im_ctx_new("ref", 1);
    for (int i = 0; t->grads && i < t->n; i++) {
        const im_case *cs = &t->cases[i];
        char name[400];
        if (!usable(cs))
            continue;
        case_name(t, cs, (weight_form){ IM_F32, false, 0 }, name, sizeof name);
        grads g = run(ref, t, cs, 1), first = { 0 };
        ck_assert_msg(im_ok(ref), "ref: %s: %s", name, im_error(ref));
        failures += differences(ref, t, cs, &g, name);
        for (int k = 0; k < devices; k++)
            failures += try_device(t, cs, &d[k], &g, &first, name);
        free_grads(&first);
        free_grads(&g);
    }
    im_ctx_free(ref);
    close_devices(d, devices);
    ck_assert_msg(spoilt == 0, "%s: %d bytes were written outside of a tensor or scratch", t->op->name, spoilt);
    ck_assert_msg(failures == 0, "%s: %d checks failed, see above", t->op->name, failures);
    ck_assert_msg(t->grads || t->op->backward == im_no_backward, "%s has a gradient that no case tries", t->op->name);
    ck_assert_msg(!t->grads || t->op->backward != im_no_backward, "%s has no gradient, but cases", t->op->name);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("grad");
    for (int i = 0; im_all_cases[i]; i++) {
        TCase *tc = tcase_create(im_all_cases[i]->op->name);
        tcase_add_loop_test(tc, gradient_is_right, i, i + 1);
        tcase_set_timeout(tc, SUITE_SECONDS);
        suite_add_tcase(s, tc);
    }
    return suite_end(s);
}
