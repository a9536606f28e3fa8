/* mbarrier.cc: who waits for whom on sm_90: named barriers, the barrier of a cluster, mbarriers and the fence for engines
 * (PTX ISA, #parallel-synchronization-and-communication-instructions-bar, -barrier-cluster, -mbarrier, -membar-fence).
 *
 * An mbarrier counts down arrivals and bytes. A phase ends when both are none; the arrivals of the next one are then
 * wanted again (#...-mbarrier-phase, -completion). Who arrives releases what it has seen, who waits with success
 * acquires it; a copy's bytes release the copy. A wait with parity p passes when the phase that runs has not parity p.
 * Eight bytes of shared memory are an mbarrier from mbar_init on: touched as a number they are a fault. */
#include "cuda/hopper.cuh"
#include "block.h"

#include <string.h>

#include <map>

#undef threadIdx

static const int64_t MOST_BYTES = (1 << 20) - 1;               /* PTX ISA, #...-mbarrier-contents                      */

struct sim_mbarrier {
    size_t at;                   /* within its block's shared memory                                                   */
    unsigned block;
    int arrivals, pending;
    int64_t bytes;               /* that are still to come                                                             */
    unsigned phase;              /* that runs                                                                          */
    unsigned owner;              /* who made it, when                                                                  */
    uint32_t born;
    bool fenced;                 /* others than threads of this block may use it                                       */
    unsigned delivered, seen;    /* phases that brought bytes, up to here; whose end somebody has waited for           */
    std::vector<uint32_t> coming, ended;                       /* clocks: of this phase, of the last one               */
    std::vector<unsigned> waiting;
};

struct named { unsigned wanted, here; std::vector<unsigned> waiting; std::vector<uint32_t> clock; };

static thread_local std::map<size_t, sim_mbarrier> mbarriers;  /* by their place in the cluster's shared memory        */
static thread_local std::vector<named> names;                  /* [blocks][16]                                         */
static thread_local named all_blocks;
static thread_local std::vector<std::vector<uint32_t>> from_others;    /* [blocks][agents]: when others last did a thing */

void sim_barriers_begin(unsigned blocks)
{
    mbarriers.clear();
    names.assign(blocks * 16, named());
    all_blocks = named();
    from_others.assign(blocks, std::vector<uint32_t>(sim.checks ? sim_clock_words() / 2 : 0, 0));
}

/* ---------------------------------------------------------------- barriers of threads */

static unsigned my_block() { return sim_here()->slot / sim_threads_each(); }

static void join_named(named &n)
{
    n.clock.resize(sim_clock_words());
    if (sim.checks)
        sim_clock_join(n.clock.data(), sim_clock_of(sim_here()->slot));
    sim_clock_tick();
    n.here++;
}

static void open_named(named &n)
{
    for (unsigned s : n.waiting) {
        if (sim.checks)
            sim_clock_join(sim_clock_of(s), n.clock.data());
        if (s != sim_here()->slot)
            sim_wake(s);
    }
    n = named();
}

static void meet_some(int barrier, int threads, bool waits, int line)
{
    sim_wants_hopper("a named barrier");
    if (barrier < 1 || barrier > 15 || threads < 1 || threads % 32 || (unsigned)threads > sim_threads_each()) {
        sim_report(SIM_LAUNCH, "barrier %d of %d threads in line %d: 1 .. 15, a multiple of 32, no more than the block has",
                   barrier, threads, line);
        return;
    }
    named &n = names[my_block() * 16 + (unsigned)barrier];
    if (n.here && n.wanted != (unsigned)threads)
        sim_report(SIM_BARRIER, "barrier %d in line %d is for %d threads; who is there already said %u", barrier, line,
                   threads, n.wanted);
    if (!n.here)
        n.wanted = (unsigned)threads;
    join_named(n);
    if (waits)
        n.waiting.push_back(sim_here()->slot);
    if (n.here >= n.wanted)
        open_named(n);
    else if (waits)
        sim_give_way("a named barrier");
}

void sim_sync_some(int barrier, int threads, int line) { meet_some(barrier, threads, true, line); }
void sim_arrive_some(int barrier, int threads, int line) { meet_some(barrier, threads, false, line); }

int sim_cluster_rank()
{
    sim_wants_hopper("a cluster");
    return (int)my_block();
}

