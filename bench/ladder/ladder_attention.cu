/* ladder_attention.cu: o = softmax(q k^T / sqrt d) v of one head, in five steps to the kernel that is shipped
 * (cuda/attention_mma.cu). It is two products with a softmax between them: their ladders come first. What is new is
 * that the scores, T x T of them, need not exist.
 *
 *     1 naive       three kernels: a thread a score; a thread a row of the softmax; a thread a number of o.
 *                   Neighbouring threads' keys lie d apart, rows of scores T apart
 *     2 tiles       both products by tiles of 64 x 64 (cuda/product.cuh), the softmax by 16 lanes a row. The tiles
 *                   fetch along k, which for v runs down a column: 16 rows, a sector each
 *     3 folded      the softmax only makes the maximum and the sum of a row; weights are made of scores where the
 *                   second product fetches them. Scores pass through memory three times, not five
 *     4 fused       a block of 64 queries keeps its scores: for each 64 keys it makes 64 x 64 of them in registers, new
 *                   maxima and sums, rescales o (Dao et al. 2022), and weighs v out of shared memory. Scores are never
 *                   in memory: it needs T d of it, not T^2
 *     5 mma         the same on tensor cores (cuda/attention_mma.cu): weights stay in registers, as the sums of one mma
 *                   lie where the factor of the next is wanted; half the bytes; queries are held, not fetched for each
 *                   block of keys
 *
 * The predictions, sectors of 8 floats; SCORES = T T / 8, LINES = T d / 8:
 *     2       q and k: a tile of 64 x 64 fetches 128 lines; scores: written, read twice, weights written, read; v: a
 *             sector for two numbers, by T / 64 tiles; statistics of rows, 3 sectors a row; o
 *     3       scores: written, read, read; the maxima once more, two rows a sector
 *     4       T / 64 blocks: q again for each 64 keys, k and v once; o
 *     5       in f16. T / 64 blocks: k and v, half of the lines; q: a lane takes two bytes of 8 rows, 8 sectors for 64
 *             bytes: LINES in all, twice; o, whose sums pass through shared memory */
#include "ladder.cuh"
#include "plain.h"

#include "cuda/product.cuh"
#include "cuda/row.cuh"

struct att_call { const float *q, *k, *v; float *s, *stats, *o; float factor; };       /* s (T, T), stats (T, 2)        */

/* ---------------------------------------------------------------- 1 */

KERNEL(256) att_scores(GRID att_call p)
{
    int i = (int)(blockIdx.x * 256 + threadIdx.x), query = i / ATT_T, key = i % ATT_T;
    float sum = 0.0f;
    for (int c = 0; c < ATT_D; c++)
        sum = fmaf(p.q[query * ATT_D + c], p.k[key * ATT_D + c], sum);
    p.s[i] = sum * p.factor;
}

KERNEL(ATT_T) att_softmax(GRID att_call p)
{
    float *s = p.s + threadIdx.x * ATT_T, top = s[0], sum = 0.0f;
    for (int i = 1; i < ATT_T; i++)
        top = max_of(top, s[i]);
    for (int i = 0; i < ATT_T; i++) {
        s[i] = exp2_weight(s[i] - top);
        sum = sum + s[i];
    }
    for (int i = 0; i < ATT_T; i++)
        s[i] = s[i] / sum;
}

KERNEL(256) att_weigh(GRID att_call p)
{
    int i = (int)(blockIdx.x * 256 + threadIdx.x), query = i / ATT_D, c = i % ATT_D;
    float sum = 0.0f;
    for (int key = 0; key < ATT_T; key++)
        sum = fmaf(p.s[query * ATT_T + key], p.v[key * ATT_D + c], sum);
    p.o[i] = sum;
}

/* ---------------------------------------------------------------- 2, 3 */

struct att_scores_job {
    int64_t m; int n, k;
    bool geglu;
    att_call p;
    typedef const float *row;
    MEMBER row row_of(int64_t i) const { return p.q + i * ATT_D; }
    MEMBER float a(row r, int i) const { return r[i]; }
    MEMBER float b(int i, int step) const { return p.k[i * ATT_D + step]; }
    MEMBER void finish(int64_t i, int col, float sum, float) const { p.s[i * ATT_T + col] = sum * p.factor; }
};

