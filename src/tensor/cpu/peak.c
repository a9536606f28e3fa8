/* peak.c: the loops of peak.h for one ISA. As many chains as a tile of micro.c has sums: more than latency times rate
 * of any processor met so far (Zen 5: fma 4 cycles x 2, vdpbf16ps about 10 x 2), and they fit the registers: `objdump
 * -d peak.o` shows no memory access inside these loops (gcc on portable keeps them in L1; nobody's peak is measured
 * there). */
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/multiply.h"
#include "tensor/peak.h"

enum { CHAINS = IM_MR * IM_NV };

/* Each lane of each chain starts elsewhere: equal ones would be computed once. */
IM_INLINE v16 start(int chain)
{
    static const float lanes[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
    return v_add(v_load(lanes), v_set1(16.0f * (float)chain));
}

/* a b as f32 is -0.28, and as a pair of bf16 about as much: no sum overflows, whatever is multiplied. */
IM_INLINE float multiply(im_compute how, int64_t rounds)
{
    v16 s[CHAINS], a = v_set1(0x1.7e7f00p-1f), b = v_set1(-0x1.7d7f00p-3f);
    IM_UNROLL
    for (int i = 0; i < CHAINS; i++)
        s[i] = start(i);
    for (int64_t r = 0; r < rounds; r++) {
        IM_UNROLL
        for (int i = 0; i < CHAINS; i++)
            s[i] = v_multiply(how, s[i], a, b);
    }
    IM_UNROLL
    for (int i = 1; i < CHAINS; i++)
        s[0] = v_add(s[0], s[i]);
    return v_sum(s[0]);
}

#define X(id, name, factors, per_step, words, with) \
    static float multiply_##name(int64_t rounds) { return multiply(IM_COMPUTE_##id, rounds); }
IM_COMPUTES_REAL(X, )
#undef X

static void widen_f16(const uint16_t *src, float *dst)
{
    for (int i = 0; i < IM_PEAK_BUFFER; i += 16)
        v_store(dst + i, v_load_f16(src + i));
}

static void widen_bf16(const uint16_t *src, float *dst)
{
    for (int i = 0; i < IM_PEAK_BUFFER; i += 32) {
        v16 two = v_load((const float *)(const void *)(src + i));
        v_store(dst + i, v_bf16_even(two));
        v_store(dst + i + 16, v_bf16_odd(two));
    }
}

static float read(const float *p, int64_t n)
{
    v16 s[8];
    IM_UNROLL
    for (int i = 0; i < 8; i++)
        s[i] = v_zero();
    for (int64_t k = 0; k < n; k += 128) {
        IM_UNROLL
        for (int i = 0; i < 8; i++) {
            v_prefetch(p + k + 2048 + 16 * i);
            s[i] = v_add(s[i], v_load(p + k + 16 * i));
        }
    }
    IM_UNROLL
    for (int i = 1; i < 8; i++)
        s[0] = v_add(s[0], s[i]);
    return v_sum(s[0]);
}

void IM_FN(im_cpu_peak_init)(im_peak_loops *l)
{
    *l = (im_peak_loops){ .widen_f16 = widen_f16, .widen_bf16 = widen_bf16, .read = read, .multiply = {
#define X(id, name, factors, per_step, words, with) multiply_##name,
        IM_COMPUTES_REAL(X, )
#undef X
    } };
    for (int how = 0; how < IM_COMPUTE_COUNT; how++)
        l->steps[how] = 16 * CHAINS;
}
