/* count.cc: what a kernel asks of memory, as a device would see it: the 32 lanes of a warp that run the same load or
 * store make one request. Lanes are brought together by the place of the access in the code and by how often each has
 * been there.
 *
 *     global    a request touches sectors of 32 bytes; four of them, side by side, carry 32 lanes of 4 bytes
 *     shared    32 banks of 4 bytes; a request takes as many turns as the bank that is asked for most different words
 *               (16 bytes a lane: 8 lanes at a time)
 *     barriers  __syncthreads of a block; counted where they open (block.cc) */
#include "sim.h"

#include <algorithm>
#include <map>
#include <vector>

static const size_t WARP = 32, SECTOR = 32, BANKS = 32;

bool sim_counting;
sim_counts sim_counted;

struct access { uint64_t at; uint32_t bytes; };
struct place { bool global; std::vector<access> lane[WARP]; };
static std::map<std::pair<const void *, unsigned>, place> places;      /* by the code's address and the warp           */

void sim_count_access(const sim_where *w, const void *p, size_t bytes, bool global, const void *pc)
{
    place &x = places[{ pc, w->slot / WARP }];
    x.global = global;
    x.lane[w->slot % WARP].push_back({ (uint64_t)(uintptr_t)p, (uint32_t)bytes });
}

static void count_global(const std::vector<access> &all)
{
    std::vector<uint64_t> sectors;
    for (const access &a : all) {
        sim_counted.global_bytes += a.bytes;
        for (uint64_t s = a.at / SECTOR; s <= (a.at + a.bytes - 1) / SECTOR; s++)
            sectors.push_back(s);
    }
    std::sort(sectors.begin(), sectors.end());
    sim_counted.global_requests++;
    sim_counted.sectors += std::unique(sectors.begin(), sectors.end()) - sectors.begin();
}

static void count_shared(const std::vector<access> &all)
{
    size_t together = all[0].bytes > 4 ? 128 / all[0].bytes : WARP;
    sim_counted.shared_requests++;
    for (size_t first = 0; first < all.size(); first += together) {
        std::vector<uint64_t> words[BANKS];
        size_t turns = 1;
        for (size_t i = first; i < all.size() && i < first + together; i++)
            for (uint64_t word = all[i].at / 4; word <= (all[i].at + all[i].bytes - 1) / 4; word++)
                if (std::find(words[word % BANKS].begin(), words[word % BANKS].end(), word) == words[word % BANKS].end())
                    words[word % BANKS].push_back(word);
        for (const auto &bank : words)
            turns = std::max(turns, bank.size());
        sim_counted.shared_turns += turns;
    }
}

void sim_count_end_block()
{
    for (auto &x : places) {
        size_t most = 0;
        for (const auto &lane : x.second.lane)
            most = std::max(most, lane.size());
        for (size_t i = 0; i < most; i++) {
            std::vector<access> all;
            for (const auto &lane : x.second.lane)
                if (i < lane.size())
                    all.push_back(lane[i]);
            x.second.global ? count_global(all) : count_shared(all);
        }
    }
    places.clear();
}
