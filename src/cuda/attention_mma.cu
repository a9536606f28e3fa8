/* attention_mma.cu: o = softmax(scale q k^T) v on tensor cores (attention_mma.cuh). A block: 64 queries of a head. For each
 * 64 keys: scores; new maximum of each query, weights 2^(s - m) in f32, their sum; weights rounded to 16 bits and
 * multiplied with v into sums that are rescaled once a block of keys.
 *
 * Heads of up to 160 channels: the queries stay in registers, and so do all of a query's sums (d = 160: 40 + 80 registers
 * of a thread). Wider ones: pieces of the queries pass by beside those of the keys, and a block makes 128 channels of the
 * result (blockIdx.z), each with the same scores.
 *
 * Bits: scores are chains of k16 steps (sm_75: k8) over channels, results the same over keys, sums of weights go along a
 * thread's 16 keys of a block and then over four lanes: they depend on the head alone, not on the batch. */
#include "cuda/attention_mma.cuh"

struct attention_mma_call { attention_call c; bool q, k, v; }; /* which can be copied directly                         */

template <int STEPS, int UNITS> struct key_pieces {
    enum { DOTS = (STEPS + 1) / 2, OUT = (UNITS + 1) / 2, HELD = STEPS <= 10, SIZE = (HELD ? 1 : 2) * PIECE_SIZE };
    lines q, k, v;
    int query0, c0;
    template <class C> MEMBER void fetch(int i, uint16_t *to, C &copy) const
    {
        int key0 = i / (DOTS + OUT) * LINES, piece = i % (DOTS + OUT);
        if (piece >= DOTS)
            return fetch_piece(v, key0, c0 + (piece - DOTS) * MMA_K, to, copy, 0);
        fetch_piece(k, key0, piece * MMA_K, to, copy, 0);
        if (!HELD)
            fetch_piece(q, query0, piece * MMA_K, to + PIECE_SIZE, copy, 2);
    }
};

/* Scores of 64 keys to weights; o's rows to the new maximum. */
template <int UNITS> DEV void soften(const attention_call &w, int query, int key0, float s[8][4], float m[2], float l[2],
                                     float o[2 * UNITS][4])
{
    const float low = float_of(0xff800000u);
    int column = key0 + (int)threadIdx.x % 4 * 2;
    UNROLL for (int h = 0; h < 2; h++) {                       /* this thread's two queries: query and query + 8       */
        float top = m[h], sum = 0.0f;
        UNROLL for (int n = 0; n < 8; n++)
            UNROLL for (int e = 0; e < 2; e++) {
                int key = column + 8 * n + e;
                float x = s[n][2 * h + e] * w.factor;
                x = key >= w.p.tk || (w.p.causal && key > query + 8 * h) ? low : x;
                s[n][2 * h + e] = x;
                top = max_of(top, x);
            }
        top = max_of_four(top);
        float base = top == low ? 0.0f : top, shrink = exp2_weight(m[h] - base);
        UNROLL for (int n = 0; n < 8; n++)
            UNROLL for (int e = 0; e < 2; e++) {
                float x = exp2_weight(s[n][2 * h + e] - base);
                s[n][2 * h + e] = x;
                sum = sum + x;
            }
        l[h] = fmaf(l[h], shrink, sum_of_four(sum));
        m[h] = top;
        UNROLL for (int n = 0; n < 2 * UNITS; n++) {
            o[n][2 * h] = o[n][2 * h] * shrink;
            o[n][2 * h + 1] = o[n][2 * h + 1] * shrink;
        }
    }
}

