/* row.cuh: a row of numbers whose sums go by 16 lanes: 16 threads a row, of which thread i has elements i, i + 16, ...
 * Short rows are read once and stay in registers. Used by norm.cu and loss.cu. */
#ifndef IM_CUDA_ROW_H
#define IM_CUDA_ROW_H

#include "cuda/kernel.cuh"

/* A thread's numbers of a row: element 16 k of x from `at` on; HELD of them in registers, or, 0, read again each time. */
template <int HELD> struct row_numbers {
    im_cbuf x; int64_t at; int n;                              /* n: how many there are                                */
    float held[HELD ? HELD : 1];
    MEMBER void begin()
    {
        if (HELD)
            UNROLL for (int k = 0; k < HELD; k++)
                held[k] = k < n ? load(x, at + 16 * k) : 0.0f;
    }
    MEMBER int end() const { return HELD ? HELD : n; }         /* a constant, so that registers can be counted on      */
    MEMBER float number(int k) const { return HELD ? held[HELD ? k : 0] : load(x, at + 16 * k); }
};

#endif
