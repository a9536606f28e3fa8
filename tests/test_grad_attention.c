/* test_grad_attention.c: the gradient of attention: torch's numbers on ref and on every instruction set; against ref at
 * sizes of Stable Diffusion's kinds with the work shared out by heads, by queries and by keys, bit by bit the same;
 * q, k and v that are one tensor; strided views; only some gradients wanted; extreme scores. */
#include "gradients.h"
#include "suite.h"
#include "tensor/ctx.h"
#include "tensor/tensor.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

static im_tensor *attention(im_ctx *c, im_tensor *const in[], int heads)
{
    return im_attention(c, in[0], in[1], in[2], heads, false);
}

static im_tensor *causal(im_ctx *c, im_tensor *const in[], int heads)
{
    return im_attention(c, in[0], in[1], in[2], heads, true);
}

/* Chains over d and over up to 70 keys or queries, and lse rounded once: a few eps (6e-8). */
static const gradient_case cases[] = {
    { "attention", { "q", "k", "v" }, 7, attention, 3, 4e-7 },
    { "attention_causal", { "q", "k", "v" }, 7, causal, 3, 4e-7 },
    { "attention_cross", { "q", "k", "v" }, 7, attention, 3, 4e-7 },
    { "attention_long", { "q", "k", "v" }, 7, attention, 2, 4e-7 },
    { "attention_long_causal", { "q", "k", "v" }, 7, causal, 2, 4e-7 },
    { "attention_one_head", { "q", "k", "v" }, 7, attention, 1, 4e-7 },
};

START_TEST(torch_has_the_same_gradients)
{
    gradient_everywhere(&cases[_i]);
}
END_TEST

/* ---------------------------------------------------------------- kernels */

typedef struct { int batch, heads, d, tq, tk; bool causal; double far; } shape;

/* Block edges of queries (192) and keys (64); a long one for one head of d = 512. Errors: as tests/cases_product.c says. */
static const shape shapes[] = {
    { 1, 3, 40, 193, 77, false, 1e-6 }, { 2, 1, 64, 192, 64, true, 1e-6 }, { 1, 1, 512, 200, 130, false, 1.5e-6 },
    { 1, 5, 8, 400, 300, true, 1e-6 }, { 1, 2, 160, 70, 257, true, 1.2e-6 }, { 3, 1, 80, 15, 1, false, 1e-6 },
    { 1, 1, 17, 1, 200, false, 1e-6 }, { 1, 1, 1, 50, 65, true, 1e-6 },
};

enum { Q, K, V, O, DOUT, DQ, DK, DV, ARRAYS };

typedef struct { float *v[ARRAYS], *lse; size_t n[ARRAYS]; im_attention_bwd_args a; } problem;

static float value(uint64_t *s)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(*s >> 33) / 1073741824.0 - 1) * 1.7f;
}

/* Rows with gaps; gradients begin as 1. */
static problem make(shape s, float size)
{
    problem p = { .a = { .batch = s.batch, .heads = s.heads, .d = s.d, .tq = s.tq, .tk = s.tk, .causal = s.causal,
                         .scale = 1 / sqrtf((float)s.d) } };
    int64_t w = (int64_t)s.heads * s.d, lq = w + 3, lk = w + 1, lv = w + 5, lo = w;
    int64_t n[] = { s.tq * lq, s.tk * lk, s.tk * lv, s.tq * lo, s.tq * lo, s.tq * lq, s.tk * lk, s.tk * lv };
    uint64_t seed = 7;
    for (int i = 0; i < ARRAYS; i++) {
        p.n[i] = (size_t)(n[i] * s.batch);
        p.v[i] = malloc(p.n[i] * sizeof(float));
        for (size_t k = 0; k < p.n[i]; k++)
            p.v[i][k] = i >= DQ ? 1 : value(&seed) * (i <= K ? size : 1);
    }
    p.lse = malloc((size_t)(s.batch * s.heads * s.tq) * sizeof(float));
    im_attention_bwd_args *a = &p.a;
    a->q.p = p.v[Q], a->ldq = lq, a->bsq = n[Q];
    a->k.p = p.v[K], a->ldk = lk, a->bsk = n[K];
    a->v.p = p.v[V], a->ldv = lv, a->bsv = n[V];
    a->o.p = p.v[O], a->dout.p = p.v[DOUT], a->ldo = lo, a->bso = n[O], a->lse = p.lse;
    a->dq.p = p.v[DQ], a->dk.p = p.v[DK], a->dv.p = p.v[DV];
    return p;
}

