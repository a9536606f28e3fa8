/* test_int8_dots.c: the innermost loops of int8 for instruction sets that this machine may not have: AVX-512 alone, with
 * vpdpbusd, and vpdpbusd without AVX-512 (emulate_*.h). Every tile against plain loops, the largest products included;
 * and of the last of them whole products and attention, on the kernels of avx2, against ref; so for the tiles of avx2
 * itself, which this machine may have an instruction in the place of. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "isa.h"
#include "suite.h"
#include "tensor/host.h"
#include "tensor/tensor.h"

/* micro.c's, whose header belongs to one instruction set (cpu/product.h). */
typedef struct tile {
    int steps;
    const float *a; int64_t lda;
    const float *b[2];
    const float *in;
    float *out;
    const void *next; int64_t next_apart, next_pace;
} tile;
typedef void micro(const tile *t);

const void *im_int8_tiles_emulated512(uint8_t *flip);
const void *im_int8_tiles_emulated512vnni(uint8_t *flip);
const void *im_int8_tiles_emulated2vnni(uint8_t *flip);
const void *im_int8_tiles_avx2(uint8_t *flip);
static const struct {
    const char *name; const void *(*tiles)(uint8_t *flip); int rows, panels; uint8_t flip;
    const char *beside;                          /* the set whose kernels call them                                     */
} sets[] = {
    { "avx512", im_int8_tiles_emulated512, 14, 2, 0, "avx512" },
    { "avx512vnni", im_int8_tiles_emulated512vnni, 14, 2, 0x80, "avx512" },
    { "avx2vnni", im_int8_tiles_emulated2vnni, 6, 1, 0x80, "avx2" },
    { "avx2", im_int8_tiles_avx2, 6, 1, 0, "avx2" },
};

enum { STEPS = 37, MOST = 14, LANES = 16, STRIP = 2 * LANES, LDA = 41 };

/* Integers within -127 .. 127, now and then the ends. */
static int8_t integer(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    uint32_t x = *seed >> 8;
    return x % 7 == 0 ? (int8_t)(x % 2 ? 127 : -127) : (int8_t)((int)(x % 255) - 127);
}

static int8_t a[MOST][4 * LDA], b[2][STEPS][LANES][4];
static int32_t in[MOST][STRIP];

static void try_tile(int set, micro *run, int rows, int panels, bool from_zero)
{
    static uint8_t bytes[MOST][4 * LDA];
    static int32_t out[MOST][STRIP];
    for (int i = 0; i < MOST; i++)
        for (int k = 0; k < 4 * LDA; k++)
            bytes[i][k] = (uint8_t)a[i][k] ^ sets[set].flip;
    const void *before = in;                                   /* a tile has pointers to floats for all its forms      */
    void *after = out;
    tile t = { .steps = STEPS, .a = (const float *)(const void *)bytes, .lda = LDA,
               .b = { (const float *)(const void *)b[0], (const float *)(const void *)b[panels - 1] },
               .in = from_zero ? NULL : before, .out = after, .next = b };
    run(&t);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < panels * LANES; j++) {
            int32_t want = from_zero ? 0 : in[i][j];
            for (int k = 0; k < 4 * STEPS; k++)
                want += (a[i][k] + (sets[set].flip ? 128 : 0)) * b[j / LANES][k / 4][j % LANES][k % 4];
            ck_assert_msg(out[i][j] == want, "%s, %d x %d: sum (%d, %d) is %d, wanted %d", sets[set].name, rows, panels, i,
                          j, out[i][j], want);
        }
}

START_TEST(every_tile)
{
    uint8_t flip;
    micro *const *tiles = sets[_i].tiles(&flip);
    uint32_t seed = 1;
    ck_assert_int_eq(flip, sets[_i].flip);
    for (int i = 0; i < MOST; i++)
        for (int k = 0; k < 4 * LDA; k++)
            a[i][k] = integer(&seed);
    for (int i = 0; i < 2 * STEPS * LANES * 4; i++)
        b[i / (STEPS * LANES * 4)][i / (LANES * 4) % STEPS][i / 4 % LANES][i % 4] = integer(&seed);
    for (int i = 0; i < MOST * STRIP; i++)
        in[i / STRIP][i % STRIP] = 1000 * integer(&seed);
    for (int panels = 1; panels <= sets[_i].panels; panels++)
        for (int rows = 1; rows <= sets[_i].rows; rows++) {
            micro *run = tiles[(panels - 1) * sets[_i].rows + rows - 1];
            try_tile(_i, run, rows, panels, true);
            try_tile(_i, run, rows, panels, false);
        }
}
END_TEST

