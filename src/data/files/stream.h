/* stream.h: random numbers that are a function of where they are used, not of what was drawn before.
 *
 * A stream is named by (seed, purpose, a, b), say (seed, crop 3, epoch, picture); its n-th block of 128 bits is
 *     Philox4x32-10 of counter { purpose << 12 | n, b, a, a >> 32 } under the key seed        (Salmon et al. 2011)
 * so any thread may open any stream at any time and finds the same numbers. b is below 2^32, purpose below 2^20, and a
 * stream has 2^14 numbers. Used by augmentation and by the order of datasets. */
#ifndef IM_STREAM_H
#define IM_STREAM_H

#include <stdint.h>

enum {                                                         /* purposes; a crop uses IM_STREAM_CROP + its number   */
    IM_STREAM_ORDER = 1, IM_STREAM_CAPTION = 2, IM_STREAM_NOISE = 3, IM_STREAM_BALANCE = 4, IM_STREAM_SYNTH = 5,
    IM_STREAM_TRIAL = 6,
    IM_STREAM_CROP = 1024
};

typedef struct im_stream {
    uint32_t counter[4], key[2];
    uint32_t block[4];
    int left;                                                  /* unused words of block                               */
} im_stream;

void im_stream_open(im_stream *s, uint64_t seed, uint32_t purpose, uint64_t a, uint64_t b);
uint32_t im_stream_bits(im_stream *s);                         /* 32 random bits                                      */
double im_stream_uniform(im_stream *s);                        /* [0, 1), 53 bits                                     */
/* 0 .. n - 1 (n >= 1): floor(n * uniform); uneven by less than n / 2^53. */
uint64_t im_stream_below(im_stream *s, uint64_t n);

#endif
