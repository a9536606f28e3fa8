/* program.h: random programs of the engine: operations over tensors of many shapes, views of them, tensors used again
 * and again, scopes, tapes, blocks under im_recompute, bursts of large tensors. A program is drawn from a seed
 * (program_draw.c, program_ops.c), knows nothing of devices, and is run on any of them in several ways (program_run.c);
 * what test_programs.c wants is that all ways give the same numbers.
 *
 * A program is a list of leaves (inputs, weights), made first, and a list of statements over variables, each of which is
 * assigned once. A step is: push a scope, begin a tape, statements, backward (or not), pop; what is kept of a step may be
 * used in the next one. */
#ifndef IM_TESTS_PROGRAM_H
#define IM_TESTS_PROGRAM_H

#include <stdio.h>

#include "tensor/tensor.h"

enum { MAX_VARS = 400, MAX_STATEMENTS = 400, MAX_KEPT = 6, MAX_RESULTS = 4, MAX_STEPS = 3 };

typedef enum {
    DO_OP,                       /* out = op(in, a, f)                                                                */
    DO_SLICE,                    /* out = in[0], axis a[0], from a[1] to a[2]                                         */
    DO_RESHAPE,                  /* out = in[0] in the shape of out                                                   */
    DO_PUSH, DO_POP,             /* in[0 ..]: what the pop keeps                                                      */
    DO_BLOCK, DO_END,            /* a function of in[0 ..] under im_recompute; DO_END: out = in[0], back in the list  */
    DO_BURST,                    /* a[0] tensors of a[1] bytes; every a[2]th is kept for the step, the others go      */
    DO_TAPE,                     /* begin a tape                                                                      */
    DO_BACKWARD                  /* from the sum of losses of in[0 ..]; none: the tape is dropped. Ends a step        */
} action;

typedef struct {
    action what;
    const im_op *op;
    int out, in[MAX_KEPT];       /* variables; -1: none                                                               */
    int a[8];
    float f[2];
} statement;

typedef enum { FILL_NORMAL, FILL_WEIGHT, FILL_POSITIVE, FILL_IDS, FILL_TIMES } fill;

typedef struct {
    im_tensor meta;              /* shape, strides, dtype as the engine will have them; packed, geglu                 */
    bool leaf, alive;
    bool grads;                  /* wants a gradient: a leaf of its own, or made from one on the open tape            */
    bool moves;                  /* a leaf that an operation changes (running statistics)                             */
    bool of_leaf;                /* a leaf or a view of one: its gradient outlives the tape                           */
    int root;                    /* of a view: the variable whose memory it is; -1: its own                           */
    int depth;                   /* scopes that were open when it was made; 0: leaves and what steps have kept        */
    fill fill;
    int limit;                   /* FILL_IDS: ids are below it; FILL_WEIGHT: terms of the sum                         */
} var;

typedef struct {
    uint64_t seed;
    var v[MAX_VARS]; int n_vars;
    statement s[MAX_STATEMENTS]; int n;
    im_dtype compute_dtype;      /* im_set_compute_dtype                                                              */
    bool bf16;                   /* something is rounded to bf16: other tolerances                                    */
    bool f16;                    /* a weight is f16: so in tile registers, which split it                             */
    bool trains_norms;           /* running statistics move: a plan that runs twice makes other numbers               */
    bool hands_through;          /* the result of a block is an input, or a view of one: gradients are summed in      */
                                 /* another order under im_recompute                                                  */
    int plan_end, plan_out;      /* statements of the first step, without backward, and its result; -1: none          */
    bool alive_at[MAX_STEPS][MAX_VARS];                        /* at the end of each step                             */
    int steps;
} program;

void program_draw(program *p, uint64_t seed);
void program_print(FILE *f, const program *p);

/* Numbers that a run leaves: values of the variables that live at the end of each step, gradients of leaves. */
typedef struct { int var, step; bool gradient; int64_t at, n; } seen;
typedef struct {
    float *x; int64_t n, cap;
    seen *parts; int n_parts, cap_parts;
} numbers;
void numbers_free(numbers *m);

typedef struct {
    bool recompute;              /* blocks under im_recompute; else as plain calls                                    */
    bool tape;                   /* with tapes and backward; else only forward                                        */
    double noise;                /* leaves are multiplied by 1 + noise * (-1 .. 1): how well is the result determined? */
    uint64_t noise_seed;
} way;

/* False with an error in c. */
bool program_run(im_ctx *c, const program *p, const way *w, numbers *out);
/* The first step as a plan, run `times` times: the values of plan_out. */
bool program_run_plan(im_ctx *c, const program *p, int times, numbers *out);

uint64_t program_hash(uint64_t h);

#endif
