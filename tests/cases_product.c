/* cases_product.c: cases of the ops that multiply: linear, geglu, conv2d, attention. */
#include "cases.h"

/* With weights of deviation 1/sqrt(K) a chain of K fused multiply-adds errs by about 0.35 eps sqrt(K) of the output's
 * rms (a random walk); the worst of many outputs by five such deviations, 1.8 eps sqrt(K). */
#define GRAD_WHY "; gradients: relative rms, sums of fewer than 2,048 terms that nearly cancel at worst"
#define PRODUCT_WHY "a chain of K fused multiply-adds errs by 0.35 eps sqrt(K) rms; 5 to 6 deviations of that"

/* ---------------------------------------------------------------- linear: x, w, b, res; i[0] the activation */

static im_tensor *call_linear(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    return im_linear(c, in[0], in[1], in[2], in[3], (im_act)cs->i[0]);
}

static int terms_linear(const im_case *cs)
{
    return (int)cs->in[1].shape[1];
}

static const im_case linear[] = {
    { .in = { IN(1, 1), W(1, 1), IN(1) } },
    { .in = { IN(1, 2), W(3, 2), NONE, IN(1, 3) } },
    { .in = { IN(3, 5), W(7, 5) } },
    { .in = { IN(5, 64), W(16, 64), IN(16) } },
    { .in = { IN(2, 3, 17), W(33, 17), IN(33), IN(2, 3, 33) } },
    { .in = { IN(13, 31), W(17, 31), IN(17) }, .i = { IM_ACT_SILU } },
    { .in = { IN(15, 31), W(15, 31), IN(15) }, .i = { IM_ACT_GELU } },
    { .in = { IN(29, 100), W(47, 100), IN(47), IN(29, 47) }, .i = { IM_ACT_QUICK_GELU } },
    { .in = { IN(6, 9), W(18, 9), IN(18), IN(6, 18) }, .i = { IM_ACT_GELU_TANH } },
    { .in = { IN(6, 9), W(21, 9), IN(21) }, .i = { IM_ACT_TANH } },
    { .in = { IN(7, 9), W(65, 9), NONE } },
    { .in = { IN(2, 40), W(3, 40), NONE }, .i = { IM_ACT_RELU } },     /* few kinks for test_grad.c to step over        */
    { .in = { FILLED(ZERO, 4, 33), W(20, 33), IN(20) } },
    { .in = { FILLED(TINY, 4, 33), W(20, 33) } },
    { .in = { FILLED(BROKEN, 9, 7), W(19, 7), IN(19) } },
    { .in = { VIEW(0, 2, 1, 11, 24), W(40, 24), IN(40) } },
    { .in = { VIEW(1, 3, 2, 11, 24), W(40, 24), NONE, IN(11, 40) } },
    { .in = { VIEW(2, 1, 0, 2, 9, 33), W(17, 33), IN(17) } },
    { .in = { IN(1, 320), W(1280, 320), IN(1280) }, .i = { IM_ACT_SILU } },
    { .in = { IN(2, 1280), W(640, 1280), IN(640) } },
    { .in = { IN(2, 77, 768), W(96, 768) } },
    { .in = { IN(77, 768), W(72, 768), IN(72), IN(77, 72) }, .i = { IM_ACT_QUICK_GELU } },
    { .in = { IN(2, 70, 320), W(160, 320), IN(160), IN(2, 70, 160) } },
    { .in = { IN(9, 5120), W(35, 5120), IN(35) } },
    { .in = { IN(1000, 40), W(48, 40), IN(48) } },
    { .in = { IN(4500, 9), W(35, 9), IN(35) } },               /* backward: three chunks of rows                       */
    { .in = { IN(4100, 2), W(3, 2), IN(3) } },                 /* ... and three parts on tensor cores (outer_mma.cuh)  */
    { .in = { VIEW(1, 3, 2, 300, 40), W(500, 40), IN(500) } },
    { .in = { IN(2, 4096, 320), W(320, 320), IN(320), IN(2, 4096, 320) }, .bench = true },
    { .in = { IN(2, 4096, 1280), W(320, 1280), IN(320), IN(2, 4096, 320) }, .bench = true },
    { .in = { IN(2, 1024, 640), W(640, 640), IN(640) }, .bench = true },
    { .in = { IN(2, 256, 1280), W(1280, 1280), IN(1280) }, .bench = true },
    { .in = { IN(2, 256, 5120), W(1280, 5120), IN(1280), IN(2, 256, 1280) }, .bench = true },
    { .in = { IN(2, 77, 768), W(1280, 768) }, .bench = true },
    { .in = { IN(77, 768), W(3072, 768), IN(3072) }, .i = { IM_ACT_QUICK_GELU }, .bench = true },
};

