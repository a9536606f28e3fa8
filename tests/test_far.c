/* test_far.c: the device "far" (tensor/far/far.c): it gives the bits of ref, ends a program that follows a pointer into its
 * memory and says why, and runs a plan the second time without asking any op. tests/cli/far.sh runs the program on it. */
#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"
#include "tensor/tensor.h"

#define SHAPE(...) (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), (int64_t[]){ __VA_ARGS__ }
static const float values[] = { 1, -2, 3, 4, 0.5f, -6, 7, 8 };

/* y = silu(x w^T) + x;  the gradient of its mean of squares, of w */
static void run(const char *device, float *y, float *dw)
{
    im_ctx *c = im_ctx_new(device, 2);
    im_tensor *x = im_from(c, IM_F32, SHAPE(2, 2), values), *w = im_from(c, IM_F32, SHAPE(2, 2), values + 4);
    im_tensor *zero = im_new(c, IM_F32, SHAPE(2, 2));
    ck_assert(im_fill(c, zero, 0) && im_want_grad(c, w) && im_tape_begin(c));
    im_tensor *out = im_linear(c, x, w, NULL, x, IM_ACT_SILU);
    ck_assert(im_download(c, out, y) && im_backward(c, im_mse(c, out, zero, NULL)) && im_download(c, w->grad, dw));
    ck_assert_msg(im_ok(c), "%s", im_error(c));
    im_ctx_free(c);
}

START_TEST(gives_the_bits_of_ref)
{
    float y[2][4], dw[2][4];
    run("ref", y[0], dw[0]);
    run("far", y[1], dw[1]);
    ck_assert_mem_eq(y[0], y[1], sizeof y[0]);
    ck_assert_mem_eq(dw[0], dw[1], sizeof dw[0]);
}
END_TEST

/* What a child says on its stderr that reads (_i 0) or writes (1) a tensor by its pointer; how it ends in *status. */
static void follow_pointer(bool writes, char *said, size_t size, int *status)
{
    int ends[2];
    ck_assert(!pipe(ends));
    pid_t child = fork();
    if (!child) {
        dup2(ends[1], STDERR_FILENO);
        im_ctx *c = im_ctx_new("far", 1);
        im_tensor *x = im_scale(c, im_from(c, IM_F32, SHAPE(8), values), 2);
        volatile float *p = im_data(x);
        if (writes)
            p[3] = 1;
        (void)p[3];                                            /* volatile: it is read                                 */
        _exit(0);                                              /* never reached                                        */
    }
    close(ends[1]);
    size_t n = 0;
    for (ssize_t got; n + 1 < size && (got = read(ends[0], said + n, size - 1 - n)) > 0; n += (size_t)got)
        ;
    said[n] = '\0';
    close(ends[0]);
    ck_assert_int_eq(waitpid(child, status, 0), child);
}

START_TEST(a_pointer_that_is_followed_ends_the_program)
{
    char said[1000];
    int status;
    follow_pointer(_i, said, sizeof said, &status);
    bool ended = !WIFEXITED(status) || WEXITSTATUS(status);    /* by code where a sanitizer has the signal after us    */
    ck_assert_msg(ended, "it went on: %s", said);
    ck_assert_msg(strstr(said, "far") && strstr(said, "im_download"), "it said \"%s\"", said);
}
END_TEST

/* Values in place, and no failure where they are out of reach. */
START_TEST(host_values_where_there_are_any)
{
    static const char *const devices[] = { "ref", "cpu", "far" };
    for (int i = 0; i < 3; i++) {
        im_ctx *c = im_ctx_new(devices[i], 1);
        im_tensor *x = im_from(c, IM_F32, SHAPE(2, 4), values), *part = im_slice(c, x, 1, 1, 3);
        const float *all = im_host_values(c, x), *some = im_host_values(c, part);
        ck_assert_msg(im_ok(c), "%s: %s", devices[i], im_error(c));
        if (i == 2) {
            ck_assert(!all && !some);
        } else {
            ck_assert_mem_eq(all, values, sizeof values);
            ck_assert(some == all + 1 && some[part->stride[0]] == values[5]);
            ck_assert(im_fill(c, x, 3) && all[7] == 3);        /* no copy                                              */
        }
        im_tensor *empty = im_param_new(c, "w", IM_F32, SHAPE(2));
        ck_assert(!im_host_values(c, empty) && strstr(im_error(c), "values: w has no data"));
        im_param_free(c, empty);
        im_ctx_free(c);
    }
}
END_TEST

/* ---------------------------------------------------------------- plans */

static im_tensor *twice(im_ctx *c, void *arg, im_tensor *const in[], int n)
{
    (void)n;
    ++*(int *)arg;
    return im_add(c, im_scale(c, in[0], 2), in[0]);
}

static int forwards;
static int counted(im_ctx *c, im_node *n)
{
    forwards++;
    return im_op_scale.forward(c, n);
}

/* A plan that holds a node of our own, which counts how often it is asked. */
static im_tensor *watched(im_ctx *c, void *arg, im_tensor *const in[], int n)
{
    static im_op op;
    (void)arg;
    (void)n;
    op = im_op_scale;
    op.forward = counted;
    return im_run(c, &op, in, &(im_attrs){ .f = { 3 } });
}

START_TEST(a_plan_is_captured)
{
    im_ctx *c = im_ctx_new("far", 1);
    im_tensor *x = im_from(c, IM_F32, SHAPE(4), values), *z = im_from(c, IM_F32, SHAPE(4), values);
    int recorded = 0;
    float y[4];
    im_plan *p = im_plan_record(c, twice, &recorded, &x, 1), *q = im_plan_record(c, watched, NULL, &z, 1);
    for (int round = 0; round < 3; round++) {
        ck_assert(im_upload(c, x, values + round) && im_download(c, im_plan_run(c, p), y));
        for (int i = 0; i < 4; i++)
            ck_assert_float_eq(y[i], 3 * values[round + i]);
        ck_assert(im_upload(c, z, values + round) && im_download(c, im_plan_run(c, q), y));
        for (int i = 0; i < 4; i++)
            ck_assert_float_eq(y[i], 3 * values[round + i]);
    }
    ck_assert_int_eq(recorded, 1);
    ck_assert_int_eq(forwards, 1);                             /* the second run and the third asked no op             */
    im_plan_free(c, p);
    im_plan_free(c, q);
    ck_assert_msg(im_ok(c), "%s", im_error(c));
    im_ctx_free(c);
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(gives_the_bits_of_ref), LOOP(a_pointer_that_is_followed_ends_the_program, 2),
        ONCE(host_values_where_there_are_any), ONCE(a_plan_is_captured),
    };
    return suite_run("far", NULL, NULL, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
