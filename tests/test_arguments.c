/* test_arguments.c: wrong arguments are errors and never crashes. Every op of ops.def has a row here (an op without one
 * does not compile): a call that works, in which one argument at a time is then made wrong: missing, of another dtype,
 * rank or size, strided, packed, never loaded; attributes below, above and far outside of what they may be. A call that
 * fails leaves an error that names the op; a call that works leaves none. */
#include <limits.h>
#include <math.h>
#include <stdio.h>

#include "context.h"
#include "tensor/tensor.h"
#include "want.h"

#define SHAPE(...) (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), (int64_t[]){ __VA_ARGS__ }

enum { ATTRS = 8 };

typedef struct {
    int n_in;
    struct { int ndim; int64_t shape[4]; im_dtype dtype; bool optional; } in[IM_MAX_IN];
    int attrs[ATTRS], n_attrs;
    im_tensor *(*call)(im_ctx *c, im_tensor *const in[], const int a[]);
} row;

#define IN(...) { (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), { __VA_ARGS__ }, IM_F32, false }
#define MAYBE(...) { (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), { __VA_ARGS__ }, IM_F32, true }
#define IDS(...) { (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), { __VA_ARGS__ }, IM_I32, false }
/* ROW(op, expression, attributes, inputs ...) */
#define ROW(op, expression, n_in, attributes, ...) \
    static im_tensor *call_##op(im_ctx *ctx, im_tensor *const in[], const int a[]) { (void)a; return expression; } \
    static const row row_##op = { n_in, { __VA_ARGS__ }, attributes, call_##op };
#define NO_ATTRS { 0 }, 0
#define ATTRS_ARE(...) { __VA_ARGS__ }, (int)(sizeof((int[]){ __VA_ARGS__ }) / sizeof(int))

ROW(linear, im_linear(ctx, in[0], in[1], in[2], in[3], (im_act)a[0]), 4, ATTRS_ARE(IM_ACT_SILU),
    IN(2, 3), IN(4, 3), MAYBE(4), MAYBE(2, 4))
ROW(geglu, im_linear_geglu(ctx, in[0], in[1], in[2]), 3, NO_ATTRS, IN(2, 3), IN(8, 3), MAYBE(8))
static im_tensor *conv(im_ctx *ctx, im_tensor *const in[], const int a[])
{
    im_conv_attrs at = { a[0], a[1], a[2], a[3], a[4], a[5], a[6] };
    return im_conv2d(ctx, in[0], in[1], in[2], in[3], in[4], &at);
}
ROW(conv2d, conv(ctx, in, a), 5, ATTRS_ARE(1, 1, 1, 1, 1, 4, 4),
    IN(2, 3, 2, 5), IN(4, 3, 3, 5), MAYBE(4), MAYBE(2, 4), MAYBE(2, 4, 4, 4))
ROW(groupnorm, im_groupnorm(ctx, in[0], in[1], in[2], a[0], 1e-5f, a[1]), 3, ATTRS_ARE(2, 1), IN(2, 3, 4), IN(4), IN(4))
ROW(layernorm, im_layernorm(ctx, in[0], in[1], in[2], 1e-5f), 3, NO_ATTRS, IN(2, 4), IN(4), IN(4))
static im_tensor *norm(im_ctx *ctx, im_tensor *const in[], const int a[])
{
    im_batchnorm_attrs at = { .eps = 1e-5f, .momentum = 0.1f, .training = a[0] & 1, .relu = a[1] & 1 };
    return im_batchnorm(ctx, in[0], in[1], in[2], in[5], in[3], in[4], &at);
}
ROW(batchnorm, norm(ctx, in, a), 5, ATTRS_ARE(1, 1), IN(2, 3, 4), IN(4), IN(4), IN(4), IN(4))
ROW(batchnorm_res, norm(ctx, in, a), 6, ATTRS_ARE(1, 1), IN(2, 3, 4), IN(4), IN(4), IN(4), IN(4), MAYBE(2, 3, 4))
ROW(maxpool, im_maxpool(ctx, in[0], a[0], a[1], a[2]), 1, ATTRS_ARE(2, 2, 1), IN(2, 5, 5, 3))
ROW(avgpool, im_avgpool(ctx, in[0]), 1, NO_ATTRS, IN(2, 5, 5, 3))
ROW(attention, im_attention(ctx, in[0], in[1], in[2], a[0], a[1] & 1), 3, ATTRS_ARE(2, 1), IN(2, 3, 4), IN(2, 5, 4),
    IN(2, 5, 4))
