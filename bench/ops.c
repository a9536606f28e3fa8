/* ops.c: the kernels at the shapes that Stable Diffusion v1.4 really runs for a 512x512 picture (`imago bench
 * ops`). `count` is how often each shape occurs; the kernels that carry the time are all here, sums of counts are not
 * the whole. */
#include "bench/stopwatch.h"
#include "tensor/ctx.h"
#include "tensor/host.h"
#include "tensor/memory.h"

#include <stdio.h>
#include <string.h>

typedef enum { CONV, GEMM, GEGLU, GROUPNORM, LAYERNORM, ATTENTION } kind;

/* conv: batch, h, w, cin, cout, kernel, stride, enlargement    gemm, geglu: rows, k, n    groupnorm: batch, pixels,
 * channels layernorm: rows, channels    attention: batch, queries, keys, heads, head size */
typedef struct shape { kind op; const char *part; int count, d[8]; } shape;

static const shape shapes[] = {
    /* A guided step (batch 2): 64x64 latents and 320 channels, then 32x32 640, 16x16 1280, 8x8 1280. */
    { CONV, "step", 1, { 2, 64, 64, 4, 320, 3, 1, 1 } },       /* conv_in */
    { CONV, "step", 7, { 2, 64, 64, 320, 320, 3, 1, 1 } },
    { CONV, "step", 2, { 2, 64, 64, 640, 320, 3, 1, 1 } },
    { CONV, "step", 1, { 2, 64, 64, 960, 320, 3, 1, 1 } },
    { CONV, "step", 1, { 2, 64, 64, 320, 320, 3, 2, 1 } },     /* downsamplers */
    { CONV, "step", 1, { 2, 32, 32, 640, 640, 3, 2, 1 } },
    { CONV, "step", 1, { 2, 32, 32, 320, 640, 3, 1, 1 } },
    { CONV, "step", 6, { 2, 32, 32, 640, 640, 3, 1, 1 } },
    { CONV, "step", 1, { 2, 32, 32, 960, 640, 3, 1, 1 } },
    { CONV, "step", 1, { 2, 32, 32, 1280, 640, 3, 1, 1 } },
    { CONV, "step", 1, { 2, 32, 32, 1920, 640, 3, 1, 1 } },
    { CONV, "step", 1, { 2, 32, 32, 640, 640, 3, 1, 2 } },     /* upsamplers */
    { CONV, "step", 1, { 2, 16, 16, 1280, 1280, 3, 1, 2 } },
    { CONV, "step", 1, { 2, 8, 8, 1280, 1280, 3, 1, 2 } },
    { CONV, "step", 6, { 2, 16, 16, 1280, 1280, 3, 1, 1 } },
    { CONV, "step", 1, { 2, 16, 16, 1920, 1280, 3, 1, 1 } },
    { CONV, "step", 2, { 2, 16, 16, 2560, 1280, 3, 1, 1 } },
    { CONV, "step", 11, { 2, 8, 8, 1280, 1280, 3, 1, 1 } },
    { CONV, "step", 3, { 2, 8, 8, 2560, 1280, 3, 1, 1 } },
    { CONV, "step", 1, { 2, 64, 64, 320, 4, 3, 1, 1 } },       /* conv_out */
    { GEMM, "step", 40, { 8192, 320, 320 } },                  /* projections around attention, 8 a block */
    { GEMM, "step", 40, { 2048, 640, 640 } },
    { GEMM, "step", 40, { 512, 1280, 1280 } },
    { GEMM, "step", 8, { 128, 1280, 1280 } },
    { GEGLU, "step", 5, { 8192, 320, 1280 } },
    { GEGLU, "step", 5, { 2048, 640, 2560 } },
    { GEGLU, "step", 5, { 512, 1280, 5120 } },
    { GEGLU, "step", 1, { 128, 1280, 5120 } },
    { GEMM, "step", 5, { 8192, 1280, 320 } },
    { GEMM, "step", 5, { 2048, 2560, 640 } },
    { GEMM, "step", 5, { 512, 5120, 1280 } },
    { GEMM, "step", 1, { 128, 5120, 1280 } },
    { GEMM, "step", 14, { 2, 1280, 1280 } },                   /* time embedding */
    { ATTENTION, "step", 5, { 2, 4096, 4096, 8, 40 } },
    { ATTENTION, "step", 5, { 2, 1024, 1024, 8, 80 } },
    { ATTENTION, "step", 5, { 2, 256, 256, 8, 160 } },
    { ATTENTION, "step", 1, { 2, 64, 64, 8, 160 } },
    { ATTENTION, "step", 5, { 2, 4096, 77, 8, 40 } },
    { ATTENTION, "step", 5, { 2, 1024, 77, 8, 80 } },
    { ATTENTION, "step", 5, { 2, 256, 77, 8, 160 } },
    { GROUPNORM, "step", 13, { 2, 4096, 320 } },
    { GROUPNORM, "step", 2, { 2, 4096, 640 } },
    { GROUPNORM, "step", 1, { 2, 4096, 960 } },
    { GROUPNORM, "step", 11, { 2, 1024, 640 } },
    { GROUPNORM, "step", 11, { 2, 256, 1280 } },
    { LAYERNORM, "step", 15, { 8192, 320 } },
    { LAYERNORM, "step", 15, { 2048, 640 } },
    { LAYERNORM, "step", 15, { 512, 1280 } },
    /* Once a picture: the text encoder on prompt and negative prompt, and the keys and values made of its output. */
    { GEMM, "text", 48, { 154, 768, 768 } },
    { GEMM, "text", 12, { 154, 768, 3072 } },
    { GEMM, "text", 12, { 154, 3072, 768 } },
    { GEMM, "text", 10, { 154, 768, 320 } },
    { GEMM, "text", 12, { 154, 768, 1280 } },
    { ATTENTION, "text", 12, { 2, 77, 77, 12, 64 } },
    /* Once a picture: the VAE's decoder. */
    { CONV, "decode", 10, { 1, 64, 64, 512, 512, 3, 1, 1 } },
    { CONV, "decode", 1, { 1, 64, 64, 512, 512, 3, 1, 2 } },
    { CONV, "decode", 6, { 1, 128, 128, 512, 512, 3, 1, 1 } },
    { CONV, "decode", 1, { 1, 128, 128, 512, 512, 3, 1, 2 } },
    { CONV, "decode", 1, { 1, 256, 256, 512, 256, 3, 1, 1 } },
    { CONV, "decode", 5, { 1, 256, 256, 256, 256, 3, 1, 1 } },
    { CONV, "decode", 1, { 1, 256, 256, 256, 256, 3, 1, 2 } },
    { CONV, "decode", 1, { 1, 512, 512, 256, 128, 3, 1, 1 } },
    { CONV, "decode", 5, { 1, 512, 512, 128, 128, 3, 1, 1 } },
    { CONV, "decode", 1, { 1, 512, 512, 128, 3, 3, 1, 1 } },
    { ATTENTION, "decode", 1, { 1, 4096, 4096, 1, 512 } },
    { GROUPNORM, "decode", 5, { 1, 262144, 128 } },
    { GROUPNORM, "decode", 6, { 1, 65536, 256 } },
};

