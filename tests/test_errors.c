/* test_errors.c: what happens when something goes wrong: errors stick, name what was found and what was wanted, NULL
 * runs through later calls, and a failed allocation, whichever it is, is a clean error without a leak.
 *
 * The linker puts __wrap_malloc and its like (below) in the place of the allocators that libimago.a calls. */
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "imago.h"
#include "suite.h"
#include "tensor/host.h"
#include "tensor/tensor.h"

/* ---------------------------------------------------------------- allocators that can be told to fail */

static long left = -1;           /* allocations that still succeed; -1: all of them                                   */
static long held;                /* blocks and mapped bytes that are not given back yet                               */
static long asked;

static bool refuse(void)
{
    asked++;
    if (left < 0)
        return false;
    if (left == 0)
        return true;
    left--;
    return false;
}

static void *count(void *p)
{
    held += p != NULL;
    return p;
}

#define WRAP(type, name, ...) \
    type __real_##name(__VA_ARGS__); type __wrap_##name(__VA_ARGS__); type __wrap_##name(__VA_ARGS__)
WRAP(void *, malloc, size_t n) { return refuse() ? NULL : count(__real_malloc(n)); }
WRAP(void *, calloc, size_t n, size_t m) { return refuse() ? NULL : count(__real_calloc(n, m)); }
WRAP(void *, aligned_alloc, size_t a, size_t n) { return refuse() ? NULL : count(__real_aligned_alloc(a, n)); }
WRAP(char *, strdup, const char *s) { return refuse() ? NULL : count(__real_strdup(s)); }

WRAP(void *, realloc, void *p, size_t n)
{
    if (refuse())
        return NULL;
    void *q = __real_realloc(p, n);
    held += !p && q;
    return q;
}

WRAP(void *, mmap, void *at, size_t n, int prot, int flags, int fd, off_t from)
{
    void *p = refuse() ? MAP_FAILED : __real_mmap(at, n, prot, flags, fd, from);
    held += p == MAP_FAILED ? 0 : (long)n;
    return p;
}

WRAP(int, munmap, void *p, size_t n)
{
    held -= (long)n;                                           /* the mappings of this program are whole pages        */
    return __real_munmap(p, n);
}

WRAP(void, free, void *p)
{
    held -= p != NULL;
    __real_free(p);
}

/* ---------------------------------------------------------------- a small forward with every kind of allocation */

#define SHAPE(...) (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), (int64_t[]){ __VA_ARGS__ }

static im_tensor *filled(im_ctx *c, int ndim, const int64_t shape[])
{
    im_tensor *x = im_new(c, IM_F32, ndim, shape);
    for (int64_t i = 0; x && i < im_numel(x); i++)
        ((float *)im_data(x))[i] = (float)(i % 7) / 7;
    return x;
}

typedef struct { im_tensor *w, *conv, *b; } parameters;

/* x (2, 6, 6, 16) -> (2, 36, 16): norm, convolution, attention, product; one inner scope. */
static im_tensor *network(im_ctx *c, void *arg, im_tensor *const in[], int n)
{
    const parameters *p = arg;
    im_conv_attrs same = { .stride = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1 };
    (void)n;
    im_scope_push(c);
    im_tensor *h = im_groupnorm(c, in[0], p->b, p->b, 4, 1e-5f, true);                     /* (2, 6, 6, 16)           */
    h = im_reshape(c, im_conv2d(c, h, p->conv, p->b, NULL, in[0], &same), SHAPE(2, 36, 16));
    h = im_attention(c, h, h, h, 2, false);                                                /* (2, 36, 16)             */
    h = im_keep(c, im_linear(c, im_layernorm(c, h, p->b, p->b, 1e-5f), p->w, p->b, h, IM_ACT_SILU));
    im_scope_pop(c);
    return im_add(c, im_scale(c, h, 0.5f), im_activate(c, h, IM_ACT_GELU));
}

static parameters make_parameters(im_ctx *c)
{
    return (parameters){ filled(c, SHAPE(16, 16)), filled(c, SHAPE(16, 3, 3, 16)), filled(c, SHAPE(16)) };
}

typedef struct { im_ctx *c; bool ok, complete; double sum; char error[300]; } outcome;

/* All of it, eager and planned, and a piece large enough to be mapped. No ck_assert in here: Check allocates too. */
static outcome forward(const char *device)
{
    outcome o = { .c = im_ctx_new(device, 1), .error = "out of memory" };
    if (!o.c)
        return o;
    parameters p = make_parameters(o.c);
    im_tensor *x = filled(o.c, SHAPE(2, 6, 6, 16));
    im_tensor *big = im_new(o.c, IM_F32, SHAPE(3 << 18));      /* 3 MiB                                               */
    im_tensor *y = network(o.c, &p, &x, 1);
    for (int64_t i = 0; y && i < im_numel(y); i++)
        o.sum += ((float *)im_data(y))[i];
    im_plan *plan = im_plan_record(o.c, network, &p, &x, 1);
    im_tensor *again = im_plan_run(o.c, plan);
    o.ok = im_ok(o.c);
    o.complete = big && y && again && !memcmp(im_data(again), im_data(y), (size_t)im_numel(y) * sizeof(float));
    snprintf(o.error, sizeof o.error, "%s", im_error(o.c));
    im_plan_free(o.c, plan);
    return o;
}

