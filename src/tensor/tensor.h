/* tensor.h: what the rest of src/tensor needs of tensors, storages and scopes beside imago_engine.h. */
#ifndef IM_TENSOR_H
#define IM_TENSOR_H

#include "tensor/ctx.h"

/* A storage of `bytes` on the context's device with one reference; data NULL where `virtual_` (a plan places it). */
im_storage *im_storage_new(im_ctx *c, size_t bytes, bool virtual_);
void *im_storage_values(im_ctx *c, im_storage *s);             /* its bytes as they are, malloc'd; NULL: c has failed  */
bool im_fail_memory(im_ctx *c, const char *fmt, ...) IM_PRINTF(2, 3);     /* im_fail, and whose the memory is (error.c) */
bool im_done(im_ctx *c, int status, const char *what);         /* enum im_status: c fails where it is not IM_DONE      */
void im_storage_release(im_storage *s);                        /* drops one reference                                  */
void im_storage_changed(im_storage *s);                        /* by all that writes values of a parameter             */

/* A header in the open scope over `s`, which it takes the reference of. NULL (and s released) when memory is out. */
im_tensor *im_tensor_over(im_ctx *c, im_storage *s, const im_tensor *meta);
void im_tensor_free(im_tensor *t);                             /* header and its reference; not for scope members      */
void im_contiguous_strides(im_tensor *t);                      /* fills stride from shape                              */
/* The product of the sizes of a shape: the one place where it may overflow. False there, and where a size is below 1. */
bool im_count(int ndim, const int64_t shape[], int64_t *n);
bool im_checked_bytes(im_ctx *c, const im_tensor *meta, size_t *bytes);  /* fails where im_count or the bytes do         */

/* First element, in the device's memory: for the arguments of kernels. NULL while a plan is recorded. */
void *im_data(const im_tensor *t);
/* For the shape half: are all values of that input in 0 .. limit - 1? Else c has failed in the words of `say`. */
bool im_want_ids(im_ctx *c, const im_node *n, int input, int64_t limit, im_ids_say say);
bool im_belongs(im_ctx *c, const im_tensor *t, const char *what);         /* of this context, or c has failed         */
/* Bytes on their way: in dst once im_wait_for(c, *mark) has come back, which is counted. */
bool im_fetch_later(im_ctx *c, const void *data, void *dst, size_t bytes, uint64_t *mark);
bool im_wait_for(im_ctx *c, uint64_t mark);

bool im_scope_add(im_ctx *c, im_tensor *t);                    /* to the innermost scope                               */
bool im_scope_holds(const im_ctx *c, const im_tensor *t);      /* is it of the innermost scope?                        */
void im_scope_take(im_ctx *c, im_tensor *t);                   /* out of whichever scope holds it: the caller owns it  */
void im_scope_list_free(im_scope *s);                          /* every tensor of one scope, and its array             */

/* Two views of one storage: have they elements in common? IM_PARTLY also where that is not easily known. */
typedef enum { IM_NOWHERE, IM_PARTLY, IM_EVERYWHERE } im_common;
im_common im_overlap(const im_tensor *a, const im_tensor *b);
/* to = from, or to += from: equal shapes, of one dtype, each with its own strides (ops/movement.c); enum im_status */
int im_copy_tensor(im_ctx *c, const im_tensor *from, const im_tensor *to, bool add);

/* im_sumsq into the device's memory (ops/optimise.c). */
bool im_sumsq_into(im_ctx *c, const im_trained *params, int count, double *sum, int32_t *bad);
/* Where a batch norm in training writes what it sees, (2, channels) on the device; NULL: no log is open, or c has failed.
 * mean, var: the running ones that it is to move later. */
double *im_norm_log_place(im_ctx *c, im_tensor *mean, im_tensor *var, float momentum);
/* running (C) = (1 - momentum) running + momentum seen, in f64, by way of the host (ops/norm_log.c). */
bool im_norm_move(im_ctx *c, im_tensor *running, const double *seen, double momentum);
const struct im_step_gate *im_ledger_gate(const im_ledger *l); /* on the device; NULL of NULL                          */

/* Rows: all axes but the last seen as one, at a constant distance. False where the strides do not allow that. */
bool im_rows(const im_tensor *t, int64_t *rows, int64_t *ld);
bool im_is_weight(const im_tensor *t);                         /* of a dtype that products take                        */
im_weight im_weight_of(const im_tensor *t);                    /* the (n, k) factor of a product                       */
/* The data of a tensor as kernels take it; NULL gives p NULL. */
im_cbuf im_read_of(const im_tensor *t);
im_buf im_write_of(const im_tensor *t);
/* y = s x, or y += s x where add: contiguous, of equal shapes, in any dtypes (ops/map.c). False: c has failed.        */
bool im_accumulate(im_ctx *c, const im_tensor *y, const im_tensor *x, float s, bool add);

#endif
