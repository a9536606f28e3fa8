/* test_norm.c: group norm and layer norm of the cpu device on every instruction set that this machine can run: against
 * plain loops in f64 at odd sizes, in place, with a mean far from zero; nothing read or written outside the arrays; and
 * the promises of device.h: the same bits on all ISAs with fused multiply-add, at any number of threads, in any batch.
 * */
#include "buffers.h"
#include "products.h"

/* ---------------------------------------------------------------- group norm */

typedef struct { int batch; int64_t pixels; int channels, groups; bool silu; float mean; } shape;

static im_groupnorm_args make_call(shape s, bool in_place)
{
    int64_t n = s.batch * s.pixels * s.channels;
    im_groupnorm_args a = { .batch = s.batch, .pixels = s.pixels, .channels = s.channels, .groups = s.groups,
                            .eps = 1e-5f, .silu = s.silu,
                            .gamma = random_floats(s.channels, 2), .beta = random_floats(s.channels, 2) };
    float *x = random_floats(n, 1.7f);
    for (int64_t i = 0; i < n; i++)
        x[i] += s.mean * (1 + (float)(i % s.channels % 3));
    a.x.p = x;
    a.y.p = in_place ? x : filled(n, canary);
    return a;
}

static void run(im_device *dev, const im_groupnorm_args *a)
{
    ck_assert_int_eq(dev->k.groupnorm(dev, a), IM_DONE);
}

/* x and y apart. The sums of a chunk are chains of 32 roundings, the rest is f64; y = fma(x, scale, shift) with scale
 * and shift rounded to f32 errs by eps (|x scale| + |shift|), silu's slope is at most 1.1 and its own error 2.5 ulp. */
static void compare(const im_device *dev, const im_groupnorm_args *a)
{
    int size = a->channels / a->groups;
    for (int b = 0; b < a->batch; b++)
        for (int g = 0; g < a->groups; g++) {
            const float *x = F32(a->x) + b * a->pixels * a->channels + g * size;
            double mean = 0, sq = 0, n = (double)a->pixels * size;
            for (int64_t p = 0; p < a->pixels; p++)
                for (int c = 0; c < size; c++)
                    mean += x[p * a->channels + c] / n;
            for (int64_t p = 0; p < a->pixels; p++)
                for (int c = 0; c < size; c++)
                    sq += (x[p * a->channels + c] - mean) * (x[p * a->channels + c] - mean);
            double rstd = 1 / sqrt(sq / n + a->eps);
            for (int64_t p = 0; p < a->pixels; p++)
                for (int c = 0; c < size; c++) {
                    int ch = g * size + c;
                    double scale = rstd * a->gamma[ch], shift = a->beta[ch] - mean * scale;
                    double v = x[p * a->channels + c] * scale + shift, y = a->silu ? v / (1 + exp(-v)) : v;
                    double found = F32(a->y)[(b * a->pixels + p) * a->channels + ch];
                    double parts = fabs(x[p * a->channels + c] * scale) + fabs(shift) + fabs(a->beta[ch]);
                    double allowed = 0x1p-24 * (1 + 8 * parts + 4 * fabs(y));
                    ck_assert_msg(fabs(found - y) <= allowed, "%s %dx%dx%d/%d%s: [%d][%d][%d] %.9g, wanted %.9g, "
                                  "error %g, allowed %g", dev->isa, a->batch, (int)a->pixels, a->channels, a->groups,
                                  a->silu ? " silu" : "", b, (int)p, ch, found, y, fabs(found - y), allowed);
                }
        }
}

static void on_all(shape s)
{
    for (int d = 0; d < n_devices; d++) {
        im_groupnorm_args a = make_call(s, false);
        run(&devices[d], &a);
        compare(&devices[d], &a);
        size_t bytes = (size_t)(s.batch * s.pixels * s.channels) * sizeof(float);
        float *x = memcpy(guarded(bytes), F32(a.x), bytes);
        im_groupnorm_args in_place = a;
        in_place.x.p = in_place.y.p = x;
        run(&devices[d], &in_place);
        ck_assert_msg(!memcmp(x, F32(a.y), bytes), "%s: in place it differs", devices[d].isa);
        release_all();
    }
}

