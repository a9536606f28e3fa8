/* test_order.c: the order of an epoch is a permutation, a function of (seed, epoch) alone, and a uniform choice. */
#include <check.h>
#include <string.h>

#include "data/sets/order.h"
#include "suite.h"

START_TEST(orders)
{
    static uint32_t a[10000], b[10000];
    static uint8_t seen[10000];
    im_order_fill(a, 10000, false, 1, 2);
    for (int i = 0; i < 10000; i++) ck_assert_uint_eq(a[i], (uint32_t)i);
    for (int64_t n = 1; n <= 10000; n = n < 5 ? n + 1 : 3 * n - 5) {
        im_order_fill(a, n, true, 1, 2);
        memset(seen, 0, sizeof seen);
        for (int64_t i = 0; i < n; i++) seen[a[i]]++;
        for (int64_t i = 0; i < n; i++) ck_assert_uint_eq(seen[i], 1);
        im_order_fill(b, n, true, 1, 2);
        ck_assert_mem_eq(a, b, (size_t)n * sizeof *a);
    }
    const uint64_t other[][2] = { { 1, 3 }, { 2, 2 }, { 1 + (1ull << 40), 2 }, { 1, 2 + (1ull << 40) } };
    im_order_fill(a, 10000, true, 1, 2);
    for (int i = 0; i < 4; i++) {
        int same = 0;
        im_order_fill(b, 10000, true, other[i][0], other[i][1]);
        for (int k = 0; k < 10000; k++) same += a[k] == b[k];
        ck_assert_int_lt(same, 12);                            /* a random order meets 1 on average                   */
    }
}
END_TEST

/* All 24 orders of 4 equally often: chi squared of 23 degrees is above 49.7 in one case of a thousand. */
START_TEST(orders_are_uniform)
{
    int count[256] = { 0 };
    enum { TRIES = 24000 };
    double chi = 0;
    for (uint64_t e = 0; e < TRIES; e++) {
        uint32_t a[4];
        im_order_fill(a, 4, true, 99, e);
        count[a[0] << 6 | a[1] << 4 | a[2] << 2 | a[3]]++;
    }
    int kinds = 0;
    for (int i = 0; i < 256; i++)
        if (count[i]) {
            kinds++;
            chi += (count[i] - 1000.0) * (count[i] - 1000.0) / 1000;
        }
    ck_assert_int_eq(kinds, 24);
    ck_assert_msg(chi < 49.7, "chi squared %g", chi);
}
END_TEST

/* Systematic: an index of share p stands there floor(n p) or ceil(n p) times, p n on average; equal weights show all. */
START_TEST(weights_are_kept)
{
    enum { N = 50, EPOCHS = 4000 };
    uint32_t a[N], b[N];
    double sums[N], even[N], mean[N] = { 0 };
    for (int i = 0; i < N; i++) {
        sums[i] = (i ? sums[i - 1] : 0) + (i % 5 ? 1 : 7.3);
        even[i] = i + 1;
    }
    for (uint64_t e = 0; e < EPOCHS; e++) {
        int count[N] = { 0 };
        im_order_draw(a, N, sums, true, 5, e);
        for (int i = 0; i < N; i++) {
            ck_assert_uint_lt(a[i], N);
            count[a[i]]++;
        }
        for (int i = 0; i < N; i++) {
            double share = (sums[i] - (i ? sums[i - 1] : 0)) / sums[N - 1] * N;
            ck_assert_msg(count[i] > share - 1 && count[i] < share + 1, "%d: %d times, share %g", i, count[i], share);
            mean[i] += (double)count[i] / EPOCHS;
        }
    }
    for (int i = 0; i < N; i++) {                              /* deviation below .5 / sqrt(4000) = .008              */
        double share = (sums[i] - (i ? sums[i - 1] : 0)) / sums[N - 1] * N;
        ck_assert_msg(mean[i] > share - .04 && mean[i] < share + .04, "%d: mean %g, share %g", i, mean[i], share);
    }
    im_order_draw(b, N, sums, true, 5, EPOCHS - 1);
    ck_assert_mem_eq(a, b, sizeof a);
    im_order_draw(b, N, sums, true, 6, EPOCHS - 1);
    ck_assert_mem_ne(a, b, sizeof a);
    im_order_fill(a, N, true, 5, 3);
    im_order_draw(b, N, NULL, true, 5, 3);
    ck_assert_mem_eq(a, b, sizeof a);
    im_order_draw(b, N, even, false, 5, 3);
    for (int i = 0; i < N; i++) ck_assert_uint_eq(b[i], (uint32_t)i);
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(orders), ONCE(orders_are_uniform), ONCE(weights_are_kept)
    };
    return suite_run("order", NULL, NULL, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