static void drop(problem *p)
{
    for (int i = 0; i < ARRAYS; i++)
        free(p->v[i]);
    free(p->lse);
}

static void run(im_ctx *c, problem *p)
{
    const im_attention_bwd_args *a = &p->a;
    ck_assert_int_eq(c->dev.k.attention(&c->dev, &(im_attention_args){
        .batch = a->batch, .heads = a->heads, .d = a->d, .tq = a->tq, .tk = a->tk, .scale = a->scale, .causal = a->causal,
        .q = a->q, .ldq = a->ldq, .bsq = a->bsq, .k = a->k, .ldk = a->ldk, .bsk = a->bsk, .v = a->v, .ldv = a->ldv,
        .bsv = a->bsv, .o.p = p->v[O], .ldo = a->ldo, .bso = a->bso, .lse = p->lse }), IM_DONE);
    ck_assert_int_eq(c->dev.k.attention_bwd(&c->dev, a), IM_DONE);
}

static void want_same(const problem *a, const problem *b, const char *isa, const char *what)
{
    for (int i = DQ; i <= DV; i++)
        ck_assert_msg(!memcmp(a->v[i], b->v[i], a->n[i] * sizeof(float)), "%s: %s: other bits %s", isa,
                      (const char *const[]){ "dq", "dk", "dv" }[i - DQ], what);
}

static void want_near(const problem *p, const problem *ref, const char *isa, double limit)
{
    for (int i = DQ; i <= DV; i++) {
        double far = 0, size = 0;
        for (size_t k = 0; k < p->n[i]; k++) {
            double e = (double)p->v[i][k] - ref->v[i][k];
            far += e * e;
            size += (double)ref->v[i][k] * ref->v[i][k];
        }
        ck_assert_msg(far <= limit * limit * size, "%s: %s is %g from ref", isa,
                      (const char *const[]){ "dq", "dk", "dv" }[i - DQ], sqrt(far / size));
    }
}

/* 1, 2, 3 and 16 threads: whole heads, or queries and then keys, in spans of different length. */
START_TEST(bits_do_not_depend_on_the_sharing)
{
    static const int threads[] = { 1, 2, 3, 16 };
    shape s = shapes[_i];
    im_ctx *r = im_ctx_new("ref", 2);
    problem ref = make(s, 1), first = { .lse = NULL };
    run(r, &ref);
    for (int isa = 1; isa < GRADIENT_ISAS; isa++) {
        problem one = { .lse = NULL };
        for (int t = 0; t < COUNT(threads); t++) {
            im_ctx *c = gradient_ctx(isa, threads[t]);
            if (!c)
                break;
            problem p = make(s, 1);
            run(c, &p);
            if (t)
                want_same(&p, &one, gradient_isas[isa], "than with one thread");
            else
                want_near(&p, &ref, gradient_isas[isa], s.far);
            if (first.lse)
                want_same(&p, &first, gradient_isas[isa], "than on the first instruction set");
            if (!t)
                one = p;
            else
                drop(&p);
            im_ctx_free(c);
        }
        if (one.lse && !first.lse && isa > 1)                  /* portable rounds a multiply-add twice                */
            first = one;
        else if (one.lse)
            drop(&one);
    }
    if (first.lse)
        drop(&first);
    drop(&ref);
    im_ctx_free(r);
}
END_TEST

