/* hopper_faults.cu: kernels of Hopper's engines with a fault planted in each, and the same without it
 * (test_hopper_faults.cc). `bad` chooses the fault. */
#include "cuda/hopper.cuh"

#include <string.h>

enum { TILE = 256 };             /* floats of a copy: 8 rows of 32                                                     */

/* Sums of four tiles that the third warp fetches into two places. bad 1: no wait for what comes; 2: for the other parity;
 * 3: more bytes are expected than come; 4: fewer; 5: a place that is no multiple of 128; 6: a barrier that nobody has
 * made; 7: no mbar_fence; 8: no barrier of the block behind mbar_init; 9: behind the end of shared memory; 10: behind
 * that of the tensor's memory; 11: a thread writes where a copy goes; 12: the next copy does not wait until all have
 * read; 13: one arrival too many, which ends a phase too soon; 14: on sm_80; 15: the place was written by a thread,
 * with no fence; 16: an mbarrier is written as a number; 17: one copy is not asked for; 18: one is that nobody waits
 * for; 19: an arrival is missing; 20: one more than its phase has; 21: one is made twice. */
KERNEL(96) load(GRID tensor_map m, float *y, int bad)
{
    SHARED_LAUNCH(memory);
    SHARED(mbarrier, full, 2);
    SHARED(mbarrier, empty, 2);
    SHARED(mbarrier, other, 1);
    const int t = (int)threadIdx.x;
    float *tile = (float *)memory, sum = 0;
    if (t == 0) {
        for (int s = 0; s < 2; s++) {
            mbar_init(&full[s], 1);
            mbar_init(&empty[s], bad == 19 ? 65 : 64);
        }
        if (bad == 21)
            mbar_init(&full[1], 1);
        if (bad != 7)
            mbar_fence();
    }
    if (bad != 8)
        sync_block();
    if (t == 64)
        for (int i = 0; i < (bad == 17 ? 3 : bad == 18 ? 5 : 4); i++) {
            int s = i % 2;
            if (bad != 12)
                mbar_wait(&empty[s], i / 2 % 2 ^ 1);
            if (bad == 15)
                tile[s * TILE] = 1;
            mbar_arrive_expect(&full[s], bad == 3 ? 2048 : bad == 4 ? 512 : 1024);
            if (bad == 20)
                mbar_arrive(&full[s]);
            tma_load(memory + s * 1024 + (bad == 5 ? 64 : bad == 9 ? 1024 : 0), &m, bad == 6 ? other : &full[s],
                     { 0, 8 * i + (bad == 10 ? 32 : 0) });
        }
    if (bad == 11 && t == 65)
        tile[3] = 0;
    if (bad == 16 && t == 65)
        *(int *)full = 0;
    if (t >= 64)
        return;
    for (int i = 0; i < 4; i++) {
        int s = i % 2;
        if (bad != 1)
            mbar_wait(&full[s], i / 2 % 2 ^ (bad == 2));
        for (int k = 0; k < 4; k++)
            sum += tile[s * TILE + (63 - t) * 4 + k];
        mbar_arrive(&empty[s]);
        if (bad == 13 && t == 3)
            mbar_arrive(&empty[s]);
    }
    y[t] = sum;
}

/* Two tiles go out through one place. bad 1: no fence behind what threads write; 2: no barrier behind it; 3: the place is
 * written while it may still be read; 4: the copies are in no group; 5: the block ends before they have been read; 6: the
 * tensor is read as soon as the place is free; 7: a place that is no multiple of 128. */
KERNEL(64) store(GRID tensor_map m, float *y, int bad)
{
    SHARED_LAUNCH(memory);
    const int t = (int)threadIdx.x;
    float *tile = (float *)memory;
    for (int i = 0; i < 2; i++) {
        if (t == 0 && bad != 3)
            tma_wait_read<0>();
        sync_block();
        for (int k = 0; k < 4; k++)
            tile[t * 4 + k] = (float)(i * TILE + t * 4 + k);
        if (bad != 1)
            fence_async();
        if (bad != 2)
            sync_block();
        if (t == 0) {
            tma_store(&m, memory + (bad == 7 ? 32 : 0), { 0, 8 * i });
            if (bad != 4)
                tma_commit();
        }
    }
    if (t)
        return;
    if (bad != 5)
        tma_wait_read<0>();
    if (bad != 5 && bad != 6)
        tma_wait<0>();
    if (bad != 5)
        y[0] += 1;
}

/* d = a b by two wgmma of 64 x 8 x 16, of numbers that threads write; a of the second one in registers. bad 1: no
 * wgmma_fence; 2: sums are read before the wait; 3: b is written before it; 4: no group; 5: no fence behind what threads
 * write; 6: b lies within a pattern; 7: warps say different things; 8: a wait for all groups but one; 9: a is written
 * before the wait; 10: b lies behind the end of shared memory; 11: a warp is missing; 12: sums are touched between two
 * products; 13: no barrier behind what threads write; 14: a descriptor with bits that mean nothing; 15: no wait at the
 * end; 16: other accumulators' shape; 17: a row that the swizzle's pattern does not hold. */
