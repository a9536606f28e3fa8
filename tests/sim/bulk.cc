/* bulk.cc: the copy engine, TMA: boxes and windows of tensors into shared memory and back (PTX ISA,
 * #data-movement-and-conversion-instructions-cp-async-bulk-tensor, #tensor-tiled-mode, #tensor-im2col-mode,
 * #tensor-swizzling-modes; what a map may be: cuTensorMapEncodeTiled and -Im2col in cuda.h).
 *
 * What a copy reads and writes is looked at when it is asked for, as what an engine does (shadow.cc): behind what the
 * asking thread has seen, and seen by those who wait for its bytes or its group. Early (sim.late false) it is done
 * then, too. Late, its destination becomes unwritten, and it lands some time between two rounds of threads, out of
 * order; a store reads its source at one such time and writes at another.
 *
 * Two sources disagree on the order of the corners of windows: cuda.h calls it {D, H, W}, CUTLASS passes W first, as of
 * sizes and strides. We take the latter: the one that has run. */
#include "cuda/hopper.cuh"
#include "block.h"

#include <functional>
#include <set>

#undef threadIdx

/* ---------------------------------------------------------------- maps */

static int refuse(const char *what, long long found, const char *wanted)
{
    sim_report(SIM_LAUNCH, "a tensor map: %s is %lld, wanted %s", what, found, wanted);
    return 1;
}

static unsigned span_of(swizzle s) { return s == SWIZZLE_128 ? 128 : s == SWIZZLE_64 ? 64 : s == SWIZZLE_32 ? 32 : 0; }

static int check_windows(const tensor_map *m, const tensor_windows *w)
{
    const int least = m->rank == 3 ? -32768 : m->rank == 4 ? -128 : -16, most = -least - 1;
    if (m->rank < 3)
        return refuse("the rank for windows", m->rank, "3 to 5");
    for (int i = 0; i < m->rank - 2; i++) {
        if (w->low[i] < least || w->low[i] > most || w->high[i] < least || w->high[i] > most)
            return refuse("a corner", w->low[i], "one in the range of its rank");
        if (w->low[i] >= (int64_t)m->size[i + 1] + w->high[i])
            return refuse("a corner", w->low[i], "one below the other corner");
    }
    if (w->channels < 1 || w->channels > 256)
        return refuse("the channels", w->channels, "1 to 256");
    return w->pixels < 1 || w->pixels > 1024 ? refuse("the pixels", w->pixels, "1 to 1024") : 0;
}

int sim_tensor_map(tensor_map *m, const tensor_shape *t, const uint32_t *box, const tensor_windows *w)
{
    *m = tensor_map();
    m->p = (char *)t->p;
    m->rank = t->rank;
    m->each = t->type == TENSOR_F32 ? 4 : 2;
    m->turn = t->turn;
    if (t->rank < 1 || t->rank > 5)
        return refuse("the rank", t->rank, "1 to 5");
    if ((uintptr_t)t->p % 16)
        return refuse("the address", (long long)((uintptr_t)t->p % 16), "a multiple of 16");
    for (int i = 0; i < t->rank; i++) {
        m->size[i] = t->size[i];
        m->stride[i] = i ? t->stride[i - 1] : m->each;
        m->step[i] = t->step[i];
        m->box[i] = w ? 1 : box[i];
        if (!t->size[i] || t->size[i] > (uint64_t)1 << 32)
            return refuse("a size", (long long)t->size[i], "1 to 2^32");
        if (i && (m->stride[i] % 16 || m->stride[i] >= (uint64_t)1 << 40))
            return refuse("a stride", (long long)m->stride[i], "a multiple of 16 below 2^40");
        if (t->step[i] < 1 || t->step[i] > 8 || (!i && t->step[i] != 1))
            return refuse("a step", t->step[i], "1 to 8, the first one 1");
        if (!m->box[i] || m->box[i] > 256)
            return refuse("a side of the box", m->box[i], "1 to 256");
    }
    if (w) {
        m->is_windows = true;
        m->windows = *w;
        m->box[0] = w->channels;
        if (check_windows(m, w))
            return 1;
    }
    unsigned inner = m->box[0] * m->each;
    if (inner % 16)
        return refuse("the box's inner size in bytes", inner, "a multiple of 16");
    if (m->turn && inner != span_of(m->turn))                  /* less is allowed on a device; where it lies is not told */
        return refuse("the box's inner size in bytes", inner, "the span of the swizzle");
    return 0;
}

