/* test_tape.c: memory and gradients where tensors are used in unusual ways: blocks that come back to the pool out of order,
 * bf16 tensors that are read twice, views that go through im_recompute, results of im_recompute that are views. Gradients
 * are those of the same program without im_recompute, bit by bit. Overflows show under AddressSanitizer, which `make check`
 * runs this program with; most checks fail without it as well. */
#include <math.h>

#include "context.h"
#include "tensor/tensor.h"
#include "want.h"

#define SHAPE(...) (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), (int64_t[]){ __VA_ARGS__ }

enum { B = 2, T = 5, C = 8 };

static im_tensor *filled(int salt, int ndim, const int64_t shape[])
{
    im_tensor *x = im_new(c, IM_F32, ndim, shape);
    for (int64_t i = 0; x && i < im_numel(x); i++)
        ((float *)im_data(x))[i] = (float)((i * 37 + salt * 11) % 64 - 32) / 16;           /* exact in bf16            */
    return x;
}

static im_tensor *wanted(int salt, int ndim, const int64_t shape[])
{
    im_tensor *x = filled(salt, ndim, shape);
    ck_assert(im_want_grad(c, x));
    return x;
}

/* ---------------------------------------------------------------- the pool */

/* Every second block comes back: in a segment of 256 MiB that makes 128 free ranges, none of which touch. */
START_TEST(blocks_come_back_in_any_order)
{
    enum { BLOCKS = 460 };
    const int64_t mib = 1 << 18;
    im_tensor *kept[BLOCKS / 2];
    ck_assert(im_tape_begin(c));
    im_tape_end(c);
    im_scope_push(c);
    im_scope_push(c);
    for (int i = 0; i < BLOCKS; i++) {
        im_tensor *t = im_new(c, IM_F32, 1, &mib);
        ck_assert_msg(t != NULL, "%s", im_error(c));
        if (i % 2) {
            kept[i / 2] = im_keep(c, t);
            memset(im_data(t), i, (size_t)mib);
        }
    }
    im_scope_pop(c);
    for (int i = 0; i < BLOCKS / 2; i++) {                     /* into the holes                                       */
        im_tensor *t = im_new(c, IM_F32, 1, &mib);
        ck_assert_msg(t != NULL, "%s", im_error(c));
        memset(im_data(t), 0xff, (size_t)mib * 4);
    }
    for (int i = 0; i < BLOCKS / 2; i++)
        ck_assert_int_eq(((unsigned char *)im_data(kept[i]))[mib - 1], (unsigned char)(2 * i + 1));
    im_scope_pop(c);
}
END_TEST

/* ---------------------------------------------------------------- gradients in bf16 */

/* y = sum of x over two copies of its bf16 form: each adds 1/n to dx. On every device; views as well. */
static void copied_twice(const char *device, const char *isa, bool view)
{
    if (isa)
        setenv("IMAGO_ISA", isa, 1);
    im_ctx *own = c;
    c = im_ctx_new(device, 2);
    unsetenv("IMAGO_ISA");
    ck_assert_msg(im_ok(c), "%s", im_error(c));
    im_tensor *x = wanted(1, SHAPE(3, 70));
    ck_assert(im_tape_begin(c));
    im_tensor *h = im_cast(c, x, IM_BF16);
    im_tensor *part = view ? im_slice(c, h, 1, 3, 40) : h;
    im_tensor *a = im_cast(c, im_contiguous_copy(c, part), IM_F32), *b = im_cast(c, im_contiguous_copy(c, part), IM_F32);
    im_tensor *y = im_add(c, a, im_scale(c, b, 2));
    im_tensor *dy = filled(2, y->ndim, y->shape);
    ck_assert_msg(im_backward_from(c, y, dy), "%s", im_error(c));
    for (int i = 0; i < 3 * 70; i++) {
        int col = i % 70, width = view ? 37 : 70;
        float want = view && (col < 3 || col >= 40) ? 0 : 3 * ((float *)im_data(dy))[i / 70 * width + col - (view ? 3 : 0)];
        ck_assert_msg(((float *)im_data(x->grad))[i] == want, "%s: [%d] is %g, wanted %g", im_device_isa(c), i,
                      (double)((float *)im_data(x->grad))[i], (double)want);
    }
    im_ctx_free(c);
    c = own;
}