static float *linear_on(im_ctx *c, int m, int n, int k)
{
    int64_t x_shape[] = { m, k }, w_shape[] = { n, k };
    float *x = malloc((size_t)m * (size_t)k * sizeof *x), *v = malloc((size_t)n * (size_t)k * sizeof *v);
    uint32_t seed = 5;
    for (int64_t i = 0; i < (int64_t)m * k; i++)
        x[i] = (float)integer(&seed) * 0.013f;
    for (int64_t i = 0; i < (int64_t)n * k; i++)
        v[i] = (float)integer(&seed) * 0.7f;
    im_tensor *w = im_param_new(c, "w", IM_F32, 2, w_shape);
    im_scope_push(c);
    ck_assert(im_param_alloc(c, w, (im_weight_layout){ .dtype = IM_INT8, .packed = true }) &&
              im_param_load(c, w, v, IM_F32, false));
    float *y = im_values(c, im_linear(c, im_from(c, IM_F32, 2, x_shape, x), w, NULL, NULL, IM_ACT_NONE));
    ck_assert_msg(y != NULL, "%s", im_error(c));
    im_scope_pop(c);
    im_param_free(c, w);
    free(x);
    free(v);
    return y;
}

static float *attention_on(im_ctx *c, int tq, int tk, int d, bool causal)
{
    const int64_t shapes[2][3] = { { 2, tq, 2 * d }, { 2, tk, 2 * d } };
    im_tensor *qkv[3];
    uint32_t seed = 9;
    im_scope_push(c);
    for (int i = 0; i < 3; i++) {
        int64_t n = 4 * (int64_t)(i ? tk : tq) * d;
        float *x = malloc((size_t)n * sizeof *x);
        for (int64_t k = 0; k < n; k++)
            x[k] = (float)integer(&seed) * 0.01f;
        qkv[i] = im_from(c, IM_F32, 3, shapes[i > 0], x);
        free(x);
    }
    float *y = im_values(c, im_attention_beside(c, qkv[0], qkv[1], qkv[2], 2, causal, IM_INT8));
    ck_assert_msg(y != NULL, "%s", im_error(c));
    im_scope_pop(c);
    return y;
}

static void as_ref(im_ctx *ref, im_ctx *c)
{
    static const int shapes[][3] = { { 1, 1, 1 }, { 37, 50, 77 }, { 300, 65, 1300 } };
    for (int s = 0; s < 3; s++) {
        int m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
        float *want = linear_on(ref, m, n, k), *got = linear_on(c, m, n, k);
        ck_assert_mem_eq(got, want, (size_t)m * (size_t)n * sizeof *got);
        free(want);
        free(got);
        want = attention_on(ref, m, k, n, s == 2);
        got = attention_on(c, m, k, n, s == 2);
        ck_assert_mem_eq(got, want, 4 * (size_t)m * (size_t)n * sizeof *got);
        free(want);
        free(got);
    }
}

/* What goes into the integers of A comes out of the sums again. */
START_TEST(whole_products)
{
    choose_isa(sets[_i].beside);
    im_ctx *ref = im_ctx_new("ref", 1), *c = im_ctx_new("cpu", 2);
    choose_isa(NULL);
    ck_assert(im_ok(ref));
    if (im_ok(c) && !strcmp(im_device_isa(c), sets[_i].beside)) {
        im_host *h = im_host_of(&c->dev);
        h->int8_tiles = sets[_i].tiles(&h->int8_flip);
        ck_assert_int_eq(h->int8_flip, sets[_i].flip);
        as_ref(ref, c);
    }
    im_ctx_free(ref);
    im_ctx_free(c);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { LOOP(every_tile, 4), LOOP(whole_products, 4) };
    return suite_run("int8_dots", NULL, NULL, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