/* ---------------------------------------------------------------- a box, row by row */

struct row { char *p; unsigned first, last; };                 /* of its elements first..last-1 lie in the tensor      */
typedef std::function<void(unsigned, const row &)> each_row;

static unsigned rows_of(const tensor_map &m)
{
    unsigned n = 1;
    for (int d = 1; d < m.rank; d++)
        n *= (m.box[d] + m.step[d] - 1) / m.step[d];
    return m.is_windows ? m.windows.pixels : n;
}

static unsigned bytes_of(const tensor_map &m) { return rows_of(m) * m.box[0] * m.each; }

/* The row at these coordinates, cut where the tensor ends. */
static row row_at(const tensor_map &m, const int64_t *at)
{
    int64_t last = (int64_t)m.size[0] - at[0];
    row r = { m.p + at[0] * m.each, (unsigned)(at[0] < 0 ? -at[0] : 0), (unsigned)(last < 0 ? 0 : last) };
    r.last = r.last > m.box[0] ? m.box[0] : r.last;
    for (int d = 1; d < m.rank; d++) {
        if (at[d] < 0 || at[d] >= (int64_t)m.size[d])
            r.last = 0;
        r.p += at[d] * (int64_t)m.stride[d];
    }
    if (r.first >= r.last)
        r.first = r.last = 0;
    return r;
}

static void tiled_rows(const tensor_map &m, const int *from, const each_row &f)
{
    for (unsigned i = 0, n = rows_of(m); i < n; i++) {
        int64_t at[5] = { from[0] };
        unsigned left = i;
        for (int d = 1; d < m.rank; d++) {
            unsigned side = (m.box[d] + m.step[d] - 1) / m.step[d];
            at[d] = from[d] + (int64_t)(left % side) * m.step[d];
            left /= side;
        }
        f(i, row_at(m, at));
    }
}

/* The base runs through the box of each picture, W first; the tap's offset is added to where it stands. */
static void window_rows(const tensor_map &m, const int *from, const uint16_t *offset, const each_row &f)
{
    int64_t base[5], at[5];
    for (int d = 0; d < m.rank; d++)
        base[d] = from[d];
    for (unsigned i = 0; i < m.windows.pixels; i++) {
        for (int d = 0; d < m.rank; d++)
            at[d] = base[d] + (d && d < m.rank - 1 ? offset[d - 1] : 0);
        f(i, row_at(m, at));
        for (int d = 1; d < m.rank; d++) {
            base[d] += d < m.rank - 1 ? (int64_t)m.step[d] : 1;
            if (d == m.rank - 1 || base[d] < (int64_t)m.size[d] + m.windows.high[d - 1])
                break;
            base[d] = m.windows.low[d - 1];
        }
    }
}

/* ---------------------------------------------------------------- copies */

struct copy {
    tensor_map m;
    int at[5];
    uint16_t offset[3];
    char *shared;                /* of this block                                                                      */
    std::vector<char *> to;      /* a load: all its destinations, and their barriers                                   */
    std::vector<sim_mbarrier *> barriers;
    sim_done read, wrote;        /* of a store; of a load: wrote                                                       */
    int stage;                   /* a store: 0 has read nothing, 1 has read, 2 has written                             */
    bool is_store, read_seen;
    std::vector<char> data;
};
typedef std::shared_ptr<copy> a_copy;
struct groups { std::vector<a_copy> open; std::vector<std::vector<a_copy>> closed; };

static thread_local std::vector<a_copy> under_way;
static thread_local std::vector<groups> stores;                /* of a thread                                          */

void sim_bulk_begin(unsigned threads)
{
    under_way.clear();
    stores.assign(threads, groups());
}

static void rows(const copy &c, const each_row &f)
{
    if (c.m.is_windows)
        window_rows(c.m, c.at, c.offset, f);
    else
        tiled_rows(c.m, c.at, f);
}

/* Byte i of a box that begins at p in the shared memory of a block. */
static char *place(const copy &c, char *p, const char *block, size_t i)
{
    size_t at = (size_t)(p - block) + i, lines = c.m.turn == SWIZZLE_128 ? 7 : c.m.turn == SWIZZLE_64 ? 3 : 1;
    if (c.m.turn)
        at ^= (at >> 7 & lines) << 4;
    return (char *)block + at;
}