KERNEL(128) product(float *y, int bad)
{
    SHARED_LAUNCH(memory);
    const int t = (int)threadIdx.x;
    uint16_t *a = (uint16_t *)memory, *b = a + 64 * 64;
    float d[4] = { 0, 0, 0, 0 }, wide[8];
    uint32_t r[4];
    for (int i = t; i < 64 * 64; i += 128)
        a[i] = f32_to_f16(1);
    for (int i = t; i < 8 * 64; i += 128)
        b[i] = f32_to_f16(2);
    for (int i = 0; i < 4; i++)
        r[i] = 0x3c003c00u;                                    /* ones                                                 */
    if (bad != 5)
        fence_async();
    if (bad != 13)
        sync_block();
    uint64_t x = matrix(a, 16, 1024, SWIZZLE_128), z = matrix(b, 16, 1024, SWIZZLE_128);
    if (bad == 6)
        z += 256 / 16;
    if (bad == 7 && t >= 64)
        x += 2;
    if (bad == 10)
        z += 1024 / 16;
    if (bad == 14)
        z |= 1ull << 60;
    if (bad == 17)
        z += 112 / 16;
    if (bad == 11 && t >= 96)
        return;
    if (bad != 1)
        wgmma_fence();
    wgmma<false>(d, x, z, false);
    if (bad == 12) {
        wgmma_commit();
        wgmma_wait<0>();
        d[0] += 1;
    }
    if (bad == 16) {
        wgmma<false>(*(float (*)[8])d, r, matrix(b, 16, 0, SWIZZLE_128), false);
        return;
    }
    wgmma<false>(d, r, z + 2, true);
    if (bad != 4)
        wgmma_commit();
    if (bad == 2)
        y[0] = d[0];
    if (bad == 3 && t == 5)
        b[3] = 0;
    if (bad == 9)
        r[1] = 0;
    if (bad == 15)
        return;
    if (bad == 8)
        wgmma_wait<1>();
    else
        wgmma_wait<0>();
    for (int i = 0; i < 4; i++)
        wide[i] = d[i];
    y[t] = wide[0] + wide[1] + wide[2] + wide[3];
}

/* Block 0 of two fetches a tile for both; block 1 tells it when it has read. bad 1: block 0 does not wait until block
 * 1 has made its barriers; 2: nor, at the end, for it; 3: the tile goes to block 0 only; 4: block 1 tells itself; 5:
 * no mbar_fence; 6: block 1 ends before what it is sent has come. */
KERNEL(32) pair(GRID tensor_map m, float *y, int bad)
{
    SHARED_LAUNCH(memory);
    SHARED(mbarrier, full, 1);
    SHARED(mbarrier, taken, 1);
    const int t = (int)threadIdx.x, rank = cluster_rank();
    if (t == 0) {
        mbar_init(full, 1);
        mbar_init(taken, 1);
        if (bad != 5)
            mbar_fence();
    }
    if (bad != 1)
        sync_cluster();
    if (t)
        return;
    if (bad == 6 && rank == 1)
        return;
    mbar_arrive_expect(full, 1024);
    if (rank == 0)
        tma_load(memory, &m, full, { 0, 0 }, (uint16_t)(bad == 3 ? 1 : 3));
    mbar_wait(full, 0);
    y[blockIdx.x] = ((float *)memory)[rank + 1];
    if (rank == 1 && bad == 4)
        mbar_arrive(taken);
    else if (rank == 1)
        mbar_arrive_at(taken, 0);
    else if (bad != 2 && bad != 6)
        mbar_wait(taken, 0);
}

/* Two warps exchange numbers at barrier 1; the third one gives them its own at barrier 2 and goes on. bad 1: barrier 1 is
 * for more than come; 2: they differ in how many; 3: nobody waits; 4: the third one arrives before it writes; 5: a
 * barrier that there is not. */
KERNEL(96) some(const float *x, float *y, int bad)
{
    SHARED(float, s, 96);
    const int t = (int)threadIdx.x;
    if (t >= 64) {
        if (bad == 4)
            arrive_some(2, 96);
        s[t] = x[t];
        if (bad != 4)
            arrive_some(2, 96);
        return;
    }
    s[t] = x[t];
    if (bad != 3)
        sync_some(bad == 5 ? 16 : 1, bad == 1 || (bad == 2 && t < 32) ? 96 : 64);
    float mine = s[63 - t];
    sync_some(2, 96);
    y[t] = mine + s[64 + t % 32];
}

extern "C" int hopper_planted(im_cu *cu, const char *name, int bad, float *x, float *y)
{
    tensor_map m;
    tensor_shape from = { !strcmp(name, "store") ? y : x, TENSOR_F32, 2, { 32, bad == 10 ? 128u : 32u }, { 128 },
                          { 1, 1, 1, 1, 1 }, SWIZZLE_NONE };
    const uint32_t box[2] = { 32, 8 };
    if (tensor_map_tiled(&m, &from, box))
        return 1;
    if (!strcmp(name, "load"))
        return LAUNCH_CLUSTER(cu, 1, 96, 1, 2048, load, m, y, bad);
    if (!strcmp(name, "store"))
        return LAUNCH_CLUSTER(cu, 1, 64, 1, 1024, store, m, y, bad);
    if (!strcmp(name, "product"))
        return LAUNCH_CLUSTER(cu, 1, 128, 1, 64 * 64 * 2 + 8 * 64 * 2, product, y, bad);
    if (!strcmp(name, "pair"))
        return LAUNCH_CLUSTER(cu, 4, 32, 2, 1024, pair, m, y, bad);
    return LAUNCH_CLUSTER(cu, 1, 96, 1, 0, some, (const float *)x, y, bad);
}
