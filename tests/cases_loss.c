/* cases_loss.c: cases of losses, of the VAE's Gaussian and of unit rows. The output of a loss is one number, so that "equal
 * bits at any number of threads" tests the order of a sum. */
#include "cases.h"

/* ---------------------------------------------------------------- cross_entropy: logits, labels */

static im_tensor *call_cross_entropy(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    (void)cs;
    return im_cross_entropy(c, in[0], in[1]);
}

static int terms_cross_entropy(const im_case *cs)
{
    return 16 + (int)cs->in[0].shape[1] / 16;                  /* 16 lanes and their tree; rows are added in f64      */
}

static const im_case cross_entropy[] = {
    { .in = { IN(1, 13), FILLED(IDS, 1) } },
    { .in = { IN(5, 16), FILLED(IDS, 5) } },
    { .in = { FILLED(WIDE, 7, 37), FILLED(IDS, 7) } },
    { .in = { FILLED(OFFSET, 3, 100), FILLED(IDS, 3) } },
    { .in = { VIEW(0, 1, 1, 4, 33), FILLED(IDS, 4) } },
    { .in = { FILLED(ZERO, 3, 20), FILLED(IDS, 3) } },
    { .in = { FILLED(BROKEN, 3, 20), FILLED(IDS, 3) } },
    { .in = { FILLED(TINY, 3, 32), FILLED(IDS, 3) } },
    { .in = { IN(64, 1000), FILLED(IDS, 64) } },
    { .in = { IN(40, 17), FILLED(IDS, 40) } },
    { .in = { FILLED(BELOW, 4, 21), FILLED(IDS, 4) } },
};

const im_case_table im_cases_cross_entropy = {
    &im_op_cross_entropy, call_cross_entropy, terms_cross_entropy, .c = 4,
    .why = "exp within 2 eps summed in 16 lanes, log within 2 eps. Gradients: x - max is rounded once (eps of up to 30 "
           "where logits are WIDE), exp, sum and product: 3e-7 at most",
    .weight = -1, .cases = cross_entropy, .n = COUNT(cross_entropy), .grads = 1u << 0, .grad_c = 5e-7,
    .acts = 1u,
};

/* ---------------------------------------------------------------- mse, l1: x, t, weight */

static im_tensor *call_mse(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    (void)cs;
    return im_mse(c, in[0], in[1], in[2]);
}

static im_tensor *call_l1(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    (void)cs;
    return im_l1(c, in[0], in[1], in[2]);
}

static int one_term(const im_case *cs)
{
    (void)cs;
    return 1;
}

static const im_case distance[] = {
    { .in = { IN(1, 1), IN(1, 1) } },
    { .in = { IN(3, 17), IN(3, 17) } },
    { .in = { IN(4, 5, 7, 3), FILLED(OFFSET, 4, 5, 7, 3), IN(4) } },
    { .in = { FILLED(WIDE, 2, 100), IN(2, 100), IN(2) } },
    { .in = { VIEW(0, 1, 1, 3, 33), IN(3, 33), IN(3) } },
    { .in = { FILLED(ZERO, 2, 20), FILLED(ZERO, 2, 20) } },
    { .in = { FILLED(BROKEN, 2, 20), IN(2, 20) } },
    { .in = { IN(3, 16384 + 5), IN(3, 16384 + 5), IN(3) } },   /* chunks of a sample, the last a short one            */
    { .in = { IN(40), IN(40), IN(40) } },
};

#define DISTANCE_WHY "x - t and the result rounded once; weights of both signs cancel"
const im_case_table im_cases_mse = {
    &im_op_mse, call_mse, one_term, .c = 8, .why = DISTANCE_WHY, .weight = -1, .cases = distance, .n = COUNT(distance),
    .grads = 3u, .grad_c = 3e-7,
    .acts = 3u,
};
const im_case_table im_cases_l1 = {
    &im_op_l1, call_l1, one_term, .c = 8, .why = DISTANCE_WHY, .weight = -1, .cases = distance, .n = COUNT(distance),
    .grads = 3u, .grad_c = 3e-7,
    .acts = 3u,
};