static void land_load(copy &c)
{
    unsigned inner = c.m.box[0] * c.m.each;
    rows(c, [&](unsigned i, const row &r) {
        char line[1024] = { 0 };
        memcpy(line + r.first * c.m.each, r.p + r.first * c.m.each, (r.last - r.first) * c.m.each);
        for (char *to : c.to)
            for (unsigned x = 0; x < inner; x += 16)
                memcpy(place(c, to, c.shared + (to - c.to[0]), i * inner + x), line + x, 16);
    });
    for (size_t i = 0; i < c.to.size(); i++) {
        if (sim.checks)
            sim_shadow_landed(c.to[i], bytes_of(c.m));
        sim_mbarrier_bytes(c.barriers[i], bytes_of(c.m), c.wrote);
    }
}

static void step_store(copy &c)
{
    unsigned inner = c.m.box[0] * c.m.each;
    if (c.stage == 0)
        for (unsigned i = 0; i < bytes_of(c.m); i += 16) {
            const char *from = place(c, c.to[0], c.shared, i);
            c.data.insert(c.data.end(), from, from + 16);
        }
    else
        rows(c, [&](unsigned i, const row &r) {
            memcpy(r.p + r.first * c.m.each, c.data.data() + i * inner + r.first * c.m.each, (r.last - r.first) * c.m.each);
        });
    c.stage++;
}

bool sim_bulk_land(bool must)
{
    if (under_way.empty() || (!must && sim_random() % 4))
        return false;
    size_t i = sim_random() % under_way.size();
    a_copy c = under_way[i];
    if (c->is_store)
        step_store(*c);
    else
        land_load(*c);
    if (!c->is_store || c->stage == 2)
        under_way.erase(under_way.begin() + (ptrdiff_t)i);
    return true;
}

/* What both kinds begin with; false: it was refused, and a fault said so. */
static bool begin(copy *c, const tensor_map *m, const void *p, int rank, const int *at, const uint16_t *offset,
                  bool windows)
{
    const sim_where *w = sim_here();
    const char *in = (const char *)p;
    sim_wants_hopper("TMA");
    c->m = *m;
    c->shared = w->mine;
    if (rank != m->rank || windows != m->is_windows) {
        sim_report(SIM_LAUNCH, "a copy of rank %d%s; the map is of rank %d%s", rank, windows ? ", windows" : "", m->rank,
                   m->is_windows ? ", windows" : "");
        return false;
    }
    if (in < w->mine || in >= w->mine + w->shared_each || (in - w->mine) % 128) {
        sim_report(SIM_MISALIGNED, "TMA at byte %lld of shared memory: it wants a multiple of 128",
                   (long long)(in - w->mine));
        return false;
    }
    if (bytes_of(*m) > (size_t)(w->mine + w->shared_each - in)) {
        sim_report(SIM_OUTSIDE, "TMA: %u bytes at byte %lld leave the shared memory of the block", bytes_of(*m),
                   (long long)(in - w->mine));
        return false;
    }
    for (int i = 0; i < rank; i++)
        c->at[i] = at[i];
    for (int i = 0; i < rank - 2 && windows; i++) {
        c->offset[i] = offset[i];
        if (at[i + 1] < m->windows.low[i] || at[i + 1] >= (int64_t)m->size[i + 1] + m->windows.high[i]) {
            sim_report(SIM_LAUNCH, "windows begin at %d in dimension %d, outside of their box", at[i + 1], i + 1);
            return false;
        }
    }
    return true;
}

static void count(const copy &c)
{
    std::set<uint64_t> sectors;
    rows(c, [&](unsigned, const row &r) {
        uint64_t first = (uint64_t)(r.p + r.first * c.m.each) / 32, last = (uint64_t)(r.p + r.last * c.m.each - 1) / 32;
        for (uint64_t s = first; r.last && s <= last; s++)
            sectors.insert(s);
    });
    sim_counted.bulk_copies++;
    sim_counted.bulk_sectors += (int64_t)sectors.size();
    sim_counted.bulk_bytes += (int64_t)bytes_of(c.m) * (int64_t)c.to.size();
}

/* Global memory that a copy touches. */
static void touch_rows(const copy &c, const sim_where &w, bool write, const void *pc)
{
    rows(c, [&](unsigned, const row &r) {
        if (r.last)
            sim_access_as(&w, r.p + r.first * c.m.each, (r.last - r.first) * c.m.each, write, pc);
    });
}

