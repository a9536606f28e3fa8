/* shadow.cc: the memory of the simulated device, and what is known of every two bytes of it.
 *
 * Memory is one reserved range; buffers lie in it between red zones. A cell (one for two bytes, so that halves may be
 * written by different threads) remembers the last write and the reads since, each as a thread and its time:
 *
 *     race  two accesses of one launch, one of them a write: of different blocks always; of one block where the time of
 *           the earlier one is not yet in the vector clock of the later one's thread (FastTrack, Flanagan & Freund 2009,
 *           with all readers kept)
 *
 * The compiler's hooks for its thread sanitizer (-fsanitize=thread) call __tsan_read4(p) before each load of four bytes,
 * and so on. Local variables live on the stack of a fiber and are no one's business. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <vector>

enum { RED = 256, ALIGN = 256, LIVE = 1, WRITTEN = 2, ATOMIC = 4, BARRIER = 8 };
static const size_t reach = (size_t)1 << 36;                   /* of addresses                                         */

struct cell {
    uint32_t w_stamp, w_clock;   /* the last write: block, time of its thread                                          */
    uint32_t r_first, r_last;    /* the first and the last block that have read since                                  */
    uint32_t r_clock, readers;   /* of r_last: the one reader's time; or the list of all of them, from 1               */
    uint16_t w_slot, r_slot;
    uint32_t flags;
};

static char *base;
static cell *cells;
static size_t top, used;
size_t sim_memory_limit = (size_t)8 << 30;
static std::map<size_t, size_t> buffers, holes;                /* offset -> bytes                                      */
static std::mutex owners;

/* ---------------------------------------------------------------- memory */

static void *reserve(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        fprintf(stderr, "sim: %zu GiB of addresses could not be had\n", bytes >> 30);
        exit(3);
    }
    return p;
}

static void mark(size_t at, size_t bytes, uint32_t flags)
{
    for (size_t i = at / 2; sim.checks && i < (at + bytes + 1) / 2; i++) {
        cells[i] = cell();
        cells[i].flags = flags;
    }
}

void *sim_memory_new(size_t bytes)
{
    std::lock_guard<std::mutex> lock(owners);
    if (!base) {
        base = (char *)reserve(reach);
        cells = sim.checks ? (cell *)reserve(reach / 2 * sizeof(cell)) : NULL;
        top = ALIGN;
    }
    size_t need = (bytes + RED + ALIGN - 1) / ALIGN * ALIGN, at = top;
    if (used + need > sim_memory_limit || bytes > reach / 2)
        return NULL;
    for (auto &h : holes)
        if (h.second >= need) {
            at = h.first;
            break;
        }
    if (at == top) {
        top += need;
    } else {
        size_t left = holes[at] - need;
        holes.erase(at);
        if (left)
            holes[at + need] = left;
    }
    used += need;
    buffers[at] = bytes;
    if (sim.checks)
        memset(base + at, 0xff, bytes);                        /* NaN, and no row of any table                         */
    mark(at, bytes, LIVE);
    return base + at;
}

void sim_memory_free(void *p)
{
    std::lock_guard<std::mutex> lock(owners);
    size_t at = (size_t)((char *)p - base);
    auto b = buffers.find(at);
    if (!p)
        return;
    if (b == buffers.end()) {
        sim_report(SIM_OUTSIDE, "%p is freed and is no buffer of the device", p);
        return;
    }
    size_t bytes = b->second, need = (bytes + RED + ALIGN - 1) / ALIGN * ALIGN;
    mark(at, bytes, 0);
    buffers.erase(b);
    used -= need;
    auto next = holes.lower_bound(at);
    if (next != holes.end() && next->first == at + need) {
        need += next->second;
        next = holes.erase(next);
    }
    if (next != holes.begin()) {
        auto before = std::prev(next);
        if (before->first + before->second == at) {
            before->second += need;
            return;
        }
    }
    holes[at] = need;
}

size_t sim_memory_used() { return used; }
void sim_set_memory(size_t bytes) { sim_memory_limit = bytes; }

