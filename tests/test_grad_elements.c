/* test_grad_elements.c: gradients of elementwise operations, of movement and of losses: torch's numbers on ref and on
 * every instruction set; a factor on the loss reaches the gradient; one tensor twice; samples with weights; what fails,
 * by name. */
#include "gradients.h"
#include "suite.h"
#include "tensor/tensor.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

/* ---------------------------------------------------------------- torch */

static im_tensor *activate(im_ctx *c, im_tensor *const in[], int act)
{
    return im_activate(c, in[0], (im_act)act);
}

static im_tensor *add(im_ctx *c, im_tensor *const in[], int arg)
{
    (void)arg;
    return im_add(c, in[0], in[1]);
}

static im_tensor *scale(im_ctx *c, im_tensor *const in[], int arg)
{
    (void)arg;
    return im_scale(c, in[0], 0.7f);
}

static im_tensor *concat(im_ctx *c, im_tensor *const in[], int arg)
{
    (void)arg;
    return im_concat(c, in[0], in[1]);
}

static im_tensor *embedding(im_ctx *c, im_tensor *const in[], int arg)
{
    (void)arg;
    return im_embedding(c, in[0], in[1]);
}

static im_tensor *normalize(im_ctx *c, im_tensor *const in[], int arg)
{
    (void)arg;
    return im_normalize(c, in[0], 1e-12f);
}

/* The classifier of cosines: unit rows of features and of weights, over a temperature of 0.1. */
static im_tensor *cosine_logits(im_ctx *c, im_tensor *const in[], int arg)
{
    (void)arg;
    im_tensor *x = im_normalize(c, in[0], 1e-12f), *w = im_normalize(c, in[1], 1e-12f);
    return im_scale(c, im_linear(c, x, w, NULL, NULL, IM_ACT_NONE), 10);
}

static im_tensor *cross_entropy(im_ctx *c, im_tensor *const in[], int arg)
{
    (void)arg;
    return im_cross_entropy(c, in[0], in[1]);
}

static im_tensor *mse(im_ctx *c, im_tensor *const in[], int arg)
{
    (void)arg;
    return im_mse(c, in[0], in[1], NULL);
}

static im_tensor *l1(im_ctx *c, im_tensor *const in[], int arg)
{
    (void)arg;
    return im_l1(c, in[0], in[1], NULL);
}

/* Mean |d - d one further| along one axis of d (B, H, W, C). */
static im_tensor *slope(im_ctx *c, im_tensor *d, int axis)
{
    int64_t n = d->shape[axis];
    im_tensor *near = im_contiguous_copy(c, im_slice(c, d, axis, 0, n - 1));
    return im_l1(c, im_contiguous_copy(c, im_slice(c, d, axis, 1, n)), near, NULL);
}

/* The autoencoder's loss of edges: overlapping views, copied. */
static im_tensor *gradient_l1(im_ctx *c, im_tensor *const in[], int arg)
{
    (void)arg;
    im_tensor *d = im_add(c, in[0], im_scale(c, in[1], -1));
    return im_add(c, slope(c, d, 2), slope(c, d, 1));
}

static im_tensor *kl(im_ctx *c, im_tensor *const in[], int arg)
{
    (void)arg;
    return im_kl(c, in[0]);
}

static im_tensor *sample(im_ctx *c, im_tensor *const in[], int arg)
{
    (void)arg;
    return im_gaussian_sample(c, in[0], in[1]);
}

/* Each value is a few roundings (6e-8) away from f64. Activations: their polynomials are within 2 eps, gelu's tail cancels,
 * and so do the two terms of its tanh form's slope (worst on portable, whose multiply-adds round twice). */
