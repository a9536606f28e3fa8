/* wgmma.cc: products of a warpgroup, 128 threads (PTX ISA, #asynchronous-warpgroup-level-matrix-instructions).
 *
 * Early (sim.late false) a product is computed when the last thread has asked for it. Late, its accumulators become NaN
 * then, and it reads shared memory and is computed when the warpgroup waits. In both cases, until that wait,
 *
 *     accumulators             may not be touched; a thread's variables lie on its stack, whose accesses the compiler's
 *     a in registers           hooks show us: not be written
 *     shared memory            has been read by an engine's operation that has not ended: who writes it races (shadow.cc)
 *
 * and before it, since a thread has last touched these registers, wgmma_fence has to stand (#...-wgmma-fence). What a
 * warp has not seen written before it asks is a race: for its own rows of a, and, as all four read b, for all of b.
 *
 * Where a matrix lies: the canonical layouts of #asynchronous-warpgroup-level-canonical-layouts. Registers:
 * #asynchronous-warpgroup-level-matrix-register-fragment-wgmma-64n16-d and -a. Sums: sim_fused of tensor.cc. */
#include "cuda/hopper.cuh"
#include "block.h"

#include <sys/mman.h>

#undef threadIdx

enum { THREADS = SIM_WARPGROUP, K = 16, ROWS = 64, STACK_WORDS = (64 << 10) / 4 };

struct registers {               /* the accumulators of products under way                                             */
    float *home[THREADS];
    int n, users;
    bool away;                   /* late: values are here, homes are poisoned                                          */
    std::vector<float> values;   /* [THREADS][n / 2]                                                                   */
};
struct product {
    std::shared_ptr<registers> d;
    sim_product is;              /* as its first thread asked                                                          */
    const uint32_t *a_home[THREADS];
    uint32_t a_values[THREADS][4];
    const char *block;           /* shared memory                                                                      */
    sim_done done;
};
typedef std::vector<product> some;
struct warpgroup {
    unsigned here;
    const char *what;
    int line;
    sim_product asked[THREADS];
    some open;
    std::vector<some> closed;
    std::vector<std::shared_ptr<registers>> live;
};

static thread_local std::vector<warpgroup> warpgroups;
static thread_local std::vector<uint32_t> fenced;              /* [threads]: when                                      */
static thread_local uint32_t now = 1;                          /* goes on with every fence                             */
static thread_local uint32_t *touched;                         /* [threads][STACK_WORDS]: when                         */

static unsigned groups_each() { return (sim_threads_each() + THREADS - 1) / THREADS; }

static warpgroup &group_of(unsigned slot)
{
    return warpgroups[slot / sim_threads_each() * groups_each() + slot % sim_threads_each() / THREADS];
}
static unsigned rank_of(unsigned slot) { return slot % sim_threads_each() % THREADS; }