/* ---------------------------------------------------------------- one call */

typedef struct call {
    im_device *dev;
    int status;
    const shape *s;
    im_conv_args conv;
    im_gemm_args gemm;
    im_groupnorm_args groupnorm;
    im_layernorm_args layernorm;
    im_attention_args attention;
    double flop, bytes;
    void *pieces[8];
    size_t sizes[8];
    int n;
} call;

static void *piece(call *q, size_t bytes)                      /* NULL when out of memory, and then always NULL */
{
    bool out = q->n && !q->pieces[q->n - 1];
    q->sizes[q->n] = bytes;
    return q->pieces[q->n++] = out ? NULL : im_pages_new(bytes);
}

/* n values in [-1, 1), none of them subnormal: slow arithmetic would not be typical. */
static float *values(call *q, int64_t n)
{
    float *p = piece(q, (size_t)n * sizeof *p);
    uint32_t x = 1;
    for (int64_t i = 0; p && i < n; i++) {
        x = x * 1664525u + 1013904223u;
        p[i] = (float)(int32_t)(x | 0x100u) * 0x1p-31f;
    }
    return p;
}

static im_weight weights(call *q, int n, int k, bool geglu, im_dtype t)
{
    float *plain = values(q, (int64_t)n * k);
    im_pack_args a = { .packed = true, .src = plain, .src_dtype = IM_F32, .dtype = t, .n = n, .geglu = geglu, .taps = 1,
                       .cin = k, .row_stride = k, .cin_stride = 1 };
    size_t bytes = im_weight_bytes(NULL, &a);
    void *packed = a.dst = piece(q, bytes);
    if (packed)
        im_pack_panels(&a, 0, im_pack_panel_count(n, geglu));
    q->bytes += (double)bytes;
    return (im_weight){ .data = packed, .dtype = t, .packed = true, .geglu = geglu, .n = n, .k = k };
}

