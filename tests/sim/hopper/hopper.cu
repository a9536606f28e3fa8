/* hopper.cu: kernels as the third path will have them, in the simulator (test_hopper.cc) and, compiled only, by nvcc for
 * sm_90a (tests/sim/sass.sh). They are written to use the whole of cuda/hopper.cuh, not to be shipped.
 *
 *     products    c (m, n) = a (m, k) w (n, k)^T + bias, or a convolution as one such product whose a is read in windows
 *                 (im2col). Persistent blocks of three warpgroups: thread 0 of the first asks the copy engine for
 *                 128 x 64 of a and BN x 64 of w into a ring of stages, the other two multiply 64 rows each. Clusters of
 *                 two blocks take two tiles of a beside one of w, of which each fetches one half for both.
 *     chain       o (m, 64) = (q k^T) v without a softmax: the first product's sums become the second's a in registers, v
 *                 has its columns side by side
 *     one_wgmma   one product of matrices that threads wrote, in every layout
 *     boxes       one copy of a box, or of windows, and one back: what lies where */
#include "cuda/hopper.cuh"
extern "C" {
#include "hopper.h"
}

enum { BM = 128, BK = 64, STAGES = 3, GROUP = 128, TILE_A = BM * BK * 2 };

/* Where k block `k` of a tile comes from. */
DEV void fetch(const tensor_map *a, const hopper_products &p, void *to, mbarrier *full, int row, int k)
{
    if (!p.windows)
        return tma_load(to, a, full, { k * BK, row });
    int tap = k / p.blocks_c, x = row % p.out_w, y = row / p.out_w % p.out_h, image = row / p.out_w / p.out_h;
    tma_load_windows(to, a, full, { k % p.blocks_c * BK, x * p.step - p.pad, y * p.step - p.pad, image },
                     { (uint16_t)(tap % p.taps), (uint16_t)(tap / p.taps) });
}

template <bool BF16, int BN, int CLUSTER>
KERNEL_ALONE(3 * GROUP) products(GRID tensor_map a, GRID tensor_map w, GRID tensor_map c, GRID hopper_products p)
{
    SHARED_LAUNCH(memory);
    SHARED(mbarrier, full, STAGES);
    SHARED(mbarrier, empty, STAGES);
    const int tile_w = BN * BK * 2, part = BN / CLUSTER, group = (int)threadIdx.x / GROUP - 1;
    unsigned char *as = memory, *ws = as + STAGES * TILE_A, *cs = ws + STAGES * tile_w;
    const int rank = CLUSTER > 1 ? cluster_rank() : 0, columns = (p.n + BN - 1) / BN;
    const int tiles = (p.m + BM * CLUSTER - 1) / (BM * CLUSTER) * columns, step = (int)gridDim.x / CLUSTER;

    if (threadIdx.x == 0) {
        for (int s = 0; s < STAGES; s++) {
            mbar_init(&full[s], 1);
            mbar_init(&empty[s], 2 * CLUSTER);
        }
        mbar_fence();
    }
    if (CLUSTER > 1)
        sync_cluster();
    else
        sync_block();

    int turn = 0;                                              /* of the ring: counts k blocks of all tiles            */
    if (group < 0) {
        registers_down<40>();
        for (int t = (int)blockIdx.x / CLUSTER; t < tiles && threadIdx.x == 0; t += step)
            for (int k = 0; k < p.blocks_k; k++, turn++) {
                int s = turn % STAGES, row = (t / columns * CLUSTER + rank) * BM, column = t % columns * BN;
                mbar_wait(&empty[s], turn / STAGES % 2 ^ 1);
                mbar_arrive_expect(&full[s], TILE_A + tile_w);
                fetch(&a, p, as + s * TILE_A, &full[s], row, k);
                unsigned char *to = ws + s * tile_w + rank * part * BK * 2;
                const int tap = k / p.blocks_c, channel = k % p.blocks_c * BK;
                if (CLUSTER > 1)
                    tma_load(to, &w, &full[s], { channel, tap, column + rank * part }, (uint16_t)3);
                else
                    tma_load(to, &w, &full[s], { channel, tap, column });
            }
    } else {
        registers_up<232>();
        const int thread = (int)threadIdx.x % GROUP, warp = thread / 32, lane = thread % 32;
        uint32_t *tile = (uint32_t *)(cs + group * 64 * BN * 2);
        float d[BN / 2];
        for (int t = (int)blockIdx.x / CLUSTER; t < tiles; t += step) {
            for (int k = 0; k < p.blocks_k; k++, turn++) {
                int s = turn % STAGES;
                mbar_wait(&full[s], turn / STAGES % 2);
                uint64_t x = matrix(as + s * TILE_A + group * 64 * BK * 2, 16, 1024, SWIZZLE_128);
                uint64_t y = matrix(ws + s * tile_w, 16, 1024, SWIZZLE_128);
                wgmma_fence();
                for (int i = 0; i < BK / 16; i++)              /* 16 k are 32 bytes                                    */
                    wgmma<BF16>(d, x + 2 * i, y + 2 * i, k || i);
                wgmma_commit();
                wgmma_wait<1>();                               /* the stage before is free                             */
                if (k && thread < CLUSTER)
                    mbar_arrive_at(&empty[(turn + STAGES - 1) % STAGES], thread);
            }
            wgmma_wait<0>();
            if (thread < CLUSTER)
                mbar_arrive_at(&empty[(turn + STAGES - 1) % STAGES], thread);

            const int column = t % columns * BN, row = (t / columns * CLUSTER + rank) * BM + group * 64;
            if (thread == 0)
                tma_wait_read<0>();                            /* the tile before has left                             */
            sync_some(1 + group, GROUP);
            for (int j = 0; j < BN / 8; j++)
                for (int h = 0; h < 2; h++) {
                    int at = 8 * j + 2 * (lane % 4), n = column + at;
                    float x = d[4 * j + 2 * h] + (n < p.n ? p.bias[n] : 0);
                    float y = d[4 * j + 2 * h + 1] + (n + 1 < p.n ? p.bias[n + 1] : 0);
                    uint32_t low = BF16 ? f32_to_bf16(x) : f32_to_f16(x), high = BF16 ? f32_to_bf16(y) : f32_to_f16(y);
                    tile[((16 * warp + 8 * h + lane / 4) * BN + at) / 2] = low | high << 16;
                }
            fence_async();
            sync_some(1 + group, GROUP);
            if (thread == 0) {
                tma_store(&c, tile, { column, row });
                tma_commit();
            }
        }
        if (thread == 0)
            tma_wait_read<0>();
    }
    if (CLUSTER > 1)
        sync_cluster();                                        /* the other one's copies and arrivals come here, too   */
}

