/* test_grad_products.c: gradients of linear, geglu and conv2d as torch gives them (golden/gradients.safetensors.gz), and
 * the kernels behind them at shapes that the cases of test_grad.c do not reach: many chunks, many threads, Winograd
 * everywhere or nowhere, products in bf16; against ref, added to what is there, nothing touched outside the arrays. */
#include "buffers.h"
#include "golden_tensors.h"
#include "products.h"
#include "tensor/ctx.h"
#include "tensor/tensor.h"

/* ---------------------------------------------------------------- torch */

typedef struct { const char *name; bool geglu, linear; im_act act; im_conv_attrs conv; } golden;

#define PAD(s, p) { .stride = s, .pad_top = p, .pad_left = p, .pad_bottom = p, .pad_right = p }
static const golden goldens[] = {
    { "linear.none", .linear = true }, { "linear.silu", .linear = true, .act = IM_ACT_SILU },
    { "linear.gelu", .linear = true, .act = IM_ACT_GELU }, { "linear.gelu_tanh", .linear = true, .act = IM_ACT_GELU_TANH },
    { "linear.quick_gelu", .linear = true, .act = IM_ACT_QUICK_GELU },
    { "linear.relu", .linear = true, .act = IM_ACT_RELU }, { "linear.tanh", .linear = true, .act = IM_ACT_TANH },
    { "linear_plain", .linear = true }, { "geglu", .geglu = true },
    { "conv3x3", .conv = PAD(1, 1) }, { "conv3x3_wide", .conv = PAD(1, 1) }, { "conv3x3_s2", .conv = PAD(2, 1) },
    { "conv3x3_s2_even", .conv = PAD(2, 1) }, { "conv1x1", .conv = PAD(1, 0) }, { "conv1x1_s2", .conv = PAD(2, 0) },
    { "conv7x7_s2", .conv = PAD(2, 3) }, { "conv3x3_chan_res", .conv = PAD(1, 1) },
    { "conv3x3_pad_end", .conv = { .stride = 2, .pad_bottom = 1, .pad_right = 1 } },
    { "conv3x3_up", .conv = { 1, 1, 1, 1, 1, 6, 8 } }, { "conv3x3_up_odd", .conv = { 1, 1, 1, 1, 1, 7, 9 } },
};

static im_tensor *read_golden(im_ctx *c, const im_safetensors *s, const char *name, const char *part)
{
    char key[80];
    snprintf(key, sizeof key, "%s.%s", name, part);
    const im_st_entry *e = im_st_find(s, key);
    return e ? im_from(c, IM_F32, e->ndim, e->shape, e->data) : NULL;
}

/* Both are f32; torch's values are rounded from f64, ours err by chains of at most 2,048 terms. Winograd everywhere, also
 * where few channels leave the sizes of intermediate values to chance, errs twice as much. */
static void near_golden(const char *isa, const char *name, const char *part, const im_tensor *got, const im_tensor *want)
{
    ck_assert_msg(got && want && im_numel(got) == im_numel(want), "%s: %s.%s is missing", isa, name, part);
    double error = 0, size = 0;
    for (int64_t i = 0; i < im_numel(want); i++) {
        double w = ((const float *)im_data(want))[i], d = ((const float *)im_data(got))[i] - w;
        error += d * d;
        size += w * w;
    }
    ck_assert_msg(sqrt(error / size) <= 1e-6, "%s: %s.%s: relative error %.3g", isa, name, part, sqrt(error / size));
}

static void golden_case(im_ctx *c, const im_safetensors *s, const golden *g, const char *isa)
{
    static const char *const parts[] = { "x", "w", "b", "chan", "res" };
    static const char *const grads[] = { "dx", "dw", "db", "dchan", "dres" };
    im_tensor *in[5];
    im_scope_push(c);
    for (int i = 0; i < 5; i++)
        if ((in[i] = read_golden(c, s, g->name, parts[i])))
            im_want_grad(c, in[i]);
    im_tensor *want = read_golden(c, s, g->name, "y"), *dy = read_golden(c, s, g->name, "dy");
    im_tape_begin(c);
    im_tensor *y = g->geglu ? im_linear_geglu(c, in[0], in[1], in[2])
                 : g->linear ? im_linear(c, in[0], in[1], in[2], in[4], g->act)
                 : im_conv2d(c, in[0], in[1], in[2], in[3], in[4], &g->conv);
    near_golden(isa, g->name, "y", y, want);
    ck_assert_msg(im_backward_from(c, y, dy), "%s", im_error(c));
    for (int i = 0; i < 5; i++)
        if (in[i])
            near_golden(isa, g->name, grads[i], in[i]->grad, read_golden(c, s, g->name, grads[i]));
    im_scope_pop(c);
}

