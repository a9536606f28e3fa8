/* test_tiny.c: the smallest thing that each part of the engine must do, a few lines each, on ref and on cpu. The first
 * tests to run, and the first to read. */
#include <check.h>
#include <string.h>

#include "imago.h"
#include "suite.h"
#include "tensor/tensor.h"

static im_ctx *c;

static void open_context(void)
{
    c = NULL;                                                  /* each test opens the device it loops over            */
}

static void close_context(void)
{
    ck_assert_msg(im_ok(c), "%s", im_error(c));
    im_ctx_free(c);
}

static const char *const devices[] = { "ref", "cpu" };
#define OPEN() ck_assert_ptr_nonnull(c = im_ctx_new(devices[_i], 2))
#define SHAPE(...) (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), (int64_t[]){ __VA_ARGS__ }
#define DATA(...) (float[]){ __VA_ARGS__ }

/* The elements of t are those listed, exactly: all numbers here are small whole ones. */
#define WANT(t, ...) want(t, (float[]){ __VA_ARGS__ }, (int)(sizeof((float[]){ __VA_ARGS__ }) / sizeof(float)))
static void want(const im_tensor *t, const float *v, int n)
{
    ck_assert_msg(t != NULL, "%s", im_error(c));
    ck_assert_int_eq(im_numel(t), n);
    for (int i = 0; i < n; i++)
        ck_assert_float_eq(((const float *)im_data(t))[i], v[i]);
}

START_TEST(context)
{
    OPEN();
    ck_assert(im_ok(c));
    ck_assert_str_eq(im_error(c), "");
    ck_assert_str_eq(im_device_name(c), devices[_i]);
    ck_assert_int_eq(im_threads(c), 2);
}
END_TEST

START_TEST(tensor)
{
    OPEN();
    im_tensor *x = im_from(c, IM_F32, SHAPE(2, 3), DATA(1, 2, 3, 4, 5, 6));
    char text[32];
    im_shape_text(x, text, sizeof text);
    ck_assert_str_eq(text, "(2, 3)");
    ck_assert(im_contiguous(x));
    WANT(x, 1, 2, 3, 4, 5, 6);
}
END_TEST

START_TEST(view)
{
    OPEN();
    im_tensor *x = im_from(c, IM_F32, SHAPE(2, 3), DATA(1, 2, 3, 4, 5, 6));
    im_tensor *column = im_slice(c, x, 1, 1, 2);               /* (2, 1): 2 and 5, three elements apart               */
    ck_assert(!im_contiguous(column));
    WANT(im_contiguous_copy(c, column), 2, 5);
    im_tensor *flat = im_reshape(c, x, SHAPE(3, -1));          /* (3, 2), the same memory                             */
    ck_assert_int_eq(flat->shape[1], 2);
    ck_assert_ptr_eq(im_data(flat), im_data(x));
}
END_TEST

START_TEST(scope)
{
    OPEN();
    im_scope_push(c);
    im_tensor *x = im_from(c, IM_F32, SHAPE(2), DATA(1, 2));
    im_tensor *part = im_slice(c, x, 0, 1, 2);
    im_keep(c, part);
    im_scope_pop(c);                                           /* x's header goes; its memory stays for `part`        */
    WANT(part, 2);
}
END_TEST

START_TEST(add)
{
    OPEN();
    im_tensor *a = im_from(c, IM_F32, SHAPE(2, 2), DATA(1, 2, 3, 4));
    im_tensor *b = im_from(c, IM_F32, SHAPE(2), DATA(10, 20));
    WANT(im_add(c, a, b), 11, 22, 13, 24);
    WANT(im_scale(c, a, 2), 2, 4, 6, 8);
    WANT(im_concat(c, a, a), 1, 2, 1, 2, 3, 4, 3, 4);
}
END_TEST

START_TEST(linear)
{
    OPEN();
    im_tensor *x = im_from(c, IM_F32, SHAPE(1, 2), DATA(1, 2));
    im_tensor *w = im_from(c, IM_F32, SHAPE(3, 2), DATA(1, 0, 0, 1, 3, -4));
    im_tensor *b = im_from(c, IM_F32, SHAPE(3), DATA(0, 100, 0));
    WANT(im_linear(c, x, w, b, NULL, IM_ACT_NONE), 1, 102, -5);
    WANT(im_linear(c, x, w, NULL, im_reshape(c, b, SHAPE(1, 3)), IM_ACT_RELU), 1, 102, 0);
}
END_TEST

