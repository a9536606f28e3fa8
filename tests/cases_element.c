/* cases_element.c: cases of elementwise ops and of ops that only move elements. */
#include "cases.h"

static int one_term(const im_case *cs)
{
    (void)cs;
    return 1;
}

#define EXACT .c = 0, .why = "each output is one rounded operation, or none"

/* ---------------------------------------------------------------- activate: x; i[0] the activation */

static im_tensor *call_activate(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    return im_activate(c, in[0], (im_act)cs->i[0]);
}

#define EACH_ACT(...) \
    { .in = { __VA_ARGS__ }, .i = { IM_ACT_SILU } }, { .in = { __VA_ARGS__ }, .i = { IM_ACT_GELU } }, \
    { .in = { __VA_ARGS__ }, .i = { IM_ACT_GELU_TANH } }, { .in = { __VA_ARGS__ }, .i = { IM_ACT_QUICK_GELU } }, \
    { .in = { __VA_ARGS__ }, .i = { IM_ACT_RELU } }, { .in = { __VA_ARGS__ }, .i = { IM_ACT_TANH } }
static const im_case activate[] = {
    EACH_ACT(IN(1)), EACH_ACT(IN(3, 37)), EACH_ACT(FILLED(WIDE, 2, 5, 1000)), EACH_ACT(FILLED(SPECIAL, 4, 33)),
    EACH_ACT(VIEW(0, 1, 1, 3, 21)),
    { .in = { IN(5, 7) }, .i = { IM_ACT_NONE } },
    { .in = { IN(2, 1280) }, .i = { IM_ACT_SILU } },
    { .in = { IN(100, 1280) }, .i = { IM_ACT_SILU } },
};

const im_case_table im_cases_activate = {
    &im_op_activate, call_activate, one_term, .c = 4, .absolute = true,
    .why = "polynomials for exp, erf and tanh within 2 eps, and two more roundings; gelu's tail cancels: absolute at 1. "
           "Gradients: s + x s (1 - s) is a few roundings more",
    .batched = 1u << 0, .weight = -1, .cases = activate, .n = COUNT(activate), .grads = 1u << 0, .grad_c = 5e-7,
    .acts = 1u,
};

/* ---------------------------------------------------------------- add: a, b */

static im_tensor *call_add(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    (void)cs;
    return im_add(c, in[0], in[1]);
}

static const im_case add[] = {
    { .in = { IN(1), IN(1) } },
    { .in = { IN(3, 37), IN(3, 37) } },
    { .in = { IN(3, 37), IN(37) } },
    { .in = { IN(2, 5, 16), IN(5, 16) } },
    { .in = { IN(2, 5, 1), IN(1) } },
    { .in = { FILLED(SPECIAL, 3, 32), IN(3, 32) } },
    { .in = { VIEW(0, 1, 1, 3, 21), IN(21) } },
    { .in = { IN(2, 77, 768), IN(77, 768) } },
};

const im_case_table im_cases_add = {
    &im_op_add, call_add, one_term, EXACT, .batched = 1u << 0 | 1u << 1, .weight = -1, .cases = add, .n = COUNT(add),
    .grads = 3u, .grad_c = 2e-7,                               /* db: chunks of up to 32 in f32                       */
    .acts = 3u,
};

/* ---------------------------------------------------------------- scale: x; f[0] the factor */

static im_tensor *call_scale(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    return im_scale(c, in[0], cs->f[0]);
}

static const im_case scale[] = {
    { .in = { IN(1) }, .f = { 2 } },
    { .in = { IN(3, 37) }, .f = { 0.18215f } },
    { .in = { FILLED(SPECIAL, 2, 32) }, .f = { -1.5f } },
    { .in = { VIEW(0, 1, 1, 3, 21) }, .f = { 5.489981f } },
    { .in = { IN(2, 64, 64, 4) }, .f = { 5.489981f } },
};

const im_case_table im_cases_scale = {
    &im_op_scale, call_scale, one_term, EXACT, .batched = 1u << 0, .weight = -1, .cases = scale,
    .n = COUNT(scale), .grads = 1u << 0, .grad_c = 1e-7,
    .acts = 1u,
};

/* ---------------------------------------------------------------- concat: a, b along the last axis */

static im_tensor *call_concat(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    (void)cs;
    return im_concat(c, in[0], in[1]);
}

static const im_case concat[] = {
    { .in = { IN(1, 1), IN(1, 1) } },
    { .in = { IN(3, 5), IN(3, 2) } },
    { .in = { IN(2, 5, 7, 33), IN(2, 5, 7, 15) } },
    { .in = { FILLED(SPECIAL, 2, 3, 32), IN(2, 3, 1) } },
    { .in = { IN(2, 8, 9, 320), IN(2, 8, 9, 640) } },
    { .in = { IN(2, 64, 64, 320), IN(2, 64, 64, 320) }, .bench = true },
};