START_TEST(a_bf16_tensor_is_copied_twice)
{
    for (int view = 0; view < 2; view++) {
        copied_twice("ref", NULL, view);
        copied_twice("cpu", "portable", view);
        copied_twice("cpu", NULL, view);
    }
}
END_TEST

/* A weight that was cast to bf16: its gradient would be written in f32 over memory of half the size. */
START_TEST(gradients_that_only_f32_can_hold_are_refused)
{
    im_tensor *w = wanted(1, SHAPE(C, C)), *x = filled(2, SHAPE(T, C)), *ids = im_new(c, IM_I32, SHAPE(T));
    im_tensor *filter = wanted(1, SHAPE(C, 1, 1, C)), *picture = filled(2, SHAPE(1, 3, 3, C));
    memset(im_data(ids), 0, T * sizeof(int32_t));
    ck_assert(im_tape_begin(c));
    ck_assert_ptr_null(im_linear(c, x, im_cast(c, w, IM_BF16), NULL, NULL, IM_ACT_NONE));
    WANT_ERROR("linear", "input 1", "f32", "gradient");
    im_conv_attrs plain = { .stride = 1 };
    ck_assert_ptr_null(im_conv2d(c, picture, im_cast(c, filter, IM_BF16), NULL, NULL, NULL, &plain));
    WANT_ERROR("conv2d", "input 1", "f32", "gradient");
    ck_assert_ptr_null(im_embedding(c, im_cast(c, w, IM_BF16), ids));
    WANT_ERROR("embedding", "input 0", "f32", "gradient");
    im_tape_end(c);
    ck_assert_ptr_nonnull(im_linear(c, x, im_cast(c, w, IM_BF16), NULL, NULL, IM_ACT_NONE));       /* without a tape   */
}
END_TEST

/* ---------------------------------------------------------------- views that overlap */

enum { TOKENS = 150 };

/* The gradient of x, whose parts go into one operation: as views of x, or as copies, whose gradients nobody shares. */
static void overlapping(int kind, bool copies, int threads, float *dx)
{
    im_ctx *own = c;
    c = im_ctx_new("cpu", threads);
    im_tensor *x = wanted(3, SHAPE(6, TOKENS, 24)), *part[3];
    ck_assert(im_tape_begin(c));
    for (int i = 0; i < 3; i++) {
        part[i] = kind == 0 ? im_slice(c, x, 2, 3 * i, 3 * i + 16) : im_slice(c, x, 0, i, i + 4);
        part[i] = copies ? im_contiguous_copy(c, part[i]) : part[i];
    }
    im_tensor *g = filled(4, SHAPE(24)), *mean = filled(5, SHAPE(24)), *var = im_activate(c, g, IM_ACT_RELU), *y;
    im_batchnorm_attrs at = { .eps = 0.1f, .momentum = 0.1f, .training = true, .relu = true };
    if (kind == 0)                                             /* 16 heads: one's query is another one's key           */
        y = im_attention(c, part[0], part[1], part[2], 16, false);
    else if (kind == 1)
        y = im_mse(c, part[0], part[1], NULL);
    else
        y = im_batchnorm(c, part[0], g, g, part[2], mean, var, &at);
    ck_assert_msg(im_backward_from(c, y, filled(6, y->ndim, y->shape)), "%s", im_error(c));
    memcpy(dx, im_data(x->grad), 6 * TOKENS * 24 * sizeof(float));
    im_ctx_free(c);
    c = own;
}

START_TEST(gradients_of_overlapping_views)
{
    enum { N = 6 * TOKENS * 24, TIMES = 20 };
    static float want[N], one[N], many[N];
    for (int kind = 0; kind < 3; kind++) {
        overlapping(kind, true, 1, want);
        overlapping(kind, false, 1, one);
        for (int i = 0; i < N; i++)
            ck_assert_msg(fabsf(one[i] - want[i]) <= 1e-5f * (1 + fabsf(want[i])), "%d: element %d is %g, wanted %g", kind,
                          i, (double)one[i], (double)want[i]);
        for (int k = 0; k < TIMES; k++) {
            overlapping(kind, false, 4, many);
            ck_assert_msg(!memcmp(one, many, sizeof one), "%d: other bits on 4 threads", kind);
        }
    }
}
END_TEST

/* ---------------------------------------------------------------- what outlives its tape */

