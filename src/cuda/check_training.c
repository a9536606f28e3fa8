/* check_training.c: the problems of check.h for gradients, losses and optimisers. */
#include "cuda/check.h"

#include <stdlib.h>

static int outer_of(im_probe *p, int m, int ni, int nj)
{
    return IM_PROBE_RUN(p, outer, .m = m, .ni = ni, .nj = nj, .a = im_probe_in(p, m * ni), .lda = ni,
                        .b = im_probe_in(p, m * nj), .ldb = nj, .c = im_probe_result(p, ni * nj, IM_PROBE_F32), .ldc = nj,
                        .add = true);
}
static int outer(im_probe *p) { return outer_of(p, 200, 72, 40); }
static int outer_odd(im_probe *p) { return outer_of(p, 37, 9, 69); }

static int colsum(im_probe *p)
{
    return IM_PROBE_RUN(p, colsum, .batch = 2, .rows = 77, .n = 35, .x = im_probe_in(p, 2 * 77 * 35),
                        .y = im_probe_out(p, 70), .ldy = 35, .add = true);
}

/* Both gradients of a convolution of 2 pictures. */
typedef struct { int cin, cout, kernel, stride, size, enlarged; } sizes;

static int out_of(const sizes *s) { return (s->enlarged + 2 * (s->kernel / 2) - s->kernel) / s->stride + 1; }

#define GEOMETRY(s) .batch = 2, .h = s->size, .w = s->size, .cin = s->cin, .cout = s->cout, .kh = s->kernel, \
    .kw = s->kernel, .oh = out_of(s), .ow = out_of(s), .stride = s->stride, .pad_top = s->kernel / 2, \
    .pad_left = s->kernel / 2, .up_h = s->enlarged, .up_w = s->enlarged

static int dx_of(im_probe *p, const sizes *s)
{
    int k = s->kernel * s->kernel * s->cin, pixels = out_of(s) * out_of(s);
    return IM_PROBE_RUN(p, conv_dx, GEOMETRY(s), .dy = im_probe_in(p, 2 * pixels * s->cout),
                        .wt = im_probe_weight(p, s->cout, k), .dx = im_probe_out(p, 2 * s->size * s->size * s->cin),
                        .add = true);
}

static int dw_of(im_probe *p, const sizes *s)
{
    int k = s->kernel * s->kernel * s->cin, pixels = out_of(s) * out_of(s);
    return IM_PROBE_RUN(p, conv_dw, GEOMETRY(s), .dy = im_probe_in(p, 2 * pixels * s->cout),
                        .x = im_probe_in(p, 2 * s->size * s->size * s->cin),
                        .dw = im_probe_result(p, s->cout * k, IM_PROBE_F32), .add = true);
}

static const sizes even = { 16, 24, 3, 1, 6, 6 }, odd = { 5, 7, 3, 2, 7, 7 }, wide = { 8, 9, 3, 1, 4, 8 },
                   many = { 64, 64, 3, 1, 8, 8 };
static int conv_dx(im_probe *p) { return dx_of(p, &even); }
static int conv_dx_odd(im_probe *p) { return dx_of(p, &odd); }
static int conv_dx_enlarged(im_probe *p) { return dx_of(p, &wide); }
static int conv_dx_winograd(im_probe *p) { return dx_of(p, &many); }
static int conv_dw(im_probe *p) { return dw_of(p, &even); }
static int conv_dw_odd(im_probe *p) { return dw_of(p, &odd); }
static int conv_dw_winograd(im_probe *p) { return dw_of(p, &many); }

static int act_bwd(im_probe *p)
{
    return IM_PROBE_RUN(p, act_bwd, .act = IM_ACT_SILU, .n = 999, .x = im_probe_in(p, 999), .dy = im_probe_in(p, 999),
                        .dx = im_probe_out(p, 999), .add = true);
}

static int glu_bwd(im_probe *p)
{
    return IM_PROBE_RUN(p, glu_bwd, .rows = 7, .n = 45, .z = im_probe_in(p, 630), .dy = im_probe_in(p, 315),
                        .dz = im_probe_out(p, 630));
}

