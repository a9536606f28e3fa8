/* cases_norm.c: cases of group norm and layer norm. */
#include "cases.h"

/* ------------------------------------------------------------ groupnorm: x, gamma, beta; i = groups, silu; f[0] eps */

static im_tensor *call_groupnorm(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    return im_groupnorm(c, in[0], in[1], in[2], cs->i[0], cs->f[0], cs->i[1]);
}

static int terms_groupnorm(const im_case *cs)
{
    (void)cs;
    return IM_GN_CHUNK;                                        /* chunks are joined in f64                            */
}

/* Few values, or no variance: an eps of 1, since with a small one gradients are rounding alone, or no line within a
 * step. */
static const im_case groupnorm[] = {
    { .in = { IN(1, 3, 1), IN(1), IN(1) }, .i = { 1 }, .f = { 1 } },
    { .in = { IN(1, 1, 1, 32), IN(32), IN(32) }, .i = { 4 }, .f = { 1e-5f } },
    { .in = { IN(2, 3, 5, 6), IN(6), IN(6) }, .i = { 3, true }, .f = { 1e-6f } },
    { .in = { IN(2, 7, 9, 33), IN(33), IN(33) }, .i = { 11, true }, .f = { 1e-5f } },
    { .in = { IN(3, 31, 40), IN(40), IN(40) }, .i = { 5 }, .f = { 1e-5f } },
    { .in = { IN(1, 8, 8, 64), IN(64), IN(64) }, .i = { 64, true }, .f = { 1e-5f } },
    { .in = { IN(2, 33, 30), IN(30), IN(30) }, .i = { 1 }, .f = { 1e-5f } },
    { .in = { FILLED(OFFSET, 2, 16, 17, 64), IN(64), IN(64) }, .i = { 32 }, .f = { 1e-6f } },
    { .in = { FILLED(ZERO, 1, 4, 4, 32), IN(32), IN(32) }, .i = { 8, true }, .f = { 1 } },
    { .in = { FILLED(WIDE, 1, 9, 9, 32), IN(32), IN(32) }, .i = { 8, true }, .f = { 1e-6f } },
    { .in = { VIEW(0, 1, 1, 2, 5, 5, 32), IN(32), IN(32) }, .i = { 8, true }, .f = { 1e-6f } },
    { .in = { FILLED(BROKEN, 2, 3, 2, 8), IN(8), IN(8) }, .i = { 4 }, .f = { 1e-6f } },
    { .in = { IN(2, 16, 16, 320), IN(320), IN(320) }, .i = { 32, true }, .f = { 1e-5f } },
    { .in = { IN(1, 64, 64, 128), IN(128), IN(128) }, .i = { 32, true }, .f = { 1e-6f } },
    { .in = { IN(2, 64, 64, 320), IN(320), IN(320) }, .i = { 32, true }, .f = { 1e-5f }, .bench = true },
    { .in = { IN(2, 16, 16, 2560), IN(2560), IN(2560) }, .i = { 32, true }, .f = { 1e-5f }, .bench = true },
    { .in = { IN(1, 512, 512, 128), IN(128), IN(128) }, .i = { 32, true }, .f = { 1e-6f }, .bench = true },
};

const im_case_table im_cases_groupnorm = {
    &im_op_groupnorm, call_groupnorm, terms_groupnorm, .c = 4,
    .why = "sums of one chunk in f32; mean and rstd rounded to f32 (mean 4: 4 eps), three operations on each element; "
           "gradients: the same, and dx is what is left of sums that nearly cancel where a group is small",
    .batched = 1u << 0, .weight = -1, .grads = 0x7, .grad_c = 4e-6, .cases = groupnorm, .n = COUNT(groupnorm),
    .acts = 1u,
};

/* ---------------------------------------------------------------- layernorm: x, gamma, beta; f[0] eps */

static im_tensor *call_layernorm(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    return im_layernorm(c, in[0], in[1], in[2], cs->f[0]);
}

static int terms_layernorm(const im_case *cs)
{
    return 16 + (int)cs->in[1].shape[0] / 16;                  /* 16 lanes and their tree                             */
}

static const im_case layernorm[] = {
    { .in = { IN(1, 2), IN(2), IN(2) }, .f = { 1 } },
    { .in = { IN(3, 1), IN(1), IN(1) }, .f = { 1e-5f } },
    { .in = { IN(5, 17), IN(17), IN(17) }, .f = { 1e-5f } },
    { .in = { IN(2, 3, 31), IN(31), IN(31) }, .f = { 1e-5f } },
    { .in = { IN(7, 64), IN(64), IN(64) }, .f = { 1e-5f } },
    { .in = { FILLED(ZERO, 3, 40), IN(40), IN(40) }, .f = { 1 } },
    { .in = { FILLED(OFFSET, 9, 100), IN(100), IN(100) }, .f = { 1e-5f } },
    { .in = { FILLED(WIDE, 9, 33), IN(33), IN(33) }, .f = { 1e-5f } },
    { .in = { VIEW(0, 1, 2, 4, 48), IN(48), IN(48) }, .f = { 1e-5f } },
    { .in = { VIEW(2, 3, 2, 2, 4, 47), IN(47), IN(47) }, .f = { 1e-5f } },
    { .in = { FILLED(BROKEN, 9, 5), IN(5), IN(5) }, .f = { 1e-5f } },
    { .in = { IN(2, 77, 768), IN(768), IN(768) }, .f = { 1e-5f } },
    { .in = { IN(2, 64, 1280), IN(1280), IN(1280) }, .f = { 1e-5f } },
    { .in = { IN(2, 4096, 320), IN(320), IN(320) }, .f = { 1e-5f }, .bench = true },
    { .in = { IN(2, 256, 1280), IN(1280), IN(1280) }, .f = { 1e-5f }, .bench = true },
};

const im_case_table im_cases_layernorm = {
    &im_op_layernorm, call_layernorm, terms_layernorm, .c = 4,
    .why = "sums in 16 lanes; mean and rstd rounded to f32 (mean 4: 4 eps), three operations on each element; "
           "gradients: the same, and dx is what is left of sums that nearly cancel where a row is short",
    .batched = 1u << 0, .weight = -1, .grads = 0x7, .grad_c = 4e-6, .cases = layernorm, .n = COUNT(layernorm),
    .acts = 1u,
};