bool sim_memory_holds(const void *p, size_t bytes)
{
    std::lock_guard<std::mutex> lock(owners);
    size_t at = (size_t)((const char *)p - base);
    auto b = buffers.upper_bound(at);
    if (!base || b == buffers.begin())
        return false;
    --b;
    return at + bytes <= b->first + b->second;
}

void sim_memory_wrote(const void *p, size_t bytes)
{
    mark((size_t)((const char *)p - base), bytes, LIVE | WRITTEN);
}

void sim_memory_copied(void *dst, const void *src, size_t bytes)
{
    if (!sim.checks)
        return;
    sim_memory_wrote(dst, bytes);
    const cell *from = cells + ((const char *)src - base) / 2;
    cell *to = cells + ((char *)dst - base) / 2;
    for (size_t i = 0; i < bytes / 2; i++)
        to[i].flags = from[i].flags;
}

/* ---------------------------------------------------------------- who reads and writes */

struct reader { uint32_t slot, clock; };
static std::vector<cell> shared_cells;
static std::vector<std::vector<reader>> lists;                 /* of readers, by slot                                  */
static std::vector<uint32_t> lists_free;                       /* of those, what nobody uses, from 1                   */
static uint32_t lists_used;

void sim_shadow_begin_block(const sim_where *w)
{
    shared_cells.assign(w->shared_size / 2, cell());
    lists_used = 0;
    lists_free.clear();
}

void sim_shadow_shared(size_t at, size_t bytes)
{
    for (size_t i = at / 2; i < (at + bytes + 1) / 2; i++)
        shared_cells[i].flags |= LIVE;
}

void sim_shadow_poison(void *p, size_t bytes)
{
    const sim_where *w = sim_here();
    size_t at = (size_t)((char *)p - w->shared);
    if (at >= w->shared_size)
        return;
    memset(p, 0xff, bytes);
    for (size_t i = at / 2; sim.checks && i < (at + bytes) / 2; i++)
        shared_cells[i].flags &= ~(uint32_t)WRITTEN;
}

void sim_shadow_landed(void *p, size_t bytes)
{
    const sim_where *w = sim_here();
    size_t at = (size_t)((char *)p - w->shared);
    for (size_t i = at / 2; at < w->shared_size && i < (at + bytes) / 2; i++)
        shared_cells[i].flags |= WRITTEN;
}

static uint32_t list_new()
{
    uint32_t i;
    if (lists_free.empty()) {
        if (lists_used == lists.size())
            lists.emplace_back();
        i = ++lists_used;
    } else {
        i = lists_free.back();
        lists_free.pop_back();
    }
    lists[i - 1].clear();
    return i;
}

static void list_put(uint32_t list, uint32_t slot, uint32_t clock)
{
    std::vector<reader> &l = lists[list - 1];
    auto at = l.end();
    if (!l.empty() && l.back().slot >= slot)
        at = std::lower_bound(l.begin(), l.end(), slot, [](const reader &r, uint32_t s) { return r.slot < s; });
    if (at != l.end() && at->slot == slot)
        at->clock = clock;
    else
        l.insert(at, { slot, clock });
}

static void place_of(const void *p, const void *pc, char *text, size_t size)
{
    size_t at = (size_t)((const char *)p - base);
    auto b = buffers.upper_bound(at);
    const sim_where *w = sim_here();
    if (base && (const char *)p >= base && (const char *)p < base + reach && b != buffers.begin()) {
        --b;
        snprintf(text, size, "byte %lld of a buffer of %zu (called from %p)", (long long)(at - b->first), b->second, pc);
    } else if (w && (const char *)p >= w->shared && (const char *)p < w->shared + w->shared_size) {
        snprintf(text, size, "byte %zu of shared memory (called from %p)", (size_t)((const char *)p - w->shared), pc);
    } else {
        snprintf(text, size, "%p (called from %p)", p, pc);
    }
}

static void complain(sim_fault kind, const char *what, const void *p, const void *pc, unsigned other)
{
    char place[160];
    const sim_where *w = sim_here();
    place_of(p, pc, place, sizeof place);
    if (kind == SIM_RACE && w && other >= w->threads)
        sim_report(kind, "%s an engine's operation %u, at %s", what, other - w->threads, place);
    else if (kind == SIM_RACE || kind == SIM_PROXY)
        sim_report(kind, "%s thread %u, at %s", what, other, place);
    else
        sim_report(kind, "%s %s", what, place);
}

