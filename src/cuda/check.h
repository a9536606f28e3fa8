/* check.h: the device's check of itself: every kernel on small problems, here and on the device "ref", their results side
 * by side. It runs when a device is first used (check.c says when that is), by `imago info --device cuda --check`, and
 * in the simulator. The problems: check_cases.c, check_training.c. */
#ifndef IM_CUDA_CHECK_H
#define IM_CUDA_CHECK_H

#include "cuda/cuda.h"

enum { IM_PROBE_BLOCKS = 40, IM_PROBE_RESULTS = 8 };
typedef enum {                   /* from i32 on: whole numbers                                                         */
    IM_PROBE_F32, IM_PROBE_F16, IM_PROBE_BF16, IM_PROBE_F64, IM_PROBE_I32, IM_PROBE_I64, IM_PROBE_U16
} im_probe_kind;

typedef struct im_probe {        /* one problem on one device: what it asks for comes with the same numbers everywhere   */
    im_device *dev;
    im_dtype t;                  /* of activations and weights                                                          */
    uint32_t seed;
    int status;                  /* enum im_status: the first failure                                                   */
    struct { void *p; size_t bytes; } blocks[IM_PROBE_BLOCKS];
    struct { const void *p; int64_t n; im_probe_kind kind; } results[IM_PROBE_RESULTS];
    int n_blocks, n_results;
} im_probe;

im_cbuf im_probe_in(im_probe *p, int64_t n);                   /* n numbers within -1 .. 1, in p->t                     */
const float *im_probe_floats(im_probe *p, int64_t n, float size, float plus);  /* within plus - size .. plus + size     */
const void *im_probe_ids(im_probe *p, int64_t n, int limit, im_probe_kind kind);       /* 0 .. limit - 1                */
im_weight im_probe_weight(im_probe *p, int n, int k);
/* What a kernel writes, and adds to; numbers stand there before. */
im_buf im_probe_out(im_probe *p, int64_t n);
void *im_probe_result(im_probe *p, int64_t n, im_probe_kind kind);

typedef struct im_probe_case {
    const char *name;
    int slot;                    /* IM_CUDA_SLOT_...: whose plain form replaces it                                      */
    enum { IM_PROBE_ONE, IM_PROBE_HALVES, IM_PROBE_PRODUCTS } forms;      /* f32; and in 16 bits; and f32 rounded to bf16 */
    int (*run)(im_probe *p);     /* enum im_status                                                                      */
} im_probe_case;
extern const im_probe_case im_probe_forward[], im_probe_training[];       /* run NULL at the end                        */

/* Runs a kernel of the table, where everything that it needs is there. */
#define IM_PROBE_RUN(probe, slot, ...) \
    __extension__({ im_##slot##_args args = { __VA_ARGS__ }; \
                    (probe)->status ? (probe)->status : (probe)->dev->k.slot((probe)->dev, &args); })

/* All of it, or one slot's (slot >= 0); row NULL: nobody looks. */
int im_cuda_check(im_device *dev, int slot, void (*row)(void *arg, const im_check_row *), void *arg);
bool im_cuda_has_cores(const im_device *dev);                  /* device.c: the path was chosen, whatever a check found */
/* When the device is opened: all of it, or what was found before. False: c has failed, the device is not to be used. */
bool im_cuda_check_first(im_device *dev);
/* What check_kept.c keeps from one start to the next: which slots run in their plain form. */
bool im_cuda_check_recall(const im_device *dev, uint64_t *plain);
void im_cuda_check_keep(const im_device *dev, uint64_t plain);

#endif