START_TEST(group_norm_sizes)
{
    for (int c = 1; c <= 70; c++)
        on_all((shape){ 1 + c % 2, 1 + c * 7 % 90, c, c, c & 1, 0.5f });           /* groups of one channel */
    for (int c = 1; c <= 40; c++)
        on_all((shape){ 1 + c % 3, 1 + c * 5 % 70, c * (1 + c % 5), 1 + c % 5, c & 1, 0 });
    static const int pixels[] = { 1, 2, 31, 32, 33, 63, 64, 65, 127, 128, 129, 160, 1000 };
    for (int i = 0; i < COUNT(pixels); i++)
        on_all((shape){ 2, pixels[i], 48, 12, i & 1, -1 });
    on_all((shape){ 1, 500, 320, 32, true, 1 });
    on_all((shape){ 2, 64, 2560, 32, true, 0 });
    on_all((shape){ 1, 9, 1000, 8, false, 0 });
}
END_TEST

START_TEST(a_mean_far_from_zero)                               /* centred squares: no cancellation in the variance */
{
    on_all((shape){ 1, 700, 64, 32, false, 100 });
    on_all((shape){ 1, 700, 64, 64, false, 3000 });
}
END_TEST

START_TEST(a_constant_image_gives_beta)                        /* variance exactly 0 */
{
    for (int d = 0; d < n_devices; d++) {
        im_groupnorm_args a = make_call((shape){ 2, 100, 24, 3, false, 0 }, false);
        a.x.p = filled(2 * 100 * 24, 3);
        run(&devices[d], &a);
        for (int i = 0; i < 2 * 100 * 24; i++)
            ck_assert_msg(fabsf(F32(a.y)[i] - a.beta[i % 24]) <= 0x1p-23f * 3 * 633, "%s: %g", devices[d].isa, F32(a.y)[i]);
        release_all();
    }
}
END_TEST

START_TEST(a_nan_stays_in_its_group)
{
    for (int d = 0; d < n_devices; d++) {
        im_groupnorm_args a = make_call((shape){ 2, 70, 40, 4, true, 0 }, false);
        (F32(a.x))[33 * 40 + 12] = NAN;
        run(&devices[d], &a);
        for (int i = 0; i < 2 * 70 * 40; i++)
            ck_assert((isnan(F32(a.y)[i]) != 0) == (i < 70 * 40 && i % 40 / 10 == 1));
        release_all();
    }
}
END_TEST

/* ---------------------------------------------------------------- layer norm */

typedef struct { int64_t rows; int channels, gap; float mean; } rows_shape;

static im_layernorm_args make_rows(rows_shape s)
{
    im_layernorm_args a = { .rows = s.rows, .channels = s.channels, .eps = 1e-5f, .ldx = s.channels + s.gap,
                            .ldy = s.channels + 2 * s.gap, .gamma = random_floats(s.channels, 2),
                            .beta = random_floats(s.channels, 2) };
    int64_t n = (s.rows - 1) * a.ldx + s.channels;
    float *x = random_floats(n, 1.7f);
    for (int64_t i = 0; i < n; i++)
        x[i] += s.mean;
    a.x.p = x;
    a.y.p = filled((s.rows - 1) * a.ldy + s.channels, canary);
    return a;
}

static void run_rows(im_device *dev, const im_layernorm_args *a)
{
    ck_assert_int_eq(dev->k.layernorm(dev, a), IM_DONE);
}

/* Sums are chains of channels / 16 roundings and a tree; the mean's error, relative to |x|, is felt in x - mean. A row
 * of nearly no variance (one channel, two that are close) divides that by sqrt(eps) at worst. */
