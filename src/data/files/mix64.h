/* mix64.h: numbers that are a function of a number or a name: the finalizer of splitmix64 (Steele, Lea and Flood 2014) and
 * FNV-1a. For what is drawn without a stream of random numbers: initial weights, choices of wildcards. */
#ifndef IM_MIX64_H
#define IM_MIX64_H

#include <stdint.h>

#define IM_GOLDEN64 0x9e3779b97f4a7c15u                        /* 2^64 / the golden ratio: the step between numbers    */
#define IM_FNV64 0xcbf29ce484222325u                           /* the hash of no text                                  */

static inline uint64_t im_mix64(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint64_t im_fnv64(uint64_t h, const char *text)
{
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 0x100000001b3u;
    return h;
}

#endif