static float *activations(call *q, int64_t n)                  /* read or written once: counts as traffic */
{
    q->bytes += 4.0 * (double)n;
    return values(q, n);
}

static void make_conv(call *q, im_dtype t)
{
    const int *d = q->s->d;
    int b = d[0], uh = d[1] * d[7], uw = d[2] * d[7], pad = d[5] / 2, oh = (uh + 2 * pad - d[5]) / d[6] + 1,
        ow = (uw + 2 * pad - d[5]) / d[6] + 1, k = d[5] * d[5] * d[3];
    int64_t out = (int64_t)b * oh * ow;
    q->flop = 2.0 * (double)out * d[4] * k;
    q->conv = (im_conv_args){
        .batch = b, .h = d[1], .w = d[2], .cin = d[3], .cout = d[4], .kh = d[5], .kw = d[5], .oh = oh, .ow = ow,
        .stride = d[6], .pad_top = pad, .pad_left = pad, .up_h = uh, .up_w = uw,
        .x.p = activations(q, (int64_t)b * d[1] * d[2] * d[3]), .wt = weights(q, d[4], k, false, t),
        .bias = activations(q, d[4]), .y.p = activations(q, out * d[4]) };
}

static void make_gemm(call *q, im_dtype t)
{
    int m = q->s->d[0], k = q->s->d[1], n = q->s->d[2];
    bool geglu = q->s->op == GEGLU;
    int rows = geglu ? 2 * n : n;
    q->flop = 2.0 * m * rows * k;
    q->gemm = (im_gemm_args){
        .m = m, .n = n, .k = k, .a.p = activations(q, (int64_t)m * k), .lda = k,
        .b = weights(q, rows, k, geglu, t), .bias = activations(q, rows),
        .c.p = activations(q, (int64_t)m * n), .ldc = n, .geglu = geglu };
}

static void make_norm(call *q)
{
    const int *d = q->s->d;
    if (q->s->op == GROUPNORM) {
        int64_t n = (int64_t)d[0] * d[1] * d[2];
        q->groupnorm = (im_groupnorm_args){
            .batch = d[0], .pixels = d[1], .channels = d[2], .groups = 32, .eps = 1e-5f, .silu = true,
            .x.p = activations(q, n), .gamma = activations(q, d[2]), .beta = activations(q, d[2]),
            .y.p = activations(q, n) };
        return;
    }
    int64_t n = (int64_t)d[0] * d[1];
    q->layernorm = (im_layernorm_args){
        .rows = d[0], .channels = d[1], .eps = 1e-5f, .x.p = activations(q, n), .ldx = d[1],
        .gamma = activations(q, d[1]), .beta = activations(q, d[1]), .y.p = activations(q, n), .ldy = d[1] };
}

static void make_attention(call *q, im_dtype t)
{
    const int *d = q->s->d;
    int64_t c = (int64_t)d[3] * d[4], nq = d[0] * d[1] * c, nk = d[0] * d[2] * c;
    q->flop = 4.0 * d[0] * d[1] * d[2] * (double)c;
    q->attention = (im_attention_args){
        .batch = d[0], .heads = d[3], .d = d[4], .tq = d[1], .tk = d[2], .scale = 0.125f,
        .q.p = activations(q, nq), .ldq = c, .bsq = d[1] * c, .k.p = activations(q, nk), .ldk = c, .bsk = d[2] * c,
        .v.p = activations(q, nk), .ldv = c, .bsv = d[2] * c, .o.p = activations(q, nq), .ldo = c, .bso = d[1] * c,
        .products = t };
}

static void make(call *q, im_dtype t)
{
    switch (q->s->op) {
    case CONV: make_conv(q, t); break;
    case GEMM: case GEGLU: make_gemm(q, t); break;
    case GROUPNORM: case LAYERNORM: make_norm(q); break;
    case ATTENTION: make_attention(q, t); break;
    }
}

static void run(void *arg)
{
    call *q = arg;
    const im_kernels *k = &q->dev->k;
    switch (q->s->op) {
    case CONV: q->status |= k->conv(q->dev, &q->conv); break;
    case GEMM: case GEGLU: q->status |= k->gemm(q->dev, &q->gemm); break;
    case GROUPNORM: q->status |= k->groupnorm(q->dev, &q->groupnorm); break;
    case LAYERNORM: q->status |= k->layernorm(q->dev, &q->layernorm); break;
    case ATTENTION: q->status |= k->attention(q->dev, &q->attention); break;
    }
}

