/* parallel.c: the one file that knows OpenMP, which starts the threads (its variables bind them to processors); how they
 * meet is ours. At the end of an OpenMP loop all threads have to arrive, those too that found nothing left to do, and who
 * is there first spins: where other programs want the same processors, in the very time that the one it waits for could
 * have had (bench/LOG.md has what that costs). Here
 *
 *     caller:  post the loop -- run tasks -- take the loop back -- wait until nobody is inside
 *     worker:  find a loop with tasks left -- enter -- run tasks -- leave -- wait for the next posting
 *
 * so that a worker whose turn on a processor comes late enters nothing and holds up nobody, and who waits yields: for
 * SPIN_NS it asks again and lets others run in between, then it sleeps. All callers share the workers. */
#define _GNU_SOURCE
#include "tensor/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

enum { SPIN_NS = 200000 };                                     /* of asking before sleep; no other value was tried    */

typedef struct loop {                                          /* on its caller's stack: gone when nobody is inside    */
    void (*fn)(void *arg, int task, int thread);
    void *arg;
    int tasks, threads, entered;                               /* threads that may enter, and have, the caller first   */
    atomic_int next, inside;                                   /* the next task; workers that run tasks                */
    struct loop *below;
} loop;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;       /* of all that is not atomic                            */
static pthread_cond_t posting = PTHREAD_COND_INITIALIZER, leaving = PTHREAD_COND_INITIALIZER;
static loop *top;                                              /* the loops that may be entered                        */
static atomic_uint posted;                                     /* how many loops there have been                       */
static int workers, asleep, waiting;                           /* started; of them asleep; callers who wait asleep      */

int im_cores(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n > 0 ? n : 1;
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* Another step of a wait that began at `since`. False: it has lasted long enough to sleep. */
static bool spin(int64_t since)
{
    sched_yield();
    return now_ns() - since < SPIN_NS;
}

static void run_tasks(loop *l, int thread)                     /* tasks differ in cost: whoever is free takes the next */
{
    for (int i; (i = atomic_fetch_add_explicit(&l->next, 1, memory_order_relaxed)) < l->tasks; )
        l->fn(l->arg, i, thread);
}

/* Under the lock: the newest loop that has tasks left and room for a thread, or NULL. */
static loop *loop_to_enter(void)
{
    loop *l = top;
    while (l && (l->entered == l->threads || atomic_load_explicit(&l->next, memory_order_relaxed) >= l->tasks))
        l = l->below;
    return l;
}

/* A worker's life. It holds the lock but where it runs tasks and where it waits. */
static void work(void)
{
    pthread_mutex_lock(&lock);
    for (;;) {
        for (loop *l; (l = loop_to_enter()); ) {
            int thread = l->entered++;
            atomic_fetch_add(&l->inside, 1);
            pthread_mutex_unlock(&lock);
            run_tasks(l, thread);
            pthread_mutex_lock(&lock);
            if (atomic_fetch_sub(&l->inside, 1) == 1 && waiting)   /* l may be gone from here on                       */
                pthread_cond_broadcast(&leaving);
        }
        unsigned seen = atomic_load(&posted);
        pthread_mutex_unlock(&lock);
        int64_t since = now_ns();
        while (atomic_load_explicit(&posted, memory_order_acquire) == seen && spin(since))
            ;
        pthread_mutex_lock(&lock);
        for (asleep++; atomic_load(&posted) == seen; )
            pthread_cond_wait(&posting, &lock);
        asleep--;
    }
}

/* Leads a team that never ends. By a compiler without OpenMP it is the leader alone. */
static void *lead(void *size)
{
    (void)size;
    #pragma omp parallel num_threads((int)(intptr_t)size)
    work();
    return NULL;
}

static void forget_workers(void)                               /* in a child of fork() there are none                  */
{
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&posting, NULL);
    pthread_cond_init(&leaving, NULL);
    top = NULL;
    workers = asleep = waiting = 0;
}

/* Under the lock. Where the system gives no more threads, those that are there do all of the work. */
static void start_workers(int wanted)
{
    static bool told;
    if (!told)
        pthread_atfork(NULL, NULL, forget_workers);
    told = true;
    pthread_t leader;
    if (workers >= wanted || pthread_create(&leader, NULL, lead, (void *)(intptr_t)(wanted - workers)))
        return;
    pthread_detach(leader);
    workers = wanted;
}

static void wait_for_workers(loop *l)
{
    int64_t since = now_ns();
    while (atomic_load_explicit(&l->inside, memory_order_acquire) && spin(since))
        ;
    if (!atomic_load(&l->inside))
        return;
    pthread_mutex_lock(&lock);
    for (waiting++; atomic_load(&l->inside); )
        pthread_cond_wait(&leaving, &lock);
    waiting--;
    pthread_mutex_unlock(&lock);
}

void im_parallel_for(int threads, int tasks, void (*fn)(void *arg, int task, int thread), void *arg)
{
    loop l = { .fn = fn, .arg = arg, .tasks = tasks, .threads = threads < tasks ? threads : tasks, .entered = 1 };
    if (l.threads <= 1) {
        for (int i = 0; i < tasks; i++)
            fn(arg, i, 0);
        return;
    }
    pthread_mutex_lock(&lock);
    start_workers(l.threads - 1);
    l.below = top;
    top = &l;
    atomic_fetch_add(&posted, 1);
    if (asleep)
        pthread_cond_broadcast(&posting);
    pthread_mutex_unlock(&lock);
    run_tasks(&l, 0);
    pthread_mutex_lock(&lock);
    loop **at = &top;
    while (*at != &l)
        at = &(*at)->below;
    *at = l.below;
    pthread_mutex_unlock(&lock);
    wait_for_workers(&l);
}
