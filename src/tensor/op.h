/* op.h: what an operation is, and im_run, the one path that every operation takes.
 *
 * To add an op (docs/adding-an-op.md): (1) a line in ops.def; (2) shape, forward, backward and the public wrapper in
 * ops/<family>.c; (3) what its kernels take in device.h or train_args.h; (4) the plain loops in ref/; (5) the fast
 * bodies in cpu/ and src/cuda/; (6) its cases in tests/cases_*.c, a call in tests/test_arguments.c. */
#ifndef IM_OP_H
#define IM_OP_H

#include "tensor/buffer.h"

typedef struct { int i[12]; float f[4]; } im_attrs;            /* stride, pad, heads, eps ...; each op names its own   */

enum { IM_MAX_SAVED = 3, IM_MAX_SCRATCH = 2 };

typedef struct im_node {                                       /* one call of one op: tape entry and plan entry        */
    const struct im_op *op;
    im_tensor *in[IM_MAX_IN], *out;                            /* optional inputs may be NULL                          */
    im_attrs attrs;
    const char *layer;                                         /* name of the first named input, for the profile       */
    bool taped;                                                /* backward will come: forward saves what it needs      */
    unsigned kept;                                             /* of op->keeps, what the tape holds for this call      */
    im_tensor *saved[IM_MAX_SAVED];                            /* made by im_save: mean and rstd, not what is cheap    */
    im_tensor *scratch[IM_MAX_SCRATCH];                        /* asked for by shape (im_ask); forward's alone         */
    im_recompute_fn fn; void *arg;                             /* im_recompute: what runs again                        */
    double seconds;                                            /* of the forward half, where somebody asked            */
} im_node;

typedef struct im_op {
    const char *name, *formula;
    int n_in;
    unsigned optional;                                         /* bit i: in[i] may be NULL                             */
    bool (*shape)(im_ctx *, im_node *);                        /* fills out's shape and dtype, or im_fail              */
    int (*forward)(im_ctx *, im_node *);                       /* calls one kernel; enum im_status                     */
    int (*backward)(im_ctx *, im_node *);                      /* from im_dout to im_grad_of; im_no_backward: has none */
    double (*flop)(const im_node *);                           /* multiply-adds count two; NULL: none worth counting   */
    unsigned keeps;                                            /* bit i: backward reads the data of in[i]; IM_KEEP_OUT */
    unsigned keeps_for_w;                                      /* of these, what only the gradient of in[1], the       */
                                                               /* weight, is made of: let go where that is frozen      */
    unsigned f32_grads;                                        /* bit i: in[i] is a parameter, whose gradient is f32;  */
                                                               /* those of activations have the dtype of these         */
    bool inplace_ok;                                           /* out may take in[0]'s memory in a plan                */
} im_op;

#define IM_KEEP(i) (1u << (i))
#define IM_KEEP_OUT (1u << 31)

#define IM_OP(name, formula) extern const im_op im_op_##name;
#include "tensor/ops.def"
#undef IM_OP

/* in: op->n_in tensors. A NULL that is not optional means that something upstream failed: stays quiet, returns NULL. */
im_tensor *im_run(im_ctx *c, const im_op *op, im_tensor *const in[], const im_attrs *attrs);
int im_no_backward(im_ctx *c, im_node *n);                     /* fails, naming the op: its inputs carry no gradient   */

/* Helpers for the shape half of ops.
 * im_ask: memory in f32 for n->scratch[slot], which forward may use and loses at its end. In a plan it has a place in the
 * arena like any result, so that a run asks the device for nothing. What one kernel needs for itself is not asked for
 * here: a device keeps that, and it grows until the largest call has been seen (host.h, cuda.h). */
bool im_ask(im_ctx *c, im_node *n, int slot, int ndim, const int64_t shape[]);
bool im_like(im_ctx *c, im_node *n, int input);                /* out has the shape and dtype of in[input]             */
bool im_want(im_ctx *c, const im_node *n, bool ok, const char *wanted);  /* fails with all shapes of the call          */
bool im_want_f32(im_ctx *c, const im_node *n, int input);      /* contiguous and in f32                                */
bool im_want_activation(im_ctx *c, const im_node *n, int input);       /* contiguous in f32, f16 or bf16               */
bool im_want_act(im_ctx *c, const im_node *n, int act);        /* a value of im_act (ops/map.c)                        */
int im_node_run(im_ctx *c, im_node *n);                        /* forward, with profile; used by im_run and plans      */

/* Helpers for the backward half (tape.c).
 * im_save: in forward of a taped node: f32 memory in slot i of n->saved, held until the node has run backward.
 * im_dout: the gradient of n->out, contiguous, of its shape and dtype.
 * im_grad_of: where the gradient of input i goes, of its dtype, strides as in the input; add: a value is there and the
 * kernel adds to it, else it stores to every element. NULL: that input wants none (or memory is out: c has failed). */
im_tensor *im_save(im_ctx *c, im_node *n, int slot, int ndim, const int64_t shape[]);
const im_tensor *im_dout(const im_node *n);
im_tensor *im_grad_of(im_ctx *c, im_node *n, int input, bool *add);
/* Its data, as kernels take it: an activation's, p NULL where none is wanted; a parameter's, which is f32. */
im_buf im_grad_buf(im_ctx *c, im_node *n, int input, bool *add);
float *im_grad_f32(im_ctx *c, im_node *n, int input, bool *add);

#endif
