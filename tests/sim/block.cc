/* block.cc: runs a launch: cluster after cluster, which is a block where nothing else is said, its threads as fibers on
 * stacks of their own.
 *
 *     sim_run          for each cluster: start all threads, then rounds until all are done
 *       round          every thread that can go on runs until it waits (a barrier, a shuffle) or ends; the order of the
 *                      threads is sim.order. Between rounds copies of engines land (bulk.cc). A round in which nobody
 * moves, and nothing is
 *                      left to land, is a deadlock, or a barrier that not all reach
 *
 * A thread's vector clock (sim_here()->clock) says what of the other threads has happened before what it does now: a
 * barrier joins those of its threads. Shuffles and votes order no memory (PTX ISA: shfl.sync, vote.sync), bar.sync and
 * bar.warp.sync do. What an engine does (a copy by TMA, the reads of a wgmma) is an agent of its own, which happens
 * behind what the thread that asked for it had seen, and which those see who wait for it. Without checks there are no
 * clocks, and blocks are shared out among the cores. */
#include "cuda/ptx.cuh"
#include "block.h"
#include "fiber.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim

static const unsigned MOST_THREADS = 1024, MOST_BLOCKS = 8, STACK = 64 << 10, WARP = SIM_WARP_THREADS, RED = 64;
/* Shared memory: what a kernel declares; with what a launch asks for on sm_90; and how much lies between two blocks. */
static const unsigned SHARED_BYTES = 48 << 10, SHARED_MOST = 227 << 10, SHARED_EACH = 256 << 10, LAUNCH_AT = 1024;
static const unsigned ENGINES = 64;                            /* operations of engines at once, a block               */

sim_settings sim = { false, 0, false, false };
int sim_faults[SIM_KINDS];

struct sim_thread {
    void *sp;
    dim3 index;
    bool done, waits;
    const char *what;            /* it waits for                                                                       */
    size_t shared;               /* of its block's shared memory, so far                                               */
    unsigned block;              /* of the cluster                                                                     */
};

struct block {
    dim3 index;
    unsigned at_barrier, alive;
    int barrier_line;
    size_t shared_known;
};

struct worker {                  /* one operating-system thread that runs blocks                                       */
    sim_where where;
    std::vector<sim_thread> threads;
    std::vector<uint32_t> clocks;                              /* [agents][words]                                      */
    std::vector<uint32_t> ended;                               /* [engines]: the time of the last operation            */
    std::vector<block> blocks;
    char *stacks = NULL;
    char *shared = NULL;
    void *scheduler = NULL;
    dim3 grid, size;
    unsigned now = 0, each = 0, words = 0, next_engine = 0;
    unsigned alive = 0, moved = 0;
    uint32_t random = 1;
    sim_cluster cluster = { 1, 0, false };
    const sim_body *body = NULL;
    bool running = false;
};

static thread_local worker *me;

static std::mutex printing;

void sim_report(sim_fault kind, const char *format, ...)
{
    static const char *const names[] = { "race", "unwritten", "outside", "misaligned", "barrier", "warp", "deadlock",
                                         "launch", "async", "proxy" };
    std::lock_guard<std::mutex> lock(printing);
    if (sim_faults[kind]++ >= 3 || sim.quiet)
        return;
    fprintf(stderr, "sim: %s: ", names[kind]);
    if (me && me->running) {
        const dim3 &t = me->threads[me->now].index, &b = me->blocks[me->threads[me->now].block].index;
        fprintf(stderr, "%s, block (%u, %u, %u), thread (%u, %u, %u): ", me->where.kernel, b.x, b.y, b.z, t.x, t.y, t.z);
    }
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
}

void sim_set(bool checks, int order, bool late) { sim = sim_settings{ checks, order, late, false }; }

bool sim_is_real() { return false; }

int sim_all_faults()
{
    int all = 0;
    for (int n : sim_faults)
        all += n;
    return all;
}

