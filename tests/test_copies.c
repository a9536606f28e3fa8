/* test_copies.c: weights in training in 16 bits (tensor/copies.h): each form is made once for each version of the weight,
 * however many parts a step has and whatever is computed again; gradients have the bits that they have with fresh copies;
 * whatever writes values of a parameter makes its copies stale. */
#include <math.h>
#include <string.h>

#include "context.h"
#include "isa.h"
#include "tensor/host.h"
#include "tensor/tensor.h"

#define SHAPE(...) (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), (int64_t[]){ __VA_ARGS__ }

enum { WEIGHTS = 4, FORMS = 1 + 5 + 2 + 2 };                   /* a: forward alone, as x wants no gradient; b: forward, */
                                                               /* and 4 phases of its stride back; c, d: there and back */
typedef struct net { im_tensor *w[WEIGHTS]; im_tensor *x, *want; bool recompute; } net;

static const char *const isas[] = { "portable+bf16", "avx2+bf16", "neon+bf16", "avx512bf16", "avx512amx", "portable" };
enum { ISAS = sizeof isas / sizeof *isas };

static void fill(float *v, int64_t n, int salt)
{
    for (int64_t i = 0; i < n; i++)
        v[i] = (float)((i * 37 + salt * 11) % 61 - 30) / 97;
}

static void load(im_tensor *w, int salt)
{
    static float values[4096];
    ck_assert_int_le(im_numel(w), 4096);
    fill(values, im_numel(w), salt);
    ck_assert_msg(im_param_load(c, w, values, IM_F32, false), "%s", im_error(c));
}

/* false: this machine lacks the set */
static bool open_on(const char *isa)
{
    im_ctx_free(c);
    choose_isa(isa);
    ck_assert_ptr_nonnull(c = im_ctx_new("cpu", 2));
    choose_isa(NULL);
    return im_ok(c) && !strcmp(im_device_isa(c), isa);
}

static net make(void)
{
    static const struct { const char *name; int ndim; int64_t shape[4]; } of[WEIGHTS] = {
        { "a", 4, { 8, 3, 3, 4 } }, { "b", 4, { 12, 3, 3, 8 } }, { "c", 4, { 20, 1, 1, 12 } }, { "d", 2, { 5, 20 } } };
    net m = { .x = im_new(c, IM_F32, SHAPE(2, 6, 6, 4)), .want = im_new(c, IM_F32, SHAPE(2, 5)) };
    fill(im_data(m.x), im_numel(m.x), 5);
    fill(im_data(m.want), im_numel(m.want), 6);
    for (int i = 0; i < WEIGHTS; i++) {
        m.w[i] = im_param_new(c, of[i].name, IM_F32, of[i].ndim, of[i].shape);
        ck_assert(im_param_alloc(c, m.w[i], (im_weight_layout){ .dtype = IM_F32 }) && im_want_grad(c, m.w[i]));
        load(m.w[i], i);
    }
    im_set_compute_dtype(c, IM_BF16);
    return m;
}

static void drop(net *m)
{
    for (int i = 0; i < WEIGHTS; i++)
        im_param_free(c, m->w[i]);
}

static im_tensor *block(im_ctx *ctx, void *arg, im_tensor *const in[], int n_in)
{
    const net *m = arg;
    (void)n_in;
    im_conv_attrs same = { 1, 1, 1, 1, 1, 0, 0 }, half = { 2, 1, 1, 1, 1, 0, 0 };
    return im_conv2d(ctx, im_conv2d(ctx, in[0], m->w[0], NULL, NULL, NULL, &same), m->w[1], NULL, NULL, NULL, &half);
}

/* Forward and backward of one part of a step: adds to the gradients. */
static void part(net *m)
{
    im_conv_attrs one = { .stride = 1 };
    im_scope_push(c);
    ck_assert(im_tape_begin(c));
    im_tensor *h = m->recompute ? im_recompute(c, block, m, &m->x, 1) : block(c, m, &m->x, 1);
    h = im_avgpool(c, im_conv2d(c, h, m->w[2], NULL, NULL, NULL, &one));
    h = im_linear(c, h, m->w[3], NULL, NULL, IM_ACT_NONE);
    ck_assert_msg(im_backward(c, im_mse(c, h, m->want, NULL)), "%s", im_error(c));
    im_scope_pop(c);
}

static void move(net *m)
{
    im_trained p[WEIGHTS] = { 0 };
    for (int i = 0; i < WEIGHTS; i++)
        p[i].w = m->w[i];
    im_optimise_step s = { .kind = IM_SGD, .params = p, .count = WEIGHTS, .scale = 1, .lr = 0.5 };
    ck_assert_msg(im_optimise(c, &s), "%s", im_error(c));
    for (int i = 0; i < WEIGHTS; i++)
        im_zero_grad(m->w[i]);
}

