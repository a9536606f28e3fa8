/* test_attention.c: the attention of the cpu device on every instruction set that this machine can run: against a plain
 * loop in f64 at odd sizes, strided, masked and with extreme scores; nothing read or written outside the arrays; and
 * the promises of device.h: the same bits on all ISAs with fused multiply-add, at any number of threads, in any batch.
 * */
#include "buffers.h"
#include "products.h"

typedef struct { int batch, heads, d, tq, tk; bool causal; int gap; } shape;

static int64_t extent(int batch, int64_t bs, int t, int64_t ld, int64_t width)
{
    return (batch - 1) * bs + (t - 1) * ld + width;
}

/* size: of queries and keys; scores are sums of d products, so their spread is about size^2 / 3 after the scale */
static im_attention_args make_call(shape s, float size)
{
    int64_t w = (int64_t)s.heads * s.d, ldq = w + s.gap, ldk = w + 2 * s.gap, ldv = w + 3 * s.gap, ldo = w + s.gap;
    im_attention_args a = { .batch = s.batch, .heads = s.heads, .d = s.d, .tq = s.tq, .tk = s.tk, .causal = s.causal,
                            .scale = 1 / sqrtf((float)s.d), .ldq = ldq, .bsq = s.tq * ldq + s.gap, .ldk = ldk,
                            .bsk = s.tk * ldk + s.gap, .ldv = ldv, .bsv = s.tk * ldv + s.gap, .ldo = ldo,
                            .bso = s.tq * ldo + s.gap };
    a.q.p = random_floats(extent(s.batch, a.bsq, s.tq, ldq, w), size);
    a.k.p = random_floats(extent(s.batch, a.bsk, s.tk, ldk, w), size);
    a.v.p = random_floats(extent(s.batch, a.bsv, s.tk, ldv, w), 1.7f);
    int64_t n = extent(s.batch, a.bso, s.tq, ldo, w);
    a.o.p = guarded((size_t)n * sizeof(float));
    for (int64_t i = 0; i < n; i++)
        F32(a.o)[i] = canary;
    return a;
}

static void run(im_device *dev, const im_attention_args *a)
{
    ck_assert_int_eq(dev->k.attention(dev, a), IM_DONE);
}

/* One query in f64; the largest |score|, in units of the exponent of e, goes to *top. */
static void plain(const im_attention_args *a, int b, int h, int i, double *o, double *top)
{
    double s[1200], m = -INFINITY, sum = 0;
    int keys = a->causal && i + 1 < a->tk ? i + 1 : a->tk;
    ck_assert_int_le(a->tk, COUNT(s));
    *top = 0;
    for (int j = 0; j < keys; j++) {
        s[j] = 0;
        for (int c = 0; c < a->d; c++)
            s[j] += (double)F32(a->q)[b * a->bsq + i * a->ldq + h * a->d + c]
                  * F32(a->k)[b * a->bsk + j * a->ldk + h * a->d + c];
        s[j] *= a->scale;
        m = fmax(m, s[j]);
        *top = fmax(*top, fabs(s[j]));
    }
    for (int c = 0; c < a->d; c++)
        o[c] = 0;
    for (int j = 0; j < keys; j++) {
        double p = exp(s[j] - m);
        sum += p;
        for (int c = 0; c < a->d; c++)
            o[c] += p * F32(a->v)[b * a->bsv + j * a->ldv + h * a->d + c];
    }
    for (int c = 0; c < a->d; c++)
        o[c] /= sum;
}

/* A score is a chain of d roundings of partial sums that pass through about `top`, and its error is the relative error
 * of its weight: eps top sqrt(d). Weights and sums add a chain of tk roundings of a mean of values of size 1.7, whose
 * parts shrink as the weights do: eps sqrt(tk) at most; exp2 and the division a few eps. */
static double tolerance_of(const im_attention_args *a, double top)
{
    return 0x1p-24 * (8 + 4 * top * (1 + sqrt(a->d) / 8) + 2 * sqrt(a->tk));
}