const im_case_table im_cases_linear = {
    &im_op_linear, call_linear, terms_linear, .c = 2, .why = PRODUCT_WHY GRAD_WHY, .batched = 1u << 0 | 1u << 3,
    .weight = 1, .packs = true, .grads = 0xf, .grad_c = 3e-6, .cases = linear, .n = COUNT(linear),
    .acts = 1u << 0 | 1u << 3,
};

/* ---------------------------------------------------------------- geglu: x, w (2N, K), b (2N) */

static im_tensor *call_geglu(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    (void)cs;
    return im_linear_geglu(c, in[0], in[1], in[2]);
}

static const im_case geglu[] = {
    { .in = { IN(1, 1), W(2, 1), IN(2) } },
    { .in = { IN(3, 5), W(14, 5), IN(14) } },
    { .in = { IN(2, 9, 33), W(64, 33), IN(64) } },
    { .in = { IN(31, 40), W(70, 40), IN(70) } },
    { .in = { FILLED(WIDE, 17, 24), W(50, 24), IN(50) } },
    { .in = { VIEW(1, 5, 1, 14, 16), W(32, 16), IN(32) } },
    { .in = { IN(2, 30, 320), W(640, 320), IN(640) } },
    { .in = { IN(2, 4096, 320), W(2560, 320), IN(2560) }, .bench = true },
    { .in = { IN(2, 1024, 640), W(5120, 640), IN(5120) }, .bench = true },
    { .in = { IN(2, 256, 1280), W(10240, 1280), IN(10240) }, .bench = true },
};

const im_case_table im_cases_geglu = {
    &im_op_geglu, call_geglu, terms_linear, .c = 4, .why = PRODUCT_WHY "; twice, for two factors" GRAD_WHY,
    .batched = 1u << 0, .weight = 1, .packs = true, .geglu = true, .grads = 7, .grad_c = 3e-6,
    .cases = geglu, .n = COUNT(geglu), .acts = 1u,
};

/* ---------------------------------------------------------------- conv2d: x, w, b, chan, res; i as im_conv_attrs */

static im_tensor *call_conv(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    im_conv_attrs at = { .stride = cs->i[0], .pad_top = cs->i[1], .pad_left = cs->i[2], .pad_bottom = cs->i[3],
                         .pad_right = cs->i[4], .up_h = cs->i[5], .up_w = cs->i[6] };
    return im_conv2d(c, in[0], in[1], in[2], in[3], in[4], &at);
}

static int terms_conv(const im_case *cs)
{
    return (int)(cs->in[1].shape[1] * cs->in[1].shape[2] * cs->in[1].shape[3]);
}

