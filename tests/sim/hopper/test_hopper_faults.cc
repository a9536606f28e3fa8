/* test_hopper_faults.cc: the simulator names the faults that hopper_faults.cu plants, in three orders of threads,
 * copies and products early and late; in the same kernels without them it finds none, and their numbers are right.
 * What a tensor's map may not be is refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../sim.h"
extern "C" {
#include "cuda/cu.h"
#include "suite.h"
}
#include "cuda/hopper.cuh"

#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim

extern "C" int hopper_planted(im_cu *cu, const char *name, int bad, float *x, float *y);

/* kind: how it is named; or: what an order of threads may make of it instead */
typedef struct { const char *kernel; int bad; sim_fault kind, other; } fault;
#define AS(kind) kind, kind
static const fault faults[] = {
    { "load", 1, SIM_RACE, SIM_UNWRITTEN }, { "load", 2, SIM_RACE, SIM_UNWRITTEN }, { "load", 3, AS(SIM_DEADLOCK) },
    { "load", 4, AS(SIM_DEADLOCK) }, { "load", 5, AS(SIM_MISALIGNED) }, { "load", 6, AS(SIM_BARRIER) },
    { "load", 7, AS(SIM_PROXY) }, { "load", 8, SIM_RACE, SIM_BARRIER }, { "load", 9, AS(SIM_OUTSIDE) },
    { "load", 10, AS(SIM_OUTSIDE) }, { "load", 11, AS(SIM_RACE) }, { "load", 12, AS(SIM_RACE) }, { "load", 13, AS(SIM_RACE) },
    { "load", 14, AS(SIM_LAUNCH) }, { "load", 15, AS(SIM_PROXY) }, { "load", 16, AS(SIM_BARRIER) }, { "load", 17, AS(SIM_DEADLOCK) },
    { "load", 18, AS(SIM_ASYNC) }, { "load", 19, AS(SIM_DEADLOCK) }, { "load", 20, AS(SIM_BARRIER) },
    { "load", 21, AS(SIM_BARRIER) },
    { "store", 1, AS(SIM_PROXY) }, { "store", 2, AS(SIM_RACE) }, { "store", 3, AS(SIM_RACE) }, { "store", 4, AS(SIM_RACE) },
    { "store", 5, AS(SIM_ASYNC) }, { "store", 6, AS(SIM_RACE) }, { "store", 7, AS(SIM_MISALIGNED) },
    { "product", 1, AS(SIM_ASYNC) }, { "product", 2, AS(SIM_ASYNC) }, { "product", 3, AS(SIM_RACE) }, { "product", 4, AS(SIM_ASYNC) },
    { "product", 5, AS(SIM_PROXY) }, { "product", 6, AS(SIM_MISALIGNED) }, { "product", 7, AS(SIM_WARP) },
    { "product", 8, AS(SIM_ASYNC) }, { "product", 9, AS(SIM_ASYNC) }, { "product", 10, AS(SIM_OUTSIDE) },
    { "product", 11, AS(SIM_DEADLOCK) }, { "product", 12, AS(SIM_ASYNC) }, { "product", 13, AS(SIM_RACE) },
    { "product", 14, AS(SIM_LAUNCH) }, { "product", 15, AS(SIM_ASYNC) }, { "product", 16, AS(SIM_ASYNC) },
    { "product", 17, AS(SIM_MISALIGNED) },
    { "pair", 1, SIM_RACE, SIM_BARRIER }, { "pair", 2, AS(SIM_ASYNC) }, { "pair", 3, AS(SIM_DEADLOCK) },
    { "pair", 4, AS(SIM_DEADLOCK) }, { "pair", 5, AS(SIM_PROXY) }, { "pair", 6, AS(SIM_ASYNC) },
    { "some", 1, AS(SIM_DEADLOCK) }, { "some", 2, AS(SIM_BARRIER) }, { "some", 3, SIM_RACE, SIM_UNWRITTEN },
    { "some", 4, SIM_RACE, SIM_UNWRITTEN }, { "some", 5, AS(SIM_LAUNCH) },
};
static const char *const clean[] = { "load", "store", "product", "pair", "some" };
enum { MODES = 6, FAULTS = sizeof faults / sizeof *faults, CLEAN = sizeof clean / sizeof *clean, N = 1024 };

static float result[N];