static int groupnorm_bwd(im_probe *p)
{
    enum { PIXELS = 70, C = 24, GROUPS = 6, N = 2 * PIXELS * C };
    return IM_PROBE_RUN(p, groupnorm_bwd, .batch = 2, .pixels = PIXELS, .channels = C, .groups = GROUPS, .silu = true,
                        .x = im_probe_in(p, N), .dy = im_probe_in(p, N), .dx = im_probe_out(p, N),
                        .gamma = im_probe_floats(p, C, 1, 1), .beta = im_probe_floats(p, C, 1, 0),
                        .mean = im_probe_floats(p, 2 * GROUPS, 0.1f, 0), .rstd = im_probe_floats(p, 2 * GROUPS, 0.2f, 1),
                        .dgamma = im_probe_result(p, C, IM_PROBE_F32), .dbeta = im_probe_result(p, C, IM_PROBE_F32));
}

static int layernorm_bwd(im_probe *p)
{
    enum { ROWS = 37, C = 77, N = ROWS * C };
    return IM_PROBE_RUN(p, layernorm_bwd, .rows = ROWS, .channels = C, .x = im_probe_in(p, N), .ldx = C,
                        .dy = im_probe_in(p, N), .dx = im_probe_out(p, N), .gamma = im_probe_floats(p, C, 1, 1),
                        .mean = im_probe_floats(p, ROWS, 0.1f, 0), .rstd = im_probe_floats(p, ROWS, 0.2f, 1),
                        .dgamma = im_probe_result(p, C, IM_PROBE_F32), .dbeta = im_probe_result(p, C, IM_PROBE_F32));
}

static int batchnorm_bwd(im_probe *p)
{
    enum { ROWS = 90, C = 21, N = ROWS * C };
    return IM_PROBE_RUN(p, batchnorm_bwd, .rows = ROWS, .channels = C, .training = true, .relu = true,
                        .x = im_probe_in(p, N), .y = im_probe_in(p, N), .dy = im_probe_in(p, N), .dx = im_probe_out(p, N),
                        .dres = im_probe_out(p, N), .gamma = im_probe_floats(p, C, 1, 1),
                        .beta = im_probe_floats(p, C, 1, 0), .mean = im_probe_floats(p, C, 0.1f, 0),
                        .rstd = im_probe_floats(p, C, 0.2f, 1), .dgamma = im_probe_result(p, C, IM_PROBE_F32),
                        .dbeta = im_probe_result(p, C, IM_PROBE_F32));
}

static int maxpool_bwd(im_probe *p)
{
    return IM_PROBE_RUN(p, maxpool_bwd, .batch = 2, .h = 8, .w = 8, .channels = 13, .kernel = 3, .stride = 2, .pad = 0,
                        .oh = 3, .ow = 3, .dy = im_probe_in(p, 2 * 9 * 13), .dx = im_probe_out(p, 2 * 64 * 13),
                        .won = im_probe_ids(p, 2 * 9 * 13, 9, IM_PROBE_U16), .add = true);
}

static int avgpool_bwd(im_probe *p)
{
    return IM_PROBE_RUN(p, avgpool_bwd, .batch = 2, .pixels = 49, .channels = 37, .dy = im_probe_in(p, 74),
                        .dx = im_probe_out(p, 2 * 49 * 37), .add = true);
}

static int attention_bwd_of(im_probe *p, int d, int tq, int tk, bool causal)
{
    int ld = 2 * d;
    return IM_PROBE_RUN(p, attention_bwd, .batch = 1, .heads = 2, .d = d, .tq = tq, .tk = tk, .scale = 2.0f / (float)d,
                        .causal = causal, .q = im_probe_in(p, tq * ld), .ldq = ld, .bsq = tq * ld,
                        .k = im_probe_in(p, tk * ld), .ldk = ld, .bsk = tk * ld, .v = im_probe_in(p, tk * ld), .ldv = ld,
                        .bsv = tk * ld, .o = im_probe_in(p, tq * ld), .dout = im_probe_in(p, tq * ld), .ldo = ld,
                        .bso = tq * ld, .lse = im_probe_floats(p, 2 * tq, 1, 6), .dq = im_probe_out(p, tq * ld),
                        .dk = im_probe_out(p, tk * ld), .dv = im_probe_out(p, tk * ld));
}
static int attention_bwd_16(im_probe *p) { return attention_bwd_of(p, 12, 33, 40, true); }
static int attention_bwd_40(im_probe *p) { return attention_bwd_of(p, 40, 70, 77, false); }
static int attention_bwd_160(im_probe *p) { return attention_bwd_of(p, 160, 20, 65, false); }

static int accumulate(im_probe *p)
{
    return IM_PROBE_RUN(p, accumulate, .n = 999, .s = 0.5f, .x = im_probe_in(p, 999), .y = im_probe_out(p, 999),
                        .add = true);
}