void sim_sync_cluster()
{
    sim_wants_hopper("the barrier of a cluster");
    join_named(all_blocks);
    all_blocks.waiting.push_back(sim_here()->slot);
    if (all_blocks.here == sim_here()->threads)
        open_named(all_blocks);
    else
        sim_give_way("the barrier of the cluster");
}

/* What this thread has done up to now has passed the fence; what it does from now on has not (a clock's second half). PTX
 * ISA (#causality-order) asks for a fence anywhere between a write and its reader; we want the writer's, as every program
 * has that we know. */
void sim_fence_async()
{
    sim_wants_hopper("fence.proxy.async");
    unsigned half = sim_clock_words() / 2, me = sim_here()->slot;
    if (sim.checks)
        sim_clock_of(me)[half + me] = sim_clock_of(me)[me];
    sim_clock_tick();
    sim_mbar_fence();
}

/* ---------------------------------------------------------------- mbarriers */

void sim_mbar_init(void *p, int arrivals)
{
    sim_wants_hopper("an mbarrier");
    const sim_where *w = sim_here();
    char *at = (char *)p;
    if (at < w->mine || at >= w->mine + w->shared_each || (at - w->shared) % 8) {
        sim_report(SIM_MISALIGNED, "an mbarrier at %p: it lies in shared memory, at a multiple of 8", p);
        return;
    }
    if (arrivals < 1 || arrivals > MOST_BYTES)
        sim_report(SIM_LAUNCH, "an mbarrier of %d arrivals: 1 .. %lld", arrivals, (long long)MOST_BYTES);
    sim_mbarrier &b = mbarriers[(size_t)(at - w->shared)];
    if (b.arrivals)
        sim_report(SIM_BARRIER, "the mbarrier at byte %zu is made a second time", b.at);
    if (sim.checks)
        sim_shadow_mbarrier(w, p, __builtin_return_address(0));
    b = sim_mbarrier();
    b.at = (size_t)(at - w->mine);
    b.block = my_block();
    b.arrivals = b.pending = arrivals;
    b.owner = w->slot;
    b.born = sim.checks ? w->clock[w->slot] : 0;
    b.coming.resize(sim_clock_words());
    b.ended.resize(sim_clock_words());
}

void sim_mbar_fence()
{
    for (auto &each : mbarriers)
        if (each.second.owner == sim_here()->slot)
            each.second.fenced = true;
}

sim_mbarrier *sim_mbarrier_at(const void *p, bool engine, const char *what)
{
    sim_wants_hopper("an mbarrier");
    const sim_where *w = sim_here();
    const char *at = (const char *)p;
    auto found = at >= w->shared && at < w->shared + w->shared_size ? mbarriers.find((size_t)(at - w->shared))
                                                                     : mbarriers.end();
    if (found == mbarriers.end()) {
        sim_report(SIM_BARRIER, "%s at byte %lld of shared memory, where mbar_init has made no mbarrier", what,
                   (long long)(at - w->mine));
        return NULL;
    }
    sim_mbarrier *b = &found->second;
    if (sim_block_ended(b->block))
        sim_report(SIM_ASYNC, "%s at an mbarrier of block %u of the cluster, which has ended", what, b->block);
    if (sim.checks && b->owner != w->slot && w->clock[b->owner] < b->born)
        sim_report(SIM_RACE, "%s at the mbarrier at byte %zu, which thread %u makes with nothing in between", what, b->at,
                   b->owner);
    if (!b->fenced && (engine || b->block != my_block()))
        sim_report(SIM_PROXY, "%s at the mbarrier at byte %zu by an engine or another block: no mbar_fence stands behind "
                   "its mbar_init", what, b->at);
    return b;
}

/* What another block's thread or copy does to this one has to be over, as the block sees it, when the block ends. */
static void note_other(unsigned block, const sim_done &done)
{
    if (sim.checks)
        from_others[block][done.agent] = done.time;
}

static void end_phase(sim_mbarrier *b)
{
    if (b->pending || b->bytes)
        return;
    b->phase++;
    b->pending = b->arrivals;
    b->ended = b->coming;
    std::vector<unsigned> waiting;
    waiting.swap(b->waiting);
    for (unsigned s : waiting)
        sim_wake(s);
}

