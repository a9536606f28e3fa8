/* ops_norms.c: norms and pools of training at the shapes of ResNet50 (He et al. 2016, torchvision's v1.5) at batch 32,
 * 224x224, and of a small UNet at batch 32; part of `imago bench ops`. All of it is bound by memory: bytes are what must
 * be read and written by two passes, counted once each (a line that is written is counted as written only). */
#include "bench/stopwatch.h"
#include "tensor/ctx.h"
#include "tensor/memory.h"

#include <stdio.h>
#include <string.h>

typedef enum { BATCHNORM, MAXPOOL, AVGPOOL, GROUPNORM, LAYERNORM } kind;

/* batch, side of the picture (layernorm: 1), channels; count: how often a step has it */
typedef struct shape { kind op; int count, batch, side, channels; bool relu, res; } shape;

static const shape shapes[] = {
    { BATCHNORM, 1, 32, 112, 64, true, false },                /* the stem */
    { BATCHNORM, 6, 32, 56, 64, true, false },   { BATCHNORM, 3, 32, 56, 256, true, true },
    { BATCHNORM, 1, 32, 56, 256, false, false }, { BATCHNORM, 1, 32, 56, 128, true, false },
    { BATCHNORM, 7, 32, 28, 128, true, false },  { BATCHNORM, 4, 32, 28, 512, true, true },
    { BATCHNORM, 1, 32, 28, 512, false, false }, { BATCHNORM, 1, 32, 28, 256, true, false },
    { BATCHNORM, 11, 32, 14, 256, true, false }, { BATCHNORM, 6, 32, 14, 1024, true, true },
    { BATCHNORM, 1, 32, 14, 1024, false, false }, { BATCHNORM, 1, 32, 14, 512, true, false },
    { BATCHNORM, 5, 32, 7, 512, true, false },   { BATCHNORM, 3, 32, 7, 2048, true, true },
    { BATCHNORM, 1, 32, 7, 2048, false, false }, { MAXPOOL, 1, 32, 112, 64, false, false },
    { AVGPOOL, 1, 32, 7, 2048, false, false },
    { GROUPNORM, 1, 32, 16, 64, true, false },   { GROUPNORM, 1, 32, 16, 128, true, false },
    { GROUPNORM, 1, 32, 16, 256, true, false },  { GROUPNORM, 1, 32, 16, 384, true, false },
    { LAYERNORM, 1, 8192, 1, 320, false, false },
};

typedef struct call {
    im_device *dev;
    const shape *s;
    bool backward;
    int64_t pixels, n;                                         /* of one picture; values of x */
    float *x, *res, *y, *dy, *dx, *dres, *vectors;             /* vectors: eight of 4096, and mean and rstd of n rows */
    int status;
    void *pieces[8];
    size_t sizes[8];
    int pieces_n;
} call;

/* n values in [-1, 1); NULL when out of memory, and then always NULL */
static float *values(call *q, int64_t n)
{
    bool out = q->pieces_n && !q->pieces[q->pieces_n - 1];
    size_t bytes = (size_t)n * sizeof(float);
    float *p = out ? NULL : im_pages_new(bytes);
    uint32_t x = 1;
    for (int64_t i = 0; p && i < n; i++) {
        x = x * 1664525u + 1013904223u;
        p[i] = (float)(int32_t)(x | 0x100u) * 0x1p-31f;
    }
    q->sizes[q->pieces_n] = bytes;
    return q->pieces[q->pieces_n++] = p;
}

static float *vector(const call *q, int i)
{
    return q->vectors + 4096 * i;
}