static int embedding_bwd(im_probe *p)
{
    return IM_PROBE_RUN(p, embedding_bwd, .n = 40, .rows = 13, .channels = 31, .add = true,
                        .ids = im_probe_ids(p, 40, 13, IM_PROBE_I32), .dy = im_probe_floats(p, 40 * 31, 1, 0),
                        .dtable = im_probe_result(p, 13 * 31, IM_PROBE_F32));
}

static int cross_entropy(im_probe *p)
{
    return IM_PROBE_RUN(p, cross_entropy, .rows = 11, .classes = 130, .x = im_probe_in(p, 11 * 130),
                        .labels = im_probe_ids(p, 11, 130, IM_PROBE_I32), .loss = im_probe_result(p, 1, IM_PROBE_F32),
                        .stats = im_probe_result(p, 22, IM_PROBE_F32));
}

static int cross_entropy_bwd(im_probe *p)
{
    return IM_PROBE_RUN(p, cross_entropy_bwd, .rows = 11, .classes = 130, .x = im_probe_in(p, 11 * 130),
                        .labels = im_probe_ids(p, 11, 130, IM_PROBE_I32), .stats = im_probe_floats(p, 22, 0.5f, 2),
                        .dloss = im_probe_floats(p, 1, 0, 3), .dx = im_probe_out(p, 11 * 130));
}

static int loss(im_probe *p)
{
    return IM_PROBE_RUN(p, loss, .kind = IM_LOSS_MSE, .batch = 3, .n = 333, .x = im_probe_in(p, 999),
                        .t = im_probe_in(p, 999), .weight = im_probe_floats(p, 3, 0.5f, 1),
                        .loss = im_probe_result(p, 1, IM_PROBE_F32));
}

static int loss_bwd(im_probe *p)
{
    return IM_PROBE_RUN(p, loss_bwd, .kind = IM_LOSS_L1, .batch = 3, .n = 333, .x = im_probe_in(p, 999),
                        .t = im_probe_in(p, 999), .weight = im_probe_floats(p, 3, 0.5f, 1),
                        .dloss = im_probe_floats(p, 1, 0, 3), .dx = im_probe_out(p, 999), .dt = im_probe_out(p, 999));
}

static int normalize_bwd(im_probe *p)
{
    return IM_PROBE_RUN(p, normalize_bwd, .rows = 5, .n = 130, .eps = 1e-6f, .y = im_probe_in(p, 650),
                        .dy = im_probe_in(p, 650), .dx = im_probe_out(p, 650), .norm = im_probe_floats(p, 5, 0.5f, 2));
}

static int gaussian_bwd(im_probe *p)
{
    return IM_PROBE_RUN(p, gaussian_bwd, .rows = 30, .n = 4, .moments = im_probe_in(p, 240), .noise = im_probe_in(p, 120),
                        .dz = im_probe_in(p, 120), .dmoments = im_probe_out(p, 240));
}

static int kl(im_probe *p)
{
    return IM_PROBE_RUN(p, kl, .batch = 2, .rows = 30, .n = 4, .moments = im_probe_in(p, 240),
                        .kl = im_probe_result(p, 1, IM_PROBE_F32));
}

static int kl_bwd(im_probe *p)
{
    return IM_PROBE_RUN(p, kl_bwd, .batch = 2, .rows = 30, .n = 4, .moments = im_probe_in(p, 240),
                        .dmoments = im_probe_out(p, 240), .dkl = im_probe_floats(p, 1, 0, 2));
}

static int count_right(im_probe *p)
{
    return IM_PROBE_RUN(p, count_right, .rows = 300, .classes = 3, .x = im_probe_in(p, 900),
                        .labels = im_probe_ids(p, 300, 3, IM_PROBE_I32), .right = im_probe_result(p, 1, IM_PROBE_I64));
}

/* Parameters of 5 to 400 numbers with all that belongs to them. */
enum { PARAMETERS = 5 };

static im_slot parameter(im_probe *p, int i)
{
    int64_t n = 5 + 99 * i;
    return (im_slot){ .n = n, .w = im_probe_result(p, n, IM_PROBE_F32), .g = im_probe_floats(p, n, 1, 0),
                      .m = (float *)(uintptr_t)im_probe_floats(p, n, 0.1f, 0),
                      .v = (float *)(uintptr_t)im_probe_floats(p, n, 0.4f, 0.5f),
                      .ema = (float *)(uintptr_t)im_probe_floats(p, n, 1, 0), .decay = 0.01, .adapt = i % 2 };
}