static const char *const devices[] = { "ref", "cpu" };

START_TEST(any_allocation_may_fail)
{
    asked = held = 0;
    outcome o = forward(devices[_i]);
    im_ctx_free(o.c);
    long total = asked, leaked = held;
    double want = o.sum;
    ck_assert_msg(o.ok && o.complete, "%s", o.error);
    ck_assert_int_eq(leaked, 0);
    ck_assert_int_gt(total, 50);                               /* the wrapping works                                  */
    for (long n = 0; n <= total; n++) {
        held = 0;
        left = n;
        o = forward(devices[_i]);
        left = -1;
        im_ctx_free(o.c);
        leaked = held;
        if (n < total) {
            ck_assert_msg(!o.ok && !o.complete, "allocation %ld of %ld failed and nobody noticed", n, total);
            ck_assert_msg(strstr(o.error, "memory"), "allocation %ld of %ld: \"%s\"", n, total, o.error);
        } else {
            ck_assert_msg(o.ok && o.complete && o.sum == want, "%s", o.error);
        }
        ck_assert_msg(leaked == 0, "allocation %ld of %ld failed: %ld blocks or bytes not freed", n, total, leaked);
    }
}
END_TEST

/* ---------------------------------------------------------------- messages */

static im_ctx *c;

static void open_context(void)
{
    ck_assert_ptr_nonnull(c = im_ctx_new("cpu", 1));
    ck_assert_msg(im_ok(c), "%s", im_error(c));
}

static void close_context(void)
{
    im_ctx_free(c);
}

static void want_error(const char *first, ...)
{
    va_list ap;
    ck_assert_msg(!im_ok(c), "no error, wanted one with \"%s\"", first);
    va_start(ap, first);
    for (const char *part = first; part; part = va_arg(ap, const char *))
        ck_assert_msg(strstr(im_error(c), part), "\"%s\" does not say \"%s\"", im_error(c), part);
    va_end(ap);
    im_clear_error(c);
    ck_assert(im_ok(c));
}

START_TEST(the_first_error_stays)
{
    ck_assert(!im_fail(c, "first %d", 1));
    ck_assert(!im_fail(c, "second"));
    ck_assert_str_eq(im_error(c), "first 1");
    im_clear_error(c);
    ck_assert_str_eq(im_error(c), "");
    ck_assert(im_ok(c));
}
END_TEST

START_TEST(a_long_error_says_that_it_was_cut)
{
    char *text = malloc(100000);
    memset(text, 'x', 99999);
    text[99999] = '\0';
    im_fail(c, "%s", text);
    free(text);
    size_t n = strlen(im_error(c));
    ck_assert_int_gt(n, 1000);
    ck_assert_str_eq(im_error(c) + n - 4, " ...");
}
END_TEST

START_TEST(null_runs_through)
{
    im_tensor *x = filled(c, SHAPE(2, 3));
    im_fail(c, "the cause");
    ck_assert_ptr_null(im_scale(c, x, 2));                     /* nothing is computed any more                         */
    im_tensor *y = im_add(c, im_scale(c, x, 2), NULL);
    y = im_linear(c, y, y, y, NULL, IM_ACT_NONE);
    y = im_slice(c, im_reshape(c, y, SHAPE(6)), 0, 1, 2);
    ck_assert_ptr_null(im_attention(c, y, y, y, 1, false));
    ck_assert_ptr_null(im_new(c, IM_F32, SHAPE(2)));
    ck_assert_ptr_null(im_plan_run(c, im_plan_record(c, network, NULL, &x, 1)));
    ck_assert_ptr_null(im_keep(c, NULL));
    im_plan_free(c, NULL);
    want_error("the cause", NULL);
}
END_TEST

START_TEST(a_missing_input_is_named)
{
    im_tensor *x = filled(c, SHAPE(2, 3));
    ck_assert_ptr_null(im_linear(c, x, NULL, NULL, NULL, IM_ACT_NONE));
    want_error("linear", "input 1", NULL);
}
END_TEST