static const gradient_case cases[] = {
    { "activate.none", { "x" }, 1, activate, IM_ACT_NONE, 0 },
    { "activate.silu", { "x" }, 1, activate, IM_ACT_SILU, 3e-7 },
    { "activate.gelu", { "x" }, 1, activate, IM_ACT_GELU, 3e-7 },
    { "activate.gelu_tanh", { "x" }, 1, activate, IM_ACT_GELU_TANH, 5e-7 },
    { "activate.quick_gelu", { "x" }, 1, activate, IM_ACT_QUICK_GELU, 3e-7 },
    { "activate.relu", { "x" }, 1, activate, IM_ACT_RELU, 0 },
    { "activate.tanh", { "x" }, 1, activate, IM_ACT_TANH, 3e-7 },
    { "add", { "a", "b" }, 3, add, 0, 1e-7 },
    { "add_last", { "a", "b" }, 3, add, 0, 2e-7 },
    { "add_last_two", { "a", "b" }, 3, add, 0, 2e-7 },
    { "scale", { "x" }, 1, scale, 0, 1e-7 },
    { "concat", { "a", "b" }, 3, concat, 0, 0 },
    { "embedding", { "table", "ids" }, 1, embedding, 0, 1e-7 },
    { "normalize", { "x" }, 1, normalize, 0, 2e-7 },
    { "normalize_zero", { "x" }, 1, normalize, 0, 1e-7 },
    { "cosine_logits", { "x", "w" }, 3, cosine_logits, 0, 4e-7 },
    { "cross_entropy", { "x", "target" }, 1, cross_entropy, 0, 2e-7 },
    { "cross_entropy_sharp", { "x", "target" }, 1, cross_entropy, 0, 2e-7 },
    { "mse", { "x", "target" }, 1, mse, 0, 1e-7 },
    { "l1", { "x", "target" }, 1, l1, 0, 1e-7 },
    { "gradient_l1", { "x", "target" }, 1, gradient_l1, 0, 2e-7 },
    { "kl", { "moments" }, 1, kl, 0, 3e-7 },
    { "kl_clamp", { "moments" }, 1, kl, 0, 3e-7 },
    { "sample", { "moments", "eps" }, 1, sample, 0, 2e-7 },
    { "sample_clamp", { "moments", "eps" }, 1, sample, 0, 2e-7 },
};

START_TEST(torch_has_the_same_gradients)
{
    gradient_everywhere(&cases[_i]);
}
END_TEST

/* ---------------------------------------------------------------- by hand */

static im_ctx *c;

static void open_device(int i)
{
    c = gradient_ctx(0, 2);
    if (i) {
        im_ctx_free(c);
        c = im_ctx_new("cpu", 2);
    }
    ck_assert_msg(c && im_ok(c), "no device");
}

static im_tensor *trained(int n, const float *values)
{
    im_tensor *t = im_from(c, IM_F32, 1, (int64_t[]){ n }, values);
    im_want_grad(c, t);
    return t;
}

static void want(const im_tensor *t, int n, const float *values)
{
    ck_assert_msg(t && im_numel(t) == n, "%s", im_error(c));
    const float *x = im_data(t);
    for (int i = 0; i < n; i++)
        ck_assert_msg(fabsf(x[i] - values[i]) <= 1e-6f * fabsf(values[i]), "element %d is %.9g, not %.9g", i,
                      (double)x[i], (double)values[i]);
}

/* 3 mean w (x - t)^2 with w = (2, -1, 0, 0.5): 3/4 2 w (x - t), and the opposite for t */
START_TEST(a_factor_and_weights_reach_the_gradient)
{
    open_device(_i);
    im_tensor *x = trained(4, (float[]){ 1, 2, 3, 4 }), *t = trained(4, (float[]){ 0, 4, 7, 4.5f });
    im_tensor *w = im_from(c, IM_F32, 1, (int64_t[]){ 4 }, (float[]){ 2, -1, 0, 0.5f });
    im_tape_begin(c);
    im_tensor *loss = im_scale(c, im_mse(c, x, t, w), 3);
    want(loss, 1, (float[]){ 0.75f * (2 - 4 + 0.125f) });
    ck_assert(im_backward(c, loss));
    want(x->grad, 4, (float[]){ 3, 3, 0, -0.375f });
    want(t->grad, 4, (float[]){ -3, -3, 0, 0.375f });
    im_zero_grad(x);
    im_tape_begin(c);
    ck_assert(im_backward(c, im_l1(c, x, t, w)));
    want(x->grad, 4, (float[]){ 0.5f, 0.25f, 0, -0.125f });
    want(t->grad, 4, (float[]){ -3.5f, -3.25f, 0, 0.5f });     /* added                                               */
    im_ctx_free(c);
}
END_TEST