/* A view of a result, kept beyond the scope and the tape of its base, is read on the next tape: a constant. */
START_TEST(views_outlive_their_tape)
{
    im_tensor *w = wanted(1, SHAPE(C, C)), *x = filled(2, SHAPE(T, C)), *view = NULL, *whole = NULL;
    im_scope_push(c);
    for (int step = 0; step < 3; step++) {
        im_scope_push(c);
        ck_assert(im_tape_begin(c));
        im_scope_push(c);
        im_tensor *y = im_linear(c, view ? view : x, w, NULL, NULL, IM_ACT_SILU);
        y = whole ? im_add(c, y, whole) : y;
        im_tensor *part = im_keep(c, im_reshape(c, im_slice(c, im_scale(c, y, 0.5f), 0, 0, T), SHAPE(T, C)));
        im_tensor *sum = im_keep(c, im_mse(c, y, filled(3, SHAPE(T, C)), NULL));
        im_keep(c, y);
        im_scope_pop(c);
        ck_assert_msg(im_backward(c, sum), "%s", im_error(c));
        ck_assert(!part->wants_grad && !part->base && !y->wants_grad);
        view = im_keep(c, part);
        whole = im_keep(c, y);
        im_scope_pop(c);
    }
    ck_assert(w->grad_set);
    im_scope_pop(c);
}
END_TEST

/* A view that is kept takes its base along, whose gradient it gives. */
START_TEST(views_outlive_the_scope_of_their_base)
{
    im_scope_push(c);
    im_tensor *view = im_keep(c, im_slice(c, wanted(1, SHAPE(4, 6)), 1, 2, 4));
    im_scope_pop(c);
    ck_assert(im_tape_begin(c));
    ck_assert_msg(im_backward(c, im_mse(c, im_contiguous_copy(c, view), filled(2, SHAPE(4, 2)), NULL)), "%s", im_error(c));
    ck_assert(view->base && view->base->grad_set);
}
END_TEST

/* ---------------------------------------------------------------- gradients that are whole */

enum { WEIGHTS = 3 };
typedef struct heard { im_tensor *w[WEIGHTS]; int n; float then[WEIGHTS][C * C]; } heard;

static void hear(void *arg, im_tensor *w)
{
    heard *h = arg;
    ck_assert_int_lt(h->n, WEIGHTS);
    ck_assert(w->grad_set && im_download(c, w->grad, h->then[h->n]));
    h->w[h->n++] = w;
}

/* a is used first and last, so its gradient is whole when all of backward is done; of a product of two, in the order of
 * its inputs from the last. Each is told once, with the value that it keeps. */
START_TEST(whole_gradients_are_told)
{
    im_tensor *x = filled(1, SHAPE(B, T, C)), *a = wanted(2, SHAPE(C, C)), *b = wanted(3, SHAPE(C, C)),
              *bias = wanted(4, SHAPE(C)), *const expected[WEIGHTS] = { bias, b, a };
    heard h = { .n = 0 };
    im_on_gradient(c, hear, &h);
    ck_assert(im_tape_begin(c));
    im_tensor *y = im_linear(c, x, a, NULL, NULL, IM_ACT_NONE);
    y = im_linear(c, y, b, bias, NULL, IM_ACT_NONE);
    y = im_linear(c, y, a, NULL, NULL, IM_ACT_NONE);
    ck_assert_msg(im_backward(c, im_mse(c, y, filled(7, SHAPE(B, T, C)), NULL)), "%s", im_error(c));
    ck_assert_int_eq(h.n, WEIGHTS);
    for (int i = 0; i < WEIGHTS; i++) {
        ck_assert_ptr_eq(h.w[i], expected[i]);
        ck_assert_mem_eq(h.then[i], im_data(h.w[i]->grad), (size_t)im_numel(h.w[i]) * sizeof(float));
    }
    im_on_gradient(c, NULL, NULL);
}
END_TEST

/* ---------------------------------------------------------------- im_recompute */

typedef im_tensor *(*body)(im_ctx *ctx, void *arg, im_tensor *const in[], int n_in);

/* q, k, v side by side: their gradients lie in that of one tensor, which is three times as wide. */
static im_tensor *attend(im_ctx *ctx, void *arg, im_tensor *const in[], int n_in)
{
    (void)arg;
    ck_assert_int_eq(n_in, 4);
    return im_linear(ctx, im_attention(ctx, in[0], in[1], in[2], 2, false), in[3], NULL, NULL, IM_ACT_SILU);
}