START_TEST(shape_errors_name_the_shapes)
{
    im_tensor *x = filled(c, SHAPE(2, 3)), *w = filled(c, SHAPE(4, 5)), *b = filled(c, SHAPE(7));
    im_tensor *picture = filled(c, SHAPE(1, 4, 4, 3)), *filter = filled(c, SHAPE(2, 3, 3, 4));
    im_tensor *seq = filled(c, SHAPE(1, 4, 6)), *ids = im_new(c, IM_I32, SHAPE(2));
    im_conv_attrs plain = { .stride = 1 }, none = { .stride = 0 };
    im_linear(c, x, w, NULL, NULL, IM_ACT_NONE);
    want_error("linear", "(2, 3)", "(4, 5)", "wanted", NULL);
    im_linear_geglu(c, x, filled(c, SHAPE(5, 3)), NULL);
    want_error("geglu", "(5, 3)", "wanted", NULL);
    im_add(c, x, b);
    want_error("add", "(2, 3)", "(7)", "wanted", NULL);
    im_concat(c, x, w);
    want_error("concat", "(2, 3)", "(4, 5)", NULL);
    im_conv2d(c, picture, filter, NULL, NULL, NULL, &plain);
    want_error("conv2d", "(1, 4, 4, 3)", "(2, 3, 3, 4)", NULL);
    im_conv2d(c, picture, filled(c, SHAPE(2, 3, 3, 3)), NULL, NULL, NULL, &none);
    want_error("conv2d", "stride", NULL);
    im_conv2d(c, picture, filled(c, SHAPE(2, 5, 5, 3)), NULL, NULL, NULL, &plain);
    want_error("conv2d", "kernel", NULL);
    im_groupnorm(c, picture, b, b, 2, 1e-5f, false);
    want_error("groupnorm", "(1, 4, 4, 3)", "(7)", NULL);
    im_layernorm(c, x, b, b, 1e-5f);
    want_error("layernorm", "(2, 3)", "(7)", NULL);
    im_attention(c, seq, seq, seq, 4, false);
    want_error("attention", "(1, 4, 6)", "heads", NULL);
    im_scale(c, ids, 2);
    want_error("scale", "i32", "f32", NULL);
    im_upload(c, ids, (int32_t[]){ 2, 0 });
    im_embedding(c, x, ids);
    want_error("embedding", "id 2", "0 to 1", NULL);
}
END_TEST

START_TEST(views_and_sizes_are_checked)
{
    im_tensor *x = filled(c, SHAPE(2, 3));
    im_slice(c, x, 1, 2, 4);
    want_error("slice", "(2, 3)", "2 to 4", NULL);
    im_slice(c, x, 2, 0, 1);
    want_error("slice", "axis 2", NULL);
    im_reshape(c, x, SHAPE(4, 2));
    want_error("reshape", "(2, 3)", "(4, 2)", NULL);
    im_reshape(c, x, SHAPE(4, -1));
    want_error("reshape", "(2, 3)", NULL);
    im_reshape(c, im_slice(c, x, 1, 0, 2), SHAPE(4));
    want_error("reshape", "contiguous", NULL);
    im_new(c, IM_F32, SHAPE(2, 0));
    want_error("(2, 0)", NULL);
    im_new(c, IM_F32, SHAPE(-1));
    want_error("(-1)", NULL);
    im_new(c, IM_F32, SHAPE(1l << 40, 1l << 40));
    want_error("too many bytes", NULL);
    im_new(c, IM_F32, SHAPE(1l << 44));
    want_error("memory", "70368744177664", NULL);
}
END_TEST

START_TEST(an_unknown_device_is_an_error)
{
    static const char *const names[] = { "gpu", "", "cpu:0", "refx", "cuda:x" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        im_ctx *d = im_ctx_new(names[i], 1);
        ck_assert_ptr_nonnull(d);
        ck_assert_msg(!im_ok(d), "\"%s\" was taken for a device", names[i]);
        ck_assert_ptr_null(im_new(d, IM_F32, SHAPE(1)));
        im_ctx_free(d);
    }
    im_ctx *d = im_ctx_new("cpu", -1);
    ck_assert(strstr(im_error(d), "threads"));
    im_ctx_free(d);
    setenv("IMAGO_ISA", "sse9", 1);
    d = im_ctx_new("cpu", 1);
    ck_assert(strstr(im_error(d), "sse9") && strstr(im_error(d), "IMAGO_ISA"));
    im_ctx_free(d);
    unsetenv("IMAGO_ISA");
    static const char *const winograd[] = { "3", "00", "yes", "-1", " 1" }, *const right[] = { "", "0", "1", "2" };
    for (int i = 0; i < 5; i++) {
        setenv("IMAGO_WINOGRAD", winograd[i], 1);
        d = im_ctx_new("cpu", 1);
        ck_assert_msg(strstr(im_error(d), "IMAGO_WINOGRAD is \""), "%s: %s", winograd[i], im_error(d));
        im_ctx_free(d);
    }
    for (int i = 0; i < 4; i++) {
        setenv("IMAGO_WINOGRAD", right[i], 1);
        d = im_ctx_new("cpu", 1);
        ck_assert_msg(im_ok(d), "%s", im_error(d));
        im_ctx_free(d);
    }
    unsetenv("IMAGO_WINOGRAD");
}
END_TEST

