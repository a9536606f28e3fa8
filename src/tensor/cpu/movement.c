/* movement.c: what moves numbers without computing: strided copies (concatenation, contiguous copies of views; added for
 * their gradients), rows of an embedding table and their gradient, and the sinusoidal time embedding (Vaswani et al. 2017,
 * in the form of Ho et al. 2020). */
#include "tensor/cpu/held.h"
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/vmath.h"
#include "tensor/half.h"
#include "tensor/parallel.h"

#include <math.h>
#include <string.h>

enum { TASK_BYTES = 1 << 18 };           /* about what a task moves */

typedef struct {
    im_copy_args c;                      /* axes merged; shape[3] is the inner axis */
    int64_t piece, pieces;               /* long inner axes are cut: elements of a piece, pieces of a row */
    int64_t total, per_task;             /* pieces */
} copy_job;

/* n elements, strides in elements. */
static void copy_elements(char *dst, int64_t ds, const char *src, int64_t ss, int64_t n, size_t size)
{
    if (ss == 1 && ds == 1)
        memcpy(dst, src, (size_t)n * size);
    else if (size == 4)
        for (int64_t i = 0; i < n; i++) memcpy(dst + 4 * i * ds, src + 4 * i * ss, 4);
    else
        for (int64_t i = 0; i < n; i++) memcpy(dst + 2 * i * ds, src + 2 * i * ss, 2);
}

/* dst += src, f32 */
static void add_elements(float *dst, int64_t ds, const float *src, int64_t ss, int64_t n)
{
    if (ss != 1 || ds != 1)
        for (int64_t i = 0; i < n; i++) dst[i * ds] += src[i * ss];
    else
        for (int64_t i = 0; i < n; i += 16) {
            int part = n - i < 16 ? (int)(n - i) : 16;
            v_store_part(dst + i, v_add(v_load_part(dst + i, part), v_load_part(src + i, part)), part);
        }
}

/* dst += src, bf16: the sum in f32 */
static void add_bf16(uint16_t *dst, int64_t ds, const uint16_t *src, int64_t ss, int64_t n)
{
    if (ss != 1 || ds != 1)
        for (int64_t i = 0; i < n; i++)
            dst[i * ds] = im_bhalf_from_f32(im_bhalf_to_f32(dst[i * ds]) + im_bhalf_to_f32(src[i * ss]));
    else
        for (int64_t i = 0; i < n; i += 16) {
            int part = n - i < 16 ? (int)(n - i) : 16;
            v16 sum = v_add(held_load(IM_BF16, dst, i, part), held_load(IM_BF16, src, i, part));
            held_store(IM_BF16, dst, i, sum, part);
        }
}

static void copy_task(void *arg, int task, int thread)
{
    const copy_job *w = arg;
    const im_copy_args *c = &w->c;
    int64_t size = (int64_t)im_dtype_size(c->dtype), u = task * w->per_task, last = u + w->per_task;
    last = last < w->total ? last : w->total;
    (void)thread;
    for (; u < last; u++) {
        int64_t row = u / w->pieces, i3 = u % w->pieces * w->piece, left = c->shape[3] - i3;
        int64_t i2 = row % c->shape[2], i1 = row / c->shape[2] % c->shape[1], i0 = row / c->shape[2] / c->shape[1];
        int64_t s = i0 * c->ss[0] + i1 * c->ss[1] + i2 * c->ss[2] + i3 * c->ss[3];
        int64_t d = i0 * c->ds[0] + i1 * c->ds[1] + i2 * c->ds[2] + i3 * c->ds[3];
        left = left < w->piece ? left : w->piece;
        void *to = (char *)c->dst + d * size;
        const void *from = (const char *)c->src + s * size;
        if (!c->add)
            copy_elements(to, c->ds[3], from, c->ss[3], left, (size_t)size);
        else if (c->dtype == IM_BF16)
            add_bf16(to, c->ds[3], from, c->ss[3], left);
        else
            add_elements(to, c->ds[3], from, c->ss[3], left);
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
    copy_job w = { .c = *args };
    merge_axes(&w.c);
    int64_t rows = w.c.shape[0] * w.c.shape[1] * w.c.shape[2], inner = w.c.shape[3];
    if (rows * inner == 0)
        return IM_DONE;
    int64_t per_task = TASK_BYTES / (int64_t)im_dtype_size(w.c.dtype);
    w.piece = inner < per_task ? inner : per_task;
    w.pieces = (inner + w.piece - 1) / w.piece;
    w.total = rows * w.pieces;
    w.per_task = per_task / w.piece;
    im_parallel_for(dev->threads, (int)((w.total + w.per_task - 1) / w.per_task), copy_task, &w);
    return IM_DONE;
}

/* 16 numbers, or the first n, of a row in any dtype. */
IM_INLINE v16 load_as_f32(im_dtype t, const void *row, int c, int n)
{
    uint16_t part[16] = { 0 };
    if (t == IM_F32)
        return v_load_n((const float *)row + c, n);
    memcpy(part, (const uint16_t *)row + c, (size_t)n * sizeof *part);
    return t == IM_F16 ? v_load_f16(part) : v_load_bf16(part);
}

static void embedding_task(void *arg, int task, int thread)
{
    const im_embedding_args *at = arg;
    size_t row = (size_t)at->channels * (at->dtype == IM_F32 ? 4 : 2);
    const char *from = (const char *)at->table + (size_t)at->ids[task] * row;
    float *to = at->y + (int64_t)task * at->channels;
    (void)thread;
    for (int c = 0; c < at->channels; c += 16) {
        int n = at->channels - c < 16 ? at->channels - c : 16;
        v_store_n(to + c, load_as_f32(at->dtype, from, c, n), n);
    }
}

int IM_FN(im_cpu_embedding)(im_device *dev, const im_embedding_args *args)
{
    im_embedding_args at = *args;
    im_parallel_for(dev->threads, (int)at.n, embedding_task, &at);
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
        add_elements(d + at->ids[i] * ld, 1, at->dy + i * ld + from, 1, width);
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
        im_parallel_for(dev->threads, (int)((bytes + TASK_BYTES - 1) / TASK_BYTES), zero_task, (void *)at);
    im_parallel_for(dev->threads, (at->channels + COLUMNS - 1) / COLUMNS, embedding_bwd_task, (void *)at);
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