static void compare_rows(const im_device *dev, const im_layernorm_args *a)
{
    for (int64_t r = 0; r < a->rows; r++) {
        const float *x = F32(a->x) + r * a->ldx;
        double mean = 0, sq = 0, n = a->channels, large = 0;
        for (int c = 0; c < a->channels; c++) {
            mean += x[c] / n;
            large = fmax(large, fabs(x[c]));
        }
        for (int c = 0; c < a->channels; c++)
            sq += (x[c] - mean) * (x[c] - mean);
        double rstd = 1 / sqrt(sq / n + a->eps);
        for (int c = 0; c < a->channels; c++) {
            double t = (x[c] - mean) * rstd, y = t * a->gamma[c] + a->beta[c], found = F32(a->y)[r * a->ldy + c];
            double sums = 6 + sqrt(n / 16);
            double allowed = 0x1p-24 * (2 * sums * fabs(a->gamma[c]) * (large * rstd + fabs(t)) + 2 * fabs(y) + 1);
            ck_assert_msg(fabs(found - y) <= allowed, "%s %dx%d: [%d][%d] %.9g, wanted %.9g, error %g, allowed %g",
                          dev->isa, (int)a->rows, a->channels, (int)r, c, found, y, fabs(found - y), allowed);
        }
        for (int64_t c = a->channels; c < a->ldy && r < a->rows - 1; c++)
            ck_assert_msg(F32(a->y)[r * a->ldy + c] == canary, "%s: written behind row %d", dev->isa, (int)r);
    }
}

static void rows_on_all(rows_shape s)
{
    for (int d = 0; d < n_devices; d++) {
        im_layernorm_args a = make_rows(s);
        run_rows(&devices[d], &a);
        compare_rows(&devices[d], &a);
        im_layernorm_args in_place = a;
        in_place.y.p = F32(a.x);
        in_place.ldy = a.ldx;
        run_rows(&devices[d], &in_place);
        for (int64_t r = 0; r < a.rows; r++)
            ck_assert(!memcmp(F32(in_place.y) + r * a.ldx, F32(a.y) + r * a.ldy, (size_t)a.channels * sizeof(float)));
        release_all();
    }
}

START_TEST(layer_norm_sizes)
{
    for (int c = 1; c <= 70; c++)
        rows_on_all((rows_shape){ 1 + c * 3 % 11, c, c % 4, c & 1 ? 0 : 2 });
    rows_on_all((rows_shape){ 77, 768, 0, 0 });
    rows_on_all((rows_shape){ 130, 320, 0, 10 });
    rows_on_all((rows_shape){ 9, 1280, 3, 0 });
    rows_on_all((rows_shape){ 3, 5003, 1, 0 });
}
END_TEST

START_TEST(a_nan_stays_in_its_row)
{
    for (int d = 0; d < n_devices; d++) {
        im_layernorm_args a = make_rows((rows_shape){ 7, 37, 0, 0 });
        (F32(a.x))[2 * 37 + 36] = NAN;
        run_rows(&devices[d], &a);
        for (int i = 0; i < 7 * 37; i++)
            ck_assert((isnan(F32(a.y)[i]) != 0) == (i / 37 == 2));
        release_all();
    }
}
END_TEST

/* ---------------------------------------------------------------- bits */

static const shape several[] = {
    { 2, 300, 40, 8, true, 1 }, { 3, 65, 320, 32, false, 0 }, { 2, 1000, 37, 37, true, 0 },
    { 1, 16, 1280, 32, true, 0 },
};
static const rows_shape several_rows[] = { { 100, 320, 0, 1 }, { 7, 77, 2, 0 }, { 33, 1280, 0, 0 } };

static bool fuses(const im_device *dev)
{
    return strcmp(dev->isa, "portable") != 0;
}

static float *result(im_device *dev, im_groupnorm_args a)
{
    a.y.p = filled(a.batch * a.pixels * a.channels, canary);
    run(dev, &a);
    return F32(a.y);
}

static float *result_rows(im_device *dev, im_layernorm_args a)
{
    a.ldy = a.channels;
    a.y.p = filled(a.rows * a.channels, canary);
    run_rows(dev, &a);
    return F32(a.y);
}

