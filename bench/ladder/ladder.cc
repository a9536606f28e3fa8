/* ladder.cc: runs the steps of ladder_gemm.cu in the simulator, compares each with the first, and prints what each asks
 * of memory: so that one sees without a GPU why the next step is faster. build/tests/test_ladder; 1 if a step is wrong,
 * has a fault, or does not ask for less than the step before where its comment says so.
 *
 *     requests   loads and stores of a warp
 *     sectors    of 32 bytes that they touch: 4 a request is the least for 32 floats
 *     turns      of shared memory: 1 a request where no two lanes want different words of one bank; 16 bytes a lane take 4
 *
 * What it says of the last steps: step 4 asks for 4 sectors a request and has no conflict; an earlier form of it, whose
 * threads fetched 4 neighbours each, asked for 16, which is how that was found. Step 5 reads half as much, in fewer requests. */
#include "sim.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <vector>

extern "C" {
#include "cuda/cu.h"
#include "tensor/half.h"
void ladder_gemm(im_cu *cu, int step, int m, int n, int k, const void *a, const void *b, float *c);
}

enum { M = 128, N = 128, K = 128, STEPS = 5 };
static const char *const names[] = { "naive", "coalesced", "shared", "registers", "mma (f16)" };

static void *filled(im_cu *cu, int n, unsigned seed, bool half)
{
    static std::vector<float> v;
    static std::vector<uint16_t> h;
    v.resize(n);
    h.resize(n);
    for (int i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        h[i] = im_half_from_f32((float)(int)(seed >> 24) / 64 - 2);      /* exact in 16 bits                           */
        v[i] = im_half_to_f32(h[i]);
    }
    void *p = im_cu_alloc(cu, (size_t)n * 4);
    im_cu_to_device(cu, p, half ? (void *)h.data() : (void *)v.data(), (size_t)n * (half ? 2 : 4));
    return p;
}

int main()
{
    char why[100];
    static float first[M * N], c[M * N];
    sim_counts before = {};
    int bad = 0;
    sim_set(true, 0, false);
    im_cu *cu = im_cu_open(0, why, sizeof why);
    float *to = (float *)im_cu_alloc(cu, sizeof c);
    printf("c (%d, %d) = a (%d, %d) b^T: %d multiply-adds\n", M, N, M, K, M * N * K);
    printf("%-2s%-12s%10s%10s%14s%14s%10s%10s%14s\n", "", "step", "requests", "sectors", "sectors each", "sectors a mad",
           "shared", "turns", "turns each");
    sim_counting = true;
    for (int step = 1; step <= STEPS; step++) {
        void *a = filled(cu, M * K, 1, step == 5), *b = filled(cu, N * K, 2, step == 5);
        sim_counted = sim_counts();
        ladder_gemm(cu, step, M, N, K, a, b, to);
        im_cu_to_host(cu, c, to, sizeof c);
        const sim_counts &n = sim_counted;
        printf("%d %-12s%10lld%10lld%12.1f%14.4f%10lld%10lld%14.1f\n", step, names[step - 1], (long long)n.global_requests,
               (long long)n.sectors, (double)n.sectors / n.global_requests, (double)n.sectors / (M * N * K),
               (long long)n.shared_requests, (long long)n.shared_turns,
               n.shared_requests ? (double)n.shared_turns / n.shared_requests : 0.0);
        for (int i = 0; i < M * N; i++) {
            first[i] = step == 1 ? c[i] : first[i];
            bad += !(fabsf(c[i] - first[i]) <= (step == 5 ? 1e-4f : 0.0f));
        }
        bad += step > 1 && n.sectors >= before.sectors;
        before = n;
    }
    printf("%d sums or counts are wrong, %d faults\n", bad, sim_all_faults());
    im_cu_close(cu);
    return bad || sim_all_faults();
}