/* 16 lanes a row; weights: they are written over the scores, else made again by who reads them. */
KERNEL(THREADS) att_statistics(GRID att_call p, bool weights)
{
    int row = (int)thread_of_grid() / 16, lane = (int)threadIdx.x % 16;
    row_numbers<ATT_T / 16> x = { { p.s, IM_F32 }, (int64_t)row * ATT_T + lane, ATT_T / 16, { 0 } };
    row_numbers<0> again = { x.x, x.at, x.n, { 0 } };
    float top = float_of(0xff800000u), sum = 0.0f;
    if (!weights)
        x.begin();
    for (int k = 0; k < ATT_T / 16; k++)
        top = max_of(top, weights ? again.number(k) : x.number(k));
    for (int by = 8; by; by /= 2)
        top = max_of(top, shuffle_xor(top, by));
    for (int k = 0; k < ATT_T / 16; k++) {
        float e = exp2_weight((weights ? again.number(k) : x.number(k)) - top);
        if (weights)
            p.s[x.at + 16 * k] = e;
        sum = sum + e;
    }
    sum = tree_sum(sum);
    if (lane == 0) {
        p.stats[2 * row] = top;
        p.stats[2 * row + 1] = sum;
    }
}

struct att_weigh_job {
    int64_t m; int n, k;
    bool geglu;
    att_call p;
    bool weights;                                              /* s holds them, not scores                             */
    struct row { const float *s; float top; };
    MEMBER row row_of(int64_t i) const { return { p.s + i * ATT_T, weights ? 0.0f : p.stats[2 * i] }; }
    MEMBER float a(row r, int i) const { return weights ? r.s[i] : exp2_weight(r.s[i] - r.top); }
    MEMBER float b(int i, int step) const { return p.v[step * ATT_D + i]; }
    MEMBER void finish(int64_t i, int col, float sum, float) const { p.o[i * ATT_D + col] = sum / p.stats[2 * i + 1]; }
};

static int by_tiles(im_device *dev, const att_call &p, bool weights)
{
    att_scores_job scores = { ATT_T, ATT_T, ATT_D, false, p };
    att_weigh_job weigh = { ATT_T, ATT_D, ATT_T, false, p, weights };
    return run_product(dev, scores, 1) ||
           LAUNCH(im_cuda_stream(dev), ATT_T * 16 / THREADS, THREADS, att_statistics, p, weights) ||
           run_product(dev, weigh, 1);
}

/* ---------------------------------------------------------------- 4 */

/* sum += 16 steps of as (16, 64 rows) and bs (16, 64 columns), as product.cuh. */
DEV void att_multiply(const float (*as)[PITCH], const float (*bs)[PITCH], float sum[EACH][EACH])
{
    int ty = (int)threadIdx.x / 16, tx = (int)threadIdx.x % 16;
    for (int k = 0; k < STEPS; k++)
        for (int i = 0; i < EACH; i++)
            for (int c = 0; c < EACH; c++)
                sum[i][c] = fmaf(as[k][ty + 16 * i], bs[k][tx + 16 * c], sum[i][c]);
}

/* Scores of a thread's 4 queries (ty + 16 i) to weights, which the 16 threads of a query share; o to the new maxima. */
DEV void att_soften(float s[EACH][EACH], float factor, float m[EACH], float l[EACH], float o[EACH][EACH])
{
    for (int i = 0; i < EACH; i++) {
        float top = m[i], sum = 0.0f;
        for (int c = 0; c < EACH; c++)
            top = max_of(top, s[i][c] * factor);
        for (int by = 8; by; by /= 2)
            top = max_of(top, shuffle_xor(top, by));
        float shrink = exp2_weight(m[i] - top);
        for (int c = 0; c < EACH; c++) {
            s[i][c] = exp2_weight(s[i][c] * factor - top);
            sum = sum + s[i][c];
            o[i][c] = o[i][c] * shrink;
        }
        l[i] = fmaf(l[i], shrink, from_first(tree_sum(sum)));
        m[i] = top;
    }
}

