/* order.c: see order.h. 1.3 million places take some 20 ms and 5 MB; a permutation that is computed place by place (a
 * Feistel network) would need neither, but is no uniform choice for small sets. */
#include "data/sets/order.h"

#include "data/files/stream.h"

enum { AT_ONCE = 4096 };                                       /* draws of two words each; a stream has 16384 words   */

static void resample(uint32_t *out, int64_t n, const double *sums, uint64_t seed, uint64_t epoch)
{
    im_stream s;
    im_stream_open(&s, seed, IM_STREAM_BALANCE, epoch, 0);
    double u = im_stream_uniform(&s);
    for (int64_t k = 0, i = 0; k < n; k++) {
        double point = ((double)k + u) / (double)n * sums[n - 1];
        while (i < n - 1 && sums[i] <= point) i++;
        out[k] = (uint32_t)i;
    }
}

static void shuffle(uint32_t *out, int64_t n, uint64_t seed, uint64_t epoch)
{
    /* Within a stream numbers come in ascending order while places go down: they are drawn ahead, a block at a time. */
    uint64_t draws[AT_ONCE];
    for (int64_t block = (n - 1) / AT_ONCE; block >= 0 && n > 1; block--) {
        int64_t first = block * AT_ONCE, last = first + AT_ONCE < n ? first + AT_ONCE : n;
        im_stream s;
        im_stream_open(&s, seed, IM_STREAM_ORDER, epoch, (uint64_t)block);
        for (int64_t i = first; i < last; i++) draws[i - first] = im_stream_below(&s, (uint64_t)i + 1);
        for (int64_t i = last - 1; i >= first; i--) {
            uint64_t j = draws[i - first];
            uint32_t t = out[i];
            out[i] = out[j];
            out[j] = t;
        }
    }
}

void im_order_draw(uint32_t *out, int64_t n, const double *sums, bool shuffled, uint64_t seed, uint64_t epoch)
{
    if (sums)
        resample(out, n, sums, seed, epoch);
    else
        for (int64_t i = 0; i < n; i++) out[i] = (uint32_t)i;
    if (shuffled) shuffle(out, n, seed, epoch);
}

void im_order_fill(uint32_t *out, int64_t n, bool shuffled, uint64_t seed, uint64_t epoch)
{
    im_order_draw(out, n, NULL, shuffled, seed, epoch);
}
