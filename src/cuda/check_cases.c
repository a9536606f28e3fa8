/* check_cases.c: the problems of check.h for what runs forwards. Sizes are odd where a kernel may mind, and a little larger
 * than one tile; where 8 numbers have to lie side by side for the fast way, there is one problem with and one without. */
#include "cuda/check.h"

#include <math.h>

static const im_cbuf none = { NULL, IM_F32 };

static int gemm_of(im_probe *p, int m, int n, int k, bool geglu)
{
    im_gemm_args a = { .m = m, .n = n, .k = k, .a = im_probe_in(p, (int64_t)m * k), .lda = k,
                       .b = im_probe_weight(p, geglu ? 2 * n : n, k), .bias = im_probe_floats(p, 2 * n, 1, 0),
                       .res = im_probe_in(p, (int64_t)m * n), .ldres = n, .c = im_probe_out(p, (int64_t)m * n), .ldc = n,
                       .act = geglu ? IM_ACT_NONE : IM_ACT_SILU, .geglu = geglu };
    a.b.geglu = geglu;
    return p->status ? p->status : p->dev->k.gemm(p->dev, &a);
}
static int gemm(im_probe *p) { return gemm_of(p, 67, 72, 104, false); }
static int gemm_odd(im_probe *p) { return gemm_of(p, 33, 35, 37, false); }
static int gemm_geglu(im_probe *p) { return gemm_of(p, 35, 40, 64, true); }

static int conv_of(im_probe *p, int cin, int cout, int kernel, int stride, int size, int enlarged)
{
    int out = (enlarged + 2 * (kernel / 2) - kernel) / stride + 1, pixels = out * out;
    im_weight w = im_probe_weight(p, cout, kernel * kernel * cin);
    return IM_PROBE_RUN(p, conv, .batch = 2, .h = size, .w = size, .cin = cin, .cout = cout, .kh = kernel, .kw = kernel,
                        .oh = out, .ow = out, .stride = stride, .pad_top = kernel / 2, .pad_left = kernel / 2,
                        .up_h = enlarged, .up_w = enlarged, .x = im_probe_in(p, 2 * size * size * cin), .wt = w,
                        .bias = im_probe_floats(p, cout, 1, 0), .chan = im_probe_in(p, 2 * cout), .ldchan = cout,
                        .res = im_probe_in(p, 2 * pixels * cout), .y = im_probe_out(p, 2 * pixels * cout));
}
static int conv(im_probe *p) { return conv_of(p, 16, 24, 3, 1, 6, 6); }
static int conv_odd(im_probe *p) { return conv_of(p, 5, 7, 3, 2, 7, 7); }
static int conv_enlarged(im_probe *p) { return conv_of(p, 8, 9, 3, 1, 4, 8); }
static int conv_winograd(im_probe *p) { return conv_of(p, 64, 20, 3, 1, 9, 9); }

static int groupnorm_of(im_probe *p, int pixels, int channels, int groups)
{
    return IM_PROBE_RUN(p, groupnorm, .batch = 2, .pixels = pixels, .channels = channels, .groups = groups, .eps = 1e-5f,
                        .silu = true, .x = im_probe_in(p, 2 * pixels * channels),
                        .y = im_probe_out(p, 2 * pixels * channels), .gamma = im_probe_floats(p, channels, 1, 1),
                        .beta = im_probe_floats(p, channels, 1, 0),
                        .mean = im_probe_result(p, 2 * groups, IM_PROBE_F32),
                        .rstd = im_probe_result(p, 2 * groups, IM_PROBE_F32));
}
static int groupnorm(im_probe *p) { return groupnorm_of(p, 70, 48, 6); }
static int groupnorm_odd(im_probe *p) { return groupnorm_of(p, 35, 21, 7); }

static int layernorm_of(im_probe *p, int channels)
{
    return IM_PROBE_RUN(p, layernorm, .rows = 19, .channels = channels, .eps = 1e-5f, .x = im_probe_in(p, 19 * channels),
                        .ldx = channels, .gamma = im_probe_floats(p, channels, 1, 1),
                        .beta = im_probe_floats(p, channels, 1, 0), .y = im_probe_out(p, 19 * channels), .ldy = channels,
                        .mean = im_probe_result(p, 19, IM_PROBE_F32), .rstd = im_probe_result(p, 19, IM_PROBE_F32));
}
static int layernorm(im_probe *p) { return layernorm_of(p, 328); }
static int layernorm_odd(im_probe *p) { return layernorm_of(p, 77); }