/* The write is seen by this thread: it happened before. */
static bool ordered(const sim_where *w, uint32_t slot, uint32_t clock)
{
    return slot == w->slot || w->clock[slot] >= clock;
}

/* An engine meets what a thread wrote: between them stands fence.proxy.async, of the one or the other side. */
static void fenced(const sim_where *w, const cell *c, const char *what, const void *p, const void *pc)
{
    if (w->slot >= w->threads && c->w_stamp == w->stamp && c->w_slot < w->threads &&
        w->clock[w->agents + c->w_slot] < c->w_clock)
        complain(SIM_PROXY, what, p, pc, c->w_slot);
}

static void read_cell(const sim_where *w, cell *c, const void *p, const void *pc)
{
    if (!(c->flags & WRITTEN)) {
        complain(SIM_UNWRITTEN, "a read of", p, pc, 0);
        c->flags |= WRITTEN;                                   /* said once                                            */
    }
    if (c->w_stamp >= w->first_stamp && c->w_stamp != w->stamp)
        complain(SIM_RACE, "a read of what another block writes, its", p, pc, c->w_slot);
    else if (c->w_stamp == w->stamp && !ordered(w, c->w_slot, c->w_clock))
        complain(SIM_RACE, "a read of what is written by", p, pc, c->w_slot);
    else
        fenced(w, c, "an engine reads, with no fence for engines, what is written by", p, pc);
    if (c->r_first < w->first_stamp)
        c->r_first = w->stamp;
    uint32_t now = w->clock[w->slot];
    if (c->r_last != w->stamp) {
        c->r_last = w->stamp;
        c->readers = 0;
    } else if (c->readers) {
        list_put(c->readers, w->slot, now);
        return;
    } else if (!ordered(w, c->r_slot, c->r_clock)) {
        c->readers = list_new();
        list_put(c->readers, c->r_slot, c->r_clock);
        list_put(c->readers, w->slot, now);
        return;
    }
    c->r_slot = (uint16_t)w->slot;
    c->r_clock = now;
}

static void write_cell(const sim_where *w, cell *c, bool atomic, const void *p, const void *pc)
{
    bool both_atomic = atomic && c->flags & ATOMIC;
    if (c->w_stamp >= w->first_stamp && c->w_stamp != w->stamp && !both_atomic)
        complain(SIM_RACE, "a write over that of another block, its", p, pc, c->w_slot);
    else if (c->w_stamp == w->stamp && !ordered(w, c->w_slot, c->w_clock) && !both_atomic)
        complain(SIM_RACE, "a write over that of", p, pc, c->w_slot);
    else
        fenced(w, c, "an engine writes, with no fence for engines, over what is written by", p, pc);
    if ((c->r_first >= w->first_stamp && c->r_first != w->stamp) || (c->r_last >= w->first_stamp && c->r_last != w->stamp)) {
        complain(SIM_RACE, "a write over what another block reads, its", p, pc, c->r_slot);
    } else if (c->r_last == w->stamp && !c->readers) {
        if (!ordered(w, c->r_slot, c->r_clock))
            complain(SIM_RACE, "a write over what is read by", p, pc, c->r_slot);
    } else if (c->r_last == w->stamp) {
        for (const reader &r : lists[c->readers - 1])
            if (!ordered(w, r.slot, r.clock)) {
                complain(SIM_RACE, "a write over what is read by", p, pc, r.slot);
                break;
            }
        lists_free.push_back(c->readers);
    }
    c->w_stamp = w->stamp;
    c->w_slot = (uint16_t)w->slot;
    c->w_clock = w->clock[w->slot];
    c->r_first = c->r_last = c->readers = 0;
    c->flags = LIVE | WRITTEN | (atomic ? ATOMIC : 0);
}

/* Where the program itself is, up to what it may change: constants. */
extern "C" char __executable_start, __data_start;

