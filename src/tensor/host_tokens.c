/* host_tokens.c: token merging (token_args.h) on devices in the host's memory: a pass over the scores, a sort, and copies,
 * so that plain loops are as good as any and ref has no other definition. Used by host_steps.c. */
#include "tensor/half.h"
#include "tensor/host.h"
#include "tensor/parallel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_A_TASK = 64, PIECE = 256 };                        /* PIECE: values in one go                               */

/* Elements at .. at + n - 1 of x in f32, n <= PIECE: where they lie, or in `room`. */
static const float *floats(im_cbuf x, int64_t at, int n, float room[PIECE])
{
    if (x.t == IM_F32) return (const float *)x.p + at;
    for (int k = 0; k < n; k++) room[k] = im_get_as(x.t, x.p, at + k);
    return room;
}

static int piece_of(int64_t left) { return left < PIECE ? (int)left : PIECE; }

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
        float best = -INFINITY, room[PIECE];
        int64_t with = 0;
        for (int64_t from = 0; from < targets; from += PIECE) {
            int n = piece_of(targets - from);
            const float *s = floats(p->scores, i * targets + from, n, room);
            for (int k = 0; k < n; k++)
                if (s[k] > best) {
                    best = s[k];
                    with = from + k;
                }
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

/* The row that a number names; -1: none. */
static int row_named(float row, int rows) { return row >= 0 && row < (float)rows ? (int)row : -1; }

/* Rows of y: each walks along its tokens. */
static void merge_task(void *arg, int task, int thread)
{
    const im_token_merge_args *p = arg;
    int64_t all = (int64_t)p->batch * p->rows, m = (int64_t)task * ROWS_A_TASK, end = m + ROWS_A_TASK;
    (void)thread;
    for (; m < end && m < all; m++)
        for (int from = 0; from < p->channels; from += PIECE) {
            float sum[PIECE] = { 0 }, room[PIECE], count = 0;
            int64_t picture = m / p->rows * p->n;
            int n = piece_of(p->channels - from);
            for (int i = (int)p->first[m]; i >= 0; i = (int)p->next[picture + i], count++) {
                const float *x = floats(p->x, (picture + i) * p->channels + from, n, room);
                for (int k = 0; k < n; k++) sum[k] += x[k];
            }
            for (int k = 0; k < n; k++)
                im_set_as(p->y.t, p->y.p, m * p->channels + from + k, count > 1 ? sum[k] / count : sum[k]);
        }
}

/* first: of a row's tokens; next: after a token, of the same row; -1: none. */
static int token_merge(im_device *dev, const im_token_merge_args *p)
{
    int64_t rows = (int64_t)p->batch * p->rows;
    for (int64_t m = 0; m < rows; m++) p->first[m] = -1;
    for (int64_t i = (int64_t)p->batch * p->n - 1; i >= 0; i--) {
        int m = row_named(p->row[i], p->rows);
        if (m < 0) continue;
        float *first = p->first + i / p->n * p->rows + m;
        p->next[i] = *first;
        *first = (float)(i % p->n);
    }
    im_parallel_for(im_threads_of(dev), im_ceil_div(rows, ROWS_A_TASK), merge_task, (void *)(uintptr_t)p);
    return IM_DONE;
}

static void spread_task(void *arg, int task, int thread)
{
    const im_token_spread_args *p = arg;
    int64_t all = (int64_t)p->batch * p->n, i = (int64_t)task * ROWS_A_TASK, end = i + ROWS_A_TASK;
    size_t bytes = (size_t)p->channels * im_dtype_size(p->dtype);
    (void)thread;
    for (; i < end && i < all; i++) {
        int m = row_named(p->row[i], p->rows);
        void *x = im_at(p->x, p->dtype, i * p->channels);
        if (m < 0) memset(x, 0, bytes);
        else memcpy(x, im_at(p->y, p->dtype, (i / p->n * p->rows + m) * p->channels), bytes);
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