static int attention_of(im_probe *p, int d, int tq, int tk, bool causal)
{
    int ld = 2 * d;
    return IM_PROBE_RUN(p, attention, .batch = 1, .heads = 2, .d = d, .tq = tq, .tk = tk, .scale = 2.0f / (float)d,
                        .causal = causal, .q = im_probe_in(p, tq * ld), .ldq = ld, .bsq = tq * ld,
                        .k = im_probe_in(p, tk * ld), .ldk = ld, .bsk = tk * ld, .v = im_probe_in(p, tk * ld), .ldv = ld,
                        .bsv = tk * ld, .o = im_probe_out(p, tq * ld), .ldo = ld, .bso = tq * ld,
                        .lse = im_probe_result(p, 2 * tq, IM_PROBE_F32));
}
static int attention_16(im_probe *p) { return attention_of(p, 12, 33, 40, true); }
static int attention_40(im_probe *p) { return attention_of(p, 40, 70, 77, false); }
static int attention_64(im_probe *p) { return attention_of(p, 64, 77, 77, true); }
static int attention_80(im_probe *p) { return attention_of(p, 80, 17, 70, false); }
static int attention_160(im_probe *p) { return attention_of(p, 160, 20, 65, false); }
static int attention_512(im_probe *p) { return attention_of(p, 512, 17, 33, false); }

static int map(im_probe *p)
{
    int status = IM_PROBE_RUN(p, map, .kind = IM_MAP_ACT, .act = IM_ACT_GELU, .n = 999, .a = im_probe_in(p, 999),
                              .b = none, .y = im_probe_out(p, 999));
    return status ? status : IM_PROBE_RUN(p, map, .kind = IM_MAP_ADD, .n = 990, .nb = 33, .a = im_probe_in(p, 990),
                                          .b = im_probe_in(p, 33), .y = im_probe_out(p, 990));
}

static int copy(im_probe *p)
{
    im_cbuf from = im_probe_in(p, 2 * 3 * 5 * 7);
    return IM_PROBE_RUN(p, copy, .shape = { 2, 3, 5, 7 }, .ss = { 105, 35, 7, 1 }, .ds = { 105, 1, 3, 15 },
                        .dtype = from.t, .src = from.p, .dst = im_probe_out(p, 210).p, .add = true);
}

static int embedding(im_probe *p)
{
    im_cbuf table = im_probe_in(p, 13 * 31);
    return IM_PROBE_RUN(p, embedding, .n = 21, .channels = 31, .dtype = table.t, .table = table.p,
                        .ids = im_probe_ids(p, 21, 13, IM_PROBE_I32), .y = im_probe_result(p, 21 * 31, IM_PROBE_F32));
}

static int timestep(im_probe *p)
{
    return IM_PROBE_RUN(p, timestep, .batch = 3, .dim = 37, .cos_first = true, .t = im_probe_floats(p, 3, 499, 500),
                        .y = im_probe_result(p, 3 * 37, IM_PROBE_F32));
}

static int glu(im_probe *p)
{
    return IM_PROBE_RUN(p, glu, .rows = 7, .n = 45, .z = im_probe_in(p, 7 * 90), .y = im_probe_out(p, 7 * 45));
}

static int batchnorm(im_probe *p)
{
    enum { ROWS = 90, C = 21 };
    return IM_PROBE_RUN(p, batchnorm, .rows = ROWS, .channels = C, .eps = 1e-5f, .momentum = 0.1f, .training = true,
                        .relu = true, .x = im_probe_in(p, ROWS * C), .res = im_probe_in(p, ROWS * C),
                        .y = im_probe_out(p, ROWS * C), .gamma = im_probe_floats(p, C, 1, 1),
                        .beta = im_probe_floats(p, C, 1, 0), .running_mean = im_probe_result(p, C, IM_PROBE_F32),
                        .running_var = im_probe_result(p, C, IM_PROBE_F32), .mean = im_probe_result(p, C, IM_PROBE_F32),
                        .rstd = im_probe_result(p, C, IM_PROBE_F32));
}

static int maxpool(im_probe *p)
{
    return IM_PROBE_RUN(p, maxpool, .batch = 2, .h = 9, .w = 7, .channels = 13, .kernel = 3, .stride = 2, .pad = 1, .oh = 5,
                        .ow = 4, .x = im_probe_in(p, 2 * 63 * 13), .y = im_probe_out(p, 2 * 20 * 13),
                        .won = im_probe_result(p, 2 * 20 * 13, IM_PROBE_U16));
}

static int avgpool(im_probe *p)
{
    return IM_PROBE_RUN(p, avgpool, .batch = 2, .pixels = 49, .channels = 37, .x = im_probe_in(p, 2 * 49 * 37),
                        .y = im_probe_out(p, 2 * 37));
}

static int normalize(im_probe *p)
{
    return IM_PROBE_RUN(p, normalize, .rows = 5, .n = 130, .eps = 1e-6f, .x = im_probe_in(p, 650),
                        .y = im_probe_out(p, 650), .norm = im_probe_result(p, 5, IM_PROBE_F32));
}

static int gaussian(im_probe *p)
{
    return IM_PROBE_RUN(p, gaussian, .rows = 30, .n = 4, .moments = im_probe_in(p, 240), .noise = im_probe_in(p, 120),
                        .z = im_probe_out(p, 120));
}

