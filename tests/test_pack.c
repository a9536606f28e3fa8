/* test_pack.c: weights in panels (tensor/pack.c): every place holds the value that device.h says, from linear and OIHW
 * sources, in all dtypes and odd sizes; a device may hold them otherwise, or as a file has them; and the conversions of
 * half.h, at every value and around it, by their definition. */
#include "products.h"
#include "tensor/half.h"
#include "tensor/tensor.h"

typedef struct { int n; bool geglu; int taps, cin; } shape;
static const shape shapes[] = {
    { 1, 0, 1, 1 }, { 16, 0, 1, 32 }, { 17, 0, 1, 33 }, { 40, 0, 1, 77 }, { 3, 0, 9, 4 }, { 35, 0, 9, 37 },
    { 16, 0, 49, 3 }, { 32, 1, 1, 20 }, { 2, 1, 1, 5 }, { 42, 1, 1, 65 }, { 70, 1, 9, 3 },
};
static const im_dtype dtypes[] = { IM_F32, IM_F16, IM_BF16 };

static uint16_t half_bits(float x, im_dtype t)
{
    return t == IM_F16 ? im_f16_from_f32(x) : im_bf16_from_f32(x);
}

static float read(const void *p, int64_t i, im_dtype t)
{
    if (t == IM_F32)
        return ((const float *)p)[i];
    uint16_t h = ((const uint16_t *)p)[i];
    return t == IM_F16 ? im_f32_from_f16(h) : im_f32_from_bf16(h);
}

/* Checks panels of dtype `to` made from values v (n, k) as dtype `from` holds them. */
static void check(const shape *s, const float *v, im_dtype from, im_dtype to, const void *packed)
{
    int k = s->taps * s->cin, times = s->geglu ? 2 : 1, rows = s->n / times, panels = (rows + 15) / 16;
    int stored = to == IM_BF16 ? (k + 1) / 2 * 2 : k;
    ck_assert_int_eq(im_pack_panel_count(s->n, s->geglu), panels * times);
    ck_assert_uint_eq(im_packed_bytes(to, s->n, k, s->geglu),
                      (size_t)panels * (size_t)times * 16 * (size_t)stored * im_dtype_size(to));
    for (int p = 0; p < panels * times; p++)
        for (int j = 0; j < stored; j++)
            for (int r = 0; r < 16; r++) {
                int row = p % panels * 16 + r;
                float want = row < rows && j < k ? v[(int64_t)(p / panels * rows + row) * k + j] : 0;
                int64_t at = (int64_t)p * 16 * stored + (to == IM_BF16 ? j / 2 * 32 + r * 2 + j % 2 : j * 16 + r);
                float found = read(packed, at, to);
                want = rounded(rounded(want, from), to);
                ck_assert_msg(!memcmp(&found, &want, 4), "%s to %s (%d, %d, %d, %d) panel %d row %d k %d: %g, not %g",
                              im_dtype_name(from), im_dtype_name(to), s->n, s->geglu, s->taps, s->cin, p, r, j,
                              found, want);
            }
}

START_TEST(every_place)
{
    const shape *s = &shapes[_i / 2];
    bool oihw = _i & 1;
    int k = s->taps * s->cin, panels = im_pack_panel_count(s->n, s->geglu);
    float *v = random_floats((int64_t)s->n * k, 1);
    for (int f = 0; f < 3; f++)
        for (int t = 0; t < 3; t++) {
            size_t size = im_dtype_size(dtypes[f]);
            char *src = guarded((size_t)(s->n * k) * size), *dst;
            dst = guarded(im_packed_bytes(dtypes[t], s->n, k, s->geglu));
            for (int64_t i = 0; i < (int64_t)s->n * k; i++) {
                int64_t n = i / k, j = i % k, at = oihw ? n * k + j % s->cin * s->taps + j / s->cin : i;
                uint16_t h = half_bits(v[i], dtypes[f]);
                memcpy(src + (size_t)at * size, size == 4 ? (void *)&v[i] : (void *)&h, size);
            }
            im_pack_args a = { .src = src, .src_dtype = dtypes[f], .dtype = dtypes[t], .n = s->n, .geglu = s->geglu,
                               .taps = s->taps, .cin = s->cin, .row_stride = k, .tap_stride = oihw ? 1 : s->cin,
                               .cin_stride = oihw ? s->taps : 1, .dst = dst };
            im_pack_panels(&a, 0, panels / 2);
            im_pack_panels(&a, panels / 2, panels);
            check(s, v, dtypes[f], dtypes[t], dst);
        }
    release_all();
}
END_TEST

