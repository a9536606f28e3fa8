/* measure.h: what `imago bench` measures: the machine (peak.c), kernels at the shapes of Stable Diffusion v1.4 and of
 * ResNet50 (ops.c, ops_norms.c), training steps (training.c). On the cpu device only. Compare figures of one run only: the
 * clock and the neighbours change. It sees the inside of the engine and is part of the program, not of the library. */
#ifndef IM_MEASURE_H
#define IM_MEASURE_H

#include "imago.h"
#include "tensor/compute.h"

typedef struct im_peak {                                       /* what this machine can do under the context's ISA     */
    const char *isa;
    int threads;
    double gflops[IM_COMPUTE_COUNT];                           /* multiply-adds in registers; 0: no weights use that   */
    double split_gflops;                                       /* f16 weights in tile registers, each factor as two    */
                                                               /* bf16: three products for one; 0: they are widened    */
    double f16_gvalues, bf16_gvalues;                          /* weights widened to f32 within L1, 1e9 a second       */
    double read_gbs;                                           /* memory, huge pages where the system gives them       */
} im_peak;
bool im_bench_peak(im_ctx *c, int threads, im_peak *out);      /* threads 0: those of the context                      */

typedef struct im_bench_row {                                  /* one op at one shape of Stable Diffusion v1.4, 512x512 */
    const char *op, *shape;                                    /* "conv", "2x64x64x320 -> 320, 3x3"                    */
    const char *part;                                          /* "step": a guided step; "text" and "decode": a picture */
    int count;                                                 /* how often the part runs it                           */
    im_dtype weights;
    im_compute how;                                            /* it ran                                               */
    double ms_min, ms_median;                                  /* wall                                                 */
    double flop, bytes;                                        /* of one call; bytes: compulsory traffic               */
    double gflops, gbs;                                        /* at ms_median; Winograd convolutions are counted as   */
                                                               /* direct sums: more than 100 % occurs                  */
    double percent;                                            /* of the peak that bounds it, in processor time        */
    bool memory_bound;                                         /* that peak is read_gbs, else gflops                   */
} im_bench_row;
/* Weights and inputs are those of the round before: warm where they fit a cache. The rest is called once a row. */
bool im_bench_ops(im_ctx *c, im_dtype weights, int rounds, const im_peak *peak,
                  void (*row)(void *arg, const im_bench_row *r), void *arg);

/* One way of training, timed (bench/training.c): "resnet18" to "resnet101"; "unet-small", 64/128/192 channels
 * on 16x16 latents; "loader", pictures alone, with DINO's crops. Wall time, medians of the rounds, after one to warm up. */
typedef struct im_bench_train_args {
    const char *arch, *dtype, *data;                           /* data: "none", "memory", "jpeg": where pictures are   */
    const char *folder;                                        /* of JPEGs in class folders; for memory and jpeg       */
    int batch, size, rounds;
    bool recompute;                                            /* as im_train_common's                                 */
} im_bench_train_args;
im_bench_train_args im_bench_train_defaults(void);

typedef struct im_bench_train_row {
    double img_per_s, forward_ms, backward_ms, optimiser_ms;
    double step_ms;                                            /* all of a step, waiting for pictures included         */
    double cpu_ms_per_img;                                     /* processor time of the decoding threads               */
    size_t peak_bytes;                                         /* of this process so far                               */
} im_bench_train_row;
bool im_bench_train(im_ctx *c, const im_bench_train_args *a, im_bench_train_row *out);

#endif
