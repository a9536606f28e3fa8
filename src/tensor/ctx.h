/* ctx.h: what a context holds. Seen by src/tensor/ only. */
#ifndef IM_CTX_H
#define IM_CTX_H

#include "imago_engine.h"
#include "tensor/device.h"
#include "tensor/op.h"

typedef enum { IM_EAGER, IM_TAPE, IM_PLAN } im_mode;           /* run | run and record | record only                   */

/* Says that value number `at` is `found` where 0 to limit - 1 was wanted: the words of an op. */
typedef void (*im_ids_say)(im_ctx *c, int64_t at, int32_t found, int64_t limit);

struct im_storage {
    im_device *dev;
    void *data;                                                /* NULL while a plan is being recorded                  */
    size_t bytes;
    int refs;                                                  /* 0: freed                                             */
    bool owned;                                                /* false: the memory is a plan's arena                  */
    bool parameter;                                            /* in whose name it is counted (im_device.held)         */
    int slot;                                                  /* recording: index of the plan slot, else -1           */
    bool ranged; int32_t low, high;                            /* ids: all lie in low .. high (transfer.c)             */
    int64_t limit; im_ids_say say;                             /* an input of a plan: what its ops want of ids         */
    im_copies *copies;                                         /* of a weight in training (copies.h), or NULL          */
};

typedef struct im_scope {                                      /* tensors made since the push; freed by the pop        */
    im_tensor **v;
    int n, cap;
    struct im_scope *up;
} im_scope;

struct im_ctx {
    im_device dev;
    int threads;                                               /* of the host, for im_parallel                         */
    im_mode mode;
    struct im_plan *plan;                                      /* the plan being recorded                              */
    struct im_tape *tape;                                      /* the innermost open tape                              */
    bool recomputing;                                          /* inside im_recompute's second run: no side effects    */
    im_tensor **apart;                                         /* backward: gradients added when the node is done      */
    bool marking;                                              /* im_recompute's first run: results of what wants a    */
                                                               /* gradient want one, but nothing is recorded           */
    struct im_norm_log *norm_log;                              /* where batch norms in training write what they see    */
    bool check_finite;
    bool bad_weights;                                          /* what it found are a layer's own weights              */
    const char *last_layer;                                    /* while it is on: the last one with a name that ran    */
    im_scope *scope;
    int lost_scopes;                                           /* pushes that failed for want of memory                */
    bool open;                                                 /* there is a device; else the first error stays for good */
    bool failed, no_memory;                                    /* the failure is that memory did not suffice           */
    char message[4096];
    bool strict_weights;                                       /* im_weights_rules                                     */
    char variant[64];                                          /* "": none was chosen                                  */
    volatile int stop;                                         /* set by im_cancel, possibly in a signal handler       */
    void (*warn)(void *, const char *);                  void *warn_arg;
    char unheard[2048];                                        /* a warning from before anybody listened               */
    void (*profile)(void *, const im_profile_row *);     void *profile_arg;
    void (*trace)(void *, const char *, const im_tensor *); void *trace_arg;
    void (*input)(void *, const im_tensor *, const im_tensor *); void *input_arg;
    void (*tape_row)(void *, const im_tape_row *);       void *tape_row_arg;
    void (*gradient)(void *, im_tensor *);               void *gradient_arg;
    const im_norm_parts *norm_parts;                           /* batch norms see all parts of a step; or NULL         */
};

#endif
