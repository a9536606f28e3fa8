/* bench.h: a stopwatch for bench.c and bench_ops.c. */
#ifndef IM_BENCH_H
#define IM_BENCH_H

#include "imago.h"

/* Runs fn(arg) once to warm up, then `rounds` times (1 to 1000): wall seconds of the best and of the median round. */
typedef struct im_bench_time { double best, median; } im_bench_time;
im_bench_time im_bench_run(int rounds, void (*fn)(void *arg), void *arg);

/* The part of im_bench_ops that is norms and pools of training (bench_norms.c). */
bool im_bench_norms(im_ctx *c, int rounds, const im_peak *peak, void (*row)(void *arg, const im_bench_row *r), void *arg);

#endif