static void run_batchnorm(call *q)
{
    const shape *s = q->s;
    int64_t rows = s->batch * q->pixels;
    if (!q->backward)
        q->status |= q->dev->k.batchnorm(q->dev, &(im_batchnorm_args){
            .rows = rows, .channels = s->channels, .eps = 1e-5f, .momentum = 0.1f, .training = true, .relu = s->relu,
            .x.p = q->x, .gamma = vector(q, 0), .beta = vector(q, 1), .res.p = q->res, .running_mean = vector(q, 2),
            .running_var = vector(q, 3), .mean = vector(q, 4), .rstd = vector(q, 5), .y.p = q->y });
    else
        q->status |= q->dev->k.batchnorm_bwd(q->dev, &(im_batchnorm_bwd_args){
            .rows = rows, .channels = s->channels, .training = true, .relu = s->relu, .x.p = q->x, .gamma = vector(q, 0),
            .beta = vector(q, 1), .mean = vector(q, 4), .rstd = vector(q, 5), .y.p = s->res ? q->y : NULL, .dy.p = q->dy,
            .dx.p = q->dx, .dres.p = q->dres, .dgamma = vector(q, 6), .dbeta = vector(q, 7) });
}

static void run_pool(call *q)
{
    const shape *s = q->s;
    int b = s->batch, ch = s->channels, h = s->side, o = h / 2;
    uint16_t *won = (uint16_t *)(q->y + q->n / 4);
    if (s->op == AVGPOOL && !q->backward)
        q->status |= q->dev->k.avgpool(q->dev, &(im_avgpool_args){
            .batch = b, .pixels = q->pixels, .channels = ch, .x.p = q->x, .y.p = q->y });
    else if (s->op == AVGPOOL)
        q->status |= q->dev->k.avgpool_bwd(q->dev, &(im_avgpool_bwd_args){
            .batch = b, .pixels = q->pixels, .channels = ch, .dy.p = q->dy, .dx.p = q->dx });
    else if (!q->backward)
        q->status |= q->dev->k.maxpool(q->dev, &(im_maxpool_args){
            .batch = b, .h = h, .w = h, .channels = ch, .kernel = 3, .stride = 2, .pad = 1, .oh = o, .ow = o,
            .x.p = q->x, .y.p = q->y, .won = won });
    else
        q->status |= q->dev->k.maxpool_bwd(q->dev, &(im_maxpool_bwd_args){
            .batch = b, .h = h, .w = h, .channels = ch, .kernel = 3, .stride = 2, .pad = 1, .oh = o, .ow = o,
            .dy.p = q->dy, .won = won, .dx.p = q->dx });
}

static void run_rows(call *q)
{
    const shape *s = q->s;
    float *mean = vector(q, 8), *rstd = mean + s->batch * q->pixels;
    if (s->op == LAYERNORM && !q->backward)
        q->status |= q->dev->k.layernorm(q->dev, &(im_layernorm_args){
            .rows = s->batch, .channels = s->channels, .eps = 1e-5f, .x.p = q->x, .ldx = s->channels, .gamma = vector(q, 0),
            .beta = vector(q, 1), .y.p = q->y, .ldy = s->channels, .mean = mean, .rstd = rstd });
    else if (s->op == LAYERNORM)
        q->status |= q->dev->k.layernorm_bwd(q->dev, &(im_layernorm_bwd_args){
            .rows = s->batch, .channels = s->channels, .x.p = q->x, .ldx = s->channels, .gamma = vector(q, 0), .mean = mean,
            .rstd = rstd, .dy.p = q->dy, .dx.p = q->dx, .dgamma = vector(q, 6), .dbeta = vector(q, 7) });
    else if (!q->backward)
        q->status |= q->dev->k.groupnorm(q->dev, &(im_groupnorm_args){
            .batch = s->batch, .pixels = q->pixels, .channels = s->channels, .groups = 32, .eps = 1e-5f, .silu = true,
            .x.p = q->x, .gamma = vector(q, 0), .beta = vector(q, 1), .y.p = q->y, .mean = mean, .rstd = rstd });
    else
        q->status |= q->dev->k.groupnorm_bwd(q->dev, &(im_groupnorm_bwd_args){
            .batch = s->batch, .pixels = q->pixels, .channels = s->channels, .groups = 32, .silu = true, .x.p = q->x,
            .gamma = vector(q, 0), .beta = vector(q, 1), .mean = mean, .rstd = rstd, .dy.p = q->dy, .dx.p = q->dx,
            .dgamma = vector(q, 6), .dbeta = vector(q, 7) });
}