/* q (m, 64), k (keys, 64), v (keys, 64); blocks of 64 keys; one warpgroup and a warp that fetches. */
template <bool BF16>
KERNEL(GROUP + 32) chain(GRID tensor_map q, GRID tensor_map k, GRID tensor_map v, float *o, int m, int keys)
{
    enum { TILE = 64 * 64 * 2 };
    SHARED_LAUNCH(memory);
    SHARED(mbarrier, full, 2);
    SHARED(mbarrier, empty, 1);
    unsigned char *qs = memory, *ks = qs + TILE, *vs = ks + TILE;
    const int thread = (int)threadIdx.x, lane = thread % 32, row = (int)blockIdx.x * 64;
    if (thread == 0) {
        mbar_init(&full[0], 1);
        mbar_init(&full[1], 1);
        mbar_init(&empty[0], GROUP);
        mbar_fence();
    }
    sync_block();
    if (thread >= GROUP) {
        for (int j = 0; j < keys && lane == 0; j += 64) {
            mbar_wait(&empty[0], j / 64 % 2 ^ 1);
            mbar_expect(&full[0], j ? TILE : 2 * TILE);
            if (!j)
                tma_load(qs, &q, &full[0], { 0, row });
            tma_load(ks, &k, &full[0], { 0, j });
            mbar_arrive(&full[0]);
            mbar_arrive_expect(&full[1], TILE);
            tma_load(vs, &v, &full[1], { 0, j });
        }
        return;
    }
    float s[32], d[32];
    uint32_t x[4][4];                                          /* s as a: 16 keys each                                 */
    for (int j = 0; j < keys; j += 64) {
        mbar_wait(&full[0], j / 64 % 2);
        wgmma_fence();
        for (int i = 0; i < 4; i++)
            wgmma<BF16>(s, matrix(qs, 16, 1024, SWIZZLE_128) + 2 * i, matrix(ks, 16, 1024, SWIZZLE_128) + 2 * i, i > 0);
        wgmma_commit();
        wgmma_wait<0>();
        for (int i = 0; i < 16; i++) {                         /* columns 8 b .. of the sums are half a block of 16 k  */
            uint32_t low = BF16 ? f32_to_bf16(s[2 * i]) : f32_to_f16(s[2 * i]);
            uint32_t high = BF16 ? f32_to_bf16(s[2 * i + 1]) : f32_to_f16(s[2 * i + 1]);
            x[i / 4][i % 4] = low | high << 16;
        }
        mbar_wait(&full[1], j / 64 % 2);
        wgmma_fence();
        for (int i = 0; i < 4; i++)                            /* 16 keys are two times 8 rows of 128 bytes            */
            wgmma<BF16, true>(d, x[i], matrix(vs, 8192, 1024, SWIZZLE_128) + 128 * i, j || i);
        wgmma_commit();
        wgmma_wait<0>();
        mbar_arrive(&empty[0]);
    }
    for (int i = 0; i < 32; i++) {
        int r = row + 16 * (thread / 32) + 8 * (i / 2 % 2) + lane / 4;
        if (r < m)
            o[r * 64 + 8 * (i / 4) + 2 * (lane % 4) + i % 2] = d[i];
    }
}

