/* tokens.cu: token merging (token_args.h has the formulas, host_tokens.c is the definition): a thread a token, or a
 * channel. Ranks and places are counted, not sorted: a picture has thousands of tokens, not millions. Called by
 * ops/tokens.c. */
#include "cuda/kernel.cuh"

DEV bool kept(int h, int w, int i)
{
    int y = i / w, x = i % w;
    return y < h / 2 * 2 && x < w / 2 * 2 && y % 2 == 0 && x % 2 == 0;
}

/* im_token_row, which is the host's. */
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
    for (int64_t k = 0; k < targets; k++)
        if (p.scores[i * targets + k] > best) {
            best = p.scores[i * targets + k];
            with = k;
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

KERNEL(THREADS) count_kernel(GRID im_token_merge_args p)
{
    int64_t at = thread_of_grid();
    if (at >= (int64_t)p.batch * p.rows)
        return;
    const float *row = p.row + at / p.rows * p.n;
    float count = 0.0f;
    for (int i = 0; i < p.n; i++)
        if (row_named(row[i], p.rows) == (int)(at % p.rows))
            count = count + 1.0f;
    p.count[at] = count;
}

KERNEL(THREADS) merge_kernel(GRID im_token_merge_args p)
{
    int64_t at = thread_of_grid();
    if (at >= (int64_t)p.batch * p.channels)
        return;
    int64_t b = at / p.channels, k = at % p.channels;
    const float *row = p.row + b * p.n, *x = p.x + b * p.n * p.channels + k, *count = p.count + b * p.rows;
    float *y = p.y + b * p.rows * p.channels + k;
    for (int m = 0; m < p.rows; m++)
        y[(int64_t)m * p.channels] = 0.0f;
    for (int i = 0; i < p.n; i++) {
        int m = row_named(row[i], p.rows);
        if (m >= 0)
            y[(int64_t)m * p.channels] = y[(int64_t)m * p.channels] + x[(int64_t)i * p.channels];
    }
    for (int m = 0; m < p.rows; m++)
        if (count[m] > 1.0f)
            y[(int64_t)m * p.channels] = y[(int64_t)m * p.channels] / count[m];
}

int im_cuda_token_merge(im_device *dev, const im_token_merge_args *p)
{
    unsigned rows = im_cuda_blocks((int64_t)p->batch * p->rows, THREADS);
    unsigned columns = im_cuda_blocks((int64_t)p->batch * p->channels, THREADS);
    int status = im_cuda_done(dev, RUN(dev, rows, THREADS, count_kernel, *p));
    return status ? status : im_cuda_done(dev, RUN(dev, columns, THREADS, merge_kernel, *p));
}

KERNEL(THREADS) spread_kernel(GRID im_token_spread_args p)
{
    int64_t at = thread_of_grid(), i = at / p.channels;
    if (i >= (int64_t)p.batch * p.n)
        return;
    int m = row_named(p.row[i], p.rows);
    p.x[at] = m < 0 ? 0.0f : p.y[(i / p.n * p.rows + m) * p.channels + at % p.channels];
}

int im_cuda_token_spread(im_device *dev, const im_token_spread_args *p)
{
    int64_t n = (int64_t)p->batch * p->n * p->channels;
    return n ? im_cuda_done(dev, RUN(dev, im_cuda_blocks(n, THREADS), THREADS, spread_kernel, *p)) : IM_DONE;
}