/* ---------------------------------------------------------------- what a thread asks */

const sim_where *sim_here() { return me && me->running ? &me->where : NULL; }
dim3 sim_thread_index() { return me->threads[me->now].index; }
dim3 sim_block_index() { return me->blocks[me->threads[me->now].block].index; }
dim3 sim_block_size() { return me->size; }
dim3 sim_grid_size() { return me->grid; }

unsigned sim_blocks() { return me->cluster.blocks; }
unsigned sim_threads_each() { return me->each; }
bool sim_block_ended(unsigned block) { return !me->blocks[block].alive; }

void sim_give_way(const char *what)
{
    sim_thread &t = me->threads[me->now];
    t.waits = true;
    t.what = what;
    sim_switch(&t.sp, me->scheduler);
}

void sim_wake(unsigned slot)
{
    me->threads[slot].waits = false;
    me->moved++;
}

void *sim_shared(size_t bytes, size_t align)
{
    sim_thread &t = me->threads[me->now];
    block &b = me->blocks[t.block];
    size_t launch = me->cluster.bytes, most = launch ? SHARED_MOST + LAUNCH_AT : SHARED_BYTES;
    size_t at = (t.shared + RED + (align < 16 ? 16 : align) - 1) / 16 * 16;
    t.shared = at + bytes;
    if (t.shared > most) {
        sim_report(SIM_LAUNCH, "%zu bytes of shared memory; a block has %zu", t.shared, most);
        exit(3);
    }
    if (t.shared > b.shared_known) {
        b.shared_known = t.shared;
        if (sim.checks)
            sim_shadow_shared(t.block * me->where.shared_each + at, bytes);
    }
    return me->shared + t.block * me->where.shared_each + at;
}

/* Those bytes lie first; what the kernel declares, behind them. */
void *sim_shared_launch()
{
    return me->shared + me->threads[me->now].block * me->where.shared_each + LAUNCH_AT;
}

/* ---------------------------------------------------------------- barriers */

uint32_t *sim_clock_of(unsigned agent) { return &me->clocks[(size_t)agent * me->words]; }
unsigned sim_clock_words() { return me->words; }

void sim_clock_join(uint32_t *to, const uint32_t *from)
{
    for (unsigned i = 0; i < me->words; i++)
        to[i] = to[i] > from[i] ? to[i] : from[i];
}

void sim_clock_tick()
{
    if (sim.checks)
        sim_clock_of(me->now)[me->now]++;
}

void sim_clocks_meet(unsigned from, unsigned to, uint32_t mask)
{
    static thread_local std::vector<uint32_t> all;
    all.assign(me->words, 0);
    for (unsigned s = from; s < to; s++)
        if (to - from > WARP || mask >> (s - from) & 1)
            sim_clock_join(all.data(), sim_clock_of(s));
    for (unsigned s = from; s < to; s++)
        if (to - from > WARP || mask >> (s - from) & 1) {
            memcpy(sim_clock_of(s), all.data(), me->words * sizeof(uint32_t));
            sim_clock_of(s)[s]++;
        }
}

/* An agent whose operations so far the one who asks has all seen to end; the oldest one, where there is none. */
sim_where sim_engine(const uint32_t *clock)
{
    sim_where w = me->where;
    unsigned n = (unsigned)me->ended.size(), e = me->next_engine;
    w.slot = w.threads;
    if (!sim.checks)
        return w;
    for (unsigned i = 0; i < n; i++) {
        unsigned j = (me->next_engine + i) % n;
        if (clock[w.threads + j] >= me->ended[j]) {
            e = j;
            break;
        }
    }
    me->next_engine = (e + 1) % n;
    w.slot = w.threads + e;
    w.clock = sim_clock_of(w.slot);
    memcpy(w.clock, clock, me->words * sizeof(uint32_t));
    w.clock[w.slot] = ++me->ended[e];
    return w;
}