/* ---------------------------------------------------------------- normalize: x; f[0] eps */

static im_tensor *call_normalize(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    return im_normalize(c, in[0], cs->f[0]);
}

static const im_case normalize[] = {
    { .in = { IN(1, 2) }, .f = { 1e-12f } },
    { .in = { IN(5, 17) }, .f = { 1e-12f } },
    { .in = { IN(2, 3, 31) }, .f = { 1e-12f } },
    { .in = { FILLED(WIDE, 4, 64) }, .f = { 1e-12f } },
    { .in = { FILLED(ZERO, 3, 20) }, .f = { 1.0f } },          /* clamped: differences would not fit below 1e-12      */
    { .in = { IN(3, 20) }, .f = { 1000.0f } },
    { .in = { VIEW(0, 1, 2, 4, 48) }, .f = { 1e-12f } },
    { .in = { FILLED(BROKEN, 9, 5) }, .f = { 1e-12f } },
    { .in = { IN(30, 1000) }, .f = { 1e-12f } },
};

const im_case_table im_cases_normalize = {
    &im_op_normalize, call_normalize, one_term, .c = 4,
    .why = "the norm rounded once, a division. Gradients: y (y . dy) taken from dy may cancel half of it",
    .batched = 1u << 0, .weight = -1, .cases = normalize, .n = COUNT(normalize), .grads = 1u << 0, .grad_c = 5e-7,
    .acts = 1u,
};

/* ---------------------------------------------------------------- gaussian_sample: moments, noise */

static im_tensor *call_gaussian_sample(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    (void)cs;
    return im_gaussian_sample(c, in[0], in[1]);
}

static const im_case gaussian_sample[] = {
    { .in = { IN(1, 2), IN(1, 1) } },
    { .in = { IN(2, 3, 5, 8), IN(2, 3, 5, 4) } },
    { .in = { IN(3, 66), IN(3, 33) } },
    { .in = { FILLED(WIDE, 2, 40, 8), IN(2, 40, 4) } },        /* beyond 20                                           */
    { .in = { VIEW(0, 1, 1, 3, 8), IN(3, 4) } },
    { .in = { FILLED(BROKEN, 3, 20), IN(3, 10) } },
    { .in = { IN(2, 50, 50, 8), IN(2, 50, 50, 4) } },
};

const im_case_table im_cases_gaussian_sample = {
    &im_op_gaussian_sample, call_gaussian_sample, one_term, .c = 4,
    .why = "exp within 2 eps and one multiply-add; the unit is large where some deviations are",
    .batched = 3u, .weight = -1, .cases = gaussian_sample, .n = COUNT(gaussian_sample), .grads = 1u << 0, .grad_c = 3e-7,
    .acts = 3u,
};

/* ---------------------------------------------------------------- kl: moments */

static im_tensor *call_kl(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    (void)cs;
    return im_kl(c, in[0]);
}

static const im_case kl[] = {
    { .in = { IN(1, 2) } },
    { .in = { IN(2, 3, 5, 8) } },
    { .in = { IN(3, 66) } },
    { .in = { FILLED(WIDE, 2, 40, 8) } },
    { .in = { VIEW(0, 1, 1, 3, 8) } },
    { .in = { FILLED(BROKEN, 3, 20) } },
    { .in = { IN(2, 70, 70, 8) } },                            /* two chunks                                          */
};

const im_case_table im_cases_kl = {
    &im_op_kl, call_kl, one_term, .c = 8, .why = "terms of a few roundings, of one sign, summed in f64",
    .weight = -1, .cases = kl, .n = COUNT(kl), .grads = 1u << 0, .grad_c = 3e-7,
    .acts = 1u,
};
