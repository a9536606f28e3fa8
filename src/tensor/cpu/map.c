/* map.c: elementwise operations: y = act(a), y = a + b with b repeated, y = s a; y (+)= s x for gradients and casts. Used
 * by what no kernel does on the way: the time embedding's silu, sums of residuals, the latents' scale. */
#include "tensor/cpu/buffer.h"
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/vmath.h"
#include "tensor/parallel.h"

enum { CHUNK = 16384 };                  /* elements a task */

typedef struct { im_cbuf a, b; im_buf y; float s; int64_t n; } map;             /* a run of elements of a task */

typedef struct {
    const im_map_args *at;
    im_cbuf b;                           /* the b of at, or a few copies of it in a row */
    int64_t nb;
} job;

/* One loop for each operation and dtype; all but the pointers and n are constants where this is inlined. */
IM_INLINE void loop(im_map_kind kind, im_act act, im_dtype ta, im_dtype tb, im_dtype ty, const map *m)
{
    const void *a = m->a.p, *b = m->b.p;                       /* in variables: stores might change *m                */
    void *y = m->y.p;
    int64_t n = m->n;
    v16 s = v_set1(m->s);
    for (int64_t i = 0; i < n; i += 16) {
        int left = n - i < 16 ? (int)(n - i) : 16;
        v16 v = load_as(ta, a, i, left);
        if (kind == IM_MAP_ADD)
            v = v_add(v, load_as(tb, b, i, left));
        else if (kind == IM_MAP_SCALE)
            v = v_mul(s, v);
        else
            v = v_activate(act, v);
        store_as(ty, y, i, v, left);
    }
}

IM_INLINE void by_dtype(im_map_kind kind, im_act act, const map *m)
{
    switch (same3(m->a.t, m->b.t, m->y.t)) {
    case IM_F32:  loop(kind, act, IM_F32, IM_F32, IM_F32, m); break;
    case IM_F16:  loop(kind, act, IM_F16, IM_F16, IM_F16, m); break;
    case IM_BF16: loop(kind, act, IM_BF16, IM_BF16, IM_BF16, m); break;
    default:      loop(kind, act, m->a.t, m->b.t, m->y.t, m);
    }
}

static void activate(im_act act, const map *m)
{
    switch (act) {
    case IM_ACT_SILU: by_dtype(IM_MAP_ACT, IM_ACT_SILU, m); break;
    case IM_ACT_GELU: by_dtype(IM_MAP_ACT, IM_ACT_GELU, m); break;
    case IM_ACT_GELU_TANH: by_dtype(IM_MAP_ACT, IM_ACT_GELU_TANH, m); break;
    case IM_ACT_QUICK_GELU: by_dtype(IM_MAP_ACT, IM_ACT_QUICK_GELU, m); break;
    case IM_ACT_RELU: by_dtype(IM_MAP_ACT, IM_ACT_RELU, m); break;
    case IM_ACT_TANH: by_dtype(IM_MAP_ACT, IM_ACT_TANH, m); break;
    case IM_ACT_NONE: by_dtype(IM_MAP_ACT, IM_ACT_NONE, m); break;
    }
}

static void map_task(void *arg, int task, int thread)
{
    const job *w = arg;
    const im_map_args *at = w->at;
    int64_t i = (int64_t)task * CHUNK, last = i + CHUNK < at->n ? i + CHUNK : at->n;
    map m = { .a = im_cbuf_at(at->a, i), .b = { NULL, at->a.t }, .y = im_buf_at(at->y, i), .s = at->s, .n = last - i };
    (void)thread;
    if (at->kind == IM_MAP_ACT)
        activate(at->act, &m);
    else if (at->kind == IM_MAP_SCALE)
        by_dtype(IM_MAP_SCALE, IM_ACT_NONE, &m);
    else
        while (i < last) {
            int64_t j = i % w->nb, n = w->nb - j < last - i ? w->nb - j : last - i;
            m = (map){ .a = im_cbuf_at(at->a, i), .b = im_cbuf_at(w->b, j), .y = im_buf_at(at->y, i), .n = n };
            by_dtype(IM_MAP_ADD, IM_ACT_NONE, &m);
            i += n;
        }
}

int IM_FN(im_cpu_map)(im_device *dev, const im_map_args *at)
{
    job w = { .at = at, .b = at->b, .nb = at->nb };
    uint32_t row[16 * 16];                                     /* of floats or of halves                              */
    if (at->kind == IM_MAP_ADD && at->nb < 16) {               /* a short b would leave most lanes empty */
        w.nb = 16 * at->nb;
        for (int64_t i = 0; i < w.nb; i++)
            memcpy(im_at(row, at->b.t, i), im_at(at->b.p, at->b.t, i % at->nb), at->b.t == IM_F32 ? 4 : 2);
        w.b.p = row;
    }
    im_parallel_for(im_threads_of(dev), (int)((at->n + CHUNK - 1) / CHUNK), map_task, &w);
    return IM_DONE;
}

IM_INLINE void accumulate(im_dtype tx, im_dtype ty, const im_accumulate_args *at, int64_t from, int64_t to)
{
    const void *x = at->x.p;
    void *y = at->y.p;
    bool add = at->add;
    v16 s = v_set1(at->s);
    for (int64_t i = from; i < to; i += 16) {
        int left = to - i < 16 ? (int)(to - i) : 16;
        v16 v = load_as(tx, x, i, left);
        store_as(ty, y, i, add ? v_fma(s, v, load_as(ty, y, i, left)) : v_mul(s, v), left);
    }
}

static void accumulate_task(void *arg, int task, int thread)
{
    const im_accumulate_args *at = arg;
    int64_t from = (int64_t)task * CHUNK, to = from + CHUNK < at->n ? from + CHUNK : at->n;
    (void)thread;
    switch (same2(at->x.t, at->y.t)) {
    case IM_F32:  accumulate(IM_F32, IM_F32, at, from, to); break;
    case IM_F16:  accumulate(IM_F16, IM_F16, at, from, to); break;
    case IM_BF16: accumulate(IM_BF16, IM_BF16, at, from, to); break;
    default:      accumulate(at->x.t, at->y.t, at, from, to);
    }
}

int IM_FN(im_cpu_accumulate)(im_device *dev, const im_accumulate_args *at)
{
    im_parallel_for(im_threads_of(dev), (int)((at->n + CHUNK - 1) / CHUNK), accumulate_task, (void *)at);
    return IM_DONE;
}
