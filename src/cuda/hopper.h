/* hopper.h: what both forms of cuda/hopper.cuh share, the one for nvcc and the simulator's: how a tensor in global memory
 * is described to the copy engine (TMA), and how a matrix in shared memory is described to wgmma. */
#ifndef IM_CUDA_HOPPER_H
#define IM_CUDA_HOPPER_H

#include <stdint.h>

/* Pieces of 16 bytes change places within rows of 128, 64 or 32 bytes in shared memory, so that eight rows of a matrix
 * lie in all banks: bits 4 to 6 of the address ^= bits 7 to 9, or 4 to 5 ^= 7 to 8, or 4 ^= 7 (PTX ISA,
 * #tensor-swizzling-modes). The numbers are those of a matrix descriptor. */
typedef enum { SWIZZLE_NONE = 0, SWIZZLE_128 = 1, SWIZZLE_64 = 2, SWIZZLE_32 = 3 } swizzle;

typedef enum { TENSOR_F16, TENSOR_BF16, TENSOR_F32 } tensor_type;

/* A tensor in global memory: rank 1 to 5, the innermost dimension first and dense. */
typedef struct {
    void *p;                     /* a multiple of 16                                                                   */
    tensor_type type;
    int rank;
    uint64_t size[5];            /* in elements                                                                        */
    uint64_t stride[4];          /* of dimensions 1 .. rank-1, in bytes: multiples of 16                               */
    uint32_t step[5];            /* every so many-th element of a dimension is taken, 1 .. 8; [0] is 1                 */
    swizzle turn;
} tensor_shape;

/* What a convolution wants (PTX ISA, #tensor-im2col-mode; cuTensorMapEncodeIm2col in cuda.h): dimensions {C, W, H, N}
 * (rank 4; or one less or more). A copy begins at one place of the filter's first tap and takes `pixels` of them, `step`
 * apart, in the order of W, H, N, from the box  low .. size - 1 + high  of each picture; a tap adds its offset to all. */
typedef struct {
    int low[3], high[3];         /* of W, H, ...: low = -padding; high = (out - 1) step + 1 + low - size               */
    uint32_t channels, pixels;   /* of one copy: up to 256, 1024                                                       */
} tensor_windows;

/* The descriptor of a matrix in shared memory (PTX ISA,
 * #asynchronous-warpgroup-level-matrix-shared-memory-layout-matrix-descriptor): at: its 32-bit address; lead, stride:
 * bytes, multiples of 16, by the table #asynchronous-warpgroup-level-canonical-layouts. Bits 0-13 at / 16, 16-29 lead
 * / 16, 32-45 stride / 16, 49-51 base offset (0: patterns begin at multiples of 1024, 512, 256 bytes), 62-63 the swizzle.
 *     k side by side       swizzled: stride from 8 rows to the next 8, lead unused; else lead from 8 k to the next 8
 *     rows side by side    swizzled: lead from one row of the pattern to the next, stride from 8 k to the next 8;
 *                          else the other way round */
#define MATRIX_DESCRIPTOR(at, lead, stride, turn) \
    ((uint64_t)(((at) & 0x3ffffu) >> 4) | (uint64_t)((lead) >> 4) << 16 | (uint64_t)((stride) >> 4) << 32 | \
     (uint64_t)(turn) << 62)

#endif
