/* micro_outer.c: the innermost loop of outer.c and winograd_dw.c: the tile of micro.c with A lying step by step.
 *
 * Per step one cache line of A, of which each value is broadcast, and one or two vectors of B. Each sum is one chain in
 * ascending steps. One source gives all sizes, as in micro.c. */
#include "tensor/cpu/outer.h"

IM_INLINE void tile(int rows, int panels, im_compute how, const im_outer_tile *t)
{
    const float *a = t->a, *b0 = t->b[0], *b1 = t->b[1], *in = t->in;
    int64_t lda = t->lda, ldb = t->ldb;
    v16 s0[IM_MR], s1[IM_MR];
    IM_UNROLL
    for (int i = 0; i < rows; i++) {
        s0[i] = in ? v_load(in + i * IM_STRIP) : v_zero();
        s1[i] = in && panels > 1 ? v_load(in + i * IM_STRIP + IM_PANEL) : v_zero();
    }
    for (int k = t->steps; k > 0; k--, a += lda, b0 += ldb, b1 += ldb) {
        v16 x0 = v_load(b0), x1 = panels > 1 ? v_load(b1) : x0;
        IM_UNROLL
        for (int i = 0; i < rows; i++) {
            v16 x = v_set1(a[i]);
            s0[i] = v_multiply(how, s0[i], x, x0);
            if (panels > 1)
                s1[i] = v_multiply(how, s1[i], x, x1);
        }
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
    static void name##_##rows##x##panels(const im_outer_tile *t) { tile(rows, panels, IM_COMPUTE_##id, t); }
IM_REAL_TILES(X)
#undef X

const im_outer_micros *IM_FN(im_outer_tiles)(im_compute how)
{
    static const im_outer_micros all[] = {
#define X(id, name, rows, panels) [IM_COMPUTE_##id].tile[panels - 1][rows - 1] = name##_##rows##x##panels,
        IM_REAL_TILES(X)
#undef X
    };
    return &all[how];
}
