/* hashed.h: weights, pictures and labels that nobody has to store: value i of the tensor NAME is a function of both.
 *
 *     h(NAME, i) = mix(FNV-1a 64 of NAME + i * 0x9e3779b97f4a7c15)            mix: the finaliser of MurmurHash3
 *     x(NAME, i) = (sum of the four 16-bit parts of h - 2 * 65535) / (65536 / sqrt(3))          mean 0, deviation 1
 *
 * tests/golden/hashed.py is the same in numpy, bit for bit (tests/test_hashed.c), so torch starts from these numbers
 * too. Parameters are counted in torch's order, (Cout, Cin, Kh, Kw); pictures and activations in ours, (B, H, W, C). */
#ifndef TEST_HASHED_H
#define TEST_HASHED_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Fowler, Noll and Vo, FNV-1a of 64 bits. */
static inline uint64_t hashed_seed(const char *name)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 0x100000001b3u;
    return h;
}

static inline uint64_t hashed_bits(uint64_t seed, int64_t i)
{
    uint64_t h = seed + (uint64_t)i * 0x9e3779b97f4a7c15u;
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 33;
}

/* Sum of four uniforms of 16 bits: between -3.47 and 3.47. */
static inline float hashed_normal(uint64_t seed, int64_t i)
{
    uint64_t h = hashed_bits(seed, i);
    double sum = 0;
    for (int part = 0; part < 4; part++)
        sum += (double)(h >> 16 * part & 0xffff);
    return (float)((sum - 2 * 65535.0) / (65536.0 * 0.57735026918962573));
}

/* out[i] = offset + scale * x(name, i), rounded to f32 after the product and after the sum. */
static inline void hashed_fill(const char *name, int64_t count, float scale, float offset, float *out)
{
    uint64_t seed = hashed_seed(name);
    for (int64_t i = 0; i < count; i++)
        out[i] = offset + scale * hashed_normal(seed, i);
}

/* Labels: out[i] = h(name, i) mod classes. */
static inline void hashed_labels(const char *name, int64_t count, int classes, int32_t *out)
{
    uint64_t seed = hashed_seed(name);
    for (int64_t i = 0; i < count; i++)
        out[i] = (int32_t)(hashed_bits(seed, i) % (uint64_t)classes);
}

/* A parameter or statistic by its state-dict name, (shape[0], count / shape[0]) being (outputs, terms of a sum):
 *     more than one axis   x / sqrt(terms)          running_var   1 + 0.2 x
 *     .weight (a norm's)   1 + 0.2 x                .bias, running_mean, other vectors   0.1 x */
static inline void hashed_parameter(const char *name, int ndim, const int64_t shape[], float *out)
{
    int64_t count = 1;
    for (int i = 0; i < ndim; i++)
        count *= shape[i];
    const char *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;
    if (ndim > 1)
        hashed_fill(name, count, (float)(1 / sqrt((double)(count / shape[0]))), 0, out);
    else if (!strcmp(last, "weight") || !strcmp(last, "running_var"))
        hashed_fill(name, count, 0.2f, 1, out);
    else
        hashed_fill(name, count, 0.1f, 0, out);
}

#endif
