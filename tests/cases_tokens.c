/* cases_tokens.c: cases of token merging: squares and oblongs, odd sides, one square of tokens, nothing merged and all that
 * can be; rows that name nothing; values in any dtype, rows in f32. All devices give the same bits: a choice, copies, and
 * sums in one order. */
#include "cases.h"

static int one_term(const im_case *cs)
{
    (void)cs;
    return 1;
}

/* ---------------------------------------------------------------- token_match: scores; i height, width, merged */

static im_tensor *call_token_match(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    return im_token_match(c, in[0], cs->i[0], cs->i[1], cs->i[2]);
}

static const im_case token_match[] = {
    { .in = { IN(1, 4, 1) }, .i = { 2, 2, 2 } },
    { .in = { IN(2, 64, 16) }, .i = { 8, 8, 32 } },
    { .in = { IN(2, 64, 16) }, .i = { 8, 8, 0 } },
    { .in = { IN(1, 64, 16) }, .i = { 8, 8, 48 } },
    { .in = { IN(3, 35, 6) }, .i = { 5, 7, 29 } },
    { .in = { IN(2, 22, 5) }, .i = { 2, 11, 7 } },
    { .in = { FILLED(ZERO, 2, 36, 9) }, .i = { 6, 6, 10 } },   /* equal scores: the first                             */
    { .in = { FILLED(BROKEN, 2, 36, 9) }, .i = { 6, 6, 20 } },
    { .in = { FILLED(SPECIAL, 1, 144, 36) }, .i = { 12, 12, 70 } },
    { .in = { VIEW(0, 1, 1, 2, 36, 9) }, .i = { 6, 6, 5 } },
    { .in = { IN(1, 1024, 256) }, .i = { 32, 32, 512 } },
    { .in = { IN(1, 1156, 289) }, .i = { 34, 34, 600 } },
};

const im_case_table im_cases_token_match = {
    &im_op_token_match, call_token_match, one_term, .c = 0, .why = "a choice", .batched = 1u << 0, .weight = -1,
    .cases = token_match, .n = COUNT(token_match), .acts = 1u,
};

/* ---------------------------------------------------------------- token_merge: x, row; i rows */

static im_tensor *call_token_merge(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    return im_token_merge(c, in[0], in[1], cs->i[0]);
}

static const im_case token_merge[] = {
    { .in = { IN(1, 1, 1), FILLED(ZERO, 1, 1) }, .i = { 1 } },
    { .in = { IN(2, 9, 17), IN(2, 9) }, .i = { 3 } },          /* half of the rows are below 0: none                  */
    { .in = { IN(2, 40, 130), FILLED(OFFSET, 2, 40) }, .i = { 6 } },
    { .in = { IN(1, 65, 3), FILLED(TIMES, 1, 65) }, .i = { 65 } },                       /* most are none             */
    { .in = { IN(2, 30, 5), FILLED(BROKEN, 2, 30) }, .i = { 2 } },
    { .in = { FILLED(BROKEN, 1, 30, 5), FILLED(OFFSET, 1, 30) }, .i = { 7 } },
    { .in = { VIEW(0, 1, 1, 2, 9, 4), FILLED(OFFSET, 2, 9) }, .i = { 5 } },
    { .in = { IN(1, 6, 259), FILLED(OFFSET, 1, 6) }, .i = { 6 } },
    { .in = { IN(1, 1024, 64), FILLED(TIMES, 1, 1024) }, .i = { 1000 } },
};

const im_case_table im_cases_token_merge = {
    &im_op_token_merge, call_token_merge, one_term, .c = 0, .why = "sums in ascending order, a division", .batched = 3u,
    .weight = -1, .cases = token_merge, .n = COUNT(token_merge), .acts = 1u,
};

/* ---------------------------------------------------------------- token_spread: y, row */

static im_tensor *call_token_spread(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    (void)cs;
    return im_token_spread(c, in[0], in[1]);
}

static const im_case token_spread[] = {
    { .in = { IN(1, 1, 1), FILLED(ZERO, 1, 1) } },
    { .in = { IN(2, 3, 17), FILLED(OFFSET, 2, 9) } },
    { .in = { IN(2, 6, 130), IN(2, 40) } },
    { .in = { FILLED(BROKEN, 1, 8, 5), FILLED(BROKEN, 1, 30) } },
    { .in = { VIEW(0, 1, 1, 2, 5, 4), FILLED(OFFSET, 2, 9) } },
    { .in = { IN(1, 1000, 64), FILLED(TIMES, 1, 1024) } },
};

const im_case_table im_cases_token_spread = {
    &im_op_token_spread, call_token_spread, one_term, .c = 0, .why = "copies", .batched = 3u, .weight = -1,
    .cases = token_spread, .n = COUNT(token_spread), .acts = 1u,
};
