/* test_sim.cc: the simulator sees the faults that faults.cu plants, each in three orders of threads, and finds none in the
 * same kernels without them, whose results are right. Each in a process of its own (Check forks). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden_dots.h"
#include "sim.h"
extern "C" {
#include "cuda/cu.h"
#include "tensor/half.h"
#include "suite.h"
}

typedef struct { float *x, *y; int *sum; float *host; } planted;
extern "C" void sim_planted(im_cu *cu, const char *name, int bad, planted p);
extern "C" void sim_one_mma(im_cu *cu, const uint16_t *a, const uint16_t *b, float *d, int k);     /* fragments.cu      */

typedef struct { const char *kernel; int bad; sim_fault kind; } fault;

static const fault faults[] = {
    { "halves", 1, SIM_RACE }, { "halves", 2, SIM_RACE }, { "warp_turn", 1, SIM_RACE }, { "across", 1, SIM_RACE },
    { "across", 2, SIM_RACE }, { "across", 3, SIM_RACE }, { "outside", 1, SIM_OUTSIDE }, { "outside", 2, SIM_OUTSIDE },
    { "outside", 3, SIM_UNWRITTEN }, { "outside", 4, SIM_UNWRITTEN }, { "outside", 5, SIM_OUTSIDE },
    { "outside", 6, SIM_MISALIGNED }, { "barriers", 1, SIM_BARRIER }, { "barriers", 2, SIM_BARRIER },
    { "barriers", 3, SIM_DEADLOCK }, { "lanes", 1, SIM_DEADLOCK }, { "of_host", 1, SIM_OUTSIDE },
    { "of_host", 2, SIM_OUTSIDE }, { "stages", 1, SIM_UNWRITTEN }, { "stages", 2, SIM_UNWRITTEN }, { "stages", 3, SIM_RACE },
    { "stages", 4, SIM_LAUNCH },                               /* 4: on sm_75, which has no cp.async                   */
};
static const char *const clean[] = { "halves", "warp_turn", "lanes", "across", "outside", "barriers", "of_host", "stages" };
enum { ORDERS = 3, FAULTS = sizeof faults / sizeof *faults, CLEAN = sizeof clean / sizeof *clean, N = 512 };

static float result[N];
static int total;

/* Runs one kernel on x[i] = i; result and total take what it left. */
static void run(const char *kernel, int bad, int order, bool late)
{
    static float x[N], host[4];
    char why[100];
    sim = sim_settings{ true, order, late, bad != 0 };
    sim_set_capability(bad == 4 && !strcmp(kernel, "stages") ? 75 : 80);
    im_cu *cu = im_cu_open(0, why, sizeof why);
    planted p = { (float *)im_cu_alloc(cu, sizeof x), (float *)im_cu_alloc(cu, sizeof x), (int *)im_cu_alloc(cu, 4), host };
    for (int i = 0; i < N; i++)
        x[i] = (float)i;
    im_cu_event *e = im_cu_event_new(cu);
    im_cu_to_device(cu, p.x, x, sizeof x);
    im_cu_fill(cu, p.sum, 0, 4);
    sim_planted(cu, kernel, bad, p);
    im_cu_to_host(cu, result, p.y, sizeof result);
    im_cu_to_host(cu, &total, p.sum, 4);
    im_cu_event_wait(cu, e);
    im_cu_event_free(cu, e);
    im_cu_close(cu);
}

START_TEST(planted_fault_is_seen)
{
    const fault *f = &faults[_i / ORDERS];
    run(f->kernel, f->bad, _i % ORDERS, false);
    ck_assert_msg(sim_faults[f->kind] > 0, "%s, fault %d, order %d: not seen; %d others were", f->kernel, f->bad,
                  _i % ORDERS, sim_all_faults());
}
END_TEST

START_TEST(right_kernel_has_none)
{
    const char *kernel = clean[_i / ORDERS];
    run(kernel, 0, _i % ORDERS, _i % 2);
    ck_assert_msg(sim_all_faults() == 0, "%s: %d faults", kernel, sim_all_faults());
    for (int b = 0; !strcmp(kernel, "halves") && b < 4; b++)
        ck_assert_float_eq(result[b], (float)(128 * 128 * b + 127 * 64));
    for (int i = 0; !strcmp(kernel, "warp_turn") && i < 32; i++)
        ck_assert_float_eq(result[i], (float)(31 - i));
    for (int i = 0; !strcmp(kernel, "lanes") && i < 4; i++)
        ck_assert_float_eq(result[i], (float)(16 * 16 * i + 15 * 8));
    for (int i = 0; !strcmp(kernel, "stages") && i < 32; i++)
        ck_assert_float_eq(result[i], (float)(16 * 4 * (31 - i) + 4 * 6 + 4 * 128 * 6));
    if (!strcmp(kernel, "across"))
        ck_assert_int_eq(total, 128);
}
END_TEST

