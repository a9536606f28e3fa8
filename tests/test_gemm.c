/* test_gemm.c: the matrix product of the cpu device on every instruction set that this machine can run: against a plain
 * loop in f64 at odd sizes, in every form of weight, with every epilogue; nothing read or written outside the arrays;
 * and the promises of device.h: the same bits on all ISAs with fused multiply-add, at any number of threads, in any
 * batch. */
#include "arithmetic.h"
#include "buffers.h"
#include "products.h"

typedef struct { int m, n, k; } shape;
typedef struct {                                               /* one call and its data */
    im_gemm_args g;
    float *values;                                             /* (b.n, k) as stored    */
} call;

static call make_call(shape s, im_dtype t, bool packed, im_act act, bool geglu, bool bias, bool res, int gap)
{
    int rows = geglu ? 2 * s.n : s.n;
    int64_t lda = s.k + gap, ldc = s.n + gap, ldres = s.n + 2 * gap;
    call q = { .values = random_floats((int64_t)rows * s.k, 1.7f / sqrtf((float)s.k)) };
    q.g = (im_gemm_args){
        .m = s.m, .n = s.n, .k = s.k, .a.p = random_floats((s.m - 1) * lda + s.k, 1.7f), .lda = lda,
        .b = make_weight(q.values, rows, s.k, t, geglu, packed, gap),
        .bias = bias ? random_floats(rows, 1) : NULL, .res.p = res ? random_floats((s.m - 1) * ldres + s.n, 1) : NULL,
        .ldres = ldres, .c.p = guarded((size_t)((s.m - 1) * ldc + s.n) * sizeof(float)), .ldc = ldc,
        .act = act, .geglu = geglu };
    for (int64_t i = 0; i < (s.m - 1) * ldc + s.n; i++)
        floats(F32(q.g.c))[i] = canary;
    return q;
}

static double activated(im_act act, double x)
{
    switch (act) {
    case IM_ACT_SILU: return x / (1 + exp(-x));
    case IM_ACT_GELU: return x * 0.5 * erfc(-x * sqrt(0.5));
    case IM_ACT_GELU_TANH: return x * 0.5 * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    case IM_ACT_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    case IM_ACT_RELU: return x > 0 ? x : 0;
    case IM_ACT_TANH: return tanh(x);
    default: return x;
    }
}

/* *size: what its terms are without their signs. */
static double sum(const call *q, int i, int row, bool round_a, double *size)
{
    double y = q->g.bias ? q->g.bias[row] : 0;
    for (int k = 0; k < q->g.k; k++) {
        float a = floats(F32(q->g.a))[i * q->g.lda + k];
        y += (double)(round_a ? rounded(a, IM_BF16) : a) * q->values[(int64_t)row * q->g.k + k];
        *size += fabs((double)a * q->values[(int64_t)row * q->g.k + k]);
    }
    return y;
}

static void run(im_device *dev, const im_gemm_args *g)
{
    ck_assert_int_eq(dev->k.gemm(dev, g), IM_DONE);
}

static void compare(im_device *dev, const call *q)
{
    const im_gemm_args *g = &q->g;
    bool round_a = g->b.dtype == IM_BF16 && own_bits(dev, IM_BF16);
    double worst = 0, share = g->b.dtype == IM_F16 ? lost(dev, IM_F16) : 0;
    run(dev, g);
    for (int i = 0; i < g->m; i++) {
        for (int j = 0; j < g->n; j++) {
            double size = 0, y = sum(q, i, j, round_a, &size);
            y = g->geglu ? y * activated(IM_ACT_GELU, sum(q, i, g->n + j, round_a, &size)) : activated(g->act, y);
            y += F32(g->res) ? floats(F32(g->res))[i * g->ldres + j] : 0;
            /* a product of two sums of size up to 4 carries the error of each times the other */
            double error = fabs(y - floats(F32(g->c))[i * g->ldc + j]) / (g->geglu ? 4 : 1) - share * size;
            worst = !(error <= worst) ? error : worst;
        }
        for (int64_t j = g->n; j < g->ldc && i < g->m - 1; j++)
            ck_assert_msg(floats(F32(g->c))[i * g->ldc + j] == canary, "%s: written behind row %d", dev->isa, i);
    }
    ck_assert_msg(worst <= tolerance(g->k), "%s %s%s%s act %d %dx%dx%d: error %g, allowed %g", dev->isa,
                  im_dtype_name(g->b.dtype), g->b.packed ? " packed" : "", g->geglu ? " geglu" : "", g->act, (int)g->m,
                  g->n, g->k, worst, tolerance(g->k));
}