sim_done sim_done_of(const sim_where &w) { return { w.slot, sim.checks ? w.clock[w.slot] : 0 }; }

void sim_clock_see(uint32_t *clock, const sim_done &done)
{
    if (sim.checks && clock[done.agent] < done.time)
        clock[done.agent] = done.time;
}

uint32_t sim_random()
{
    me->random ^= me->random << 13;
    me->random ^= me->random >> 17;
    return me->random ^= me->random << 5;
}

void sim_wants_hopper(const char *what)
{
    if (sim_capability() != 90)
        sim_report(SIM_LAUNCH, "%s, which is for sm_90; the device is sm_%d", what, sim_capability());
    if (!me->cluster.hopper) {
        sim_report(SIM_LAUNCH, "%s, in a kernel that LAUNCH_CLUSTER has not launched", what);
        exit(3);
    }
}

static void open_barrier(unsigned block)
{
    unsigned first = block * me->each;
    if (sim.checks)
        sim_clocks_meet(first, first + me->each, ~0u);
    if (sim_counting)
        sim_counted.barriers++;
    me->blocks[block].at_barrier = 0;
    for (unsigned s = first; s < first + me->each; s++)
        if (!me->threads[s].done)
            sim_wake(s);
}

static const char block_barrier[] = "__syncthreads";

void sim_sync_block(int line)
{
    unsigned number = me->threads[me->now].block;
    block &b = me->blocks[number];
    if (b.at_barrier && line != b.barrier_line)
        sim_report(SIM_BARRIER, "__syncthreads in line %d, while others wait in line %d", line, b.barrier_line);
    b.barrier_line = line;
    me->threads[me->now].what = block_barrier;
    if (++b.at_barrier == me->each)
        open_barrier(number);
    else
        sim_give_way(block_barrier);
}

/* ---------------------------------------------------------------- atomics: of the whole device, ordering nothing */

template <class T, class F> static T atomically(T *p, F f)
{
    static std::mutex one;
    std::lock_guard<std::mutex> lock(one);
    if (sim.checks)
        sim_access(p, sizeof *p, true, true, __builtin_return_address(0));
    T old = *p;
    *p = f(old);
    return old;
}
int sim_atomic_add(int *p, int x) { return atomically(p, [x](int y) { return y + x; }); }
float sim_atomic_add(float *p, float x) { return atomically(p, [x](float y) { return y + x; }); }
int sim_atomic_max(int *p, int x) { return atomically(p, [x](int y) { return y > x ? y : x; }); }
int sim_atomic_min(int *p, int x) { return atomically(p, [x](int y) { return y < x ? y : x; }); }

/* ---------------------------------------------------------------- a block */

static void entry()
{
    me->body->call(me->body->args.get());
    me->threads[me->now].done = true;
    me->blocks[me->threads[me->now].block].alive--;
    me->alive--;
    sim_give_way("nothing: it has ended");
}

static void begin_threads()
{
    unsigned n = me->where.threads;
    for (unsigned s = 0; s < n; s++) {
        sim_thread &t = me->threads[s];
        unsigned i = s % me->each;
        t = sim_thread();
        t.index = dim3(i % me->size.x, i / me->size.x % me->size.y, i / me->size.x / me->size.y);
        t.block = s / me->each;
        t.shared = me->cluster.bytes ? LAUNCH_AT + me->cluster.bytes : 0;
        t.sp = sim_fiber_start(me->stacks + (size_t)s * STACK, STACK, entry);
    }
    for (block &b : me->blocks) {
        b.at_barrier = 0;
        b.alive = me->each;
        b.shared_known = 0;
    }
    me->alive = n;
    sim_tensor_begin_block(n);
    sim_warps_begin(n);
}