static void compare(im_device *dev, const im_attention_args *a)
{
    double o[700], top;
    run(dev, a);
    for (int b = 0; b < a->batch; b++)
        for (int i = 0; i < a->tq; i++)
            for (int h = 0; h < a->heads; h++) {
                plain(a, b, h, i, o, &top);
                for (int c = 0; c < a->d; c++) {
                    double found = F32(a->o)[b * a->bso + i * a->ldo + h * a->d + c];
                    ck_assert_msg(fabs(found - o[c]) <= tolerance_of(a, top),
                                  "%s %dx%dx%d %dx%d%s: o[%d][%d][%d][%d] = %.9g, wanted %.9g, error %g, allowed %g",
                                  dev->isa, a->batch, a->heads, a->d, a->tq, a->tk, a->causal ? " causal" : "", b, i,
                                  h, c, found, o[c], fabs(found - o[c]), tolerance_of(a, top));
                }
            }
    for (int b = 0; b < a->batch; b++)
        for (int i = 0; i < a->tq; i++)
            for (int64_t j = a->heads * a->d; j < a->ldo && (b < a->batch - 1 || i < a->tq - 1); j++)
                ck_assert_msg(F32(a->o)[b * a->bso + i * a->ldo + j] == canary, "%s: written behind row %d", dev->isa, i);
}

static void on_all(shape s, float size)
{
    for (int d = 0; d < n_devices; d++) {
        im_attention_args a = make_call(s, size);
        compare(&devices[d], &a);
        release_all();
    }
}

START_TEST(shapes_of_the_models)                               /* smaller T where the plain loop would be slow */
{
    on_all((shape){ 1, 2, 40, 320, 320, false, 0 }, 1.7f);
    on_all((shape){ 2, 2, 80, 64, 77, false, 0 }, 1.7f);
    on_all((shape){ 1, 2, 160, 64, 64, false, 0 }, 1.7f);
    on_all((shape){ 2, 3, 64, 77, 77, true, 0 }, 1.7f);
    on_all((shape){ 1, 1, 512, 96, 256, false, 0 }, 1.7f);
}
END_TEST

START_TEST(odd_sizes)
{
    for (int n = 1; n <= 70; n++)
        on_all((shape){ 1 + n % 2, 1 + n % 3, 1 + n * 7 % 50, n, 1 + n * 13 % 150, false, n % 4 }, 1.7f);
    for (int n = 1; n <= 40; n++)
        on_all((shape){ 1, 1 + n % 2, n, 1 + n * 11 % 60, n * 5, true, n % 3 }, 1.7f);
    static const int ds[] = { 1, 3, 15, 16, 17, 63, 65, 159, 161, 319, 321, 643 };
    for (int i = 0; i < COUNT(ds); i++)
        on_all((shape){ 1, 1, ds[i], 21, 83, i & 1, 5 }, 1.7f);
}
END_TEST

START_TEST(many_queries)                                       /* more than one block, each rest of vectors */
{
    for (int tq = 180; tq < 500; tq += 29)
        on_all((shape){ 1, 1, 8, tq, 70, tq & 1, 0 }, 1.7f);
    on_all((shape){ 1, 1, 20, 30, 1111, false, 1 }, 1.7f);
}
END_TEST

START_TEST(large_scores)                                       /* weights from 1 down to 0, the maximum moving */
{
    on_all((shape){ 1, 2, 40, 65, 200, false, 0 }, 30);
    on_all((shape){ 1, 2, 64, 77, 77, true, 0 }, 30);
    on_all((shape){ 1, 1, 16, 33, 500, false, 0 }, 200);
}
END_TEST