START_TEST(one_tensor_twice)
{
    const float v[] = { 1, -2, 3 }, dy[] = { 5, 6, 7 };
    open_device(_i);
    im_tensor *x = trained(3, v), *d = im_from(c, IM_F32, 1, (int64_t[]){ 3 }, dy);
    im_tape_begin(c);
    ck_assert(im_backward_from(c, im_add(c, x, x), d));
    want(x->grad, 3, (float[]){ 10, 12, 14 });
    im_zero_grad(x);
    im_tape_begin(c);
    ck_assert(im_backward(c, im_mse(c, x, x, NULL)));
    want(x->grad, 3, (float[]){ 0, 0, 0 });
    im_zero_grad(x);
    im_tape_begin(c);
    ck_assert(im_backward_from(c, im_add(c, im_slice(c, im_stack(c, x, x), 0, 1, 4), x), d));
    want(x->grad, 3, (float[]){ 5 + 7, 6 + 5, 7 + 6 });        /* (x2 x3 x1) + x                                      */
    im_ctx_free(c);
}
END_TEST

/* Rows of the embedding that no id names have no gradient, but zeros; a second pass adds. */
START_TEST(embedding_adds_up)
{
    open_device(_i);
    im_tensor *table = im_from(c, IM_F32, 2, (int64_t[]){ 3, 2 }, (float[]){ 1, 2, 3, 4, 5, 6 });
    im_tensor *ids = im_from(c, IM_I32, 1, (int64_t[]){ 3 }, (int32_t[]){ 2, 0, 2 });
    im_tensor *dy = im_from(c, IM_F32, 2, (int64_t[]){ 3, 2 }, (float[]){ 1, 10, 100, 1000, 2, 20 });
    im_want_grad(c, table);
    for (int k = 1; k <= 2; k++) {
        im_tape_begin(c);
        ck_assert(im_backward_from(c, im_embedding(c, table, ids), dy));
        want(table->grad, 6, (float[]){ 100.0f * k, 1000.0f * k, 0, 0, 3.0f * k, 30.0f * k });
    }
    im_ctx_free(c);
}
END_TEST

static void want_error(const char *a, const char *b)
{
    ck_assert_msg(!im_ok(c) && strstr(im_error(c), a) && strstr(im_error(c), b), "wanted %s and %s, found: %s", a, b,
                  im_error(c));
    im_clear_error(c);
}

START_TEST(failures_have_names)
{
    open_device(1);
    float v[12] = { 0 };
    im_tensor *x = im_from(c, IM_F32, 2, (int64_t[]){ 3, 4 }, v), *w = im_from(c, IM_F32, 1, (int64_t[]){ 3 }, v);
    im_tensor *labels = im_from(c, IM_I32, 1, (int64_t[]){ 3 }, (int32_t[]){ 0, 3, 4 });
    ck_assert_ptr_null(im_cross_entropy(c, x, labels));
    want_error("label 2 is 4", "0 to 3");
    ((int32_t *)im_data(labels))[2] = -1;
    ck_assert_ptr_null(im_cross_entropy(c, x, labels));
    want_error("label 2 is -1", "0 to 3");
    ck_assert_ptr_null(im_cross_entropy(c, x, w));
    want_error("cross_entropy", "i32");
    ck_assert_ptr_null(im_mse(c, x, w, NULL));
    want_error("mse", "one shape");
    ck_assert_ptr_null(im_kl(c, w));
    want_error("kl", "2C");
    ck_assert_ptr_null(im_stack(c, x, w));
    want_error("stack", "first axis");
    im_want_grad(c, x);
    im_want_grad(c, w);
    im_tape_begin(c);
    ck_assert(!im_backward(c, im_mse(c, x, x, w)));
    want_error("mse has no gradient", "weights");
    im_ctx_free(c);
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        LOOP(torch_has_the_same_gradients, COUNT(cases)), LOOP(a_factor_and_weights_reach_the_gradient, 2),
        LOOP(one_tensor_twice, 2), LOOP(embedding_adds_up, 2), ONCE(failures_have_names),
    };
    return suite_run("grad_elements", NULL, NULL, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
