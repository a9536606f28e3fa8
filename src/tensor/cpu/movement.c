/* movement.c: what moves numbers without computing: strided copies (concatenation, contiguous copies of views; added for
 * their gradients), rows of an embedding table and their gradient, and the sinusoidal time embedding (Vaswani et al. 2017,
 * in the form of Ho et al. 2020). */
#include "tensor/cpu/buffer.h"
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/vmath.h"
#include "tensor/parallel.h"

#include <math.h>
#include <string.h>

enum { TASK_BYTES = 1 << 18 };           /* about what a task moves */

typedef struct {
    im_copy_args c;                      /* axes merged; shape[3] is the inner axis */
    int64_t piece, pieces;               /* long inner axes are cut: elements of a piece, pieces of a row */
    int64_t total, per_task;             /* pieces */
    int64_t size;                        /* of an element, in bytes */
} copy_job;

/* n elements, strides in elements. */
static void copy_elements(char *dst, int64_t ds, const char *src, int64_t ss, int64_t n, int64_t size)
{
    if (ss == 1 && ds == 1)
        memcpy(dst, src, (size_t)(n * size));
    else if (size == 4)
        for (int64_t i = 0; i < n; i++) memcpy(dst + 4 * i * ds, src + 4 * i * ss, 4);
    else
        for (int64_t i = 0; i < n; i++) memcpy(dst + 2 * i * ds, src + 2 * i * ss, 2);
}

/* dst += src. Where they do not lie side by side a vector holds one element: a view of columns is rare. */
IM_INLINE void add_loop(im_dtype t, void *dst, int64_t ds, const void *src, int64_t ss, int64_t n)
{
    int step = ss == 1 && ds == 1 ? 16 : 1;
    for (int64_t i = 0; i < n; i += step) {
        int part = n - i < step ? (int)(n - i) : step;
        put_as(t, dst, i * ds, load_as(t, src, i * ss, part), part, true);
    }
}

static void add_elements(im_dtype t, void *dst, int64_t ds, const void *src, int64_t ss, int64_t n)
{
    switch (t) {
    case IM_F16:  add_loop(IM_F16, dst, ds, src, ss, n); break;
    case IM_BF16: add_loop(IM_BF16, dst, ds, src, ss, n); break;
    default:      add_loop(IM_F32, dst, ds, src, ss, n);
    }
}

static void copy_task(void *arg, int task, int thread)
{
    const copy_job *w = arg;
    const im_copy_args *c = &w->c;
    int64_t u = task * w->per_task, last = u + w->per_task;
    last = last < w->total ? last : w->total;
    (void)thread;
    for (; u < last; u++) {
        int64_t row = u / w->pieces, i3 = u % w->pieces * w->piece, left = c->shape[3] - i3;
        int64_t i2 = row % c->shape[2], i1 = row / c->shape[2] % c->shape[1], i0 = row / c->shape[2] / c->shape[1];
        int64_t s = i0 * c->ss[0] + i1 * c->ss[1] + i2 * c->ss[2] + i3 * c->ss[3];
        int64_t d = i0 * c->ds[0] + i1 * c->ds[1] + i2 * c->ds[2] + i3 * c->ds[3];
        left = left < w->piece ? left : w->piece;
        void *to = im_at(c->dst, c->dtype, d);
        const void *from = im_at(c->src, c->dtype, s);
        if (c->add)
            add_elements(c->dtype, to, c->ds[3], from, c->ss[3], left);
        else
            copy_elements(to, c->ds[3], from, c->ss[3], left, w->size);
    }
}

/* Shifts axes so that the inner ones that lie behind one another in both tensors become one; axes of size 1 vanish. */
static void merge_axes(im_copy_args *c)
{
    im_copy_args m = *c;
    int at = 3;
    for (int i = 0; i < 3; i++)
        m.shape[i] = 1;
    for (int i = 2; i >= 0; i--) {
        if (c->shape[i] == 1)
            continue;
        if (m.shape[at] == 1) {
            m.ss[at] = c->ss[i];
            m.ds[at] = c->ds[i];
            m.shape[at] = c->shape[i];
        } else if (c->ss[i] == m.ss[at] * m.shape[at] && c->ds[i] == m.ds[at] * m.shape[at]) {
            m.shape[at] *= c->shape[i];
        } else {
            at--;
            m.shape[at] = c->shape[i];
            m.ss[at] = c->ss[i];
            m.ds[at] = c->ds[i];
        }
    }
    *c = m;
}