ROW(activate, im_activate(ctx, in[0], (im_act)a[0]), 1, ATTRS_ARE(IM_ACT_GELU), IN(2, 3))
ROW(add, im_add(ctx, in[0], in[1]), 2, NO_ATTRS, IN(2, 3), IN(3))
ROW(scale, im_scale(ctx, in[0], (float)a[0]), 1, ATTRS_ARE(2), IN(2, 3))
ROW(concat, im_concat(ctx, in[0], in[1]), 2, NO_ATTRS, IN(2, 3), IN(2, 4))
ROW(stack, im_stack(ctx, in[0], in[1]), 2, NO_ATTRS, IN(2, 3), IN(1, 3))
ROW(cast, im_cast(ctx, in[0], (im_dtype)a[0]), 1, ATTRS_ARE(IM_BF16), IN(2, 3))
ROW(copy, im_contiguous_copy(ctx, in[0]), 1, NO_ATTRS, IN(2, 3))
ROW(embedding, im_embedding(ctx, in[0], in[1]), 2, NO_ATTRS, IN(5, 3), IDS(2, 2))
ROW(timestep, im_timestep_embedding(ctx, in[0], a[0], a[1] & 1, (float)a[2]), 1, ATTRS_ARE(6, 1, 1), IN(2))
ROW(cross_entropy, im_cross_entropy(ctx, in[0], in[1]), 2, NO_ATTRS, IN(2, 3), IDS(2))
ROW(mse, im_mse(ctx, in[0], in[1], in[2]), 3, NO_ATTRS, IN(2, 3), IN(2, 3), MAYBE(2))
ROW(l1, im_l1(ctx, in[0], in[1], in[2]), 3, NO_ATTRS, IN(2, 3), IN(2, 3), MAYBE(2))
ROW(normalize, im_normalize(ctx, in[0], (float)a[0]), 1, ATTRS_ARE(1), IN(2, 3))
ROW(gaussian_sample, im_gaussian_sample(ctx, in[0], in[1]), 2, NO_ATTRS, IN(2, 6), IN(2, 3))
ROW(kl, im_kl(ctx, in[0]), 1, NO_ATTRS, IN(2, 6))

ROW(token_match, im_token_match(ctx, in[0], a[0], a[1], a[2]), 1, ATTRS_ARE(2, 3, 2), IN(2, 6, 1))
ROW(token_merge, im_token_merge(ctx, in[0], in[1], a[0]), 2, ATTRS_ARE(2), IN(2, 3, 4), IN(2, 3))
ROW(token_spread, im_token_spread(ctx, in[0], in[1]), 2, NO_ATTRS, IN(2, 3, 4), IN(2, 5))

static const struct { const char *name; const row *r; } rows[] = {
#define IM_OP(name, formula) { #name, &row_##name },
#include "tensor/ops.def"
#undef IM_OP
};

/* ---------------------------------------------------------------- one wrong argument at a time */

static im_tensor *zeros(im_ctx *ctx, im_dtype t, int ndim, const int64_t shape[])
{
    im_tensor *x = im_new(ctx, t, ndim, shape);
    ck_assert_msg(x != NULL, "%s", im_error(ctx));
    memset(im_data(x), 0, (size_t)im_numel(x) * im_dtype_size(t));
    return x;
}

static void good(im_ctx *ctx, const row *r, im_tensor *in[IM_MAX_IN])
{
    for (int i = 0; i < IM_MAX_IN; i++)
        in[i] = i < r->n_in ? zeros(ctx, r->in[i].dtype, r->in[i].ndim, r->in[i].shape) : NULL;
}

