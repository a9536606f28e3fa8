/* stopwatch.h: times of one kernel, for ops.c and ops_norms.c. */
#ifndef IM_STOPWATCH_H
#define IM_STOPWATCH_H

#include "bench/measure.h"

/* Runs fn(arg), which keeps `threads` busy, once to warm up, then `rounds` times and at least for a fifth of a second, but
 * at most 1000 times: wall seconds of the best and of the median round, and the processor time of the best, a thread. */
typedef struct im_bench_time { double best, median, processor; } im_bench_time;
im_bench_time im_bench_run(int threads, int rounds, void (*fn)(void *arg), void *arg);

/* The part of im_bench_ops that is norms and pools of training (ops_norms.c). */
bool im_bench_norms(im_ctx *c, int rounds, const im_peak *peak, void (*row)(void *arg, const im_bench_row *r), void *arg);

#endif