static void run(const char *kernel, int bad, int mode)
{
    static float x[N];
    char why[100];
    sim = sim_settings{ true, mode % 3, mode / 3 == 1, bad != 0 };
    sim_set_capability(bad == 14 && !strcmp(kernel, "load") ? 80 : 90);
    im_cu *cu = im_cu_open(0, why, sizeof why);
    float *from = (float *)im_cu_alloc(cu, sizeof x), *y = (float *)im_cu_alloc(cu, sizeof x);
    for (int i = 0; i < N; i++)
        x[i] = (float)i;
    im_cu_event *e = im_cu_event_new(cu);
    im_cu_to_device(cu, from, x, sizeof x);
    im_cu_fill(cu, y, 0, sizeof x);
    ck_assert_int_eq(hopper_planted(cu, kernel, bad, from, y), 0);
    im_cu_to_host(cu, result, y, sizeof result);
    im_cu_event_wait(cu, e);
    im_cu_event_free(cu, e);
    im_cu_close(cu);
}

START_TEST(planted_fault_is_named)
{
    const fault *f = &faults[_i / MODES];
    run(f->kernel, f->bad, _i % MODES);
    ck_assert_msg(sim_faults[f->kind] || sim_faults[f->other], "%s, fault %d, mode %d: not named; %d others were", f->kernel,
                  f->bad, _i % MODES, sim_all_faults());
}
END_TEST

START_TEST(right_kernel_has_none)
{
    const char *kernel = clean[_i / MODES];
    run(kernel, 0, _i % MODES);
    ck_assert_msg(sim_all_faults() == 0, "%s, mode %d: %d faults", kernel, _i % MODES, sim_all_faults());
    for (int t = 0; !strcmp(kernel, "load") && t < 64; t++)
        ck_assert_float_eq(result[t], (float)(16 * (63 - t) * 4 + 4 * 6 + 4 * 256 * 6));
    for (int i = 0; !strcmp(kernel, "store") && i < 512; i++)
        ck_assert_float_eq(result[i], (float)(i + !i));
    for (int t = 0; !strcmp(kernel, "product") && t < 128; t++)
        ck_assert_float_eq(result[t], 4 * 64.0f);
    for (int b = 0; !strcmp(kernel, "pair") && b < 4; b++)
        ck_assert_float_eq(result[b], (float)(b % 2 + 1));
    for (int t = 0; !strcmp(kernel, "some") && t < 64; t++)
        ck_assert_float_eq(result[t], (float)(63 - t + 64 + t % 32));
}
END_TEST

/* What a driver refuses: cuTensorMapEncodeTiled and -Im2col in cuda.h. */
START_TEST(wrong_maps_are_refused)
{
    sim = sim_settings{ true, 0, false, true };
    char *p = (char *)sim_memory_new(1 << 16);
    const tensor_shape good = { p, TENSOR_F16, 4, { 64, 8, 8, 2 }, { 128, 1024, 8192 }, { 1, 1, 1, 1, 1 }, SWIZZLE_128 };
    const uint32_t box[5] = { 64, 4, 4, 1, 1 };
    const tensor_windows windows = { { -1, -1 }, { -1, -1 }, 64, 100 };
    tensor_map m;
    ck_assert(!tensor_map_tiled(&m, &good, box) && !tensor_map_windows(&m, &good, &windows) && !sim_all_faults());
    for (int i = 0; i < 14; i++) {
        tensor_shape t = good;
        uint32_t b[5] = { 64, 4, 4, 1, 1 };
        tensor_windows w = windows;
        switch (i) {
        case 0: t.p = p + 8; break;
        case 1: t.stride[1] = 1032; break;
        case 2: t.rank = 6; break;
        case 3: t.size[2] = 0; break;
        case 4: t.step[1] = 9; break;
        case 5: b[1] = 257; break;
        case 6: b[0] = 60; break;                              /* not the span; nor a multiple of 16 bytes              */
        case 7: b[0] = 128; break;
        case 8: t.rank = 2; break;
        case 9: w.low[0] = -129; break;
        case 10: w.high[1] = -10; break;
        case 11: w.channels = 257; break;
        case 12: w.pixels = 1025; break;
        case 13: w.channels = 32; break;
        }
        ck_assert_msg(i < 8 ? tensor_map_tiled(&m, &t, b) : tensor_map_windows(&m, &t, &w), "map %d is taken", i);
        ck_assert_int_eq(sim_faults[SIM_LAUNCH], i + 1);
    }
}
END_TEST

int main(void)
{
    const suite_test tests[] = { LOOP(planted_fault_is_named, FAULTS * MODES), LOOP(right_kernel_has_none, CLEAN * MODES),
                                 ONCE(wrong_maps_are_refused) };
    return suite_run("hopper_faults", NULL, NULL, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
