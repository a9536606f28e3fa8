/* products.c: the matrix products of a guided step of v1.4 (batch 2, 512x512) on a CUDA device: ours, and beside them a
 * rival's (rival.h), for bench/gpu.sh. A JSON object a line: ms of a product, gflops a second, the rival's ms, and how
 * far the two results are apart.
 *
 *     build/gpu-products bf16|f16 [small]       small: sizes for the simulator
 *
 * Ours is called as the engine calls it, launches and memory for results included, 20 times between two waits of the
 * host. difference: the largest |ours - rival's| / (|rival's| + rms); 1 at the end where one is above four roundings of
 * a number in 16 bits, as in cuda/check.c: sums in f32 differ by far less. */
#include "bench/products/rival.h"
#include "imago.h"
#include "tensor/half.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct shape { int m, k, n; } shape;
static const shape step[] = {
    { 8192, 320, 320 }, { 2048, 640, 640 }, { 512, 1280, 1280 }, { 8192, 320, 2560 }, { 2048, 640, 5120 },
    { 512, 1280, 10240 }, { 8192, 1280, 320 }, { 2048, 2560, 640 }, { 512, 5120, 1280 },
};
static const shape tiny[] = { { 64, 64, 64 }, { 70, 40, 72 }, { 33, 136, 8 } };
enum { STEP = sizeof step / sizeof *step, TINY = sizeof tiny / sizeof *tiny, ROUNDS = 20 };

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static float widened(bool bf16, uint16_t h) { return bf16 ? im_bhalf_to_f32(h) : im_half_to_f32(h); }

/* n numbers within -1 .. 1 in 16 bits */
static uint16_t *numbers(int64_t n, bool bf16, uint32_t seed)
{
    uint16_t *v = malloc((size_t)n * sizeof *v);
    for (int64_t i = 0; v && i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        float x = (float)(seed >> 8) * 0x1p-23f - 1;
        v[i] = bf16 ? im_bhalf_from_f32(x) : im_half_from_f32(x);
    }
    return v;
}

/* Our c, malloc'd, and the milliseconds of a product; NULL: c has failed. */
static uint16_t *multiply(im_ctx *c, const rival_product *p, double *ms)
{
    im_dtype half = p->bf16 ? IM_BF16 : IM_F16;
    im_scope_push(c);
    im_tensor *a = im_new(c, half, 2, (int64_t[]){ p->m, p->k }), *b = im_new(c, half, 2, (int64_t[]){ p->n, p->k });
    uint16_t *out = NULL;
    if (im_upload(c, a, p->a) && im_upload(c, b, p->b)) {
        out = im_values(c, im_linear(c, a, b, NULL, NULL, IM_ACT_NONE));
        double begin = now_ms();
        for (int i = 0; i < p->rounds; i++) {
            im_scope_push(c);
            im_linear(c, a, b, NULL, NULL, IM_ACT_NONE);
            im_scope_pop(c);
        }
        im_item(c, im_reshape(c, im_slice(c, im_slice(c, a, 0, 0, 1), 1, 0, 1), 1, (int64_t[]){ 1 }));    /* waits      */
        *ms = (now_ms() - begin) / p->rounds;
    }
    im_scope_pop(c);
    if (im_ok(c))
        return out;
    free(out);
    return NULL;
}

static double apart(const rival_product *p, const uint16_t *ours)
{
    double rms = 0, worst = 0;
    int64_t n = (int64_t)p->m * p->n;
    for (int64_t i = 0; i < n; i++) {
        double x = (double)widened(p->bf16, p->c[i]);
        rms += x * x / (double)n;
    }
    for (int64_t i = 0; i < n; i++) {
        double x = (double)widened(p->bf16, p->c[i]), off = fabs((double)widened(p->bf16, ours[i]) - x);
        worst = fmax(worst, isnan(off) ? INFINITY : off / (fabs(x) + sqrt(rms)));
    }
    return worst;
}

/* One row; false: it failed, or the results are not the same. */
static bool row(im_ctx *c, const shape *s, bool bf16)
{
    char why[200] = "";
    rival_product p = { .m = s->m, .n = s->n, .k = s->k, .bf16 = bf16, .rounds = ROUNDS };
    uint16_t *a = numbers((int64_t)s->m * s->k, bf16, 1), *b = numbers((int64_t)s->n * s->k, bf16, 2), *ours = NULL;
    p.a = a;
    p.b = b;
    p.c = malloc((size_t)s->m * (size_t)s->n * sizeof *p.c);
    double ms = 0, theirs = -1, off = 0;
    bool ok = a && b && p.c && (ours = multiply(c, &p, &ms)) != NULL;
    if (ok && rival_name()) {
        theirs = rival_multiply(&p, why, sizeof why);
        off = theirs < 0 ? INFINITY : apart(&p, ours);
    }
    if (ok) {
        printf("{\"bench\": \"product\", \"shape\": \"%dx%d -> %d\", \"dtype\": \"%s\", \"ms\": %.5g, \"gflops\": %.5g",
               s->m, s->k, s->n, bf16 ? "bf16" : "f16", ms, 2e-6 * s->m * s->n * s->k / ms);
        if (theirs >= 0)
            printf(", \"%s_ms\": %.5g, \"difference\": %.3g", rival_name(), theirs, off);
        printf("}\n");
        fflush(stdout);
    } else {
        fprintf(stderr, "gpu-products: %s\n", im_ok(c) ? "out of memory" : im_error(c));
    }
    if (*why)
        fprintf(stderr, "gpu-products: %s: %s\n", rival_name(), why);
    free(a);
    free(b);
    free(p.c);
    free(ours);
    return ok && off <= (bf16 ? 0x1p-6 : 0x1p-9);
}

int main(int argc, char **argv)
{
    bool bf16 = argc > 1 && !strcmp(argv[1], "bf16"), small = argc > 2 && !strcmp(argv[2], "small");
    if (argc < 2 || argc > 3 || (!bf16 && strcmp(argv[1], "f16")) || (argc > 2 && !small)) {
        fprintf(stderr, "usage: gpu-products bf16|f16 [small]\n");
        return 2;
    }
    im_ctx *c = im_ctx_new("cuda", 1);
    bool ok = im_ok(c);
    if (!ok)
        fprintf(stderr, "gpu-products: %s\n", im_error(c));
    for (int i = 0; i < (small ? TINY : STEP) && im_ok(c); i++)
        ok = row(c, small ? &tiny[i] : &step[i], bf16) && ok;
    im_ctx_free(c);
    return !ok;
}