START_TEST(equal_scores_give_the_mean)                         /* keys all the same: weights exactly 1 */
{
    for (int d = 0; d < n_devices; d++) {
        im_attention_args a = make_call((shape){ 1, 1, 24, 19, 128, false, 0 }, 50);
        float *k = F32(a.k), *v = F32(a.v);
        for (int j = 0; j < 128; j++)
            for (int c = 0; c < 24; c++) {
                k[j * 24 + c] = k[c];
                v[j * 24 + c] = (float)(j + c);
            }
        run(&devices[d], &a);
        for (int i = 0; i < 19; i++)
            for (int c = 0; c < 24; c++)                       /* sums of small integers are exact */
                ck_assert_msg(F32(a.o)[i * 24 + c] == 63.5f + (float)c, "%s: %.9g", devices[d].isa, F32(a.o)[i * 24 + c]);
        release_all();
    }
}
END_TEST

/* Scores of -Inf (overflow, or keys of -Inf) have weight 0 in any block; without a single finite score the result is 0.
 * A NaN stays in the rows that it belongs to. */
START_TEST(minus_infinity_and_nan)
{
    for (int d = 0; d < n_devices; d++) {
        im_attention_args a = make_call((shape){ 1, 1, 4, 18, 140, false, 0 }, 1);
        float *q = F32(a.q), *k = F32(a.k), *v = F32(a.v);
        for (int i = 0; i < 18; i++)
            for (int c = 0; c < 4; c++)
                q[i * 4 + c] = c == 0;
        for (int j = 0; j < 140; j++) {
            k[j * 4] = j == 70 || j == 139 ? 0 : -INFINITY;
            for (int c = 0; c < 4; c++)
                v[j * 4 + c] = (float)j;
        }
        q[5 * 4 + 2] = NAN;
        run(&devices[d], &a);
        for (int i = 0; i < 18; i++)
            for (int c = 0; c < 4; c++)
                ck_assert_msg(i == 5 ? isnan(F32(a.o)[i * 4 + c]) : F32(a.o)[i * 4 + c] == 104.5f, "%s: row %d: %g",
                              devices[d].isa, i, F32(a.o)[i * 4 + c]);
        k[70 * 4] = k[139 * 4] = -INFINITY;
        run(&devices[d], &a);
        for (int i = 0; i < 18; i++)
            ck_assert_msg(i == 5 ? isnan(F32(a.o)[i * 4]) : F32(a.o)[i * 4] == 0, "%s: row %d: %g", devices[d].isa, i,
                          F32(a.o)[i * 4]);
        release_all();
    }
}
END_TEST

START_TEST(any_scale)                                          /* zero and negative ones too */
{
    for (int d = 0; d < n_devices; d++)
        for (int i = 0; i < 3; i++) {
            im_attention_args a = make_call((shape){ 1, 2, 12, 20, 90, false, 0 }, 1.7f);
            a.scale = (float[]){ 0, -0.5f, 3 }[i];
            compare(&devices[d], &a);
            release_all();
        }
}
END_TEST

/* ---------------------------------------------------------------- bits */

static float *result(im_device *dev, im_attention_args a)
{
    int64_t w = (int64_t)a.heads * a.d;
    a.ldo = w;
    a.bso = w * a.tq;
    a.o.p = guarded((size_t)(a.batch * a.bso) * sizeof(float));
    run(dev, &a);
    return F32(a.o);
}

static const shape several[] = {
    { 2, 2, 40, 300, 300, false, 0 }, { 2, 3, 64, 77, 77, true, 0 }, { 2, 1, 70, 210, 77, false, 3 },
    { 1, 1, 512, 64, 130, false, 0 }, { 3, 2, 7, 5, 9, false, 1 },
};

static bool fuses(const im_device *dev)
{
    return strcmp(dev->isa, "portable") != 0;
}

START_TEST(bits_agree_on_all_isas)
{
    for (int i = 0; i < COUNT(several); i++) {
        im_attention_args a = make_call(several[i], 3);
        size_t bytes = (size_t)(a.batch * a.tq * a.heads * a.d) * sizeof(float);
        const float *first = NULL;
        for (int d = 0; d < n_devices; d++) {
            if (!fuses(&devices[d]))
                continue;
            const float *o = result(&devices[d], a);
            ck_assert_msg(!first || !memcmp(first, o, bytes), "shape %d: %s differs", i, devices[d].isa);
            first = first ? first : o;
        }
        release_all();
    }
}
END_TEST

