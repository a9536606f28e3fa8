/* test_winograd.c: 3x3 convolutions of stride 1 by Winograd's F(4x4, 3x3) (tensor/cpu/winograd.c), in shapes that the rule
 * would leave to direct sums as well: against sums in f64 on every instruction set; the same bits on all of them with
 * fused multiply-add, with packed and plain weights, at any number of threads, in any batch; nothing touched outside the
 * arrays. */
#include "buffers.h"
#include "products.h"

typedef struct { int batch, h, w, cin, cout, top, left, bottom, right, up_h, up_w; } shape;

static const shape shapes[] = {
    { 1, 4, 4, 1, 1, 1, 1, 1, 1, 0, 0 },                       /* one tile                                             */
    { 1, 5, 6, 3, 7, 1, 1, 1, 1, 0, 0 },                       /* cut tiles                                            */
    { 2, 9, 7, 16, 35, 1, 1, 1, 1, 0, 0 },
    { 3, 8, 8, 33, 48, 1, 1, 1, 1, 0, 0 },
    { 1, 3, 3, 20, 18, 0, 0, 0, 0, 0, 0 },                     /* a single output                                      */
    { 2, 6, 5, 40, 16, 0, 2, 1, 0, 0, 0 },                     /* uneven padding                                       */
    { 1, 2, 2, 17, 33, 6, 7, 5, 6, 0, 0 },                     /* tiles without any input                              */
    { 2, 4, 5, 20, 18, 1, 1, 1, 1, 8, 10 },                    /* upsampler                                            */
    { 1, 4, 5, 18, 34, 1, 1, 1, 1, 7, 9 },
    { 1, 4, 5, 6, 5, 1, 1, 1, 1, 8, 5 },
    { 2, 7, 6, 300, 70, 1, 1, 1, 1, 0, 0 },                    /* few tiles, several chunks of channels                */
    { 1, 32, 32, 1700, 20, 1, 1, 1, 1, 0, 0 },                 /* V does not fit at once                               */
    { 2, 33, 30, 64, 100, 1, 1, 1, 1, 0, 0 },                  /* many tiles                                           */
    { 1, 45, 46, 301, 200, 1, 1, 1, 1, 0, 0 },                 /* U does not fit at once                               */
    { 1, 25, 24, 330, 40, 1, 1, 1, 1, 50, 43 },
};
static const im_dtype dtypes[] = { IM_F32, IM_F16, IM_BF16 };

typedef struct { im_conv_args a; float *values; int64_t outputs; } call;     /* values (cout, 3, 3, cin) as stored */

static call make_call(const shape *s, im_dtype t, bool packed, bool bias, bool chan, bool res)
{
    int k = 9 * s->cin, up_h = s->up_h ? s->up_h : s->h, up_w = s->up_w ? s->up_w : s->w;
    int oh = up_h + s->top + s->bottom - 2, ow = up_w + s->left + s->right - 2;
    call q = { .values = random_floats((int64_t)s->cout * k, 1.7f / sqrtf((float)k)),
               .outputs = (int64_t)s->batch * oh * ow * s->cout };
    q.a = (im_conv_args){
        .batch = s->batch, .h = s->h, .w = s->w, .cin = s->cin, .cout = s->cout, .kh = 3, .kw = 3, .oh = oh, .ow = ow,
        .stride = 1, .pad_top = s->top, .pad_left = s->left, .up_h = up_h, .up_w = up_w,
        .x.p = random_floats((int64_t)s->batch * s->h * s->w * s->cin, 1.7f),
        .wt = make_weight(q.values, s->cout, k, t, false, packed, packed ? 0 : 3),
        .bias = bias ? random_floats(s->cout, 1) : NULL,
        .chan.p = chan ? random_floats((s->batch - 1) * (s->cout + 3) + s->cout, 1) : NULL, .ldchan = s->cout + 3,
        .res.p = res ? random_floats(q.outputs, 1) : NULL, .y.p = guarded((size_t)q.outputs * sizeof(float)) };
    return q;
}

static float *run(im_device *dev, im_conv_args a, int64_t outputs, int winograd)
{
    a.y.p = guarded((size_t)outputs * sizeof(float));
    im_host_of(dev)->winograd = winograd;
    ck_assert_int_eq(dev->k.conv(dev, &a), IM_DONE);
    return F32(a.y);
}

static double exact(const call *q, int64_t i)
{
    const im_conv_args *a = &q->a;
    int n = (int)(i % a->cout), ox = (int)(i / a->cout % a->ow), oy = (int)(i / a->cout / a->ow % a->oh);
    int b = (int)(i / a->cout / a->ow / a->oh);
    double y = a->bias ? a->bias[n] : 0;
    for (int tap = 0; tap < 9; tap++) {
        int uy = oy + tap / 3 - a->pad_top, ux = ox + tap % 3 - a->pad_left;
        if (uy < 0 || ux < 0 || uy >= a->up_h || ux >= a->up_w)
            continue;
        int64_t pixel = ((int64_t)b * a->h + uy * a->h / a->up_h) * a->w + ux * a->w / a->up_w;
        const float *x = floats(F32(a->x)) + pixel * a->cin;
        const float *w = q->values + ((int64_t)n * 9 + tap) * a->cin;
        for (int c = 0; c < a->cin; c++)
            y += (double)x[c] * w[c];
    }
    return y + (F32(a->chan) ? F32(a->chan)[b * a->ldchan + n] : 0) + (F32(a->res) ? floats(F32(a->res))[i] : 0);
}