#define SAME3 .i = { 1, 1, 1, 1, 1 }
static const im_case conv2d[] = {
    { .in = { IN(1, 1, 1, 1), W(1, 1, 1, 1), IN(1) }, .i = { 1 } },
    { .in = { IN(1, 1, 1, 3), W(5, 3, 3, 3), IN(5) }, SAME3 },
    { .in = { IN(1, 5, 7, 4), W(6, 3, 3, 4) }, SAME3 },
    { .in = { IN(2, 5, 7, 4), W(6, 3, 3, 4), IN(6) }, .i = { 1 } },
    { .in = { IN(3, 9, 5, 5), W(17, 3, 3, 5), IN(17), VIEW(1, 5, 9, 3, 17), IN(3, 9, 5, 17) }, SAME3 },
    { .in = { IN(2, 8, 6, 16), W(16, 3, 3, 16), IN(16), NONE, IN(2, 8, 6, 16) }, SAME3 },
    { .in = { IN(2, 9, 8, 12), W(19, 3, 3, 12), IN(19) }, .i = { 2, 1, 1, 1, 1 } },
    { .in = { IN(2, 8, 9, 12), W(19, 3, 3, 12), IN(19) }, .i = { 2, 0, 0, 1, 1 } },
    { .in = { IN(1, 7, 7, 3), W(8, 7, 7, 3), IN(8) }, .i = { 2, 3, 3, 3, 3 } },
    { .in = { IN(1, 6, 11, 9), W(10, 2, 3, 9), IN(10) }, .i = { 3, 0, 2, 1, 0 } },
    { .in = { IN(2, 11, 3, 8), W(9, 5, 1, 8), IN(9) }, .i = { 1, 2, 0, 2, 0 } },
    { .in = { IN(2, 6, 5, 33), W(31, 1, 1, 33), IN(31), IN(2, 31), IN(2, 6, 5, 31) }, .i = { 1 } },
    { .in = { IN(1, 4, 5, 8), W(16, 3, 3, 8), IN(16) }, .i = { 1, 1, 1, 1, 1, 8, 10 } },
    { .in = { IN(2, 4, 3, 7), W(5, 3, 3, 7), IN(5) }, .i = { 1, 1, 1, 1, 1, 7, 5 } },
    { .in = { IN(1, 1, 1, 20), W(20, 3, 3, 20), IN(20) }, .i = { 1, 1, 1, 1, 1, 2, 2 } },
    { .in = { IN(2, 4, 3, 6), W(18, 3, 3, 6), IN(18) }, .i = { 1, 1, 1, 1, 1, 10, 7 } },
    { .in = { IN(1, 6, 5, 4), W(7, 3, 3, 4), IN(7) }, .i = { 2, 1, 1, 1, 1, 3, 13 } },
    { .in = { FILLED(ZERO, 1, 4, 4, 8), W(8, 3, 3, 8), IN(8) }, SAME3 },
    { .in = { FILLED(BROKEN, 1, 5, 8, 3), W(18, 3, 3, 3), IN(18) }, SAME3 },
    { .in = { VIEW(0, 1, 1, 2, 5, 5, 8), W(24, 3, 3, 8), IN(24) }, SAME3 },
    { .in = { IN(1, 13, 12, 4), W(320, 3, 3, 4), IN(320) }, SAME3 },
    { .in = { IN(3, 40, 41, 5), W(7, 3, 3, 5), IN(7) }, SAME3 },         /* backward: three chunks of pixels             */
    { .in = { IN(2, 36, 35, 48), W(5, 1, 1, 48), NONE }, .i = { 1 } },
    { .in = { IN(2, 9, 8, 16), W(18, 1, 1, 16) }, .i = { 2 } },          /* pixels without any gradient                  */
    { .in = { IN(2, 11, 10, 32), W(20, 3, 3, 32) }, .i = { 2, 1, 1, 1, 1 } },
    { .in = { IN(1, 5, 6, 16), W(20, 1, 1, 16) }, .i = { 1, 1, 2, 0, 1 } },
    { .in = { IN(1, 23, 22, 3), W(16, 7, 7, 3) }, .i = { 2, 3, 3, 3, 3 } },
    { .in = { IN(1, 6, 5, 16), W(17, 3, 3, 16), IN(17) }, .i = { 1, 1, 1, 1, 1, 12, 10 } },
    { .in = { IN(2, 10, 11, 320), W(4, 3, 3, 320), IN(4) }, SAME3 },
    { .in = { IN(2, 5, 6, 320), W(96, 3, 3, 320), IN(96), IN(2, 96), IN(2, 5, 6, 96) }, SAME3 },
    { .in = { IN(1, 33, 30, 64), W(48, 3, 3, 64), IN(48) }, SAME3 },
    { .in = { IN(1, 25, 16, 128), W(3, 3, 3, 128), IN(3) }, SAME3 },
    { .in = { IN(2, 64, 64, 320), W(320, 3, 3, 320), IN(320), IN(2, 320) }, SAME3, .bench = true },
    { .in = { IN(2, 64, 64, 960), W(320, 3, 3, 960), IN(320) }, SAME3, .bench = true },
    { .in = { IN(2, 32, 32, 640), W(640, 3, 3, 640), IN(640), NONE, IN(2, 32, 32, 640) }, SAME3, .bench = true },
    { .in = { IN(2, 16, 16, 1280), W(1280, 3, 3, 1280), IN(1280) }, SAME3, .bench = true },
    { .in = { IN(2, 8, 8, 2560), W(1280, 3, 3, 2560), IN(1280) }, SAME3, .bench = true },
    { .in = { IN(2, 64, 64, 320), W(320, 3, 3, 320), IN(320) }, .i = { 2, 1, 1, 1, 1 }, .bench = true },
    { .in = { IN(2, 32, 32, 640), W(640, 3, 3, 640), IN(640) }, .i = { 1, 1, 1, 1, 1, 64, 64 }, .bench = true },
    { .in = { IN(1, 128, 128, 512), W(512, 3, 3, 512), IN(512) }, SAME3, .bench = true },
    { .in = { IN(1, 512, 512, 128), W(128, 3, 3, 128), IN(128) }, SAME3, .bench = true },
    { .in = { IN(1, 512, 512, 128), W(3, 3, 3, 128), IN(3) }, SAME3, .bench = true },
};

const im_case_table im_cases_conv2d = {
    &im_op_conv2d, call_conv, terms_conv, .c = 2, .why = PRODUCT_WHY GRAD_WHY, .batched = 1u << 0 | 3u << 3,
    .weight = 1, .packs = true, .grads = 0x1f, .grad_c = 3e-6, .cases = conv2d, .n = COUNT(conv2d),
    .acts = 1u << 0 | 3u << 3,
};

