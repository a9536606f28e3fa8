/* cases_batchnorm.c: cases of batch norm and of pooling. */
#include "cases.h"

/* ------------------------------------------------ batchnorm: x, gamma, beta, res, running mean and variance;
 *                                                  i = training, relu; f = eps, momentum */

/* The running statistics move with every call, y does not depend on them in training; given ones must be positive, as
 * OFFSET is. */
static im_tensor *call_batchnorm(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    return im_batchnorm(c, in[0], in[1], in[2], in[3], in[4], in[5], &(im_batchnorm_attrs){
        .training = cs->i[0], .relu = cs->i[1], .eps = cs->f[0], .momentum = cs->f[1] });
}

static int terms_batchnorm(const im_case *cs)
{
    (void)cs;
    return IM_SUM_CHUNK;                                       /* chunks are joined in f64                            */
}

#define VECTORS(n) IN(n), IN(n)
#define RUNNING(n) IN(n), FILLED(OFFSET, n)
#define EPS .f = { 1e-5f, 0.1f }

/* With ReLU few rows, and beta or res WIDE: else some value would pass 0 within a step of the differences;
 * test_grad_norms.c has more. Few values, or no variance: an eps of 1, as small ones leave rounding alone, or no line
 * within a step. */
static const im_case batchnorm[] = {
    { .in = { IN(3, 1), VECTORS(1), NONE, RUNNING(1) }, .i = { true }, .f = { 1, 0.1f } },
    { .in = { IN(1, 1, 1, 5), IN(5), FILLED(WIDE, 5), NONE, RUNNING(5) }, .i = { false, true }, EPS },
    { .in = { IN(2, 3, 1, 6), IN(6), FILLED(WIDE, 6), NONE, RUNNING(6) }, .i = { true, true }, EPS },
    { .in = { IN(2, 3, 5, 6), VECTORS(6), IN(2, 3, 5, 6), RUNNING(6) }, .i = { true, false }, EPS },
    { .in = { IN(3, 7, 9, 33), VECTORS(33), NONE, RUNNING(33) }, .i = { true }, EPS },
    { .in = { IN(3, 7, 9, 33), VECTORS(33), IN(3, 7, 9, 33), RUNNING(33) }, .i = { false, false }, EPS },
    { .in = { IN(1, 3, 2, 31), IN(31), FILLED(WIDE, 31), NONE, RUNNING(31) }, .i = { true, true }, EPS },
    { .in = { IN(2, 2, 2, 64), IN(64), FILLED(WIDE, 64), NONE, RUNNING(64) }, .i = { false, true }, EPS },
    { .in = { FILLED(OFFSET, 2, 16, 17, 64), VECTORS(64), NONE, RUNNING(64) }, .i = { true }, EPS },
    { .in = { FILLED(ZERO, 2, 4, 4, 16), VECTORS(16), NONE, RUNNING(16) }, .i = { true }, .f = { 1, 0.1f } },
    { .in = { FILLED(WIDE, 2, 9, 9, 40), VECTORS(40), NONE, RUNNING(40) }, .i = { true }, EPS },
    { .in = { VIEW(0, 1, 1, 2, 3, 1, 32), IN(32), FILLED(WIDE, 32), NONE, RUNNING(32) }, .i = { true, true }, EPS },
    { .in = { FILLED(BROKEN, 2, 3, 2, 8), VECTORS(8), NONE, RUNNING(8) }, .i = { true, true }, EPS },
    { .in = { FILLED(BROKEN, 2, 3, 2, 8), VECTORS(8), NONE, RUNNING(8) }, .i = { false, true }, EPS },
    { .in = { IN(4, 7, 7, 300), VECTORS(300), NONE, RUNNING(300) }, .i = { true }, EPS },
    { .in = { IN(5, 21, 11, 130), VECTORS(130), NONE, RUNNING(130) }, .i = { true }, EPS },
    { .in = { IN(32, 112, 112, 64), VECTORS(64), NONE, RUNNING(64) }, .i = { true, true }, EPS, .bench = true },
    { .in = { IN(32, 56, 56, 256), VECTORS(256), NONE, RUNNING(256) }, .i = { true, true }, EPS, .bench = true },
    { .in = { IN(32, 7, 7, 2048), VECTORS(2048), NONE, RUNNING(2048) }, .i = { true, true }, EPS, .bench = true },
};

const im_case_table im_cases_batchnorm = {
    &im_op_batchnorm, call_batchnorm, terms_batchnorm, .c = 4,
    .why = "sums of one chunk in f32; mean, rstd, scale and shift rounded to f32 (mean 4: 4 eps), three operations on each "
           "element; gradients: the same, and dx is what is left of sums that nearly cancel where rows are few",
    .weight = -1, .grads = 0xf, .grad_c = 4e-6, .cases = batchnorm, .n = COUNT(batchnorm),
    .acts = 1u << 0 | 1u << 3,
};