/* With sums of size 1 the error is normal with a deviation of 1.5 sqrt(cin) 2^-24 (bench/LOG.md), more by half in the
 * last row and column of a tile, and double where enlargement makes inputs and so intermediate values alike; few channels
 * leave the sizes of weights and sums to chance. 16 deviations are beyond all that. Bias, chan and res add a few units. */
static double bound(int cin)
{
    return 16 * 0x1p-24 * (2 + 1.5 * sqrt(cin));
}

START_TEST(every_shape)
{
    for (int d = 0; d < n_devices; d++)
        for (int t = 0; t < 3; t++) {
            int mask = _i + t;
            call q = make_call(&shapes[_i], dtypes[t], mask % 4 != 3, !(mask & 2), mask & 1, mask % 3 == 0);
            const float *y = run(&devices[d], q.a, q.outputs, 2);
            double worst = 0;
            int64_t step = q.outputs / 3001 + 1;               /* prime to most sizes: all places in tiles and panels  */
            for (int64_t i = 0; i < q.outputs; i += step) {
                double error = fabs(exact(&q, i) - y[i]);
                worst = !(error <= worst) ? error : worst;
            }
            ck_assert_msg(worst <= bound(q.a.cin), "%s %s shape %d: error %g, allowed %g", devices[d].isa,
                          im_dtype_name(dtypes[t]), _i, worst, bound(q.a.cin));
            release_all();
        }
}
END_TEST

START_TEST(bits_agree)
{
    for (int t = 0; t < 3; t++) {
        call q = make_call(&shapes[_i], dtypes[t], true, true, true, true);
        im_conv_args plain = q.a, last = q.a;
        plain.wt = make_weight(q.values, q.a.cout, q.a.wt.k, dtypes[t], false, false, 1);
        int64_t rest = last.batch - 1, one = q.outputs / last.batch;
        last.batch = 1;
        last.x = im_cbuf_at(last.x, rest * last.h * last.w * last.cin);
        last.chan = im_cbuf_at(last.chan, rest * last.ldchan);
        last.res = im_cbuf_at(last.res, rest * one);
        size_t bytes = (size_t)q.outputs * sizeof(float), bytes_one = (size_t)one * sizeof(float);
        const float *first = NULL;
        for (int d = 0; d < n_devices; d++) {
            im_device *dev = &devices[d], three;
            const float *y = run(dev, q.a, q.outputs, 2);
            if (strcmp(dev->isa, "portable")) {                /* bf16 dots take no part in it */
                first = first ? first : y;
                ck_assert_msg(!memcmp(first, y, bytes), "%s shape %d: other bits", dev->isa, _i);
            }
            open_device(&three, dev->isa, 3);
            ck_assert_msg(!memcmp(y, run(&three, q.a, q.outputs, 2), bytes), "%s shape %d: threads", dev->isa, _i);
            im_device_close(&three);
            ck_assert_msg(!memcmp(y, run(dev, plain, q.outputs, 2), bytes), "%s shape %d: plain weights", dev->isa, _i);
            ck_assert_msg(!memcmp(y + rest * one, run(dev, last, one, 2), bytes_one), "%s shape %d: the last picture alone",
                          dev->isa, _i);
        }
        release_all();
    }
}
END_TEST

/* A batch that takes the way of many tiles, each of its pictures that of few. */
START_TEST(a_large_batch_has_the_bits_of_its_pictures)
{
    static const shape s = { 9, 13, 14, 64, 40, 1, 1, 1, 1, 0, 0 };
    for (int d = 0; d < n_devices; d++) {
        call q = make_call(&s, IM_F32, true, true, false, false);
        const float *all = run(&devices[d], q.a, q.outputs, 1);
        int64_t one = q.outputs / s.batch;
        for (int b = 0; b < s.batch; b++) {
            im_conv_args a = q.a;
            a.batch = 1;
            a.x = im_cbuf_at(a.x, b * a.h * a.w * a.cin);
            ck_assert(!memcmp(all + b * one, run(&devices[d], a, one, 1), (size_t)one * sizeof(float)));
        }
        release_all();
    }
}
END_TEST