static void on_all(shape s, im_dtype t, bool packed, im_act act, bool geglu, bool bias, bool res, int gap)
{
    for (int d = 0; d < n_devices; d++) {
        call q = make_call(s, t, packed, act, geglu, bias, res, gap);
        compare(&devices[d], &q);
        release_all();
    }
}

static const im_dtype dtypes[] = { IM_F32, IM_F16, IM_BF16 };

START_TEST(every_tile_height_and_cut_column)
{
    for (int m = 1; m <= 30; m++)
        on_all((shape){ m, 1 + m * 7 % 50, 1 + m * 5 % 37 }, dtypes[m % 3], m & 1, IM_ACT_NONE, false, m & 2,
               m & 4, m % 5);
    for (int n = 1; n <= 66; n++)
        on_all((shape){ 3, n, 19 }, dtypes[n % 3], n & 1, IM_ACT_NONE, n & 2, true, false, 3);
}
END_TEST

START_TEST(every_length_of_k)                                  /* around blocks of 240 and 480, odd ones too */
{
    static const int ks[] = { 1, 2, 3, 15, 16, 17, 31, 239, 240, 241, 479, 480, 481, 482, 721, 963, 2401 };
    for (int i = 0; i < COUNT(ks); i++)
        for (int t = 0; t < 3; t++) {
            on_all((shape){ 17, 37, ks[i] }, dtypes[t], i & 1, IM_ACT_NONE, false, true, false, 1);
            on_all((shape){ 2, 16, ks[i] }, dtypes[t], !(i & 1), IM_ACT_NONE, true, true, true, 0);
        }
}
END_TEST

START_TEST(every_epilogue)
{
    for (int act = IM_ACT_NONE; act <= IM_ACT_TANH; act++)
        for (int mask = 0; mask < 8; mask++)
            on_all((shape){ 5, 35, 21 }, dtypes[mask % 3], mask & 4, (im_act)act, false, mask & 1, mask & 2, mask);
    for (int mask = 0; mask < 8; mask++)
        on_all((shape){ 15, 21, 40 }, dtypes[mask % 3], mask & 4, IM_ACT_NONE, true, mask & 1, mask & 2, mask);
}
END_TEST

START_TEST(several_tasks)                                      /* more rows and columns than one task takes */
{
    for (int t = 0; t < 3; t++) {
        on_all((shape){ 455, 357, 70 }, dtypes[t], true, IM_ACT_SILU, false, true, true, 0);
        on_all((shape){ 261, 40, 1000 }, dtypes[t], t == 1, IM_ACT_NONE, true, true, false, 5);
    }
}
END_TEST

/* ---------------------------------------------------------------- bits */

static float *result(im_device *dev, im_gemm_args g)
{
    g.c.p = guarded((size_t)(g.m * g.n) * sizeof(float));
    g.ldc = g.n;
    run(dev, &g);
    return F32(g.c);
}

static bool fuses(const im_device *dev)
{
    return strcmp(dev->isa, "portable") != 0;
}

static const shape bit_shapes[] = { { 1, 3, 5 }, { 29, 50, 500 }, { 300, 340, 321 }, { 15, 33, 1203 } };

START_TEST(bits_agree_on_all_isas)
{
    for (int i = 0; i < COUNT(bit_shapes) * 3 * 2; i++) {
        shape s = bit_shapes[i / 6];
        call q = make_call(s, dtypes[i / 2 % 3], true, i & 1 ? IM_ACT_NONE : IM_ACT_GELU, i & 1, true, true, 0);
        const float *first = NULL;
        for (int d = 0; d < n_devices; d++) {
            if (!fuses(&devices[d]) || own_bits(&devices[d], q.g.b.dtype))
                continue;
            const float *c = result(&devices[d], q.g);
            first = first ? first : c;
            ck_assert_msg(!memcmp(first, c, (size_t)s.m * (size_t)s.n * sizeof *c), "%s: other bits", devices[d].isa);
        }
        release_all();
    }
}
END_TEST

START_TEST(bits_do_not_depend_on_threads)
{
    for (int d = 0; d < n_devices; d++)
        for (int i = 0; i < COUNT(bit_shapes) * 3 * 2; i++) {
            shape s = bit_shapes[i / 6];
            call q = make_call(s, dtypes[i / 2 % 3], i & 1, IM_ACT_SILU, i & 1, true, true, 0);
            const float *one = result(&devices[d], q.g);
            for (int threads = 2; threads <= 3; threads++) {
                im_device dev;
                open_device(&dev, devices[d].isa, threads);
                ck_assert_msg(!memcmp(one, result(&dev, q.g), (size_t)s.m * (size_t)s.n * sizeof *one),
                              "%s: other bits with %d threads", dev.isa, threads);
                im_device_close(&dev);
            }
            release_all();
        }
}
END_TEST

