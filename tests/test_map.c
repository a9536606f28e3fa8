/* test_map.c: the elementwise kernels of the cpu device and those that move numbers (copy, embedding, timestep) on
 * every instruction set that this machine can run: against plain loops at odd sizes, nothing read or written outside
 * the arrays, the same bits on all ISAs with fused multiply-add and at any number of threads. */
#include "buffers.h"
#include "products.h"

/* ---------------------------------------------------------------- map */

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

/* Runs on every device, twice: y apart and y = a, also with 3 threads. Bits agree among those that fuse. */
static void map_on_all(im_map_args m)
{
    const float *first = NULL;
    size_t bytes = (size_t)m.n * sizeof(float);
    for (int d = 0; d < n_devices; d++) {
        m.y.p = filled(m.n, canary);
        ck_assert_int_eq(devices[d].k.map(&devices[d], &m), IM_DONE);
        for (int64_t i = 0; i < m.n; i++) {
            double a = F32(m.a)[i], y = m.kind == IM_MAP_ADD ? (float)(a + F32(m.b)[i % m.nb]) : m.kind == IM_MAP_SCALE ?
                                   (float)(a * m.s) : activated(m.act, a);
            /* sums and products are rounded once, so exact here; activations as test_vmath.c allows, x is below 10 */
            double allowed = m.kind == IM_MAP_ACT && m.act != IM_ACT_NONE && m.act != IM_ACT_RELU ?
                                 0x1p-24 * (8 * fabs(y) + fabs(a)) * (strcmp(devices[d].isa, "portable") ? 1 : 3) : 0;
            ck_assert_msg(fabs(F32(m.y)[i] - y) <= allowed,
                          "%s kind %d act %d n %d nb %d: [%d] f(%.9g) = %.9g, wanted %.9g",
                          devices[d].isa, m.kind, m.act, (int)m.n, (int)m.nb, (int)i, a, F32(m.y)[i], y);
        }
        im_map_args other = m;
        other.a.p = other.y.p = memcpy(guarded(bytes), F32(m.a), bytes);
        ck_assert_int_eq(devices[d].k.map(&devices[d], &other), IM_DONE);
        ck_assert_msg(!memcmp(F32(other.y), F32(m.y), bytes), "%s kind %d: in place it differs", devices[d].isa, m.kind);
        if (m.n > 10000) {
            im_device dev;
            open_device(&dev, devices[d].isa, 3);
            other = m;
            other.y.p = filled(m.n, canary);
            ck_assert_int_eq(dev.k.map(&dev, &other), IM_DONE);
            ck_assert_msg(!memcmp(F32(other.y), F32(m.y), bytes), "%s kind %d: 3 threads differ", dev.isa, m.kind);
            im_device_close(&dev);
        }
        if (strcmp(devices[d].isa, "portable")) {
            ck_assert_msg(!first || !memcmp(first, F32(m.y), bytes), "kind %d act %d: %s differs", m.kind, m.act,
                          devices[d].isa);
            first = first ? first : F32(m.y);
        }
    }
    release_all();
}

START_TEST(activations)
{
    for (int act = IM_ACT_NONE; act <= IM_ACT_TANH; act++)
        for (int n = 1; n <= 40; n++)
            map_on_all((im_map_args){ .kind = IM_MAP_ACT, .act = (im_act)act, .n = n, .a.p = random_floats(n, 9) });
    map_on_all((im_map_args){ .kind = IM_MAP_ACT, .act = IM_ACT_SILU, .n = 70001, .a.p = random_floats(70001, 9) });
}
END_TEST

START_TEST(sums)                                               /* b of any length that divides n, from 1 up */
{
    for (int nb = 1; nb <= 40; nb++)
        for (int times = 1; times <= 40; times += 13)
            map_on_all((im_map_args){ .kind = IM_MAP_ADD, .n = nb * times, .nb = nb, .a.p = random_floats(nb * times, 3),
                                      .b.p = random_floats(nb, 3) });
    static const int nbs[] = { 1, 7, 15, 16, 320, 1001, 50000, 100000 };
    for (int i = 0; i < COUNT(nbs); i++) {
        int n = nbs[i] * (100000 / nbs[i]);
        map_on_all((im_map_args){ .kind = IM_MAP_ADD, .n = n, .nb = nbs[i], .a.p = random_floats(n, 3),
                                  .b.p = random_floats(nbs[i], 3) });
    }
}
END_TEST

START_TEST(scales)
{
    for (int n = 1; n <= 40; n++)
        map_on_all((im_map_args){ .kind = IM_MAP_SCALE, .s = 0.18215f, .n = n, .a.p = random_floats(n, 9) });
    map_on_all((im_map_args){ .kind = IM_MAP_SCALE, .s = -3, .n = 40000, .a.p = random_floats(40000, 9) });
}
END_TEST

