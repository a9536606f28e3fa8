/* micro.c: the innermost loop of every product and convolution: a tile of sums held in registers.
 *
 *                           b[0]: 16 columns          b[1]: 16 columns
 *          one step of k:   [ x0 ............ ]       [ x1 ............ ]         two loads
 *   a row  0   a0 ------->  s0[0]  += a0 x0           s1[0]  += a0 x1             one broadcast, two multiply-adds ...
 *         lda  a1 ------->  s0[1]  += a1 x0           s1[1]  += a1 x1
 *       2 lda  a2 ------->  s0[2]  += a2 x0           s1[2]  += a2 x1
 *         ..                ..                        ..
 *      13 lda  a13 ------>  s0[13] += a13 x0          s1[13] += a13 x1            ... for each of 14 rows
 *   next k: a and b move on by one value and by one row of a panel; the 28 sums stay where they are, in registers.
 *
 * Why 14 x 32: a multiply-add takes 4 cycles and two begin in each, so 8 chains or more must run side by side; 28 sums, 2
 * vectors of B and 2 of A fill 32 registers; and the larger a tile, the fewer loads a multiply-add needs ((14 + 2) / 28).
 * avx2 and neon have 16 and 32 registers of 8 and 4 numbers: 6 x 16 (simd_*.h). Pointers: rows 3i are kept, rows 3i + 1 and
 * 3i + 2 are reached by an index of one and two lda, so that 5 addresses serve 14 rows and nothing is spilled.
 *
 * Per step of k: one row of B (one or two vectors), and for each row of the tile one value of A broadcast to all lanes
 * and one or two fused multiply-adds. Each sum is one chain in ascending k; enough rows run side by side to hide the
 * latency. On avx512 14 x 32 needs 16 loads for 28 multiply-adds, of which the processor does two a cycle: it is
 * bound by those, and has room for two prefetches of what comes next. One source gives all sizes: the body is inlined
 * with constant sizes and unrolled, so that the sums live in registers (`objdump -d micro.o` must show no stack
 * access; gcc 12 and clang 14 do it right). */
#include "tensor/cpu/product.h"

/* p itself; but the compiler sees no connection to what it was. Else it keeps an address for every row, on the stack. */
IM_INLINE const float *unknown(const float *p)
{
    __asm__("" : "+r"(p));
    return p;
}

IM_INLINE void tile(int rows, int panels, im_compute how, const im_tile *t)
{
    const float *b0 = t->b[0], *b1 = t->b[1], *in = t->in;
    const char *next = t->next;
    int64_t lda = t->lda, apart = t->next_apart, pace = t->next_pace;
    v16 s0[IM_MR], s1[IM_MR];
    IM_UNROLL
    for (int i = 0; i < rows; i++) {
        s0[i] = in ? v_load(in + i * IM_STRIP) : v_zero();
        s1[i] = in && panels > 1 ? v_load(in + i * IM_STRIP + IM_PANEL) : v_zero();
    }
    const float *p[(IM_MR + 2) / 3];                           /* rows 0, 3, 6, ..; the others are one and two lda on */
    IM_UNROLL
    for (int i = 0; i < rows; i += 3)
        p[i / 3] = t->a + i * lda;
    for (int64_t k = t->steps; k > 0; k--) {
        v16 x0 = v_load(b0), x1 = panels > 1 ? v_load(b1) : x0;
        b0 += IM_PANEL;
        b1 += IM_PANEL;
        v_prefetch_l2(next);
        v_prefetch_l2(next + apart);
        next += pace;
        IM_UNROLL
        for (int i = 0; i < rows; i += 3)
            p[i / 3] = unknown(p[i / 3]);
        IM_UNROLL
        for (int i = 0; i < rows; i++) {
            v16 x = v_set1(p[i / 3][i % 3 * lda]);
            s0[i] = v_multiply(how, s0[i], x, x0);
            if (panels > 1)
                s1[i] = v_multiply(how, s1[i], x, x1);
        }
        IM_UNROLL
        for (int i = 0; i < rows; i += 3)
            p[i / 3]++;
    }
    float *out = t->out;
    IM_UNROLL
    for (int i = 0; i < rows; i++) {
        v_store(out + i * IM_STRIP, s0[i]);
        if (panels > 1)
            v_store(out + i * IM_STRIP + IM_PANEL, s1[i]);
    }
}

#define X(id, name, rows, panels) \
    static void name##_##rows##x##panels(const im_tile *t) { tile(rows, panels, IM_COMPUTE_##id, t); }
IM_ALL_TILES(X)
#undef X

const im_micros *IM_FN(im_micro_tiles)(im_compute how)
{
    static const im_micros all[] = {
#define X(id, name, rows, panels) [IM_COMPUTE_##id].tile[panels - 1][rows - 1] = name##_##rows##x##panels,
        IM_ALL_TILES(X)
#undef X
    };
    return &all[how];
}

const void *IM_FN(im_int8_tiles)(uint8_t *flip)
{
    *flip = IM_INT8_FLIP;
    return IM_FN(im_micro_tiles)(IM_COMPUTE_INT8);
}