/* Relative error in the mean: 320 channels measure 1.6e-6; interpolation at 1 and 2 would give 3.6e-6. */
START_TEST(points_are_well_chosen)
{
    static const shape s = { 1, 16, 16, 320, 16, 1, 1, 1, 1, 0, 0 };
    for (int d = 0; d < n_devices; d++) {
        call q = make_call(&s, IM_F32, true, false, false, false);
        const float *y = run(&devices[d], q.a, q.outputs, 1);
        double error = 0, size = 0;
        for (int64_t i = 0; i < q.outputs; i++) {
            double want = exact(&q, i);
            error += (y[i] - want) * (y[i] - want);
            size += want * want;
        }
        ck_assert_msg(sqrt(error / size) < 2.2e-6, "%s: %g", devices[d].isa, sqrt(error / size));
        release_all();
    }
}
END_TEST

START_TEST(a_nan_is_not_lost)                                  /* it may reach all of a tile, and no other tile */
{
    static const shape s = { 1, 13, 13, 20, 20, 1, 1, 1, 1, 0, 0 };
    static const float broken[] = { NAN, INFINITY, -INFINITY };
    for (int d = 0; d < n_devices; d++)
        for (int t = 0; t < 3; t++) {
            call q = make_call(&s, dtypes[t], true, true, false, false);
            ((float *)(uintptr_t)F32(q.a.x))[(4 * 13 + 6) * 20 + 2] = broken[t];
            const float *y = run(&devices[d], q.a, q.outputs, 2);
            for (int i = 0; i < 13 * 13 * 20; i++) {
                int oy = i / 20 / 13, ox = i / 20 % 13;
                bool window = abs(oy - 4) <= 1 && abs(ox - 6) <= 1, tile = oy / 4 <= 1 && ox / 4 == 1;
                ck_assert(!window || !isfinite(y[i]));
                ck_assert(tile || isfinite(y[i]));
            }
            release_all();
        }
}
END_TEST

static bool same(im_device *dev, const call *q, int one, int other)
{
    return !memcmp(run(dev, q->a, q->outputs, one), run(dev, q->a, q->outputs, other), (size_t)q->outputs * sizeof(float));
}

START_TEST(the_rule)
{
    static const struct { shape s; bool taken; } rule[] = {
        { { 1, 8, 8, 64, 4, 1, 1, 1, 1, 0, 0 }, true }, { { 3, 8, 8, 64, 4, 1, 1, 1, 1, 0, 0 }, true },
        { { 1, 4, 4, 64, 4, 1, 1, 1, 1, 8, 8 }, true }, { { 1, 7, 7, 64, 4, 1, 1, 1, 1, 0, 0 }, true },
        { { 1, 8, 6, 64, 4, 1, 1, 1, 1, 0, 0 }, false }, { { 9, 8, 6, 64, 4, 1, 1, 1, 1, 0, 0 }, false },
        { { 1, 8, 8, 63, 4, 1, 1, 1, 1, 0, 0 }, false } };
    for (int d = 0; d < n_devices; d++)
        for (int i = 0; i < COUNT(rule); i++) {
            call q = make_call(&rule[i].s, IM_F32, true, false, false, false);
            ck_assert(!same(&devices[d], &q, 0, 2));
            ck_assert(same(&devices[d], &q, 1, rule[i].taken ? 2 : 0));
            release_all();
        }
}
END_TEST

START_TEST(the_environment_switches_it_off)
{
    static const struct { const char *value; int winograd; } cases[] = { { NULL, 1 }, { "", 1 }, { "1", 1 }, { "0", 0 },
                                                                         { "2", 2 } };
    for (int i = 0; i < COUNT(cases); i++) {
        im_device dev;
        if (cases[i].value)
            setenv("IMAGO_WINOGRAD", cases[i].value, 1);
        open_device(&dev, "portable", 1);
        unsetenv("IMAGO_WINOGRAD");
        ck_assert_int_eq(im_host_of(&dev)->winograd, cases[i].winograd);
        im_device_close(&dev);
    }
}
END_TEST

START_TEST(it_stops)
{
    static const shape few = { 1, 8, 8, 64, 64, 1, 1, 1, 1, 0, 0 }, many = { 1, 48, 48, 64, 64, 1, 1, 1, 1, 0, 0 };
    volatile int stop = 1;
    for (int i = 0; i < 2; i++) {
        call q = make_call(i ? &many : &few, IM_F32, true, false, false, false);
        devices[0].stop = &stop;
        im_host_of(&devices[0])->winograd = 1;
        ck_assert_int_eq(devices[0].k.conv(&devices[0], &q.a), IM_STOPPED);
        for (int64_t k = 0; k < q.outputs; k++)
            ck_assert(floats(F32(q.a.y))[k] == 0);
        devices[0].stop = NULL;
        release_all();
    }
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        LOOP(every_shape, COUNT(shapes)), LOOP(bits_agree, COUNT(shapes)),
        ONCE(a_large_batch_has_the_bits_of_its_pictures), ONCE(points_are_well_chosen), ONCE(a_nan_is_not_lost),
        ONCE(the_rule), ONCE(the_environment_switches_it_off), ONCE(it_stops),
    };
    return suite_run("winograd", open_devices, close_devices, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