/* ---------------------------------------------------------------- copy */

static int64_t span(const int64_t shape[4], const int64_t stride[4])
{
    int64_t n = 1;
    for (int i = 0; i < 4; i++)
        n += (shape[i] - 1) * stride[i];
    return n;
}

static void copy_on_all(im_copy_args c)
{
    int64_t ns = span(c.shape, c.ss), nd = span(c.shape, c.ds), size = (int64_t)im_dtype_size(c.dtype);
    unsigned char *src = guarded((size_t)(ns * size)), *dst = guarded((size_t)(nd * size));
    unsigned char *want = malloc((size_t)(nd * size));
    ck_assert_ptr_nonnull(want);
    for (int64_t i = 0; i < ns * size; i++)
        src[i] = (unsigned char)(uniform() * 127);
    memset(want, 0xa5, (size_t)(nd * size));
    for (int64_t i = 0; i < c.shape[0] * c.shape[1] * c.shape[2] * c.shape[3]; i++) {
        int64_t at[4], rest = i, s = 0, d = 0;
        for (int k = 3; k >= 0; k--) {
            at[k] = rest % c.shape[k];
            rest /= c.shape[k];
            s += at[k] * c.ss[k];
            d += at[k] * c.ds[k];
        }
        memcpy(want + d * size, src + s * size, (size_t)size);
    }
    c.src = src;
    c.dst = dst;
    for (int d = 0; d < n_devices; d++) {
        im_device dev;
        open_device(&dev, devices[d].isa, 1 + d % 3);
        memset(dst, 0xa5, (size_t)(nd * size));
        ck_assert_int_eq(dev.k.copy(&dev, &c), IM_DONE);
        ck_assert_msg(!memcmp(dst, want, (size_t)(nd * size)), "%s: %dx%dx%dx%d of %d bytes", dev.isa, (int)c.shape[0],
                      (int)c.shape[1], (int)c.shape[2], (int)c.shape[3], (int)size);
        im_device_close(&dev);
    }
    free(want);
    release_all();
}

START_TEST(copies)
{
    static const im_dtype dtypes[] = { IM_F32, IM_F16, IM_BF16, IM_I32 };
    for (int i = 0; i < COUNT(dtypes); i++) {
        im_dtype z = dtypes[i];
        copy_on_all((im_copy_args){ { 2, 3, 4, 5 }, { 60, 20, 5, 1 }, { 60, 20, 5, 1 }, z, NULL, NULL, false }); /* all */
        copy_on_all((im_copy_args){ { 2, 3, 4, 5 }, { 60, 20, 5, 1 }, { 90, 30, 7, 1 }, z, NULL, NULL, false }); /* gaps */
        copy_on_all((im_copy_args){ { 1, 1, 37, 20 }, { 9, 9, 20, 1 }, { 9, 9, 50, 1 }, z, NULL, NULL, false });/* concat */
        copy_on_all((im_copy_args){ { 2, 7, 9, 3 }, { 189, 9, 1, 63 }, { 189, 27, 3, 1 }, z, NULL, NULL, false });/* NCHW */
        copy_on_all((im_copy_args){ { 1, 6, 1, 11 }, { 1, 0, 1, 1 }, { 1, 11, 1, 1 }, z, NULL, NULL, false }); /* same */
        copy_on_all((im_copy_args){ { 1, 1, 1, 1 }, { 1, 1, 1, 1 }, { 5, 5, 5, 5 }, z, NULL, NULL, false });
        copy_on_all((im_copy_args){ { 3, 1, 1, 1 }, { 2, 1, 1, 1 }, { 4, 1, 1, 1 }, z, NULL, NULL, false });
    }
    copy_on_all((im_copy_args){ { 1, 1, 1, 300001 }, { 1, 1, 1, 1 }, { 1, 1, 1, 1 }, IM_F32, NULL, NULL, false }); /* cut */
    copy_on_all((im_copy_args){ { 1, 1, 3, 70001 }, { 1, 1, 70001, 1 }, { 1, 1, 70003, 1 }, IM_F32, NULL, NULL, false });
    copy_on_all((im_copy_args){ { 1, 1, 2, 100001 }, { 1, 1, 1, 2 }, { 1, 1, 100001, 1 }, IM_F32, NULL, NULL, false });
    copy_on_all((im_copy_args){ { 1, 1, 4096, 36 }, { 1, 1, 40, 1 }, { 1, 1, 36, 1 }, IM_F32, NULL, NULL, false });
}
END_TEST

