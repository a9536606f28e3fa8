/* program_draw.h: what program_draw.c and program_ops.c share: the state of a drawing, and how operands are found. */
#ifndef IM_TESTS_PROGRAM_DRAW_H
#define IM_TESTS_PROGRAM_DRAW_H

#include "program.h"

typedef struct {
    program *p;
    uint64_t state;
    int depth;                   /* open scopes                                                                       */
    bool tape;
    int block;                   /* statement that opened the innermost block, or -1                                  */
    int block_depth, first_inner;                              /* its depth; the first variable made inside           */
} draws;

int draw(draws *d, int n);                                     /* 0 .. n-1                                             */
bool chance(draws *d, int percent);
int between(draws *d, int low, int high);

bool full(const draws *d);                                     /* no room for much more                                */
int new_var(draws *d, im_dtype t, int ndim, const int64_t shape[]);
/* May it be read here? Inside of a block: leaves, the inputs of the block, and what was made in it. */
bool visible(const draws *d, int i);
/* A leaf like one that is there already, or a new one. */
int leaf(draws *d, im_dtype t, bool grads, fill how, int limit, int ndim, const int64_t shape[]);
statement *add_statement(draws *d, action what);
int root_of(const draws *d, int i);                            /* whose memory it is                                   */

/* A variable that passes, mostly a young one; -1: there is none. */
typedef bool (*test)(const draws *d, const var *v);
int pick(draws *d, test fits);
bool is_f32(const draws *d, const var *v);
bool plain_f32(const draws *d, const var *v);
bool held(const draws *d, const var *v);                       /* f32 or bf16, contiguous                              */
bool sliceable(const draws *d, const var *v);
bool any_view(const draws *d, const var *v);                   /* of what copy takes                                   */

int draw_op(draws *d);                                         /* any operation or view; -1: no operand for it         */

#define SHAPE(...) (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), (int64_t[]){ __VA_ARGS__ }

#endif
