/* test_parallel.c: loops over tasks (tensor/parallel.c): every task once, callers at the same time, loops in loops, after
 * fork(), and that waiting costs next to nothing where other programs want the same processors. */
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "suite.h"
#include "tensor/parallel.h"

enum { MOST = 64 };

typedef struct tally { int threads, tasks; atomic_int done[MOST], busy[MOST]; pthread_t who[MOST]; } tally;

static void count(void *arg, int task, int thread)
{
    tally *t = arg;
    ck_assert(task >= 0 && task < t->tasks && thread >= 0 && thread < t->threads);
    ck_assert_int_eq(atomic_fetch_add(&t->busy[thread], 1), 0);/* a number belongs to one thread                       */
    if (!t->who[thread]) t->who[thread] = pthread_self();
    ck_assert(pthread_equal(t->who[thread], pthread_self()));
    atomic_fetch_add(&t->done[task], 1);
    atomic_fetch_sub(&t->busy[thread], 1);
}

static void *loops(void *none)
{
    for (int threads = 1; threads <= 6; threads++)
        for (int tasks = 0; tasks <= MOST; tasks += 1 + tasks / 3) {
            tally t = { .threads = threads, .tasks = tasks };
            im_parallel_for(threads, tasks, count, &t);
            for (int i = 0; i < MOST; i++) ck_assert_int_eq(t.done[i], i < tasks);
        }
    return none;
}

START_TEST(every_task_once)
{
    loops(NULL);
}
END_TEST

START_TEST(callers_at_the_same_time)
{
    pthread_t caller[5];
    for (int i = 0; i < 5; i++) ck_assert_int_eq(pthread_create(&caller[i], NULL, loops, NULL), 0);
    loops(NULL);
    for (int i = 0; i < 5; i++) pthread_join(caller[i], NULL);
}
END_TEST

static void loop_within(void *arg, int task, int thread)
{
    (void)arg, (void)task, (void)thread;
    tally t = { .threads = 3, .tasks = 20 };
    im_parallel_for(3, 20, count, &t);
    for (int i = 0; i < 20; i++) ck_assert_int_eq(t.done[i], 1);
}

START_TEST(loops_in_loops)
{
    im_parallel_for(4, 30, loop_within, NULL);
}
END_TEST

/* A child of fork() may start threads, says the program to ThreadSanitizer. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) { return "die_after_fork=0"; }

START_TEST(a_child_of_fork)
{
    loops(NULL);
    pid_t child = fork();
    if (!child) {
        loops(NULL);
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    loops(NULL);
}
END_TEST

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void work(void *arg, int task, int thread)              /* 50 us of a processor                                 */
{
    (void)task;
    double from = seconds(CLOCK_THREAD_CPUTIME_ID), now = from;
    while (now < from + 50e-6) now = seconds(CLOCK_THREAD_CPUTIME_ID);
    ((double *)arg)[thread] += now - from;
}

/* Two other programs a processor. A wait that spins takes ten times the processor time of the tasks here. */
START_TEST(who_waits_lets_others_run)
{
    enum { OTHERS = 16 };
    pid_t other[OTHERS];
    int n = 2 * im_cores() < OTHERS ? 2 * im_cores() : OTHERS, threads = im_cores() < MOST ? im_cores() : MOST;
    for (int i = 0; i < n; i++)
        if (!(other[i] = fork())) for (;;) ;
    double each[MOST] = { 0 }, in_tasks = 0, from = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < 200; i++) im_parallel_for(threads, 8 * threads, work, each);
    double all = seconds(CLOCK_PROCESS_CPUTIME_ID) - from;
    for (int i = 0; i < threads; i++) in_tasks += each[i];
    for (int i = 0; i < n; i++) kill(other[i], SIGKILL);
    ck_assert_msg(all < 2 * in_tasks, "%.3f s of processor time, of which %.3f s in tasks", all, in_tasks);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { ONCE(every_task_once), ONCE(callers_at_the_same_time), ONCE(loops_in_loops),
                                 ONCE(a_child_of_fork), ONCE(who_waits_lets_others_run) };
    return suite_run("parallel", NULL, NULL, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