KERNEL(256) att_fused(GRID att_call p)
{
    SHARED2(float, as, STEPS, PITCH);
    SHARED2(float, bs, STEPS, PITCH);
    SHARED2(float, ps, TILE, PITCH);                           /* weights (keys, queries)                              */
    int ty = (int)threadIdx.x / 16, tx = (int)threadIdx.x % 16, query = (int)blockIdx.x * TILE + ty;
    float o[EACH][EACH] = { { 0 } }, m[EACH], l[EACH] = { 0 };
    for (int i = 0; i < EACH; i++)
        m[i] = float_of(0xff800000u);
    for (int key0 = 0; key0 < ATT_T; key0 += TILE) {
        float s[EACH][EACH] = { { 0 } };
        for (int c0 = 0; c0 < ATT_D; c0 += STEPS) {
            for (int i = 0; i < EACH; i++) {
                as[tx][ty + 16 * i] = p.q[(query + 16 * i) * ATT_D + c0 + tx];
                bs[tx][ty + 16 * i] = p.k[(key0 + ty + 16 * i) * ATT_D + c0 + tx];
            }
            sync_block();
            att_multiply(as, bs, s);
            sync_block();
        }
        att_soften(s, p.factor, m, l, o);
        for (int i = 0; i < EACH; i++)
            for (int c = 0; c < EACH; c++)
                ps[tx + 16 * c][ty + 16 * i] = s[i][c];
        for (int k0 = 0; k0 < TILE; k0 += STEPS) {             /* 16 keys of v: rows lie as they are wanted            */
            for (int c = 0; c < EACH; c++)
                bs[ty][tx + 16 * c] = p.v[(key0 + k0 + ty) * ATT_D + tx + 16 * c];
            sync_block();
            att_multiply(ps + k0, bs, o);
            sync_block();
        }
    }
    for (int i = 0; i < EACH; i++)
        for (int c = 0; c < EACH; c++)
            p.o[(query + 16 * i) * ATT_D + tx + 16 * c] = o[i][c] / l[i];
}

/* ---------------------------------------------------------------- all of them */

static int shipped(im_device *dev, const void *const *in, void *out)
{
    im_attention_args p = {};
    p.batch = p.heads = 1;
    p.d = ATT_D;
    p.tq = p.tk = ATT_T;
    p.scale = 0.125f;
    p.q = im_cbuf{ in[0], IM_F16 };
    p.k = im_cbuf{ in[1], IM_F16 };
    p.v = im_cbuf{ in[2], IM_F16 };
    p.o = im_buf{ out, IM_F32 };
    p.ldq = p.ldk = p.ldv = p.ldo = ATT_D;
    p.bsq = p.bsk = p.bsv = p.bso = ATT_T * ATT_D;
    ladder_device_use(dev, true, false);
    return im_cuda_attention(dev, &p);
}

static int run(im_device *dev, int step, const void *const *in, const int32_t *, void *out)
{
    im_cu *cu = im_cuda_stream(dev);
    float *space = (float *)im_cuda_workspace(dev, sizeof(float) * (ATT_T * ATT_T + 2 * ATT_T));
    att_call p = { (const float *)in[0], (const float *)in[1], (const float *)in[2], space, space + ATT_T * ATT_T,
                   (float *)out, 0.125f * 1.44269504f };       /* weights are powers of two                            */
    switch (step) {
    case 1:  return LAUNCH(cu, ATT_T * ATT_T / 256, 256, att_scores, p) || LAUNCH(cu, 1, ATT_T, att_softmax, p) ||
                    LAUNCH(cu, ATT_T * ATT_D / 256, 256, att_weigh, p);
    case 2:  return by_tiles(dev, p, true);
    case 3:  return by_tiles(dev, p, false);
    case 4:  return LAUNCH(cu, ATT_T / TILE, 256, att_fused, p);
    default: return shipped(dev, in, out);
    }
}

static const double T = ATT_T, D = ATT_D, SCORES = T * T / 8, LINES_OF = T * D / 8, BLOCKS = T / 64;
static const double TILES = 2 * BLOCKS * LINES_OF + BLOCKS * T * D / 2 + LINES_OF;       /* q and k, v, o                */
static const double PIECES = BLOCKS * BLOCKS * 2 * (D / 32);   /* of 64 lines x 32 channels, of k and v                 */

extern const ladder ladder_attention = {
    "attention", "o (128, 64) = softmax(q k^T / 8) v", 4.0 * ATT_T * ATT_T * ATT_D,
    { ATT_T * ATT_D, ATT_T * ATT_D, ATT_T * ATT_D }, 0, 0, ATT_T * ATT_D,
    { { "naive", 0, false, {} },
      { "tiles", 0, false, { { LADDER_SECTORS, TILES + 5 * SCORES + 3 * T } } },
      { "folded", 0, false, { { LADDER_SECTORS, TILES + 3 * SCORES + 3.5 * T } } },
      { "fused", 0, false, { { LADDER_SECTORS, BLOCKS * 3 * LINES_OF + LINES_OF } } },
      { "mma (f16)", 3, false, { { LADDER_SECTORS, 2 * LINES_OF + BLOCKS * 2 * LINES_OF / 2 + LINES_OF },
                                 { LADDER_TURNS, PIECES * 4 * (2 + 8) * 4 + BLOCKS * 4 * 64 } } } },
    run, plain_attention };
