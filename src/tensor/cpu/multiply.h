/* multiply.h: what is particular to a way of computing products (tensor/compute.h): its multiply-add, and how the values
 * of its steps are put together. Both are inlined with a constant `how` in loops that count. */
#ifndef IM_MULTIPLY_H
#define IM_MULTIPLY_H

#include "tensor/compute.h"
#include "tensor/cpu/buffer.h"

/* The micro-kernel's step: acc + x y in each lane: one product (f32), two, the second added last (bf16), or four integers,
 * whose sums are i32 (int8). */
IM_INLINE v16 v_multiply(im_compute how, v16 acc, v16 x, v16 y)
{
    switch (how) {
    case IM_COMPUTE_BF16: return v_dot_bf16(acc, x, y);
    case IM_COMPUTE_INT8: return v_dot_int8(acc, x, y);
    default:              return v_fma(x, y, acc);
    }
}

/* The factors of a step whose values of k lie in rows: n columns from element i on, of `rows` rows at a distance of ld, in
 * dtype t; rows behind these count as zeros. */
IM_INLINE v16 v_factors(im_compute how, im_dtype t, const void *p, int64_t i, int64_t ld, int n, int rows)
{
    switch (how) {
    case IM_COMPUTE_BF16:
        if (t == IM_BF16 && n == 16 && rows > 1)
            return v_zip_bf16((const uint16_t *)p + i, (const uint16_t *)p + i + ld);
        return v_bf16_pairs(load_as(t, p, i, n), rows > 1 ? load_as(t, p, i + ld, n) : v_zero());
    default:
        return load_as(t, p, i, n);
    }
}

#endif
