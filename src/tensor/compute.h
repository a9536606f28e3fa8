/* compute.h: how products are computed on the cpu: one list, which the micro-kernels (cpu/micro.c, cpu/micro_outer.c),
 * packing (cpu/multiply.h), `imago bench peak` and IMAGO_COMPUTE share.
 *
 * A step of a product multiplies 4 bytes of each factor in every lane: one value of k in f32, two in bf16, four in int8. To
 * add a way:
 * its line here, its step in v_multiply and how its steps are packed in v_factors (both cpu/multiply.h); where it
 * multiplies a dtype of weights that has no panels yet, their layout in pack.c. cpu/cpu.c says when it is chosen. */
#ifndef IM_COMPUTE_H
#define IM_COMPUTE_H

#include "imago_engine.h"

/* X(id, name, dtype of both factors, values of k in a step, in words, whatever is passed on). The name is that of
 * IMAGO_COMPUTE and of the micro-kernels. Sums are f32; those of int8 are int32, and exact (int8.h). */
#define IM_COMPUTES(X, with) \
    IM_COMPUTES_REAL(X, with) \
    X(INT8, int8, IM_INT8, 4, "int8 dot products", with)
/* Those whose factors activations are rounded to, in training as well. */
#define IM_COMPUTES_REAL(X, with) \
    X(F32,  f32,  IM_F32,  1, "f32 multiply-adds", with) \
    X(BF16, bf16, IM_BF16, 2, "bf16 dot products", with)

typedef enum im_compute {
#define X(id, name, factors, per_step, words, with) IM_COMPUTE_##id,
    IM_COMPUTES(X, )
#undef X
    IM_COMPUTE_COUNT
} im_compute;

/* The dtype that both factors are in, and the values of k in a step. Inlined with a constant it is one. */
static inline im_dtype im_factors_of(im_compute how)
{
    static const im_dtype of[] = {
#define X(id, name, factors, per_step, words, with) factors,
        IM_COMPUTES(X, )
#undef X
    };
    return of[how];
}

static inline int im_per_step(im_compute how)
{
    static const int of[] = {
#define X(id, name, factors, per_step, words, with) per_step,
        IM_COMPUTES(X, )
#undef X
    };
    return of[how];
}

const char *im_compute_words(im_compute how);                  /* "f32 multiply-adds"                                  */
/* IMAGO_COMPUTE: false, and c has failed, where it names none; *given false: it is not there, or empty (compute.c). */
bool im_compute_asked(im_ctx *c, bool *given, im_compute *how);

#endif
