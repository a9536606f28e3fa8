/* ladder.cc: runs the ladders in the simulator: five operations, each in steps from the obvious kernel to the one that
 * is shipped; compares every step with the operation in plain words (plain.cc) and prints what it asks of memory, so
 * that one sees without a GPU why the next step is faster. build/tests/test_ladder [NAME], 1 if a step is wrong, has a
 * fault, does not lower what it says it lowers, or is not what was predicted.
 *
 *     requests   loads and stores of a warp
 *     sectors    of 32 bytes that they touch: 4 a request is the least for 32 floats
 *     turns      of shared memory: 1 a request where no two lanes want different words of one bank; 16 bytes a lane
 *                take 4
 *     barriers   of all blocks
 *     flops/byte of the operation (an exp counts as one), by the bytes of those sectors, as if there were no cache
 *
 * A prediction is arithmetic on the sizes, done by hand in each ladder's file; it has to be met within 2 percent (a
 * step that reads the last of 1,000 numbers with a half-empty warp rounds up), and to lie below the count of the step
 * before.
 *
 * Values: in f32 an error of 1e-4 of (|wanted| + rms), as in cuda/check.c: hundreds of times the rounding of the
 * longest sum, a thousandth of what a wrong index makes. A step with factors or results in f16: 2^-9, four roundings of
 * one number. */
#include "ladder.cuh"
#include "plain.h"
#include "sim.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <vector>

struct problem { std::vector<float> in[LADDER_INPUTS]; std::vector<int32_t> ids; std::vector<double> want; };

/* Numbers that f16 holds exactly, within -2 .. 2. */
static problem problem_of(const ladder &l)
{
    problem p;
    const float *in[LADDER_INPUTS];
    uint32_t seed = 1;
    for (int i = 0; i < LADDER_INPUTS; i++) {
        for (int64_t k = 0; k < l.in[i]; k++) {
            seed = seed * 1664525u + 1013904223u;
            p.in[i].push_back((float)(int)(seed >> 24) / 64 - 2);
        }
        in[i] = p.in[i].data();
    }
    for (int64_t i = 0; i < l.ids; i++)
        p.ids.push_back((int32_t)(37 * i % l.classes));
    p.want.resize((size_t)l.out);
    l.plain(in, p.ids.data(), p.want.data());
    return p;
}

static void *uploaded(im_cu *cu, const void *p, size_t bytes)
{
    void *there = im_cu_alloc(cu, bytes);
    im_cu_to_device(cu, there, p, bytes);
    return there;
}

static void *uploaded(im_cu *cu, const std::vector<float> &v, bool half)
{
    std::vector<uint16_t> h;
    for (float x : v)
        h.push_back(im_half_from_f32(x));
    return half ? uploaded(cu, h.data(), 2 * h.size()) : uploaded(cu, v.data(), 4 * v.size());
}

/* Results that are not near what is wanted. */
static int wrong_of(const ladder_step &s, const void *raw, const std::vector<double> &want)
{
    double rms = 0, limit = s.halves || s.half_out ? 0x1p-9 : 1e-4;
    int wrong = 0;
    for (double x : want)
        rms += x * x / (double)want.size();
    for (size_t i = 0; i < want.size(); i++) {
        double x = s.half_out ? im_half_to_f32(((const uint16_t *)raw)[i]) : ((const float *)raw)[i];
        wrong += !(fabs(x - want[i]) <= limit * (fabs(want[i]) + sqrt(rms)));
    }
    return wrong;
}

static int64_t count_of(const sim_counts &n, ladder_count of)
{
    return of == LADDER_REQUESTS ? n.global_requests : of == LADDER_SECTORS ? n.sectors
         : of == LADDER_TURNS ? n.shared_turns : n.barriers;
}

