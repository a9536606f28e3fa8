/* test_grad_tree.c: gradients summed over the parts of a step: 1 to 8 parts and some more are summed in the order that
 * grad_tree.h states, which is computed here by recursion; ranges of parts are trees of their own, so that 2, 3 and 4 ranks
 * find the same bits; the memory is that of log2(parts) sets. Running statistics moved from a log of what batch norms saw
 * have the bits of those that the parts moved one after the other, on every device. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "hashed.h"
#include "models/train/grad_tree.h"

enum { N = 37, MOST = 19, TENSORS = 3 };

static im_tensor *w[TENSORS];

static void open_weights(void)
{
    for (int i = 0; i < TENSORS; i++) {
        w[i] = im_param_new(c, "w", IM_F32, 1, (int64_t[]){ N + i });
        ck_assert(w[i] && im_param_alloc(c, w[i], (im_weight_layout){ .dtype = IM_F32 }) && im_want_grad(c, w[i]));
        ck_assert(im_fill(c, w[i], 0));
    }
}

static void close_weights(void)
{
    for (int i = 0; i < TENSORS; i++)
        im_param_free(c, w[i]);
}

/* Numbers of very different size, so that every order of adding them has its own bits. */
static float value(int part, int tensor, int i)
{
    double u = (double)(hashed_bits((uint64_t)(part * TENSORS + tensor), i) >> 11) / 9007199254740992.0;
    return (float)((u - 0.5) * pow(10, (double)((part * 5 + i) % 7) - 3));
}

/* The last tensor has no gradient in odd parts. */
static bool given(int part, int tensor) { return tensor < TENSORS - 1 || part % 2 == 0; }

/* The gradient of part k, as backward leaves it: d/dw of sum(w v) is v. */
static void backward(int k)
{
    im_scope_push(c);
    for (int t = 0; t < TENSORS; t++) {
        im_zero_grad(w[t]);
        float v[N + TENSORS];
        int64_t n = N + t;
        for (int i = 0; i < n; i++)
            v[i] = value(k, t, i);
        if (!given(k, t))
            continue;
        ck_assert(im_tape_begin(c));
        im_tensor *y = im_scale(c, w[t], 1);
        ck_assert_msg(im_backward_from(c, y, im_from(c, IM_F32, 1, &n, v)), "%s", im_error(c));
    }
    im_scope_pop(c);
}

static float tree_of(int from, int to, int tensor, int i, bool *any)
{
    int half = 1;
    bool a = false, b = false;
    if (to - from == 1) {
        *any = given(from, tensor);
        return *any ? value(from, tensor, i) : 0;
    }
    while (2 * half < to - from)
        half *= 2;
    float left = tree_of(from, from + half, tensor, i, &a), right = tree_of(from + half, to, tensor, i, &b);
    *any = a || b;
    return a && b ? left + right : a ? left : right;
}

static void sum_range(im_grad_tree *t, int from, int to)
{
    for (int k = from; k < to; k++) {
        backward(k);
        ck_assert_msg(im_grad_tree_add(t, k - from, to - from), "%s", im_error(c));
    }
}

static void want_tree(int from, int to)
{
    for (int t = 0; t < TENSORS; t++) {
        float found[N + TENSORS];
        ck_assert(im_download(c, w[t]->grad, found));
        for (int i = 0; i < N + t; i++) {
            bool any = false;
            float wanted = tree_of(from, to, t, i, &any);
            ck_assert_msg(any && w[t]->grad_set && !memcmp(&wanted, &found[i], sizeof wanted),
                          "parts %d to %d, tensor %d, element %d: %.9g, wanted %.9g", from, to, t, i, (double)found[i],
                          (double)wanted);
        }
    }
}

START_TEST(sums_are_trees)
{
    int parts = _i + 1, levels = 0;
    open_weights();
    im_grad_tree *t = im_grad_tree_new(c, w, TENSORS);
    for (int again = 0; again < 2; again++) {                  /* the memory of the step before serves                */
        sum_range(t, 0, parts);
        want_tree(0, parts);
    }
    while (1 << levels < parts)
        levels++;
    ck_assert_msg(im_grad_tree_sets(t) <= levels, "%d sets for %d parts", im_grad_tree_sets(t), parts);
    im_grad_tree_free(t);
    close_weights();
}
END_TEST

/* From four parts on the sum is another than that of one part after the other: the test above can fail. */
START_TEST(a_chain_is_another_sum)
{
    int differ[9] = { 0 };
    for (int parts = 1; parts <= 8; parts++)
        for (int i = 0; i < N; i++) {
            bool any;
            float chain = value(0, 0, i);
            for (int k = 1; k < parts; k++)
                chain = chain + value(k, 0, i);
            differ[parts] += chain != tree_of(0, parts, 0, i, &any);
        }
    ck_assert(!differ[1] && !differ[2] && !differ[3] && differ[4] && differ[5] && differ[6] && differ[7] && differ[8]);
}
END_TEST