/* ---------------------------------------------------------------- attention: q, k, v; i[0] heads, i[1] causal */

static im_tensor *call_attention(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    return im_attention(c, in[0], in[1], in[2], cs->i[0], cs->i[1]);
}

static int terms_attention(const im_case *cs)
{
    return (int)(cs->in[1].shape[1] + cs->in[0].shape[2] / cs->i[0]);    /* keys and head width                       */
}

/* Slices of one (B, T, 3C) tensor, as a fused projection leaves them. */
#define PART(first, last, ...) VIEW(2, first, last, __VA_ARGS__)
static const im_case attention[] = {
    { .in = { IN(1, 1, 1), IN(1, 1, 1), IN(1, 1, 1) }, .i = { 1 } },
    { .in = { IN(1, 3, 10), IN(1, 1, 10), IN(1, 1, 10) }, .i = { 2 } },
    { .in = { IN(2, 5, 15), IN(2, 7, 15), IN(2, 7, 15) }, .i = { 3 } },
    { .in = { IN(2, 17, 64), IN(2, 63, 64), IN(2, 63, 64) }, .i = { 4 } },
    { .in = { IN(1, 33, 80), IN(1, 64, 80), IN(1, 64, 80) }, .i = { 2 } },
    { .in = { IN(1, 31, 80), IN(1, 65, 80), IN(1, 65, 80) }, .i = { 1 } },
    { .in = { IN(2, 70, 320), IN(2, 77, 320), IN(2, 77, 320) }, .i = { 8 } },
    { .in = { IN(2, 77, 128), IN(2, 77, 128), IN(2, 77, 128) }, .i = { 2, true } },
    { .in = { IN(1, 130, 24), IN(1, 130, 24), IN(1, 130, 24) }, .i = { 3, true } },
    { .in = { IN(1, 129, 160), IN(1, 193, 160), IN(1, 193, 160) }, .i = { 1 } },
    { .in = { IN(1, 40, 512), IN(1, 100, 512), IN(1, 100, 512) }, .i = { 1 } },
    { .in = { FILLED(WIDE, 1, 20, 40), IN(1, 150, 40), IN(1, 150, 40) }, .i = { 1 } },
    { .in = { FILLED(ZERO, 1, 9, 40), IN(1, 70, 40), IN(1, 70, 40) }, .i = { 1 } },
    { .in = { PART(0, 48, 2, 21, 24), PART(24, 24, 2, 21, 24), PART(48, 0, 2, 21, 24) }, .i = { 3 } },
    { .in = { VIEW(1, 3, 2, 2, 19, 32), VIEW(1, 1, 0, 2, 66, 32), VIEW(1, 0, 5, 2, 66, 32) }, .i = { 2 } },
    { .in = { IN(1, 300, 40), IN(1, 300, 40), IN(1, 300, 40) }, .i = { 1 } },
    { .in = { FILLED(OFFSET, 1, 20, 6), FILLED(BELOW, 1, 70, 6), IN(1, 70, 6) }, .i = { 2 } },
    { .in = { IN(1, 40, 80), IN(1, 50, 80), IN(1, 50, 80) }, .i = { 1 } },
    { .in = { IN(2, 4096, 320), IN(2, 4096, 320), IN(2, 4096, 320) }, .i = { 8 }, .bench = true },
    { .in = { IN(2, 1024, 640), IN(2, 1024, 640), IN(2, 1024, 640) }, .i = { 8 }, .bench = true },
    { .in = { IN(2, 256, 1280), IN(2, 256, 1280), IN(2, 256, 1280) }, .i = { 8 }, .bench = true },
    { .in = { IN(2, 4096, 320), IN(2, 77, 320), IN(2, 77, 320) }, .i = { 8 }, .bench = true },
    { .in = { IN(1, 4096, 512), IN(1, 4096, 512), IN(1, 4096, 512) }, .i = { 1 }, .bench = true },
    { .in = { IN(2, 77, 768), IN(2, 77, 768), IN(2, 77, 768) }, .i = { 12, true }, .bench = true },
};

const im_case_table im_cases_attention = {
    &im_op_attention, call_attention, terms_attention, .c = 4,
    .why = "two chains (over d, over keys); an error of the score s is exp'd: scores of deviation 8 cost 8 eps. Gradients: "
           "chains over d and over keys of 4e-7 to 8e-7 rms at d = 80 to 512, 2e-6 where scores are WIDE",
    .batched = 7u, .weight = -1, .cases = attention, .n = COUNT(attention), .grads = 7u, .grad_c = 2e-6,
    .acts = 7u,
};