void sim_products_begin(unsigned threads)
{
    const size_t most = (size_t)8 * 1024 * STACK_WORDS * sizeof(uint32_t);
    if (!touched)
        touched = (uint32_t *)mmap(NULL, most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    warpgroups.assign(sim_blocks() * groups_each(), warpgroup());
    fenced.assign(threads, 0);
}

void sim_products_end()
{
    size_t left = 0;
    for (warpgroup &g : warpgroups)
        left += g.closed.size() + !g.open.empty();
    if (left)
        sim_report(SIM_ASYNC, "the block ends before it has waited for %zu groups of products", left);
}

/* ---------------------------------------------------------------- registers */

static bool within(const void *p, const void *first, size_t bytes)
{
    return p >= first && (const char *)p < (const char *)first + bytes;
}

void sim_registers_touched(const sim_where *w, const void *p, size_t bytes, bool write)
{
    size_t word = (size_t)((const char *)p - w->stack) / 4;
    for (size_t i = word; i < word + (bytes + 3) / 4 && i < STACK_WORDS; i++)
        touched[(size_t)w->slot * STACK_WORDS + i] = now;
    if (w->threads < THREADS)
        return;
    warpgroup &g = group_of(w->slot);
    unsigned t = rank_of(w->slot);
    for (const auto &d : g.live)
        if (within(p, d->home[t], (size_t)d->n / 2 * sizeof(float)))
            sim_report(SIM_ASYNC, "an accumulator of a product is %s before its wgmma_wait", write ? "written" : "read");
    if (!write || g.live.empty())
        return;
    auto reads = [&](const some &of) {
        for (const product &x : of)
            if (x.is.a_registers && within(p, x.a_home[t], 16))
                sim_report(SIM_ASYNC, "a register that a product reads is written before its wgmma_wait");
    };
    reads(g.open);
    for (const some &of : g.closed)
        reads(of);
}

static void check_fence(const void *p, size_t words, const char *what)
{
    const sim_where *w = sim_here();
    size_t first = (size_t)((const char *)p - w->stack) / 4;
    for (size_t i = first; i < first + words && i < STACK_WORDS; i++)
        if (touched[(size_t)w->slot * STACK_WORDS + i] >= fenced[w->slot]) {
            sim_report(SIM_ASYNC, "%s of a product have been touched since the last wgmma_fence", what);
            return;
        }
}

void sim_wgmma_fence()
{
    sim_wants_hopper("wgmma");
    fenced[sim_here()->slot] = ++now;
}

/* ---------------------------------------------------------------- matrices in shared memory */

/* Bytes of a row of its pattern. */
static unsigned span_of(uint64_t m)
{
    static const unsigned of[] = { 16, 128, 64, 32 };
    return of[m >> 62];
}

/* Where 16 bytes of it lie: turned: rows 8 piece .. 8 piece + 7 of k i; else k 8 piece .. of row i. */
static size_t place(uint64_t m, bool turned, unsigned i, unsigned piece)
{
    size_t at = (size_t)(m & 0x3fff) << 4, lead = (size_t)(m >> 16 & 0x3fff) << 4, stride = (size_t)(m >> 32 & 0x3fff) << 4;
    unsigned span = span_of(m), pieces = span / 16;            /* of 16 bytes, in a row of the pattern                 */
    if (span == 16)
        at += turned ? piece * stride + i % 8 * 16 + i / 8 * lead : i / 8 * stride + i % 8 * 16 + piece * lead;
    else
        at += turned ? piece / pieces * lead + piece % pieces * 16 + i / 8 * stride + i % 8 * span
                     : i / 8 * stride + i % 8 * span + piece * 16;
    return span == 16 ? at : at ^ (at >> 7 & (pieces - 1)) << 4;
}

static void check_descriptor(uint64_t m, bool turned, const char *name)
{
    size_t at = (size_t)(m & 0x3fff) << 4;
    unsigned span = span_of(m);
    if (m & (3ull << 14 | 3ull << 30 | 7ull << 46 | 1023ull << 52))
        sim_report(SIM_LAUNCH, "the descriptor of %s has bits that mean nothing: %#llx", name, (unsigned long long)m);
    if (m >> 49 & 7)
        sim_report(SIM_LAUNCH, "the descriptor of %s has a base offset, which the simulator does not know", name);
    if (span > 16 && at >> 7 & (span / 16 - 1))
        sim_report(SIM_MISALIGNED, "%s lies at byte %zu, within a pattern of its swizzle: those begin at multiples of %u", name,
                   at, span * 8);
    if (!turned && span > 16 && at % span + K * 2 > span)
        sim_report(SIM_MISALIGNED, "%s lies at byte %zu: 16 k from there leave the row of %u bytes", name, at, span);
}

static void access_matrix(const sim_where &w, const char *block, uint64_t m, bool turned, unsigned first, unsigned rows)
{
    const void *pc = __builtin_return_address(0);
    for (unsigned i = first; i < first + rows && !turned; i++)
        for (unsigned piece = 0; piece < K / 8; piece++)
            sim_access_as(&w, block + place(m, false, i, piece), 16, false, pc);
    for (unsigned k = 0; k < K && turned; k++)
        for (unsigned piece = first / 8; piece < (first + rows) / 8; piece++)
            sim_access_as(&w, block + place(m, true, k, piece), 16, false, pc);
}

/* (rows, K) */
static std::vector<sim_factor> load_matrix(const char *block, uint64_t m, bool turned, unsigned rows, bool bf16)
{
    std::vector<sim_factor> all(rows * K);
    for (unsigned i = 0; i < rows; i++)
        for (unsigned k = 0; k < K; k++) {
            size_t at = turned ? place(m, true, k, i / 8) + i % 8 * 2 : place(m, false, i, k / 8) + k % 8 * 2;
            uint16_t h = 0;
            if (at + 2 <= sim_here()->shared_each)
                memcpy(&h, block + at, 2);
            all[i * K + k] = sim_factor_of(h, bf16);
        }
    return all;
}

/* a of registers: word i of thread t holds row 16 (t / 32) + 8 (i % 2) + t % 32 / 4, k 8 (i / 2) + 2 (t % 4) and the
 * next. */
static std::vector<sim_factor> load_registers(const product &x)
{
    std::vector<sim_factor> all(ROWS * K);
    for (unsigned t = 0; t < THREADS; t++)
        for (unsigned i = 0; i < 4; i++)
            for (unsigned e = 0; e < 2; e++) {
                unsigned row = 16 * (t / 32) + 8 * (i % 2) + t % 32 / 4, k = 8 * (i / 2) + 2 * (t % 4) + e;
                all[row * K + k] = sim_factor_of((uint16_t)(x.a_values[t][i] >> 16 * e), x.is.bf16);
            }
    return all;
}

static void compute(product &x)
{
    unsigned n = (unsigned)x.is.n;
    std::vector<sim_factor> a = x.is.a_registers ? load_registers(x)
                                                 : load_matrix(x.block, x.is.a, x.is.turn_a, ROWS, x.is.bf16);
    std::vector<sim_factor> b = load_matrix(x.block, x.is.b, x.is.turn_b, n, x.is.bf16);
    for (unsigned t = 0; t < THREADS; t++) {
        float *d = x.d->away ? &x.d->values[t * n / 2] : x.d->home[t];
        for (unsigned i = 0; i < n / 2; i++) {
            unsigned row = 16 * (t / 32) + 8 * (i / 2 % 2) + t % 32 / 4, col = 8 * (i / 4) + 2 * (t % 4) + i % 2;
            d[i] = sim_fused(&a[row * K], &b[col * K], K, x.is.add ? d[i] : 0.0f, 25);
        }
    }
}

/* ---------------------------------------------------------------- a warpgroup */

/* All its threads come; true for the last one, which acts for all. */
static bool last_of(warpgroup &g, const char *what, int line)
{
    unsigned slot = sim_here()->slot, first = slot - rank_of(slot);
    sim_wants_hopper("wgmma");
    if (g.here && (g.what != what || g.line != line))
        sim_report(SIM_WARP, "%s in line %d, while others of its warpgroup are at %s in line %d", what, line, g.what, g.line);
    g.what = what;
    g.line = line;
    if (++g.here < THREADS) {
        sim_give_way(what);
        return false;
    }
    g.here = 0;
    for (unsigned s = first; s < first + THREADS; s++)
        if (s != slot)
            sim_wake(s);
    return true;
}

static std::shared_ptr<registers> accumulators(warpgroup &g)
{
    int n = g.asked[0].n;
    for (const auto &d : g.live)
        if (d->home[0] == g.asked[0].d && d->n == n)
            return d;
        else if (within(g.asked[0].d, d->home[0], (size_t)d->n / 2 * sizeof(float)))
            sim_report(SIM_ASYNC, "a product of %d columns uses accumulators of one of %d that is under way", n, d->n);
    std::shared_ptr<registers> d(new registers());
    d->n = n;
    for (unsigned t = 0; t < THREADS; t++)
        d->home[t] = g.asked[t].d;
    if (sim.late) {
        d->away = true;
        d->values.resize(THREADS * (size_t)n / 2);
        for (unsigned t = 0; t < THREADS; t++) {
            memcpy(&d->values[t * (size_t)n / 2], d->home[t], (size_t)n / 2 * sizeof(float));
            memset(d->home[t], 0xff, (size_t)n / 2 * sizeof(float));
        }
    }
    g.live.push_back(d);
    return d;
}

typedef std::vector<uint32_t> clock_words;

static void keep_least(clock_words &all, const uint32_t *other)
{
    uint32_t *x = all.data();
    for (size_t i = 0, n = all.size(); i < n; i++)
        x[i] = x[i] < other[i] ? x[i] : other[i];
}

/* What all lanes of a warp have seen. */
static clock_words seen_by_warp(unsigned first)
{
    clock_words all(sim_clock_of(first), sim_clock_of(first) + sim_clock_words());
    for (unsigned s = first + 1; s < first + SIM_WARP_THREADS; s++)
        keep_least(all, sim_clock_of(s));
    return all;
}

static void look(product &x, unsigned first)
{
    enum { WARPS = THREADS / SIM_WARP_THREADS };
    clock_words seen[WARPS], all;
    for (unsigned w = 0; w < WARPS; w++)
        seen[w] = seen_by_warp(first + w * SIM_WARP_THREADS);
    all = seen[0];
    for (unsigned w = 1; w < WARPS; w++)
        keep_least(all, seen[w].data());
    sim_where e = sim_engine(all.data());
    x.done = sim_done_of(e);
    access_matrix(e, x.block, x.is.b, x.is.turn_b, 0, (unsigned)x.is.n);
    for (unsigned w = 0; w < WARPS && !x.is.a_registers; w++) {
        sim_clock_see(seen[w].data(), x.done);
        sim_where warp = e;
        warp.clock = seen[w].data();
        access_matrix(warp, x.block, x.is.a, x.is.turn_a, 16 * w, 16);
    }
}

static bool same(const sim_product &x, const sim_product &y)
{
    return x.a == y.a && x.b == y.b && x.n == y.n && x.add == y.add && x.bf16 == y.bf16 && x.turn_a == y.turn_a &&
           x.turn_b == y.turn_b && !x.a_registers == !y.a_registers;
}

void sim_wgmma(const sim_product &p, int line)
{
    sim_wants_hopper("wgmma");
    unsigned slot = sim_here()->slot, first = slot - rank_of(slot);
    warpgroup &g = group_of(slot);
    g.asked[rank_of(slot)] = p;
    if (p.n % 8 || p.n < 8 || p.n > 256)
        sim_report(SIM_LAUNCH, "wgmma in line %d of %d columns: a multiple of 8 up to 256", line, p.n);
    if (sim.checks && !fenced[slot])
        sim_report(SIM_ASYNC, "wgmma in line %d: no wgmma_fence stands before the first product", line);
    else if (sim.checks)
        check_fence(p.d, (size_t)p.n / 2, "accumulators");
    if (sim.checks && p.a_registers)
        check_fence(p.a_registers, 4, "registers");
    if (!last_of(g, "wgmma", line))
        return;
    for (const sim_product &each : g.asked)
        if (!same(each, p))
            return sim_report(SIM_WARP, "wgmma in line %d: threads of the warpgroup ask for different products", line);
    product x = product();
    x.is = p;
    x.block = sim_here()->mine;
    x.d = accumulators(g);
    x.d->users++;
    for (unsigned t = 0; t < THREADS && p.a_registers; t++) {
        x.a_home[t] = g.asked[t].a_registers;
        memcpy(x.a_values[t], g.asked[t].a_registers, sizeof x.a_values[t]);
    }
    check_descriptor(p.b, p.turn_b, "b");
    if (!p.a_registers)
        check_descriptor(p.a, p.turn_a, "a");
    if (sim.checks)
        look(x, first);
    if (sim_counting)
        sim_counted.products++;
    if (!sim.late)
        compute(x);
    g.open.push_back(x);
}

void sim_wgmma_commit(int line)
{
    warpgroup &g = group_of(sim_here()->slot);
    if (!last_of(g, "wgmma_commit", line))
        return;
    g.closed.push_back(g.open);
    g.open.clear();
}

static void end_product(warpgroup &g, product &x, unsigned first)
{
    if (sim.late)
        compute(x);
    for (unsigned s = first; s < first + THREADS; s++)
        if (sim.checks)
            sim_clock_see(sim_clock_of(s), x.done);
    if (--x.d->users)
        return;
    size_t each = (size_t)x.d->n / 2;
    for (unsigned t = 0; t < THREADS && x.d->away; t++)
        memcpy(x.d->home[t], &x.d->values[t * each], each * sizeof(float));
    for (size_t i = 0; i < g.live.size(); i++)
        if (g.live[i] == x.d)
            g.live.erase(g.live.begin() + (ptrdiff_t)i);
}

void sim_wgmma_wait(int newest, int line)
{
    unsigned slot = sim_here()->slot, first = slot - rank_of(slot);
    warpgroup &g = group_of(slot);
    if (!last_of(g, "wgmma_wait", line))
        return;
    while (g.closed.size() > (size_t)newest) {
        for (product &x : g.closed.front())
            end_product(g, x, first);
        g.closed.erase(g.closed.begin());
    }
}

uint32_t sim_shared_at(const void *p) { return (uint32_t)((const char *)p - sim_here()->mine); }