START_TEST(as_torch)
{
    if (_i >= n_devices)
        return;
    const char *isa = _i < 0 ? "ref" : devices[_i].isa;
    choose_isa(_i < 0 ? NULL : isa);
    im_ctx *c = im_ctx_new(_i < 0 ? "ref" : "cpu", 2);
    choose_isa(NULL);
    im_safetensors *s = golden_tensors(c, "tests/golden/gradients.safetensors.gz");
    for (int everywhere = 0; everywhere < 2; everywhere++) {
        im_host_of(&c->dev)->winograd = everywhere ? 2 : 1;
        for (int k = 0; k < COUNT(goldens); k++)
            golden_case(c, s, &goldens[k], isa);
    }
    im_st_close(s);
    im_ctx_free(c);
}
END_TEST

/* ---------------------------------------------------------------- kernels */

typedef struct { int batch, h, w, cin, cout, kernel, stride, top, left, bottom, right, up_h, up_w; } shape;

static const shape shapes[] = {
    { 2, 33, 30, 64, 80, 3, 1, 1, 1, 1, 1, 0, 0 },             /* Winograd by the rule, two chunks of tiles            */
    { 5, 24, 25, 20, 33, 3, 1, 1, 1, 1, 1, 0, 0 },             /* three chunks of tiles                                */
    { 3, 9, 7, 17, 18, 3, 1, 0, 2, 1, 0, 0, 0 },               /* uneven padding                                       */
    { 1, 13, 9, 1040, 20, 3, 1, 1, 1, 1, 1, 0, 0 },            /* more channels than there are zeros                   */
    { 1, 9, 9, 300, 2000, 3, 1, 1, 1, 1, 1, 0, 0 },            /* filters in several blocks                            */
    { 2, 7, 7, 64, 70, 3, 1, 1, 1, 1, 1, 0, 0 },               /* the smallest picture of the rule                     */
    { 2, 9, 11, 24, 40, 3, 1, 1, 1, 1, 1, 18, 22 },            /* upsampler                                            */
    { 2, 5, 6, 16, 18, 3, 1, 1, 1, 1, 1, 8, 6 },
    { 3, 40, 40, 16, 300, 1, 1, 0, 0, 0, 0, 0, 0 },            /* chunks of pixels, two areas                          */
    { 4, 50, 30, 32, 16, 1, 1, 0, 0, 0, 0, 0, 0 },
    { 2, 30, 31, 32, 48, 3, 2, 1, 1, 1, 1, 0, 0 },             /* stride 2                                             */
    { 2, 30, 31, 16, 20, 3, 2, 0, 0, 1, 1, 0, 0 },             /* the VAE's downsampler                                */
    { 2, 17, 18, 16, 40, 1, 2, 0, 0, 0, 0, 0, 0 },
    { 2, 40, 42, 3, 64, 7, 2, 3, 3, 3, 3, 0, 0 },              /* ResNet's first                                       */
    { 3, 30, 31, 4, 48, 3, 1, 1, 1, 1, 1, 0, 0 },              /* a UNet's first, two chunks                           */
    { 1, 9, 11, 5, 16, 3, 1, 1, 1, 1, 1, 20, 13 },             /* few channels, enlarged                               */
    { 1, 21, 20, 9, 10, 5, 3, 2, 1, 0, 2, 0, 0 },
    { 1, 3, 4, 8, 9, 5, 1, 4, 4, 4, 4, 0, 0 },                 /* windows wider than the picture                       */
    { 1, 12, 12, 16, 16, 2, 4, 0, 0, 0, 0, 0, 0 },             /* pixels that no window meets                          */
};

typedef struct {
    im_conv_args f;
    im_conv_dx_args x;
    im_conv_dw_args w;
    int64_t nx, nw, ny;
    float *old_x, *old_w;                                      /* what is there where the kernels add                  */
} call;

static call make_call(const shape *s)
{
    int k = s->kernel, up_h = s->up_h ? s->up_h : s->h, up_w = s->up_w ? s->up_w : s->w;
    int oh = (up_h + s->top + s->bottom - k) / s->stride + 1, ow = (up_w + s->left + s->right - k) / s->stride + 1;
    call q = { .nx = (int64_t)s->batch * s->h * s->w * s->cin, .nw = (int64_t)s->cout * k * k * s->cin,
               .ny = (int64_t)s->batch * oh * ow * s->cout };
    float *values = random_floats(q.nw, 1);
    im_weight wt = make_weight(values, s->cout, k * k * s->cin, IM_F32, false, false, 0);
    float *x = random_floats(q.nx, 1), *dy = random_floats(q.ny, 1);
    q.f = (im_conv_args){ s->batch, s->h, s->w, s->cin, s->cout, k, k, oh, ow, s->stride, s->top, s->left, up_h, up_w,
                          .x.p = x, .wt = wt };
    q.x = (im_conv_dx_args){ s->batch, s->h, s->w, s->cin, s->cout, k, k, oh, ow, s->stride, s->top, s->left, up_h, up_w,
                             .dy.p = dy, .wt = wt };
    q.w = (im_conv_dw_args){ s->batch, s->h, s->w, s->cin, s->cout, k, k, oh, ow, s->stride, s->top, s->left, up_h, up_w,
                             .x.p = x, .dy.p = dy };
    q.old_x = random_floats(q.nx, 1);
    q.old_w = random_floats(q.nw, 1);
    return q;
}

