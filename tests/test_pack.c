/* test_pack.c: weights in panels (tensor/pack.c): every place holds the value that device.h says, from linear and OIHW
 * sources, in all dtypes and odd sizes; and the branch-free conversions of half.h equal the public ones. */
#include "products.h"
#include "tensor/half.h"

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

START_TEST(halves_convert_as_the_public_functions_do)
{
    for (uint32_t i = 0; i < 65536; i++) {
        uint16_t h = (uint16_t)i;
        float a = im_f32_from_f16(h), b = im_half_to_f32(h), c = im_f32_from_bf16(h), d = im_bhalf_to_f32(h);
        ck_assert_msg(!memcmp(&a, &b, 4) && !memcmp(&c, &d, 4), "%#x", i);
        for (int e = -2; e <= 2; e++) {                        /* f32 around every half and every tie between halves */
            float near[] = { im_from_bits(im_bits(a) + (uint32_t)e), im_from_bits(im_bits(c) + 0x8000u + (uint32_t)e),
                             im_from_bits(im_bits(a) + 0x1000u + (uint32_t)e) };
            for (int j = 0; j < 3; j++)
                ck_assert_msg(im_f16_from_f32(near[j]) == im_half_from_f32(near[j]) &&
                              im_bf16_from_f32(near[j]) == im_bhalf_from_f32(near[j]), "%a", near[j]);
        }
    }
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        LOOP(every_place, 2 * COUNT(shapes)), ONCE(halves_convert_as_the_public_functions_do),
    };
    return suite_run("pack", NULL, NULL, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