START_TEST(bits_do_not_depend_on_threads)
{
    for (int d = 0; d < n_devices; d++)
        for (int threads = 2; threads <= 3; threads++) {
            im_device dev;
            open_device(&dev, devices[d].isa, threads);
            for (int i = 0; i < COUNT(several); i++) {
                im_attention_args a = make_call(several[i], 3);
                size_t bytes = (size_t)(a.batch * a.tq * a.heads * a.d) * sizeof(float);
                ck_assert_msg(!memcmp(result(&devices[d], a), result(&dev, a), bytes), "%s: shape %d, %d threads",
                              dev.isa, i, threads);
                release_all();
            }
            im_device_close(&dev);
        }
}
END_TEST

START_TEST(bits_do_not_depend_on_the_other_members)            /* of the batch, nor on the other heads and queries */
{
    for (int d = 0; d < n_devices; d++)
        for (int i = 0; i < COUNT(several); i++) {
            im_attention_args a = make_call(several[i], 3);
            int64_t w = (int64_t)a.heads * a.d;
            const float *all = result(&devices[d], a);
            for (int b = 0; b < a.batch; b++) {
                im_attention_args one = a;
                one.batch = 1;
                one.q = im_cbuf_at(one.q, b * a.bsq);
                one.k = im_cbuf_at(one.k, b * a.bsk);
                one.v = im_cbuf_at(one.v, b * a.bsv);
                ck_assert(!memcmp(result(&devices[d], one), all + b * a.tq * w, (size_t)(a.tq * w) * sizeof(float)));
                if (a.causal)
                    continue;
                one.q = im_cbuf_at(one.q, (a.tq / 2) * a.ldq + (a.heads - 1) * a.d);   /* last head of the later queries */
                one.k = im_cbuf_at(one.k, (a.heads - 1) * a.d);
                one.v = im_cbuf_at(one.v, (a.heads - 1) * a.d);
                one.heads = 1;
                one.tq -= a.tq / 2;
                const float *part = result(&devices[d], one);
                for (int t = 0; t < one.tq; t++)
                    ck_assert(!memcmp(part + t * a.d, all + (b * a.tq + a.tq / 2 + t) * w + (a.heads - 1) * a.d,
                                      (size_t)a.d * sizeof(float)));
            }
            release_all();
        }
}
END_TEST

START_TEST(nothing_to_do_is_done)
{
    for (int d = 0; d < n_devices; d++) {
        im_attention_args a = make_call((shape){ 1, 1, 8, 3, 3, false, 0 }, 1);
        a.tq = 0;
        run(&devices[d], &a);
        a.tq = 3;
        a.batch = 0;
        run(&devices[d], &a);
        ck_assert(F32(a.o)[0] == canary);
        release_all();
    }
}
END_TEST

START_TEST(a_stop_is_noticed)
{
    for (int d = 0; d < n_devices; d++) {
        volatile int stop = 1;
        im_device dev = devices[d];
        im_attention_args a = make_call((shape){ 1, 1, 8, 3, 3, false, 0 }, 1);
        dev.stop = &stop;
        ck_assert_int_eq(dev.k.attention(&dev, &a), IM_STOPPED);
        release_all();
    }
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(shapes_of_the_models), ONCE(odd_sizes), ONCE(many_queries), ONCE(large_scores),
        ONCE(equal_scores_give_the_mean), ONCE(minus_infinity_and_nan), ONCE(any_scale), ONCE(bits_agree_on_all_isas),
        ONCE(bits_do_not_depend_on_threads), ONCE(bits_do_not_depend_on_the_other_members),
        ONCE(nothing_to_do_is_done), ONCE(a_stop_is_noticed),
    };
    return suite_run("attention", open_devices, close_devices, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