template <int STEPS, int UNITS, im_cuda_cores CORES> KERNEL(MMA_THREADS) attention_mma_kernel(GRID attention_mma_call w)
{
    CODE_FOR(CORES == IM_CUDA_F16_75);
    typedef key_pieces<STEPS, UNITS> source;
    SHARED16(uint16_t, places, PIECE_STAGES * source::SIZE);
    const im_attention_args &p = w.c.p;
    int lane = (int)threadIdx.x % 32, query0 = (int)blockIdx.x * LINES, warp0 = query0 + (int)threadIdx.x / 32 * 16;
    int query = warp0 + lane / 4, b = (int)blockIdx.y / p.heads, column = (int)blockIdx.y % p.heads * p.d;
    int tk = p.causal && query0 + LINES < p.tk ? query0 + LINES : p.tk, blocks = (tk + LINES - 1) / LINES;
    source from = { { (const uint16_t *)p.q.p, b * p.bsq + column, p.ldq, p.tq, p.d, w.q },
                    { (const uint16_t *)p.k.p, b * p.bsk + column, p.ldk, p.tk, p.d, w.k },
                    { (const uint16_t *)p.v.p, b * p.bsv + column, p.ldv, p.tk, p.d, w.v }, query0,
                    (int)blockIdx.z * 16 * UNITS };
    pieces<CORES, source> come = { from, places, source::SIZE, blocks * (source::DOTS + source::OUT), 0, 0, {} };
    uint32_t q[source::HELD ? STEPS : 2][4], weights[4][4];
    float o[2 * UNITS][4] = { { 0 } }, m[2], l[2] = { 0.0f, 0.0f };
    m[0] = m[1] = float_of(0xff800000u);
    come.begin();
    if (source::HELD)
        hold_lines<source::HELD ? STEPS : 2>(from.q, warp0, q);
    for (int block = 0; block < blocks; block++) {
        float s[8][4] = { { 0 } };
        score<CORES, STEPS, source::HELD>(come, q, s);
        soften<UNITS>(w.c, query, block * LINES, s, m, l, o);
        as_factor<CORES>(s, weights);
        weigh_all<CORES, UNITS>(come, weights, o);
    }
    UNROLL for (int h = 0; h < 2; h++) {
        int i = query + 8 * h;
        if (i < p.tq && lane % 4 == 0 && p.lse && blockIdx.z == 0)
            p.lse[(int64_t)blockIdx.y * p.tq + i] = l[h] == 0.0f ? 0.0f : fmaf(log_of(l[h]), 0x1.715476p+0f, m[h]);
    }
    end_lines<UNITS>(o, places, [&](int line, int c, float x) {
        float low = shuffle(l[0], line % 8 * 4), high = shuffle(l[1], line % 8 * 4), sum = line < 8 ? low : high;
        if (warp0 + line < p.tq && from.c0 + c < p.d)
            store(p.o, b * p.bso + (warp0 + line) * p.ldo + column + from.c0 + c, sum == 0.0f ? 0.0f : x / sum);
    });
}

template <int STEPS, int UNITS> static int launch(im_device *dev, const attention_mma_call &w, im_cuda_cores cores)
{
    const im_attention_args &p = w.c.p;
    dim3 grid(im_cuda_blocks(p.tq, LINES), (unsigned)(p.batch * p.heads), im_cuda_blocks(p.d, 16 * UNITS));
    return RUN_CORES(dev, cores, grid, attention_mma_kernel, (STEPS, UNITS), w);
}

int im_cuda_attention_mma(im_device *dev, const attention_call &c, im_cuda_cores cores)
{
    const im_attention_args &p = c.p;
    attention_mma_call w = { c, lines_direct(p.q.p, p.ldq, p.bsq, p.d), lines_direct(p.k.p, p.ldk, p.bsk, p.d),
                             lines_direct(p.v.p, p.ldv, p.bsv, p.d) };
    return p.d <= 48 ? launch<3, 3>(dev, w, cores) : p.d <= 64 ? launch<4, 4>(dev, w, cores)
         : p.d <= 80 ? launch<5, 5>(dev, w, cores) : p.d <= 160 ? launch<10, 10>(dev, w, cores)
                                                                : launch<32, 8>(dev, w, cores);
}
