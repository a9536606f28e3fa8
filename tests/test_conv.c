/* test_conv.c: the convolution of the cpu device on every instruction set that this machine can run, against a direct
 * loop in f64: any kernel size, stride, padding and enlargement, few and many channels; nothing read or written
 * outside the arrays; the same bits on all ISAs with fused multiply-add, at any number of threads, in any batch. */
#include "arithmetic.h"
#include "buffers.h"
#include "products.h"

typedef struct {
    int batch, h, w, cin, cout, kh, kw, stride, top, left, bottom, right, up_h, up_w;
} shape;

static const shape shapes[] = {
    { 1, 5, 6, 3, 7, 3, 3, 1, 1, 1, 1, 1, 0, 0 },              /* as SD has it: 3x3, one pixel of padding */
    { 2, 9, 7, 4, 35, 3, 3, 1, 1, 1, 1, 1, 0, 0 },
    { 2, 8, 8, 33, 4, 3, 3, 1, 1, 1, 1, 1, 0, 0 },
    { 2, 8, 9, 40, 33, 3, 3, 2, 1, 1, 1, 1, 0, 0 },            /* downsampler of the UNet */
    { 1, 8, 6, 5, 20, 3, 3, 2, 0, 0, 1, 1, 0, 0 },             /* of the VAE's encoder: padded below and right only */
    { 2, 4, 5, 20, 18, 3, 3, 1, 1, 1, 1, 1, 8, 10 },           /* upsampler */
    { 1, 4, 5, 6, 18, 3, 3, 1, 1, 1, 1, 1, 7, 9 },             /* to an odd size */
    { 1, 4, 5, 6, 5, 3, 3, 1, 1, 1, 1, 1, 8, 5 },              /* only one axis grows */
    { 1, 4, 5, 6, 5, 3, 3, 2, 2, 0, 1, 3, 4, 13 },
    { 3, 6, 5, 17, 16, 1, 1, 1, 0, 0, 0, 0, 0, 0 },
    { 2, 7, 6, 16, 19, 1, 1, 2, 0, 0, 0, 0, 0, 0 },
    { 1, 12, 11, 3, 9, 7, 7, 2, 3, 3, 3, 3, 0, 0 },            /* stem of a ResNet */
    { 1, 6, 9, 7, 12, 2, 5, 1, 0, 2, 1, 2, 0, 0 },             /* nothing square */
    { 1, 3, 3, 2, 3, 5, 5, 1, 2, 2, 2, 2, 0, 0 },              /* kernel larger than the picture */
    { 1, 2, 2, 5, 3, 3, 3, 1, 6, 7, 5, 6, 0, 0 },              /* padding wider than the kernel */
    { 1, 2, 2, 5, 3, 3, 3, 3, 6, 7, 5, 6, 5, 4 },
    { 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0 },
    { 7, 2, 1, 3, 5, 1, 1, 1, 0, 0, 0, 0, 0, 0 },              /* several pictures in one tile */
    { 1, 1, 9, 300, 17, 1, 3, 1, 0, 1, 0, 1, 0, 0 },           /* blocks of k end inside a tap */
    { 2, 17, 16, 32, 330, 3, 3, 1, 1, 1, 1, 1, 0, 0 },         /* several tasks */
};
static const im_dtype dtypes[] = { IM_F32, IM_F16, IM_BF16 };

typedef struct { im_conv_args a; float *values; int64_t outputs; } call;     /* values (cout, kh, kw, cin) as stored */

static int extent(int in, int up, int before, int after, int kernel, int stride)
{
    return ((up ? up : in) + before + after - kernel) / stride + 1;
}

static call make_call(const shape *s, im_dtype t, bool packed, bool bias, bool chan, bool res)
{
    int k = s->kh * s->kw * s->cin, oh = extent(s->h, s->up_h, s->top, s->bottom, s->kh, s->stride),
        ow = extent(s->w, s->up_w, s->left, s->right, s->kw, s->stride);
    call q = { .values = random_floats((int64_t)s->cout * k, 1.7f / sqrtf((float)k)),
               .outputs = (int64_t)s->batch * oh * ow * s->cout };
    q.a = (im_conv_args){
        .batch = s->batch, .h = s->h, .w = s->w, .cin = s->cin, .cout = s->cout, .kh = s->kh, .kw = s->kw, .oh = oh,
        .ow = ow, .stride = s->stride, .pad_top = s->top, .pad_left = s->left, .up_h = s->up_h ? s->up_h : s->h,
        .up_w = s->up_w ? s->up_w : s->w, .x.p = random_floats((int64_t)s->batch * s->h * s->w * s->cin, 1.7f),
        .wt = make_weight(q.values, s->cout, k, t, false, packed, 0), .bias = bias ? random_floats(s->cout, 1) : NULL,
        .chan.p = chan ? random_floats((s->batch - 1) * (s->cout + 3) + s->cout, 1) : NULL, .ldchan = s->cout + 3,
        .res.p = res ? random_floats(q.outputs, 1) : NULL, .y.p = guarded((size_t)q.outputs * sizeof(float)) };
    return q;
}

static void run(im_device *dev, const im_conv_args *a)
{
    ck_assert_int_eq(dev->k.conv(dev, a), IM_DONE);
}