static void expect(sim_mbarrier *b, int64_t bytes)
{
    b->bytes += bytes;
    if (b->bytes > MOST_BYTES || b->bytes < -MOST_BYTES)
        sim_report(SIM_BARRIER, "the mbarrier at byte %zu counts %lld bytes; it can %lld", b->at, (long long)b->bytes,
                   (long long)MOST_BYTES);
}

static void arrive(sim_mbarrier *b)
{
    if (sim.checks)
        sim_clock_join(b->coming.data(), sim_clock_of(sim_here()->slot));
    sim_clock_tick();
    if (!b->pending) {
        sim_report(SIM_BARRIER, "the mbarrier at byte %zu is for %d arrivals: this is one more in its phase %u", b->at,
                   b->arrivals, b->phase);
        return;
    }
    b->pending--;
    end_phase(b);
}

void sim_mbar_arrive(void *p, int block)
{
    const sim_where *w = sim_here();
    if (block >= (int)sim_blocks()) {
        sim_report(SIM_LAUNCH, "an arrival at block %d of a cluster of %u", block, sim_blocks());
        return;
    }
    const char *at = (const char *)p + (block < 0 ? 0 : ((ptrdiff_t)block - my_block()) * (ptrdiff_t)w->shared_each);
    if (sim_mbarrier *b = sim_mbarrier_at(at, false, "an arrival")) {
        if (b->block != my_block())
            note_other(b->block, sim_done_of(*w));
        arrive(b);
    }
}

void sim_mbar_expect(void *p, int bytes, bool arrives)
{
    sim_mbarrier *b = sim_mbarrier_at(p, false, "expected bytes");
    if (!b)
        return;
    expect(b, bytes);
    if (arrives)
        arrive(b);
}

void sim_mbarrier_bytes(sim_mbarrier *b, int64_t bytes, const sim_done &done)
{
    if (sim.checks)
        sim_clock_see(b->coming.data(), done);
    b->delivered = b->phase + 1;
    note_other(b->block, done);
    expect(b, -bytes);
    end_phase(b);
}

void sim_mbar_wait(void *p, int parity)
{
    sim_mbarrier *b = sim_mbarrier_at(p, false, "a wait");
    if (!b)
        return;
    if (parity != 0 && parity != 1)
        sim_report(SIM_LAUNCH, "a wait for parity %d of an mbarrier: it is 0 or 1", parity);
    while ((b->phase & 1) == ((unsigned)parity & 1)) {
        b->waiting.push_back(sim_here()->slot);
        sim_give_way("an mbarrier");
    }
    b->seen = b->seen > b->phase ? b->seen : b->phase;
    if (sim.checks)
        sim_clock_join(sim_clock_of(sim_here()->slot), b->ended.data());
}

bool sim_barriers_explain()
{
    bool some = false;
    for (auto &each : mbarriers) {
        sim_mbarrier &b = each.second;
        if (b.waiting.empty())
            continue;
        sim_report(SIM_DEADLOCK, "%zu threads wait for the mbarrier at byte %zu in block %u of the cluster: its phase %u wants "
                   "%d arrivals and %lld bytes more, which never come", b.waiting.size(), b.at, b.block, b.phase, b.pending,
                   (long long)b.bytes);
        some = true;
    }
    return some;
}

/* What its threads, all together, have seen of what others did to a block. */
static void end_block(unsigned block)
{
    unsigned each = sim_threads_each();
    std::vector<uint32_t> seen(sim_clock_words());
    for (unsigned s = block * each; s < (block + 1) * each; s++)
        sim_clock_join(seen.data(), sim_clock_of(s));
    for (unsigned agent = 0; agent < from_others[block].size(); agent++)
        if (from_others[block][agent] > seen[agent]) {
            sim_report(SIM_ASYNC, "block %u of the cluster may end before what %s %u does to it", block,
                       agent < sim_here()->threads ? "thread" : "an engine's operation", agent);
            return;
        }
}

void sim_barriers_end()
{
    for (unsigned b = 0; sim.checks && b < sim_blocks(); b++)
        end_block(b);
    for (auto &each : mbarriers) {
        sim_mbarrier &b = each.second;
        if (b.delivered > b.seen)
            sim_report(SIM_ASYNC, "bytes of a copy came to the mbarrier at byte %zu in its phase %u, which nobody waited for",
                       b.at, b.delivered - 1);
        if (b.bytes)
            sim_report(SIM_BARRIER, "the mbarrier at byte %zu ends with %lld bytes to come", b.at, (long long)b.bytes);
    }
}