/* IMAGO_COMPUTE: what it names is what products are computed by, and stands in the name of the set where that does it
 * otherwise; anything else is refused with what there is. */
START_TEST(ways_to_compute)
{
    static const char *const wrong[] = { "int8", "F32", "bf16 ", "f32,bf16" };
    for (int i = 0; i < 4; i++) {
        setenv("IMAGO_COMPUTE", wrong[i], 1);
        im_ctx *d = im_ctx_new("cpu", 1);
        ck_assert_msg(strstr(im_error(d), "IMAGO_COMPUTE is \"") && strstr(im_error(d), wrong[i]) &&
                      strstr(im_error(d), "f32 (f32 multiply-adds), bf16 (bf16"), "%s: %s", wrong[i], im_error(d));
        im_ctx_free(d);
    }
    static const struct { const char *isa, *how, *name; im_compute bf16; } ways[] = {
        { "portable", "", "portable", IM_COMPUTE_F32 }, { "portable", "f32", "portable", IM_COMPUTE_F32 },
        { "portable", "bf16", "portable+bf16", IM_COMPUTE_BF16 }, { "avx512bf16", "", "avx512bf16", IM_COMPUTE_BF16 },
        { "avx512bf16", "f32", "avx512bf16+f32", IM_COMPUTE_F32 }, { "avx512bf16", "bf16", "avx512bf16", IM_COMPUTE_BF16 },
        { "avx512amx", "", "avx512amx", IM_COMPUTE_BF16 }, { "avx512amx", "f32", "avx512amx+f32", IM_COMPUTE_F32 },
    };
    for (int i = 0; i < 8; i++) {
        setenv("IMAGO_ISA", ways[i].isa, 1);
        setenv("IMAGO_COMPUTE", ways[i].how, 1);
        im_ctx *d = im_ctx_new("cpu", 1);
        bool there = strstr(im_cpu_isas(), ways[i].isa) && !strncmp(im_device_isa(d), ways[i].isa, strlen(ways[i].isa));
        const im_compute *found = there ? im_host_of(&d->dev)->compute : NULL;
        ck_assert_msg(!there || !strcmp(im_device_isa(d), ways[i].name), "%s, \"%s\": is called %s%s", ways[i].isa,
                      ways[i].how, im_device_isa(d), im_error(d));
        ck_assert_msg(!there || found[IM_BF16] == ways[i].bf16, "%s: bf16 is computed in way %d", ways[i].name,
                      (int)found[IM_BF16]);
        ck_assert(!there || (found[IM_F32] == IM_COMPUTE_F32 && found[IM_F16] == IM_COMPUTE_F32));
        ck_assert(!there || !strstr(im_device_kernel(d, IM_BF16), "bf16 dot") == (found[IM_BF16] == IM_COMPUTE_F32));
        im_ctx_free(d);
    }
    unsetenv("IMAGO_ISA");
    unsetenv("IMAGO_COMPUTE");
}
END_TEST

static char heard[64];
static void listen(void *arg, const char *text)
{
    snprintf(heard, sizeof heard, "%s%s", (const char *)arg, text);
}

START_TEST(warnings_go_where_they_are_sent)
{
    im_warn(c, "nobody listens");
    im_on_warning(c, listen, (void *)"heard: ");
    im_warn(c, "cut %d words", 3);
    ck_assert_str_eq(heard, "heard: cut 3 words");
    ck_assert(im_ok(c));
}
END_TEST

START_TEST(cancelling_ends_everything_after_it)
{
    im_tensor *x = filled(c, SHAPE(2, 3));
    im_cancel(c);
    ck_assert(im_cancelled(c));
    ck_assert_ptr_null(im_scale(c, x, 2));
    want_error("stopped", NULL);
}
END_TEST

int main(void)
{
    const TTest *const messages[] = {
        the_first_error_stays, a_long_error_says_that_it_was_cut, null_runs_through, a_missing_input_is_named,
        shape_errors_name_the_shapes, views_and_sizes_are_checked, an_unknown_device_is_an_error,
        ways_to_compute, warnings_go_where_they_are_sent, cancelling_ends_everything_after_it,
    };
    Suite *s = suite_create("errors");
    TCase *memory = tcase_create("memory"), *tc = tcase_create("messages");
    tcase_add_loop_test(memory, any_allocation_may_fail, 0, 2);
    tcase_set_timeout(memory, 120);
    tcase_add_checked_fixture(tc, open_context, close_context);
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++)
        tcase_add_test(tc, messages[i]);
    suite_add_tcase(s, memory);
    suite_add_tcase(s, tc);
    return suite_end(s);
}
