/* simd_neondot.h: simd_neon.h with sdot (ARMv8.2 and later). micro.c alone is compiled with it; cpu.c takes its tiles
 * where the processor has the instruction. */
#ifndef IM_SIMD_NEONDOT_H
#define IM_SIMD_NEONDOT_H

#define V_HAS_INT8_DOT
#include "tensor/cpu/simd_neon.h"

enum { IM_INT8_FLIP = 0 };
IM_INLINE v16 v_dot_int8(v16 acc, v16 a, v16 b)
{
    for (int i = 0; i < 4; i++)
        acc.q[i] = vreinterpretq_f32_s32(vdotq_s32(vreinterpretq_s32_f32(acc.q[i]), vreinterpretq_s8_f32(a.q[i]),
                                                   vreinterpretq_s8_f32(b.q[i])));
    return acc;
}

#endif
