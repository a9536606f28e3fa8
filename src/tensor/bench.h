/* bench.h: a stopwatch for bench.c and bench_ops.c. */
#ifndef IM_BENCH_H
#define IM_BENCH_H

#include "imago.h"

/* Runs fn(arg) once to warm up, then `rounds` times (1 to 1000): wall seconds of the best and of the median round. */
typedef struct im_bench_time { double best, median; } im_bench_time;
im_bench_time im_bench_run(int rounds, void (*fn)(void *arg), void *arg);

#endif
