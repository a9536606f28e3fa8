/* bench_products.c: how fast the products of training run at the shapes of ResNet50 (224x224, batch 32) and of a small
 * UNet (64, 128, 192 channels, 16x16 latents, batch 32): forward, dx, dw.
 *
 *     build/tests/bench_products [threads [rounds [bf16 [word]]]]      word: only shapes whose line holds it
 *
 * Times are processor time of the whole process over the threads, best of the rounds, since machines are shared; GFLOP/s
 * count direct sums. The last lines are sums over a network, each shape as often as it occurs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tensor/ctx.h"
#include "tensor/host.h"
#include "tensor/memory.h"

typedef struct { const char *net; int count, b, h, cin, cout, k, stride, up; } shape;  /* up: enlarged so many times    */

static const shape shapes[] = {
    { "resnet", 1, 32, 224, 3, 64, 7, 2, 1 },
    { "resnet", 1, 32, 56, 64, 64, 1, 1, 1 },
    { "resnet", 3, 32, 56, 64, 64, 3, 1, 1 },
    { "resnet", 4, 32, 56, 64, 256, 1, 1, 1 },
    { "resnet", 2, 32, 56, 256, 64, 1, 1, 1 },
    { "resnet", 1, 32, 56, 256, 128, 1, 1, 1 },
    { "resnet", 1, 32, 56, 128, 128, 3, 2, 1 },
    { "resnet", 1, 32, 56, 256, 512, 1, 2, 1 },
    { "resnet", 4, 32, 28, 128, 512, 1, 1, 1 },
    { "resnet", 3, 32, 28, 512, 128, 1, 1, 1 },
    { "resnet", 3, 32, 28, 128, 128, 3, 1, 1 },
    { "resnet", 1, 32, 28, 512, 256, 1, 1, 1 },
    { "resnet", 1, 32, 28, 256, 256, 3, 2, 1 },
    { "resnet", 1, 32, 28, 512, 1024, 1, 2, 1 },
    { "resnet", 6, 32, 14, 256, 1024, 1, 1, 1 },
    { "resnet", 5, 32, 14, 1024, 256, 1, 1, 1 },
    { "resnet", 5, 32, 14, 256, 256, 3, 1, 1 },
    { "resnet", 1, 32, 14, 1024, 512, 1, 1, 1 },
    { "resnet", 1, 32, 14, 512, 512, 3, 2, 1 },
    { "resnet", 1, 32, 14, 1024, 2048, 1, 2, 1 },
    { "resnet", 3, 32, 7, 512, 2048, 1, 1, 1 },
    { "resnet", 2, 32, 7, 2048, 512, 1, 1, 1 },
    { "resnet", 2, 32, 7, 512, 512, 3, 1, 1 },
    { "unet", 1, 32, 16, 4, 64, 3, 1, 1 },
    { "unet", 7, 32, 16, 64, 64, 3, 1, 1 },
    { "unet", 2, 32, 16, 128, 64, 3, 1, 1 },
    { "unet", 1, 32, 16, 64, 64, 3, 2, 1 },
    { "unet", 1, 32, 8, 64, 128, 3, 1, 1 },
    { "unet", 7, 32, 8, 128, 128, 3, 1, 1 },
    { "unet", 2, 32, 8, 256, 128, 3, 1, 1 },
    { "unet", 1, 32, 8, 128, 128, 3, 2, 1 },
    { "unet", 8, 32, 4, 192, 192, 3, 1, 1 },
    { "unet", 2, 32, 4, 384, 192, 3, 1, 1 },
    { "unet", 1, 32, 8, 192, 192, 3, 1, 2 },
    { "unet", 1, 32, 4, 128, 128, 3, 1, 2 },
    { "unet", 1, 32, 16, 64, 4, 3, 1, 1 },
    { "unet", 4, 32, 16, 64, 256, 1, 1, 1 },
    { "unet", 4, 32, 8, 128, 512, 1, 1, 1 },
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *values(int64_t n)
{
    float *p = im_pages_new((size_t)n * sizeof *p);
    uint32_t x = 1;
    for (int64_t i = 0; p && i < n; i++) {
        x = x * 1664525u + 1013904223u;
        p[i] = (float)(int32_t)(x | 0x100u) * 0x1p-31f;
    }
    if (!p)
        exit(1);
    return p;
}

static double total[2][3], total_flop[2][3];

static void measure(im_device *dev, const shape *s, int rounds, const char *line, double peak)
{
    int up = s->h * s->up, pad = s->k / 2, oh = (up + 2 * pad - s->k) / s->stride + 1, k = s->k * s->k * s->cin;
    int64_t nx = (int64_t)s->b * s->h * s->h * s->cin, ny = (int64_t)s->b * oh * oh * s->cout, nw = (int64_t)s->cout * k;
    float *x = values(nx), *w = values(nw), *y = values(ny), *dx = values(nx), *dw = values(nw);
    im_weight wt = { .data = w, .dtype = IM_F32, .n = s->cout, .k = k, .ld = k };
    im_conv_args f = { s->b, s->h, s->h, s->cin, s->cout, s->k, s->k, oh, oh, s->stride, pad, pad, up, up, .x = x, .wt = wt,
                       .y = y };
    im_conv_dx_args d = { s->b, s->h, s->h, s->cin, s->cout, s->k, s->k, oh, oh, s->stride, pad, pad, up, up, .dy = y,
                          .wt = wt, .dx = dx };
    im_conv_dw_args g = { s->b, s->h, s->h, s->cin, s->cout, s->k, s->k, oh, oh, s->stride, pad, pad, up, up, .x = x,
                          .dy = y, .dw = dw };
    double flop = 2.0 * (double)ny * k, best[3] = { 1e9, 1e9, 1e9 };
    for (int r = 0; r < rounds; r++)
        for (int part = 0; part < 3; part++) {
            double start = now();
            int status = part == 0 ? dev->k.conv(dev, &f) : part == 1 ? dev->k.conv_dx(dev, &d) : dev->k.conv_dw(dev, &g);
            double t = (now() - start) / im_threads_of(dev);
            if (status)
                exit(1);
            best[part] = t < best[part] ? t : best[part];
        }
    printf("%-34s %2d", line, s->count);
    for (int part = 0; part < 3; part++) {
        int net = s->net[0] == 'u';
        bool none = part == 1 && s->cin <= 4;                  /* nobody wants the gradient of a picture               */
        printf("  %8.2f ms %5.0f %4.0f%%", best[part] * 1e3, flop / best[part] * 1e-9, flop / best[part] * 1e-7 / peak);
        total[net][part] += none ? 0 : s->count * best[part];
        total_flop[net][part] += none ? 0 : s->count * flop;
    }
    printf("\n");
    fflush(stdout);
    im_pages_free(x, (size_t)nx * 4);
    im_pages_free(w, (size_t)nw * 4);
    im_pages_free(y, (size_t)ny * 4);
    im_pages_free(dx, (size_t)nx * 4);
    im_pages_free(dw, (size_t)nw * 4);
}

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 1, rounds = argc > 2 ? atoi(argv[2]) : 5;
    im_ctx *c = im_ctx_new("cpu", threads);
    im_peak peak;
    if (!im_bench_peak(c, threads, &peak))
        return 1;
    if (argc > 3 && !strcmp(argv[3], "bf16"))
        im_set_compute_dtype(c, IM_BF16);
    printf("%s, %d threads, peak %.0f GFLOP/s f32, %.0f bf16\n", peak.isa, threads, peak.fma_gflops, peak.dot_gflops);
    printf("%-34s n          forward                      dx                      dw\n", "");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        char line[80];
        const shape *s = &shapes[i];
        snprintf(line, sizeof line, "%s %dx%dx%d->%d %dx%d/%d%s", s->net, s->h, s->h, s->cin, s->cout, s->k, s->k,
                 s->stride, s->up > 1 ? " up" : "");
        if (argc <= 4 || strstr(line, argv[4]))
            measure(&c->dev, s, rounds, line, peak.fma_gflops);
    }
    for (int net = 0; net < 2; net++)
        if (total[net][0] > 0)
            printf("%-34s    forward %.0f ms (%.0f GFLOP/s), dx %.0f ms (%.0f), dw %.0f ms (%.0f): %.0f ms\n",
                   net ? "unet" : "resnet", total[net][0] * 1e3, total_flop[net][0] / total[net][0] * 1e-9,
                   total[net][1] * 1e3, total_flop[net][1] / total[net][1] * 1e-9, total[net][2] * 1e3,
                   total_flop[net][2] / total[net][2] * 1e-9, (total[net][0] + total[net][1] + total[net][2]) * 1e3);
    im_ctx_free(c);
    return 0;
}