typedef struct { float *y, *dx, *dw; } results;

static results run(im_device *dev, const call *q, bool add)
{
    results r = { guarded((size_t)q->ny * 4), guarded((size_t)q->nx * 4), guarded((size_t)q->nw * 4) };
    im_conv_args f = q->f;
    im_conv_dx_args x = q->x;
    im_conv_dw_args w = q->w;
    memcpy(r.dx, q->old_x, (size_t)q->nx * 4);
    memcpy(r.dw, q->old_w, (size_t)q->nw * 4);
    f.y.p = r.y;
    x.dx.p = r.dx;
    w.dw = r.dw;
    x.add = w.add = add;
    ck_assert_int_eq(dev->k.conv(dev, &f), IM_DONE);
    ck_assert_int_eq(dev->k.conv_dx(dev, &x), IM_DONE);
    ck_assert_int_eq(dev->k.conv_dw(dev, &w), IM_DONE);
    return r;
}

static double distance(const float *got, const float *want, int64_t n)
{
    double error = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)got[i] - want[i];
        error += d * d;
        size += (double)want[i] * want[i];
    }
    return sqrt(error / (size + 1e-30));
}

/* Relative rms: a chain of K terms errs by 0.35 eps sqrt(K); Winograd by 1.7 times that and its transforms' few eps. */
static double bound(int64_t k, int winograd)
{
    return 0x1p-23 * (winograd ? 3 + 0.7 * sqrt((double)k) : 1 + 0.5 * sqrt((double)k));
}

static void close_to(const im_device *dev, int i, const char *what, const float *got, const float *want, int64_t n,
                     double limit)
{
    double d = distance(got, want, n);
    ck_assert_msg(d <= limit, "%s, Winograd %d: shape %d: %s: relative error %.3g, allowed %.3g", dev->isa,
                  im_host_of(dev)->winograd, i, what, d, limit);
}

START_TEST(kernels_meet_ref)
{
    call q = make_call(&shapes[_i]);
    im_ctx *c = im_ctx_new("ref", 2);
    bool add = _i % 2;
    results ref = run(&c->dev, &q, add);
    const im_conv_args *f = &q.f;
    int64_t k = (int64_t)f->kh * f->kw * f->cin, kx = (int64_t)f->kh * f->kw * f->cout, m = f->batch * f->oh * f->ow;
    for (int winograd = 0; winograd < 3; winograd++) {
        results first = { 0 };
        for (int d = 0; d < n_devices; d++) {
            im_device *dev = &devices[d], three;
            im_host_of(dev)->winograd = winograd;
            results r = run(dev, &q, add);
            close_to(dev, _i, "y", r.y, ref.y, q.ny, bound(k, winograd));
            close_to(dev, _i, "dx", r.dx, ref.dx, q.nx, bound(kx, winograd));
            close_to(dev, _i, "dw", r.dw, ref.dw, q.nw, bound(m < 2048 ? m : 2048, winograd));
            open_device(&three, dev->isa, 3);
            im_host_of(&three)->winograd = winograd;
            results r3 = run(&three, &q, add);
            im_device_close(&three);
            first = first.y || !strcmp(dev->isa, "portable") ? first : r;
            for (int other = 0; other < (first.y ? 2 : 1); other++) {
                const results *a = other ? &first : &r3;
                ck_assert_msg(!memcmp(a->y, r.y, (size_t)q.ny * 4) && !memcmp(a->dx, r.dx, (size_t)q.nx * 4)
                              && !memcmp(a->dw, r.dw, (size_t)q.nw * 4), "%s, Winograd %d: shape %d: other bits %s",
                              dev->isa, winograd, _i, other ? "than on the first instruction set" : "with three threads");
            }
        }
    }
    im_ctx_free(c);
    release_all();
}
END_TEST

