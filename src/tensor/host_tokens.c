/* host_tokens.c: token merging (token_args.h) on devices in the host's memory: a pass over the scores, a sort, and copies,
 * so that plain loops are as good as any and ref has no other definition. Used by host_steps.c. */
#include "tensor/host.h"
#include "tensor/parallel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_A_TASK = 64, CHANNELS_A_TASK = 64 };

/* ---------------------------------------------------------------- who joins whom */

static bool kept(const im_token_match_args *p, int i)
{
    int y = i / p->w, x = i % p->w;
    return y < p->h / 2 * 2 && x < p->w / 2 * 2 && y % 2 == 0 && x % 2 == 0;
}

/* best, with: of the tokens of a task. */
static void best_task(void *arg, int task, int thread)
{
    const im_token_match_args *p = arg;
    int64_t all = (int64_t)p->batch * p->h * p->w, targets = (int64_t)(p->h / 2) * (p->w / 2);
    int64_t i = (int64_t)task * ROWS_A_TASK, end = i + ROWS_A_TASK < all ? i + ROWS_A_TASK : all;
    (void)thread;
    for (; i < end; i++) {
        const float *s = p->scores + i * targets;
        float best = -INFINITY;
        int64_t with = 0;
        for (int64_t k = 0; k < targets; k++)
            if (s[k] > best) {
                best = s[k];
                with = k;
            }
        p->best[i] = best;
        p->with[i] = (float)with;
    }
}

typedef struct place { float score; int at; } place;

static int higher_first(const void *a, const void *b)
{
    const place *x = a, *y = b;
    return x->score != y->score ? (x->score < y->score) - (x->score > y->score) : x->at - y->at;
}

/* Rows of one picture; order: room for its tokens. */
static void number(const im_token_match_args *p, int b, place *order)
{
    int n = p->h * p->w, others = 0, rows = 0, target = 0;
    int64_t first = (int64_t)b * n;
    float *row = p->row + first;
    const float *with = p->with + first;
    for (int i = 0; i < n; i++)
        if (!kept(p, i)) order[others++] = (place){ p->best[first + i], i };
    qsort(order, (size_t)others, sizeof *order, higher_first);
    for (int i = 0; i < n; i++) row[i] = -1;
    for (int k = 0; k < p->merged; k++)
        row[order[k].at] = (float)(others - p->merged) + with[order[k].at];
    for (int i = 0; i < n; i++)
        if (!kept(p, i) && row[i] < 0) row[i] = (float)rows++;
    for (int i = 0; i < n; i++)
        if (kept(p, i)) row[i] = (float)(others - p->merged + target++);
}

static int token_match(im_device *dev, const im_token_match_args *p)
{
    int threads = im_threads_of(dev), n = p->h * p->w;
    im_parallel_for(threads, im_ceil_div((int64_t)p->batch * n, ROWS_A_TASK), best_task, (void *)(uintptr_t)p);
    place *order = im_scratch(dev, threads, (size_t)n * sizeof *order);
    if (!order) return IM_NO_MEMORY;
    for (int b = 0; b < p->batch; b++) number(p, b, order);
    return IM_DONE;
}

/* ---------------------------------------------------------------- together, and apart again */

/* Some channels of one picture. */
static void merge_task(void *arg, int task, int thread)
{
    const im_token_merge_args *p = arg;
    int parts = im_ceil_div(p->channels, CHANNELS_A_TASK), b = task / parts, from = task % parts * CHANNELS_A_TASK;
    int width = p->channels - from < CHANNELS_A_TASK ? p->channels - from : CHANNELS_A_TASK;
    const float *row = p->row + (int64_t)b * p->n, *count = p->count + (int64_t)b * p->rows;
    const float *x = p->x + (int64_t)b * p->n * p->channels + from;
    float *y = p->y + (int64_t)b * p->rows * p->channels + from;
    (void)thread;
    for (int m = 0; m < p->rows; m++) memset(y + (int64_t)m * p->channels, 0, (size_t)width * sizeof *y);
    for (int i = 0; i < p->n; i++) {
        int m = im_token_row(row[i], p->rows);
        for (int k = 0; m >= 0 && k < width; k++) y[(int64_t)m * p->channels + k] += x[(int64_t)i * p->channels + k];
    }
    for (int m = 0; m < p->rows; m++)
        for (int k = 0; count[m] > 1 && k < width; k++) y[(int64_t)m * p->channels + k] /= count[m];
}

static int token_merge(im_device *dev, const im_token_merge_args *p)
{
    memset(p->count, 0, (size_t)p->batch * (size_t)p->rows * sizeof *p->count);
    for (int64_t i = 0; i < (int64_t)p->batch * p->n; i++) {
        int m = im_token_row(p->row[i], p->rows);
        if (m >= 0) p->count[i / p->n * p->rows + m] += 1;
    }
    im_parallel_for(im_threads_of(dev), p->batch * im_ceil_div(p->channels, CHANNELS_A_TASK), merge_task,
                    (void *)(uintptr_t)p);
    return IM_DONE;
}

static void spread_task(void *arg, int task, int thread)
{
    const im_token_spread_args *p = arg;
    int64_t all = (int64_t)p->batch * p->n, i = (int64_t)task * ROWS_A_TASK, end = i + ROWS_A_TASK;
    size_t bytes = (size_t)p->channels * sizeof *p->x;
    (void)thread;
    for (; i < end && i < all; i++) {
        int m = im_token_row(p->row[i], p->rows);
        if (m < 0) memset(p->x + i * p->channels, 0, bytes);
        else memcpy(p->x + i * p->channels, p->y + (i / p->n * p->rows + m) * p->channels, bytes);
    }
}

static int token_spread(im_device *dev, const im_token_spread_args *p)
{
    im_parallel_for(im_threads_of(dev), im_ceil_div((int64_t)p->batch * p->n, ROWS_A_TASK), spread_task,
                    (void *)(uintptr_t)p);
    return IM_DONE;
}

void im_host_tokens(im_kernels *k)
{
#define X(name) k->name = name;
    IM_KERNELS_TOKENS(X)
#undef X
}