static const im_case batchnorm_res[] = {
    { .in = { IN(3, 1), VECTORS(1), FILLED(WIDE, 3, 1), RUNNING(1) }, .i = { true, true }, .f = { 1, 0.1f } },
    { .in = { IN(1, 1, 1, 5), VECTORS(5), FILLED(WIDE, 1, 1, 1, 5), RUNNING(5) }, .i = { false, true }, EPS },
    { .in = { IN(2, 3, 1, 6), VECTORS(6), FILLED(WIDE, 2, 3, 1, 6), RUNNING(6) }, .i = { true, true }, EPS },
    { .in = { IN(2, 3, 1, 35), VECTORS(35), FILLED(WIDE, 2, 3, 1, 35), RUNNING(35) }, .i = { true, true }, EPS },
    { .in = { FILLED(OFFSET, 2, 2, 1, 64), VECTORS(64), FILLED(WIDE, 2, 2, 1, 64), RUNNING(64) },
      .i = { true, true }, EPS },
    { .in = { IN(3, 2, 1, 48), VECTORS(48), FILLED(WIDE, 3, 2, 1, 48), RUNNING(48) }, .i = { false, true }, EPS },
    { .in = { VIEW(0, 1, 1, 2, 3, 1, 32), VECTORS(32), FILLED(WIDE, 2, 3, 1, 32), RUNNING(32) }, .i = { true, true }, EPS },
    { .in = { IN(2, 3, 2, 8), VECTORS(8), FILLED(BROKEN, 2, 3, 2, 8), RUNNING(8) }, .i = { true, true }, EPS },
    { .in = { IN(32, 56, 56, 256), VECTORS(256), IN(32, 56, 56, 256), RUNNING(256) }, .i = { true, true }, EPS,
      .bench = true },
    { .in = { IN(32, 7, 7, 2048), VECTORS(2048), IN(32, 7, 7, 2048), RUNNING(2048) }, .i = { true, true }, EPS,
      .bench = true },
};

const im_case_table im_cases_batchnorm_res = {
    &im_op_batchnorm_res, call_batchnorm, terms_batchnorm, .c = 4, .why = "as batchnorm",
    .weight = -1, .grads = 0xf, .grad_c = 4e-6, .cases = batchnorm_res, .n = COUNT(batchnorm_res),
    .acts = 1u << 0 | 1u << 3,
};

/* ------------------------------------------------ maxpool: x; i = kernel, stride, padding */

static im_tensor *call_maxpool(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    return im_maxpool(c, in[0], cs->i[0], cs->i[1], cs->i[2]);
}

static int one_term(const im_case *cs)
{
    (void)cs;
    return 1;
}

static const im_case maxpool[] = {
    { .in = { IN(1, 1, 1, 1) }, .i = { 1, 1, 0 } },
    { .in = { IN(1, 2, 2, 3) }, .i = { 2, 2, 1 } },
    { .in = { IN(2, 7, 9, 33) }, .i = { 3, 2, 1 } },
    { .in = { IN(2, 8, 6, 16) }, .i = { 3, 2, 1 } },
    { .in = { IN(2, 5, 4, 20) }, .i = { 2, 2, 0 } },
    { .in = { IN(1, 9, 9, 7) }, .i = { 3, 1, 1 } },
    { .in = { IN(1, 9, 10, 8) }, .i = { 2, 3, 0 } },           /* pixels in no window                                 */
    { .in = { IN(1, 13, 12, 5) }, .i = { 5, 2, 2 } },
    { .in = { FILLED(BROKEN, 2, 7, 5, 19) }, .i = { 3, 2, 1 } },
    { .in = { FILLED(SPECIAL, 2, 7, 5, 19) }, .i = { 3, 2, 1 } },
    { .in = { VIEW(0, 1, 1, 2, 6, 6, 24) }, .i = { 3, 2, 1 } },
    { .in = { IN(32, 112, 112, 64) }, .i = { 3, 2, 1 }, .bench = true },
};

const im_case_table im_cases_maxpool = {
    &im_op_maxpool, call_maxpool, one_term, .c = 0,
    .why = "nothing is computed; gradients: a pixel sums at most kernel^2 values in f32", .batched = 1u << 0, .weight = -1,
    .grads = 1u << 0, .grad_c = 1e-6, .cases = maxpool, .n = COUNT(maxpool),
    .acts = 1u,
};

/* ------------------------------------------------ avgpool: x */

static im_tensor *call_avgpool(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    (void)cs;
    return im_avgpool(c, in[0]);
}

static const im_case avgpool[] = {
    { .in = { IN(1, 1, 1, 1) } },
    { .in = { IN(2, 7, 7, 33) } },
    { .in = { IN(3, 100, 5) } },
    { .in = { IN(2, 1, 3, 160) } },
    { .in = { FILLED(OFFSET, 2, 9, 8, 31) } },
    { .in = { FILLED(BROKEN, 2, 3, 2, 8) } },
    { .in = { VIEW(0, 1, 1, 2, 5, 5, 32) } },
    { .in = { IN(32, 7, 7, 2048) }, .bench = true },
};

const im_case_table im_cases_avgpool = {
    &im_op_avgpool, call_avgpool, terms_batchnorm, .c = 2, .why = "sums of one chunk in f32; a gradient is one division",
    .batched = 1u << 0, .weight = -1, .grads = 1u << 0, .grad_c = 1e-6, .cases = avgpool, .n = COUNT(avgpool),
    .acts = 1u,
};