/* Gaps between rows stay; what is added is what is stored, in one rounding; an output that is not wanted stays. */
START_TEST(parts_and_sums)
{
    shape s = { 2, 2, 24, 100, 70, true, 0 };
    im_ctx *c = im_ctx_new("cpu", 2 + _i * 6);
    problem all = make(s, 1), part = make(s, 1), sum = make(s, 1);
    run(c, &all);
    for (int i = DQ; i <= DV; i++) {
        im_buf *grad[] = { &part.a.dq, &part.a.dk, &part.a.dv };
        part.a.dq.p = part.a.dk.p = part.a.dv.p = NULL;
        grad[i - DQ]->p = part.v[i];
        run(c, &part);
    }
    want_same(&part, &all, im_device_isa(c), "alone");
    sum.a.add_dq = sum.a.add_dk = sum.a.add_dv = true;
    run(c, &sum);
    int64_t ld[] = { sum.a.ldq, sum.a.ldk, sum.a.ldv };
    for (int i = DQ; i <= DV; i++)
        for (size_t k = 0; k < sum.n[i]; k++) {
            bool gap = (int64_t)k % ld[i - DQ] >= s.heads * s.d;
            ck_assert_float_eq(sum.v[i][k], gap ? 1 : all.v[i][k] + 1);
            ck_assert(!gap || all.v[i][k] == 1);
        }
    drop(&all);
    drop(&part);
    drop(&sum);
    im_ctx_free(c);
}
END_TEST

/* Scores of some hundreds: one key takes all, its rivals' weights underflow to 0; nothing becomes infinite or NaN. */
START_TEST(extreme_scores_stay_finite)
{
    shape s = { 1, 2, 40, 100, 150, _i, 0 };
    im_ctx *c = im_ctx_new("cpu", 2);
    problem p = make(s, 20);
    run(c, &p);
    for (int i = DQ; i <= DV; i++)
        for (size_t k = 0; k < p.n[i]; k++)
            ck_assert(isfinite(p.v[i][k]));
    drop(&p);
    im_ctx_free(c);
}
END_TEST

/* ---------------------------------------------------------------- the operation */

/* Self-attention of x with itself: dx = dq + dk + dv of three copies. */
START_TEST(one_tensor_thrice)
{
    const int64_t sh[] = { 2, 70, 32 };
    im_ctx *c = gradient_ctx(_i ? 3 : 0, 2);
    if (!c)
        c = gradient_ctx(1, 2);
    im_tensor *x = im_new(c, IM_F32, 3, sh), *in[3], *dy = im_new(c, IM_F32, 3, sh);
    uint64_t seed = 3;
    for (int i = 0; i < 2 * 70 * 32; i++) {
        ((float *)im_data(x))[i] = value(&seed);
        ((float *)im_data(dy))[i] = value(&seed);
    }
    im_want_grad(c, x);
    im_tape_begin(c);
    ck_assert(im_backward_from(c, im_attention(c, x, x, x, 4, false), dy));
    for (int i = 0; i < 3; i++) {
        in[i] = im_from(c, IM_F32, 3, sh, im_data(x));
        im_want_grad(c, in[i]);
    }
    im_tape_begin(c);
    ck_assert(im_backward_from(c, im_attention(c, in[0], in[1], in[2], 4, false), dy));
    for (int i = 0; i < 2 * 70 * 32; i++) {
        float want = 0;
        for (int k = 0; k < 3; k++)
            want += ((float *)im_data(in[k]->grad))[i];
        ck_assert_float_eq_tol(((float *)im_data(x->grad))[i], want, 1e-6f * (1 + fabsf(want)));
    }
    im_ctx_free(c);
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        LOOP(torch_has_the_same_gradients, COUNT(cases)), LOOP(bits_do_not_depend_on_the_sharing, COUNT(shapes)),
        LOOP(parts_and_sums, 2), LOOP(extreme_scores_stay_finite, 2), LOOP(one_tensor_thrice, 2),
    };
    return suite_run("grad_attention", NULL, NULL, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
