/* bench.h: the parts of `imago bench`: one row a measurement, to the terminal, as JSON lines, or appended to a CSV file. */
#ifndef IM_CLI_BENCH_H
#define IM_CLI_BENCH_H

#include <stdio.h>

#include "cli/options.h"
#include "imago.h"

typedef struct bench_options {
    common_options common;
    const char *model, *csv;
    int rounds, batch, width, height, steps;
    bool json;
} bench_options;

typedef struct bench_row {
    const char *bench, *shape, *dtype;                         /* "unet", "2x512x512", "f32"                           */
    double ms, ms_min;                                         /* median and best of the rounds                        */
    double flop, bytes;                                        /* of one round; 0: not counted                         */
    bool dots;                                                 /* runs on bf16 dot products: their peak is the measure */
} bench_row;

typedef struct bench_peaks { double gflops, bf16_gflops, gbs; } bench_peaks;       /* of this machine, 0: not measured */

typedef struct bench_output {
    const bench_options *o;
    im_ctx *c;
    bench_peaks peak;
    FILE *csv;
    bool header;                                               /* of the table was printed                             */
} bench_output;

void bench_emit(bench_output *out, const bench_row *row);
void bench_summary(double seconds[], int n, bench_row *row);   /* sorts; fills ms and ms_min                           */
/* Floating-point rate with these threads and read bandwidth; false with an error. */
bool bench_measure_peak(im_ctx *c, bench_peaks *out);

bool bench_peak(bench_output *out);
bool bench_ops(bench_output *out);
bool bench_network(bench_output *out, im_net net);             /* clip, unet, vae                                      */
bool bench_generate(bench_output *out);

#endif
