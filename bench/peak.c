/* peak.c: what this machine can do at most: multiply-adds from registers, dot products, conversions, reads of memory.
 * Every figure of `imago bench` is given as a share of these. The loops are in cpu/peak.c, once per ISA. */
#define _GNU_SOURCE
#include "bench/stopwatch.h"
#include "tensor/peak.h"
#include "tensor/ctx.h"
#include "tensor/host.h"
#include "tensor/memory.h"
#include "tensor/parallel.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PEAK_STEPS = 1 << 25 };                                 /* of one round                                         */
enum { MANY = 60, FEW = 9 };                                   /* rounds; the many take a millisecond each */
static const size_t read_bytes = 256u << 20;                   /* several times any cache met so far */

static double seconds_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts. */
static double median(double *t, int n)
{
    qsort(t, (size_t)n, sizeof *t, ascending);
    return n % 2 ? t[n / 2] : (t[n / 2 - 1] + t[n / 2]) / 2;
}

/* The processor clocks of the threads that im_parallel_for uses. Each takes one task, since it waits for the others. */
enum { MOST_THREADS = 256 };
typedef struct crew { int threads; atomic_int there; clockid_t clock[MOST_THREADS]; bool known[MOST_THREADS]; } crew;

static void muster(void *arg, int task, int thread)
{
    crew *w = arg;
    double start = im_seconds();
    (void)task;
    w->known[thread] = pthread_getcpuclockid(pthread_self(), &w->clock[thread]) == 0;
    atomic_fetch_add(&w->there, 1);
    while (atomic_load(&w->there) < w->threads && im_seconds() - start < 0.2)
        ;
}

/* Of all threads together; below 0: not known. Threads that wait for the last one turn, and count. */
static double processor_seconds(const crew *w)
{
    double sum = 0;
    for (int i = 0; i < w->threads; i++) {
        struct timespec t;
        if (!w->known[i] || clock_gettime(w->clock[i], &t))
            return -1;
        sum += (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    }
    return sum;
}

im_bench_time im_bench_run(int threads, int rounds, void (*fn)(void *arg), void *arg)
{
    enum { MOST = 1000 };
    static const double least = 0.2;
    double wall[MOST], all = 0;
    im_bench_time t = { 0 };
    crew w = { .threads = threads < MOST_THREADS ? threads : MOST_THREADS };
    im_parallel_for(w.threads, w.threads, muster, &w);
    fn(arg);
    int n = 0;
    while (n < MOST && (n < rounds || all < least)) {
        double before = processor_seconds(&w), start = im_seconds();
        fn(arg);
        wall[n] = im_seconds() - start;
        double after = processor_seconds(&w), each = before < 0 || after < 0 ? wall[n] : (after - before) / w.threads;
        if (n == 0 || each < t.processor)
            t.processor = each;
        all += wall[n++];
    }
    t.median = median(wall, n);
    t.best = wall[0];
    return t;
}

/* ---------------------------------------------------------------- peak */

typedef struct job {
    im_peak_loops loops;
    int threads;
    im_compute how;
    void (*work)(struct job *j, int task);
    int64_t rounds;                                            /* of one task */
    float *memory;                                             /* read_bytes; the widening loops use a few KiB a task */
    struct result { float sum; double best; } *results;        /* one a task: seconds of its best round */
} job;

enum { BUFFER_FLOATS = 2 * IM_PEAK_BUFFER };

static void multiply_work(job *j, int task)
{
    j->results[task].sum = j->loops.multiply[j->how](j->rounds);
}

static void widen(const job *j, int task, void (*loop)(const uint16_t *, float *))
{
    float *buffer = j->memory + (size_t)task * BUFFER_FLOATS;
    for (int64_t i = 0; i < j->rounds; i++)
        loop((const uint16_t *)(buffer + IM_PEAK_BUFFER), buffer);
}

static void f16_work(job *j, int task)
{
    widen(j, task, j->loops.widen_f16);
}

static void bf16_work(job *j, int task)
{
    widen(j, task, j->loops.widen_bf16);
}

static void read_work(job *j, int task)
{
    int64_t n = (int64_t)(read_bytes / sizeof(float)) / j->threads / 128 * 128;
    j->results[task].sum = j->loops.read(j->memory + task * n, n);
}

/* In the thread's own processor time: what else runs on the machine takes turns, not cycles. */
static void timed(void *arg, int task, int thread)
{
    job *j = arg;
    struct result *r = &j->results[task];
    double start = seconds_of(CLOCK_THREAD_CPUTIME_ID);
    (void)thread;
    j->work(j, task);
    double seconds = seconds_of(CLOCK_THREAD_CPUTIME_ID) - start;
    if (r->best == 0 || seconds < r->best)
        r->best = seconds;
}

/* Units a second of all threads together; a task does `units` times its rounds. */
static double rate(job *j, void (*work)(job *, int), int64_t rounds, int repeats, double units)
{
    double sum = 0;
    j->work = work;
    j->rounds = rounds;
    for (int i = 0; i < j->threads; i++)
        j->results[i].best = 0;
    for (int i = 0; i < repeats; i++)
        im_parallel_for(j->threads, j->threads, timed, j);
    for (int i = 0; i < j->threads; i++)
        sum += (double)rounds * units / j->results[i].best;
    return sum;
}

bool im_bench_peak(im_ctx *c, int threads, im_peak *out)
{
    if (c->failed)
        return false;
    job j = { .threads = threads ? threads : c->threads };
    if (j.threads < 1 || j.threads > 1024)
        return im_fail(c, "threads: found %d, wanted 1 to 1024, or 0 for those of the context", threads);
    if (strcmp(c->dev.name, "cpu") || !im_cpu_peak_loops(c->dev.isa, &j.loops))
        return im_fail(c, "the peak is measured on device cpu, not on \"%s\"", c->dev.name);
    size_t results = (size_t)j.threads * sizeof *j.results;
    j.memory = im_pages_new(read_bytes);
    j.results = im_pages_new(results);
    if (!j.memory || !j.results) {
        im_pages_free(j.memory, read_bytes);
        im_pages_free(j.results, results);
        return im_fail(c, "out of memory: measuring the read rate takes %zu MiB", read_bytes >> 20);
    }
    memset(j.memory, 0x2f, read_bytes);                        /* neither zeros nor subnormals */
    *out = (im_peak){ .isa = c->dev.isa, .threads = j.threads };
    for (int t = 0; t <= IM_INT8; t++) {                       /* of each way that some weights are multiplied in      */
        j.how = im_host_of(&c->dev)->compute[t];
        if (out->gflops[j.how] == 0 && j.loops.multiply[j.how]) {
            double steps = j.loops.steps[j.how];
            out->gflops[j.how] = rate(&j, multiply_work, (int64_t)(PEAK_STEPS / steps), MANY,
                                      2e-9 * steps * im_per_step(j.how));
        }
    }
    if (im_host_of(&c->dev)->split)
        out->split_gflops = out->gflops[IM_COMPUTE_BF16] / 3;
    out->f16_gvalues = rate(&j, f16_work, 1 << 11, MANY, 1e-9 * IM_PEAK_BUFFER);
    out->bf16_gvalues = rate(&j, bf16_work, 1 << 11, MANY, 1e-9 * IM_PEAK_BUFFER);
    memset(j.memory, 0x2f, read_bytes);
    out->read_gbs = rate(&j, read_work, 1, FEW, 1e-9 * (double)read_bytes / j.threads);
    im_pages_free(j.memory, read_bytes);
    im_pages_free(j.results, results);
    return true;
}