/* The call, on a tape and without; what has no result has an error of its own, and only that. */
static void check(im_ctx *ctx, const char *op, const row *r, im_tensor *const in[], const int a[], const char *what,
                  int which)
{
    for (int taped = 0; taped < 2; taped++) {
        if (taped)
            ck_assert(im_tape_begin(ctx));
        im_tensor *y = r->call(ctx, in, a);
        ck_assert_msg((y != NULL) == im_ok(ctx), "%s: %s %d: %s", op, what, which, y ? im_error(ctx) : "no error");
        bool said = strstr(im_error(ctx), op) || !strncmp(op, "batchnorm", 9);             /* one call, two ops        */
        ck_assert_msg(y || said || strstr(im_error(ctx), "tensor of shape") || strstr(im_error(ctx), "out of memory"),
                      "%s: %s %d: %s", op, what, which, im_error(ctx));
        if (taped && y && y->wants_grad) {
            im_tensor *dy = zeros(ctx, (im_dtype)y->dtype, y->ndim, y->shape);
            ck_assert_msg(im_backward_from(ctx, y, dy) || strstr(im_error(ctx), "has no gradient"), "%s: %s %d: %s", op,
                          what, which, im_error(ctx));
        }
        im_clear_error(ctx);
        im_tape_end(ctx);
    }
}

/* What input i becomes: one of these, each as wrong as the next. */
static im_tensor *spoilt(im_ctx *ctx, im_tensor *t, int how)
{
    static const int64_t ones[IM_MAX_DIMS] = { 1, 1, 1, 1, 1 }, twos[IM_MAX_DIMS] = { 2, 2, 2, 2, 2 };
    int64_t longer[IM_MAX_DIMS];
    im_tensor *x;
    if (how < 4)
        return zeros(ctx, (im_dtype)how, t->ndim, t->shape);
    if (how < 10)
        return zeros(ctx, (im_dtype)t->dtype, how - 4, ones);
    if (how < 16)
        return zeros(ctx, (im_dtype)t->dtype, how - 10, twos);
    memcpy(longer, t->shape, sizeof longer);
    for (int axis = 0; axis < t->ndim; axis++)
        longer[axis] += how != 18 || axis == t->ndim - 1;
    x = zeros(ctx, (im_dtype)t->dtype, t->ndim, longer);
    if (how == 16)                                             /* a size more along every axis                         */
        return x;
    for (int axis = 0; axis < t->ndim; axis++)                 /* strided, of the right sizes                          */
        x = im_slice(ctx, x, axis, 0, t->shape[axis]);
    if (how == 19)
        x->packed = 1;
    if (how == 20) {                                           /* as a parameter that nobody loaded                    */
        im_storage_release(x->storage);
        x->storage = NULL;
    }
    return x;
}
enum { HOWS = 21 };

static void inputs(im_ctx *ctx, const char *op, const row *r)
{
    for (int i = 0; i < r->n_in; i++)
        for (int how = -1; how < HOWS; how++) {
            for (int grads = 0; grads < 2; grads++) {
                im_tensor *in[IM_MAX_IN];
                im_scope_push(ctx);
                good(ctx, r, in);
                in[i] = how < 0 ? NULL : spoilt(ctx, in[i], how);
                for (int k = 0; grads && k < r->n_in; k++)
                    if (im_contiguous(in[k]) && in[k]->dtype == IM_F32 && in[k]->storage && !in[k]->packed)
                        in[k]->wants_grad = 1;
                check(ctx, op, r, in, r->attrs, how < 0 ? "without input" : "another input", how < 0 ? i : 100 * i + how);
                im_scope_pop(ctx);
            }
        }
}

static void attributes(im_ctx *ctx, const char *op, const row *r)
{
    static const int values[] = { -1, 0, 1, 2, 3, 5, 7, 100, 65536, 65537, 1 << 30, INT_MAX, INT_MIN };
    im_tensor *in[IM_MAX_IN];
    good(ctx, r, in);
    for (int k = 0; k < r->n_attrs; k++)
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            int a[ATTRS];
            memcpy(a, r->attrs, sizeof a);
            a[k] = values[v];
            if (!strcmp(op, "conv2d") && values[v] == 65536 && k > 0)
                continue;                                      /* allowed, and gigabytes                               */
            im_scope_push(ctx);
            check(ctx, op, r, in, a, "an attribute of", values[v]);
            im_scope_pop(ctx);
        }
}