/* d (64, N) = a (64, 16) b (N, 16)^T, c in d's registers before; a and b: images of shared memory, or of registers. */
template <bool BF16, int N, bool TURN_A, bool TURN_B> KERNEL(GROUP) one_wgmma(GRID hopper_one p)
{
    SHARED_LAUNCH(memory);
    const int t = (int)threadIdx.x;
    uint32_t *words = (uint32_t *)memory, r[4];
    float d[N / 2];
    for (int i = t; i < 2 * HOPPER_IMAGE / 4; i += GROUP)
        words[i] = i < HOPPER_IMAGE / 4 ? p.a[i] : p.b[i - HOPPER_IMAGE / 4];
    for (int i = 0; i < N / 2; i++)
        d[i] = p.d[i * GROUP + t];
    for (int i = 0; i < 4; i++)
        r[i] = p.a[t * 4 + i];
    fence_async();
    sync_block();
    uint64_t a = matrix(memory, p.lead_a, p.stride_a, p.turn_a);
    uint64_t b = matrix(memory + HOPPER_IMAGE, p.lead_b, p.stride_b, p.turn_b);
    if (p.in_registers) {
        wgmma_fence();
        wgmma<BF16, TURN_B>(d, r, b, p.add);
    } else {
        wgmma_fence();
        wgmma<BF16, TURN_A, TURN_B>(d, a, b, p.add);
    }
    wgmma_commit();
    wgmma_wait<0>();
    for (int i = 0; i < N / 2; i++)
        p.d[i * GROUP + t] = d[i];
}

/* One copy into shared memory, whose bytes go to out as they lie there; and one back to the tensor `back`. */
template <int RANK> KERNEL(32) boxes(GRID tensor_map from, GRID tensor_map back, GRID hopper_box p)
{
    SHARED_LAUNCH(memory);
    SHARED(mbarrier, full, 1);
    const int t = (int)threadIdx.x;
    int at[RANK];
    for (int i = 0; i < RANK; i++)
        at[i] = p.at[i];
    if (t == 0) {
        mbar_init(full, 1);
        mbar_fence();
        mbar_arrive_expect(full, p.bytes);
        if constexpr (RANK >= 3) {
            uint16_t offset[RANK - 2];
            for (int i = 0; i < RANK - 2; i++)
                offset[i] = (uint16_t)p.offset[i];
            if (p.windows)
                tma_load_windows(memory, &from, full, at, offset);
        }
        if (!p.windows)
            tma_load(memory, &from, full, at);
    }
    sync_block();
    mbar_wait(full, 0);
    for (int i = t; i < p.bytes / 4; i += 32)
        p.out[i] = ((uint32_t *)memory)[i];
    if (t == 0 && !p.windows) {
        tma_store(&back, memory, at);
        tma_commit();
        tma_wait<0>();
    }
}

/* ---------------------------------------------------------------- launches */

template <bool BF16, int BN> static int launch_products(im_cu *cu, const tensor_map m[3], const hopper_products *p)
{
    const int bytes = STAGES * (TILE_A + BN * BK * 2) + BM * BN * 2;
    if (p->cluster > 1)
        return LAUNCH_CLUSTER(cu, (unsigned)p->blocks, 3 * GROUP, 2, bytes, (products<BF16, BN, 2>), m[0], m[1], m[2], *p);
    return LAUNCH_CLUSTER(cu, (unsigned)p->blocks, 3 * GROUP, 1, bytes, (products<BF16, BN, 1>), m[0], m[1], m[2], *p);
}

static tensor_shape shape(void *p, bool bf16, int rank, swizzle turn)
{
    tensor_shape t = { p, bf16 ? TENSOR_BF16 : TENSOR_F16, rank, { 1, 1, 1, 1, 1 }, { 0 }, { 1, 1, 1, 1, 1 }, turn };
    return t;
}