static void begin_cluster()
{
    unsigned n = me->where.threads;
    begin_threads();
    me->random = 2463534242u + me->where.stamp * 977u + (unsigned)sim.order;
    if (sim.checks) {
        memset(me->shared, 0xff, me->where.shared_size);
        memset(me->clocks.data(), 0, me->clocks.size() * sizeof(uint32_t));
        for (unsigned s = 0; s < n; s++)
            sim_clock_of(s)[s] = 1;
        me->ended.assign(me->where.agents - n, 0);
        sim_shadow_begin_block(&me->where);
        for (unsigned b = 0; b < me->cluster.blocks && me->cluster.bytes; b++)
            sim_shadow_shared(b * me->where.shared_each + LAUNCH_AT, me->cluster.bytes);
    }
    if (me->cluster.hopper) {
        sim_barriers_begin(me->cluster.blocks);
        sim_bulk_begin(n);
        sim_products_begin(n);
    }
}

static void step(unsigned slot)
{
    sim_thread &t = me->threads[slot];
    if (t.done || t.waits)
        return;
    me->now = slot;
    me->where.slot = slot;
    me->where.clock = sim.checks ? sim_clock_of(slot) : NULL;
    me->where.mine = me->shared + t.block * me->where.shared_each;
    me->where.stack = me->stacks + (size_t)slot * STACK;
    me->where.stack_end = me->where.stack + STACK;
    me->moved++;
    me->running = true;
    sim_switch(&me->scheduler, t.sp);
    me->running = false;
}

/* Nobody can go on. Barriers open where only ended threads are missing, so that the rest of the kernel is seen, too. */
static bool unstick()
{
    for (sim_thread &t : me->threads)
        if (!t.done) {
            me->now = (unsigned)(&t - me->threads.data());
            break;
        }
    me->running = true;
    unsigned number = me->threads[me->now].block;
    block &b = me->blocks[number];
    bool open = b.at_barrier == b.alive;
    if (open)
        sim_report(SIM_BARRIER, "__syncthreads in line %d: %u of %u threads are there, the others have ended",
                   b.barrier_line, b.at_barrier, me->each);
    else if (!me->cluster.hopper || !sim_barriers_explain())
        sim_report(SIM_DEADLOCK, "waits for %s; %u of %u threads live, none can go on", me->threads[me->now].what,
                   me->alive, me->where.threads);
    me->running = false;
    if (open)
        open_barrier(number);
    return open;
}

/* Copies land between rounds, as the running thread's would: no thread of its own runs then. */
static bool land(bool must)
{
    if (!me->cluster.hopper)
        return false;
    me->running = true;
    bool landed = sim_bulk_land(must);
    me->running = false;
    return landed;
}

static void run_cluster()
{
    unsigned n = me->where.threads, scatter = n > 97 ? 97 : n > 7 ? 7 : 1;
    while (n % scatter == 0 && scatter > 1)
        scatter++;
    begin_cluster();
    for (unsigned round = 1; me->alive; round++) {
        me->moved = 0;
        for (unsigned j = 0; j < n; j++)
            step(sim.order == 0 ? j : sim.order == 1 ? n - 1 - j : (unsigned)(((uint64_t)j * scatter + round * 31) % n));
        if (!land(!me->moved) && !me->moved && !unstick())
            return;
    }
    if (me->cluster.hopper) {
        me->running = true;
        sim_products_end();
        sim_bulk_end();
        sim_barriers_end();
        me->running = false;
    }
}

