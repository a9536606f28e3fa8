/* parallel.h: the one place that knows threads. Results never depend on how tasks are spread. */
#ifndef IM_PARALLEL_H
#define IM_PARALLEL_H

#include <stdint.h>

/* Calls fn(arg, task, thread) for every task in [0, tasks), on at most `threads` threads; thread in [0, threads). Tasks are
 * handed out one by one in ascending order. Several threads may call it at once, tasks too: all share the same workers. */
void im_parallel_for(int threads, int tasks, void (*fn)(void *arg, int task, int thread), void *arg);

/* How many parts of b cover a. */
static inline int im_ceil_div(int64_t a, int64_t b) { return (int)((a + b - 1) / b); }

int im_cores(void);              /* processors this process may run on */

#endif