/* Reads x three times in a way that other sums than in this order have other bits. */
static im_tensor *branches(im_ctx *ctx, void *arg, im_tensor *const in[], int n_in)
{
    (void)arg;
    (void)n_in;
    im_scope_push(ctx);
    im_tensor *a = im_scale(ctx, in[0], 0.3f), *b = im_activate(ctx, in[0], IM_ACT_GELU);
    im_tensor *y = im_keep(ctx, im_linear(ctx, im_add(ctx, a, b), in[1], NULL, in[0], IM_ACT_GELU));
    im_scope_pop(ctx);
    return y;
}

static im_tensor *ends_in_a_view(im_ctx *ctx, void *arg, im_tensor *const in[], int n_in)
{
    return im_reshape(ctx, branches(ctx, arg, in, n_in), SHAPE(B * T, C));
}

static im_tensor *ends_in_a_slice(im_ctx *ctx, void *arg, im_tensor *const in[], int n_in)
{
    return im_slice(ctx, branches(ctx, arg, in, n_in), 2, 1, 5);
}

static im_tensor *hands_through(im_ctx *ctx, void *arg, im_tensor *const in[], int n_in)
{
    (void)ctx;
    (void)n_in;
    return in[*(int *)arg];
}

static im_tensor *nested(im_ctx *ctx, void *arg, im_tensor *const in[], int n_in)
{
    im_tensor *y = im_recompute(ctx, branches, arg, in, n_in);
    return im_add(ctx, im_recompute(ctx, branches, arg, (im_tensor *[]){ y, in[1] }, 2), in[0]);
}

/* The gradients of x (B, T, 3C) and w (C, C): x's parts go through fn, and are used before and behind it, too. */
static void run(body fn, void *arg, bool again, int inputs, float *dx, float *dw)
{
    im_scope_push(c);
    im_tensor *x = wanted(3, SHAPE(B, T, 3 * C)), *w = wanted(5, SHAPE(C, C)), *in[4];
    ck_assert(im_tape_begin(c));
    im_tensor *h = im_activate(c, x, IM_ACT_SILU);
    for (int i = 0; i < 3; i++)
        in[i] = im_slice(c, h, 2, i * C, (i + 1) * C);
    in[3] = w;
    im_tensor *first = im_contiguous_copy(c, in[0]), *two[] = { first, w };
    im_tensor *const *given = inputs == 4 ? in : two;
    im_scope_push(c);                                          /* so that the tape has to hold what it needs           */
    im_tensor *y = im_keep(c, again ? im_recompute(c, fn, arg, given, inputs) : fn(c, arg, given, inputs));
    im_scope_pop(c);
    ck_assert_msg(y != NULL, "%s", im_error(c));
    im_tensor *flat = im_contiguous_copy(c, y);
    im_tensor *sum = im_mse(c, flat, filled(7, y->ndim, y->shape), NULL);
    sum = im_add(c, sum, im_mse(c, im_scale(c, first, 1.7f), filled(8, SHAPE(B, T, C)), NULL));
    sum = im_add(c, sum, im_mse(c, h, filled(9, SHAPE(B, T, 3 * C)), NULL));
    ck_assert_msg(im_backward(c, sum), "%s", im_error(c));
    ck_assert(x->grad_set);
    memcpy(dx, im_data(x->grad), B * T * 3 * C * sizeof(float));
    memset(dw, 0, C * C * sizeof(float));
    if (w->grad_set)
        memcpy(dw, im_data(w->grad), C * C * sizeof(float));
    im_scope_pop(c);
}

/* Equal bits; on ref, whose linear layers round once more on a tape (z before the activation), nearly. */
static void want_same(const char *what, const char *of, const float *a, const float *b, int n)
{
    bool exact = strcmp(im_device_name(c), "ref") != 0;
    for (int i = 0; i < n; i++)
        ck_assert_msg(exact ? !memcmp(&a[i], &b[i], sizeof *a) : fabsf(a[i] - b[i]) <= 1e-6f,
                      "%s: %s: element %d of the gradient of %s is %.9g, wanted %.9g", im_device_isa(c), what, i, of,
                      (double)b[i], (double)a[i]);
}

static void same_gradients(const char *what, body fn, void *arg, int inputs)
{
    static float dx[2][B * T * 3 * C], dw[2][C * C];
    for (int again = 0; again < 2; again++)
        run(fn, arg, again, inputs, dx[again], dw[again]);
    want_same(what, "x", dx[0], dx[1], B * T * 3 * C);
    want_same(what, "w", dw[0], dw[1], C * C);
}