static worker *worker_new(const char *kernel, dim3 grid, dim3 size, sim_cluster cluster, const sim_body *body)
{
    static thread_local worker *mine;
    if (!mine) {
        mine = new worker;
        mine->stacks = (char *)mmap(NULL, (size_t)MOST_BLOCKS * MOST_THREADS * STACK, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        mine->shared = (char *)aligned_alloc(1024, MOST_BLOCKS * SHARED_EACH);
    }
    worker *w = mine;
    w->grid = grid;
    w->size = size;
    w->cluster = cluster;
    w->body = body;
    w->each = size.x * size.y * size.z;
    w->where.kernel = kernel;
    w->where.threads = w->each * cluster.blocks;
    w->where.agents = w->where.threads + (cluster.hopper ? ENGINES * cluster.blocks : 0);
    w->words = w->where.agents * (cluster.hopper ? 2 : 1);
    w->where.args = (const char *)body->args.get();
    w->where.args_end = w->where.args + body->bytes;
    w->where.shared = w->shared;
    w->where.shared_each = cluster.hopper ? SHARED_EACH : SHARED_BYTES;
    w->where.shared_size = w->where.shared_each * cluster.blocks;
    w->threads.resize(w->where.threads);
    w->blocks.resize(cluster.blocks);
    w->clocks.resize(sim.checks ? (size_t)w->where.agents * w->words : 0);
    return w;
}

static dim3 nth_block(uint64_t i, dim3 grid)
{
    return dim3((unsigned)(i % grid.x), (unsigned)(i / grid.x % grid.y), (unsigned)(i / grid.x / grid.y));
}

/* The blocks of cluster i. */
static void place(uint64_t i, dim3 grid)
{
    unsigned n = me->cluster.blocks;
    for (unsigned b = 0; b < n; b++)
        me->blocks[b].index = nth_block(i * n + b, grid);
}

/* Without checks: all cores take clusters until there are none. */
static void run_on_cores(const char *kernel, dim3 grid, dim3 size, sim_cluster cluster, const sim_body &body, uint64_t count)
{
    std::atomic<uint64_t> next(0);
    auto work = [&] {
        me = worker_new(kernel, grid, size, cluster, &body);
        for (uint64_t i; (i = next++) < count; ) {
            place(i, grid);
            run_cluster();
        }
    };
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    std::vector<std::thread> helpers;
    for (long i = 1; i < cores && (uint64_t)i < count && count * size.x > 2048; i++)
        helpers.emplace_back(work);
    work();
    for (std::thread &t : helpers)
        t.join();
}

static bool launches(const char *kernel, dim3 grid, dim3 size, sim_cluster c)
{
    uint64_t blocks = (uint64_t)grid.x * grid.y * grid.z, threads = (uint64_t)size.x * size.y * size.z;
    bool fits = blocks && threads && threads <= MOST_THREADS && grid.x <= 0x7fffffffu && grid.y <= 65535 && grid.z <= 65535;
    if (!fits)
        sim_report(SIM_LAUNCH, "%s: a grid of (%u, %u, %u) blocks of (%u, %u, %u) threads", kernel, grid.x, grid.y, grid.z,
                   size.x, size.y, size.z);
    bool clusters = c.blocks >= 1 && c.blocks <= MOST_BLOCKS && grid.x % (c.blocks ? c.blocks : 1) == 0 &&
                    c.bytes <= SHARED_MOST && (c.blocks == 1 || threads % WARP == 0);
    if (fits && !clusters)
        sim_report(SIM_LAUNCH, "%s: clusters of %u of %u blocks, each of %llu threads and %zu bytes", kernel, c.blocks, grid.x,
                   (unsigned long long)threads, c.bytes);
    return fits && clusters;
}

void sim_run(const char *kernel, dim3 grid, dim3 size, sim_cluster cluster, const sim_body &body)
{
    static uint32_t stamp = 1;
    if (!launches(kernel, grid, size, cluster))
        return;
    uint64_t count = (uint64_t)grid.x * grid.y * grid.z / cluster.blocks;
    if (!sim.checks) {
        run_on_cores(kernel, grid, size, cluster, body, count);
        return;
    }
    me = worker_new(kernel, grid, size, cluster, &body);
    me->where.first_stamp = stamp;
    for (uint64_t i = 0; i < count; i++) {
        place(sim.order == 1 ? count - 1 - i : i, grid);
        me->where.stamp = stamp++;
        run_cluster();
        if (sim_counting)
            sim_count_end_block();
    }
}