START_TEST(bits_do_not_depend_on_the_other_rows)
{
    static const int parts[][2] = { { 0, 1 }, { 7, 13 }, { 100, 15 }, { 299, 1 }, { 150, 150 } };
    for (int d = 0; d < n_devices; d++)
        for (int t = 0; t < 3; t++) {
            shape s = { 300, 49, 333 };
            call q = make_call(s, dtypes[t], true, IM_ACT_NONE, false, true, true, 0);
            const float *all = result(&devices[d], q.g);
            for (int i = 0; i < COUNT(parts); i++) {
                im_gemm_args g = q.g;
                g.m = parts[i][1];
                g.a = im_cbuf_at(g.a, parts[i][0] * g.lda);
                g.res = im_cbuf_at(g.res, parts[i][0] * g.ldres);
                ck_assert_msg(!memcmp(all + parts[i][0] * s.n, result(&devices[d], g),
                                      (size_t)(g.m * s.n) * sizeof *all),
                              "%s: rows %d+%d differ alone", devices[d].isa, parts[i][0], parts[i][1]);
            }
            release_all();
        }
}
END_TEST

START_TEST(plain_and_packed_weights_agree)
{
    for (int d = 0; d < n_devices; d++)
        for (int i = 0; i < 6; i++) {
            shape s = { 20, 45, 77 };
            uint32_t start = seed;
            call p = make_call(s, dtypes[i / 2], false, IM_ACT_NONE, i & 1, true, false, 4);
            seed = start;
            call q = make_call(s, dtypes[i / 2], true, IM_ACT_NONE, i & 1, true, false, 4);
            ck_assert(!memcmp(result(&devices[d], p.g), result(&devices[d], q.g), (size_t)(s.m * s.n) * sizeof(float)));
            release_all();
        }
}
END_TEST

/* ---------------------------------------------------------------- values that are no numbers, and stopping */

START_TEST(nan_and_infinity_stay_in_their_rows)
{
    for (int d = 0; d < n_devices; d++)
        for (int t = 0; t < 3; t++) {
            call q = make_call((shape){ 31, 40, 300 }, dtypes[t], true, IM_ACT_NONE, false, true, false, 0);
            float *a = (float *)(uintptr_t)F32(q.g.a);
            a[4 * q.g.lda + 250] = NAN;
            a[16 * q.g.lda] = INFINITY;
            const float *c = result(&devices[d], q.g);
            for (int i = 0; i < 31; i++)
                for (int j = 0; j < 40; j++) {
                    float y = c[i * 40 + j], w = q.values[j * 300];
                    if (i == 4)
                        ck_assert(isnan(y));
                    else if (i == 16 && lost(&devices[d], dtypes[t]) == LOST_SPLIT)
                        ck_assert(!isfinite(y));               /* Inf - Inf is the low half of Inf                   */
                    else if (i == 16)
                        ck_assert(w == 0 ? isnan(y) : isinf(y) && (y > 0) == (w > 0));
                    else
                        ck_assert(isfinite(y));
                }
            release_all();
        }
}
END_TEST

START_TEST(nothing_to_do_is_done)
{
    for (int d = 0; d < n_devices; d++) {
        call q = make_call((shape){ 2, 5, 8 }, IM_F32, true, IM_ACT_NONE, false, true, false, 0);
        im_gemm_args g = q.g;
        g.m = 0;
        run(&devices[d], &g);
        ck_assert(floats(F32(q.g.c))[0] == canary);
        release_all();
    }
}
END_TEST

START_TEST(a_stop_is_noticed)
{
    for (int d = 0; d < n_devices; d++) {
        call q = make_call((shape){ 2, 5, 8 }, IM_F32, true, IM_ACT_NONE, false, true, false, 0);
        volatile int stop = 1;
        im_device dev = devices[d];
        dev.stop = &stop;
        ck_assert_int_eq(dev.k.gemm(&dev, &q.g), IM_STOPPED);
        release_all();
    }
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(every_tile_height_and_cut_column), ONCE(every_length_of_k), ONCE(every_epilogue), ONCE(several_tasks),
        ONCE(bits_agree_on_all_isas), ONCE(bits_do_not_depend_on_threads), ONCE(bits_do_not_depend_on_the_other_rows),
        ONCE(plain_and_packed_weights_agree), ONCE(nan_and_infinity_stay_in_their_rows), ONCE(nothing_to_do_is_done),
        ONCE(a_stop_is_noticed),
    };
    return suite_run("gemm", open_devices, close_devices, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
