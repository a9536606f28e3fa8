/* stream.c: Philox4x32-10, a block cipher turned into random numbers (Salmon et al. 2011, "Parallel random numbers: as
 * easy as 1, 2, 3"): ten rounds of two 32x32 multiplications on a 128-bit counter. See stream.h for the counter. */
#include "data/files/stream.h"

enum { ROUNDS = 10, BLOCK_BITS = 12 };

void im_stream_open(im_stream *s, uint64_t seed, uint32_t purpose, uint64_t a, uint64_t b)
{
    *s = (im_stream){ .counter = { purpose << BLOCK_BITS, (uint32_t)b, (uint32_t)a, (uint32_t)(a >> 32) },
                      .key = { (uint32_t)seed, (uint32_t)(seed >> 32) } };
}

static void next_block(im_stream *s)
{
    uint32_t x[4] = { s->counter[0], s->counter[1], s->counter[2], s->counter[3] }, k0 = s->key[0], k1 = s->key[1];
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t p = 0xd2511f53ull * x[0], q = 0xcd9e8d57ull * x[2];
        uint32_t y0 = (uint32_t)(q >> 32) ^ x[1] ^ k0, y2 = (uint32_t)(p >> 32) ^ x[3] ^ k1;
        x[0] = y0;
        x[1] = (uint32_t)q;
        x[2] = y2;
        x[3] = (uint32_t)p;
        k0 += 0x9e3779b9u;                                     /* the golden ratio, and sqrt(3) - 1                   */
        k1 += 0xbb67ae85u;
    }
    for (int i = 0; i < 4; i++) s->block[i] = x[i];
    s->counter[0]++;
    s->left = 4;
}

uint32_t im_stream_bits(im_stream *s)
{
    if (!s->left) next_block(s);
    return s->block[4 - s->left--];
}

double im_stream_uniform(im_stream *s)
{
    uint64_t high = im_stream_bits(s);
    uint64_t low = im_stream_bits(s);
    return (double)(high << 21 | low >> 11) * 0x1p-53;
}

uint64_t im_stream_below(im_stream *s, uint64_t n)
{
    uint64_t i = (uint64_t)((double)n * im_stream_uniform(s));
    return i < n ? i : n - 1;                                  /* the product may round up to n                       */
}