START_TEST(recomputing_changes_no_bit)
{
    static const char *const isas[] = { "ref", "portable", "neon", "avx2", "avx512", "avx512bf16", "avx512amx" };
    int zero = 0, one = 1;
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
        im_ctx *own = c;
        setenv("IMAGO_ISA", i ? isas[i] : "", 1);
        c = im_ctx_new(i ? "cpu" : "ref", 2);
        if (im_ok(c) && !strcmp(im_device_isa(c), isas[i])) {  /* else this machine lacks it                           */
            same_gradients("attention", attend, NULL, 4);
            same_gradients("branches", branches, NULL, 2);
            same_gradients("a view", ends_in_a_view, NULL, 2);
            same_gradients("a slice", ends_in_a_slice, NULL, 2);
            same_gradients("an input", hands_through, &zero, 2);
            same_gradients("a weight", hands_through, &one, 2);
            same_gradients("a slice of an input", hands_through, &one, 4);
            same_gradients("nested", nested, NULL, 2);
        }
        im_ctx_free(c);
        c = own;
    }
}
END_TEST

/* Nothing in it wants a gradient: no node, and nothing to complain about. */
static im_tensor *gated(im_ctx *ctx, void *arg, im_tensor *const in[], int n_in)
{
    (void)arg;
    (void)n_in;
    return im_linear_geglu(ctx, im_linear(ctx, in[0], in[1], NULL, NULL, IM_ACT_GELU), in[2], NULL);
}

/* The first run of im_recompute is on no tape, but the result of what a tape would see: on ref, too, which rounds what is
 * stored. */
START_TEST(recomputing_gives_the_result_of_the_tape)
{
    enum { N = 24, ROWS = 40 };
    float y[2][ROWS * N], *got;
    im_rng *rng = im_rng_new(c, IM_RNG_CPU, 5);
    static float values[2 * N * N];
    im_tensor *in[3] = { im_new(c, IM_F32, SHAPE(ROWS, N)), im_new(c, IM_F32, SHAPE(N, N)),
                         im_new(c, IM_F32, SHAPE(2 * N, N)) };
    for (int i = 0; i < 3; i++) {
        im_randn(rng, values, (size_t)im_numel(in[i]));
        ck_assert(im_upload(c, in[i], values) && im_want_grad(c, in[i]));
    }
    for (int again = 0; again < 2; again++) {
        im_scope_push(c);
        ck_assert(im_tape_begin(c));
        got = im_values(c, again ? im_recompute(c, gated, NULL, in, 3) : gated(c, NULL, in, 3));
        ck_assert_msg(got != NULL, "%s", im_error(c));
        memcpy(y[again], got, sizeof y[0]);
        free(got);
        im_tape_end(c);
        im_scope_pop(c);
    }
    ck_assert_mem_eq(y[0], y[1], sizeof y[0]);
    im_rng_free(rng);
}
END_TEST

START_TEST(recomputing_what_is_frozen)
{
    im_tensor *x = filled(1, SHAPE(B, T, C)), *w = filled(2, SHAPE(C, C)), *last = wanted(3, SHAPE(C, C));
    ck_assert(im_tape_begin(c));
    im_tensor *y = im_recompute(c, branches, NULL, (im_tensor *[]){ x, w }, 2);
    ck_assert(!y->wants_grad);
    y = im_linear(c, y, last, NULL, NULL, IM_ACT_NONE);
    ck_assert_msg(im_backward(c, im_mse(c, y, filled(7, SHAPE(B, T, C)), NULL)), "%s", im_error(c));
    ck_assert(last->grad_set && !x->grad && !w->grad);
}
END_TEST

/* It meets a parameter, but what it gives does not come from there. */
static im_tensor *looks_at(im_ctx *ctx, void *arg, im_tensor *const in[], int n_in)
{
    (void)arg;
    (void)n_in;
    im_scale(ctx, in[1], 2);
    return im_scale(ctx, in[0], 3);
}