/* Ranks with 1, 2 or 4 parts each: sums of ranges, and then the tree over ranks, as ranks.c adds its slots. */
START_TEST(ranges_are_branches)
{
    static const struct { int ranks, each; } of[] = { { 2, 1 }, { 2, 2 }, { 4, 1 }, { 2, 4 }, { 4, 2 }, { 3, 1 }, { 3, 2 },
                                                      { 3, 4 }, { 5, 2 }, { 6, 2 }, { 7, 2 } };
    int ranks = of[_i].ranks, each = of[_i].each;
    float sums[MOST][N];
    open_weights();
    im_grad_tree *t = im_grad_tree_new(c, w, TENSORS);
    for (int r = 0; r < ranks; r++) {
        sum_range(t, r * each, (r + 1) * each);
        ck_assert(im_download(c, w[0]->grad, sums[r]));
    }
    for (int step = 1; step < ranks; step *= 2)
        for (int r = 0; r + step < ranks; r += 2 * step)
            for (int i = 0; i < N; i++)
                sums[r][i] = sums[r][i] + sums[r + step][i];
    for (int i = 0; i < N; i++) {
        bool any;
        float wanted = tree_of(0, ranks * each, 0, i, &any);
        ck_assert_msg(wanted == sums[0][i], "%d ranks of %d parts, element %d", ranks, each, i);
    }
    im_grad_tree_free(t);
    close_weights();
}
END_TEST

/* ---------------------------------------------------------------- batch norms */

enum { PARTS = 3, CALLS = 2, ROWS = 70, CHANNELS = 5 };

static im_tensor *vector(float fill)
{
    im_tensor *t = im_new(c, IM_F32, 1, (int64_t[]){ CHANNELS });
    ck_assert(im_fill(c, t, fill));
    return t;
}

static void run_norms(int part, im_tensor *mean, im_tensor *var)
{
    static const im_batchnorm_attrs at = { .eps = 1e-5f, .momentum = 0.1f, .training = true };
    for (int k = 0; k < CALLS; k++) {
        float x[ROWS * CHANNELS];
        for (int i = 0; i < ROWS * CHANNELS; i++)
            x[i] = value(part * CALLS + k, 0, i);
        im_tensor *in = im_from(c, IM_F32, 2, (int64_t[]){ ROWS, CHANNELS }, x);
        ck_assert_msg(im_batchnorm(c, in, vector(1), vector(0), NULL, mean, var, &at) != NULL, "%s", im_error(c));
    }
}

START_TEST(logged_statistics_move_the_same)
{
    static const char *const devices[] = { "ref", "cpu", "far" };
    im_ctx_free(c);
    ck_assert_ptr_nonnull(c = im_ctx_new(devices[_i], 2));
    im_scope_push(c);
    im_tensor *mean[2] = { vector(0), vector(0) }, *var[2] = { vector(1), vector(1) };
    im_norm_log *l = im_norm_log_new(c);
    double *seen[PARTS];
    for (int k = 0; k < PARTS; k++) {
        run_norms(k, mean[0], var[0]);
        ck_assert(im_norm_log_open(c, l));
        run_norms(k, mean[1], var[1]);
        im_norm_log_close(c);
        ck_assert_int_eq(im_norm_log_count(l), 2 * CALLS * CHANNELS);
        ck_assert_ptr_nonnull(seen[k] = im_norm_log_values(c, l));
    }
    for (int k = 0; k < PARTS; k++) {
        float still[CHANNELS];
        if (!k) {                                              /* nothing has moved so far                             */
            ck_assert(im_download(c, mean[1], still));
            ck_assert(still[0] == 0);
        }
        ck_assert_msg(im_norm_log_move(c, l, seen[k]), "%s", im_error(c));
        free(seen[k]);
    }
    float a[CHANNELS], b[CHANNELS];
    ck_assert(im_download(c, mean[0], a) && im_download(c, mean[1], b));
    ck_assert_mem_eq(a, b, sizeof a);
    ck_assert(im_download(c, var[0], a) && im_download(c, var[1], b));
    ck_assert_mem_eq(a, b, sizeof a);
    im_norm_log_free(l);
    im_scope_pop(c);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { LOOP(sums_are_trees, MOST), ONCE(a_chain_is_another_sum), LOOP(ranges_are_branches, 11),
                                 LOOP(logged_statistics_move_the_same, 3) };
    return suite_run("grad_tree", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
