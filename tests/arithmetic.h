/* arithmetic.h: what products with weights in a dtype are on a device: whose bits they have, and what they lose. */
#ifndef TEST_ARITHMETIC_H
#define TEST_ARITHMETIC_H

#include <stdbool.h>

#include "tensor/host.h"

/* Whether their bits are not those of f32's multiply-adds, which sets share: dots of bf16, f16 in tile registers. */
static inline bool own_bits(const im_device *dev, im_dtype weights)
{
    const im_host *h = im_host_of(dev);
    return weights == IM_BF16 ? h->compute[IM_BF16] == IM_COMPUTE_BF16 : weights == IM_F16 && h->split;
}

/* What a term may lose, as a share of it. Split f16 weights (cpu/split.h): the activation 2^-16, low low 2^-16. */
static const double LOST_SPLIT = 0x1p-15;
static inline double lost(const im_device *dev, im_dtype weights)
{
    return own_bits(dev, weights) ? weights == IM_BF16 ? 0x1p-8 : LOST_SPLIT : 0;
}

#endif
