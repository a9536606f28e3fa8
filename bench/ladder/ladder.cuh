/* ladder.cuh: what ladder.cc needs of a ladder: an operation, its problem, and steps of kernels from the obvious one to
 * the one that is shipped. Each step says which counts it lowers and to what: predicted by hand, from the sizes. */
#ifndef LADDER_CUH
#define LADDER_CUH

#include "cuda/ptx.cuh"

extern "C" {
#include "cuda/cuda.h"
}

enum { LADDER_INPUTS = 3, LADDER_CLAIMS = 2, LADDER_STEPS = 6 };

typedef enum ladder_count { LADDER_END, LADDER_REQUESTS, LADDER_SECTORS, LADDER_TURNS, LADDER_BARRIERS } ladder_count;

struct ladder_step {
    const char *name;
    int halves;                                                /* so many inputs, from the first on, are in f16        */
    bool half_out;
    struct { ladder_count of; double predicted; } claim[LADDER_CLAIMS];
};

struct ladder {
    const char *name, *sizes;                                  /* "convolution", and of what                           */
    double flops;                                              /* a multiply-add is two                                */
    int64_t in[LADDER_INPUTS];                                 /* numbers of each input; 0: none                       */
    int64_t ids, classes;                                      /* ids[i] = 37 i mod classes                            */
    int64_t out;
    ladder_step step[LADDER_STEPS];                            /* name NULL behind the last                            */
    /* Step 1 ..; 0, or an error of enum im_status or of LAUNCH. */
    int (*run)(im_device *dev, int step, const void *const *in, const int32_t *ids, void *out);
    /* The same in plain words, in f64 (plain.cc). */
    void (*plain)(const float *const *in, const int32_t *ids, double *out);
};

extern const ladder ladder_gemm, ladder_conv, ladder_softmax, ladder_groupnorm, ladder_attention;

/* device.cc: what kernels of src/cuda ask of their device (cuda.h). */
void ladder_device_open(im_device *dev, im_cu *cu);
void ladder_device_use(im_device *dev, bool tensor_cores, bool winograd);

#endif