/* ---------------------------------------------------------------- rows */

static const char *describe(const shape *s, char *text, size_t size)
{
    static const char *const names[] = { "conv", "gemm", "geglu", "groupnorm", "layernorm", "attention" };
    const int *d = s->d;
    switch (s->op) {
    case CONV:
        snprintf(text, size, "%dx%dx%dx%d -> %d, %dx%d%s%s", d[0], d[1], d[2], d[3], d[4], d[5], d[5],
                 d[6] > 1 ? ", stride 2" : "", d[7] > 1 ? ", enlarged" : "");
        break;
    case GEMM: case GEGLU:
        snprintf(text, size, "%dx%d -> %d", d[0], d[1], d[2]);
        break;
    case GROUPNORM:
        snprintf(text, size, "%dx%dx%d, silu", d[0], d[1], d[2]);
        break;
    case LAYERNORM:
        snprintf(text, size, "%dx%d", d[0], d[1]);
        break;
    case ATTENTION:
        snprintf(text, size, "%dx%d on %d, %d x %d", d[0], d[1], d[2], d[3], d[4]);
        break;
    }
    return names[s->op];
}

/* The roof that is lower for this op: arithmetic at the peak rate, or its bytes at the read rate. Both sides in processor
 * time of the best round, as the peak is: what else runs on the machine takes turns, not cycles. */
static void share_of_peak(im_bench_row *r, const im_peak *peak, double seconds)
{
    bool split = r->weights == IM_F16 && peak->split_gflops > 0;
    double rate = split ? peak->split_gflops : peak->gflops[peak->gflops[r->how] > 0 ? r->how : IM_COMPUTE_F32];
    double compute = rate > 0 ? r->flop / rate : 0, memory = peak->read_gbs > 0 ? r->bytes / peak->read_gbs : 0;
    r->memory_bound = memory > compute;
    r->percent = 100 * (r->memory_bound ? memory : compute) * 1e-9 / seconds;
}

static bool measure(im_ctx *c, const shape *s, im_dtype t, int rounds, const im_peak *peak, im_bench_row *r)
{
    call q = { .dev = &c->dev, .s = s };
    make(&q, t);
    bool ok = q.pieces[q.n - 1] != NULL;
    im_bench_time time = { 0 };
    if (ok) {
        time = im_bench_run(c->threads, rounds, run, &q);
        r->ms_min = time.best * 1e3;
        r->ms_median = time.median * 1e3;
    }
    for (int i = 0; i < q.n; i++)
        im_pages_free(q.pieces[i], q.sizes[i]);
    if (!ok || q.status & IM_NO_MEMORY)
        return im_fail(c, "out of memory while measuring %s %s", r->op, r->shape);
    if (q.status)
        return im_fail(c, "%s %s: the kernel stopped with status %d", r->op, r->shape, q.status);
    bool product = s->op == CONV || s->op == GEMM || s->op == GEGLU ||
                   (s->op == ATTENTION && (t == IM_INT8 || (t != IM_F32 && im_host_of(&c->dev)->amx)));
    r->weights = product ? t : IM_F32;
    r->how = product ? im_host_of(&c->dev)->compute[t] : IM_COMPUTE_F32;
    r->flop = q.flop;
    r->bytes = q.bytes;
    r->gflops = q.flop / r->ms_median * 1e-6;
    r->gbs = q.bytes / r->ms_median * 1e-6;
    share_of_peak(r, peak, time.processor);
    return true;
}

bool im_bench_ops(im_ctx *c, im_dtype w, int rounds, const im_peak *peak,
                  void (*row)(void *arg, const im_bench_row *r), void *arg)
{
    if (c->failed)
        return false;
    if (strcmp(c->dev.name, "cpu"))
        return im_fail(c, "ops are measured on device cpu, not on \"%s\"", c->dev.name);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        char text[96];
        im_bench_row r = { .part = shapes[i].part, .count = shapes[i].count, .shape = text };
        r.op = describe(&shapes[i], text, sizeof text);
        if (!measure(c, &shapes[i], w, rounds, peak, &r))
            return false;
        row(arg, &r);
    }
    return w != IM_F32 || im_bench_norms(c, rounds, peak, row, arg);              /* they have no weights of other types */
}
