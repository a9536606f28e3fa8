/* parallel.c: the one file that knows OpenMP. */
#define _GNU_SOURCE
#include "tensor/parallel.h"

#include <omp.h>
#include <sched.h>
#include <stdatomic.h>

int im_cores(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : omp_get_num_procs();
    return n > 0 ? n : 1;
}

void im_parallel_for(int threads, int tasks, void (*fn)(void *arg, int task, int thread), void *arg)
{
    if (threads > tasks)
        threads = tasks;
    if (threads <= 1) {
        for (int i = 0; i < tasks; i++)
            fn(arg, i, 0);
        return;
    }
    atomic_int next = 0;                                       /* tasks differ in cost: whoever is free takes the next */
    #pragma omp parallel num_threads(threads)
    {
        int thread = omp_get_thread_num();
        for (int i; (i = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed)) < tasks; )
            fn(arg, i, thread);
    }
}
