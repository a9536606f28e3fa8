/* faults.cu: kernels with a fault planted in each, and the same without it: what the simulator must see (test_sim.cc).
 * `bad` chooses the fault. */
#include "cuda/kernel.cuh"

/* Sum of 128 numbers by halves in shared memory. bad 1: no barrier behind the store; 2: none within the loop. */
KERNEL(128) halves(const float *x, float *y, int bad)
{
    SHARED(float, s, 128);
    int t = (int)threadIdx.x;
    s[t] = x[blockIdx.x * 128 + t];
    if (bad != 1)
        sync_block();
    for (int h = 64; h; h /= 2) {
        if (t < h)
            s[t] += s[t + h];
        if (bad != 2)
            sync_block();
    }
    if (t == 0)
        y[blockIdx.x] = s[0];
}

/* The same within a warp: sync_warp orders what its lanes write. bad 1: a shuffle stands there, which does not. */
KERNEL(32) warp_turn(const float *x, float *y, int bad)
{
    SHARED(float, s, 32);
    int t = (int)threadIdx.x;
    s[t] = x[t];
    if (bad == 1)
        shuffle(0.0f, 0);
    else
        sync_warp();
    y[t] = s[31 - t];
}

/* Shuffles: a sum over 16 lanes. bad 1: half of a warp has left. */
KERNEL(64) lanes(const float *x, float *y, int bad)
{
    int t = (int)threadIdx.x;
    if (bad == 1 && t % 32 >= 16)
        return;
    float sum = tree_sum(x[t]);
    if (t % 16 == 0)
        y[t / 16] = sum;
}

/* bad 1: every block writes y[0]; 2: a block reads what another one writes; 3: two threads write one number, one of them
 * by an atomic; 0: an atomic sum. */
KERNEL(32) across(float *y, int *sum, int bad)
{
    int t = (int)threadIdx.x, b = (int)blockIdx.x;
    if (bad == 1 && t == 0)
        y[0] = (float)b;
    if (bad == 2 && t == 0)
        y[b] = b ? y[b - 1] + 1 : 1;
    if (bad == 3 && b == 0 && t < 2)
        t ? (void)atomic_add(sum, 1) : (void)(*sum = 3);
    if (bad == 0)
        atomic_add(sum, 1);
}

/* bad 1: reads behind the end; 2: writes before the beginning; 3: what nobody has written; 4: shared memory that nobody
 * has written; 5: behind the end of an array in shared memory; 6: four bytes at an odd place. */
KERNEL(32) outside(float *x, float *y, int n, int bad)
{
    SHARED(float, s, 32);
    SHARED(float, other, 32);
    int t = (int)threadIdx.x;
    other[t] = 0;
    if (bad != 4)
        s[t] = x[t];
    sync_block();
    if (bad == 1)
        s[t] = x[t + n];
    if (bad == 2 && t == 0)
        x[-1] = 1;
    if (bad == 3)
        s[t] = y[t];
    if (bad == 5 && t == 31)
        s[t] += s[t + 1];
    if (bad == 6 && t == 0)
        s[0] = *(float *)((char *)x + 2);
    y[t] = s[t] + other[t];
}

/* bad 1: half of the threads end before the barrier; 2: they meet at two barriers; 3: half of a warp waits at the block's
 * barrier, the other half for a shuffle. */
KERNEL(32) barriers(float *y, int bad)
{
    int t = (int)threadIdx.x;
    if (bad == 1 && t < 16)
        return;
    if (bad == 2 && t < 16)
        sync_block();
    else if (bad == 3 && t < 16)
        shuffle(1.0f, 0);
    else
        sync_block();
    y[t] = 1;
}

/* Memory of the host. bad 1: read; 2: write. */
KERNEL(1) of_host(float *host, float *y, int bad)
{
    y[0] = bad == 1 ? host[0] : 0;
    if (bad == 2)
        host[0] = 1;
}

/* Two stages of asynchronous copies: sums of 16 numbers. bad 1: no wait; 2: no barrier behind it; 3: the next copy is asked
 * for before all have read its place. */
KERNEL(32) stages(const float *x, float *y, int bad)
{
    SHARED16(float, s, 2 * 128);
    int t = (int)threadIdx.x;
    float sum = 0;
    copy_async(s + 4 * t, x + 4 * t, true);
    copy_commit();
    for (int i = 0; i < 4; i++) {
        if (bad != 1)
            copy_wait<0>();
        if (bad != 2)
            sync_block();
        if (i < 3)
            copy_async(s + (bad == 3 ? i : i + 1) % 2 * 128 + 4 * t, x + 128 * (i + 1) + 4 * t, true);
        copy_commit();
        for (int k = 0; k < 4; k++)
            sum += s[i % 2 * 128 + 4 * (31 - t) + k];
    }
    y[t] = sum;
}

typedef struct { float *x, *y; int *sum; float *host; } planted;

extern "C" void sim_planted(im_cu *cu, const char *name, int bad, planted p)
{
    switch (name[0] + name[1]) {
    case 'h' + 'a': LAUNCH(cu, 4, 128, halves, p.x, p.y, bad); break;
    case 'w' + 'a': LAUNCH(cu, 1, 32, warp_turn, p.x, p.y, bad); break;
    case 'l' + 'a': LAUNCH(cu, 1, 64, lanes, p.x, p.y, bad); break;
    case 'a' + 'c': LAUNCH(cu, 4, 32, across, p.y, p.sum, bad); break;
    case 'o' + 'u': LAUNCH(cu, 1, 32, outside, p.x, p.y, 512, bad); break;
    case 'b' + 'a': LAUNCH(cu, 1, 32, barriers, p.y, bad); break;
    case 's' + 't': LAUNCH(cu, 1, 32, stages, p.x, p.y, bad); break;
    case 'o' + 'f': LAUNCH(cu, 1, 1, of_host, p.host, p.y, bad); break;
    }
}