static int optimise_of(im_probe *p, im_optimiser_kind kind)
{
    im_slot slots[PARAMETERS];
    for (int i = 0; i < PARAMETERS; i++)
        slots[i] = parameter(p, i);
    return IM_PROBE_RUN(p, optimise, .kind = kind, .count = PARAMETERS, .slots = slots, .scale = 0.5, .lr = 0.1,
                        .momentum = 0.9, .nesterov = kind == IM_SGD, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .step = 3,
                        .trust = 0.02, .ema_decay = 0.9);
}
static int optimise_sgd(im_probe *p) { return optimise_of(p, IM_SGD); }
static int optimise_adamw(im_probe *p) { return optimise_of(p, IM_ADAMW); }
static int optimise_lars(im_probe *p) { return optimise_of(p, IM_LARS); }

static int sumsq(im_probe *p)
{
    im_slot slots[PARAMETERS];
    for (int i = 0; i < PARAMETERS; i++)
        slots[i] = (im_slot){ .n = 5 + 99 * i, .g = im_probe_floats(p, 5 + 99 * i, 1, 0) };
    return IM_PROBE_RUN(p, sumsq, .count = PARAMETERS, .slots = slots, .sum = im_probe_result(p, 1, IM_PROBE_F64),
                        .first_bad = im_probe_result(p, 1, IM_PROBE_I32));
}

static int gate(im_probe *p)
{
    im_step_part part = { .sumsq = 30, .loss = 1, .first_bad = -1 };
    im_step_part *there = (im_step_part *)(uintptr_t)im_probe_floats(p, sizeof part / 4, 0, 0);
    im_step_gate *g = im_probe_result(p, 2, IM_PROBE_F64);
    int status = p->status ? p->status : p->dev->s.fill(p->dev, g, 0, sizeof *g);
    status = status ? status : p->dev->s.upload(p->dev, there, &part, sizeof part);
    return status ? status : IM_PROBE_RUN(p, gate, .count = 1, .parts = there, .mean = 0.5, .clip = 2, .gate = g);
}

#define CASE(fn, slot, form) { #fn, IM_CUDA_SLOT_##slot, IM_PROBE_##form, fn }
const im_probe_case im_probe_training[] = {
    CASE(outer, outer, PRODUCTS), CASE(outer_odd, outer, PRODUCTS), CASE(colsum, colsum, HALVES),
    CASE(conv_dx, conv_dx, PRODUCTS), CASE(conv_dx_odd, conv_dx, PRODUCTS), CASE(conv_dx_enlarged, conv_dx, HALVES),
    CASE(conv_dx_winograd, conv_dx, HALVES), CASE(conv_dw, conv_dw, PRODUCTS), CASE(conv_dw_odd, conv_dw, PRODUCTS),
    CASE(conv_dw_winograd, conv_dw, HALVES), CASE(act_bwd, act_bwd, HALVES), CASE(glu_bwd, glu_bwd, HALVES),
    CASE(groupnorm_bwd, groupnorm_bwd, HALVES), CASE(layernorm_bwd, layernorm_bwd, HALVES),
    CASE(batchnorm_bwd, batchnorm_bwd, HALVES), CASE(maxpool_bwd, maxpool_bwd, HALVES),
    CASE(avgpool_bwd, avgpool_bwd, HALVES), CASE(attention_bwd_16, attention_bwd, HALVES),
    CASE(attention_bwd_40, attention_bwd, HALVES), CASE(attention_bwd_160, attention_bwd, HALVES),
    CASE(accumulate, accumulate, HALVES), CASE(embedding_bwd, embedding_bwd, ONE),
    CASE(cross_entropy, cross_entropy, HALVES), CASE(cross_entropy_bwd, cross_entropy_bwd, HALVES),
    CASE(loss, loss, HALVES), CASE(loss_bwd, loss_bwd, HALVES), CASE(normalize_bwd, normalize_bwd, HALVES),
    CASE(gaussian_bwd, gaussian_bwd, HALVES), CASE(kl, kl, HALVES), CASE(kl_bwd, kl_bwd, HALVES),
    CASE(count_right, count_right, HALVES), CASE(optimise_sgd, optimise, ONE), CASE(optimise_adamw, optimise, ONE),
    CASE(optimise_lars, optimise, ONE), CASE(sumsq, sumsq, ONE), CASE(gate, gate, ONE), { .run = NULL }
};