START_TEST(once_a_step)
{
    const char *isa = isas[_i / 2];
    if (!open_on(isa))
        return;
    int forms = im_host_of(&c->dev)->compute[IM_BF16] == IM_COMPUTE_BF16 ? FORMS : 0;
    net m = make();
    m.recompute = _i % 2;
    int64_t blocks = 0;
    for (int step = 0; step < 3; step++) {
        int64_t before = im_counted(c).copies;
        for (int k = 0; k < 3; k++)
            part(&m);
        ck_assert_msg(im_counted(c).copies - before == forms, "%s, step %d: %lld copies, wanted %d", isa, step,
                      (long long)(im_counted(c).copies - before), forms);
        move(&m);
        if (step == 1)
            blocks = im_counted(c).blocks;
    }
    int64_t third = im_counted(c).blocks - blocks;             /* tensors of the step, which the tape makes anew        */
    for (int k = 0; k < 3; k++)
        part(&m);
    move(&m);
    ck_assert_int_eq(im_counted(c).blocks - blocks, 2 * third);
    drop(&m);
}
END_TEST

/* The same values are written again before each part, so that nothing is taken from the one before. */
START_TEST(bits_of_fresh_copies)
{
    if (!open_on(isas[_i]))
        return;
    net kept = make(), fresh = make();
    for (int step = 0; step < 3; step++) {
        for (int k = 0; k < 2; k++) {
            part(&kept);
            for (int i = 0; i < WEIGHTS; i++)
                ck_assert(im_assign(c, fresh.w[i], kept.w[i]));
            part(&fresh);
        }
        for (int i = 0; i < WEIGHTS; i++)
            ck_assert_msg(!memcmp(im_data(kept.w[i]->grad), im_data(fresh.w[i]->grad), (size_t)im_numel(kept.w[i]) * 4),
                          "%s: step %d: the gradient of %s", isas[_i], step, kept.w[i]->name);
        move(&kept);
        move(&fresh);
    }
    drop(&kept);
    drop(&fresh);
}
END_TEST

static void by_load(im_tensor *w, const im_tensor *from) { (void)from; load(w, 9); }
static void by_assign(im_tensor *w, const im_tensor *from) { ck_assert(im_assign(c, w, from)); }
static void by_upload(im_tensor *w, const im_tensor *from) { ck_assert(im_upload(c, w, im_data(from))); }
static void by_combine(im_tensor *w, const im_tensor *from)
{
    ck_assert(im_combine(c, w, &(im_combination){ 1, { from }, { 1 }, 1, INFINITY, NULL }));
}
static void by_filling(im_tensor *w, const im_tensor *from)
{
    ck_assert(im_fill(c, w, 0.25f) && im_fill(c, (im_tensor *)(uintptr_t)from, 0.25f));
}
static void by_step(im_tensor *w, const im_tensor *from)       /* along a gradient that is w - from                    */
{
    im_scope_push(c);
    ck_assert(im_tape_begin(c));
    im_tensor *y = im_scale(c, w, 1), *dy = im_new(c, IM_F32, w->ndim, w->shape);
    float *v = im_data(dy);
    for (int64_t i = 0; i < im_numel(w); i++)
        v[i] = ((float *)im_data(w))[i] - ((float *)im_data(from))[i];
    ck_assert_msg(im_backward_from(c, y, dy), "%s", im_error(c));
    im_scope_pop(c);
    im_trained p = { .w = w };
    ck_assert(im_optimise(c, &(im_optimise_step){ .kind = IM_SGD, .params = &p, .count = 1, .scale = 1, .lr = 1 }));
    ck_assert(im_assign(c, (im_tensor *)(uintptr_t)from, w));  /* rounded                                              */
}

static void (*const writers[])(im_tensor *, const im_tensor *) = { by_load, by_assign, by_upload, by_combine, by_filling,
                                                                   by_step };
enum { WRITERS = sizeof writers / sizeof *writers };

START_TEST(written_is_stale)
{
    if (!open_on(isas[_i / WRITERS]))
        return;
    im_tensor *w[2], *x = im_new(c, IM_F32, SHAPE(3, 20));
    fill(im_data(x), 60, 3);
    im_set_compute_dtype(c, IM_BF16);
    for (int i = 0; i < 2; i++) {
        w[i] = im_param_new(c, "w", IM_F32, SHAPE(7, 20));
        ck_assert(im_param_alloc(c, w[i], (im_weight_layout){ .dtype = IM_F32 }) && im_want_grad(c, w[i]));
        load(w[i], i ? 9 : 2);
    }
    im_tensor *before = im_linear(c, x, w[0], NULL, NULL, IM_ACT_NONE);
    writers[_i % WRITERS](w[0], w[1]);
    im_tensor *after = im_linear(c, x, w[0], NULL, NULL, IM_ACT_NONE);
    im_tensor *want = im_linear(c, x, w[1], NULL, NULL, IM_ACT_NONE);
    ck_assert_msg(before && after && want, "%s", im_error(c));
    ck_assert_int_ne(memcmp(im_data(before), im_data(want), 84), 0);
    ck_assert_int_eq(memcmp(im_data(after), im_data(want), 84), 0);
    im_param_free(c, w[0]);
    im_param_free(c, w[1]);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { LOOP(once_a_step, 2 * ISAS), LOOP(bits_of_fresh_copies, ISAS),
                                 LOOP(written_is_stale, WRITERS * ISAS) };
    return suite_run("copies", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
