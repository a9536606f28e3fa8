/* attention_mma.cuh: what attention_mma.cu and attention_backward_mma.cu share: attention on tensor cores (cores.cuh), its
 * inputs in f16 or, from sm_80 on, bf16 (Dao 2023, arXiv:2307.08691).
 *
 *     a block: 64 rows (queries, say), 16 a warp, against blocks of 64 columns (keys) that pass by
 *
 *     dots      s (64 x 64) = rows columns^T, chains of k16 steps over the d channels of a head
 *     weigh     o (64 x d) += p columns, chains of k16 steps over the columns; p stays in registers: where the sums of an
 *               mma of 16 x 8 lie is where the first factor of the next one is wanted, two of them for 16 columns
 *
 * What passes by comes in pieces of 64 lines x 32 channels (4 KiB), four places in shared memory, three pieces on their way
 * (sm_75: one): first those of the dots, then those to be weighed, then the next block's. Channels beyond d are zeros. */
#ifndef IM_CUDA_ATTENTION_MMA_H
#define IM_CUDA_ATTENTION_MMA_H

#include "cuda/attention.cuh"
#include "cuda/product_mma.cuh"

enum { LINES = 64, PIECE_STAGES = 4, PIECE_SIZE = LINES * MMA_K, END_PITCH = 40 };

/* Rows of d numbers in 16 bits, n of them; direct: 8 of them lie at multiples of 16 bytes. */
struct lines { const uint16_t *p; int64_t at, ld; int n, d; bool direct; };

/* copy: the thread's, of which these are nth and nth + 1 */
template <class C> DEV void fetch_piece(const lines &s, int line0, int c0, uint16_t *to, C &copy, int nth)
{
    int t = (int)threadIdx.x, c = c0 + 8 * (t % 4);
    if (s.direct) {
        UNROLL for (int i = 0; i < 2; i++) {
            int line = t / 4 + 32 * i;
            bool in = line0 + line < s.n && c < s.d;
            copy.ask(nth + i, to + swizzled(line, t % 4), in ? s.p + s.at + (line0 + line) * s.ld + c : s.p, in);
        }
        return;
    }
    ROLLED for (int e = 0; e < 16; e++) {
        int line = t / 4 + e / 8 * 32, k = e % 8;
        bool in = line0 + line < s.n && c + k < s.d;
        to[swizzled(line, t % 4) + k] = in ? s.p[s.at + (line0 + line) * s.ld + c + k] : 0;
    }
}

/* Pieces 0 .. total - 1, in order: f.fetch(i, to, copy) asks for one. */
template <im_cuda_cores CORES, class F> struct pieces {
    const F &f;
    uint16_t *places;
    int size, total, next, now;
    copies<CORES, 4, PIECE_STAGES - 2> copy;
    MEMBER void ask()
    {
        if (next < total)
            f.fetch(next, places + next % PIECE_STAGES * size, copy);
        copy.commit();
        next++;
    }
    MEMBER void begin()
    {
        for (int i = 0; i < PIECE_STAGES - 1; i++) {
            copy.wait();
            ask();
        }
    }
    MEMBER const uint16_t *take()                              /* all threads; until the next take                     */
    {
        copy.wait();
        sync_block();                                          /* everybody's copies, and done with the piece before   */
        ask();
        return places + now++ % PIECE_STAGES * size;
    }
};

/* First factors of 16 lines from line0 on, of channels 16 k .. 16 k + 15 in a[k], as mma wants them. */
template <int STEPS> DEV void hold_lines(const lines &s, int line0, uint32_t a[STEPS][4])
{
    int lane = (int)threadIdx.x % 32;
    UNROLL for (int k = 0; k < STEPS; k++)
        UNROLL for (int i = 0; i < 4; i++) {
            int line = line0 + lane / 4 + i % 2 * 8, c = 16 * k + lane % 4 * 2 + i / 2 * 8;
            const uint16_t *from = s.p + s.at + line * s.ld + c;
            bool in = line < s.n;
            a[k][i] = (in && c < s.d ? from[0] : 0u) | (in && c + 1 < s.d ? (uint32_t)from[1] << 16 : 0u);
        }
}

/* The same of 32 channels out of a piece, this warp's lines. */
DEV void take_lines(const uint16_t *piece, uint32_t a[2][4])
{
    int lane = (int)threadIdx.x % 32, line = (int)threadIdx.x / 32 * 16 + lane % 16;
    for (int k = 0; k < 2; k++)
        ldmatrix4(a[k], piece + swizzled(line, 2 * k + lane / 16));
}

/* s += lines a times the 64 lines of a piece, over `steps` times 16 of its channels; s[n]: columns 8 n .. 8 n + 7. */
template <im_cuda_cores CORES, int STEPS> DEV void dots(const uint32_t a[][4], const uint16_t *piece, float s[8][4])
{
    int lane = (int)threadIdx.x % 32, low = lane % 8 + lane / 16 * 8;
    UNROLL for (int k = 0; k < STEPS; k++)
        UNROLL for (int n = 0; n < 4; n++) {
            uint32_t b[4];
            ldmatrix4(b, piece + swizzled(16 * n + low, 2 * k + lane / 8 % 2));
            mma_16<CORES>(s[2 * n], a[k], b);
            mma_16<CORES>(s[2 * n + 1], a[k], b + 2);
        }
}