/* Rounding both factors to bf16 (8 bits) errs by 2^-9 sqrt(2) / sqrt(3) of each product's size, and so of the sum's. */
START_TEST(bf16_products)
{
    call q = make_call(&shapes[_i]);
    im_ctx *c = im_ctx_new("ref", 2);
    results f32 = run(&c->dev, &q, false);
    im_set_compute_dtype(c, IM_BF16);
    results ref = run(&c->dev, &q, false);
    double want = distance(ref.y, f32.y, q.ny);
    ck_assert_msg(want > 5e-4 && want < 4e-3, "ref: bf16 products differ by %.3g from those in f32", want);
    for (int d = 0; d < n_devices; d++) {
        im_device *dev = &devices[d];
        dev->compute_dtype = IM_BF16;
        im_host_of(dev)->winograd = 0;
        results r = run(dev, &q, false);
        dev->compute_dtype = IM_F32;
        close_to(dev, _i, "y in bf16", r.y, f32.y, q.ny, 4e-3);
        close_to(dev, _i, "dx in bf16", r.dx, f32.dx, q.nx, 4e-3);
        close_to(dev, _i, "dw in bf16", r.dw, f32.dw, q.nw, 4e-3);
        /* Where the device multiplies bf16 it meets ref in bf16, far closer than f32 does; dw with few channels is f32. */
        double limit = im_host_of(dev)->compute[IM_BF16] ? 1e-5 : 4e-3, limit_dw = q.f.cin <= 12 ? 4e-3 : limit;
        close_to(dev, _i, "y beside ref in bf16", r.y, ref.y, q.ny, limit);
        close_to(dev, _i, "dx beside ref in bf16", r.dx, ref.dx, q.nx, limit);
        close_to(dev, _i, "dw beside ref in bf16", r.dw, ref.dw, q.nw, limit_dw);
    }
    im_ctx_free(c);
    release_all();
}
END_TEST

/* ---------------------------------------------------------------- outer and colsum, with strides */

typedef struct { int64_t m; int ni, nj, gap; } outer_shape;
static const outer_shape outers[] = { { 1, 1, 1, 0 }, { 5, 3, 40, 2 }, { 2048, 14, 32, 0 }, { 2049, 15, 33, 1 },
                                      { 300, 500, 600, 5 }, { 9000, 65, 31, 3 }, { 129, 13, 257, 0 } };

START_TEST(outer_meets_ref)
{
    const outer_shape *s = &outers[_i];
    im_ctx *c = im_ctx_new("ref", 2);
    int64_t lda = s->ni + s->gap, ldb = s->nj + 2 * s->gap, ldc = s->nj + s->gap, n = (s->ni - 1) * ldc + s->nj;
    im_outer_args a = { .m = s->m, .ni = s->ni, .nj = s->nj, .a.p = random_floats((s->m - 1) * lda + s->ni, 1), .lda = lda,
                        .b.p = random_floats((s->m - 1) * ldb + s->nj, 1), .ldb = ldb, .ldc = ldc, .add = _i % 2 };
    im_colsum_args sum = { .batch = 1, .rows = s->m, .n = s->ni, .x.p = random_floats(s->m * s->ni, 1), .ldy = s->ni,
                           .add = _i % 2 };
    float *old = random_floats(n, 1), *old_sum = random_floats(s->ni, 1), *want = guarded((size_t)n * 4);
    float *want_sum = guarded((size_t)s->ni * 4), *one = NULL;
    a.c = memcpy(want, old, (size_t)n * 4);
    sum.y.p = memcpy(want_sum, old_sum, (size_t)s->ni * 4);
    ck_assert_int_eq(c->dev.k.outer(&c->dev, &a) + c->dev.k.colsum(&c->dev, &sum), IM_DONE);
    for (int d = 0; d < n_devices; d++)
        for (int threads = 1; threads <= 3; threads++) {
            im_device dev;
            open_device(&dev, devices[d].isa, threads);
            a.c = memcpy(guarded((size_t)n * 4), old, (size_t)n * 4);
            sum.y.p = memcpy(guarded((size_t)s->ni * 4), old_sum, (size_t)s->ni * 4);
            ck_assert_int_eq(dev.k.outer(&dev, &a) + dev.k.colsum(&dev, &sum), IM_DONE);
            close_to(&dev, _i, "outer", a.c, want, n, bound(s->m < 2048 ? s->m : 2048, 0));
            close_to(&dev, _i, "colsum", F32(sum.y), want_sum, s->ni, bound(32, 0));
            one = threads == 1 ? a.c : one;
            ck_assert_msg(!memcmp(one, a.c, (size_t)n * 4), "%s, outer %d: other bits with %d threads", dev.isa, _i,
                          threads);
            im_device_close(&dev);
        }
    im_ctx_free(c);
    release_all();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("grad_products");
    TCase *tc = tcase_create("products");
    tcase_add_unchecked_fixture(tc, open_devices, close_devices);
    tcase_add_loop_test(tc, as_torch, -1, MAX_ISAS);
    tcase_add_loop_test(tc, kernels_meet_ref, 0, COUNT(shapes));
    tcase_add_loop_test(tc, bf16_products, 0, COUNT(shapes));
    tcase_add_loop_test(tc, outer_meets_ref, 0, COUNT(outers));
    tcase_set_timeout(tc, 300);
    suite_add_tcase(s, tc);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
