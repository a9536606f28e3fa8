/* attention_backward_mma.cu: the gradients of attention on tensor cores (attention_mma.cuh; formulas: train_args.h). Scores
 * are computed again. Three gradients of one kind:
 *
 *               rows (64 a block)      columns that pass by      summed up
 *     dq        q, do                  k, v                      ds k
 *     dk        k, v                   q, do                     ds^T q
 *     dv        k                      q, do                     p^T do
 *
 * For each 64 columns: s = rows columns^T, dp of the second pair, p = 2^(s - lse), ds = p (dp - do . o) in f32, rounded to
 * 16 bits, then the sums: chains of k16 steps over ascending columns. Nothing is summed by two blocks. Rows stay in
 * registers for heads of up to 80 channels, else they pass by beside the columns; a block makes UNITS times 16 channels
 * of the result (blockIdx.z), each with the same scores. */
#include "cuda/attention_mma.cuh"

enum gradient { DQ, DK, DV };
struct bwd_mma_call { bwd_call c; gradient of; bool q, k, v, dout; };

template <int STEPS, int UNITS> struct pair_pieces {
    enum { DOTS = (STEPS + 1) / 2, OUT = (UNITS + 1) / 2, HELD = STEPS <= 5, SIZE = (HELD ? 1 : 2) * PIECE_SIZE };
    lines row[2], column[2], last;                             /* last: what is weighed                                */
    int row0, first, c0, pairs;                                /* column of the first block; of rows and columns       */
    template <class C> MEMBER void fetch(int i, uint16_t *to, C &copy) const
    {
        int line = first + i / (pairs * DOTS + OUT) * LINES, piece = i % (pairs * DOTS + OUT), which = piece >= DOTS;
        if (piece >= pairs * DOTS)
            return fetch_piece(last, line, c0 + (piece - pairs * DOTS) * MMA_K, to, copy, 0);
        piece -= which * DOTS;
        fetch_piece(which ? column[1] : column[0], line, piece * MMA_K, to, copy, 0);
        if (!HELD)
            fetch_piece(which ? row[1] : row[0], row0, piece * MMA_K, to + PIECE_SIZE, copy, 2);
    }
};

/* Scores and dp of 64 x 64 to p and ds (in dp's place). */
DEV void soften_backward(const bwd_mma_call &w, int64_t pair, int row, int column0, float s[8][4], float dp[8][4])
{
    const im_attention_bwd_args &p = w.c.p;
    int column = column0 + (int)threadIdx.x % 4 * 2;
    UNROLL for (int n = 0; n < 8; n++)
        UNROLL for (int i = 0; i < 4; i++) {
            int r = row + i / 2 * 8, c = column + 8 * n + i % 2, query = w.of == DQ ? r : c, key = w.of == DQ ? c : r;
            bool in = query < p.tq && key < p.tk && !(p.causal && key > query);
            int64_t at = pair * p.tq + (in ? query : 0);
            float x = in ? exp2_weight(s[n][i] * w.c.factor - p.lse[at]) : 0.0f;
            s[n][i] = x;
            dp[n][i] = in ? x * (dp[n][i] - w.c.along[at]) : 0.0f;
        }
}