START_TEST(wrong_arguments_are_errors)
{
    const row *r = rows[_i % SUITE_COUNT(rows)].r;
    const char *op = rows[_i % SUITE_COUNT(rows)].name;
    im_ctx *ctx = im_ctx_new(_i < SUITE_COUNT(rows) ? "ref" : "cpu", 2);
    im_tensor *in[IM_MAX_IN];
    im_scope_push(ctx);
    good(ctx, r, in);
    ck_assert_msg(r->call(ctx, in, r->attrs) != NULL, "%s: %s", op, im_error(ctx));        /* the call itself works    */
    for (int i = 0; i < r->n_in; i++) {
        im_tensor *was = in[i];
        in[i] = NULL;
        ck_assert_msg((r->call(ctx, in, r->attrs) != NULL) == r->in[i].optional, "%s: input %d", op, i);
        im_clear_error(ctx);
        in[i] = was;
    }
    inputs(ctx, op, r);
    attributes(ctx, op, r);
    ck_assert_ptr_null(r->call(NULL, in, r->attrs));
    im_scope_pop(ctx);
    im_ctx_free(ctx);
}
END_TEST

/* ---------------------------------------------------------------- what is not an op of ops.def */

START_TEST(a_context_without_a_device_stays_failed)
{
    static const char *const names[] = { "tpu", "cuda", "", NULL };
    for (int i = 0; i < 4; i++) {
        im_ctx *none = im_ctx_new(names[i], 1);
        ck_assert(!im_ok(none));
        im_clear_error(none);
        float one = 1;
        im_tensor *x = im_from(none, IM_F32, SHAPE(1), &one);
        ck_assert_ptr_null(im_scale(none, x, 2));
        ck_assert_ptr_null(im_conv2d(none, x, x, x, x, x, NULL));
        ck_assert_ptr_null(im_param_new(none, "w", IM_F32, SHAPE(1)));
        ck_assert(!im_tape_begin(none));
        ck_assert(!im_ok(none));
        ck_assert_msg(strstr(im_error(none), "device"), "%s", im_error(none));
        im_ctx_free(none);
    }
}
END_TEST

START_TEST(reshapes_count_without_overflow)
{
    im_tensor *x = zeros(c, IM_F32, SHAPE(4, 4));
    static const int64_t shapes[][4] = {
        { -2, -8 }, { -1, -16 }, { -4, 4 }, { -1, -1 }, { 16, 0 }, { 0, -1 }, { 3, -1 }, { -1, 32 },
        { (int64_t)1 << 32, (int64_t)1 << 32 }, { INT64_MAX, 2 }, { INT64_MIN, INT64_MIN }, { INT64_MIN, -1 },
        { ((int64_t)1 << 62) + 4, 4 },                         /* 16 modulo 2^64                                       */
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        ck_assert_msg(!im_reshape(c, x, 2, shapes[i]), "(%lld, %lld)", (long long)shapes[i][0], (long long)shapes[i][1]);
        WANT_ERROR("reshape", "(4, 4)", "elements differ");
    }
    im_tensor *y = im_reshape(c, x, SHAPE(2, -1, 4));
    ck_assert(y && y->ndim == 3 && y->shape[1] == 2);
    im_reshape(c, x, 2, NULL);
    WANT_ERROR("reshape");
    im_reshape(c, x, -1, shapes[0]);
    WANT_ERROR("reshape");
    im_reshape(c, x, 6, shapes[0]);
    WANT_ERROR("reshape");
    im_new(c, IM_F32, SHAPE(((int64_t)1 << 62) + 4, 4));
    WANT_ERROR("tensor of shape", "too many bytes");
    im_new(c, IM_F32, SHAPE((int64_t)1 << 31, (int64_t)1 << 30));                          /* fits but for the 4 bytes */
    WANT_ERROR("tensor of shape", "too many bytes");
    im_slice(c, x, INT_MIN, 0, 1);
    WANT_ERROR("slice");
    im_slice(c, x, 0, INT64_MIN, INT64_MAX);
    WANT_ERROR("slice");
}
END_TEST

