/* block.cc: runs a launch: block after block, the threads of a block as fibers on stacks of their own.
 *
 *     sim_run          for each block: start all threads, then rounds until all are done
 *       round          every thread that can go on runs until it waits (a barrier, a shuffle) or ends; the order of the
 *                      threads is sim.order. A round in which nobody moves is a deadlock, or a barrier that not all reach
 *
 * A thread's vector clock (sim_here()->clock) says what of the other threads has happened before what it does now: a
 * barrier joins those of its threads. Shuffles and votes order no memory (PTX ISA: shfl.sync, vote.sync), bar.sync and
 * bar.warp.sync do. Without checks there are no clocks, and blocks are shared out among the cores. */
#include "cuda/ptx.cuh"
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

static const unsigned MOST_THREADS = 1024, STACK = 64 << 10, SHARED_BYTES = 48 << 10, WARP = 32, RED = 64;

sim_settings sim = { false, 0, false, false };
int sim_faults[SIM_KINDS];

struct sim_thread {
    void *sp;
    dim3 index;
    bool done, waits;
    const char *what;            /* it waits for                                                                       */
    size_t shared;               /* of its block's shared memory, so far                                               */
};

/* A meeting of the lanes of `mask`: a shuffle or a vote, or __syncwarp. */
struct meeting { uint32_t mask, here; int line, turn; uint32_t value[2][WARP], words[2][WARP][16]; };
struct warp { std::vector<meeting> meetings; };

struct worker {                  /* one operating-system thread that runs blocks                                       */
    sim_where where;
    std::vector<sim_thread> threads;
    std::vector<warp> warps;
    std::vector<uint32_t> clocks;                              /* [threads][threads]                                   */
    char *stacks = NULL;
    char *shared = NULL;
    void *scheduler = NULL;
    dim3 block, grid, size;
    unsigned now = 0;
    unsigned at_barrier = 0, alive = 0, moved = 0;
    int barrier_line = 0;
    size_t shared_known = 0;
    const sim_body *body = NULL;
    bool running = false;
};

static thread_local worker *me;

static std::mutex printing;

