/* tensor.h: what the rest of src/tensor needs of tensors, storages and scopes beside imago.h. */
#ifndef IM_TENSOR_H
#define IM_TENSOR_H

#include "tensor/ctx.h"

/* A storage of `bytes` on the context's device with one reference; data NULL where `virtual_` (a plan places it). */
im_storage *im_storage_new(im_ctx *c, size_t bytes, bool virtual_);
void im_storage_release(im_storage *s);                        /* drops one reference                                  */

/* A header in the open scope over `s`, which it takes the reference of. NULL (and s released) when memory is out. */
im_tensor *im_tensor_over(im_ctx *c, im_storage *s, const im_tensor *meta);
void im_tensor_free(im_tensor *t);                             /* header and its reference; not for scope members      */
void im_contiguous_strides(im_tensor *t);                      /* fills stride from shape                              */
/* The product of the sizes of a shape: the one place where it may overflow. False there, and where a size is below 1. */
bool im_count(int ndim, const int64_t shape[], int64_t *n);
bool im_checked_bytes(im_ctx *c, const im_tensor *meta, size_t *bytes);  /* fails where im_count or the bytes do         */

bool im_scope_add(im_ctx *c, im_tensor *t);                    /* to the innermost scope                               */
bool im_scope_holds(const im_ctx *c, const im_tensor *t);      /* is it of the innermost scope?                        */
void im_scope_take(im_ctx *c, im_tensor *t);                   /* out of whichever scope holds it: the caller owns it  */
void im_scope_list_free(im_scope *s);                          /* every tensor of one scope, and its array             */

/* Rows: all axes but the last seen as one, at a constant distance. False where the strides do not allow that. */
bool im_rows(const im_tensor *t, int64_t *rows, int64_t *ld);
im_weight im_weight_of(const im_tensor *t);                    /* the (n, k) factor of a product                       */
/* The data of a tensor as kernels take it; NULL gives p NULL. */
im_cbuf im_read_of(const im_tensor *t);
im_buf im_write_of(const im_tensor *t);
/* y = s x, or y += s x where add: contiguous, of equal shapes, in any dtypes (ops/map.c). False: c has failed.        */
bool im_accumulate(im_ctx *c, const im_tensor *y, const im_tensor *x, float s, bool add);

#endif
