/* cases_loss.c: cases of losses. Their output is one number, so that "equal bits at any number of threads" is a test of the
 * order of a sum. */
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
};

const im_case_table im_cases_cross_entropy = {
    &im_op_cross_entropy, call_cross_entropy, terms_cross_entropy, .c = 4,
    .why = "exp within 2 eps summed in 16 lanes, log within 2 eps. Gradients: x - max is rounded once (eps of up to 30 "
           "where logits are WIDE), exp, sum and product: 3e-7 at most",
    .weight = -1, .cases = cross_entropy, .n = COUNT(cross_entropy), .grads = 1u << 0, .grad_c = 5e-7,
};
