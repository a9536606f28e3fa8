/* tokens.cu: token merging (token_args.h has the formulas, host_tokens.c is the definition): a thread a token, or a
 * channel. Ranks and places are counted, not sorted: a picture has thousands of tokens, not millions. Called by
 * ops/tokens.c. */
#include "cuda/kernel.cuh"

DEV bool kept(int h, int w, int i)
{
    int y = i / w, x = i % w;
    return y < h / 2 * 2 && x < w / 2 * 2 && y % 2 == 0 && x % 2 == 0;
}

/* The row that a number names; -1: none. */
DEV int row_named(float row, int rows)
{
    return row >= 0 && row < (float)rows ? (int)row : -1;
}

KERNEL(THREADS) best_kernel(GRID im_token_match_args p)
{
    int64_t i = thread_of_grid(), targets = (int64_t)(p.h / 2) * (p.w / 2);
    if (i >= (int64_t)p.batch * p.h * p.w)
        return;
    float best = -INFINITY;
    int64_t with = 0;
    for (int64_t k = 0; k < targets; k++) {
        float score = load(p.scores, i * targets + k);
        if (score > best) {
            best = score;
            with = k;
        }
    }
    p.best[i] = best;
    p.with[i] = (float)with;
}

/* The row of a token that is kept or merged; -1: of one that stays, which the next kernel numbers. */
KERNEL(THREADS) rank_kernel(GRID im_token_match_args p)
{
    int64_t i = thread_of_grid();
    int n = p.h * p.w, targets = (p.h / 2) * (p.w / 2), left = n - targets - p.merged;
    if (i >= (int64_t)p.batch * n)
        return;
    int64_t first = i / n * n;
    int at = (int)(i - first), before = 0;
    bool mine = kept(p.h, p.w, at);
    for (int k = 0; k < n; k++)
        if (kept(p.h, p.w, k) == mine)
            before += mine ? k < at : p.best[first + k] > p.best[i] || (p.best[first + k] == p.best[i] && k < at);
    p.row[i] = mine ? (float)(left + before) : before < p.merged ? (float)left + p.with[i] : -1.0f;
}

/* best: the number of a token that stays */
KERNEL(THREADS) stay_kernel(GRID im_token_match_args p)
{
    int64_t i = thread_of_grid();
    int n = p.h * p.w;
    if (i >= (int64_t)p.batch * n)
        return;
    int before = 0;
    for (int64_t k = i / n * n; k < i; k++)
        before += p.row[k] < 0.0f;
    p.best[i] = (float)before;
}

KERNEL(THREADS) number_kernel(GRID im_token_match_args p)
{
    int64_t i = thread_of_grid();
    if (i < (int64_t)p.batch * p.h * p.w && p.row[i] < 0.0f)
        p.row[i] = p.best[i];
}

int im_cuda_token_match(im_device *dev, const im_token_match_args *p)
{
    unsigned blocks = im_cuda_blocks((int64_t)p->batch * p->h * p->w, THREADS);
    int status = im_cuda_done(dev, RUN(dev, blocks, THREADS, best_kernel, *p));
    status = status ? status : im_cuda_done(dev, RUN(dev, blocks, THREADS, rank_kernel, *p));
    status = status ? status : im_cuda_done(dev, RUN(dev, blocks, THREADS, stay_kernel, *p));
    return status ? status : im_cuda_done(dev, RUN(dev, blocks, THREADS, number_kernel, *p));
}

/* The first token from `from` on that is in row m; -1: none. */
DEV float token_from(const im_token_merge_args &p, int64_t b, int from, int m)
{
    for (int i = from; i < p.n; i++)
        if (row_named(p.row[b * p.n + i], p.rows) == m)
            return (float)i;
    return -1.0f;
}

KERNEL(THREADS) first_kernel(GRID im_token_merge_args p)
{
    int64_t at = thread_of_grid();
    if (at < (int64_t)p.batch * p.rows)
        p.first[at] = token_from(p, at / p.rows, 0, (int)(at % p.rows));
}

/* What is in no row is nobody's next, and has none. */
KERNEL(THREADS) next_kernel(GRID im_token_merge_args p)
{
    int64_t at = thread_of_grid();
    if (at >= (int64_t)p.batch * p.n)
        return;
    int m = row_named(p.row[at], p.rows);
    if (m >= 0)
        p.next[at] = token_from(p, at / p.n, (int)(at % p.n) + 1, m);
}

KERNEL(THREADS) merge_kernel(GRID im_token_merge_args p)
{
    int64_t at = thread_of_grid(), m = at / p.channels, picture = m / p.rows * p.n;
    if (m >= (int64_t)p.batch * p.rows)
        return;
    float sum = 0.0f, count = 0.0f;
    for (int i = (int)p.first[m]; i >= 0; i = (int)p.next[picture + i]) {
        sum = sum + load(p.x, (picture + i) * p.channels + at % p.channels);
        count = count + 1.0f;
    }
    store(p.y, at, count > 1.0f ? sum / count : sum);
}

int im_cuda_token_merge(im_device *dev, const im_token_merge_args *p)
{
    int64_t rows = (int64_t)p->batch * p->rows;
    int status = im_cuda_done(dev, RUN(dev, im_cuda_blocks(rows, THREADS), THREADS, first_kernel, *p));
    unsigned tokens = im_cuda_blocks((int64_t)p->batch * p->n, THREADS);
    status = status ? status : im_cuda_done(dev, RUN(dev, tokens, THREADS, next_kernel, *p));
    unsigned values = im_cuda_blocks(rows * p->channels, THREADS);
    return status ? status : im_cuda_done(dev, RUN(dev, values, THREADS, merge_kernel, *p));
}

KERNEL(THREADS) spread_kernel(GRID im_token_spread_args p)
{
    int64_t at = thread_of_grid(), i = at / p.channels;
    if (i >= (int64_t)p.batch * p.n)
        return;
    int m = row_named(p.row[i], p.rows);
    int64_t from = (i / p.n * p.rows + m) * p.channels + at % p.channels;
    if (p.dtype == IM_F32)
        ((uint32_t *)p.x)[at] = m < 0 ? 0 : ((const uint32_t *)p.y)[from];
    else
        ((uint16_t *)p.x)[at] = m < 0 ? 0 : ((const uint16_t *)p.y)[from];
}

int im_cuda_token_spread(im_device *dev, const im_token_spread_args *p)
{
    int64_t n = (int64_t)p->batch * p->n * p->channels;
    return n ? im_cuda_done(dev, RUN(dev, im_cuda_blocks(n, THREADS), THREADS, spread_kernel, *p)) : IM_DONE;
}