/* ---------------------------------------------------------------- a device that holds weights in a way of its own */

/* Rows from the last to the first, each led by a mark and as long as a multiple of 8 values. */
static const float mark = -77;

static size_t row_bytes(const im_pack_args *p)
{
    return ((size_t)(p->taps * p->cin) + 8) / 8 * 8 * sizeof(float);
}

static size_t own_bytes(const im_device *dev, const im_pack_args *p)
{
    return p->packed ? (size_t)p->n * row_bytes(p) : im_weight_bytes(dev, p);
}

static int own_load(im_device *dev, const im_pack_args *p)
{
    (void)dev;
    memset(p->dst, 0, (size_t)p->n * row_bytes(p));
    for (int row = 0; row < p->n; row++) {
        float *to = (float *)((char *)p->dst + (size_t)(p->n - 1 - row) * row_bytes(p));
        *to++ = mark;
        for (int tap = 0; tap < p->taps; tap++)
            for (int ci = 0; ci < p->cin; ci++)
                *to++ = read(p->src, row * p->row_stride + tap * p->tap_stride + ci * p->cin_stride, p->src_dtype);
    }
    return IM_DONE;
}

/* Memory, loading and keeping ask the device, and nothing else knows the form. */
START_TEST(a_form_of_the_devices_own)
{
    im_ctx *c = im_ctx_new("ref", 1);
    c->dev.s.weight_bytes = own_bytes;
    c->dev.s.load = own_load;
    float values[3 * 5 * 4], want[3 * 24] = { 0 };                        /* (3, 5, 2, 2) in the file                 */
    for (int i = 0; i < 60; i++)
        values[i] = (float)i;
    im_tensor *w = im_param_new(c, "w", IM_F32, 4, (int64_t[]){ 3, 2, 2, 5 });
    im_weight_layout own = { .dtype = IM_F32, .packed = true }, plain = { .dtype = IM_F32 };
    ck_assert_uint_eq(im_param_stored_bytes(c, w, own), sizeof want);
    ck_assert_uint_eq(im_param_stored_bytes(c, w, plain), sizeof values);
    ck_assert_msg(im_param_alloc(c, w, own) && im_param_load(c, w, values, IM_F32, true), "%s", im_error(c));
    for (int row = 0; row < 3; row++) {
        float *to = want + 24 * (2 - row);
        to[0] = mark;
        for (int k = 0; k < 20; k++)
            to[1 + k] = values[row * 20 + k % 5 * 4 + k / 5];
    }
    float *kept = im_param_stored(c, w);
    ck_assert_mem_eq(kept, want, sizeof want);
    free(kept);
    im_param_free(c, w);
    im_ctx_free(c);
}
END_TEST