/* On the devices of this machine, and on each with 2 and 3 threads: all that fuse must agree. */
START_TEST(bits_agree)
{
    for (int i = 0; i < COUNT(several) + COUNT(several_rows); i++) {
        int r = i - COUNT(several);
        im_groupnorm_args a = make_call(several[r < 0 ? i : 0], false);
        im_layernorm_args l = make_rows(several_rows[r < 0 ? 0 : r]);
        size_t bytes = (size_t)(r < 0 ? a.batch * a.pixels * a.channels : l.rows * l.channels) * sizeof(float);
        const float *first = NULL;
        for (int d = 0; d < n_devices; d++) {
            const float *alone = r < 0 ? result(&devices[d], a) : result_rows(&devices[d], l);
            for (int threads = 2; threads <= 3; threads++) {
                im_device dev;
                open_device(&dev, devices[d].isa, threads);
                const float *y = r < 0 ? result(&dev, a) : result_rows(&dev, l);
                ck_assert_msg(!memcmp(alone, y, bytes), "%s: case %d, %d threads", dev.isa, i, threads);
                im_device_close(&dev);
            }
            if (!fuses(&devices[d]))
                continue;
            ck_assert_msg(!first || !memcmp(first, alone, bytes), "case %d: %s differs", i, devices[d].isa);
            first = first ? first : alone;
        }
        release_all();
    }
}
END_TEST

START_TEST(bits_do_not_depend_on_the_other_members)
{
    for (int d = 0; d < n_devices; d++) {
        for (int i = 0; i < COUNT(several); i++) {
            im_groupnorm_args a = make_call(several[i], false), one = a;
            int64_t n = a.pixels * a.channels;
            const float *all = result(&devices[d], a);
            one.batch = 1;
            for (int b = 0; b < a.batch; b++, one.x = im_cbuf_at(one.x, n))
                ck_assert(!memcmp(result(&devices[d], one), all + b * n, (size_t)n * sizeof(float)));
            release_all();
        }
        for (int i = 0; i < COUNT(several_rows); i++) {
            im_layernorm_args a = make_rows(several_rows[i]), one = a;
            const float *all = result_rows(&devices[d], a);
            one.rows = 1;
            for (int r = 0; r < a.rows; r++, one.x = im_cbuf_at(one.x, a.ldx))
                ck_assert(!memcmp(result_rows(&devices[d], one), all + (int64_t)r * a.channels,
                                  (size_t)a.channels * sizeof(float)));
            release_all();
        }
    }
}
END_TEST

START_TEST(nothing_to_do_is_done)
{
    for (int d = 0; d < n_devices; d++) {
        im_groupnorm_args a = make_call((shape){ 1, 3, 8, 2, false, 0 }, false);
        im_layernorm_args l = make_rows((rows_shape){ 2, 8, 0, 0 });
        a.batch = 0;
        run(&devices[d], &a);
        l.rows = 0;
        run_rows(&devices[d], &l);
        ck_assert(F32(a.y)[0] == canary && F32(l.y)[0] == canary);
        release_all();
    }
}
END_TEST

START_TEST(a_stop_is_noticed)
{
    for (int d = 0; d < n_devices; d++) {
        volatile int stop = 1;
        im_device dev = devices[d];
        im_groupnorm_args a = make_call((shape){ 1, 3, 8, 2, false, 0 }, false);
        dev.stop = &stop;
        ck_assert_int_eq(dev.k.groupnorm(&dev, &a), IM_STOPPED);
        release_all();
    }
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(group_norm_sizes), ONCE(a_mean_far_from_zero), ONCE(a_constant_image_gives_beta),
        ONCE(a_nan_stays_in_its_group), ONCE(layer_norm_sizes), ONCE(a_nan_stays_in_its_row), ONCE(bits_agree),
        ONCE(bits_do_not_depend_on_the_other_members), ONCE(nothing_to_do_is_done), ONCE(a_stop_is_noticed),
    };
    return suite_run("norm", open_devices, close_devices, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
