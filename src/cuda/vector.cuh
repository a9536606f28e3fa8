/* vector.cuh: eight numbers at once, in accesses of 16 bytes: one in 16 bits, two in f32. Used where a pass over memory
 * is all that a kernel does (norm.cu). */
#ifndef IM_CUDA_VECTOR_H
#define IM_CUDA_VECTOR_H

#include "cuda/kernel.cuh"

enum { EIGHT = 8 };

struct __attribute__((may_alias, aligned(16))) sixteen { uint32_t word[4]; };

/* Elements i .. i + 7, i a multiple of 8 of an array at a multiple of 16 bytes. */
DEV void load_eight(const void *p, im_dtype t, int64_t i, float v[EIGHT])
{
    const sixteen *at = (const sixteen *)((const char *)p + i * (t == IM_F32 ? 4 : 2));
    sixteen a = at[0];
    if (t == IM_F32) {
        sixteen b = at[1];
        UNROLL for (int k = 0; k < EIGHT; k++)
            v[k] = float_of(k < 4 ? a.word[k] : b.word[k % 4]);
        return;
    }
    UNROLL for (int k = 0; k < EIGHT; k++) {
        uint16_t h = (uint16_t)(a.word[k / 2] >> 16 * (k % 2));
        v[k] = t == IM_F16 ? f16_to_f32(h) : bf16_to_f32(h);
    }
}

/* b in 16 bits */
DEV void store_eight(im_buf b, int64_t i, const float v[EIGHT])
{
    sixteen x;
    UNROLL for (int k = 0; k < 4; k++)
        x.word[k] = b.t == IM_F16 ? f32_to_f16(v[2 * k]) | (uint32_t)f32_to_f16(v[2 * k + 1]) << 16
                                  : f32_to_bf16(v[2 * k]) | (uint32_t)f32_to_bf16(v[2 * k + 1]) << 16;
    *(sixteen *)((char *)b.p + i * 2) = x;
}

/* Can an array whose rows are `row` elements long be read so? */
static inline bool by_eight(const void *p, int64_t row) { return (uintptr_t)p % 16 == 0 && row % EIGHT == 0; }

#endif
