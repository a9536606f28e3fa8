/* colsum.c: sums over rows, y[b][j] (+)= sum_r x[b][r][j]: gradients of biases and of what was added to every pixel.
 *
 * Bound by memory: x is read once, SPAN rows x WIDTH columns a task. Order (train_args.h): chunks of IM_SUM_CHUNK rows are
 * chains in f32, the chunks of a span and then the spans are added in f64, so that long sums lose nothing. */
#include "tensor/cpu/buffer.h"
#include "tensor/cpu/kernels.h"
#include "tensor/parallel.h"

enum { SPAN = 64 * IM_SUM_CHUNK, WIDTH = 256 };

typedef struct job {
    const im_colsum_args *p;
    int spans, parts;                            /* of the rows of one batch, of the columns                           */
    double *sums;                                /* (batch, spans, n)                                                  */
} job;

/* 16 columns (n of them exist) of one span. */
IM_INLINE void span_sum(im_dtype t, const im_colsum_args *p, int64_t at, int64_t rows, int n, double *sum)
{
    const void *x = im_at(p->x.p, t, at);
    double total[16] = { 0 };
    for (int64_t r0 = 0; r0 < rows; r0 += IM_SUM_CHUNK) {
        int64_t r1 = rows - r0 < IM_SUM_CHUNK ? rows : r0 + IM_SUM_CHUNK;
        v16 s = v_zero();
        for (int64_t r = r0; r < r1; r++)
            s = v_add(s, load_as(t, x, r * p->n, n));
        float lane[16];
        v_store(lane, s);
        for (int i = 0; i < 16; i++)
            total[i] += lane[i];
    }
    for (int i = 0; i < n; i++)
        sum[i] = total[i];
}

IM_INLINE void span_as(im_dtype t, const job *j, int task)
{
    const im_colsum_args *p = j->p;
    int part = task % j->parts, to = (part + 1) * WIDTH < p->n ? (part + 1) * WIDTH : p->n;
    int64_t span = task / j->parts, r0 = span % j->spans * SPAN, rows = p->rows - r0 < SPAN ? p->rows - r0 : SPAN;
    int64_t at = (span / j->spans * p->rows + r0) * p->n;
    for (int col = part * WIDTH; col < to; col += 16)
        span_sum(t, p, at + col, rows, to - col < 16 ? to - col : 16, j->sums + span * p->n + col);
}

static void span_task(void *arg, int task, int thread)
{
    const job *j = arg;
    (void)thread;
    switch (j->p->x.t) {
    case IM_F16:  span_as(IM_F16, j, task); break;
    case IM_BF16: span_as(IM_BF16, j, task); break;
    default:      span_as(IM_F32, j, task);
    }
}

static void add_task(void *arg, int task, int thread)
{
    const job *j = arg;
    const im_colsum_args *p = j->p;
    int part = task % j->parts, b = task / j->parts, to = (part + 1) * WIDTH < p->n ? (part + 1) * WIDTH : p->n;
    (void)thread;
    for (int col = part * WIDTH; col < to; col += 16) {
        const double *s = j->sums + (int64_t)b * j->spans * p->n + col;
        int n = to - col < 16 ? to - col : 16;
        float total[16] = { 0 };
        for (int i = 0; i < n; i++) {
            double sum = s[i];
            for (int k = 1; k < j->spans; k++)
                sum += s[(int64_t)k * p->n + i];
            total[i] = (float)sum;
        }
        put_as(p->y.t, p->y.p, b * p->ldy + col, v_load(total), n, p->add);
    }
}

int IM_FN(im_cpu_colsum)(im_device *dev, const im_colsum_args *p)
{
    job j = { .p = p, .spans = im_ceil_div(p->rows, SPAN), .parts = im_ceil_div(p->n, WIDTH) };
    j.sums = im_scratch(dev, im_threads_of(dev), (size_t)p->batch * (size_t)j.spans * (size_t)p->n * sizeof(double));
    if (!j.sums)
        return IM_NO_MEMORY;
    im_parallel_for(im_threads_of(dev), p->batch * j.spans * j.parts, span_task, &j);
    im_parallel_for(im_threads_of(dev), p->batch * j.parts, add_task, &j);
    return IM_DONE;
}
