/* ref/table.c: the kernel table of the ref backend, and the loop that all its kernels share. */
#include "tensor/parallel.h"
#include "tensor/ref/ref.h"

void im_ref_kernels(im_kernels *k)
{
#define X(name) k->name = im_ref_##name;
    IM_KERNELS_OWN(X)
#undef X
    im_host_kernels(k);
}

enum { MAX_TASKS = 4096 };       /* enough to share out evenly, and few enough for any count to fit an int           */

typedef struct {
    const im_device *dev;
    int64_t count;
    int tasks;
    im_ref_fn fn;
    const void *job;
} each_job;

static bool stopped(const im_device *dev)
{
    return dev->stop && *dev->stop;
}

/* Task t of T takes the indices [count t / T, count (t+1) / T). */
static void each_task(void *arg, int task, int thread)
{
    const each_job *e = arg;
    int64_t whole = e->count / e->tasks, rest = e->count % e->tasks;
    int64_t from = whole * task + rest * task / e->tasks, to = whole * (task + 1) + rest * (task + 1) / e->tasks;
    for (int64_t i = from; i < to && !stopped(e->dev); i++)
        e->fn(e->job, i, thread);
}

int im_ref_each(im_device *dev, int64_t count, im_ref_fn fn, const void *job)
{
    each_job e = { dev, count, (int)(count < MAX_TASKS ? count : MAX_TASKS), fn, job };
    im_parallel_for(im_threads_of(dev), e.tasks, each_task, &e);
    return stopped(dev) ? IM_STOPPED : IM_DONE;
}