int IM_FN(im_cpu_copy)(im_device *dev, const im_copy_args *args)
{
    copy_job w = { .c = *args, .size = args->dtype == IM_F32 || args->dtype == IM_I32 ? 4 : 2 };
    merge_axes(&w.c);
    int64_t rows = w.c.shape[0] * w.c.shape[1] * w.c.shape[2], inner = w.c.shape[3];
    if (rows * inner == 0)
        return IM_DONE;
    int64_t per_task = TASK_BYTES / w.size;
    w.piece = inner < per_task ? inner : per_task;
    w.pieces = (inner + w.piece - 1) / w.piece;
    w.total = rows * w.pieces;
    w.per_task = per_task / w.piece;
    im_parallel_for(im_threads_of(dev), (int)((w.total + w.per_task - 1) / w.per_task), copy_task, &w);
    return IM_DONE;
}

static void embedding_task(void *arg, int task, int thread)
{
    const im_embedding_args *at = arg;
    const void *from = im_at(at->table, at->dtype, (int64_t)at->ids[task] * at->channels);
    float *to = at->y + (int64_t)task * at->channels;
    (void)thread;
    for (int c = 0; c < at->channels; c += 16) {
        int n = at->channels - c < 16 ? at->channels - c : 16;
        v_store_n(to + c, load_as(at->dtype, from, c, n), n);
    }
}

int IM_FN(im_cpu_embedding)(im_device *dev, const im_embedding_args *args)
{
    im_embedding_args at = *args;
    im_parallel_for(im_threads_of(dev), (int)at.n, embedding_task, &at);
    return IM_DONE;
}

enum { COLUMNS = 64 };                   /* of a table's gradient, a task: all ids in order, so every row is one chain */

static void embedding_bwd_task(void *arg, int task, int thread)
{
    const im_embedding_bwd_args *at = arg;
    int64_t ld = at->channels, from = (int64_t)task * COLUMNS;
    int width = ld - from < COLUMNS ? (int)(ld - from) : COLUMNS;
    float *d = at->dtable + from;
    (void)thread;
    for (int64_t i = 0; i < at->n; i++)
        add_elements(IM_F32, d + at->ids[i] * ld, 1, at->dy + i * ld + from, 1, width);
}

/* The table whole, in pieces of TASK_BYTES: by columns it would take thrice as long. */
static void zero_task(void *arg, int task, int thread)
{
    const im_embedding_bwd_args *at = arg;
    int64_t bytes = at->rows * at->channels * (int64_t)sizeof(float), from = (int64_t)task * TASK_BYTES;
    (void)thread;
    memset((char *)at->dtable + from, 0, (size_t)(bytes - from < TASK_BYTES ? bytes - from : TASK_BYTES));
}

int IM_FN(im_cpu_embedding_bwd)(im_device *dev, const im_embedding_bwd_args *at)
{
    int64_t bytes = at->rows * at->channels * (int64_t)sizeof(float);
    if (!at->add)
        im_parallel_for(im_threads_of(dev), (int)((bytes + TASK_BYTES - 1) / TASK_BYTES), zero_task, (void *)at);
    im_parallel_for(im_threads_of(dev), (at->channels + COLUMNS - 1) / COLUMNS, embedding_bwd_task, (void *)at);
    return IM_DONE;
}

/* The frequencies as torch has them: every step rounded to f32, the exponential (in f64) correctly, since an angle of
 * 1000 rad carries a rounding error of its frequency a thousandfold. */
int IM_FN(im_cpu_timestep)(im_device *dev, const im_timestep_args *at)
{
    int half = at->dim / 2;
    (void)dev;
    for (int i0 = 0; i0 < half; i0 += 16) {
        int n = half - i0 < 16 ? half - i0 : 16;
        float f[16] = { 0 };
        for (int i = 0; i < n; i++) {
            float power = -9.21034037197618f * (float)(i0 + i) / ((float)half - at->shift);        /* ln 10000 */
            f[i] = (float)exp((double)power);
        }
        for (int b = 0; b < at->batch; b++) {
            v16 angle = v_mul(v_set1(at->t[b]), v_load(f));
            float *y = at->y + (int64_t)b * at->dim + i0;
            v_store_n(y + (at->cos_first ? 0 : half), v_cos(angle), n);
            v_store_n(y + (at->cos_first ? half : 0), v_sin(angle), n);
        }
    }
    if (at->dim % 2)
        for (int b = 0; b < at->batch; b++)
            at->y[(int64_t)b * at->dim + at->dim - 1] = 0.0f;
    return IM_DONE;
}