static int combine(im_probe *p)
{
    const float *x = im_probe_floats(p, 700, 1, 0), *y = im_probe_floats(p, 700, 1, 0), *z = im_probe_floats(p, 700, 1, 0);
    return IM_PROBE_RUN(p, combine, .n = 700, .count = 3, .w = { 0.5f, -2, 3 }, .by = 0.7f, .limit = 3, .x = { x, y, z },
                        .y = im_probe_result(p, 700, IM_PROBE_F32));
}

static int watch(im_probe *p)                                  /* one division by zero makes an infinity               */
{
    const float *x = im_probe_floats(p, 300, 0, 1), *zero = im_probe_floats(p, 300, 0, 0);
    float *y = im_probe_result(p, 300, IM_PROBE_F32);
    int32_t *mark = im_probe_result(p, 1, IM_PROBE_I32);
    int status = p->status ? p->status : p->dev->s.fill(p->dev, mark, 0, sizeof *mark);
    status = status ? status : IM_PROBE_RUN(p, watch, .n = 300, .x = x, .code = 3, .mark = mark);
    status = status ? status : IM_PROBE_RUN(p, combine, .n = 300, .count = 1, .w = { 3e38f }, .by = 0.5f,
                                            .limit = INFINITY, .x = { x }, .y = y);
    status = status ? status : IM_PROBE_RUN(p, watch, .n = 300, .x = y, .code = 5, .mark = mark);
    return status ? status : IM_PROBE_RUN(p, combine, .n = 300, .count = 1, .w = { 1 }, .by = 1, .limit = INFINITY,
                                          .x = { zero }, .y = y);
}

static int draw_latent(im_probe *p)
{
    return IM_PROBE_RUN(p, draw_latent, .rows = 30, .n = 4, .scaling = 0.18f, .moments = im_probe_floats(p, 240, 2, 0),
                        .noise = im_probe_floats(p, 120, 2, 0), .z = im_probe_result(p, 120, IM_PROBE_F32));
}

/* 2 pictures of 5 x 6 tokens, 6 of them kept. */
static int token_match(im_probe *p)
{
    return IM_PROBE_RUN(p, token_match, .batch = 2, .h = 5, .w = 6, .merged = 11, .scores = im_probe_in(p, 360),
                        .best = (float *)(uintptr_t)im_probe_floats(p, 60, 0, 0),
                        .with = (float *)(uintptr_t)im_probe_floats(p, 60, 0, 0),
                        .row = im_probe_result(p, 60, IM_PROBE_F32));
}

static int token_merge(im_probe *p)
{
    return IM_PROBE_RUN(p, token_merge, .batch = 2, .n = 30, .rows = 7, .channels = 20, .x = im_probe_in(p, 1200),
                        .row = im_probe_floats(p, 60, 4, 3.5f), .first = (float *)(uintptr_t)im_probe_floats(p, 14, 0, 0),
                        .next = (float *)(uintptr_t)im_probe_floats(p, 60, 0, 0), .y = im_probe_out(p, 280));
}

static int token_spread(im_probe *p)
{
    return IM_PROBE_RUN(p, token_spread, .batch = 2, .n = 30, .rows = 7, .channels = 20, .dtype = p->t,
                        .y = im_probe_in(p, 280).p, .row = im_probe_floats(p, 60, 4, 3.5f), .x = im_probe_out(p, 1200).p);
}

#define CASE(fn, slot, form) { #fn, IM_CUDA_SLOT_##slot, IM_PROBE_##form, fn }
const im_probe_case im_probe_forward[] = {
    CASE(gemm, gemm, PRODUCTS), CASE(gemm_odd, gemm, PRODUCTS), CASE(gemm_geglu, gemm, HALVES),
    CASE(conv, conv, PRODUCTS), CASE(conv_odd, conv, PRODUCTS), CASE(conv_enlarged, conv, HALVES),
    CASE(conv_winograd, conv, PRODUCTS), CASE(groupnorm, groupnorm, HALVES), CASE(groupnorm_odd, groupnorm, HALVES),
    CASE(layernorm, layernorm, HALVES), CASE(layernorm_odd, layernorm, HALVES), CASE(attention_16, attention, HALVES),
    CASE(attention_40, attention, HALVES), CASE(attention_64, attention, HALVES), CASE(attention_80, attention, HALVES),
    CASE(attention_160, attention, HALVES), CASE(attention_512, attention, HALVES), CASE(map, map, HALVES),
    CASE(copy, copy, HALVES), CASE(embedding, embedding, HALVES), CASE(timestep, timestep, ONE), CASE(glu, glu, HALVES),
    CASE(batchnorm, batchnorm, HALVES), CASE(maxpool, maxpool, HALVES), CASE(avgpool, avgpool, HALVES),
    CASE(normalize, normalize, HALVES), CASE(gaussian, gaussian, HALVES), CASE(combine, combine, ONE),
    CASE(watch, watch, ONE), CASE(draw_latent, draw_latent, ONE), CASE(token_match, token_match, HALVES),
    CASE(token_merge, token_merge, HALVES), CASE(token_spread, token_spread, HALVES), { .run = NULL }
};