/* ---------------------------------------------------------------- embedding */

START_TEST(embeddings)
{
    static const int widths[] = { 1, 5, 15, 16, 17, 33, 768 };
    for (int w = 0; w < COUNT(widths); w++)
        for (int t = IM_F32; t <= IM_BF16; t++)
            for (int d = 0; d < n_devices; d++) {
                enum { ROWS = 9, N = 6 };
                static const int32_t ids[N] = { 8, 0, 3, 3, 8, 1 };
                int c = widths[w];
                float *values = random_floats(ROWS * c, 2);
                im_weight table = make_weight(values, ROWS, c, (im_dtype)t, false, false, 0);
                im_embedding_args e = { .n = N, .channels = c, .dtype = (im_dtype)t, .table = table.data, .ids = ids,
                                        .y = filled(N * c, canary) };
                ck_assert_int_eq(devices[d].k.embedding(&devices[d], &e), IM_DONE);
                for (int i = 0; i < N; i++)
                    ck_assert_msg(!memcmp(e.y + i * c, values + ids[i] * c, (size_t)c * sizeof(float)),
                                  "%s %s %d: row %d", devices[d].isa, im_dtype_name((im_dtype)t), c, i);
                release_all();
            }
}
END_TEST

/* ---------------------------------------------------------------- timestep */

/* As torch computes it in f32; then sine and cosine of the rounded angle, within 1e-7 as test_vmath.c has it. */
START_TEST(timesteps)
{
    static const struct { int dim; bool cos_first; float shift; } cases[] = {
        { 320, true, 0 }, { 320, false, 1 }, { 32, false, 0 }, { 33, true, 0 }, { 3, true, 0.5f }, { 46, true, 0 },
        { 10, false, 1 },
    };
    static const float t[] = { 0, 1, 981, 999, 500.5f };
    enum { B = COUNT(t) };
    for (int i = 0; i < COUNT(cases); i++) {
        const float *first = NULL;
        int dim = cases[i].dim, half = dim / 2;
        for (int d = 0; d < n_devices; d++) {
            im_timestep_args a = { .batch = B, .dim = dim, .cos_first = cases[i].cos_first,
                                   .shift = cases[i].shift, .t = t, .y = filled(B * dim, canary) };
            ck_assert_int_eq(devices[d].k.timestep(&devices[d], &a), IM_DONE);
            for (int b = 0; b < B; b++)
                for (int j = 0; j < half; j++) {
                    float power = (float)-log(10000) * (float)j;
                    power = power / ((float)half - cases[i].shift);
                    float angle = t[b] * (float)exp(power);
                    const float *y = a.y + b * dim + j;
                    double s = y[a.cos_first ? half : 0], c = y[a.cos_first ? 0 : half];
                    ck_assert_msg(fabs(s - sin(angle)) <= 1e-7 && fabs(c - cos(angle)) <= 1e-7,
                                  "%s dim %d t %g: [%d] %.9g %.9g, wanted %.9g %.9g", devices[d].isa, dim, t[b], j, s,
                                  c, sin(angle), cos(angle));
                }
            for (int b = 0; b < B && dim % 2; b++)
                ck_assert(a.y[b * dim + dim - 1] == 0);
            if (strcmp(devices[d].isa, "portable")) {
                ck_assert(!first || !memcmp(first, a.y, (size_t)(B * dim) * sizeof(float)));
                first = first ? first : a.y;
            }
        }
        release_all();
    }
}
END_TEST

START_TEST(nothing_to_do_is_done)
{
    for (int d = 0; d < n_devices; d++) {
        im_device *dev = &devices[d];
        float *y = filled(16, canary);
        ck_assert_int_eq(dev->k.map(dev, &(im_map_args){ .kind = IM_MAP_ACT, .a.p = y, .y.p = y }), IM_DONE);
        im_copy_args c = { { 2, 0, 3, 1 }, { 1, 1, 1, 1 }, { 1, 1, 1, 1 }, IM_F32, y, y, false };
        ck_assert_int_eq(dev->k.copy(dev, &c), IM_DONE);
        ck_assert_int_eq(dev->k.embedding(dev, &(im_embedding_args){ .channels = 4, .table = y, .y = y }), IM_DONE);
        ck_assert_int_eq(dev->k.timestep(dev, &(im_timestep_args){ .dim = 8, .t = y, .y = y }), IM_DONE);
        ck_assert(y[0] == canary);
        release_all();
    }
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(activations), ONCE(sums), ONCE(scales), ONCE(copies), ONCE(embeddings), ONCE(timesteps),
        ONCE(nothing_to_do_is_done),
    };
    return suite_run("map", open_devices, close_devices, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