/* Claims that are not kept. */
static int broken_claims(const ladder_step &s, const sim_counts &now, const sim_counts &before)
{
    static const char *const names[] = { "", "requests", "sectors", "turns", "barriers" };
    int broken = 0;
    for (int i = 0; i < LADDER_CLAIMS && s.claim[i].of; i++) {
        double n = (double)count_of(now, s.claim[i].of), was = (double)count_of(before, s.claim[i].of);
        double wanted = s.claim[i].predicted;
        bool kept = n < was && fabs(n - wanted) <= 0.02 * wanted;
        printf("      %s: %.0f -> %.0f, predicted %.0f%s\n", names[s.claim[i].of], was, n, wanted,
               kept ? "" : "  <- NOT KEPT");
        broken += !kept;
    }
    return broken;
}

static sim_counts run(im_cu *cu, im_device *dev, const ladder &l, int step, const problem &p, int *wrong)
{
    const ladder_step &s = l.step[step];
    const void *in[LADDER_INPUTS];
    std::vector<char> back((size_t)l.out * 4);
    for (int i = 0; i < LADDER_INPUTS; i++)
        in[i] = uploaded(cu, p.in[i], i < s.halves);
    void *ids = uploaded(cu, p.ids.data(), 4 * p.ids.size()), *out = im_cu_alloc(cu, back.size());
    sim_counted = sim_counts();
    sim_counting = true;
    bool failed = l.run(dev, step + 1, in, (const int32_t *)ids, out) != 0;
    sim_counting = false;
    im_cu_to_host(cu, back.data(), out, (size_t)l.out * (s.half_out ? 2 : 4));
    *wrong = failed ? (int)l.out : wrong_of(s, back.data(), p.want);
    for (int i = 0; i < LADDER_INPUTS; i++)
        im_cu_free(cu, (void *)in[i]);
    im_cu_free(cu, ids);
    im_cu_free(cu, out);
    return sim_counted;
}

static int climb(im_cu *cu, im_device *dev, const ladder &l)
{
    problem p = problem_of(l);
    sim_counts before = {};
    int bad = 0;
    printf("\n%s: %s, %.0f flops\n  %-22s%10s%10s%9s%11s%10s%9s%10s%9s\n", l.name, l.sizes, l.flops, "step", "requests",
           "sectors", "each", "flops/byte", "shared", "turns", "conflicts", "barriers");
    for (int i = 0; i < LADDER_STEPS && l.step[i].name; i++) {
        int wrong, faults = sim_all_faults();
        sim_counts n = run(cu, dev, l, i, p, &wrong);
        printf("%d %-22s%10lld%10lld%9.1f%11.2f%10lld%9lld%10.2f%9lld\n", i + 1, l.step[i].name,
               (long long)n.global_requests, (long long)n.sectors, (double)n.sectors / (double)n.global_requests,
               l.flops / (32.0 * (double)n.sectors), (long long)n.shared_requests, (long long)n.shared_turns,
               n.shared_requests ? (double)n.shared_turns / (double)n.shared_requests : 0.0, (long long)n.barriers);
        faults = sim_all_faults() - faults;
        if (wrong || faults)
            printf("      %d of %lld numbers are WRONG, %d faults\n", wrong, (long long)l.out, faults);
        bad += (i ? broken_claims(l.step[i], n, before) : 0) + (wrong != 0) + (faults != 0);
        bad += i && !l.step[i].claim[0].of;                    /* a step that claims nothing                           */
        before = n;
    }
    return bad;
}

int main(int argc, char **argv)
{
    const ladder *const all[] = { &ladder_gemm, &ladder_conv, &ladder_softmax, &ladder_groupnorm, &ladder_attention };
    char why[100];
    static im_device dev;
    int bad = 0, climbed = 0;
    sim_set(true, 0, false);
    sim_set_capability(80);
    im_cu *cu = im_cu_open(0, why, sizeof why);
    ladder_device_open(&dev, cu);
    for (const ladder *l : all)
        if (argc < 2 || !strcmp(argv[1], l->name)) {
            bad += climb(cu, &dev, *l);
            climbed++;
        }
    printf("\n%d ladders, %d steps are wrong or do not do what they say\n", climbed, bad);
    im_cu_close(cu);
    return bad || !climbed;
}