START_TEST(tensors_of_nothing)
{
    im_new(c, (im_dtype)9, SHAPE(1));
    WANT_ERROR("dtype 9");
    im_new(c, IM_F32, 2, NULL);
    WANT_ERROR("no sizes");
    im_new(c, IM_F32, -3, (int64_t[]){ 1 });
    WANT_ERROR("-3 axes");
    im_from(c, IM_F32, SHAPE(2), NULL);
    WANT_ERROR("no data");
    ck_assert(im_numel(NULL) == 0 && !im_contiguous(NULL) && !im_data(NULL) && !im_reshape(c, NULL, SHAPE(1))
              && !im_slice(c, NULL, 0, 0, 1) && !im_keep(c, NULL));
    char text[8];
    im_shape_text(NULL, text, sizeof text);
    ck_assert_str_eq(text, "()");
    ck_assert(im_dtype_size((im_dtype)-1) == 0 && !strcmp(im_dtype_name((im_dtype)77), "none"));
    im_dtype t;
    ck_assert(!im_dtype_parse(NULL, &t));
    ck_assert(im_ok(c));
}
END_TEST

START_TEST(parameters)
{
    im_param_new(c, NULL, IM_F32, SHAPE(1));
    WANT_ERROR("no name");
    im_param_new(c, "w", IM_F32, 2, NULL);
    WANT_ERROR("w", "no shape");
    im_param_new(c, "w", IM_F32, 0, (int64_t[]){ 1 });
    WANT_ERROR("w", "0 axes");
    im_param_new(c, "w", IM_F32, 300, (int64_t[]){ 1, 1, 1, 1, 1 });
    WANT_ERROR("w", "300 axes");
    im_tensor *w = im_param_new(c, "w", IM_F32, SHAPE(6, 3));
    float data[18] = { 0 };
    ck_assert(!im_param_load(c, w, data, IM_F32, false));
    WANT_ERROR("w", "im_param_alloc");
    im_tensor *odd = im_param_new(c, "odd", IM_F32, SHAPE(5, 3));
    ck_assert(!im_param_alloc(c, odd, (im_weight_layout){ IM_F32, .packed = true, .geglu = true }));
    WANT_ERROR("odd", "5 rows of 3", "cannot be packed for GEGLU");
    im_param_free(c, odd);
    ck_assert(!im_param_alloc(c, w, (im_weight_layout){ IM_I32, .packed = true }));
    WANT_ERROR("w", "i32");
    ck_assert(!im_param_alloc(c, w, (im_weight_layout){ .dtype = (im_dtype)44 }));
    WANT_ERROR("dtype 44");
    ck_assert(im_param_alloc(c, w, (im_weight_layout){ IM_F32, .packed = true, .geglu = true }));
    ck_assert(!im_param_load(c, w, NULL, IM_F32, false));
    WANT_ERROR("w", "data");
    ck_assert(!im_param_load(c, w, data, (im_dtype)5, false));
    WANT_ERROR("w", "dtype");
    ck_assert(im_param_load(c, w, data, IM_F32, false));
    ck_assert(!im_param_alloc(c, NULL, (im_weight_layout){ .dtype = IM_F32 }));
    ck_assert(!im_param_load(c, NULL, data, IM_F32, false));
    im_param_free(c, w);
    im_param_free(c, NULL);
    ck_assert(im_ok(c));
}
END_TEST

static im_tensor *records_again(im_ctx *ctx, void *arg, im_tensor *const in[], int n_in)
{
    im_plan_record(ctx, arg, NULL, in, n_in);
    return im_scale(ctx, in[0], 2);
}

static im_tensor *twice(im_ctx *ctx, void *arg, im_tensor *const in[], int n_in)
{
    (void)arg;
    (void)n_in;
    return im_scale(ctx, in[0], 2);
}