/* a (m, k) or (images, h, w, c); weights (n, taps, c); the maps of a call */
static int maps_of(const hopper_products *p, int bn, tensor_map m[3])
{
    tensor_shape a = shape(p->a, p->bf16, p->windows ? 4 : 2, SWIZZLE_128), w = shape(p->w, p->bf16, 3, SWIZZLE_128);
    tensor_shape c = shape(p->c, p->bf16, 2, SWIZZLE_NONE);
    uint64_t taps = (uint64_t)p->taps * p->taps, row = (uint64_t)p->in_c * 2;
    a.size[0] = w.size[0] = (uint64_t)p->in_c;
    a.stride[0] = w.stride[0] = row;
    w.size[1] = taps;
    w.size[2] = c.size[0] = (uint64_t)p->n;
    w.stride[1] = taps * row;
    c.size[1] = (uint64_t)p->m;
    c.stride[0] = (uint64_t)p->n * 2;
    uint32_t box_w[3] = { BK, 1, (uint32_t)(bn / p->cluster) }, box_a[2] = { BK, BM }, box_c[2] = { (uint32_t)bn, 64 };
    int bad = tensor_map_tiled(&m[1], &w, box_w) | tensor_map_tiled(&m[2], &c, box_c);
    if (!p->windows) {
        a.size[1] = (uint64_t)p->m;
        return bad | tensor_map_tiled(&m[0], &a, box_a);
    }
    a.size[1] = (uint64_t)p->in_w;
    a.size[2] = (uint64_t)p->in_h;
    a.size[3] = (uint64_t)(p->m / (p->out_w * p->out_h));
    a.stride[1] = (uint64_t)p->in_w * row;
    a.stride[2] = (uint64_t)p->in_h * a.stride[1];
    a.step[1] = a.step[2] = (uint32_t)p->step;
    tensor_windows v = { { -p->pad, -p->pad }, { (p->out_w - 1) * p->step + 1 - p->pad - p->in_w,
                                                 (p->out_h - 1) * p->step + 1 - p->pad - p->in_h }, BK, BM };
    return bad | tensor_map_windows(&m[0], &a, &v);
}

extern "C" int hopper_run_products(im_cu *cu, const hopper_products *p)
{
    tensor_map m[3];
    int bn = p->wide ? 160 : 64;
    if (maps_of(p, bn, m))
        return 1;
    if (p->wide)
        return p->bf16 ? launch_products<true, 160>(cu, m, p) : launch_products<false, 160>(cu, m, p);
    return p->bf16 ? launch_products<true, 64>(cu, m, p) : launch_products<false, 64>(cu, m, p);
}

extern "C" int hopper_run_chain(im_cu *cu, void *q, void *k, void *v, float *o, int m, int keys, bool bf16)
{
    tensor_map maps[3];
    void *p[3] = { q, k, v };
    for (int i = 0; i < 3; i++) {
        tensor_shape t = shape(p[i], bf16, 2, SWIZZLE_128);
        uint32_t box[2] = { 64, 64 };
        t.size[0] = 64;
        t.size[1] = (uint64_t)(i ? keys : m);
        t.stride[0] = 128;
        if (tensor_map_tiled(&maps[i], &t, box))
            return 1;
    }
    unsigned blocks = (unsigned)(m + 63) / 64;
    if (bf16)
        return LAUNCH_CLUSTER(cu, blocks, GROUP + 32, 1, 3 * 8192, chain<true>, maps[0], maps[1], maps[2], o, m, keys);
    return LAUNCH_CLUSTER(cu, blocks, GROUP + 32, 1, 3 * 8192, chain<false>, maps[0], maps[1], maps[2], o, m, keys);
}

extern "C" int hopper_run_one(im_cu *cu, const hopper_one *p, bool bf16, bool turn_a, bool turn_b, int n)
{
#define ONE(a, b, c, d) \
    if (bf16 == a && n == b && turn_a == c && turn_b == d) \
        return LAUNCH_CLUSTER(cu, 1, GROUP, 1, 2 * HOPPER_IMAGE, (one_wgmma<a, b, c, d>), *p);
#define TURNS(a, b) ONE(a, b, false, false) ONE(a, b, true, false) ONE(a, b, false, true) ONE(a, b, true, true)
    TURNS(true, 64) TURNS(false, 64) ONE(true, 8, false, false) ONE(false, 40, false, false) ONE(true, 256, false, false)
    return 1;
#undef ONE
#undef TURNS
}

extern "C" int hopper_run_box(im_cu *cu, const tensor_shape *from, const tensor_shape *back, const uint32_t *box,
                              const tensor_windows *w, const hopper_box *p)
{
    tensor_map maps[2];
    if ((w ? tensor_map_windows(&maps[0], from, w) : tensor_map_tiled(&maps[0], from, box)) ||
        (!w && tensor_map_tiled(&maps[1], back, box)))
        return 1;
    if (w)
        maps[1] = maps[0];
#define RANK(r) case r: return LAUNCH_CLUSTER(cu, 1, 32, 1, (size_t)p->bytes, boxes<r>, maps[0], maps[1], *p);
    switch (from->rank) {
    RANK(1) RANK(2) RANK(3) RANK(4) RANK(5)
    }
    return 1;
#undef RANK
}