START_TEST(conv)
{
    OPEN();                                                    /* a 2x2 picture, a 3x3 filter of ones                 */
    im_tensor *x = im_from(c, IM_F32, SHAPE(1, 2, 2, 1), DATA(1, 2, 3, 4));
    im_tensor *w = im_from(c, IM_F32, SHAPE(1, 3, 3, 1), DATA(1, 1, 1, 1, 1, 1, 1, 1, 1));
    im_conv_attrs same = { .stride = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1 };
    im_conv_attrs twice = { .stride = 1, .up_h = 4, .up_w = 4 };
    WANT(im_conv2d(c, x, w, NULL, NULL, NULL, &same), 10, 10, 10, 10);
    WANT(im_conv2d(c, x, w, NULL, NULL, NULL, &twice), 18, 21, 24, 27);    /* first: 4*1 + 2*2 + 2*3 + 1*4            */
}
END_TEST

START_TEST(attention)
{
    OPEN();                                                    /* equal scores: the mean of the values                */
    im_tensor *q = im_from(c, IM_F32, SHAPE(1, 2, 1), DATA(0, 0));
    im_tensor *v = im_from(c, IM_F32, SHAPE(1, 2, 1), DATA(2, 6));
    WANT(im_attention(c, q, q, v, 1, false), 4, 4);
    WANT(im_attention(c, q, q, v, 1, true), 2, 4);             /* the first query sees the first key alone            */
}
END_TEST

START_TEST(norm)
{
    OPEN();
    im_tensor *x = im_from(c, IM_F32, SHAPE(1, 2), DATA(3, 5));
    im_tensor *gamma = im_from(c, IM_F32, SHAPE(2), DATA(1, 10)), *beta = im_from(c, IM_F32, SHAPE(2), DATA(0, 7));
    WANT(im_layernorm(c, x, gamma, beta, 0), -1, 17);
}
END_TEST

static im_tensor *twice_plus(im_ctx *ctx, void *calls, im_tensor *const in[], int n)
{
    ++*(int *)calls;
    return im_add(ctx, im_scale(ctx, in[0], 2), in[n - 1]);
}

START_TEST(plan)
{
    OPEN();
    int calls = 0;
    im_tensor *in[] = { im_from(c, IM_F32, SHAPE(2), DATA(1, 2)), im_from(c, IM_F32, SHAPE(2), DATA(10, 20)) };
    im_plan *p = im_plan_record(c, twice_plus, &calls, in, 2);
    WANT(im_plan_run(c, p), 12, 24);
    memcpy(im_data(in[0]), DATA(5, 6), 2 * sizeof(float));
    WANT(im_plan_run(c, p), 20, 32);
    ck_assert_int_eq(calls, 1);                                /* recorded once, run twice                            */
    ck_assert_int_eq(im_plan_describe(p).nodes, 2);
    im_plan_free(c, p);
}
END_TEST

/* Its result is made first and must outlive what is made after it. */
static im_tensor *first_of_three(im_ctx *ctx, void *arg, im_tensor *const in[], int n)
{
    im_tensor *first = im_scale(ctx, in[0], 3);
    (void)arg, (void)n;
    return im_add(ctx, im_scale(ctx, in[0], 5), im_scale(ctx, in[0], 7)) ? first : NULL;
}

START_TEST(plan_result)
{
    OPEN();
    im_tensor *x = im_from(c, IM_F32, SHAPE(2), DATA(1, 2));
    im_plan *p = im_plan_record(c, first_of_three, NULL, &x, 1);
    WANT(im_plan_run(c, p), 3, 6);
    im_plan_free(c, p);
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        LOOP(context, 2), LOOP(tensor, 2), LOOP(view, 2), LOOP(scope, 2), LOOP(add, 2), LOOP(linear, 2),
        LOOP(conv, 2), LOOP(attention, 2), LOOP(norm, 2), LOOP(plan, 2), LOOP(plan_result, 2),
    };
    return suite_run("tiny", open_context, close_context, 30, tests, SUITE_COUNT(tests));
}