START_TEST(plans)
{
    im_tensor *x = zeros(c, IM_F32, SHAPE(3)), *none = NULL;
    im_plan_record(c, NULL, NULL, &x, 1);
    WANT_ERROR("plan", "function");
    im_plan_record(c, twice, NULL, NULL, 1);
    WANT_ERROR("plan", "missing");
    im_plan_record(c, twice, NULL, &none, 1);
    WANT_ERROR("plan", "missing");
    im_plan_record(c, records_again, (void *)twice, &x, 1);
    WANT_ERROR("plan", "already");
    ck_assert_ptr_null(im_plan_run(c, NULL));
    ck_assert_int_eq(im_plan_describe(NULL).nodes, 0);
    im_plan_free(c, NULL);
    ck_assert(im_ok(c));
}
END_TEST

START_TEST(gradients_and_optimisers)
{
    ck_assert(!im_want_grad(c, NULL));
    im_zero_grad(NULL);
    ck_assert(!im_backward(c, NULL));
    WANT_ERROR("backward");
    ck_assert(im_tape_begin(c));
    ck_assert(!im_backward(c, NULL));
    WANT_ERROR("backward", "no result");
    im_tensor *x = zeros(c, IM_F32, SHAPE(3));
    im_want_grad(c, x);
    ck_assert(im_tape_begin(c));
    ck_assert(!im_backward_from(c, im_scale(c, x, 2), NULL));
    WANT_ERROR("backward", "no gradient");
    im_tape_end(c);
    double sum;
    int bad;
    im_trained p = { .w = NULL };
    ck_assert(!im_optimise(c, NULL));
    WANT_ERROR("optimise");
    ck_assert(!im_optimise(c, &(im_optimise_step){ .kind = (im_optimiser_kind)7, .params = &p, .count = 1 }));
    WANT_ERROR("optimise");
    ck_assert(!im_optimise(c, &(im_optimise_step){ .kind = IM_SGD, .params = &p, .count = 1 }));
    WANT_ERROR("optimise", "parameter");
    ck_assert(!im_optimise(c, &(im_optimise_step){ .kind = IM_SGD, .params = NULL, .count = 1 }));
    WANT_ERROR("optimise", "no list");
    ck_assert(!im_optimise(c, &(im_optimise_step){ .kind = IM_SGD, .params = &p, .count = -1 }));
    WANT_ERROR("optimise", "-1");
    ck_assert(!im_sumsq(c, &p, 1, NULL, &bad) && !im_ok(c));
    im_clear_error(c);
    ck_assert(!im_sumsq(c, NULL, 3, &sum, &bad) && !im_ok(c));
    im_clear_error(c);
    ck_assert(im_sumsq(c, NULL, 0, &sum, &bad) && sum == 0);
}
END_TEST

/* Stopped, and then not: another run on the same context works. */
START_TEST(cancelling_can_be_taken_back)
{
    im_tensor *x = zeros(c, IM_F32, SHAPE(3));
    im_cancel(c);
    ck_assert_ptr_null(im_scale(c, x, 2));
    WANT_ERROR("stopped");
    ck_assert(im_cancelled(c));
    ck_assert_ptr_null(im_scale(c, x, 2));                     /* im_clear_error alone does not take it back           */
    WANT_ERROR("stopped");
    im_uncancel(c);
    ck_assert(!im_cancelled(c));
    ck_assert_ptr_nonnull(im_scale(c, x, 2));
    ck_assert(im_ok(c));
}
END_TEST

START_TEST(the_interface_by_name)
{
    ck_assert_str_eq(im_version(), IM_VERSION);
    ck_assert_uint_eq(im_struct_size("im_tensor"), sizeof(im_tensor));
    ck_assert_uint_eq(im_struct_size("im_sd_args"), sizeof(im_sd_args));
    ck_assert_uint_eq(im_struct_size("im_comparison"), sizeof(im_comparison));
    ck_assert(!im_struct_size("im_ctx") && !im_struct_size("") && !im_struct_size(NULL));
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        LOOP(wrong_arguments_are_errors, 2 * SUITE_COUNT(rows)), ONCE(a_context_without_a_device_stays_failed),
        ONCE(reshapes_count_without_overflow), ONCE(tensors_of_nothing), ONCE(parameters), ONCE(plans),
        ONCE(gradients_and_optimisers), ONCE(cancelling_can_be_taken_back), ONCE(the_interface_by_name),
    };
    return suite_run("arguments", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