void sim_tma_load(void *to, const tensor_map *m, void *b, int rank, const int *at, const uint16_t *offset, unsigned blocks)
{
    const sim_where *w = sim_here();
    const void *pc = __builtin_return_address(0);
    a_copy c(new copy());
    if (!begin(c.get(), m, to, rank, at, offset, offset != NULL))
        return;
    unsigned mine = w->slot / sim_threads_each(), mask = blocks ? blocks : 1u << mine;
    if (mask >> sim_blocks())
        return sim_report(SIM_LAUNCH, "multicast to blocks %#x of a cluster of %u", mask, sim_blocks());
    for (unsigned i = 0; i < sim_blocks(); i++)
        if (mask >> i & 1) {
            ptrdiff_t over = ((ptrdiff_t)i - mine) * (ptrdiff_t)w->shared_each;
            sim_mbarrier *there = sim_mbarrier_at((char *)b + over, true, "a copy");
            if (!there)
                return;
            c->to.push_back((char *)to + over);
            c->barriers.push_back(there);
        }
    c->shared = w->mine + (c->to[0] - (char *)to);
    sim_where e = sim_engine(w->clock);
    c->wrote = sim_done_of(e);
    if (sim.checks) {
        touch_rows(*c, e, false, pc);
        for (char *each : c->to)
            sim_access_as(&e, each, bytes_of(c->m), true, pc);
    }
    if (sim_counting)
        count(*c);
    if (!sim.late) {
        land_load(*c);
        return;
    }
    for (char *each : c->to)
        sim_shadow_poison(each, bytes_of(c->m));
    under_way.push_back(c);
}

void sim_tma_store(const tensor_map *m, const void *from, int rank, const int *at)
{
    const sim_where *w = sim_here();
    const void *pc = __builtin_return_address(0);
    a_copy c(new copy());
    if (!begin(c.get(), m, from, rank, at, NULL, false))
        return;
    c->is_store = true;
    c->to.push_back((char *)from);
    sim_where e = sim_engine(w->clock);
    c->read = sim_done_of(e);
    if (sim.checks)
        sim_access_as(&e, from, bytes_of(c->m), false, pc);
    std::vector<uint32_t> seen(e.clock, e.clock ? e.clock + sim_clock_words() : NULL);
    e = sim_engine(seen.data());
    c->wrote = sim_done_of(e);
    if (sim.checks)
        touch_rows(*c, e, true, pc);
    if (sim_counting)
        count(*c);
    stores[w->slot].open.push_back(c);
    under_way.push_back(c);
    if (!sim.late)
        for (; c->stage < 2; )
            step_store(*c);
    if (!sim.late)
        under_way.pop_back();
}

void sim_tma_commit()
{
    sim_wants_hopper("TMA");
    groups &g = stores[sim_here()->slot];
    g.closed.push_back(g.open);
    g.open.clear();
}

static void finish(const a_copy &c, int stage)
{
    while (c->stage < stage)
        step_store(*c);
    for (size_t i = 0; c->stage == 2 && i < under_way.size(); i++)
        if (under_way[i] == c)
            under_way.erase(under_way.begin() + (ptrdiff_t)i);
}

void sim_tma_wait(int newest, bool only_read)
{
    sim_wants_hopper("TMA");
    unsigned me = sim_here()->slot;
    groups &g = stores[me];
    for (size_t i = 0; i + (size_t)newest < g.closed.size(); i++)
        for (const a_copy &c : g.closed[i]) {
            finish(c, only_read ? 1 : 2);
            c->read_seen = true;
            if (sim.checks) {
                sim_clock_see(sim_clock_of(me), c->read);
                if (!only_read)
                    sim_clock_see(sim_clock_of(me), c->wrote);
            }
        }
}

/* Shared memory goes when a block ends: what comes or reads later is lost. */
void sim_bulk_end()
{
    size_t coming = 0, leaving = 0;
    for (const a_copy &c : under_way)
        coming += !c->is_store;
    for (groups &g : stores) {
        g.closed.push_back(g.open);
        for (auto &group : g.closed)
            for (const a_copy &c : group) {
                leaving += !c->read_seen;
                finish(c, 2);
            }
    }
    if (coming)
        sim_report(SIM_ASYNC, "the block ends while %zu copies are on their way into its shared memory", coming);
    if (leaving)
        sim_report(SIM_ASYNC, "the block ends and has not waited until %zu stores have read its shared memory", leaving);
    under_way.clear();
}