/* Bit by bit what MMA-Sim says that a tensor core of sm_80 computes; of sm_75. */
START_TEST(mma_is_the_tensor_cores)
{
    dots_are_golden("tests/golden/mma.bin", sim_mma_dot);
    struct { uint16_t a[8], b[8]; float c, d; } k8;
    int n = 0;
    FILE *f = fopen("tests/golden/mma_k8.bin", "rb");
    ck_assert_ptr_nonnull(f);
    for (n = 0; fread(&k8, sizeof k8, 1, f) == 1; n++) {
        float d = sim_mma_dot8(k8.a, k8.b, k8.c);
        ck_assert_msg(!memcmp(&d, &k8.d, sizeof d), "record %d of k8: found %.9g, wanted the bits of %.9g", n, d, k8.d);
    }
    ck_assert_int_eq(n, 160);
    fclose(f);
}
END_TEST

/* Where numbers of a, b and d lie in a warp's registers, by CuTe's word: small integers, exact in any order. */
START_TEST(fragments_are_where_cute_has_them)
{
    char why[100];
    int k = _i ? 16 : 8;
    uint16_t a[16 * 16], b[16 * 8];
    float d[8 * 16];
    sim = sim_settings{ true, 0, false, false };
    sim_set_capability(_i ? 80 : 75);
    im_cu *cu = im_cu_open(0, why, sizeof why);
    for (int i = 0; i < 16 * k; i++)
        a[i] = im_half_from_f32((float)(i * 7 % 23 - 11));
    for (int i = 0; i < 8 * k; i++)
        b[i] = im_half_from_f32((float)(i * 5 % 19 - 9));
    void *da = im_cu_alloc(cu, sizeof a), *db = im_cu_alloc(cu, sizeof b), *dd = im_cu_alloc(cu, sizeof d);
    im_cu_to_device(cu, da, a, sizeof a);
    im_cu_to_device(cu, db, b, sizeof b);
    sim_one_mma(cu, (uint16_t *)da, (uint16_t *)db, (float *)dd, k);
    im_cu_to_host(cu, d, dd, sizeof d);
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 8; n++) {
            float sum = 1;
            for (int i = 0; i < k; i++)
                sum += im_half_to_f32(a[m + 16 * i]) * im_half_to_f32(b[n + 8 * i]);
            ck_assert_msg(d[m + 16 * n] == sum, "(%d, %d), k %d: found %g, wanted %g", m, n, k, d[m + 16 * n], sum);
        }
    ck_assert_int_eq(sim_all_faults(), 0);
    im_cu_close(cu);
}
END_TEST

/* The host may not follow a pointer of the device, nor free what it does not have; memory ends. */
START_TEST(memory_is_the_devices)
{
    sim = sim_settings{ true, 0, false, true };
    sim_memory_limit = 1 << 20;
    void *p = sim_memory_new(1000), *q = sim_memory_new(3000);
    ck_assert(p && q && (uintptr_t)p % 256 == 0 && !sim_memory_new(1 << 20));
    ck_assert(sim_memory_holds((char *)p + 996, 4) && !sim_memory_holds((char *)p + 998, 4));
    sim_access(p, 4, false, false, NULL);
    ck_assert_int_eq(sim_faults[SIM_OUTSIDE], 1);
    sim_memory_free((char *)p + 256);
    ck_assert_int_eq(sim_faults[SIM_OUTSIDE], 2);
    sim_memory_free(p);
    sim_memory_free(q);
    ck_assert(sim_memory_used() == 0 && sim_memory_new(1000) == p);
}
END_TEST

/* Late: nothing is done before somebody waits; a graph does again what was captured. */
START_TEST(streams_keep_their_order)
{
    char why[100];
    int seen[4] = { 0 };
    sim = sim_settings{ true, 0, true, false };
    im_cu *cu = im_cu_open(0, why, sizeof why);
    im_cu_event *e = im_cu_event_new(cu);
    int *p = (int *)im_cu_alloc(cu, 16);
    im_cu_fill(cu, p, 7, 16);
    im_cu_to_host(cu, seen, p, 16);
    ck_assert_int_eq(seen[3], 0);
    im_cu_event_wait(cu, e);
    ck_assert_int_eq(seen[3], 7);
    im_cu_capture_begin(cu);
    im_cu_fill(cu, p, 9, 8);
    im_cu_to_host(cu, seen, p, 16);
    void *graph = im_cu_capture_end(cu);
    im_cu_event_wait(cu, e);
    ck_assert_int_eq(seen[0], 7);
    im_cu_graph_launch(cu, graph);
    im_cu_event_wait(cu, e);
    ck_assert(seen[0] == 9 && seen[1] == 9 && seen[2] == 7);
    im_cu_fill(cu, p, 1, 16);
    im_cu_graph_launch(cu, graph);
    im_cu_event_wait(cu, e);
    ck_assert(seen[0] == 9 && seen[2] == 1 && sim_all_faults() == 0 && !*im_cu_failed(cu));
    im_cu_graph_free(cu, graph);
    im_cu_to_host(cu, seen, p + 3, 8);
    ck_assert(im_cu_event_wait(cu, e) && *im_cu_failed(cu));
    im_cu_event_free(cu, e);
    im_cu_close(cu);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { LOOP(planted_fault_is_seen, FAULTS * ORDERS), LOOP(right_kernel_has_none, CLEAN * ORDERS),
                                 ONCE(mma_is_the_tensor_cores),
                                 LOOP(fragments_are_where_cute_has_them, 2), ONCE(memory_is_the_devices),
                                 ONCE(streams_keep_their_order) };
    return suite_run("sim", NULL, NULL, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
