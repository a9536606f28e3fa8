/* threads.c: parallel.h on plain threads, in place of tensor/parallel.c: ThreadSanitizer does not see into OpenMP's own
 * locks, and the compiler of the fuzz targets may come without OpenMP. Used by `make tsan` and `make fuzz`. */
#define _GNU_SOURCE
#include "tensor/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

typedef struct crew {
    void (*fn)(void *arg, int task, int thread);
    void *arg;
    int tasks;
    atomic_int next;
} crew;

typedef struct member { crew *crew; int thread; pthread_t id; } member;

int im_cores(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

static void *work(void *arg)
{
    member *m = arg;
    for (int i; (i = atomic_fetch_add(&m->crew->next, 1)) < m->crew->tasks; )
        m->crew->fn(m->crew->arg, i, m->thread);
    return NULL;
}

void im_parallel_for(int threads, int tasks, void (*fn)(void *arg, int task, int thread), void *arg)
{
    crew c = { .fn = fn, .arg = arg, .tasks = tasks };
    threads = threads > tasks ? tasks : threads;
    member *m = threads > 1 ? calloc((size_t)threads, sizeof *m) : NULL;
    int started = 1;
    while (m && started < threads) {
        m[started] = (member){ .crew = &c, .thread = started };
        if (pthread_create(&m[started].id, NULL, work, &m[started]))
            break;
        started++;
    }
    work(&(member){ .crew = &c });
    for (int i = 1; m && i < started; i++)
        pthread_join(m[i].id, NULL);
    free(m);
}