static void run(void *arg)
{
    call *q = arg;
    if (q->s->op == BATCHNORM)
        run_batchnorm(q);
    else if (q->s->op == MAXPOOL || q->s->op == AVGPOOL)
        run_pool(q);
    else
        run_rows(q);
}

/* How often a value of x is read or written beside it: forward twice x (three times with res) and y; backward x, dy (and y)
 * twice and dx (and dres). What fits a cache is read once: group and layer norm. */
static double traffic(const shape *s, bool backward)
{
    switch (s->op) {
    case BATCHNORM: return !backward ? (s->res ? 4 : 3) : s->res ? 8 : 5;
    case MAXPOOL:   return 1.375;                              /* a quarter, and as many halves                        */
    case AVGPOOL:   return 1;
    case GROUPNORM: case LAYERNORM: return backward ? 3 : 2;
    }
    return 0;
}

static bool measure(im_ctx *c, const shape *s, int rounds, const im_peak *peak, im_bench_row r[2])
{
    call q = { .dev = &c->dev, .s = s, .pixels = (int64_t)s->side * s->side };
    q.n = s->batch * q.pixels * s->channels;
    q.x = values(&q, q.n);
    q.y = values(&q, q.n);
    q.dy = values(&q, q.n);
    q.dx = values(&q, q.n);
    q.res = s->res ? values(&q, q.n) : NULL;
    q.dres = s->res ? values(&q, q.n) : NULL;
    q.vectors = values(&q, 4096 * 8 + 2 * s->batch * q.pixels);
    bool ok = q.vectors != NULL;
    for (int k = 0; ok && k < 2; k++) {
        q.backward = k;
        im_bench_time t = im_bench_run(c->threads, rounds, run, &q);
        r[k].ms_min = t.best * 1e3;
        r[k].ms_median = t.median * 1e3;
        r[k].bytes = 4 * (double)q.n * traffic(s, k);
        r[k].gbs = r[k].bytes / r[k].ms_median * 1e-6;
        r[k].memory_bound = true;
        r[k].percent = peak->read_gbs > 0 ? 100 * r[k].gbs / peak->read_gbs : 0;
    }
    for (int i = 0; i < q.pieces_n; i++)
        im_pages_free(q.pieces[i], q.sizes[i]);
    return (ok && !q.status)
        || im_fail(c, "measuring %s %s: %s", r->op, r->shape, ok ? "the kernel failed" : "out of memory");
}

bool im_bench_norms(im_ctx *c, int rounds, const im_peak *peak, void (*row)(void *arg, const im_bench_row *r), void *arg)
{
    static const char *const names[] = { "batchnorm", "maxpool 3x3", "avgpool", "groupnorm, silu", "layernorm" };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const shape *s = &shapes[i];
        char text[2][96];
        im_bench_row r[2] = { { 0 }, { 0 } };
        for (int k = 0; k < 2; k++) {
            snprintf(text[k], sizeof text[k], "%dx%dx%d%s%s%s", s->batch, s->side * s->side, s->channels,
                     s->relu && s->op == BATCHNORM ? ", relu" : "", s->res ? ", res" : "", k ? ", backward" : "");
            r[k] = (im_bench_row){ .op = names[s->op], .shape = text[k], .count = s->count, .weights = IM_F32,
                                   .part = s->op >= GROUPNORM ? "UNet of 32" : k ? "ResNet50 backward"
                                                                                 : "ResNet50 forward" };
        }
        if (!measure(c, s, rounds, peak, r))
            return false;
        row(arg, &r[0]);
        row(arg, &r[1]);
    }
    return true;
}