const im_case_table im_cases_concat = {
    &im_op_concat, call_concat, one_term, EXACT, .batched = 3u, .weight = -1, .cases = concat, .n = COUNT(concat),
    .grads = 3u, .grad_c = 1e-7,
    .acts = 3u,
};

/* ---------------------------------------------------------------- stack: a, b along the first axis */

static im_tensor *call_stack(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    (void)cs;
    return im_stack(c, in[0], in[1]);
}

static const im_case stack[] = {
    { .in = { IN(1), IN(1) } },
    { .in = { IN(3), IN(18) } },
    { .in = { IN(2, 5, 7, 3), IN(1, 5, 7, 3) } },
    { .in = { FILLED(SPECIAL, 3, 32), IN(2, 32) } },
    { .in = { VIEW(0, 1, 1, 3, 21), IN(2, 21) } },
    { .in = { IN(2, 100, 320), IN(2, 100, 320) } },
};

const im_case_table im_cases_stack = {
    &im_op_stack, call_stack, one_term, EXACT, .weight = -1, .cases = stack, .n = COUNT(stack), .grads = 3u, .grad_c = 1e-7,
    .acts = 3u,
};

/* ---------------------------------------------------------------- cast: x to f32; test_halves.c has bf16 */

static im_tensor *call_cast(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    (void)cs;
    return im_cast(c, in[0], IM_F32);
}

static const im_case cast[] = {
    { .in = { IN(1) } },
    { .in = { IN(2, 5, 33) } },
    { .in = { FILLED(SPECIAL, 67) } },
    { .in = { VIEW(0, 1, 1, 3, 21) } },
    { .in = { IN(3, 20000) } },
};

const im_case_table im_cases_cast = {
    &im_op_cast, call_cast, one_term, EXACT, .batched = 1u, .weight = -1, .cases = cast, .n = COUNT(cast), .grads = 1u,
    .grad_c = 1e-7,
    .acts = 1u,
};

/* ---------------------------------------------------------------- copy: x, any view */

static im_tensor *call_copy(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    (void)cs;
    return im_contiguous_copy(c, in[0]);
}

static const im_case copy[] = {
    { .in = { IN(1) } },
    { .in = { VIEW(0, 3, 4, 5) } },
    { .in = { VIEW(1, 1, 2, 3, 5) } },
    { .in = { VIEW(2, 7, 9, 2, 5, 33) } },
    { .in = { VIEW(1, 1, 1, 2, 5, 6, 7) } },
    { .in = { VIEW(3, 1, 0, 2, 5, 6, 1) } },
    { .in = { VIEW(2, 1, 4, 3, 4, 20, 16) } },
    { .in = { VIEW(2, 320, 320, 2, 100, 320) } },
};

const im_case_table im_cases_copy = {
    &im_op_copy, call_copy, one_term, EXACT, .batched = 1u << 0, .weight = -1, .cases = copy, .n = COUNT(copy),
    .grads = 1u << 0, .grad_c = 1e-7,
    .acts = 1u,
};

/* ---------------------------------------------------------------- embedding: table, ids */

static im_tensor *call_embedding(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    (void)cs;
    return im_embedding(c, in[0], in[1]);
}

static const im_case embedding[] = {
    { .in = { IN(13, 1), FILLED(IDS, 1, 1) } },
    { .in = { IN(13, 7), FILLED(IDS, 2, 5) } },
    { .in = { IN(50, 33), FILLED(IDS, 3, 9) } },
    { .in = { IN(100, 768), FILLED(IDS, 2, 77) } },
};

const im_case_table im_cases_embedding = {
    &im_op_embedding, call_embedding, one_term, EXACT, .batched = 1u << 1, .weight = 0, .cases = embedding,
    .n = COUNT(embedding), .grads = 1u << 0, .grad_c = 5e-7,   /* chains of up to 30 in f32                           */
};

/* ---------------------------------------------------------------- timestep: t; i = dim, cos_first; f[0] shift */

static im_tensor *call_timestep(im_ctx *c, const im_case *cs, im_tensor *const in[])
{
    return im_timestep_embedding(c, in[0], cs->i[0], cs->i[1], cs->f[0]);
}

static const im_case timestep[] = {
    { .in = { FILLED(TIMES, 1) }, .i = { 4, true } },
    { .in = { FILLED(TIMES, 3) }, .i = { 2, true } },
    { .in = { FILLED(TIMES, 5) }, .i = { 37, true } },
    { .in = { FILLED(TIMES, 6) }, .i = { 64, false }, .f = { 1 } },
    { .in = { FILLED(TIMES, 50) }, .i = { 320, true } },
};

const im_case_table im_cases_timestep = {
    &im_op_timestep, call_timestep, one_term, .c = 1000, .absolute = true,
    .why = "an angle is t f with t up to 999 and an error of eps in f",
    .batched = 1u << 0, .weight = -1, .cases = timestep, .n = COUNT(timestep),
};
