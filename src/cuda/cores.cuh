/* cores.cuh: what kernels on tensor cores take from the generation that they run on; the rest of them is one source.
 *
 *                  sm_75 (Turing)                               sm_80 and later
 *     a step of    two mma.m16n8k8, ascending k; factors in     one mma.m16n8k16, f16 or bf16
 *     16 of k      f16 alone: bf16 has the plain path
 *     a copy to    into registers when it is asked for, from    cp.async: past registers, there at the wait
 *     shared       there at the wait: what comes from memory
 *     memory       is on its way while the tiles before are
 *                  multiplied
 *
 * A kernel is a template of im_cuda_cores (cuda.h), which is chosen when it is launched, and is machine code only where it
 * can be. mma.m16n8k16 of sm_80 to sm_89 adds its products as two steps of 8 (tests/sim/tensor.cc), so that sm_75 has
 * their bits. */
#ifndef IM_CUDA_CORES_H
#define IM_CUDA_CORES_H

#include "cuda/vector.cuh"

/* d += a b, 16 x 8 by 16, fragments as mma16816 of ptx.cuh has them: those of two mma1688 side by side. */
template <im_cuda_cores CORES> DEV void mma_16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    if (CORES == IM_CUDA_F16_75) {
        mma1688(d, a, b[0]);
        mma1688(d, a + 2, b[1]);
    } else {
        mma16816<CORES == IM_CUDA_BF16>(d, a, b);
    }
}

/* A thread's copies of 16 bytes to shared memory, at most N between two waits. After a wait all are there but those of the
 * newest NEWEST commits (sm_75: all of them). Begins as {}. */
template <im_cuda_cores CORES, int N, int NEWEST> struct copies {
    enum { HOLDS = CORES == IM_CUDA_F16_75, HELD = HOLDS ? N : 1 };
    sixteen held[HELD];
    sixteen *to[HELD];                                         /* NULL: none                                           */
    MEMBER void ask(int i, void *at, const void *from, bool in)        /* zeros where not in; i: a constant, below N   */
    {
        if (!HOLDS) {
            copy_async(at, from, in);
            return;
        }
        i = HOLDS ? i : 0;
        held[i] = sixteen();
        if (in)
            held[i] = *(const sixteen *)from;
        to[i] = (sixteen *)at;
    }
    MEMBER void commit()
    {
        if (!HOLDS)
            copy_commit();
    }
    MEMBER void wait()
    {
        if (!HOLDS)
            copy_wait<NEWEST>();
        UNROLL for (int i = 0; HOLDS && i < HELD; i++) {
            if (to[i])
                *to[i] = held[i];
            to[i] = NULL;
        }
    }
};

/* Launches kernel<first ..., CORES> for the cores of a call; first: in parentheses. */
#define LIST(...) __VA_ARGS__
#define RUN_CORES(dev, cores, grid, kernel, first, ...) \
    ((cores) == IM_CUDA_BF16  ? RUN(dev, grid, MMA_THREADS, (kernel<LIST first, IM_CUDA_BF16>), __VA_ARGS__) \
     : (cores) == IM_CUDA_F16 ? RUN(dev, grid, MMA_THREADS, (kernel<LIST first, IM_CUDA_F16>), __VA_ARGS__) \
                              : RUN(dev, grid, MMA_THREADS, (kernel<LIST first, IM_CUDA_F16_75>), __VA_ARGS__))

#endif