template <int STEPS, int UNITS, im_cuda_cores CORES> KERNEL(MMA_THREADS) attention_bwd_mma_kernel(GRID bwd_mma_call w)
{
    CODE_FOR(CORES == IM_CUDA_F16_75);
    typedef pair_pieces<STEPS, UNITS> source;
    SHARED16(uint16_t, places, PIECE_STAGES * source::SIZE);
    const im_attention_bwd_args &p = w.c.p;
    int lane = (int)threadIdx.x % 32, row0 = (int)blockIdx.x * LINES, warp0 = row0 + (int)threadIdx.x / 32 * 16;
    int64_t pair = blockIdx.y, b = pair / p.heads, column = pair % p.heads * p.d;
    lines q = { (const uint16_t *)p.q.p, b * p.bsq + column, p.ldq, p.tq, p.d, w.q };
    lines k = { (const uint16_t *)p.k.p, b * p.bsk + column, p.ldk, p.tk, p.d, w.k };
    lines v = { (const uint16_t *)p.v.p, b * p.bsv + column, p.ldv, p.tk, p.d, w.v };
    lines dout = { (const uint16_t *)p.dout.p, b * p.bso + column, p.ldo, p.tq, p.d, w.dout };
    bool dq = w.of == DQ;
    int first = !dq && p.causal ? row0 : 0, end = !dq ? p.tq : p.causal && row0 + LINES < p.tk ? row0 + LINES : p.tk;
    int blocks = end > first ? (end - first + LINES - 1) / LINES : 0;
    source from = { { dq ? q : k, dq ? dout : v }, { dq ? k : q, dq ? v : dout }, dq ? k : w.of == DK ? q : dout, row0,
                    first, (int)blockIdx.z * 16 * UNITS, w.of == DV ? 1 : 2 };
    int total = blocks * (from.pairs * source::DOTS + source::OUT);
    pieces<CORES, source> come = { from, places, source::SIZE, total, 0, 0, {} };
    uint32_t rows[2][source::HELD ? STEPS : 2][4], weights[4][4];
    float o[2 * UNITS][4] = { { 0 } };
    come.begin();
    if (source::HELD)
        for (int i = 0; i < 2; i++)
            hold_lines<source::HELD ? STEPS : 2>(from.row[i], warp0, rows[i]);
    for (int block = 0; block < blocks; block++) {
        float s[2][8][4] = { { { 0 } } };                      /* scores and dp                                        */
        score<CORES, STEPS, source::HELD>(come, rows[0], s[0]);
        if (w.of != DV)
            score<CORES, STEPS, source::HELD>(come, rows[1], s[1]);
        soften_backward(w, pair, warp0 + lane / 4, first + block * LINES, s[0], s[1]);
        as_factor<CORES>(w.of == DV ? s[0] : s[1], weights);
        weigh_all<CORES, UNITS>(come, weights, o);
    }
    im_buf to = dq ? p.dq : w.of == DK ? p.dk : p.dv;
    int64_t ld = dq ? p.ldq : w.of == DK ? p.ldk : p.ldv, at = dq ? q.at : w.of == DK ? k.at : v.at;
    bool add = dq ? p.add_dq : w.of == DK ? p.add_dk : p.add_dv;
    end_lines<UNITS>(o, places, [&](int line, int c, float x) {
        if (warp0 + line < (dq ? p.tq : p.tk) && from.c0 + c < p.d)
            put(to, at + (warp0 + line) * ld + from.c0 + c, w.of == DV ? x : x * p.scale, add);
    });
}

template <int STEPS, int UNITS> static int launch(im_device *dev, const bwd_mma_call &w, im_cuda_cores cores)
{
    const im_attention_bwd_args &p = w.c.p;
    dim3 grid(im_cuda_blocks(w.of == DQ ? p.tq : p.tk, LINES), (unsigned)(p.batch * p.heads),
              im_cuda_blocks(p.d, 16 * UNITS));
    return RUN_CORES(dev, cores, grid, attention_bwd_mma_kernel, (STEPS, UNITS), w);
}

int im_cuda_attention_bwd_mma(im_device *dev, const bwd_call &c, im_cuda_cores cores)
{
    const im_attention_bwd_args &p = c.p;
    int failed = 0, d = p.d;
    for (int of = DQ; of <= DV && !failed; of++) {
        bwd_mma_call w = { c, (gradient)of, lines_direct(p.q.p, p.ldq, p.bsq, d), lines_direct(p.k.p, p.ldk, p.bsk, d),
                           lines_direct(p.v.p, p.ldv, p.bsv, d), lines_direct(p.dout.p, p.ldo, p.bso, d) };
        if ((of == DQ ? p.dq : of == DK ? p.dk : p.dv).p)
            failed = d <= 48 ? launch<3, 3>(dev, w, cores) : d <= 64 ? launch<4, 4>(dev, w, cores)
                   : d <= 80 ? launch<5, 5>(dev, w, cores) : d <= 160 ? launch<10, 5>(dev, w, cores)
                                                                      : launch<32, 8>(dev, w, cores);
    }
    return failed;
}