START_TEST(recomputing_what_leads_nowhere)
{
    im_tensor *x = filled(1, SHAPE(B, T, C)), *w = wanted(2, SHAPE(C, C)), *last = wanted(3, SHAPE(C, C));
    ck_assert(im_tape_begin(c));
    im_tensor *y = im_recompute(c, looks_at, NULL, (im_tensor *[]){ x, w }, 2);
    y = im_linear(c, y, last, NULL, NULL, IM_ACT_NONE);
    ck_assert_msg(im_backward(c, im_mse(c, y, filled(7, SHAPE(B, T, C)), NULL)), "%s", im_error(c));
    ck_assert(last->grad_set && !w->grad);
}
END_TEST

/* What a function uses is not known before it runs again. */
START_TEST(recomputing_tells_no_whole_gradient)
{
    im_tensor *x = filled(1, SHAPE(B, T, C)), *w = wanted(2, SHAPE(C, C));
    heard h = { .n = 0 };
    im_on_gradient(c, hear, &h);
    ck_assert(im_tape_begin(c));
    im_tensor *y = im_recompute(c, looks_at, NULL, (im_tensor *[]){ im_linear(c, x, w, NULL, NULL, IM_ACT_NONE), w }, 2);
    ck_assert_msg(im_backward(c, im_mse(c, y, filled(7, SHAPE(B, T, C)), NULL)), "%s", im_error(c));
    ck_assert(w->grad_set && h.n == 0);
    im_on_gradient(c, NULL, NULL);
}
END_TEST

static void add_kept(void *arg, const im_tape_row *row)
{
    *(size_t *)arg += row->kept_bytes;
}

/* What only the gradient of a weight is made of is not kept where the weight is frozen. */
START_TEST(frozen_weights_let_their_inputs_go)
{
    enum { WEIGHT = C * C * 4, INPUT = B * T * C * 4, TAPS = C * 3 * 3 * C * 4, PICTURE = B * 4 * 4 * C * 4 };
    const im_conv_attrs at = { .stride = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1 };
    for (int frozen = 0; frozen < 2; frozen++)
        for (int conv = 0; conv < 2; conv++) {
            size_t kept = 0, weight = conv ? TAPS : WEIGHT, input = conv ? PICTURE : INPUT;
            im_scope_push(c);
            im_tensor *x = conv ? wanted(1, SHAPE(B, 4, 4, C)) : wanted(1, SHAPE(B, T, C));
            im_tensor *w = conv ? filled(2, SHAPE(C, 3, 3, C)) : filled(2, SHAPE(C, C));
            ck_assert(frozen || im_want_grad(c, w));
            ck_assert(im_tape_begin(c));
            im_tensor *y = conv ? im_conv2d(c, x, w, NULL, NULL, NULL, &at) : im_linear(c, x, w, NULL, NULL, IM_ACT_NONE);
            im_on_tape(c, add_kept, &kept);
            ck_assert_msg(im_backward_from(c, y, x), "%s", im_error(c));
            im_on_tape(c, NULL, NULL);
            ck_assert(x->grad_set && w->grad_set == !frozen);
            ck_assert_uint_eq(kept, weight + (frozen ? 0 : input));
            im_scope_pop(c);
        }
}
END_TEST

START_TEST(recompute_wants_a_function_and_few_inputs)
{
    im_tensor *x = filled(1, SHAPE(2, 2)), *in[8] = { x, x, x, x, x, x, x, x };
    ck_assert_ptr_null(im_recompute(c, branches, NULL, in, 8));
    WANT_ERROR("recompute", "8 inputs");
    ck_assert_ptr_null(im_recompute(c, branches, NULL, in, -1));
    WANT_ERROR("recompute", "-1 inputs");
    ck_assert_ptr_null(im_recompute(c, NULL, NULL, in, 1));
    WANT_ERROR("recompute", "function");
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(blocks_come_back_in_any_order), ONCE(a_bf16_tensor_is_copied_twice),
        ONCE(gradients_that_only_f32_can_hold_are_refused), ONCE(gradients_of_overlapping_views),
        ONCE(views_outlive_their_tape), ONCE(views_outlive_the_scope_of_their_base), ONCE(recomputing_changes_no_bit),
        ONCE(recomputing_gives_the_result_of_the_tape),
        ONCE(recomputing_what_is_frozen), ONCE(recomputing_what_leads_nowhere),
        ONCE(frozen_weights_let_their_inputs_go), ONCE(recompute_wants_a_function_and_few_inputs),
        ONCE(whole_gradients_are_told), ONCE(recomputing_tells_no_whole_gradient),
    };
    return suite_run("tape", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
