/* cases.h: the shapes at which every op is tried, and how near to ref it must come.
 *
 * For each line of ops.def there is one table im_cases_<op> in cases_*.c; the X-macro below makes an op without cases
 * an undefined symbol. test_ops.c runs them against ref on every ISA, digest.c prints one hash a case for comparison
 * between machines. */
#ifndef IM_CASES_H
#define IM_CASES_H

#include "tensor/ctx.h"

typedef enum {                   /* what a tensor is filled with; the same numbers on every machine                   */
    NORMAL,                      /* near-normal, mean 0, deviation 1                                                  */
    WEIGHT,                      /* the same over sqrt(k), so that products keep their size                           */
    OFFSET,                      /* mean 4, deviation 1: what norms must not lose accuracy to                         */
    BELOW,                       /* mean -4, deviation 1: with OFFSET, scores that are all far below 0                */
    ZERO,
    TINY,                        /* deviation 1e-20: squares underflow                                                */
    WIDE,                        /* deviation 8: saturates sigmoids and makes softmax peaks                           */
    SPECIAL,                     /* zeros of both signs, subnormals, infinities, NaN, overflow limits of exp          */
    BROKEN,                     /* NORMAL with a NaN or an infinity here and there: no output may hide or spread them */
    IDS,                         /* i32, 0 to 12                                                                      */
    TIMES                        /* 0 to 999, whole and broken                                                        */
} fill_kind;

typedef struct {                 /* one input; ndim 0: NULL                                                           */
    int ndim;
    int64_t shape[IM_MAX_DIMS];  /* as the op sees it                                                                 */
    fill_kind fill;
    int axis;                    /* a view: cut from a tensor that is `before` + `after` longer on this axis,         */
    int64_t before, after;       /* the rest of which is NaN                                                          */
} case_in;

typedef struct {
    case_in in[IM_MAX_IN];
    int i[8];                    /* what the call needs beside tensors; each table says what is what                  */
    float f[2];
    bool bench;                  /* a shape of Stable Diffusion that ref would take minutes for: only timed           */
} im_case;

typedef struct {
    const im_op *op;
    im_tensor *(*call)(im_ctx *c, const im_case *cs, im_tensor *const in[]);
    int (*terms)(const im_case *cs);       /* K: length of the longest sum behind one output                          */
    /* |got - ref| <= c eps(f32) sqrt(K) (|ref| + unit), unit the rms of ref, or 1 where `absolute`; c 0: equal bits. */
    double c;
    bool absolute;
    const char *why;
    unsigned batched;            /* inputs whose first axis is the batch                                              */
    unsigned acts;               /* inputs that may be held in f16 or bf16: activations (test_halves.c)                */
    int weight;                  /* this input comes plain and packed, in f32, f16 and bf16; -1: none                 */
    bool packs, geglu;           /* it comes packed, too, and then in int8; for im_linear_geglu                       */
    unsigned grads;              /* inputs that get gradients (test_grad.c); 0: the op has no gradient                */
    double grad_c;               /* gradients: relative rms error <= grad_c, each element within 30 times that        */
    const im_case *cases;
    int n;
} im_case_table;

#define IM_OP(name, formula) extern const im_case_table im_cases_##name;
#include "tensor/ops.def"
#undef IM_OP

extern const im_case_table *const im_all_cases[];              /* NULL at the end (cases.c)                           */

/* Dimensions of an input with their count, and kinds of input. */
#define SHAPE(...) .ndim = (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), .shape = { __VA_ARGS__ }
#define IN(...) { SHAPE(__VA_ARGS__) }
#define W(...) { SHAPE(__VA_ARGS__), .fill = WEIGHT }
#define FILLED(kind, ...) { SHAPE(__VA_ARGS__), .fill = kind }
#define VIEW(ax, lo, hi, ...) { SHAPE(__VA_ARGS__), .axis = ax, .before = lo, .after = hi }
#define NONE { .ndim = 0 }
#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

typedef struct { im_dtype dtype; bool packed; unsigned grads; } weight_form;      /* grads: inputs that want gradients */

/* Input `input` of case `cs`, in the open scope of c; NULL where the case has none (or out of memory). */
im_tensor *case_input(im_ctx *c, const im_case_table *t, const im_case *cs, int input, weight_form form);
bool case_inputs(im_ctx *c, const im_case_table *t, const im_case *cs, weight_form form, im_tensor *in[IM_MAX_IN]);
/* Not for timing only; and small, where TEST_SMALL is set: under the sanitizers. */
bool case_is_tried(const im_case *cs);
/* "linear[3] (2, 9, 320) (40, 320) bf16 packed" */
void case_name(const im_case_table *t, const im_case *cs, weight_form form, char *out, size_t size);

#endif