/* One output value; *size: the sum of what its terms are without their signs. */
static double direct(const call *q, int b, int oy, int ox, int n, bool round_x, double *size)
{
    const im_conv_args *a = &q->a;
    double y = a->bias ? a->bias[n] : 0;
    for (int i = 0; i < a->kh; i++)
        for (int j = 0; j < a->kw; j++) {
            int uy = oy * a->stride + i - a->pad_top, ux = ox * a->stride + j - a->pad_left;
            if (uy < 0 || ux < 0 || uy >= a->up_h || ux >= a->up_w)
                continue;
            int64_t pixel = ((int64_t)b * a->h + uy * a->h / a->up_h) * a->w + ux * a->w / a->up_w;
            const float *x = floats(F32(a->x)) + pixel * a->cin;
            const float *w = q->values + ((int64_t)(n * a->kh + i) * a->kw + j) * a->cin;
            for (int c = 0; c < a->cin; c++) {
                y += (double)(round_x ? rounded(x[c], IM_BF16) : x[c]) * w[c];
                *size += fabs((double)x[c] * w[c]);
            }
        }
    return y + (a->chan.p ? F32(a->chan)[b * a->ldchan + n] : 0);
}

static void compare(im_device *dev, const call *q, int number)
{
    const im_conv_args *a = &q->a;
    double worst = 0, share = a->wt.dtype == IM_F16 ? lost(dev, IM_F16) : 0;
    run(dev, a);
    for (int64_t i = 0; i < q->outputs; i++) {
        int n = (int)(i % a->cout), ox = (int)(i / a->cout % a->ow), oy = (int)(i / a->cout / a->ow % a->oh);
        double size = 0, y = direct(q, (int)(i / a->cout / a->ow / a->oh), oy, ox, n,
                                    a->wt.dtype == IM_BF16 && own_bits(dev, IM_BF16), &size);
        double error = fabs(y + (F32(a->res) ? floats(F32(a->res))[i] : 0) - floats(F32(a->y))[i]) - share * size;
        worst = !(error <= worst) ? error : worst;
    }
    ck_assert_msg(worst <= tolerance(a->wt.k), "%s %s%s shape %d: error %g, allowed %g", dev->isa,
                  im_dtype_name(a->wt.dtype), a->wt.packed ? " packed" : "", number, worst, tolerance(a->wt.k));
}

START_TEST(every_shape)
{
    for (int d = 0; d < n_devices; d++)
        for (int t = 0; t < 3; t++) {
            int mask = _i + t;
            call q = make_call(&shapes[_i], dtypes[t], !(mask & 1), !(mask & 2), mask & 1, mask % 3 == 0);
            compare(&devices[d], &q, _i);
            release_all();
        }
}
END_TEST

static float *result(im_device *dev, im_conv_args a, int64_t outputs)
{
    a.y.p = guarded((size_t)outputs * sizeof(float));
    run(dev, &a);
    return F32(a.y);
}

START_TEST(bits_agree)                                         /* between ISAs, with threads, and alone in the batch */
{
    for (int t = 0; t < 3; t++) {
        call q = make_call(&shapes[_i], dtypes[t], true, true, true, true);
        size_t bytes = (size_t)q.outputs * sizeof(float);
        const float *first = NULL;
        for (int d = 0; d < n_devices; d++) {
            im_device *dev = &devices[d], three;
            const float *y = result(dev, q.a, q.outputs);
            if (strcmp(dev->isa, "portable") && !own_bits(dev, dtypes[t])) {
                first = first ? first : y;
                ck_assert_msg(!memcmp(first, y, bytes), "%s shape %d: other bits", dev->isa, _i);
            }
            open_device(&three, dev->isa, 3);
            ck_assert_msg(!memcmp(y, result(&three, q.a, q.outputs), bytes), "%s shape %d: threads", dev->isa, _i);
            im_device_close(&three);
            im_conv_args last = q.a;
            int64_t rest = last.batch - 1, one = q.outputs / last.batch;
            last.batch = 1;
            last.x = im_cbuf_at(last.x, rest * last.h * last.w * last.cin);
            last.chan = im_cbuf_at(last.chan, rest * last.ldchan);
            last.res = im_cbuf_at(last.res, rest * one);
            ck_assert_msg(!memcmp(y + rest * one, result(dev, last, one), (size_t)one * sizeof *y),
                          "%s shape %d: the last picture differs alone", dev->isa, _i);
        }
        release_all();
    }
}
END_TEST

START_TEST(a_nan_reaches_its_windows_only)
{
    static const shape s = { 1, 9, 9, 5, 20, 3, 3, 1, 1, 1, 1, 1, 0, 0 };
    for (int d = 0; d < n_devices; d++)
        for (int t = 0; t < 3; t++) {
            call q = make_call(&s, dtypes[t], true, true, false, false);
            ((float *)(uintptr_t)F32(q.a.x))[(4 * 9 + 6) * 5 + 2] = NAN;
            run(&devices[d], &q.a);
            for (int i = 0; i < 81 * 20; i++) {
                int y = i / 20 / 9, x = i / 20 % 9;
                ck_assert_int_eq(isnan(floats(F32(q.a.y))[i]) != 0, abs(y - 4) <= 1 && abs(x - 6) <= 1);
            }
            release_all();
        }
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        LOOP(every_shape, COUNT(shapes)), LOOP(bits_agree, COUNT(shapes)), ONCE(a_nan_reaches_its_windows_only),
    };
    return suite_run("conv", open_devices, close_devices, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