/* A file's values stay where they are if loading would only copy them. */
START_TEST(a_file_serves_where_its_bytes_agree)
{
    static const struct { int64_t shape[4]; im_weight_layout layout; im_dtype in; bool oihw, as_is; } all[] = {
        { { 6, 1, 1, 5 }, { .dtype = IM_F32 }, IM_F32, false, true },
        { { 6, 1, 1, 5 }, { .dtype = IM_F32 }, IM_F32, true, true },      /* one tap: OIHW is our order               */
        { { 6, 3, 3, 5 }, { .dtype = IM_F32 }, IM_F32, true, false },
        { { 6, 3, 3, 1 }, { .dtype = IM_F32 }, IM_F32, true, true },      /* one channel, too                         */
        { { 6, 1, 1, 5 }, { .dtype = IM_F16 }, IM_F32, false, false },
        { { 6, 1, 1, 5 }, { .dtype = IM_BF16 }, IM_BF16, false, true },
        { { 6, 1, 1, 5 }, { .dtype = IM_F32, .packed = true }, IM_F32, false, false },
    };
    im_ctx *c = im_ctx_new("cpu", 1);
    float file[6 * 9 * 5 + 1], copy[COUNT(file)];
    for (int i = 0; i < COUNT(file); i++)
        file[i] = (float)i;
    for (int i = 0; i < COUNT(all); i++) {
        im_tensor *w = im_param_new(c, "w", IM_F32, 4, all[i].shape);
        bool mapped = im_param_map_file(c, w, all[i].layout, file, all[i].in, all[i].oihw);
        ck_assert_msg(mapped == all[i].as_is && im_ok(c), "%d: %s", i, im_error(c));
        if (mapped) {
            ck_assert_ptr_eq(im_data(w), file);
            if (all[i].layout.dtype == IM_F32) {               /* and what loading makes of them is the same          */
                im_tensor *other = im_param_new(c, "w", IM_F32, 4, all[i].shape);
                ck_assert(im_param_alloc(c, other, all[i].layout)
                          && im_param_load(c, other, file, all[i].in, all[i].oihw) && im_download(c, other, copy));
                ck_assert_mem_eq(copy, file, (size_t)im_numel(other) * sizeof *file);
                im_param_free(c, other);
            }
        }
        ck_assert(!im_param_map_file(c, w, all[i].layout, (char *)file + 1, all[i].in, all[i].oihw));    /* askew     */
        im_param_free(c, w);
    }
    im_ctx_free(c);
}
END_TEST

/* ---------------------------------------------------------------- conversions, by their definition */

typedef struct { im_dtype t; int fraction, bias; } format;     /* bits of the fraction; of the exponent: 15 less those  */
static const format formats[] = { { IM_F16, 10, 15 }, { IM_BF16, 7, 127 } };

/* sign * (1 + m / 2^fraction) * 2^(e - bias); e 0: without the 1, from 2^(1 - bias); all ones: infinity, NaN. */
static double value_of(const format *f, uint16_t h)
{
    int e = (h & 0x7fff) >> f->fraction, m = h & ((1 << f->fraction) - 1);
    double x = e == 2 * f->bias + 1 ? (m ? NAN : INFINITY)
                                    : ldexp(m + (e ? 1 << f->fraction : 0), (e ? e : 1) - f->bias - f->fraction);
    return h & 0x8000 ? -x : x;
}

/* To the nearest multiple of the unit of the last place, ties to the even one; beyond the largest number: infinity. */
static double nearest(const format *f, float x)
{
    int e = ilogb((double)x);
    double unit = ldexp(1, (e < 1 - f->bias ? 1 - f->bias : e) - f->fraction);
    double y = isfinite(x) && x != 0 ? nearbyint((double)x / unit) * unit : (double)x;
    return fabs(y) >= ldexp(1, f->bias + 1) ? copysign(INFINITY, y) : y;
}

static void check_nearest(const format *f, float x)
{
    uint16_t h = half_bits(x, f->t);
    double got = value_of(f, h), want = nearest(f, x);
    ck_assert_msg(isnan(x) ? isnan(got) && (h >> (f->fraction - 1) & 1) : got == want && !signbit(got) == !signbit(want),
                  "%s of %a: %a, wanted %a", im_dtype_name(f->t), (double)x, got, want);
}

START_TEST(conversions)
{
    const format *f = &formats[_i];
    for (uint32_t i = 0; i < 65536; i++) {
        uint16_t h = (uint16_t)i;
        double want = value_of(f, h);
        float a = f->t == IM_F16 ? im_f32_from_f16(h) : im_f32_from_bf16(h);
        ck_assert_msg(isnan(want) ? isnan(a) : (double)a == want && !signbit(a) == !signbit(want), "%s %#x: %a, wanted %a",
                      im_dtype_name(f->t), i, (double)a, want);
        for (int e = -2; e <= 2; e++) {                        /* f32 around each value and each tie between values    */
            check_nearest(f, im_from_bits(im_bits(a) + (uint32_t)e));
            check_nearest(f, im_from_bits(im_bits(a) + (f->t == IM_F16 ? 0x1000u : 0x8000u) + (uint32_t)e));
        }
    }
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        LOOP(every_place, 2 * COUNT(shapes)), ONCE(a_form_of_the_devices_own),
        ONCE(a_file_serves_where_its_bytes_agree), LOOP(conversions, 2),
    };
    return suite_run("pack", NULL, NULL, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
