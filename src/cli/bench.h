/* bench.h: the parts of `imago bench`: one row a measurement, to the terminal, as JSON lines, or appended to a CSV file. */
#ifndef IM_CLI_BENCH_H
#define IM_CLI_BENCH_H

#include <stdio.h>

#include "cli/options.h"
#include "bench/measure.h"

typedef struct bench_options {
    common_options common;
    const char *model, *csv;
    int rounds, batch, count, width, height, steps;
    bool json;
} bench_options;

typedef struct bench_row {
    const char *bench, *shape, *dtype;                         /* "unet", "2x512x512", "f32"                           */
    double ms, ms_min;                                         /* median and best of the rounds; 0: no times           */
    double gflops, gbs, percent;                               /* 0: does not apply                                    */
    int pictures;                                              /* of a round of generate; 0: does not apply            */
} bench_row;

typedef struct bench_output {
    const bench_options *o;
    im_ctx *c;
    im_dtype dtype;                                            /* weights of the networks: one after the other         */
    im_peak peak;                                              /* of this machine with these threads                  */
    FILE *csv;
    bool header;                                               /* of the table was printed                             */
} bench_output;

void bench_emit(bench_output *out, const bench_row *row);
/* Sorts the times and fills all numbers of the row; flop: of one round, with weights of out->dtype. */
void bench_summary(const bench_output *out, double seconds[], int n, double flop, bench_row *row);
/* Zeros on devices other than cpu; false with an error. */
bool bench_measure_peak(im_ctx *c, im_peak *out);

bool bench_peak(bench_output *out);
double bench_peak_gflops(const bench_output *out);            /* of products with weights of its dtype                */
bool bench_ops(bench_output *out);
bool bench_network(bench_output *out, im_net net);             /* clip, unet, vae                                      */
bool bench_generate(bench_output *out);

#endif