void sim_report(sim_fault kind, const char *format, ...)
{
    static const char *const names[] = { "race", "unwritten", "outside", "misaligned", "barrier", "warp", "deadlock",
                                         "launch" };
    std::lock_guard<std::mutex> lock(printing);
    if (sim_faults[kind]++ >= 3 || sim.quiet)
        return;
    fprintf(stderr, "sim: %s: ", names[kind]);
    if (me && me->running) {
        const dim3 &t = me->threads[me->now].index, &b = me->block;
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
dim3 sim_block_index() { return me->block; }
dim3 sim_block_size() { return me->size; }
dim3 sim_grid_size() { return me->grid; }

static void give_way(const char *what)
{
    sim_thread &t = me->threads[me->now];
    t.waits = true;
    t.what = what;
    sim_switch(&t.sp, me->scheduler);
}

static void wake(unsigned slot)
{
    me->threads[slot].waits = false;
    me->moved++;
}

void *sim_shared(size_t bytes, size_t align)
{
    sim_thread &t = me->threads[me->now];
    size_t at = (t.shared + RED + (align < 16 ? 16 : align) - 1) / 16 * 16;
    t.shared = at + bytes;
    if (t.shared > SHARED_BYTES) {
        sim_report(SIM_LAUNCH, "%zu bytes of shared memory; a block has %u", t.shared, SHARED_BYTES);
        exit(3);
    }
    if (t.shared > me->shared_known) {
        me->shared_known = t.shared;
        if (sim.checks)
            sim_shadow_shared(at, bytes);
    }
    return me->shared + at;
}

/* ---------------------------------------------------------------- barriers */

static uint32_t *clock_of(unsigned slot) { return &me->clocks[(size_t)slot * me->where.threads]; }

/* The clocks of threads from..to-1 join; each then begins a new time of its own. */
static void join_clocks(unsigned from, unsigned to, uint32_t mask)
{
    unsigned n = me->where.threads;
    static thread_local std::vector<uint32_t> all;
    all.assign(n, 0);
    for (unsigned s = from; s < to; s++)
        if (to - from > WARP || mask >> (s - from) & 1)
            for (unsigned i = 0; i < n; i++)
                all[i] = all[i] > clock_of(s)[i] ? all[i] : clock_of(s)[i];
    for (unsigned s = from; s < to; s++)
        if (to - from > WARP || mask >> (s - from) & 1) {
            memcpy(clock_of(s), all.data(), n * sizeof(uint32_t));
            clock_of(s)[s]++;
        }
}

static void open_barrier()
{
    if (sim.checks)
        join_clocks(0, me->where.threads, ~0u);
    if (sim_counting)
        sim_counted.barriers++;
    me->at_barrier = 0;
    for (unsigned s = 0; s < me->where.threads; s++)
        if (!me->threads[s].done)
            wake(s);
}

static const char block_barrier[] = "__syncthreads";

void sim_sync_block(int line)
{
    if (me->at_barrier && line != me->barrier_line)
        sim_report(SIM_BARRIER, "__syncthreads in line %d, while others wait in line %d", line, me->barrier_line);
    me->barrier_line = line;
    me->threads[me->now].what = block_barrier;
    if (++me->at_barrier == me->where.threads)
        open_barrier();
    else
        give_way(block_barrier);
}

/* All lanes of mask are here: the last one opens. Returns the meeting's turn. */
static meeting *meet(uint32_t mask, uint32_t value, int line, const char *what, bool orders, int *turn,
                     const uint32_t *words = NULL, int n = 0)
{
    unsigned slot = me->now, lane = slot % WARP;
    warp &w = me->warps[slot / WARP];
    meeting *m = NULL;
    for (meeting &each : w.meetings)
        if (each.mask == mask)
            m = &each;
    if (!m) {
        if (w.meetings.empty())
            w.meetings.reserve(16);                            /* pointers to them stay                               */
        w.meetings.push_back(meeting());
        m = &w.meetings.back();
        m->mask = mask;
    }
    if (!(mask >> lane & 1))
        sim_report(SIM_WARP, "%s in line %d: lane %u is not in its mask %08x", what, line, lane, mask);
    if (m->here && m->line != line)
        sim_report(SIM_WARP, "%s in line %d, while lanes of its mask wait in line %d", what, line, m->line);
    m->line = line;
    m->here |= 1u << lane;
    *turn = m->turn;
    m->value[m->turn][lane] = value;
    for (int i = 0; i < n; i++)
        m->words[m->turn][lane][i] = words[i];
    unsigned first = slot / WARP * WARP, in = me->where.threads - first < WARP ? me->where.threads - first : WARP;
    uint32_t wanted = in == WARP ? mask : mask & ((1u << in) - 1);
    if ((m->here & wanted) == wanted) {
        m->here = 0;
        m->turn ^= 1;
        if (orders && sim.checks)
            join_clocks(first, first + in, wanted);
        for (unsigned i = 0; i < in; i++)
            if (wanted >> i & 1 && first + i != slot)
                wake(first + i);
    } else {
        give_way(what);
    }
    return m;
}

void sim_sync_warp(int line)
{
    int turn;
    meet(0xffffffffu, 0, line, "__syncwarp", true, &turn);
}

uint32_t sim_shuffle(uint32_t mask, uint32_t value, int lane, int line)
{
    int turn;
    meeting *m = meet(mask, value, line, "a shuffle", false, &turn);
    unsigned first = me->now / WARP * WARP;
    if (!(mask >> lane & 1) || first + (unsigned)lane >= me->where.threads)
        sim_report(SIM_WARP, "a shuffle in line %d from lane %d, which takes no part", line, lane);
    return m->value[turn][lane];
}

const uint32_t *sim_exchange(const uint32_t *words, int n, const char *what, int line)
{
    int turn;
    meeting *m = meet(0xffffffffu, 0, line, what, false, &turn, words, n);
    return m->words[turn][0];
}

uint32_t sim_ballot(uint32_t mask, bool p, int line)
{
    int turn;
    meeting *m = meet(mask, p, line, "a vote", false, &turn);
    uint32_t all = 0;
    for (unsigned i = 0; i < WARP; i++)
        all |= (mask >> i & 1) && m->value[turn][i] ? 1u << i : 0;
    return all;
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
    me->alive--;
    give_way("nothing: it has ended");
}

static void begin_block()
{
    unsigned n = me->where.threads;
    for (unsigned s = 0; s < n; s++) {
        sim_thread &t = me->threads[s];
        t = sim_thread();
        t.index = dim3(s % me->size.x, s / me->size.x % me->size.y, s / me->size.x / me->size.y);
        t.sp = sim_fiber_start(me->stacks + (size_t)s * STACK, STACK, entry);
    }
    for (warp &w : me->warps)
        w.meetings.clear();
    me->alive = n;
    me->at_barrier = 0;
    me->shared_known = 0;
    sim_tensor_begin_block(n);
    if (sim.checks) {
        memset(me->shared, 0xff, SHARED_BYTES);
        memset(me->clocks.data(), 0, me->clocks.size() * sizeof(uint32_t));
        for (unsigned s = 0; s < n; s++)
            clock_of(s)[s] = 1;
        sim_shadow_begin_block(&me->where);
    }
}

static void step(unsigned slot)
{
    sim_thread &t = me->threads[slot];
    if (t.done || t.waits)
        return;
    me->now = slot;
    me->where.slot = slot;
    me->where.clock = sim.checks ? clock_of(slot) : NULL;
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
    bool open = me->at_barrier == me->alive;
    if (open)
        sim_report(SIM_BARRIER, "__syncthreads in line %d: %u of %u threads are there, the others have ended",
                   me->barrier_line, me->at_barrier, me->where.threads);
    else
        sim_report(SIM_DEADLOCK, "waits for %s; %u of %u threads live, none can go on", me->threads[me->now].what,
                   me->alive, me->where.threads);
    me->running = false;
    if (open)
        open_barrier();
    return open;
}

static void run_block()
{
    unsigned n = me->where.threads, scatter = n > 97 ? 97 : n > 7 ? 7 : 1;
    while (n % scatter == 0 && scatter > 1)
        scatter++;
    begin_block();
    for (unsigned round = 1; me->alive; round++) {
        me->moved = 0;
        for (unsigned j = 0; j < n; j++)
            step(sim.order == 0 ? j : sim.order == 1 ? n - 1 - j : (unsigned)(((uint64_t)j * scatter + round * 31) % n));
        if (!me->moved && !unstick())
            return;
    }
}

static worker *worker_new(const char *kernel, dim3 grid, dim3 block, const sim_body *body)
{
    static thread_local worker *mine;
    if (!mine) {
        mine = new worker;
        mine->stacks = (char *)mmap(NULL, (size_t)MOST_THREADS * STACK, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        mine->shared = (char *)aligned_alloc(1024, SHARED_BYTES);
    }
    worker *w = mine;
    w->grid = grid;
    w->size = block;
    w->body = body;
    w->where.kernel = kernel;
    w->where.threads = block.x * block.y * block.z;
    w->where.args = (const char *)body->args.get();
    w->where.args_end = w->where.args + body->bytes;
    w->where.shared = w->shared;
    w->where.shared_size = SHARED_BYTES;
    w->threads.resize(w->where.threads);
    w->warps.resize((w->where.threads + WARP - 1) / WARP);
    w->clocks.resize(sim.checks ? (size_t)w->where.threads * w->where.threads : 0);
    return w;
}

static dim3 nth_block(uint64_t i, dim3 grid)
{
    return dim3((unsigned)(i % grid.x), (unsigned)(i / grid.x % grid.y), (unsigned)(i / grid.x / grid.y));
}

/* Without checks: all cores take blocks until there are none. */
static void run_on_cores(const char *kernel, dim3 grid, dim3 block, const sim_body &body, uint64_t blocks)
{
    std::atomic<uint64_t> next(0);
    auto work = [&] {
        me = worker_new(kernel, grid, block, &body);
        for (uint64_t i; (i = next++) < blocks; ) {
            me->block = nth_block(i, grid);
            run_block();
        }
    };
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    std::vector<std::thread> helpers;
    for (long i = 1; i < cores && (uint64_t)i < blocks && blocks * block.x > 2048; i++)
        helpers.emplace_back(work);
    work();
    for (std::thread &t : helpers)
        t.join();
}

void sim_run(const char *kernel, dim3 grid, dim3 block, const sim_body &body)
{
    static uint32_t stamp = 1;
    uint64_t blocks = (uint64_t)grid.x * grid.y * grid.z, threads = (uint64_t)block.x * block.y * block.z;
    if (!blocks || !threads || threads > MOST_THREADS || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535) {
        sim_report(SIM_LAUNCH, "%s: a grid of (%u, %u, %u) blocks of (%u, %u, %u) threads", kernel, grid.x, grid.y, grid.z,
                   block.x, block.y, block.z);
        return;
    }
    if (!sim.checks) {
        run_on_cores(kernel, grid, block, body, blocks);
        return;
    }
    me = worker_new(kernel, grid, block, &body);
    me->where.first_stamp = stamp;
    for (uint64_t i = 0; i < blocks; i++) {
        me->block = nth_block(sim.order == 1 ? blocks - 1 - i : i, grid);
        me->where.stamp = stamp++;
        run_block();
        if (sim_counting)
            sim_count_end_block();
    }
}