static void elsewhere(const sim_where *w, const void *p, bool write, const void *pc)
{
    const char *at = (const char *)p;
    if (!write && ((at >= &__executable_start && at < &__data_start) || (at >= w->args && at < w->args_end)))
        return;
    complain(SIM_OUTSIDE, write ? "a write to memory of the host," : "a read of memory of the host,", p, pc, 0);
}

void sim_shadow_mbarrier(const sim_where *w, void *p, const void *pc)
{
    cell *c = shared_cells.data() + ((char *)p - w->shared) / 2;
    for (int i = 0; i < 4; i++, c++) {
        if (!(c->flags & LIVE)) {
            complain(SIM_OUTSIDE, "an mbarrier outside of every variable:", p, pc, 0);
            return;
        }
        write_cell(w, c, false, p, pc);
        c->flags |= BARRIER;
    }
}

/* The cells of bytes that a thread or an engine touches. */
static void touch(const sim_where *w, cell *c, const void *p, size_t bytes, bool write, bool atomic, const void *pc)
{
    for (size_t i = 0; i < (bytes + 1) / 2; i++, c++) {
        if (!(c->flags & LIVE)) {
            complain(SIM_OUTSIDE, write ? "a write outside of every buffer:" : "a read outside of every buffer:", p, pc, 0);
            break;
        }
        if (c->flags & BARRIER) {
            complain(SIM_BARRIER, "an mbarrier is touched as if it were a number:", p, pc, 0);
            break;
        }
        if (write)
            write_cell(w, c, atomic, p, pc);
        else
            read_cell(w, c, p, pc);
    }
}

static cell *cells_of(const sim_where *w, const char *at, bool *device)
{
    *device = base && at >= base && at < base + reach;
    if (at >= w->shared && at < w->shared + w->shared_size)
        return shared_cells.data() + (at - w->shared) / 2;
    return *device ? cells + (at - base) / 2 : NULL;
}

void sim_access_as(const sim_where *w, const void *p, size_t bytes, bool write, const void *pc)
{
    bool device;
    cell *c = cells_of(w, (const char *)p, &device);
    if (c)
        touch(w, c, p, bytes, write, false, pc);
    else
        complain(SIM_OUTSIDE, "an engine leaves the memory of the device,", p, pc, 0);
}

void sim_access(const void *p, size_t bytes, bool write, bool atomic, const void *pc)
{
    const sim_where *w = sim_here();
    const char *at = (const char *)p;
    bool device = base && at >= base && at < base + reach;
    if (!w) {                                                  /* code of the host, beside the kernels                 */
        if (device && sim.checks)
            complain(SIM_OUTSIDE, "the host touches memory of the device,", p, pc, 0);
        return;
    }
    if (!sim.checks)
        return;
    if (at >= w->stack && at < w->stack_end) {
        if (w->agents > w->threads)
            sim_registers_touched(w, p, bytes, write);
        return;
    }
    cell *c = cells_of(w, at, &device);
    if (!c)
        return elsewhere(w, p, write, pc);
    if (sim_counting)
        sim_count_access(w, p, bytes, device, pc);
    if ((uintptr_t)p % bytes)
        complain(SIM_MISALIGNED, "an access at", p, pc, 0);
    if (!device && w->shared_size > w->shared_each && (at < w->mine || at >= w->mine + w->shared_each))
        complain(SIM_OUTSIDE, "an access to the shared memory of another block,", p, pc, 0);
    touch(w, c, p, bytes, write, atomic, pc);
}

#define HOOKS(n) \
    void __tsan_read##n(void *p) { sim_access(p, n, false, false, __builtin_return_address(0)); } \
    void __tsan_write##n(void *p) { sim_access(p, n, true, false, __builtin_return_address(0)); } \
    void __tsan_unaligned_read##n(void *p) { sim_access(p, n, false, false, __builtin_return_address(0)); } \
    void __tsan_unaligned_write##n(void *p) { sim_access(p, n, true, false, __builtin_return_address(0)); }
extern "C" {
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void *, void *) {}
void __tsan_read_range(void *p, size_t n) { for (size_t i = 0; i < n; i += 4) __tsan_read4((char *)p + i); }
void __tsan_write_range(void *p, size_t n) { for (size_t i = 0; i < n; i += 4) __tsan_write4((char *)p + i); }
}
