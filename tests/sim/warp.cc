/* warp.cc: what the lanes of a warp do together: shuffles, votes, __syncwarp, and the exchange of registers that ldmatrix
 * and mma are made of (tensor.cc). Lanes are brought together by the mask that they name; the last one opens. */
#include "cuda/ptx.cuh"
#include "block.h"

#undef threadIdx

static const unsigned WARP = SIM_WARP_THREADS;

/* A meeting of the lanes of `mask`: a shuffle or a vote, or __syncwarp. */
struct meeting { uint32_t mask, here; int line, turn; uint32_t value[2][WARP], words[2][WARP][16]; };
struct warp { std::vector<meeting> meetings; };

static thread_local std::vector<warp> warps;

void sim_warps_begin(unsigned threads)
{
    warps.resize((threads + WARP - 1) / WARP);
    for (warp &w : warps)
        w.meetings.clear();
}

/* All lanes of mask are here: the last one opens. Returns the meeting's turn. */
static meeting *meet(uint32_t mask, uint32_t value, int line, const char *what, bool orders, int *turn,
                     const uint32_t *words = NULL, int n = 0)
{
    unsigned slot = sim_here()->slot, lane = slot % WARP, all = sim_here()->threads;
    warp &w = warps[slot / WARP];
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
    unsigned first = slot / WARP * WARP, in = all - first < WARP ? all - first : WARP;
    uint32_t wanted = in == WARP ? mask : mask & ((1u << in) - 1);
    if ((m->here & wanted) == wanted) {
        m->here = 0;
        m->turn ^= 1;
        if (orders && sim.checks)
            sim_clocks_meet(first, first + in, wanted);
        for (unsigned i = 0; i < in; i++)
            if (wanted >> i & 1 && first + i != slot)
                sim_wake(first + i);
    } else {
        sim_give_way(what);
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
    unsigned first = sim_here()->slot / WARP * WARP;
    if (!(mask >> lane & 1) || first + (unsigned)lane >= sim_here()->threads)
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