/* o += p times a piece, `UNITS` times 16 of its channels; p as hold_lines, over the 64 lines. */
template <im_cuda_cores CORES, int UNITS> DEV void weigh(const uint32_t p[4][4], const uint16_t *piece, float o[][4])
{
    int lane = (int)threadIdx.x % 32, low = lane % 8 + lane / 8 % 2 * 8;
    UNROLL for (int u = 0; u < UNITS; u++)
        UNROLL for (int k = 0; k < 4; k++) {
            uint32_t b[4];
            ldmatrix4_turned(b, piece + swizzled(16 * k + low, 2 * u + lane / 16));
            mma_16<CORES>(o[2 * u], p[k], b);
            mma_16<CORES>(o[2 * u + 1], p[k], b + 2);
        }
}

/* s += lines times the 64 lines whose pieces come next, over all their channels. Lines that are HELD lie in a[STEPS]: each
 * step has registers of its own, so the loop is unrolled. Others come behind each piece (a[2]): a loop that stays one, as
 * the compiler would take minutes over 512 channels; STEPS is even there. */
template <im_cuda_cores CORES, int STEPS, bool HELD, class F>
DEV void score(pieces<CORES, F> &come, uint32_t a[][4], float s[8][4])
{
    if constexpr (HELD) {
        UNROLL for (int i = 0; i < (STEPS + 1) / 2; i++) {
            const uint16_t *piece = come.take();
            if (2 * i + 1 < STEPS)
                dots<CORES, 2>(a + 2 * i, piece, s);
            else
                dots<CORES, 1>(a + 2 * i, piece, s);
        }
    } else {
        for (int i = 0; i < STEPS / 2; i++) {
            const uint16_t *piece = come.take();
            take_lines(piece + PIECE_SIZE, a);
            dots<CORES, 2>(a, piece, s);
        }
    }
}

/* o += p times the pieces that come next, 16 UNITS of their channels. */
template <im_cuda_cores CORES, int UNITS, class F>
DEV void weigh_all(pieces<CORES, F> &come, const uint32_t p[4][4], float o[][4])
{
    UNROLL for (int i = 0; i < (UNITS + 1) / 2; i++) {
        const uint16_t *piece = come.take();
        if (2 * i + 1 < UNITS)
            weigh<CORES, 2>(p, piece, o + 4 * i);
        else
            weigh<CORES, 1>(p, piece, o + 4 * i);
    }
}

/* The sums of a warp's 16 lines by way of shared memory, 32 channels at once: 32 threads end numbers that lie side by side,
 * and what ends one is compiled once. All threads; end(line, channel, sum), both from 0 on. */
template <int UNITS, class F> DEV void end_lines(const float o[][4], uint16_t *places, const F &end)
{
    int t = (int)threadIdx.x, lane = t % 32;
    shared_float *mine = (shared_float *)places + t / 32 * 16 * END_PITCH;
    sync_block();                                              /* everybody is done with the last piece                */
    UNROLL for (int u = 0; u < UNITS; u += 2) {
        int wide = u + 1 < UNITS ? 32 : 16;
        UNROLL for (int n = 0; n < wide / 8; n++)
            UNROLL for (int h = 0; h < 2; h++)
                store_two(mine + (lane / 4 + 8 * h) * END_PITCH + 8 * n + lane % 4 * 2, o[2 * u + n] + 2 * h);
        sync_warp();
        ROLLED for (int e = lane; e < 16 * wide; e += 32)
            end(e / wide, 16 * u + e % wide, mine[e / wide * END_PITCH + e % wide]);
        sync_warp();
    }
}

/* Sums of 64 columns as the first factor of what weighs them, rounded to 16 bits. */
template <im_cuda_cores CORES> DEV void as_factor(const float s[8][4], uint32_t p[4][4])
{
    UNROLL for (int k = 0; k < 4; k++)
        UNROLL for (int i = 0; i < 4; i++)
            p[k][i] = two_halves(CORES == IM_CUDA_BF16, s[2 * k + i / 2][i % 2 * 2], s[2 * k + i / 2][i % 2 * 2 + 1]);
}

/* Along the four lanes that share a line. */
DEV float max_of_four(float v)
{
    v = max_of(v, shuffle_xor(v, 1));
    return max_of(v, shuffle_xor(v, 2));
}
DEV float sum_of_four(float v)
{
    v = v + shuffle_xor(v, 1);
    return v + shuffle_xor(v, 2);
}

/* Can 8 numbers of each head be copied at once? */
static inline bool lines_direct(const void *p, int64_t ld, int64_t batch, int d)
{
    return aligned16(p) && (ld | batch | d) % 8 == 0;
}

#endif
